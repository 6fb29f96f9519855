//! One row per group: rows of an epoch are aggregated by DataFusion's vectorised kernels, then merged into the state.
//!
//! ```text
//! rows ─▶ GroupValues + GroupsAccumulator ─▶ partial states of the epoch ─┐
//!                                    states of the same groups at commit ─┴─ merge ─▶ new states ─▶ deltas
//!                                                                                         └─▶ evaluate ─▶ result rows
//! ```
//!
//! DataFusion's accumulators forget when they are asked (`state` and `evaluate` reset them), so none outlives an epoch;
//! what lasts is the partial state of each group as a row of the store. A stored row is one flag byte, whether the
//! group's row is in the output, and the partial states in the layout of [`codec`]. Its key is the window's end, when
//! there is a window, and the group's values.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::rows::{Rejected, Rows};
use super::watermark::Watermark;
use crate::planner::{AggregateCall, AggregateNode};
use crate::sql::Emit;
use crate::state::codec;
use crate::state::{StateDelta, StateStore};

/// The aggregation of one epoch.
pub(super) struct AggregateEpoch {
    node: Arc<AggregateNode>,
    /// `None` without GROUP BY: there is one group.
    groups: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    group_indices: Vec<usize>,
    has_rows: bool,
}

/// Expressions evaluated over a batch; nothing has been counted yet.
pub(super) struct Prepared {
    groups: Vec<ArrayRef>,
    arguments: Vec<Vec<ArrayRef>>,
    filters: Vec<Option<BooleanArray>>,
    rows: usize,
}

/// Groups whose row in the result is new, by growing key.
pub(super) struct ChangedGroups {
    /// Group columns, then aggregates.
    pub(super) batch: RecordBatch,
    /// Their keys in the store.
    pub(super) keys: Vec<Bytes>,
    /// Their partial states; without the flag, which depends on what follows in the chain. `None` when the window has
    /// closed and the group is forgotten.
    states: Vec<Option<Vec<u8>>>,
    /// Whether the output holds a row of the group now.
    pub(super) was_emitted: Vec<bool>,
    /// Groups that are only forgotten.
    forgotten: Vec<Bytes>,
}

const EMITTED: u8 = 1;
const NOT_EMITTED: u8 = 0;

impl AggregateEpoch {
    pub(super) fn new(node: &Arc<AggregateNode>) -> Result<Self> {
        let groups = match node.group.is_empty() {
            true => None,
            false => Some(new_group_values(Arc::clone(&node.group_schema), &GroupOrdering::None)?),
        };
        let accumulators = new_accumulators(&node.aggregates)?;
        Ok(AggregateEpoch {
            node: Arc::clone(node),
            groups,
            accumulators,
            group_indices: Vec::new(),
            has_rows: false,
        })
    }

    /// Takes out the rows whose window has closed before this epoch.
    pub(super) fn reject_late(
        &self,
        watermark: Watermark,
        rows: Rows,
        rejected: &mut Vec<Rejected>,
    ) -> Result<Rows> {
        let Some(window) = self.node.window.filter(|_| watermark != Watermark::NONE) else { return Ok(rows) };
        let edges = self.node.group[window.column].evaluate(&rows.batch)?.into_array(rows.len())?;
        let ends = window_ends(&edges, window.to_end)?;
        let keep: BooleanArray =
            ends.iter().map(|end| Some(end.is_some_and(|end| !watermark.has_passed(end)))).collect();
        if keep.true_count() == rows.len() {
            return Ok(rows);
        }
        for (row, origin) in rows.origins.values().iter().enumerate() {
            if !keep.value(row) {
                let reason = match ends.is_null(row) {
                    true => "its event time is too far from the others to have a window".to_owned(),
                    false => "it came late: its window had closed, and its result was final".to_owned(),
                };
                rejected.push(Rejected { origin: *origin, reason, is_late: true });
            }
        }
        Ok(rows.filtered(&keep)?)
    }

    /// Evaluates everything that can fail because of a row.
    pub(super) fn prepare(&self, rows: &Rows) -> Result<Prepared> {
        let evaluate = |expression: &Arc<dyn datafusion::physical_expr::PhysicalExpr>| {
            expression.evaluate(&rows.batch)?.into_array(rows.len())
        };
        let groups = self.node.group.iter().map(evaluate).collect::<Result<Vec<_>>>()?;
        let arguments = self
            .node
            .aggregates
            .iter()
            .map(|call| call.arguments.iter().map(evaluate).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        let filters = self
            .node
            .aggregates
            .iter()
            .map(|call| match &call.filter {
                Some(filter) => Ok(Some(evaluate(filter)?.as_boolean().clone())),
                None => Ok(None),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Prepared { groups, arguments, filters, rows: rows.len() })
    }

    /// Counts a batch in.
    pub(super) fn update(&mut self, prepared: &Prepared) -> Result<()> {
        if prepared.rows == 0 {
            return Ok(());
        }
        self.has_rows = true;
        let total = match &mut self.groups {
            Some(groups) => {
                groups.intern(&prepared.groups, &mut self.group_indices)?;
                groups.len()
            }
            None => {
                self.group_indices.clear();
                self.group_indices.resize(prepared.rows, 0);
                1
            }
        };
        let inputs = prepared.arguments.iter().zip(&prepared.filters);
        for (accumulator, (arguments, filter)) in self.accumulators.iter_mut().zip(inputs) {
            accumulator.update_batch(arguments, &self.group_indices, filter.as_ref(), total)?;
        }
        Ok(())
    }

    /// Merges the epoch into the state and says which groups have a new row.
    pub(super) fn finish(mut self, store: &StateStore, watermark: Watermark) -> Result<ChangedGroups> {
        let mut merged = match self.has_rows {
            true => self.merge(store)?,
            false => BTreeMap::new(),
        };
        let closing = self.closing(store, &merged, watermark);
        let forgotten: Vec<Bytes> = closing.keys().filter(|key| store.get(key).is_some()).cloned().collect();
        let node = &self.node;
        match node.emit {
            Emit::Changes => {
                let mut changed = evaluate(node, merged, store)?;
                for (key, state) in changed.keys.iter().zip(&mut changed.states) {
                    if closing.contains_key(key) {
                        *state = None;
                    }
                }
                changed.forgotten = forgotten;
                Ok(changed)
            }
            Emit::Final => {
                merged.retain(|key, _| !closing.contains_key(key));
                let mut changed = evaluate(node, closing, store)?;
                changed.states.fill(None);
                changed.forgotten = forgotten;
                for (key, state) in merged {
                    changed.keep_without_output(key, state);
                }
                Ok(changed)
            }
        }
    }

    /// The new partial states of the epoch's groups that differ from the stored ones, by key.
    fn merge(&mut self, store: &StateStore) -> Result<BTreeMap<Bytes, Vec<u8>>> {
        let node = Arc::clone(&self.node);
        let groups = match &mut self.groups {
            Some(groups) => groups.emit(EmitTo::All)?,
            None => Vec::new(),
        };
        let count = groups.first().map_or(1, |column| column.len());
        let keys = group_keys(&node, &groups, count)?;
        let old: Vec<Option<&[u8]>> =
            keys.iter().map(|key| store.get(key).and_then(|row| row.get(1..))).collect();
        // Accumulators take it that every group below the count given has a row in some batch so far, so the groups
        // that have a stored state get the first numbers.
        let (known, new): (Vec<usize>, Vec<usize>) = (0..count).partition(|group| old[*group].is_some());
        let mut states = partial_states(&mut self.accumulators)?;
        let order =
            if known.is_empty() { (0..count).collect() } else { [known.as_slice(), new.as_slice()].concat() };
        if !known.is_empty() {
            let rows: Vec<&[u8]> = known.iter().filter_map(|group| old[*group]).collect();
            let stored = codec::decode_rows(&rows, &node.state_types).map_err(external)?;
            let mut number = vec![0; count];
            for (position, group) in order.iter().enumerate() {
                number[*group] = position;
            }
            let mut accumulators = new_accumulators(&node.aggregates)?;
            merge_into(&mut accumulators, &node.aggregates, &stored, &number_all(known.len()), known.len())?;
            merge_into(&mut accumulators, &node.aggregates, &states, &number, count)?;
            states = partial_states(&mut accumulators)?;
        }
        let encoded = codec::encode_rows(&states, count).map_err(external)?;
        let changed =
            order.into_iter().zip(encoded).filter(|(group, new)| old[*group] != Some(new.as_slice()));
        Ok(changed.map(|(group, new)| (keys[group].clone(), new)).collect())
    }

    /// The groups whose window the watermark has passed, with their newest partial states.
    fn closing(
        &self,
        store: &StateStore,
        merged: &BTreeMap<Bytes, Vec<u8>>,
        watermark: Watermark,
    ) -> BTreeMap<Bytes, Vec<u8>> {
        let (Some(end), Some(_)) = (watermark.0, self.node.window) else { return BTreeMap::new() };
        let mut bound = Vec::new();
        match end.checked_add(1) {
            Some(after) => write_end(after, &mut bound),
            // Beyond every key: no value byte is this great.
            None => bound.push(0xFF),
        }
        let stored =
            store.below(&bound).map(|(key, row)| (key.clone(), row.get(1..).unwrap_or_default().to_vec()));
        let mut closing: BTreeMap<Bytes, Vec<u8>> = stored.collect();
        let fresh = merged
            .range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Excluded(bound.as_slice())));
        closing.extend(fresh.map(|(key, state)| (key.clone(), state.clone())));
        closing
    }
}

impl ChangedGroups {
    /// A group whose state is new but whose row is not due yet.
    fn keep_without_output(&mut self, key: Bytes, state: Vec<u8>) {
        self.keys.push(key);
        self.states.push(Some(state));
        self.was_emitted.push(false);
    }

    /// The changes of state, given for each row of `batch` whether the output holds it from now on.
    pub(super) fn deltas(self, is_emitted: &[bool]) -> Vec<StateDelta> {
        let mut deltas: Vec<StateDelta> =
            self.forgotten.into_iter().map(|key| StateDelta { key, value: None }).collect();
        for (index, (key, state)) in self.keys.into_iter().zip(self.states).enumerate() {
            let Some(state) = state else { continue };
            let flag = if is_emitted.get(index).copied().unwrap_or(false) { EMITTED } else { NOT_EMITTED };
            let mut row = Vec::with_capacity(1 + state.len());
            row.push(flag);
            row.extend_from_slice(&state);
            deltas.push(StateDelta { key, value: Some(Bytes::from(row)) });
        }
        deltas
    }
}

/// The result rows of groups with these partial states.
fn evaluate(
    node: &AggregateNode,
    groups: BTreeMap<Bytes, Vec<u8>>,
    store: &StateStore,
) -> Result<ChangedGroups> {
    let count = groups.len();
    let (keys, states): (Vec<Bytes>, Vec<Vec<u8>>) = groups.into_iter().unzip();
    let mut types: Vec<DataType> = Vec::new();
    types.extend(node.window.map(|_| DataType::Int64));
    types.extend(node.group_schema.fields().iter().map(|field| field.data_type().clone()));
    let key_rows: Vec<&[u8]> = keys.iter().map(|key| key.as_ref()).collect();
    let mut columns = codec::decode_rows(&key_rows, &types).map_err(external)?;
    if node.window.is_some() {
        columns.remove(0);
    }
    let state_rows: Vec<&[u8]> = states.iter().map(Vec::as_slice).collect();
    let stored = codec::decode_rows(&state_rows, &node.state_types).map_err(external)?;
    let mut accumulators = new_accumulators(&node.aggregates)?;
    merge_into(&mut accumulators, &node.aggregates, &stored, &number_all(count), count)?;
    for accumulator in &mut accumulators {
        columns.push(accumulator.evaluate(EmitTo::All)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&node.schema), columns, &options)?;
    let was_emitted =
        keys.iter().map(|key| store.get(key).is_some_and(|row| row.first() == Some(&EMITTED))).collect();
    Ok(ChangedGroups {
        batch,
        keys,
        states: states.into_iter().map(Some).collect(),
        was_emitted,
        forgotten: Vec::new(),
    })
}

fn new_accumulators(calls: &[AggregateCall]) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
    calls
        .iter()
        .map(|call| {
            if call.function.groups_accumulator_supported() {
                return call.function.create_groups_accumulator();
            }
            let function = Arc::clone(&call.function);
            let adapter = GroupsAccumulatorAdapter::new(move || function.create_accumulator());
            Ok(Box::new(adapter) as Box<dyn GroupsAccumulator>)
        })
        .collect()
}

fn number_all(count: usize) -> Vec<usize> {
    (0..count).collect()
}

fn partial_states(accumulators: &mut [Box<dyn GroupsAccumulator>]) -> Result<Vec<ArrayRef>> {
    let mut states = Vec::new();
    for accumulator in accumulators {
        states.extend(accumulator.state(EmitTo::All)?);
    }
    Ok(states)
}

/// Merges state columns of all aggregates, row by row into the groups of `indices`.
fn merge_into(
    accumulators: &mut [Box<dyn GroupsAccumulator>],
    calls: &[AggregateCall],
    states: &[ArrayRef],
    indices: &[usize],
    count: usize,
) -> Result<()> {
    let mut rest = states;
    for (accumulator, call) in accumulators.iter_mut().zip(calls) {
        let width = call.function.state_fields()?.len();
        let Some((own, others)) = rest.split_at_checked(width) else {
            return exec_err!("{} has fewer state columns than it declares", call.function.name());
        };
        rest = others;
        accumulator.merge_batch(own, indices, count)?;
    }
    Ok(())
}

/// The keys of the groups: the window's end first, so that a range of keys is a range of windows.
fn group_keys(node: &AggregateNode, groups: &[ArrayRef], count: usize) -> Result<Vec<Bytes>> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(groups.len() + 1);
    if let Some(window) = node.window {
        columns.push(Arc::new(window_ends(&groups[window.column], window.to_end)?));
    }
    columns.extend(groups.iter().cloned());
    Ok(codec::encode_rows(&columns, count).map_err(external)?.into_iter().map(Bytes::from).collect())
}

fn window_ends(edges: &ArrayRef, to_end: i64) -> Result<Int64Array> {
    let ticks = cast(edges, &DataType::Int64)?;
    Ok(ticks.as_primitive::<Int64Type>().unary_opt(|edge| edge.checked_add(to_end)))
}

fn write_end(end: i64, out: &mut Vec<u8>) {
    // One Int64 column always encodes.
    if let Ok(mut rows) = codec::encode_rows(&[Arc::new(Int64Array::from(vec![end])) as ArrayRef], 1) {
        out.append(&mut rows[0]);
    }
}

fn external(error: codec::CodecError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
