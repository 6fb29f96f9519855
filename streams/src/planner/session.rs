//! `SESSION` as a node of DataFusion's logical plan, and what it means to a batch.
//!
//! A row begins a new session when the row before it, in its partition and by time, is `gap` or more earlier. A session's
//! window begins with its first row and ends `gap` after its last one. (Flink lets a row exactly `gap` later join the
//! session; here it does not, so that a watermark at a window's end closes it.)

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, DFSchemaRef, ExprSchema, Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_window::expr_fn::lag;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprFunctionExt, Extension, LogicalPlan, LogicalPlanBuilder,
    UserDefinedLogicalNodeCore, WindowFrame, cast, lit, when,
};

use super::window::{WINDOW_END, WINDOW_START};

/// The input's columns with the window of each row's session. The time column is never null.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) input: Arc<LogicalPlan>,
    pub(super) partition: Vec<Column>,
    pub(super) time: Column,
    /// In ticks of the time column; positive.
    pub(super) gap: i64,
    schema: DFSchemaRef,
}

impl PartialOrd for Session {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (&self.input, self.gap).partial_cmp(&(&other.input, other.gap))
    }
}

impl Session {
    pub(super) fn plan(
        input: LogicalPlan,
        partition: Vec<Column>,
        time: Column,
        gap: i64,
    ) -> Result<LogicalPlan> {
        let schema = windowed_schema(input.schema(), &time)?;
        let node = Session { input: Arc::new(input), partition, time, gap, schema };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// The same with DataFusion's window functions, for a batch.
    fn to_batch(&self) -> Result<LogicalPlan> {
        let partition: Vec<Expr> = self.partition.iter().cloned().map(Expr::Column).collect();
        let time = Expr::Column(self.time.clone());
        let order = vec![time.clone().sort(true, false)];
        let ticks = |time: Expr| cast(time, DataType::Int64);
        let named = |name: &str| Expr::Column(Column::new_unqualified(name));
        let columns: Vec<Expr> = self.input.schema().columns().into_iter().map(Expr::Column).collect();
        let with = |more: Vec<Expr>| columns.iter().cloned().chain(more).collect::<Vec<_>>();

        let before = lag(time.clone(), Some(1), None)
            .partition_by(partition.clone())
            .order_by(order.clone())
            .build()?;
        let plan = LogicalPlanBuilder::from(self.input.as_ref().clone()).window(vec![before.clone()])?;
        let is_same =
            (ticks(time.clone()) - ticks(named(&before.schema_name().to_string()))).lt(lit(self.gap));
        let begins = when(is_same, lit(0i64)).otherwise(lit(1i64))?.alias("__begins");
        let plan = plan.project(with(vec![begins]))?;

        let number = over(sum_udaf(), named("__begins"))
            .partition_by(partition.clone())
            .order_by(order)
            .window_frame(WindowFrame::new(Some(true)))
            .build()?;
        let session = named(&number.schema_name().to_string()).alias("__session");
        let plan = plan.window(vec![number])?.project(with(vec![session]))?;

        let mut session = partition;
        session.push(named("__session"));
        let edge = |function| {
            let whole = WindowFrame::new(None);
            over(function, time.clone()).partition_by(session.clone()).window_frame(whole).build()
        };
        let (first, last) = (edge(min_udaf())?, edge(max_udaf())?);
        let start = named(&first.schema_name().to_string()).alias(WINDOW_START);
        let time_type = self.input.schema().field_from_column(&self.time)?.data_type().clone();
        let end =
            cast(ticks(named(&last.schema_name().to_string())) + lit(self.gap), time_type).alias(WINDOW_END);
        plan.window(vec![first, last])?.project(with(vec![start, end]))?.build()
    }
}

/// An aggregate as a window function, whose OVER is still to be said.
fn over(function: Arc<AggregateUDF>, argument: Expr) -> Expr {
    Expr::from(WindowFunction::new(function, vec![argument]))
}

/// A plan that DataFusion alone can run.
pub(crate) fn without_sessions(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| match &plan {
        LogicalPlan::Extension(extension) => match of(extension) {
            Some(session) => session.to_batch().map(Transformed::yes),
            None => Ok(Transformed::no(plan)),
        },
        _ => Ok(Transformed::no(plan)),
    })?;
    Ok(plan.data)
}

/// The session node inside an extension node.
pub(super) fn of(extension: &Extension) -> Option<&Session> {
    extension.node.as_any().downcast_ref::<Session>()
}

fn windowed_schema(input: &DFSchema, time: &Column) -> Result<DFSchemaRef> {
    let time = input.field_from_column(time)?;
    let mut fields: Vec<_> =
        input.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    for name in [WINDOW_START, WINDOW_END] {
        let field = arrow::datatypes::Field::new(name, time.data_type().clone(), true);
        fields.push((None, Arc::new(field)));
    }
    Ok(Arc::new(DFSchema::new_with_metadata(fields, input.metadata().clone())?))
}

impl UserDefinedLogicalNodeCore for Session {
    fn name(&self) -> &str {
        "Session"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Session: {} gap={}", self.time, ScalarValue::from(self.gap))
    }

    fn with_exprs_and_inputs(&self, _expressions: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.into_iter().next() else {
            return datafusion::common::internal_err!("a session has an input");
        };
        let schema = windowed_schema(input.schema(), &self.time)?;
        Ok(Session { input: Arc::new(input), schema, ..self.clone() })
    }
}
