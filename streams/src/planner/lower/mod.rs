//! From DataFusion's optimised logical plan to the graph of streaming operators.
//!
//! Infers for every node its changelog mode, the columns that tell its rows apart, and what bounds its state. What the
//! syntax-tree checks let through and this does not know is refused here, at the start of the query.

mod aggregate;
mod join;
mod sources;
mod top_n;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError, JoinType, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, Union, Unnest};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::catalog::Catalog;
use super::errors::from_datafusion;
use super::facts::{ColumnFacts, KeyPart, SourceColumn, key_parts, moved_key};
use super::plan::{
    ChangelogMode, Holding, Node, Operator, QueryPlan, SessionNode, SourceNode, StateBound, UnnestNode,
};
use super::session::{self, Session};
use crate::sql::{Emit, Position, QueryStatement, SqlError};
use crate::state::codec;

/// Where a result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoesTo {
    /// To a topic, where what tells its rows apart is their key.
    Topic,
    /// To a listener, who is given rows that go as they are.
    Listener,
}

/// Lowers an optimised plan.
pub(super) fn lower(
    plan: &LogicalPlan,
    catalog: &Catalog,
    query: &QueryStatement,
    goes_to: GoesTo,
) -> Result<QueryPlan, SqlError> {
    let lateness_ms =
        query.lateness_nanos.div_euclid(1_000_000) + i64::from(query.lateness_nanos % 1_000_000 != 0);
    let mut lowering = Lowering {
        catalog,
        position: query.position,
        emit: query.emit,
        lateness_ms,
        sources: Vec::new(),
        source_nodes: Vec::new(),
        nodes: Vec::new(),
        windows: Windows::default(),
    };
    lowering.find_sources(plan)?;
    let relation = lowering.visit(plan)?;
    lowering.finish(plan, &relation, goes_to)
}

struct Lowering<'a> {
    catalog: &'a Catalog,
    position: Position,
    emit: Option<(Emit, Position)>,
    lateness_ms: i64,
    sources: Vec<SourceNode>,
    /// The node that gives each source's rows.
    source_nodes: Vec<usize>,
    nodes: Vec<Node>,
    windows: Windows,
}

/// What `EMIT FINAL` asks.
#[derive(Default)]
struct Windows {
    /// Some aggregate is by windows.
    any: bool,
    /// Some aggregate is by windows that the watermark closes.
    any_closes: bool,
}

/// Rows that a node gives, and what is known of them.
struct Relation {
    node: usize,
    columns: Vec<ColumnFacts>,
    /// Sets of columns that each tell rows apart.
    keys: Vec<Vec<KeyPart>>,
    /// The column for whose lack the last key was lost.
    lost: Option<String>,
}

impl Lowering<'_> {
    fn error(&self, message: impl Into<String>) -> SqlError {
        SqlError::new(self.position, message)
    }

    fn datafusion(&self, error: DataFusionError) -> SqlError {
        from_datafusion(&error, self.position)
    }

    fn visit(&mut self, plan: &LogicalPlan) -> Result<Relation, SqlError> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.visit(&alias.input),
            LogicalPlan::Filter(filter) if top_n::is_numbered(&filter.input) => {
                self.top_n_below(filter.predicate.clone(), &filter.input)
            }
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Projection(projection) => {
                let input = self.visit(&projection.input)?;
                self.project(projection, &input)
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) if matches!(join.join_type, JoinType::Inner | JoinType::Left) => {
                self.join(join)
            }
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Extension(extension) => match session::of(extension) {
                Some(node) => self.session(node),
                None => Err(self.error(format!("{} cannot run on a stream yet", extension.node.name()))),
            },
            LogicalPlan::Window(_) => {
                Err(self.error("ROW_NUMBER() cannot run on a stream without a limit").with_help(
                    "keep the first numbers only: … WHERE rn <= 10, around the SELECT that numbers as rn",
                ))
            }
            LogicalPlan::EmptyRelation(_) => Err(self.error("this query reads no stream")),
            other => {
                let name = other.display().to_string();
                let name = name.split(':').next().unwrap_or_default().to_owned();
                Err(self.error(format!("{name} cannot run on a stream yet")))
            }
        }
    }

    /// Adds a node; its mode follows from whether it takes rows back and from its keys. One that does the same to the same
    /// rows is there once, whatever takes its rows: a subquery that is written twice is run once.
    fn push(
        &mut self,
        operator: Operator,
        inputs: Vec<usize>,
        schema: SchemaRef,
        retracts: bool,
        keys: &[Vec<KeyPart>],
        state: StateBound,
    ) -> usize {
        let key: Option<Vec<usize>> =
            keys.first().map(|key| key.iter().filter_map(|part| part.first().copied()).collect());
        let mode = match (retracts, &key) {
            (false, _) => ChangelogMode::Append,
            (true, Some(_)) => ChangelogMode::Upsert,
            (true, None) => ChangelogMode::Retract,
        };
        let node = Node { operator, inputs, schema, mode, key, state };
        // Expressions cannot be compared but by what they show, which is all of them.
        let shown = format!("{node:?}");
        if let Some(same) = self.nodes.iter().position(|known| format!("{known:?}") == shown) {
            return same;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn retracts(&self, relation: &Relation) -> bool {
        self.nodes[relation.node].mode != ChangelogMode::Append
    }

    fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, SqlError> {
        create_physical_expr(expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
            .map_err(|error| self.datafusion(error))
    }

    fn physical_all(
        &self,
        exprs: &[Expr],
        schema: &DFSchema,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>, SqlError> {
        exprs.iter().map(|expr| self.physical(expr, schema)).collect()
    }

    fn check_storable(&self, data_type: &DataType, what: &str) -> Result<(), SqlError> {
        match codec::can_store(data_type) {
            true => Ok(()),
            false => Err(self
                .error(format!("{what} would keep state of type {data_type}, which cannot be stored yet"))),
        }
    }

    fn check_all_storable(&self, schema: &Schema, what: &str) -> Result<(), SqlError> {
        let check = |field: &arrow::datatypes::FieldRef| {
            self.check_storable(field.data_type(), &format!("the column `{}` of {what}", field.name()))
        };
        schema.fields().iter().try_for_each(check)
    }

    /// Facts of expressions; the sources' columns that windows are made of are noted.
    fn facts(&mut self, exprs: &[Expr], input: &Relation, schema: &DFSchema) -> Vec<ColumnFacts> {
        let mut windowed: Vec<SourceColumn> = Vec::new();
        let facts =
            exprs.iter().map(|expr| ColumnFacts::of(expr, &input.columns, schema, &mut windowed)).collect();
        windowed.into_iter().for_each(|column| self.require_time(column));
        facts
    }

    fn filter(&mut self, filter: &Filter) -> Result<Relation, SqlError> {
        let input = self.visit(&filter.input)?;
        // What is left of `time IS NOT NULL` where the column cannot be null.
        if matches!(filter.predicate, Expr::Literal(ScalarValue::Boolean(Some(true)), _)) {
            return Ok(input);
        }
        let predicate = self.physical(&filter.predicate, filter.input.schema())?;
        Ok(self.filtered(predicate, input))
    }

    fn filtered(&mut self, predicate: Arc<dyn PhysicalExpr>, input: Relation) -> Relation {
        let schema = Arc::clone(&self.nodes[input.node].schema);
        let retracts = self.retracts(&input);
        let operator = Operator::Filter(predicate);
        let node = self.push(operator, vec![input.node], schema, retracts, &input.keys, StateBound::None);
        Relation { node, ..input }
    }

    fn project(&mut self, projection: &Projection, input: &Relation) -> Result<Relation, SqlError> {
        let schema = projection.input.schema();
        let exprs = self.physical_all(&projection.expr, schema)?;
        let columns = self.facts(&projection.expr, input, schema);
        // Where each input column that is passed on unchanged has gone.
        let moved: Vec<Option<usize>> =
            projection.expr.iter().map(|expr| super::facts::column_index(expr, schema)).collect();
        let places = |old: usize| {
            moved.iter().enumerate().filter(|(_, from)| **from == Some(old)).map(|(place, _)| place).collect()
        };
        let keys: Vec<Vec<KeyPart>> = input.keys.iter().filter_map(|key| moved_key(key, places)).collect();
        let mut lost = input.lost.clone();
        if let (true, Some(key)) = (keys.is_empty(), input.keys.first()) {
            let gone = key.iter().find(|part| part.iter().all(|column| places(*column).is_empty()));
            let given = &self.nodes[input.node].schema;
            lost = gone.and_then(|part| part.first()).map(|index| given.field(*index).name().clone());
        }
        let retracts = self.retracts(input);
        let operator = Operator::Project(exprs);
        let output = arrow_schema(&projection.schema);
        let node = self.push(operator, vec![input.node], output, retracts, &keys, StateBound::None);
        Ok(Relation { node, columns, keys, lost })
    }

    fn union(&mut self, union: &Union) -> Result<Relation, SqlError> {
        let inputs =
            union.inputs.iter().map(|input| self.visit(input)).collect::<Result<Vec<_>, SqlError>>()?;
        let retracts = inputs.iter().any(|input| self.retracts(input));
        let columns = (0..union.schema.fields().len()).map(|column| {
            let closing = |input: &Relation| input.columns.get(column).and_then(|facts| facts.closes_ms);
            let all: Option<Vec<i64>> = inputs.iter().map(closing).collect();
            let window = |input: &Relation| input.columns.get(column).and_then(|facts| facts.window.clone());
            let first = inputs.first().and_then(window);
            let window =
                first.filter(|first| inputs.iter().all(|input| window(input).as_ref() == Some(first)));
            ColumnFacts { closes_ms: all.and_then(|all| all.into_iter().max()), origin: None, window }
        });
        let columns = columns.collect();
        let places = inputs.iter().map(|input| input.node).collect();
        let schema = arrow_schema(&union.schema);
        let node = self.push(Operator::Union, places, schema, retracts, &[], StateBound::None);
        Ok(Relation { node, columns, keys: Vec::new(), lost: None })
    }

    fn unnest(&mut self, unnest: &Unnest) -> Result<Relation, SqlError> {
        let input = self.visit(&unnest.input)?;
        let is_deep = unnest.list_type_columns.iter().any(|(_, list)| list.depth != 1);
        if is_deep || !unnest.struct_type_columns.is_empty() {
            return Err(self
                .error("UNNEST of structs, or of lists in lists at once, cannot run on a stream yet")
                .with_help("unnest one level, and name a struct's fields one by one"));
        }
        let operator = UnnestNode {
            columns: unnest.dependency_indices.clone(),
            lists: unnest.list_type_columns.iter().map(|(index, _)| *index).collect(),
            null_handling: unnest.options.null_handling,
        };
        let columns = unnest.dependency_indices.iter().map(|from| input.columns[*from].clone()).collect();
        let retracts = self.retracts(&input);
        let schema = arrow_schema(&unnest.schema);
        let operator = Operator::Unnest(operator);
        let node = self.push(operator, vec![input.node], schema, retracts, &[], StateBound::None);
        Ok(Relation { node, columns, keys: Vec::new(), lost: None })
    }

    fn session(&mut self, session: &Session) -> Result<Relation, SqlError> {
        let input = self.visit(&session.input)?;
        let schema = session.input.schema();
        let index = |column: &datafusion::common::Column| {
            schema.index_of_column(column).map_err(|error| self.datafusion(error))
        };
        let time = index(&session.time)?;
        let partition = session.partition.iter().map(index).collect::<Result<Vec<_>, _>>()?;
        let facts = &input.columns[time];
        let (closes_ms, origin) = (facts.closes_ms, facts.origin);
        if let Some(origin) = origin {
            self.require_time(origin);
        }
        let output = arrow_schema(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(session));
        self.check_all_storable(&output, "SESSION")?;
        let time_type = schema.field(time).data_type().clone();
        let mut columns: Vec<ColumnFacts> = input.columns.iter().map(ColumnFacts::without_closing).collect();
        let kind = format!("session {} by {:?}", session.gap, session.partition);
        columns.push(ColumnFacts::window(kind.clone(), origin, None));
        columns.push(ColumnFacts::window(kind, origin, closes_ms.map(|after| after - 1)));
        let operator =
            Operator::Session(SessionNode { partition, time, gap: session.gap, time_type, closes_ms });
        let state =
            if closes_ms.is_some() { StateBound::Watermark } else { StateBound::Unbounded(Holding::Rows) };
        let keys = input.keys.clone();
        let node = self.push(operator, vec![input.node], output, true, &keys, state);
        Ok(Relation { node, columns, keys, lost: input.lost })
    }

    fn finish(
        mut self,
        plan: &LogicalPlan,
        result: &Relation,
        goes_to: GoesTo,
    ) -> Result<QueryPlan, SqlError> {
        if let Some((Emit::Final, position)) = self.emit
            && !self.windows.any_closes
        {
            return Err(match self.windows.any {
                true => SqlError::new(
                    position,
                    "EMIT FINAL needs to know when a window is complete, and the stream has no WATERMARK for its time",
                )
                .with_help("declare WATERMARK FOR the time column"),
                false => SqlError::new(
                    position,
                    "EMIT FINAL waits for windows to close, and this query groups by none",
                )
                .with_help("leave it out, or group by window_start and window_end of TUMBLE, HOP or SESSION"),
            });
        }
        let mode = self.nodes[result.node].mode;
        if goes_to == GoesTo::Listener && mode != ChangelogMode::Append {
            self.check_all_storable(&arrow_schema(plan.schema()), "a result that takes rows back")?;
        }
        if goes_to == GoesTo::Topic && mode == ChangelogMode::Retract {
            return Err(match &result.lost {
                Some(column) => self
                    .error(format!(
                        "the column `{column}` is not in SELECT, so the updates of two rows could not be told apart"
                    ))
                    .with_help(format!("select `{column}` too")),
                None => self
                    .error("rows of this result are taken back later, and nothing tells them apart in a topic")
                    .with_help(
                        "declare what it joins as tables with a PRIMARY KEY and select their keys, group the result, \
                         or use EMIT FINAL so that every row stands",
                    ),
            });
        }
        let upsert_key = self.nodes[result.node].key.clone().unwrap_or_default();
        let output_schema = arrow_schema(plan.schema());
        // The last node gives the result; a query that is only `SELECT *` shares its node with nobody.
        debug_assert_eq!(result.node, self.nodes.len() - 1);
        self.drop_idle_times();
        Ok(QueryPlan {
            sql: Arc::from(""),
            sources: self.sources,
            nodes: self.nodes,
            output_schema,
            mode,
            upsert_key,
            functions: Vec::new(),
        })
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

/// The key of a relation that one set of expressions tells apart.
fn key_of(columns: &[ColumnFacts]) -> Vec<Vec<KeyPart>> {
    vec![key_parts(columns)]
}
