//! Keys that begin with the time at which their row can be forgotten, and rows as bytes.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};

use super::project::batch_of;
use super::watermark::Watermark;
use crate::state::Overlay;
use crate::state::codec::{self, CodecError};

/// The rows under `prefix` whose time the watermark has passed. A row without time is never forgotten.
pub(super) fn closed_keys(overlay: &Overlay<'_>, prefix: &[u8], now: Watermark) -> Vec<(Bytes, Bytes)> {
    let Some(watermark) = now.0 else { return Vec::new() };
    let is_timed = |key: &Bytes| key.get(prefix.len()) == Some(&codec::VALUE);
    let owned = |(key, row): (&Bytes, &Bytes)| is_timed(key).then(|| (key.clone(), row.clone()));
    match watermark.checked_add(1) {
        Some(after) => overlay.prefix_below(prefix, &time_key(after)).filter_map(owned).collect(),
        None => overlay.prefix(prefix).filter_map(owned).collect(),
    }
}

/// A time as the beginning of a key.
pub(super) fn time_key(time_ms: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // One Int64 always encodes.
    let _always = codec::write_value(&Int64Array::from(vec![time_ms]), 0, &mut bytes);
    bytes
}

/// The columns of a batch as one run of bytes per row.
pub(super) fn row_bytes(batch: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    codec::encode_rows(batch.columns(), batch.num_rows()).map_err(external)
}

/// The inverse of [`row_bytes`].
pub(super) fn batch_from_bytes(rows: &[&[u8]], schema: &SchemaRef) -> Result<RecordBatch> {
    batch_of(schema, columns_from_bytes(rows, schema)?, rows.len())
}

/// The same without making a batch of them.
pub(super) fn columns_from_bytes(rows: &[&[u8]], schema: &SchemaRef) -> Result<Vec<ArrayRef>> {
    let types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
    codec::decode_rows(rows, &types).map_err(external)
}

/// A weight as a row of the store.
pub(super) fn weight_row(weight: i64) -> Option<Bytes> {
    /// What nearly all rows have, without memory of its own.
    static ONCE: [u8; 8] = 1_i64.to_be_bytes();
    match weight {
        0 => None,
        1 => Some(Bytes::from_static(&ONCE)),
        _ => Some(Bytes::copy_from_slice(&weight.to_be_bytes())),
    }
}

/// The weight in a row of the store, and what follows it.
pub(super) fn weight_of(row: &[u8]) -> (i64, &[u8]) {
    match row.split_first_chunk::<8>() {
        Some((bytes, rest)) => (i64::from_be_bytes(*bytes), rest),
        None => (0, &[]),
    }
}

pub(super) fn external(error: CodecError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
