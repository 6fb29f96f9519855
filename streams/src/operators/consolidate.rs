//! What is left of an epoch's changes of a keyed result: for each key its row now, or that it has none any more.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;

use super::rows::Rows;
use super::state_keys::{external, row_bytes};
use crate::state::codec;

/// The batch and the row in which a change stands.
type Place = (usize, usize);

/// The weight of each row, and where it stands.
type RowChanges = BTreeMap<Vec<u8>, (i64, Place)>;

/// Changes of a keyed result, by growing key.
#[derive(Debug)]
pub struct KeyedChanges {
    /// Keys that have no row any more, in the key's columns.
    pub deletes: RecordBatch,
    /// Rows that are new or have replaced others.
    pub upserts: RecordBatch,
}

/// Sums the weights of equal rows; what is left with a weight is a row that came or went.
///
/// # Errors
/// When a value cannot be written as bytes, which planning has excluded for keyed results.
pub fn consolidate(rows: &[Rows], key: &[usize], schema: &SchemaRef) -> Result<KeyedChanges> {
    // By key, by row: its weight and where it stands.
    let mut changes: BTreeMap<Vec<u8>, RowChanges> = BTreeMap::new();
    for (number, batch) in rows.iter().enumerate() {
        let columns: Vec<ArrayRef> = key.iter().map(|column| batch.batch.column(*column).clone()).collect();
        let keys = codec::encode_rows(&columns, batch.len()).map_err(external)?;
        for (index, (key, row)) in keys.into_iter().zip(row_bytes(&batch.batch)?).enumerate() {
            let of_key = changes.entry(key).or_default();
            of_key.entry(row).or_insert((0, (number, index))).0 += batch.weight(index);
        }
    }
    let (mut deletes, mut upserts) = (Vec::new(), Vec::new());
    for of_key in changes.into_values() {
        let left: Vec<(i64, Place)> = of_key.into_values().filter(|(weight, _)| *weight != 0).collect();
        let came = left.iter().rev().find(|(weight, _)| *weight > 0);
        match (came, left.first()) {
            (Some((_, place)), _) => upserts.push(*place),
            (None, Some((_, place))) => deletes.push(*place),
            (None, None) => {}
        }
    }
    Ok(KeyedChanges {
        deletes: gathered(rows, &deletes, schema)?.project(key)?,
        upserts: gathered(rows, &upserts, schema)?,
    })
}

fn gathered(rows: &[Rows], places: &[Place], schema: &SchemaRef) -> Result<RecordBatch> {
    let batches: Vec<&RecordBatch> = rows.iter().map(|rows| &rows.batch).collect();
    if batches.is_empty() || places.is_empty() {
        return Ok(RecordBatch::new_empty(schema.clone()));
    }
    Ok(interleave_record_batch(&batches, places)?)
}
