//! Pairs of rows: `Δ(A⋈B) = ΔA⋈B' + A⋈ΔB`, where `A` is before the epoch and `B'` after it.
//!
//! ```text
//! 00  key  left row    ─▶ weight, partners      of a LEFT join: the weights of its partners, summed
//! 01  key  right row   ─▶ weight
//! 02  expiry  00|01  key  row  ─▶ nothing       rows that can be forgotten once the watermark has passed the expiry
//! ```
//!
//! A left row without partner is given with nulls. When its first partner comes the nulls are taken back, and given again
//! when the last one goes; so the number of its partners is kept with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::context::Context;
use super::evaluate::{each, evaluate_all, millis};
use super::project::batch_of;
use super::rows::Rows;
use super::state_keys::{
    closed_keys, columns_from_bytes, external, row_bytes, time_key, weight_of, weight_row,
};
use super::watermark::{Watermark, reject_late};
use crate::planner::{Closing, JoinNode};
use crate::state::Overlay;
use crate::state::codec;

const LEFT: u8 = 0;
const RIGHT: u8 = 1;
const EXPIRY: u8 = 2;

/// Pairs that are looked at at a time.
const PAIRS_MAX: usize = 8_192;

/// Runs one epoch of a join.
///
/// # Errors
/// When an expression fails for a row that no single record made, or the condition for a pair.
pub(super) fn join(
    node: &Arc<JoinNode>,
    left: Vec<Rows>,
    right: Vec<Rows>,
    overlay: &mut Overlay<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<Rows>> {
    let lefts: Vec<Arc<dyn PhysicalExpr>> = node.on.iter().map(|(left, _)| Arc::clone(left)).collect();
    let rights: Vec<Arc<dyn PhysicalExpr>> = node.on.iter().map(|(_, right)| Arc::clone(right)).collect();
    // A row is late only where its partners may have been forgotten.
    let late_left = node.left_late.filter(|_| node.right_closing.is_some());
    let late_right = node.right_late.filter(|_| node.left_closing.is_some());
    let left = Side::of(&lefts, left, late_left, node.left_closing, context)?;
    let right = Side::of(&rights, right, late_right, node.right_closing, context)?;
    let mut pairs = Pairs::new(node);

    // A ⋈ ΔB, with A as it was.
    for (key, rows) in &right.changes {
        let prefix = [&[LEFT], key.as_slice()].concat();
        for (stored, row) in overlay.base().prefix(&prefix) {
            let (weight, _) = weight_of(row);
            for (right_row, change) in rows {
                pairs.add(key, &stored[prefix.len()..], right_row, weight, *change)?;
            }
        }
    }
    right.store(RIGHT, overlay);
    // ΔA ⋈ B', with B as it is now.
    for (key, rows) in &left.changes {
        let prefix = [&[RIGHT], key.as_slice()].concat();
        pairs.begin_changed_left();
        for (stored, row) in overlay.prefix(&prefix) {
            let (weight, _) = weight_of(row);
            for (left_row, change) in rows {
                pairs.add(key, left_row, &stored[prefix.len()..], *change, weight)?;
            }
        }
    }
    let mut output = Vec::new();
    let partners = pairs.finish(&mut output)?;
    if node.is_left {
        output.extend(unmatched(node, &left, &partners, overlay)?);
        let alone = left.without_key.iter().map(|(row, weight)| (row.as_slice(), *weight)).collect();
        output.extend(with_nulls(node, alone)?);
    } else {
        left.store(LEFT, overlay);
    }
    forget(overlay, context.now);
    Ok(output)
}

/// The changes of one side of an epoch, consolidated.
struct Side {
    /// By key, by row: how often more.
    changes: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, i64>>,
    /// Rows whose key has a null, which equals nothing.
    without_key: BTreeMap<Vec<u8>, i64>,
    /// When rows expire, by row.
    expiries: BTreeMap<Vec<u8>, i64>,
}

impl Side {
    fn of(
        on: &[Arc<dyn PhysicalExpr>],
        input: Vec<Rows>,
        late: Option<Closing>,
        closing: Option<Closing>,
        context: &mut Context<'_>,
    ) -> Result<Side> {
        let mut side =
            Side { changes: BTreeMap::new(), without_key: BTreeMap::new(), expiries: BTreeMap::new() };
        let input = match late {
            Some(late) if context.before != Watermark::NONE => {
                let reject = |rows: Rows| {
                    let times = Arc::clone(rows.batch.column(late.column));
                    reject_late(context.before, &times, late.after_ms, rows, context.rejected)
                };
                input.into_iter().map(reject).collect::<Result<Vec<_>>>()?
            }
            _ => input,
        };
        let keyed = each(&input, context.rejected, |rows| Ok((rows.clone(), evaluate_all(on, rows)?)))?;
        for (rows, keys) in keyed {
            let encoded = row_bytes(&rows.batch)?;
            let key_bytes = codec::encode_rows(&keys, rows.len()).map_err(external)?;
            let ends = closing.map(|closing| millis(rows.batch.column(closing.column), true)).transpose()?;
            for (index, (row, key)) in encoded.into_iter().zip(key_bytes).enumerate() {
                let weight = rows.weight(index);
                if keys.iter().any(|key| key.is_null(index)) {
                    *side.without_key.entry(row).or_default() += weight;
                    continue;
                }
                if let (Some(ends), Some(closing)) = (&ends, closing)
                    && ends.is_valid(index)
                {
                    side.expiries.insert(row.clone(), ends.value(index).saturating_add(closing.after_ms));
                }
                *side.changes.entry(key).or_default().entry(row).or_default() += weight;
            }
        }
        side.without_key.retain(|_, weight| *weight != 0);
        side.changes.retain(|_, rows| {
            rows.retain(|_, weight| *weight != 0);
            !rows.is_empty()
        });
        Ok(side)
    }

    /// Adds the changes to the rows of a side that has weights only.
    fn store(&self, tag: u8, overlay: &mut Overlay<'_>) {
        for (key, rows) in &self.changes {
            for (row, change) in rows {
                let stored = Bytes::from([&[tag], key.as_slice(), row].concat());
                let before = overlay.get(&stored).map_or(0, |row| weight_of(row).0);
                let after = before + change;
                self.store_expiry(tag, key, row, after != 0, overlay);
                overlay.put(stored, weight_row(after));
            }
        }
    }

    fn store_expiry(&self, tag: u8, key: &[u8], row: &[u8], exists: bool, overlay: &mut Overlay<'_>) {
        if let Some(expiry) = self.expiries.get(row) {
            let entry = [&[EXPIRY], time_key(*expiry).as_slice(), &[tag], key, row].concat();
            overlay.put(Bytes::from(entry), exists.then(Bytes::new));
        }
    }
}

/// How much the partners of a left row have changed, by key and row.
#[derive(Default)]
struct Partners {
    /// Of rows that were there before.
    changed: BTreeMap<(Vec<u8>, Vec<u8>), i64>,
    /// Of rows of the epoch: all the partners they have now.
    fresh: BTreeMap<(Vec<u8>, Vec<u8>), i64>,
}

/// Pairs on their way to the condition and to the output.
struct Pairs<'a> {
    node: &'a JoinNode,
    keys: Vec<Vec<u8>>,
    left: Vec<Vec<u8>>,
    right: Vec<Vec<u8>>,
    left_weights: Vec<i64>,
    right_weights: Vec<i64>,
    is_fresh: bool,
    fresh_from: usize,
    partners: Partners,
    output: Vec<Rows>,
}

impl<'a> Pairs<'a> {
    fn new(node: &'a JoinNode) -> Self {
        Pairs {
            node,
            keys: Vec::new(),
            left: Vec::new(),
            right: Vec::new(),
            left_weights: Vec::new(),
            right_weights: Vec::new(),
            is_fresh: false,
            fresh_from: 0,
            partners: Partners::default(),
            output: Vec::new(),
        }
    }

    /// From now on the left rows are those of the epoch.
    fn begin_changed_left(&mut self) {
        if !self.is_fresh {
            self.is_fresh = true;
            self.fresh_from = self.left.len();
        }
    }

    fn add(
        &mut self,
        key: &[u8],
        left: &[u8],
        right: &[u8],
        left_weight: i64,
        right_weight: i64,
    ) -> Result<()> {
        if self.node.is_left {
            self.keys.push(key.to_vec());
        }
        self.left.push(left.to_vec());
        self.right.push(right.to_vec());
        self.left_weights.push(left_weight);
        self.right_weights.push(right_weight);
        if self.left.len() >= PAIRS_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let count = self.left.len();
        if count == 0 {
            return Ok(());
        }
        let left: Vec<&[u8]> = self.left.iter().map(Vec::as_slice).collect();
        let right: Vec<&[u8]> = self.right.iter().map(Vec::as_slice).collect();
        let mut columns = columns_from_bytes(&left, &self.node.left_schema)?;
        columns.extend(columns_from_bytes(&right, &self.node.right_schema)?);
        let batch = batch_of(&self.node.schema, columns, count)?;
        let weights = self.left_weights.iter().zip(&self.right_weights).map(|(left, right)| left * right);
        let rows = Rows::changes(batch, weights.collect());
        let keep = match &self.node.filter {
            Some(filter) => super::evaluate::evaluate(filter, &rows)?.as_boolean().clone(),
            None => BooleanArray::from(vec![true; count]),
        };
        if self.node.is_left {
            let kept = (0..count).filter(|pair| keep.is_valid(*pair) && keep.value(*pair));
            for pair in kept {
                let of = match self.is_fresh && pair >= self.fresh_from {
                    true => &mut self.partners.fresh,
                    false => &mut self.partners.changed,
                };
                let row = (self.keys[pair].clone(), self.left[pair].clone());
                *of.entry(row).or_default() += self.right_weights[pair];
            }
        }
        let rows = if keep.true_count() == count { rows } else { rows.filtered(&keep)? };
        if !rows.is_empty() {
            self.output.push(rows);
        }
        self.keys.clear();
        self.left.clear();
        self.right.clear();
        self.left_weights.clear();
        self.right_weights.clear();
        self.fresh_from = 0;
        Ok(())
    }

    fn finish(mut self, output: &mut Vec<Rows>) -> Result<Partners> {
        self.flush()?;
        output.append(&mut self.output);
        Ok(self.partners)
    }
}

/// Brings the left rows of a LEFT join up to date; gives those that have lost their last partner or got their first.
fn unmatched(
    node: &JoinNode,
    left: &Side,
    partners: &Partners,
    overlay: &mut Overlay<'_>,
) -> Result<Option<Rows>> {
    let mut changed: BTreeMap<(&[u8], &[u8]), i64> =
        partners.changed.keys().map(|(key, row)| ((key.as_slice(), row.as_slice()), 0)).collect();
    for (key, rows) in &left.changes {
        changed.extend(rows.iter().map(|(row, change)| ((key.as_slice(), row.as_slice()), *change)));
    }
    let mut alone: Vec<(&[u8], i64)> = Vec::new();
    for ((key, row), change) in changed {
        let stored = Bytes::from([&[LEFT], key, row].concat());
        let before = overlay.base().get(&stored);
        let (old_weight, old_partners) = before.map_or((0, 0), |row| {
            let (weight, rest) = weight_of(row);
            (weight, weight_of(rest).0)
        });
        let name = (key.to_vec(), row.to_vec());
        let new_partners = match before {
            Some(_) => old_partners + partners.changed.get(&name).copied().unwrap_or_default(),
            None => partners.fresh.get(&name).copied().unwrap_or_default(),
        };
        let new_weight = old_weight + change;
        let was_alone = if old_partners == 0 { old_weight } else { 0 };
        let is_alone = if new_partners == 0 { new_weight } else { 0 };
        if is_alone != was_alone {
            alone.push((row, is_alone - was_alone));
        }
        if change != 0 {
            left.store_expiry(LEFT, key, row, new_weight != 0, overlay);
        }
        let value = [new_weight.to_be_bytes(), new_partners.to_be_bytes()].concat();
        overlay.put(stored, (new_weight != 0).then(|| Bytes::from(value)));
    }
    with_nulls(node, alone)
}

/// Left rows with nulls for a right one.
fn with_nulls(node: &JoinNode, alone: Vec<(&[u8], i64)>) -> Result<Option<Rows>> {
    if alone.is_empty() {
        return Ok(None);
    }
    let (rows, weights): (Vec<&[u8]>, Vec<i64>) = alone.into_iter().unzip();
    let mut columns = columns_from_bytes(&rows, &node.left_schema)?;
    let null =
        |field: &arrow::datatypes::FieldRef| -> ArrayRef { new_null_array(field.data_type(), rows.len()) };
    columns.extend(node.right_schema.fields().iter().map(null));
    Ok(Some(Rows::changes(batch_of(&node.schema, columns, rows.len())?, weights)))
}

/// Forgets the rows that can have no new partner.
fn forget(overlay: &mut Overlay<'_>, now: Watermark) {
    for (entry, _) in closed_keys(overlay, &[EXPIRY], now) {
        let row = entry.slice(1 + time_key(0).len()..);
        overlay.put(row, None);
        overlay.put(entry, None);
    }
}
