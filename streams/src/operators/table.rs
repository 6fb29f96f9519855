//! A table's topic as changes of rows: a record replaces the row of its key, a record without value deletes it.
//!
//! ```text
//! primary key  ─▶  row
//! ```

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::Result;

use super::rows::Rows;
use super::state_keys::{batch_from_bytes, external, row_bytes};
use crate::state::Overlay;
use crate::state::codec;

/// The records of a table in an epoch.
#[derive(Debug, Default)]
pub(super) struct TableRecords {
    /// Rows, in the source's columns.
    pub(super) rows: Vec<Rows>,
    /// Keys of rows that are deleted, in the columns of the primary key.
    pub(super) deletes: Vec<Rows>,
}

/// The rows that go and the rows that come.
///
/// # Errors
/// Only when the state is damaged.
pub(super) fn table(
    primary_key: &[usize],
    schema: &SchemaRef,
    records: TableRecords,
    overlay: &mut Overlay<'_>,
) -> Result<Vec<Rows>> {
    // The last record of each key, by its place in the epoch.
    let mut last: BTreeMap<Vec<u8>, (u32, Option<Vec<u8>>)> = BTreeMap::new();
    let mut hear = |key: Vec<u8>, origin: u32, row: Option<Vec<u8>>| {
        let known = last.entry(key).or_insert((origin, None));
        if known.0 <= origin {
            *known = (origin, row);
        }
    };
    for rows in &records.rows {
        let keys: Vec<ArrayRef> =
            primary_key.iter().map(|column| rows.batch.column(*column).clone()).collect();
        let keys = codec::encode_rows(&keys, rows.len()).map_err(external)?;
        for (index, (key, row)) in keys.into_iter().zip(row_bytes(&rows.batch)?).enumerate() {
            hear(key, rows.origin(index).unwrap_or_default(), Some(row));
        }
    }
    for deletes in &records.deletes {
        for (index, key) in row_bytes(&deletes.batch)?.into_iter().enumerate() {
            hear(key, deletes.origin(index).unwrap_or_default(), None);
        }
    }
    let (mut gone, mut come, mut origins) = (Vec::new(), Vec::new(), Vec::new());
    for (key, (origin, row)) in last {
        let before = overlay.base().get(&key);
        if before.map(Bytes::as_ref) == row.as_deref() {
            continue;
        }
        gone.extend(before.cloned());
        if let Some(row) = &row {
            come.push(Bytes::copy_from_slice(row));
            origins.push(origin);
        }
        overlay.put(Bytes::from(key), row.map(Bytes::from));
    }
    let batch = |rows: &[Bytes]| {
        let rows: Vec<&[u8]> = rows.iter().map(Bytes::as_ref).collect();
        batch_from_bytes(&rows, schema)
    };
    let gone = Rows::changes(batch(&gone)?, vec![-1; gone.len()]);
    Ok(vec![gone, Rows::from_records(batch(&come)?, UInt32Array::from(origins))])
}
