//! What is left of an epoch's changes of a keyed result: for each key its row now, or that it has none any more.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;

use super::rows::Rows;
use super::state_keys::{external, row_bytes};
use crate::state::{codec, sort_by_bytes};

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
    let mut keyed: Vec<(Vec<u8>, Place)> = Vec::with_capacity(rows.iter().map(Rows::len).sum());
    for (number, batch) in rows.iter().enumerate() {
        let columns: Vec<ArrayRef> = key.iter().map(|column| batch.batch.column(*column).clone()).collect();
        let keys = codec::encode_rows(&columns, batch.len()).map_err(external)?;
        keyed.extend(keys.into_iter().enumerate().map(|(index, key)| (key, (number, index))));
    }
    // Of one key they need no order here: each key's rows are looked at together.
    sort_by_bytes(&mut keyed, |(key, _)| key);
    // The rows as bytes, of batches that have a key more than once.
    let mut bytes: Vec<Option<Vec<Vec<u8>>>> = vec![None; rows.len()];
    let (mut deletes, mut upserts) = (Vec::new(), Vec::new());
    for of_key in keyed.chunk_by(|(one, _), (other, _)| one == other) {
        let mut left: Vec<(i64, Place)> = match of_key {
            [(_, place)] => vec![(rows[place.0].weight(place.1), *place)],
            _ => {
                for (_, (number, _)) in of_key {
                    if bytes[*number].is_none() {
                        bytes[*number] = Some(row_bytes(&rows[*number].batch)?);
                    }
                }
                sums(rows, of_key, &bytes)
            }
        };
        left.retain(|(weight, _)| *weight != 0);
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

/// The weights of equal rows of one key, summed, by their bytes.
fn sums(rows: &[Rows], of_key: &[(Vec<u8>, Place)], bytes: &[Option<Vec<Vec<u8>>>]) -> Vec<(i64, Place)> {
    let row_of = |place: &Place| bytes[place.0].as_ref().map_or(&[][..], |rows| rows[place.1].as_slice());
    let mut places: Vec<Place> = of_key.iter().map(|(_, place)| *place).collect();
    places.sort_by(|one, other| row_of(one).cmp(row_of(other)).then(one.cmp(other)));
    let weight = |place: &Place| rows[place.0].weight(place.1);
    places
        .chunk_by(|one, other| row_of(one) == row_of(other))
        .map(|same| (same.iter().map(weight).sum(), same[0]))
        .collect()
}

/// Sums the weights of equal rows, whatever tells them apart: first what goes, then what comes, each by its bytes.
///
/// # Errors
/// When a value cannot be written as bytes.
pub fn net_changes(rows: &[Rows], schema: &SchemaRef) -> Result<Vec<Rows>> {
    let mut changes: RowChanges = BTreeMap::new();
    for (number, batch) in rows.iter().enumerate() {
        for (index, row) in row_bytes(&batch.batch)?.into_iter().enumerate() {
            changes.entry(row).or_insert((0, (number, index))).0 += batch.weight(index);
        }
    }
    let (goes, comes): (Vec<_>, Vec<_>) =
        changes.into_values().filter(|(weight, _)| *weight != 0).partition(|(weight, _)| *weight < 0);
    let all = |changes: Vec<(i64, Place)>| -> Result<Option<Rows>> {
        let (weights, places): (Vec<i64>, Vec<Place>) = changes.into_iter().unzip();
        Ok((!places.is_empty()).then_some(Rows::changes(gathered(rows, &places, schema)?, weights)))
    };
    Ok([all(goes)?, all(comes)?].into_iter().flatten().collect())
}

fn gathered(rows: &[Rows], places: &[Place], schema: &SchemaRef) -> Result<RecordBatch> {
    let batches: Vec<&RecordBatch> = rows.iter().map(|rows| &rows.batch).collect();
    if batches.is_empty() || places.is_empty() {
        return Ok(RecordBatch::new_empty(schema.clone()));
    }
    Ok(interleave_record_batch(&batches, places)?)
}
