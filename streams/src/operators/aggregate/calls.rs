//! One aggregate of an epoch: what the epoch's rows add to each group, merged with what was there.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    UInt32Array, UInt64Array, new_null_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use bytes::Bytes;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;

use super::exact_sum::ExactSum;
use super::multiset::{self, Values};
use crate::operators::evaluate::{evaluate as evaluate_expression, evaluate_all};
use crate::operators::rows::Rows;
use crate::planner::{AggregateCall, AggregateKind, AggregateNode};
use crate::state::Overlay;

/// Rows given at a time to an accumulator that knows nothing of weights.
const REPEATED_ROWS: usize = 8_192;

/// What an aggregate is given of a batch.
pub(super) struct Arguments {
    pub(super) values: Vec<ArrayRef>,
    pub(super) order: Vec<ArrayRef>,
    filter: Option<BooleanArray>,
}

impl Arguments {
    pub(super) fn of(call: &AggregateCall, rows: &Rows) -> Result<Self> {
        let filter = match &call.filter {
            Some(filter) => Some(evaluate_expression(filter, rows)?.as_boolean().clone()),
            None => None,
        };
        let order = call.order.iter().map(|key| evaluate_expression(&key.expression, rows));
        Ok(Arguments {
            values: evaluate_all(&call.arguments, rows)?,
            order: order.collect::<Result<Vec<_>>>()?,
            filter,
        })
    }

    /// Whether a row passes the FILTER.
    pub(super) fn passes(&self, row: usize) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_valid(row) && filter.value(row))
    }
}

/// What an epoch adds to each group, by the group's number in the epoch.
pub(super) enum EpochCall {
    /// DataFusion's accumulators; they forget when they are asked, so none outlives an epoch.
    Merged(Box<dyn GroupsAccumulator>),
    /// How many.
    Count(Vec<i64>),
    /// How many, and their sum; sums wrap as DataFusion's do.
    Sum(Vec<(i64, i128)>),
    /// How many, and their sum.
    ExactSum(Vec<(i64, ExactSum)>),
    /// The values themselves, which go to the store; for COUNT(DISTINCT) how many more there are then.
    Values(Values, Vec<i64>),
}

impl EpochCall {
    pub(super) fn new(call: &AggregateCall) -> Result<Self> {
        Ok(match call.kind {
            AggregateKind::Merged => EpochCall::Merged(accumulator(call)?),
            AggregateKind::Count => EpochCall::Count(Vec::new()),
            AggregateKind::Sum | AggregateKind::Average => EpochCall::Sum(Vec::new()),
            AggregateKind::ExactSum | AggregateKind::ExactAverage => EpochCall::ExactSum(Vec::new()),
            AggregateKind::CountDistinct
            | AggregateKind::First
            | AggregateKind::Last
            | AggregateKind::Replayed => EpochCall::Values(Values::of(call), Vec::new()),
        })
    }

    /// Takes in a batch whose rows are of these groups; `total` groups there are so far.
    pub(super) fn update(
        &mut self,
        arguments: &Arguments,
        weights: Option<&[i64]>,
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        let weight = |row: usize| weights.map_or(1, |weights| weights[row]);
        let counted = |row: &usize| {
            arguments.passes(*row) && arguments.values.first().is_none_or(|values| values.is_valid(*row))
        };
        match self {
            EpochCall::Merged(accumulator) => match weights
                .filter(|all| all.iter().any(|weight| *weight != 1))
            {
                None => accumulator.update_batch(&arguments.values, groups, arguments.filter.as_ref(), total),
                Some(weights) => update_repeated(accumulator.as_mut(), arguments, weights, groups, total),
            },
            EpochCall::Count(counts) => {
                counts.resize(total, 0);
                for row in (0..groups.len()).filter(counted) {
                    counts[groups[row]] += weight(row);
                }
                Ok(())
            }
            EpochCall::Sum(sums) => {
                sums.resize(total, (0, 0));
                let values = Whole::of(&arguments.values[0])?;
                for row in (0..groups.len()).filter(counted) {
                    let (count, sum) = &mut sums[groups[row]];
                    *count += weight(row);
                    *sum = sum.wrapping_add(values.value(row).wrapping_mul(i128::from(weight(row))));
                }
                Ok(())
            }
            EpochCall::ExactSum(sums) => {
                sums.resize_with(total, Default::default);
                let values = cast(&arguments.values[0], &DataType::Float64)?;
                let values = values.as_primitive::<Float64Type>();
                for row in (0..groups.len()).filter(counted) {
                    let (count, sum) = &mut sums[groups[row]];
                    *count += weight(row);
                    sum.add(values.value(row), weight(row));
                }
                Ok(())
            }
            EpochCall::Values(values, _) => values.update(arguments, weights, groups),
        }
    }

    /// Makes a group without rows; only where there is no GROUP BY.
    pub(super) fn update_with_none(&mut self, call: &AggregateCall) -> Result<()> {
        let EpochCall::Merged(accumulator) = self else { return Ok(()) };
        let nulls: Vec<ArrayRef> =
            call.argument_types.iter().map(|data_type| new_null_array(data_type, 1)).collect();
        accumulator.update_batch(&nulls, &[0], Some(&BooleanArray::from(vec![false])), 1)
    }

    /// Writes values to the store, and marks the groups of which some are new or gone.
    pub(super) fn store_values(
        &mut self,
        tag: u8,
        keys: &[Bytes],
        overlay: &mut Overlay<'_>,
        touched: &mut [bool],
    ) -> Result<()> {
        if let EpochCall::Values(values, distinct) = self {
            *distinct = values.store(tag, keys, overlay, touched);
        }
        Ok(())
    }

    /// The states after the epoch, of the groups in this order; `old` are those of the first `known` of them.
    pub(super) fn merged(
        &mut self,
        call: &AggregateCall,
        old: &[ArrayRef],
        order: &[usize],
        known: usize,
    ) -> Result<Vec<ArrayRef>> {
        let before = |column: usize, place: usize| -> i64 {
            if place < known { old[column].as_primitive::<Int64Type>().value(place) } else { 0 }
        };
        match self {
            EpochCall::Merged(accumulator) => merge_partial(call, accumulator.as_mut(), old, order, known),
            EpochCall::Count(counts) => Ok(vec![counts_after(counts, order, |place| before(0, place))]),
            EpochCall::Values(_, counts) if call.kind == AggregateKind::CountDistinct => {
                Ok(vec![counts_after(counts, order, |place| before(0, place))])
            }
            EpochCall::Values(_, _) => Ok(Vec::new()),
            EpochCall::Sum(sums) => {
                sums.resize(order.len(), (0, 0));
                let was = if known > 0 { Some(Whole::of(&old[1])?) } else { None };
                let (mut counts, mut totals) = (Vec::new(), Vec::new());
                for (place, group) in order.iter().enumerate() {
                    let (count, sum) = sums[*group];
                    counts.push(count + before(0, place));
                    let was = was.as_ref().filter(|_| place < known).map_or(0, |was| was.value(place));
                    totals.push(sum.wrapping_add(was));
                }
                let types = call_types(call)?;
                Ok(vec![Arc::new(Int64Array::from(counts)), whole_array(totals, &types[1])?])
            }
            EpochCall::ExactSum(sums) => {
                sums.resize_with(order.len(), Default::default);
                let (mut counts, mut totals) = (Vec::new(), Vec::new());
                for (place, group) in order.iter().enumerate() {
                    let (count, sum) = &mut sums[*group];
                    if place < known {
                        sum.merge(&stored_sum(&old[1], place)?);
                    }
                    counts.push(*count + before(0, place));
                    totals.push(sum.encode());
                }
                Ok(vec![
                    Arc::new(Int64Array::from(counts)),
                    Arc::new(BinaryArray::from_iter_values(totals.iter())),
                ])
            }
        }
    }
}

/// The types of a group's row: the number of its rows, then the states of its aggregates.
pub(super) fn state_types(node: &AggregateNode) -> Result<Vec<DataType>> {
    let mut types = vec![DataType::Int64];
    for call in &node.calls {
        types.extend(call_types(call)?);
    }
    Ok(types)
}

/// The types of an aggregate's state.
pub(super) fn call_types(call: &AggregateCall) -> Result<Vec<DataType>> {
    Ok(match call.kind {
        AggregateKind::Merged => {
            call.function.state_fields()?.iter().map(|field| field.data_type().clone()).collect()
        }
        AggregateKind::Count | AggregateKind::CountDistinct => vec![DataType::Int64],
        AggregateKind::Sum => vec![DataType::Int64, call.return_type()],
        AggregateKind::Average => {
            let fields = call.function.state_fields()?;
            let sum = fields.get(1).map_or(DataType::Null, |field| field.data_type().clone());
            vec![DataType::Int64, sum]
        }
        AggregateKind::ExactSum | AggregateKind::ExactAverage => vec![DataType::Int64, DataType::Binary],
        AggregateKind::First | AggregateKind::Last | AggregateKind::Replayed => Vec::new(),
    })
}

/// Whether a group's row is another one whenever its state is.
pub(super) fn same_state_same_result(node: &AggregateNode) -> bool {
    node.calls.iter().all(|call| matches!(call.kind, AggregateKind::Count)) && !node.calls.is_empty()
}

/// The results of groups with these states.
pub(super) fn evaluate(
    call: &AggregateCall,
    tag: u8,
    states: &[ArrayRef],
    keys: &[&[u8]],
    view: &Overlay<'_>,
) -> Result<ArrayRef> {
    let count = keys.len();
    let counts = || states[0].as_primitive::<Int64Type>();
    match call.kind {
        AggregateKind::Merged => evaluate_partial(call, states, count),
        AggregateKind::Count | AggregateKind::CountDistinct => Ok(Arc::clone(&states[0])),
        AggregateKind::Sum => Ok(null_where_none(counts(), &states[1])?),
        AggregateKind::Average => {
            let counts: UInt64Array =
                counts().iter().map(|count| count.and_then(|count| u64::try_from(count).ok())).collect();
            let empty: BooleanArray = counts.iter().map(|count| Some(count == Some(0))).collect();
            let counts = arrow::compute::nullif(&counts, &empty)?;
            let sums = arrow::compute::nullif(&states[1], &empty)?;
            evaluate_partial(call, &[counts, sums], count)
        }
        AggregateKind::ExactSum | AggregateKind::ExactAverage => {
            let mut results = Vec::with_capacity(count);
            for (place, count) in counts().values().iter().enumerate() {
                let sum = stored_sum(&states[1], place)?.value();
                results.push(match call.kind {
                    _ if *count == 0 => None,
                    AggregateKind::ExactAverage => Some(sum / *count as f64),
                    _ => Some(sum),
                });
            }
            Ok(Arc::new(Float64Array::from(results)))
        }
        AggregateKind::First | AggregateKind::Last | AggregateKind::Replayed => {
            multiset::evaluate(call, tag, keys, view)
        }
    }
}

fn counts_after(counts: &mut Vec<i64>, order: &[usize], before: impl Fn(usize) -> i64) -> ArrayRef {
    counts.resize(order.len(), 0);
    let sums: Int64Array =
        order.iter().enumerate().map(|(place, group)| counts[*group] + before(place)).collect();
    Arc::new(sums)
}

fn null_where_none(counts: &Int64Array, values: &ArrayRef) -> Result<ArrayRef> {
    let none: BooleanArray = counts.iter().map(|count| Some(count == Some(0))).collect();
    Ok(arrow::compute::nullif(values, &none)?)
}

fn stored_sum(sums: &ArrayRef, place: usize) -> Result<ExactSum> {
    match ExactSum::decode(sums.as_binary::<i32>().value(place)) {
        Some(sum) => Ok(sum),
        None => exec_err!("the stored sum of a group is damaged"),
    }
}

/// Whole numbers of any of the types that sums have, as the widest of them.
enum Whole<'a> {
    Signed(&'a Int64Array),
    Unsigned(&'a UInt64Array),
    Decimal(&'a Decimal128Array),
}

impl<'a> Whole<'a> {
    fn of(values: &'a ArrayRef) -> Result<Self> {
        match values.data_type() {
            DataType::Int64 => Ok(Whole::Signed(values.as_primitive())),
            DataType::UInt64 => Ok(Whole::Unsigned(values.as_primitive::<UInt64Type>())),
            DataType::Decimal128(_, _) => Ok(Whole::Decimal(values.as_primitive::<Decimal128Type>())),
            other => exec_err!("a sum was given {other}"),
        }
    }

    fn value(&self, row: usize) -> i128 {
        match self {
            Whole::Signed(values) => i128::from(values.value(row)),
            Whole::Unsigned(values) => i128::from(values.value(row)),
            Whole::Decimal(values) => values.value(row),
        }
    }
}

fn whole_array(values: Vec<i128>, data_type: &DataType) -> Result<ArrayRef> {
    Ok(match data_type {
        // Sums wrap.
        DataType::Int64 => Arc::new(values.into_iter().map(|value| value as i64).collect::<Int64Array>()),
        DataType::UInt64 => Arc::new(values.into_iter().map(|value| value as u64).collect::<UInt64Array>()),
        DataType::Decimal128(_, _) => {
            Arc::new(Decimal128Array::from(values).with_data_type(data_type.clone()))
        }
        other => return exec_err!("a sum was to be {other}"),
    })
}

fn accumulator(call: &AggregateCall) -> Result<Box<dyn GroupsAccumulator>> {
    if call.function.groups_accumulator_supported() {
        return call.function.create_groups_accumulator();
    }
    let function = Arc::clone(&call.function);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

/// Gives an accumulator, which knows nothing of weights, each row as often as it is there.
fn update_repeated(
    accumulator: &mut dyn GroupsAccumulator,
    arguments: &Arguments,
    weights: &[i64],
    groups: &[usize],
    total: usize,
) -> Result<()> {
    let mut times = (0u32..).zip(weights).flat_map(|(row, weight)| (0..*weight).map(move |_| row)).peekable();
    while times.peek().is_some() {
        let rows = UInt32Array::from_iter_values(times.by_ref().take(REPEATED_ROWS));
        let values = arguments.values.iter().map(|values| Ok(take(values, &rows, None)?));
        let values = values.collect::<Result<Vec<_>>>()?;
        let filter = arguments.filter.as_ref().map(|filter| take(filter, &rows, None)).transpose()?;
        let groups: Vec<usize> = rows.values().iter().map(|row| groups[*row as usize]).collect();
        accumulator.update_batch(
            &values,
            &groups,
            filter.as_ref().map(|filter| filter.as_boolean()),
            total,
        )?;
    }
    Ok(())
}

/// Merges the epoch's partial states with those before it.
fn merge_partial(
    call: &AggregateCall,
    epoch: &mut dyn GroupsAccumulator,
    old: &[ArrayRef],
    order: &[usize],
    known: usize,
) -> Result<Vec<ArrayRef>> {
    let added = epoch.state(EmitTo::All)?;
    let mut number = vec![0; order.len()];
    for (place, group) in order.iter().enumerate() {
        number[*group] = place;
    }
    let mut accumulator = accumulator(call)?;
    if known > 0 {
        accumulator.merge_batch(old, &(0..known).collect::<Vec<_>>(), known)?;
    }
    if added.first().is_some_and(|column| column.len() == order.len()) {
        accumulator.merge_batch(&added, &number, order.len())?;
    }
    accumulator.state(EmitTo::All)
}

fn evaluate_partial(call: &AggregateCall, states: &[ArrayRef], count: usize) -> Result<ArrayRef> {
    let mut accumulator = accumulator(call)?;
    accumulator.merge_batch(states, &(0..count).collect::<Vec<_>>(), count)?;
    accumulator.evaluate(EmitTo::All)
}
