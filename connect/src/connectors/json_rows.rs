//! JSON values as a batch of a source: columns where there is a schema, else the values as they are.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use ottla_formats::{Format as _, FormatError, JsonFormat};

use crate::connector::{BadInput, Rows, SourceBatch, SourceOffset};

/// The batch of these values, each with its position; those that do not fit the schema come out beside it.
pub(super) fn batch_of(
    values: Vec<(u64, Bytes)>,
    schema: Option<&SchemaRef>,
    resume: SourceOffset,
) -> Result<SourceBatch, FormatError> {
    let (positions, values): (Vec<u64>, Vec<Bytes>) = values.into_iter().unzip();
    let Some(schema) = schema else {
        return Ok(SourceBatch { rows: Rows::Raw(values), positions, bad: Vec::new(), resume });
    };
    let payloads: Vec<&[u8]> = values.iter().map(Bytes::as_ref).collect();
    let decoded = JsonFormat.decode(&payloads, &Arc::clone(schema))?;
    let place = |index: u32| usize::try_from(index).unwrap_or(usize::MAX);
    let bad = decoded.bad.into_iter().filter_map(|record| {
        let (position, raw) = positions.get(place(record.index)).zip(values.get(place(record.index)))?;
        Some(BadInput { position: *position, line: None, raw: raw.clone(), reason: record.reason })
    });
    Ok(SourceBatch {
        bad: bad.collect(),
        rows: Rows::Arrow(decoded.batch),
        positions: decoded.rows.iter().filter_map(|row| positions.get(place(*row)).copied()).collect(),
        resume,
    })
}
