//! From DataFusion's optimised logical plan to the chain of streaming operators.
//!
//! Infers for every node its changelog mode, the columns that tell its rows apart, and what bounds its state. What the
//! syntax-tree checks let through and this does not know is refused here, at the start of the query.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection, TableScan};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::catalog::{Catalog, Stream};
use super::errors::from_datafusion;
use super::plan::{
    AggregateCall, AggregateNode, ChangelogMode, EventTime, Node, Operator, QueryPlan, SourceNode,
    StateBound, WindowKey,
};
use super::window::nanos_per_tick;
use crate::operators::tumble::{Edge, Tumble, TumbleEdge};
use crate::sql::{Emit, Position, QueryStatement, SqlError};
use crate::state::codec;

/// Lowers an optimised plan.
pub(super) fn lower(
    plan: &LogicalPlan,
    catalog: &Catalog,
    query: &QueryStatement,
) -> Result<QueryPlan, SqlError> {
    let mut lowering = Lowering {
        catalog,
        position: query.position,
        emit: query.emit,
        source: None,
        nodes: Vec::new(),
        key: None,
        mode: ChangelogMode::Append,
    };
    if aggregates(plan) > 1 {
        return Err(lowering
            .error("an aggregate of an aggregate cannot run on a stream yet")
            .with_help("write the first one to a topic and read that"));
    }
    lowering.visit(plan)?;
    lowering.finish(plan)
}

fn aggregates(plan: &LogicalPlan) -> usize {
    let own = usize::from(matches!(plan, LogicalPlan::Aggregate(_)));
    plan.inputs().into_iter().map(aggregates).sum::<usize>() + own
}

/// Column indices of which any one would do for one part of the key: `window_start` and `window_end` say the same.
type KeyPart = Vec<usize>;

struct Lowering<'a> {
    catalog: &'a Catalog,
    position: Position,
    emit: Option<(Emit, Position)>,
    source: Option<SourceNode>,
    nodes: Vec<Node>,
    /// `None` while nothing tells rows apart.
    key: Option<Vec<KeyPart>>,
    mode: ChangelogMode,
}

impl Lowering<'_> {
    fn error(&self, message: impl Into<String>) -> SqlError {
        SqlError::new(self.position, message)
    }

    fn datafusion(&self, error: DataFusionError) -> SqlError {
        from_datafusion(&error, self.position)
    }

    fn visit(&mut self, plan: &LogicalPlan) -> Result<(), SqlError> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.visit(&alias.input),
            LogicalPlan::Filter(filter) => {
                self.visit(&filter.input)?;
                // What is left of `time IS NOT NULL` where the column cannot be null.
                if matches!(filter.predicate, Expr::Literal(ScalarValue::Boolean(Some(true)), _)) {
                    return Ok(());
                }
                let predicate = self.physical(&filter.predicate, filter.input.schema())?;
                self.push(Operator::Filter(predicate), arrow_schema(filter.input.schema()), StateBound::None);
                Ok(())
            }
            LogicalPlan::Projection(projection) => {
                self.visit(&projection.input)?;
                self.project(projection)
            }
            LogicalPlan::Aggregate(aggregate) => {
                self.visit(&aggregate.input)?;
                self.aggregate(aggregate)
            }
            LogicalPlan::EmptyRelation(_) => Err(self.error("this query reads no stream")),
            other => {
                let name = other.display().to_string();
                let name = name.split(':').next().unwrap_or_default().to_owned();
                Err(self.error(format!("{name} cannot run on a stream yet")))
            }
        }
    }

    fn push(&mut self, operator: Operator, schema: SchemaRef, state: StateBound) {
        self.nodes.push(Node { operator, schema, mode: self.mode, state });
    }

    fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, SqlError> {
        create_physical_expr(expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
            .map_err(|error| self.datafusion(error))
    }

    fn scan(&mut self, scan: &TableScan) -> Result<(), SqlError> {
        let name = scan.table_name.to_string();
        let (name, stream) = match (self.catalog.get(&name), self.catalog.get(scan.table_name.table())) {
            (Some(stream), _) => (name, stream),
            (None, Some(stream)) => (scan.table_name.table().to_owned(), stream),
            (None, None) => return Err(self.error(format!("there is no stream `{name}`"))),
        };
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(self.error("a condition was moved into the stream, where it would be lost"));
        }
        self.source = Some(SourceNode {
            stream: name,
            topic: stream.topic.clone(),
            format: stream.format.clone(),
            schema: decoded_schema(&scan.projected_schema, stream),
            event_time: None,
        });
        Ok(())
    }

    fn project(&mut self, projection: &Projection) -> Result<(), SqlError> {
        let input = projection.input.schema();
        let exprs =
            projection.expr.iter().map(|expr| self.physical(expr, input)).collect::<Result<Vec<_>, _>>()?;
        if let Some(key) = self.key.take() {
            // Where each input column that is passed on unchanged has gone.
            let moved: Vec<Option<usize>> =
                projection.expr.iter().map(|expr| column_index(expr, input)).collect();
            let new_place = |old: &usize| moved.iter().position(|from| from.as_ref() == Some(old));
            let parts: Vec<KeyPart> =
                key.iter().map(|part| part.iter().filter_map(new_place).collect()).collect();
            match parts.iter().position(Vec::is_empty) {
                None => self.key = Some(parts),
                Some(lost) if self.mode == ChangelogMode::Upsert => {
                    let column = key[lost]
                        .first()
                        .map_or_else(String::new, |index| input.field(*index).name().clone());
                    return Err(self
                        .error(format!("the group column `{column}` is not in SELECT, so the updates of two groups could not be told apart"))
                        .with_help(format!("select `{column}` too")));
                }
                Some(_) => self.key = None,
            }
        }
        self.push(Operator::Project(exprs), arrow_schema(&projection.schema), StateBound::None);
        Ok(())
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<(), SqlError> {
        let input = aggregate.input.schema();
        let group = aggregate
            .group_expr
            .iter()
            .map(|expr| self.physical(expr, input))
            .collect::<Result<Vec<_>, _>>()?;
        let schema = arrow_schema(&aggregate.schema);
        let (group_fields, _) = schema.fields().split_at(group.len());
        let group_schema = Arc::new(Schema::new(group_fields.to_vec()));
        let aggregates =
            aggregate.aggr_expr.iter().map(|expr| self.call(expr, input)).collect::<Result<Vec<_>, _>>()?;
        let state_types = self.state_types(&aggregates)?;
        for field in group_schema.fields() {
            self.check_storable(field.data_type(), &format!("the group column `{}`", field.name()))?;
        }

        let windows: Vec<Option<WindowColumn>> =
            aggregate.group_expr.iter().map(|expr| window_column(expr, &aggregate.input)).collect();
        let window = self.window_key(&windows)?;
        let emit = self.emit_mode(window.is_some())?;
        self.mode = match emit {
            Emit::Changes => ChangelogMode::Upsert,
            Emit::Final => ChangelogMode::Append,
        };
        self.key = Some(key_parts(&windows));
        let closes = self.source.as_ref().and_then(|source| source.event_time.as_ref()?.delay).is_some();
        let bound = if window.is_some() && closes { StateBound::Watermark } else { StateBound::Groups };
        let node = AggregateNode {
            group,
            group_schema,
            aggregates,
            window,
            emit,
            schema: Arc::clone(&schema),
            state_types,
        };
        self.push(Operator::Aggregate(Arc::new(node)), schema, bound);
        Ok(())
    }

    fn call(&self, expr: &Expr, input: &DFSchema) -> Result<AggregateCall, SqlError> {
        let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let lowered = LoweredAggregateBuilder::new(expr, input, input.as_arrow(), &props, &context)
            .with_name(expr.schema_name().to_string())
            .build()
            .map_err(|error| self.datafusion(error))?;
        let function = lowered.aggregate;
        if depends_on_order(function.fun().name()) {
            return Err(self
                .error(format!(
                    "{} depends on the order of rows, which a stream of partitions does not have",
                    function.fun().name()
                ))
                .with_help("use MIN or MAX"));
        }
        Ok(AggregateCall { arguments: function.expressions(), function, filter: lowered.filter })
    }

    fn state_types(&self, aggregates: &[AggregateCall]) -> Result<Vec<DataType>, SqlError> {
        let mut types = Vec::new();
        for call in aggregates {
            for field in call.function.state_fields().map_err(|error| self.datafusion(error))? {
                self.check_storable(field.data_type(), call.function.name())?;
                types.push(field.data_type().clone());
            }
        }
        Ok(types)
    }

    fn check_storable(&self, data_type: &DataType, what: &str) -> Result<(), SqlError> {
        match codec::can_store(data_type) {
            true => Ok(()),
            false => Err(self
                .error(format!("{what} would keep state of type {data_type}, which cannot be stored yet"))),
        }
    }

    /// The window's column among the groups, and the event time it comes from noted in the source.
    fn window_key(&mut self, windows: &[Option<WindowColumn>]) -> Result<Option<WindowKey>, SqlError> {
        let found = windows.iter().enumerate().find_map(|(column, window)| Some((column, window.as_ref()?)));
        let Some((column, window)) = found else { return Ok(None) };
        let Some(time) = &window.time else {
            return Err(self
                .error("the time column of TUMBLE must be a column of a stream, not an expression")
                .with_help("declare it in the stream"));
        };
        let Some(source) = self.source.as_mut() else { return Ok(None) };
        let declared = self.catalog.get(&source.stream).and_then(|stream| stream.watermark.as_ref());
        if let Some(watermark) = declared
            && watermark.column != *time
        {
            return Err(SqlError::new(
                self.position,
                format!(
                    "the windows are over `{time}`, and the stream's WATERMARK is for `{}`",
                    watermark.column
                ),
            )
            .with_help(format!("write DESCRIPTOR({})", watermark.column)));
        }
        let Ok(index) = source.schema.index_of(time) else { return Ok(None) };
        let tick = match source.schema.field(index).data_type() {
            DataType::Timestamp(unit, _) => nanos_per_tick(*unit),
            _ => 1,
        };
        // A delay that is no whole number of ticks is rounded up: closing late is right, closing early is not.
        let delay = declared.map(|watermark| {
            watermark.delay_nanos.div_euclid(tick) + i64::from(watermark.delay_nanos % tick != 0)
        });
        source.event_time = Some(EventTime { column: index, delay });
        let to_end = match window.edge {
            Edge::Start => window.tumble.size,
            Edge::End => 0,
        };
        Ok(Some(WindowKey { column, to_end }))
    }

    fn emit_mode(&self, has_window: bool) -> Result<Emit, SqlError> {
        let Some((Emit::Final, position)) = self.emit else { return Ok(Emit::Changes) };
        if !has_window {
            return Err(SqlError::new(
                position,
                "EMIT FINAL waits for windows to close, and this query groups by none",
            )
            .with_help("group by window_start and window_end of TUMBLE"));
        }
        let source = self.source.as_ref();
        match source.and_then(|source| source.event_time.as_ref()) {
            Some(EventTime { delay: Some(_), .. }) => Ok(Emit::Final),
            _ => Err(SqlError::new(
                position,
                "EMIT FINAL needs to know when a window is complete, and the stream has no WATERMARK",
            )
            .with_help("declare WATERMARK FOR its time column")),
        }
    }

    fn finish(mut self, plan: &LogicalPlan) -> Result<QueryPlan, SqlError> {
        let upsert_key = match self.key.take() {
            Some(parts) => parts.iter().filter_map(|part| part.first().copied()).collect(),
            None => Vec::new(),
        };
        let no_source = self.error("this query reads no stream");
        let source = self.source.ok_or(no_source)?;
        Ok(QueryPlan {
            sql: Arc::from(""),
            source,
            nodes: self.nodes,
            output_schema: arrow_schema(plan.schema()),
            mode: self.mode,
            upsert_key,
        })
    }
}

/// Whether another order of rows, which another interleaving of partitions is, would give another answer. DataFusion's own
/// `order_sensitivity` cannot tell: it is about sorted input, and the default claims a need that most functions lack.
fn depends_on_order(name: &str) -> bool {
    matches!(name, "first_value" | "last_value" | "nth_value" | "array_agg" | "string_agg")
}

/// One part per group column, but one part for all edges of the same windows.
fn key_parts(windows: &[Option<WindowColumn>]) -> Vec<KeyPart> {
    let mut parts: Vec<KeyPart> = Vec::new();
    let mut edges: Vec<(&WindowColumn, usize)> = Vec::new();
    for (index, window) in windows.iter().enumerate() {
        let same = window.as_ref().and_then(|window| {
            edges.iter().find(|(other, _)| other.tumble == window.tumble && other.time == window.time)
        });
        match (same, window) {
            (Some((_, part)), _) => parts[*part].push(index),
            (None, Some(window)) => {
                edges.push((window, parts.len()));
                parts.push(vec![index]);
            }
            (None, None) => parts.push(vec![index]),
        }
    }
    parts
}

/// A column that is an edge of a tumbling window.
#[derive(Debug, PartialEq)]
struct WindowColumn {
    edge: Edge,
    tumble: Tumble,
    /// The stream's column that the windows are over; `None` if it is an expression.
    time: Option<String>,
}

/// Follows an expression down to the window function that it passes on unchanged, if it does.
fn window_column(expr: &Expr, input: &LogicalPlan) -> Option<WindowColumn> {
    match expr {
        Expr::Alias(alias) => window_column(&alias.expr, input),
        Expr::ScalarFunction(call) => {
            let (edge, tumble) = TumbleEdge::of(&call.func)?;
            let time = call.args.first().and_then(|time| stream_column(time, input));
            Some(WindowColumn { edge, tumble, time })
        }
        Expr::Column(_) => {
            let (below, input) = one_step_down(expr, input)?;
            window_column(&below, input)
        }
        _ => None,
    }
}

/// The stream's column that an expression passes on unchanged, if it does.
fn stream_column(expr: &Expr, input: &LogicalPlan) -> Option<String> {
    match expr {
        Expr::Alias(alias) => stream_column(&alias.expr, input),
        Expr::Column(column) => match input {
            LogicalPlan::TableScan(_) => Some(column.name.clone()),
            _ => {
                let (below, input) = one_step_down(expr, input)?;
                stream_column(&below, input)
            }
        },
        _ => None,
    }
}

/// The expression behind a column of `plan`, over the plan's own input.
fn one_step_down<'p>(expr: &Expr, plan: &'p LogicalPlan) -> Option<(Expr, &'p LogicalPlan)> {
    let index = column_index(expr, plan.schema())?;
    match plan {
        LogicalPlan::Projection(projection) => {
            Some((projection.expr.get(index)?.clone(), projection.input.as_ref()))
        }
        LogicalPlan::Filter(filter) => Some((expr.clone(), filter.input.as_ref())),
        LogicalPlan::SubqueryAlias(alias) => {
            Some((Expr::Column(alias.input.schema().columns().get(index)?.clone()), alias.input.as_ref()))
        }
        _ => None,
    }
}

fn column_index(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => column_index(&alias.expr, schema),
        Expr::Column(column) => schema.maybe_index_of_column(column),
        _ => None,
    }
}

/// The columns to decode. A query that uses none, as `COUNT(*)`, still needs one to know the rows by: the first that may
/// be null, so that no record is bad for the lack of a column that nobody asked for.
fn decoded_schema(used: &DFSchema, stream: &Stream) -> SchemaRef {
    let any =
        || stream.schema.fields().iter().find(|field| field.is_nullable()).or(stream.schema.fields().first());
    match (used.fields().is_empty(), any()) {
        (true, Some(field)) => Arc::new(Schema::new(vec![Arc::clone(field)])),
        (_, _) => arrow_schema(used),
    }
}

/// A plan's columns without the qualifiers and metadata that only planning needs.
fn arrow_schema(schema: &DFSchema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()))
        .collect();
    Arc::new(Schema::new(fields))
}
