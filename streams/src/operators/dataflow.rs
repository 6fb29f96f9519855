//! The operators of one query over one epoch, each after those that it takes rows from.
//!
//! Nothing is mutated but the epoch itself: the state it starts from is borrowed, and what it changes comes out as
//! deltas, so an epoch that is run again gives the same again.

use std::sync::Arc;

use datafusion::common::{Result, internal_err};

use super::aggregate::aggregate;
use super::context::Context;
use super::evaluate::each;
use super::filter::filter;
use super::join::join;
use super::project::project;
use super::rows::{Rejected, Rows};
use super::session::session;
use super::table::{TableRecords, table};
use super::top_n::top_n;
use super::unnest::unnest;
use super::watermark::{EventClock, Watermark};
use crate::planner::{Node, Operator, QueryPlan};
use crate::state::changelog::{Commit, Cut, InputPartition};
use crate::state::{OperatorDelta, Overlay, States};

/// A query's operators, ready to run epochs.
#[derive(Debug, Clone)]
pub struct Dataflow {
    plan: Arc<QueryPlan>,
    /// How many operators take the rows of each node.
    takers: Vec<usize>,
}

/// One epoch's input, as it is decoded.
pub struct DataflowEpoch<'a> {
    flow: &'a Dataflow,
    clock: EventClock,
    /// The watermark that rows of this epoch are late against.
    before: Watermark,
    /// By source.
    records: Vec<TableRecords>,
    rejected: Vec<Rejected>,
}

/// What an epoch gives.
#[derive(Debug, Default)]
pub struct EpochResult {
    /// Changes of the result.
    pub rows: Vec<Rows>,
    /// Rows for the dead letters, in the order of their records, each record once.
    pub rejected: Vec<Rejected>,
    /// Changes of state, to be applied when the epoch is committed.
    pub deltas: Vec<OperatorDelta>,
    /// The event times to commit.
    pub clock: EventClock,
    /// The watermark to commit.
    pub watermark: Watermark,
}

impl Dataflow {
    /// The operators of a plan.
    pub fn new(plan: Arc<QueryPlan>) -> Self {
        let mut takers = vec![0; plan.nodes.len()];
        plan.nodes.iter().flat_map(|node| &node.inputs).for_each(|input| takers[*input] += 1);
        Dataflow { plan, takers }
    }

    /// Begins an epoch after `commit`.
    pub fn begin(&self, commit: &Commit) -> DataflowEpoch<'_> {
        DataflowEpoch {
            flow: self,
            clock: EventClock::new(commit.event_times.clone()),
            before: Watermark(commit.watermark),
            records: self.plan.sources.iter().map(|_| TableRecords::default()).collect(),
            rejected: Vec::new(),
        }
    }
}

impl DataflowEpoch<'_> {
    /// Takes in rows of one input partition, decoded to the source's schema.
    ///
    /// # Errors
    /// Never for a planned query.
    pub fn push(&mut self, partition: InputPartition, rows: Rows) -> Result<()> {
        let place = usize::from(partition.source);
        let Some(source) = self.flow.plan.sources.get(place) else {
            return internal_err!("the query has no source {place}");
        };
        let rows = match &source.event_time {
            Some(event_time) => self.clock.observe(event_time, partition, rows, &mut self.rejected)?,
            None => rows,
        };
        self.records[place].rows.push(rows);
        Ok(())
    }

    /// Takes in keys of rows that are deleted from a table, in the columns of its primary key.
    pub fn delete(&mut self, partition: InputPartition, keys: Rows) {
        if let Some(records) = self.records.get_mut(usize::from(partition.source)) {
            records.deletes.push(keys);
        }
    }

    /// Ends the epoch: merges it into the state and gives everything that came of it.
    ///
    /// # Errors
    /// When an expression cannot be evaluated for a row that no single record made.
    pub fn finish(mut self, states: &States, cut: &Cut) -> Result<EpochResult> {
        let plan = Arc::clone(&self.flow.plan);
        let now = match (plan.has_watermark(), cut.is_last) {
            (true, true) => Watermark::END,
            // What was closed stays closed, whatever a new partition brings.
            (true, false) => self.clock.watermark(&plan.sources, &cut.unread).max(self.before),
            (false, _) => Watermark::NONE,
        };
        let mut left = self.flow.takers.clone();
        let mut given: Vec<Vec<Rows>> = Vec::with_capacity(plan.nodes.len());
        let mut deltas = Vec::new();
        for (place, node) in plan.nodes.iter().enumerate() {
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                left[*input] -= 1;
                // The last taker takes them away.
                inputs.push(if left[*input] == 0 {
                    std::mem::take(&mut given[*input])
                } else {
                    given[*input].clone()
                });
            }
            let operator = u16::try_from(place).unwrap_or(u16::MAX);
            let mut overlay = Overlay::new(states.of(operator));
            let mut context = Context { before: self.before, now, rejected: &mut self.rejected };
            let rows = match &node.operator {
                Operator::Source(source) => {
                    let records = std::mem::take(&mut self.records[*source]);
                    match &plan.sources[*source].primary_key {
                        Some(key) => table(key, &node.schema, records, &mut overlay)?,
                        None => records.rows,
                    }
                }
                _ => run(node, inputs, &mut overlay, &mut context)?,
            };
            given.push(rows.into_iter().filter(|rows| !rows.is_empty()).collect());
            deltas.extend(overlay.into_deltas().into_iter().map(|delta| OperatorDelta { operator, delta }));
        }
        self.rejected.sort_by_key(|rejected| rejected.origin);
        self.rejected.dedup_by_key(|rejected| rejected.origin);
        Ok(EpochResult {
            rows: given.pop().unwrap_or_default(),
            rejected: self.rejected,
            deltas,
            clock: self.clock,
            watermark: now,
        })
    }
}

fn run(
    node: &Node,
    mut inputs: Vec<Vec<Rows>>,
    overlay: &mut Overlay<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<Rows>> {
    if let Operator::Join(join_node) = &node.operator {
        let right = inputs.pop().unwrap_or_default();
        let left = inputs.pop().unwrap_or_default();
        return join(join_node, left, right, overlay, context);
    }
    let input: Vec<Rows> = inputs.into_iter().flatten().collect();
    match &node.operator {
        Operator::Filter(predicate) => each(&input, context.rejected, |rows| filter(predicate, rows)),
        Operator::Project(expressions) => {
            each(&input, context.rejected, |rows| project(expressions, &node.schema, rows))
        }
        Operator::Unnest(list) => each(&input, context.rejected, |rows| unnest(list, &node.schema, rows)),
        Operator::Union => each(&input, context.rejected, |rows| {
            let columns = rows.batch.columns().to_vec();
            Ok(rows.with_batch(super::project::batch_of(&node.schema, columns, rows.len())?))
        }),
        Operator::Session(windows) => session(windows, &node.schema, input, overlay, context),
        Operator::Aggregate(groups) => aggregate(groups, input, overlay, context),
        Operator::TopN(top) => top_n(top, input, overlay, context),
        // Both have been run already.
        Operator::Source(_) | Operator::Join(_) => Ok(input),
    }
}
