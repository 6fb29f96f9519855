//! The plan of a streaming query: a graph of operators, each with what it does to the changelog.
//!
//! Immutable and complete: whoever runs it makes no choice of its own. How it reads as text is in `explain.rs`.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::NullHandling;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::facts::ticks_to_ms;
use super::user_function::UserFunction;
use crate::sql::Emit;
use crate::state::{ExpiryAt, States};

/// A planned streaming query.
#[derive(Debug, Clone)]
pub struct QueryPlan {
    /// The query's text in one line, normalised. A stateful query that is started with another text than its state was
    /// made by is refused.
    pub sql: Arc<str>,
    /// The streams and tables read, each once however often the query names it.
    pub sources: Vec<SourceNode>,
    /// The operators, each after its inputs; the last one gives the result.
    pub nodes: Vec<Node>,
    /// The columns of the result.
    pub output_schema: SchemaRef,
    /// Whether a result row may be replaced later; [`ChangelogMode::Retract`] only where the changes go to a listener.
    pub mode: ChangelogMode,
    /// The result columns that tell rows apart, by index: the key of the output records. Empty in append mode when
    /// nothing does; empty in upsert mode when the result is a single row.
    pub upsert_key: Vec<usize>,
    /// The functions of plugins that it calls.
    pub functions: Vec<UserFunction>,
}

/// One operator.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it does.
    pub operator: Operator,
    /// The nodes whose rows it takes, by their place in the plan.
    pub inputs: Vec<usize>,
    /// The columns it gives.
    pub schema: SchemaRef,
    /// Whether it may take back a row that it gave before.
    pub mode: ChangelogMode,
    /// Columns that tell its rows apart; none when nothing is known to.
    pub key: Option<Vec<usize>>,
    /// What bounds the state it keeps.
    pub state: StateBound,
}

/// What an operator does to changes of rows.
#[derive(Debug, Clone)]
pub enum Operator {
    /// Gives the rows of a source, by its place among the sources.
    Source(usize),
    /// Keeps the rows for which the expression is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Gives one column per expression.
    Project(Vec<Arc<dyn PhysicalExpr>>),
    /// Gives the rows of all its inputs.
    Union,
    /// Gives one row per element of a list.
    Unnest(UnnestNode),
    /// Puts rows into windows that end with a pause.
    Session(SessionNode),
    /// Gives one row per group.
    Aggregate(Arc<AggregateNode>),
    /// Gives pairs of rows.
    Join(Arc<JoinNode>),
    /// Gives the first rows of each partition, numbered.
    TopN(Arc<TopNNode>),
}

/// A topic that a query reads.
#[derive(Debug, Clone)]
pub struct SourceNode {
    /// Its name in SQL.
    pub stream: String,
    /// Its topic.
    pub topic: String,
    /// The format of its record values.
    pub format: String,
    /// The columns the query uses, and those of the primary key; the others are not decoded.
    pub schema: SchemaRef,
    /// For a table the columns of its primary key, by index: a record replaces the row of its key. `None` for a stream.
    pub primary_key: Option<Vec<usize>>,
    /// The column that tells when things happened, if the query needs one.
    pub event_time: Option<EventTime>,
}

/// The event-time column of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTime {
    /// Its index in the source's schema.
    pub column: usize,
    /// How far the watermark stays behind the newest row, in milliseconds; `None` without `WATERMARK FOR`, and then no
    /// window ever closes.
    pub delay_ms: Option<i64>,
    /// Whether rows are put into windows by it, so that one without a time is a bad row.
    pub is_required: bool,
}

/// `GROUP BY` and its aggregates.
#[derive(Debug)]
pub struct AggregateNode {
    /// The groups' expressions, over the input.
    pub group: Vec<Arc<dyn PhysicalExpr>>,
    /// The groups' columns: the first of the node's output.
    pub group_schema: SchemaRef,
    /// The aggregates: the rest of the node's output.
    pub calls: Vec<AggregateCall>,
    /// Which group column says when the group is complete.
    pub closing: Option<Closing>,
    /// Whether rows leave on every change or when their window closes.
    pub emit: Emit,
    /// Group columns, then aggregates.
    pub schema: SchemaRef,
}

/// One aggregate, as `AVG(dep_delay) FILTER (WHERE …)`.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// How it is kept up to date.
    pub kind: AggregateKind,
    /// DataFusion's function, without its DISTINCT and ORDER BY.
    pub function: Arc<AggregateFunctionExpr>,
    /// Its arguments over the input.
    pub arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// The arguments' types.
    pub argument_types: Vec<DataType>,
    /// The order in which it is given rows.
    pub order: Vec<SortKey>,
    /// Whether it is given each value once.
    pub is_distinct: bool,
    /// Rows it is given.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Its text, for people.
    pub name: String,
}

/// How an aggregate is kept up to date, which depends on whether its input takes rows back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateKind {
    /// By DataFusion's partial states, merged; only where no row is taken back.
    Merged,
    /// `COUNT`.
    Count,
    /// `SUM` of whole numbers and decimals.
    Sum,
    /// `SUM` of floats, exact whatever the order.
    ExactSum,
    /// `AVG` of floats, exact up to its one division.
    ExactAverage,
    /// `AVG` of decimals: a sum and a count, divided by DataFusion.
    Average,
    /// `COUNT(DISTINCT …)`: all values with how often they are there.
    CountDistinct,
    /// The least of all values or, with ORDER BY, the one of the first row.
    First,
    /// The greatest of all values or, with ORDER BY, the one of the last row.
    Last,
    /// All values are kept and given to DataFusion's function again when one changes.
    Replayed,
}

/// An expression that rows are ordered by.
#[derive(Debug, Clone)]
pub struct SortKey {
    /// The expression over the input.
    pub expression: Arc<dyn PhysicalExpr>,
    /// Direction, and where nulls go.
    pub options: SortOptions,
}

/// A time after which nothing changes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// The column that has it, among those that the holder says.
    pub column: usize,
    /// How long after the column's value the watermark must be, in milliseconds: 0 for a window's end, its size for a
    /// window's start.
    pub after_ms: i64,
}

/// `unnest(list)`: one row per element, the other columns repeated.
#[derive(Debug, Clone)]
pub struct UnnestNode {
    /// For each output column the input column it comes from.
    pub columns: Vec<usize>,
    /// The input columns that are lists; in one step, side by side.
    pub lists: Vec<usize>,
    /// What becomes of a null or empty list.
    pub null_handling: NullHandling,
}

/// `SESSION(TABLE t PARTITION BY …, DESCRIPTOR(time), gap)`: the input's columns, `window_start` and `window_end`.
#[derive(Debug, Clone)]
pub struct SessionNode {
    /// The columns of PARTITION BY.
    pub partition: Vec<usize>,
    /// The time column.
    pub time: usize,
    /// The pause that ends a session, in ticks of the time column.
    pub gap: i64,
    /// The time column's type.
    pub time_type: DataType,
    /// How long after a row's time the watermark must be for it to be complete, in milliseconds, if it ever is.
    pub closes_ms: Option<i64>,
}

/// `JOIN`: the left columns, then the right ones.
#[derive(Debug)]
pub struct JoinNode {
    /// Pairs of expressions that must be equal, over the left and over the right input.
    pub on: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
    /// What else must be true of a pair, over the joined columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Whether a left row without partner is given with nulls.
    pub is_left: bool,
    /// When a left row can have no new partner any more and is forgotten.
    pub left_closing: Option<Closing>,
    /// The same for a right row.
    pub right_closing: Option<Closing>,
    /// When a left row comes too late, if right rows are forgotten.
    pub left_late: Option<Closing>,
    /// When a right row comes too late, if left rows are forgotten.
    pub right_late: Option<Closing>,
    /// The left input's columns.
    pub left_schema: SchemaRef,
    /// The right input's columns.
    pub right_schema: SchemaRef,
    /// Left columns, then right ones.
    pub schema: SchemaRef,
}

/// `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) <= limit`: the input's columns, then the number.
#[derive(Debug)]
pub struct TopNNode {
    /// The expressions of PARTITION BY.
    pub partition: Vec<Arc<dyn PhysicalExpr>>,
    /// The expressions of ORDER BY.
    pub order: Vec<SortKey>,
    /// The greatest number that is given.
    pub limit: u64,
    /// Which partition expression says when the partition is complete.
    pub closing: Option<Closing>,
    /// Whether rows beyond the limit may come back into it, because rows before them may go.
    pub keeps_all: bool,
    /// The input's columns, then the number.
    pub schema: SchemaRef,
}

/// Whether a row, once given, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangelogMode {
    /// Every row stands for ever.
    Append,
    /// A later row with the same key replaces it, or it is deleted by its key.
    Upsert,
    /// It may be taken back, and no key tells it from others.
    Retract,
}

/// What keeps the state of an operator from growing for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateBound {
    /// It keeps none.
    None,
    /// It keeps something for every row, group or key that there is.
    Unbounded(Holding),
    /// It forgets what the watermark has passed.
    Watermark,
}

/// What an operator without bound keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// One row per primary key.
    Keys,
    /// One row per group.
    Groups,
    /// All rows of both sides.
    BothSides,
    /// The first rows of each partition.
    Partitions,
    /// All rows.
    Rows,
}

impl QueryPlan {
    /// Whether any operator keeps state.
    pub fn is_stateful(&self) -> bool {
        self.nodes.iter().any(|node| node.state != StateBound::None)
    }

    /// What makes state kept for one plan useless to another: the query, the functions that it calls, and the layout of its
    /// state.
    pub fn state_fingerprint(&self) -> Option<String> {
        let sources: Vec<&str> = self.sources.iter().map(|source| source.topic.as_str()).collect();
        let layouts: Vec<String> =
            self.nodes.iter().enumerate().filter_map(|(place, node)| node.layout(place)).collect();
        let functions: String =
            self.functions.iter().map(|function| format!(" | {}", function.fingerprint())).collect();
        self.is_stateful()
            .then(|| format!("{} | {} | {}{functions}", self.sql, sources.join(", "), layouts.join("; ")))
    }

    /// What it remembers before it has read anything.
    pub fn states(&self) -> States {
        let expiry_at = |node: &Node| match &node.operator {
            Operator::Join(join) => join.expiry_at(),
            _ => None,
        };
        States::new(
            (0..).zip(&self.nodes).filter_map(|(place, node)| Some((place, expiry_at(node)?))).collect(),
        )
    }

    /// Whether the watermark ever says that something is complete.
    pub fn has_watermark(&self) -> bool {
        self.sources
            .iter()
            .any(|source| source.event_time.as_ref().is_some_and(|time| time.delay_ms.is_some()))
    }

    /// What the author should know before running it.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = Vec::new();
        for node in &self.nodes {
            let StateBound::Unbounded(holding) = node.state else { continue };
            let warning = match holding {
                // A table is as large as it is.
                Holding::Keys => continue,
                Holding::Groups => {
                    "the state of this query grows with the number of groups; WATERMARK FOR on the stream and a window \
                     would bound it"
                }
                Holding::BothSides => {
                    "a join of this query keeps every row of both sides; WATERMARK FOR on both and a condition that \
                     bounds their times would let it forget"
                }
                Holding::Partitions => {
                    "the state of this query grows with the partitions of ROW_NUMBER; a window in PARTITION BY would \
                     bound it"
                }
                Holding::Rows => {
                    "a SESSION of this query keeps every row; WATERMARK FOR on the stream would bound it"
                }
            };
            if !warnings.iter().any(|known| known == warning) {
                warnings.push(warning.to_owned());
            }
        }
        warnings
    }
}

impl Node {
    /// The types and kinds that its state is laid out by.
    fn layout(&self, place: usize) -> Option<String> {
        let types = |schema: &SchemaRef| {
            let types: Vec<String> =
                schema.fields().iter().map(|field| field.data_type().to_string()).collect();
            types.join(", ")
        };
        let layout = match &self.operator {
            Operator::Aggregate(node) => {
                let calls: Vec<String> = node.calls.iter().map(|call| format!("{:?}", call.kind)).collect();
                format!("group {} {}", types(&node.group_schema), calls.join(" "))
            }
            Operator::Join(node) => {
                format!(
                    "join {} with {}, expiries in rows",
                    types(&node.left_schema),
                    types(&node.right_schema)
                )
            }
            Operator::TopN(node) => format!("top {}", types(&node.schema)),
            Operator::Session(_) => format!("session {}", types(&self.schema)),
            Operator::Source(_) if self.state != StateBound::None => format!("table {}", types(&self.schema)),
            _ => return None,
        };
        Some(format!("{place}: {layout}"))
    }
}

impl JoinNode {
    /// Where the rows of its state have their expiry, if any have one.
    fn expiry_at(&self) -> Option<ExpiryAt> {
        let number = size_of::<i64>();
        let of_left = if self.is_left { 2 * number } else { number };
        (self.left_closing.is_some() || self.right_closing.is_some()).then_some(ExpiryAt([of_left, number]))
    }
}

impl SessionNode {
    /// A time of the time column in milliseconds, rounded up.
    pub fn to_ms(&self, ticks: i64) -> i64 {
        ticks_to_ms(ticks, &self.time_type)
    }
}

impl AggregateCall {
    /// The type of the result.
    pub fn return_type(&self) -> DataType {
        self.function.field().data_type().clone()
    }
}
