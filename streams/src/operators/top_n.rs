//! The first rows of each partition, numbered: `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) <= n`.
//!
//! ```text
//! [expiry]  partition  order  row  ─▶ how often (8 bytes), row
//! ```
//!
//! Keys lie in the order of the numbers, so a partition's first rows are the beginning of its stretch. Rows that tie are
//! ordered by all their columns, so that the same rows have the same numbers in whatever order they came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt64Array};
use bytes::Bytes;
use datafusion::common::Result;

use super::aggregate::write_sort_value;
use super::context::Context;
use super::evaluate::{each, evaluate, evaluate_all, millis};
use super::project::batch_of;
use super::rows::Rows;
use super::state_keys::{closed_keys, external, row_bytes, weight_of};
use super::watermark::{Watermark, reject_late};
use crate::planner::TopNNode;
use crate::state::{Overlay, codec, sort_by_bytes};

/// Runs one epoch of a Top-N.
///
/// # Errors
/// When an expression fails for a row that no single record made.
pub(super) fn top_n(
    node: &Arc<TopNNode>,
    input: Vec<Rows>,
    overlay: &mut Overlay<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<Rows>> {
    let before = context.before;
    let prepared = each(&input, context.rejected, |rows| Prepared::of(node, rows))?;
    let mut partitions: BTreeSet<Vec<u8>> = BTreeSet::new();
    for prepared in prepared {
        let prepared = prepared.on_time(node, before, context)?;
        prepared.store(node, overlay, &mut partitions)?;
    }
    let mut changes: BTreeMap<(u64, Bytes), i64> = BTreeMap::new();
    for partition in &partitions {
        for (weight, view) in [(-1, &Overlay::new(overlay.base())), (1, &*overlay)] {
            for (number, row) in first_rows(node, view.prefix(partition)) {
                *changes.entry((number, row)).or_default() += weight;
            }
        }
        if !node.keeps_all {
            prune(node, partition, overlay);
        }
    }
    if node.closing.is_some() {
        for (key, _) in closed_keys(overlay, &[], context.now) {
            overlay.put(key, None);
        }
    }
    changes.retain(|_, weight| *weight != 0);
    let rows: Vec<&[u8]> = changes.keys().map(|(_, row)| row.as_ref()).collect();
    let fields = node.schema.fields();
    let types: Vec<_> = fields[..fields.len() - 1].iter().map(|field| field.data_type().clone()).collect();
    let mut columns = codec::decode_rows(&rows, &types).map_err(external)?;
    columns.push(Arc::new(UInt64Array::from_iter_values(changes.keys().map(|(number, _)| *number))));
    let batch = batch_of(&node.schema, columns, rows.len())?;
    Ok(vec![Rows::changes(batch, changes.values().copied().collect())])
}

struct Prepared {
    rows: Rows,
    partition: Vec<ArrayRef>,
    order: Vec<ArrayRef>,
}

impl Prepared {
    fn of(node: &TopNNode, rows: &Rows) -> Result<Self> {
        let order = node.order.iter().map(|key| evaluate(&key.expression, rows));
        Ok(Prepared {
            partition: evaluate_all(&node.partition, rows)?,
            order: order.collect::<Result<Vec<_>>>()?,
            rows: rows.clone(),
        })
    }

    fn on_time(self, node: &TopNNode, before: Watermark, context: &mut Context<'_>) -> Result<Self> {
        let Some(closing) = node.closing.filter(|_| before != Watermark::NONE) else { return Ok(self) };
        let times = &self.partition[closing.column];
        let rows = reject_late(before, times, closing.after_ms, self.rows.clone(), context.rejected)?;
        if rows.len() == self.rows.len() { Ok(self) } else { Prepared::of(node, &rows) }
    }

    fn store(
        &self,
        node: &TopNNode,
        overlay: &mut Overlay<'_>,
        partitions: &mut BTreeSet<Vec<u8>>,
    ) -> Result<()> {
        let count = self.rows.len();
        let mut columns: Vec<ArrayRef> = Vec::new();
        if let Some(closing) = node.closing {
            let ends: Int64Array = millis(&self.partition[closing.column], true)?
                .unary(|time| time.saturating_add(closing.after_ms));
            columns.push(Arc::new(ends));
        }
        columns.extend(self.partition.iter().cloned());
        let keys = codec::encode_rows(&columns, count).map_err(external)?;
        let mut entries = Vec::with_capacity(count);
        for (index, (mut key, row)) in keys.into_iter().zip(row_bytes(&self.rows.batch)?).enumerate() {
            let partition = key.len();
            for (column, sort) in self.order.iter().zip(&node.order) {
                write_sort_value(column.as_ref(), index, sort.options, &mut key)?;
            }
            key.extend_from_slice(&row);
            entries.push(Entry { key, partition, row, weight: self.rows.weight(index) });
        }
        sort_by_bytes(&mut entries, |entry| &entry.key);
        for of_partition in entries.chunk_by(|one, other| one.partition() == other.partition()) {
            partitions.insert(of_partition[0].partition().to_vec());
            let mut numbered: i64 = 0;
            for entry in of_partition {
                // Nothing before it will ever go, so it will never have a number within the limit.
                if !node.keeps_all && u64::try_from(numbered).is_ok_and(|numbered| numbered >= node.limit) {
                    break;
                }
                numbered += entry.weight;
                overlay.update(Bytes::copy_from_slice(&entry.key), |before| {
                    let after = before.map_or(0, |row| weight_of(row).0) + entry.weight;
                    let value = || Bytes::from([&after.to_be_bytes(), entry.row.as_slice()].concat());
                    (after != 0).then(value)
                });
            }
        }
        Ok(())
    }
}

/// A row on its way into the state.
struct Entry {
    key: Vec<u8>,
    /// How much of the key is the partition's.
    partition: usize,
    row: Vec<u8>,
    weight: i64,
}

impl Entry {
    fn partition(&self) -> &[u8] {
        &self.key[..self.partition]
    }
}

/// The first rows of a partition with their numbers.
fn first_rows<'a>(node: &TopNNode, rows: impl Iterator<Item = (&'a Bytes, &'a Bytes)>) -> Vec<(u64, Bytes)> {
    let mut first = Vec::new();
    let mut number = 1;
    for (_, row) in rows {
        let (count, _) = weight_of(row);
        for _ in 0..count {
            if number > node.limit {
                return first;
            }
            first.push((number, row.slice(8..)));
            number += 1;
        }
    }
    first
}

/// Forgets rows beyond the limit, which no row before them will ever make room for.
fn prune(node: &TopNNode, partition: &[u8], overlay: &mut Overlay<'_>) {
    let mut before = 0;
    let mut beyond = Vec::new();
    for (key, row) in overlay.prefix(partition) {
        if before >= node.limit {
            beyond.push(key.clone());
        }
        before += u64::try_from(weight_of(row).0).unwrap_or_default();
    }
    for key in beyond {
        overlay.put(key, None);
    }
}
