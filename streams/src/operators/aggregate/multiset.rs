//! Aggregates that need all values of a group: each value is a row of the store, ordered as the aggregate wants them, with
//! how often it is there.
//!
//! ```text
//! tag  group  ORDER BY  value   ─▶   how often (8 bytes), value
//! ```
//!
//! The least and the greatest value are the ends of the group's stretch of keys, so MIN and MAX cost as much under
//! retraction as a look-up.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, UInt32Array, new_empty_array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::DataType;
use bytes::Bytes;
use datafusion::common::{Result, ScalarValue};

use super::calls::Arguments;
use crate::operators::state_keys::{external, weight_of};
use crate::planner::{AggregateCall, AggregateKind};
use crate::state::{Overlay, codec, sort_by_bytes};

/// Values that an epoch adds and takes away.
pub(super) struct Values {
    order: Vec<SortOptions>,
    /// MIN, MAX and COUNT(DISTINCT) do not look at nulls.
    skips_nulls: bool,
    /// By group, and by order and value: the value alone, and how often more.
    changes: HashMap<(usize, Vec<u8>), (usize, i64)>,
}

impl Values {
    pub(super) fn of(call: &AggregateCall) -> Self {
        let skips_nulls = call.kind == AggregateKind::CountDistinct || is_extreme(call);
        Values {
            order: call.order.iter().map(|key| key.options).collect(),
            skips_nulls,
            changes: HashMap::new(),
        }
    }

    pub(super) fn update(
        &mut self,
        arguments: &Arguments,
        weights: Option<&[i64]>,
        groups: &[usize],
    ) -> Result<()> {
        for (row, group) in groups.iter().enumerate() {
            let is_null = || arguments.values.first().is_some_and(|values| values.is_null(row));
            if !arguments.passes(row) || (self.skips_nulls && is_null()) {
                continue;
            }
            let mut key = Vec::new();
            for (column, options) in arguments.order.iter().zip(&self.order) {
                write_sort_value(column.as_ref(), row, *options, &mut key)?;
            }
            let order_length = key.len();
            for column in &arguments.values {
                codec::write_value(column.as_ref(), row, &mut key).map_err(external)?;
            }
            let (_, count) = self.changes.entry((*group, key)).or_insert((order_length, 0));
            *count += weights.map_or(1, |weights| weights[row]);
        }
        Ok(())
    }

    /// Writes the changes to the store; gives how many more different values each group has.
    pub(super) fn store(
        &mut self,
        tag: u8,
        keys: &[Bytes],
        overlay: &mut Overlay<'_>,
        touched: &mut [bool],
    ) -> Vec<i64> {
        let mut distinct = vec![0; keys.len()];
        let changes = self.changes.drain().filter(|(_, (_, added))| *added != 0);
        let mut changes: Vec<(Bytes, usize, usize, i64)> = changes
            .map(|((group, value), (order_length, added))| {
                let key = Bytes::from([&[tag], keys[group].as_ref(), &value].concat());
                let value_at = key.len() - value.len() + order_length;
                (key, value_at, group, added)
            })
            .collect();
        sort_by_bytes(&mut changes, |(key, ..)| key);
        for (key, value_at, group, added) in changes {
            let before = overlay.get(&key).map_or(0, |row| weight_of(row).0);
            let after = before + added;
            distinct[group] += i64::from(after > 0) - i64::from(before > 0);
            touched[group] = true;
            let row = [&after.to_be_bytes(), &key[value_at..]].concat();
            overlay.put(key, (after != 0).then(|| Bytes::from(row)));
        }
        distinct
    }
}

/// Appends a value so that bytes compare as ORDER BY has it.
pub(in crate::operators) fn write_sort_value(
    array: &dyn Array,
    row: usize,
    options: SortOptions,
    out: &mut Vec<u8>,
) -> Result<()> {
    if array.is_null(row) {
        out.push(if options.nulls_first { 0 } else { u8::MAX });
        return Ok(());
    }
    let start = out.len();
    codec::write_value(array, row, out).map_err(external)?;
    if options.descending {
        // The first byte, which says that there is a value, keeps its place between the two nulls.
        out[start + 1..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

fn is_extreme(call: &AggregateCall) -> bool {
    matches!(call.function.fun().name(), "min" | "max")
}

/// The results of groups.
pub(super) fn evaluate(
    call: &AggregateCall,
    tag: u8,
    keys: &[&[u8]],
    view: &Overlay<'_>,
) -> Result<ArrayRef> {
    let types = &call.argument_types;
    let prefix = |key: &[u8]| [&[tag], key].concat();
    match call.kind {
        AggregateKind::First | AggregateKind::Last => {
            let end = |key: &&[u8]| {
                let row = match call.kind {
                    AggregateKind::First => view.prefix(&prefix(key)).next(),
                    _ => view.prefix_back(&prefix(key)).next(),
                };
                row.map_or_else(|| Bytes::from_static(&[0]), |(_, row)| row.slice(8..))
            };
            let ends: Vec<Bytes> = keys.iter().map(end).collect();
            let ends: Vec<&[u8]> = ends.iter().map(Bytes::as_ref).collect();
            let mut columns = codec::decode_rows(&ends, types).map_err(external)?;
            Ok(columns.swap_remove(0))
        }
        _ => {
            let results = keys
                .iter()
                .map(|key| replay(call, types, view.prefix(&prefix(key)).map(|(_, row)| row)))
                .collect::<Result<Vec<ScalarValue>>>()?;
            match results.is_empty() {
                true => Ok(new_empty_array(&call.return_type())),
                false => ScalarValue::iter_to_array(results),
            }
        }
    }
}

/// Gives a group's values to a fresh accumulator of DataFusion's.
fn replay<'a>(
    call: &AggregateCall,
    types: &[DataType],
    rows: impl Iterator<Item = &'a Bytes>,
) -> Result<ScalarValue> {
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for row in rows {
        let (count, value) = weight_of(row);
        let count = if call.is_distinct { count.min(1) } else { count };
        indices.extend(std::iter::repeat_n(values.len() as u32, usize::try_from(count).unwrap_or_default()));
        values.push(value);
    }
    let mut accumulator = call.function.create_accumulator()?;
    if !indices.is_empty() {
        let indices = UInt32Array::from(indices);
        let columns = codec::decode_rows(&values, types).map_err(external)?;
        let columns =
            columns.iter().map(|column| Ok(take(column, &indices, None)?)).collect::<Result<Vec<_>>>()?;
        accumulator.update_batch(&columns)?;
    }
    accumulator.evaluate()
}
