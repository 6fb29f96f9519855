//! One row per group: the rows of an epoch are aggregated in columns, then merged into the state.
//!
//! ```text
//! changes ─▶ GroupValues + calls ─▶ what the epoch adds, per group ─┐
//!                        states of the same groups at the commit ───┴─ merge ─▶ new states ─▶ deltas
//!                                                  │                                └─▶ new rows  +1
//!                                                  └───────────────────────────────────▶ old rows  -1
//! ```
//!
//! What a group's aggregates need lies in one row of the store, and the values of those that need all of them in rows of
//! their own, in the order of the values:
//!
//! ```text
//! 00  group                       ─▶ number of rows, state of each aggregate
//! 01  group  order  value         ─▶ how often, value          of the first aggregate that keeps values
//! 02  group  order  value         ─▶ …                         of the second
//! ```
//!
//! When the watermark closes groups, the group's key begins with the time at which it does.

mod calls;
mod exact_sum;
mod multiset;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::context::Context;
use super::evaluate::{each, evaluate, evaluate_all, millis};
use super::project::batch_of;
use super::rows::Rows;
use super::state_keys::{closed_keys, external};
use super::watermark::{Watermark, reject_late};
use crate::planner::{AggregateNode, Closing};
use crate::sql::Emit;
use crate::state::{Overlay, codec, sort_by_bytes};
use calls::{Arguments, EpochCall};
pub(super) use multiset::write_sort_value;

/// The first byte of the keys of groups.
const GROUPS: u8 = 0;

/// Runs one epoch of an aggregate.
///
/// # Errors
/// When an expression fails for a row that no single record made.
pub(super) fn aggregate(
    node: &Arc<AggregateNode>,
    input: Vec<Rows>,
    overlay: &mut Overlay<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<Rows>> {
    let input = match node.closing {
        Some(closing) => on_time(node, closing, input, context)?,
        None => input,
    };
    let prepared = each(&input, context.rejected, |rows| Prepared::of(node, rows))?;
    let mut output = Vec::new();
    // Without GROUP BY there is a row even before there are rows.
    let is_first = node.group.is_empty() && overlay.get(&[GROUPS]).is_none();
    if !prepared.is_empty() || is_first {
        let merged = Merged::of(node, &prepared, overlay)?;
        match node.emit {
            Emit::Changes => output.extend(merged.changes(node, overlay)?),
            Emit::Final => {}
        }
    }
    if node.closing.is_some() && context.now != Watermark::NONE {
        output.extend(close(node, overlay, context.now)?);
    }
    Ok(output)
}

/// Takes out the rows whose group has closed before this epoch.
fn on_time(
    node: &AggregateNode,
    closing: Closing,
    input: Vec<Rows>,
    context: &mut Context<'_>,
) -> Result<Vec<Rows>> {
    if context.before == Watermark::NONE {
        return Ok(input);
    }
    let times = each(&input, context.rejected, |rows| {
        Ok((rows.clone(), evaluate(&node.group[closing.column], rows)?))
    })?;
    times
        .into_iter()
        .map(|(rows, times)| reject_late(context.before, &times, closing.after_ms, rows, context.rejected))
        .collect()
}

/// Everything evaluated that can fail because of a row; nothing has been counted yet.
struct Prepared {
    rows: usize,
    weights: Option<Int64Array>,
    groups: Vec<ArrayRef>,
    calls: Vec<Arguments>,
}

impl Prepared {
    fn of(node: &AggregateNode, rows: &Rows) -> Result<Self> {
        let calls = node.calls.iter().map(|call| Arguments::of(call, rows)).collect::<Result<Vec<_>>>()?;
        Ok(Prepared {
            rows: rows.len(),
            weights: rows.weights.clone(),
            groups: evaluate_all(&node.group, rows)?,
            calls,
        })
    }
}

/// The groups of an epoch, the known ones first, before and after it.
struct Merged {
    /// The groups' columns.
    groups: Vec<ArrayRef>,
    /// The groups' keys.
    keys: Vec<Bytes>,
    /// How many of them have been there before.
    known: usize,
    /// The states before, of the known groups.
    old: Vec<ArrayRef>,
    /// The states after.
    new: Vec<ArrayRef>,
    /// Groups of which something is different.
    changed: Vec<bool>,
    /// Groups that have rows now.
    exists: Vec<bool>,
}

impl Merged {
    /// Merges the rows of an epoch into the state.
    fn of(node: &AggregateNode, prepared: &[Prepared], overlay: &mut Overlay<'_>) -> Result<Self> {
        let mut epoch = EpochGroups::new(node)?;
        prepared.iter().try_for_each(|prepared| epoch.update(prepared))?;
        if prepared.is_empty() {
            epoch
                .calls
                .iter_mut()
                .zip(&node.calls)
                .try_for_each(|(call, declared)| call.update_with_none(declared))?;
        }
        let EpochGroups { groups, mut weights, mut calls, .. } = epoch;
        let groups = match groups {
            Some(mut groups) => groups.emit(EmitTo::All)?,
            None => Vec::new(),
        };
        let count = groups.first().map_or(1, |column| column.len());
        weights.resize(count, 0);
        let keys = group_keys(node, &groups, count)?;
        let rows = stored_rows(&keys, overlay);
        // DataFusion's accumulators take it that every group below the count given has a row in some batch so far, so
        // the groups that have a stored state get the first numbers.
        let (order, new): (Vec<usize>, Vec<usize>) = (0..count).partition(|group| rows[*group].is_some());
        let known = order.len();
        let order = [order, new].concat();
        let stored: Vec<&[u8]> =
            order[..known].iter().filter_map(|group| rows[*group].map(|row| row.as_ref())).collect();
        let types = calls::state_types(node)?;
        let old = codec::decode_rows(&stored, &types).map_err(external)?;

        let mut touched = vec![false; count];
        for (tag, call) in (GROUPS + 1..).zip(&mut calls) {
            call.store_values(tag, &keys, overlay, &mut touched)?;
        }
        let before = old[0].as_primitive::<Int64Type>();
        let weight = |(place, group): (usize, &usize)| {
            weights[*group] + if place < known { before.value(place) } else { 0 }
        };
        let total: Int64Array = order.iter().enumerate().map(weight).collect();
        let mut new: Vec<ArrayRef> = vec![Arc::new(total.clone())];
        let mut rest = &old[1..];
        for (call, declared) in calls.iter_mut().zip(&node.calls) {
            let (own, others) = rest.split_at(calls::call_types(declared)?.len());
            rest = others;
            new.extend(call.merged(declared, own, &order, known)?);
        }

        let encoded = codec::encode_rows(&new, count).map_err(external)?;
        let exists: Vec<bool> =
            total.values().iter().map(|weight| *weight != 0 || node.group.is_empty()).collect();
        let changed = order.iter().zip(&encoded).enumerate();
        let changed: Vec<bool> = changed
            .map(|(place, (group, row))| {
                place >= known
                    || touched[*group]
                    || rows[*group].map(|old| old.as_ref()) != Some(row.as_slice())
            })
            .collect();
        let mut writes: Vec<(Bytes, Option<Bytes>)> = order
            .iter()
            .zip(encoded)
            .zip(&exists)
            .map(|((group, row), exists)| (row_key(&keys[*group]), exists.then(|| Bytes::from(row))))
            .collect();
        sort_by_bytes(&mut writes, |(key, _)| key);
        for (key, row) in writes {
            overlay.put(key, row);
        }
        let places = UInt32Array::from_iter_values(order.iter().map(|group| *group as u32));
        Ok(Merged {
            groups: taken(&groups, &places)?,
            keys: order.iter().map(|group| keys[*group].clone()).collect(),
            known,
            old,
            new,
            changed,
            exists,
        })
    }

    /// The rows that go and the rows that come.
    fn changes(&self, node: &AggregateNode, overlay: &Overlay<'_>) -> Result<Vec<Rows>> {
        let goes = |place: &usize| *place < self.known && self.changed[*place];
        let comes = |place: &usize| self.exists[*place] && self.changed[*place];
        let places = 0..self.keys.len();
        let old: Vec<usize> = places.clone().filter(goes).collect();
        let new: Vec<usize> = places.filter(comes).collect();
        let before = self.rows(node, &self.old, &old, &Overlay::new(overlay.base()))?;
        let after = self.rows(node, &self.new, &new, overlay)?;
        let same = match calls::same_state_same_result(node) {
            true => Vec::new(),
            false => same_rows(&before, &old, &after, &new, node.group.len())?,
        };
        let kept = |batch: RecordBatch, places: &[usize], weight: i64| -> Result<Rows> {
            let rows = Rows::changes(batch, vec![weight; places.len()]);
            match same.is_empty() {
                true => Ok(rows),
                false => {
                    let keep: BooleanArray =
                        places.iter().map(|place| Some(same.binary_search(place).is_err())).collect();
                    Ok(rows.filtered(&keep)?)
                }
            }
        };
        Ok(vec![kept(before, &old, -1)?, kept(after, &new, 1)?])
    }

    fn rows(
        &self,
        node: &AggregateNode,
        states: &[ArrayRef],
        places: &[usize],
        view: &Overlay<'_>,
    ) -> Result<RecordBatch> {
        let indices = UInt32Array::from_iter_values(places.iter().map(|place| *place as u32));
        let keys: Vec<&[u8]> = places.iter().map(|place| self.keys[*place].as_ref()).collect();
        result_rows(node, taken(&self.groups, &indices)?, &taken(states, &indices)?, &keys, view)
    }
}

/// The rows of these groups at the last commit. They are looked for in the order of their keys, as they lie.
fn stored_rows<'a>(keys: &[Bytes], overlay: &Overlay<'a>) -> Vec<Option<&'a Bytes>> {
    let mut groups: Vec<(&Bytes, usize)> = keys.iter().zip(0..).collect();
    sort_by_bytes(&mut groups, |(key, _)| key);
    let mut rows = vec![None; keys.len()];
    for (key, group) in groups {
        rows[group] = overlay.base().get(&row_key(key));
    }
    rows
}

/// Places that have the same row before and after, in their order.
fn same_rows(
    before: &RecordBatch,
    old: &[usize],
    after: &RecordBatch,
    new: &[usize],
    group_columns: usize,
) -> Result<Vec<usize>> {
    let results = |batch: &RecordBatch| {
        codec::encode_rows(&batch.columns()[group_columns..], batch.num_rows()).map_err(external)
    };
    let (before, after) = (results(before)?, results(after)?);
    let mut old = old.iter().zip(&before).peekable();
    let mut same = Vec::new();
    for (place, row) in new.iter().zip(&after) {
        while old.next_if(|(earlier, _)| *earlier < place).is_some() {}
        if old.peek().is_some_and(|(earlier, old)| *earlier == place && *old == row) {
            same.push(*place);
        }
    }
    Ok(same)
}

/// The groups of one epoch and what it adds to each.
struct EpochGroups {
    /// `None` without GROUP BY: there is one group.
    groups: Option<Box<dyn GroupValues>>,
    weights: Vec<i64>,
    calls: Vec<EpochCall>,
    indices: Vec<usize>,
}

impl EpochGroups {
    fn new(node: &AggregateNode) -> Result<Self> {
        let groups = match node.group.is_empty() {
            true => None,
            false => Some(new_group_values(Arc::clone(&node.group_schema), &GroupOrdering::None)?),
        };
        let calls = node.calls.iter().map(EpochCall::new).collect::<Result<Vec<_>>>()?;
        Ok(EpochGroups { groups, weights: Vec::new(), calls, indices: Vec::new() })
    }

    fn update(&mut self, prepared: &Prepared) -> Result<()> {
        let total = match &mut self.groups {
            Some(groups) => {
                groups.intern(&prepared.groups, &mut self.indices)?;
                groups.len()
            }
            None => {
                self.indices.clear();
                self.indices.resize(prepared.rows, 0);
                1
            }
        };
        self.weights.resize(total, 0);
        let weights = prepared.weights.as_ref().map(|weights| weights.values().as_ref());
        for (row, group) in self.indices.iter().enumerate() {
            self.weights[*group] += weights.map_or(1, |weights: &[i64]| weights[row]);
        }
        for (call, arguments) in self.calls.iter_mut().zip(&prepared.calls) {
            call.update(arguments, weights, &self.indices, total)?;
        }
        Ok(())
    }
}

/// Forgets the groups that the watermark has passed and, where that is what is asked for, gives their rows.
fn close(node: &AggregateNode, overlay: &mut Overlay<'_>, now: Watermark) -> Result<Option<Rows>> {
    let closed: Vec<(Bytes, Bytes)> = closed_keys(overlay, &[GROUPS], now);
    let mut output = None;
    if node.emit == Emit::Final && !closed.is_empty() {
        let keys: Vec<&[u8]> = closed.iter().map(|(key, _)| &key[1..]).collect();
        let states: Vec<&[u8]> = closed.iter().map(|(_, row)| row.as_ref()).collect();
        let mut types = vec![DataType::Int64];
        types.extend(node.group_schema.fields().iter().map(|field| field.data_type().clone()));
        let mut groups = codec::decode_rows(&keys, &types).map_err(external)?;
        groups.remove(0);
        let states = codec::decode_rows(&states, &calls::state_types(node)?).map_err(external)?;
        let batch = result_rows(node, groups, &states, &keys, overlay)?;
        let count = batch.num_rows();
        output = Some(Rows::changes(batch, vec![1; count]));
    }
    let tags = (GROUPS..).take(1 + node.calls.len());
    let forgotten: Vec<Bytes> =
        tags.flat_map(|tag| closed_keys(overlay, &[tag], now)).map(|(key, _)| key).collect();
    for key in forgotten {
        overlay.put(key, None);
    }
    Ok(output)
}

/// The node's rows of groups with these states; the first state is the number of rows.
fn result_rows(
    node: &AggregateNode,
    groups: Vec<ArrayRef>,
    states: &[ArrayRef],
    keys: &[&[u8]],
    view: &Overlay<'_>,
) -> Result<RecordBatch> {
    let mut columns = groups;
    let mut rest = &states[1..];
    for (tag, call) in (GROUPS + 1..).zip(&node.calls) {
        let (own, others) = rest.split_at(calls::call_types(call)?.len());
        rest = others;
        columns.push(calls::evaluate(call, tag, own, keys, view)?);
    }
    batch_of(&node.schema, columns, keys.len())
}

/// The keys of the groups: the time at which they close first, so that a range of keys is a stretch of time.
fn group_keys(node: &AggregateNode, groups: &[ArrayRef], count: usize) -> Result<Vec<Bytes>> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(groups.len() + 1);
    if let Some(closing) = node.closing {
        let ends: Int64Array =
            millis(&groups[closing.column], true)?.unary(|time| time.saturating_add(closing.after_ms));
        columns.push(Arc::new(ends));
    }
    columns.extend(groups.iter().cloned());
    Ok(codec::encode_rows(&columns, count).map_err(external)?.into_iter().map(Bytes::from).collect())
}

fn row_key(group: &[u8]) -> Bytes {
    Bytes::from([&[GROUPS], group].concat())
}

fn taken(columns: &[ArrayRef], indices: &UInt32Array) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|column| Ok(take(column, indices, None)?)).collect()
}
