//! The plan of a streaming query: a source and a chain of operators, each with what it does to the changelog.
//!
//! Immutable and complete: whoever runs it makes no choice of its own. Its `Display` is the golden text of the tests.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::sql::Emit;

/// A planned streaming query.
#[derive(Debug, Clone)]
pub struct QueryPlan {
    /// The query's text in one line, normalised. A stateful query that is started with another text than its state was
    /// made by is refused.
    pub sql: Arc<str>,
    /// The stream read.
    pub source: SourceNode,
    /// The operators in the order in which rows pass them; at most one of them is an aggregate.
    pub nodes: Vec<Node>,
    /// The columns of the result.
    pub output_schema: SchemaRef,
    /// Whether a result row may be replaced later.
    pub mode: ChangelogMode,
    /// The result columns that tell rows apart, by index: the key of the output records. Empty in append mode when
    /// nothing does; empty in upsert mode when the result is a single row.
    pub upsert_key: Vec<usize>,
}

/// One operator of the chain.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it does.
    pub operator: Operator,
    /// The columns it gives.
    pub schema: SchemaRef,
    /// Whether it may replace a row that it gave before.
    pub mode: ChangelogMode,
    /// What bounds the state it keeps.
    pub state: StateBound,
}

/// What an operator does to a batch of rows.
#[derive(Debug, Clone)]
pub enum Operator {
    /// Keeps the rows for which the expression is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Gives one column per expression.
    Project(Vec<Arc<dyn PhysicalExpr>>),
    /// Gives one row per group.
    Aggregate(Arc<AggregateNode>),
}

/// The stream a query reads.
#[derive(Debug, Clone)]
pub struct SourceNode {
    /// Its name in SQL.
    pub stream: String,
    /// Its topic.
    pub topic: String,
    /// The format of its record values.
    pub format: String,
    /// The columns the query uses; the others are not decoded.
    pub schema: SchemaRef,
    /// The column that rows are put into windows by, if they are.
    pub event_time: Option<EventTime>,
}

/// The event-time column of a windowed query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTime {
    /// Its index in the source's schema.
    pub column: usize,
    /// How far the watermark stays behind the newest row, in ticks of the column; `None` without `WATERMARK FOR`, and
    /// then no window ever closes.
    pub delay: Option<i64>,
}

/// `GROUP BY` and its aggregates.
#[derive(Debug)]
pub struct AggregateNode {
    /// The groups' expressions, over the input.
    pub group: Vec<Arc<dyn PhysicalExpr>>,
    /// The groups' columns: the first of the node's output.
    pub group_schema: SchemaRef,
    /// The aggregates: the rest of the node's output.
    pub aggregates: Vec<AggregateCall>,
    /// Which group column says when the group is complete.
    pub window: Option<WindowKey>,
    /// Whether rows leave on every change or when their window closes.
    pub emit: Emit,
    /// Group columns, then aggregates.
    pub schema: SchemaRef,
    /// The types of the aggregates' partial states, in their order.
    pub state_types: Vec<DataType>,
}

/// One aggregate, as `AVG(dep_delay) FILTER (WHERE …)`.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// The function.
    pub function: Arc<AggregateFunctionExpr>,
    /// Its arguments over the input.
    pub arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// Rows it counts.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

/// The group column that carries the window's edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowKey {
    /// Its index among the group columns.
    pub column: usize,
    /// What to add to it to have the window's end, in its ticks.
    pub to_end: i64,
}

/// Whether a row, once given, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangelogMode {
    /// Every row stands for ever.
    Append,
    /// A later row with the same key replaces it; a row without value deletes it.
    Upsert,
}

/// What keeps the state of an operator from growing for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateBound {
    /// It keeps none.
    None,
    /// One row per group, for ever.
    Groups,
    /// One row per group of an open window; the watermark closes windows.
    Watermark,
}

impl QueryPlan {
    /// The aggregate of the chain, if it has one.
    pub fn aggregate(&self) -> Option<&Arc<AggregateNode>> {
        self.nodes.iter().find_map(|node| match &node.operator {
            Operator::Aggregate(aggregate) => Some(aggregate),
            Operator::Filter(_) | Operator::Project(_) => None,
        })
    }

    /// What makes state kept for one plan useless to another: the query and the layout of its state.
    pub fn state_fingerprint(&self) -> Option<String> {
        let aggregate = self.aggregate()?;
        let keys: Vec<String> =
            aggregate.group_schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        let states: Vec<String> = aggregate.state_types.iter().map(ToString::to_string).collect();
        Some(format!("{} | keys {} | state {}", self.sql, keys.join(", "), states.join(", ")))
    }

    /// What the author should know before running it.
    pub fn warnings(&self) -> Vec<String> {
        let unbounded = self.nodes.iter().any(|node| node.state == StateBound::Groups);
        match unbounded {
            true => vec![
                "the state of this query grows with the number of groups; WATERMARK FOR on the stream and a window \
                 would bound it"
                    .to_owned(),
            ],
            false => Vec::new(),
        }
    }
}

impl fmt::Display for ChangelogMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ChangelogMode::Append => "append",
            ChangelogMode::Upsert => "upsert",
        })
    }
}

impl fmt::Display for StateBound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            StateBound::None => "none",
            StateBound::Groups => "one row per group, unbounded",
            StateBound::Watermark => "open windows, bounded by the watermark",
        })
    }
}

impl fmt::Display for QueryPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.source;
        write!(formatter, "Source stream={} topic={} format={}", source.stream, source.topic, source.format)?;
        write!(formatter, " columns=[{}]", columns(&source.schema))?;
        if let Some(time) = &source.event_time {
            write!(formatter, " event_time={}", source.schema.field(time.column).name())?;
            match time.delay {
                Some(delay) => write!(formatter, " watermark_delay={delay}")?,
                None => write!(formatter, " watermark=none")?,
            }
        }
        writeln!(formatter)?;
        for node in &self.nodes {
            match &node.operator {
                Operator::Filter(predicate) => writeln!(formatter, "Filter {predicate}")?,
                Operator::Project(exprs) => {
                    let items: Vec<String> = exprs
                        .iter()
                        .zip(node.schema.fields())
                        .map(|(expr, field)| format!("{expr} AS {}", field.name()))
                        .collect();
                    writeln!(formatter, "Project [{}]", items.join(", "))?;
                }
                Operator::Aggregate(aggregate) => write_aggregate(formatter, aggregate)?,
            }
            if node.state != StateBound::None {
                writeln!(formatter, "  state: {}", node.state)?;
            }
        }
        let key: Vec<&str> =
            self.upsert_key.iter().map(|index| self.output_schema.field(*index).name().as_str()).collect();
        write!(
            formatter,
            "Output {} key=[{}] columns=[{}]",
            self.mode,
            key.join(", "),
            columns(&self.output_schema)
        )
    }
}

fn write_aggregate(formatter: &mut fmt::Formatter<'_>, aggregate: &AggregateNode) -> fmt::Result {
    let groups: Vec<String> = aggregate.group.iter().map(ToString::to_string).collect();
    let calls: Vec<String> = aggregate
        .aggregates
        .iter()
        .map(|call| match &call.filter {
            Some(filter) if !call.function.name().contains("FILTER") => {
                format!("{} FILTER (WHERE {filter})", call.function.name())
            }
            _ => call.function.name().to_owned(),
        })
        .collect();
    write!(formatter, "Aggregate group=[{}] aggregates=[{}]", groups.join(", "), calls.join(", "))?;
    if let Some(window) = aggregate.window {
        write!(formatter, " window={}", aggregate.group_schema.field(window.column).name())?;
    }
    match aggregate.emit {
        Emit::Changes => writeln!(formatter, " emit=changes"),
        Emit::Final => writeln!(formatter, " emit=final"),
    }
}

fn columns(schema: &SchemaRef) -> String {
    let words: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            format!("{} {}", field.name(), ottla_formats::type_word(field.data_type(), field.is_nullable()))
        })
        .collect();
    words.join(", ")
}
