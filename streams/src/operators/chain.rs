//! The operators of one query, one after the other, over one epoch.
//!
//! Nothing is mutated but the epoch itself: the state it starts from is borrowed, and what it changes comes out as
//! deltas, so an epoch that is run again gives the same again.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use datafusion::common::Result;

use super::aggregate::AggregateEpoch;
use super::filter::filter;
use super::project::project;
use super::rows::{Rejected, Rows};
use super::watermark::{EventClock, Watermark};
use crate::planner::{AggregateNode, Node, Operator, QueryPlan};
use crate::state::changelog::{Commit, Intent};
use crate::state::{StateDelta, StateStore};

/// A query's operators, ready to run epochs.
#[derive(Debug, Clone)]
pub struct Chain {
    plan: Arc<QueryPlan>,
    /// The place of the aggregate in the plan's nodes.
    aggregate: Option<usize>,
}

/// One epoch on its way through the chain.
pub struct ChainEpoch<'a> {
    chain: &'a Chain,
    clock: EventClock,
    /// The watermark that rows of this epoch are late against.
    watermark: Watermark,
    aggregate: Option<AggregateEpoch>,
    rows: Vec<Rows>,
    rejected: Vec<Rejected>,
}

/// What an epoch gives.
#[derive(Debug, Default)]
pub struct EpochResult {
    /// Result rows of a query without aggregate, in the order of their records.
    pub rows: Vec<Rows>,
    /// New result rows of groups, by growing group.
    pub upserts: Option<RecordBatch>,
    /// Keys (the columns of the plan's upsert key alone) of result rows that no longer exist.
    pub deletes: Option<RecordBatch>,
    /// Rows for the dead letters, in the order of their records.
    pub rejected: Vec<Rejected>,
    /// Changes of state, to be applied when the epoch is committed.
    pub deltas: Vec<StateDelta>,
    /// The event times to commit.
    pub clock: EventClock,
    /// The watermark to commit.
    pub watermark: Watermark,
}

impl Chain {
    /// The chain of a plan.
    pub fn new(plan: Arc<QueryPlan>) -> Self {
        let aggregate = plan.nodes.iter().position(|node| matches!(node.operator, Operator::Aggregate(_)));
        Chain { plan, aggregate }
    }

    /// The place of the operator that keeps state, for its records in the changelog.
    pub fn stateful_operator(&self) -> u16 {
        self.aggregate.and_then(|index| u16::try_from(index).ok()).unwrap_or_default()
    }

    /// Begins an epoch after `commit`.
    ///
    /// # Errors
    /// When DataFusion has no accumulator for an aggregate, which planning has excluded.
    pub fn begin(&self, commit: &Commit) -> Result<ChainEpoch<'_>> {
        let clock = EventClock::new(commit.event_times.clone());
        let watermark = Watermark(commit.watermark);
        let aggregate = self.aggregate_node().map(AggregateEpoch::new).transpose()?;
        Ok(ChainEpoch { chain: self, clock, watermark, aggregate, rows: Vec::new(), rejected: Vec::new() })
    }

    fn aggregate_node(&self) -> Option<&Arc<AggregateNode>> {
        match &self.plan.nodes.get(self.aggregate?)?.operator {
            Operator::Aggregate(node) => Some(node),
            Operator::Filter(_) | Operator::Project(_) => None,
        }
    }

    fn before(&self) -> &[Node] {
        &self.plan.nodes[..self.aggregate.unwrap_or(self.plan.nodes.len())]
    }

    fn after(&self) -> &[Node] {
        self.aggregate.map_or(&[], |index| &self.plan.nodes[index + 1..])
    }
}

impl ChainEpoch<'_> {
    /// Takes in rows of one input partition, decoded to the source's schema.
    ///
    /// # Errors
    /// Only what is not the fault of a row: a row that an expression cannot be evaluated for is rejected.
    pub fn push(&mut self, partition: i32, rows: Rows) -> Result<()> {
        let rows = match &self.chain.plan.source.event_time {
            Some(event_time) => self.clock.observe(event_time, partition, rows, &mut self.rejected)?,
            None => rows,
        };
        self.push_or_split(&rows)
    }

    /// Passes rows on; when an expression fails, halves the rows until the one that it fails for stands alone.
    fn push_or_split(&mut self, rows: &Rows) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        match self.try_push(rows) {
            Ok(()) => Ok(()),
            Err(Failed::Evaluating(error)) if rows.len() == 1 => {
                let reason = error.find_root().strip_backtrace();
                let reason = reason.lines().next().unwrap_or_default().to_owned();
                self.rejected.push(Rejected { origin: rows.origins.value(0), reason, is_late: false });
                Ok(())
            }
            Err(Failed::Evaluating(_)) => {
                let half = rows.len() / 2;
                self.push_or_split(&rows.slice(0, half))?;
                self.push_or_split(&rows.slice(half, rows.len() - half))
            }
            Err(Failed::Aggregating(error)) => Err(error),
        }
    }

    fn try_push(&mut self, rows: &Rows) -> Result<(), Failed> {
        let rows = run(self.chain.before(), rows.clone(), Filters::Apply).map_err(Failed::Evaluating)?;
        match &mut self.aggregate {
            Some(aggregate) => {
                let mut late = Vec::new();
                let rows =
                    aggregate.reject_late(self.watermark, rows, &mut late).map_err(Failed::Evaluating)?;
                let prepared = aggregate.prepare(&rows).map_err(Failed::Evaluating)?;
                self.rejected.append(&mut late);
                aggregate.update(&prepared).map_err(Failed::Aggregating)
            }
            None => {
                if !rows.is_empty() {
                    self.rows.push(rows);
                }
                Ok(())
            }
        }
    }

    /// Ends the epoch: merges it into the state and gives everything that came of it.
    ///
    /// # Errors
    /// When an expression after the aggregate cannot be evaluated for a group.
    pub fn finish(mut self, store: &StateStore, intent: &Intent) -> Result<EpochResult> {
        self.rejected.sort_by_key(|rejected| rejected.origin);
        let mut result = EpochResult { rows: self.rows, rejected: self.rejected, ..EpochResult::default() };
        if let Some(aggregate) = self.aggregate {
            let delay = self.chain.plan.source.event_time.as_ref().and_then(|time| time.delay);
            let watermark = match (delay, intent.is_last) {
                (Some(_), true) => Watermark::END,
                // Windows that were closed stay closed, whatever a new partition brings.
                (_, _) => self.clock.watermark(delay, &intent.unread).max(self.watermark),
            };
            result.watermark = watermark;
            finish_groups(self.chain, aggregate, store, watermark, &mut result)?;
        }
        result.clock = self.clock;
        Ok(result)
    }
}

fn finish_groups(
    chain: &Chain,
    aggregate: AggregateEpoch,
    store: &StateStore,
    watermark: Watermark,
    result: &mut EpochResult,
) -> Result<()> {
    let changed = aggregate.finish(store, watermark)?;
    let count = changed.batch.num_rows();
    let origins = UInt32Array::from_iter_values((0..count).map(|index| index as u32));
    let all = Rows { batch: changed.batch.clone(), origins };
    let kept = run(chain.after(), all.clone(), Filters::Apply)?;
    let mut is_emitted = vec![false; count];
    for origin in kept.origins.values() {
        is_emitted[*origin as usize] = true;
    }
    if !kept.is_empty() {
        result.upserts = Some(kept.batch);
    }
    // A group that HAVING let through before and does not now: its row must go from the output.
    let gone: BooleanArray =
        (0..count).map(|index| Some(changed.was_emitted[index] && !is_emitted[index])).collect();
    if gone.true_count() > 0 {
        let gone = run(chain.after(), all.filtered(&gone)?, Filters::Skip)?;
        result.deletes = Some(gone.batch.project(&chain.plan.upsert_key)?);
    }
    result.deltas = changed.deltas(&is_emitted);
    Ok(())
}

enum Failed {
    Evaluating(datafusion::common::DataFusionError),
    Aggregating(datafusion::common::DataFusionError),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Filters {
    Apply,
    Skip,
}

/// Passes rows through filters and projections.
fn run(nodes: &[Node], mut rows: Rows, filters: Filters) -> Result<Rows> {
    for node in nodes {
        rows = match &node.operator {
            Operator::Filter(_) if filters == Filters::Skip => rows,
            Operator::Filter(predicate) => filter(predicate.as_ref(), &rows)?,
            Operator::Project(expressions) => project(expressions, &node.schema, &rows)?,
            // Chains are cut at the aggregate.
            Operator::Aggregate(_) => rows,
        };
    }
    Ok(rows)
}
