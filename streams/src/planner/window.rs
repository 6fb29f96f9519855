//! Window table functions, in Flink's spelling:
//!
//! ```text
//! TUMBLE(TABLE t, DESCRIPTOR(time), size [, offset])
//! HOP(TABLE t, DESCRIPTOR(time), slide, size [, offset])
//! SESSION(TABLE t [PARTITION BY column, …], DESCRIPTOR(time), gap)
//! ```
//!
//! Each adds `window_start` and `window_end` to the table's columns. TUMBLE is planned as a projection, HOP as a list of
//! windows and an UNNEST, SESSION as a node of its own. A row whose time is null belongs to no window, so it is filtered
//! out here; a streaming query has sent it to the dead letters before.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, UnnestOptions};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Spanned, TableFactor,
};

use super::errors::through_datafusion;
use super::session::Session;
use crate::operators::hop::{Hop, HopFunction, HopPart};
use crate::operators::tumble::{Edge, Tumble, TumbleEdge};
use crate::sql::{Position, SqlError, TABLE_PREFIX, interval_nanos};

/// The columns that a window table function adds.
pub(super) const WINDOW_START: &str = "window_start";
pub(super) const WINDOW_END: &str = "window_end";

/// The most windows that HOP may put one row into.
const HOP_WINDOWS_MAX: i64 = 10_000;

/// The hook in DataFusion's planner.
#[derive(Debug)]
pub(super) struct WindowTableFunctions;

impl RelationPlanner for WindowTableFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (name, arguments, alias) = match relation {
            TableFactor::Table { name, args: Some(arguments), alias, .. } => (name, arguments.args, alias),
            TableFactor::TableFunction {
                expr: ast::Expr::Function(Function { name, args: FunctionArguments::List(list), .. }),
                alias,
            } => (name, list.args, alias),
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let position: Position = name.span().into();
        let Some(function) = WindowFunction::named(&name) else {
            let error = SqlError::new(position, format!("there is no table function `{name}`"));
            let error = error.with_help(format!("there are {}", TABLE_FUNCTIONS.join(", ")));
            return Err(through_datafusion(error.with_nearest(&name.to_string(), TABLE_FUNCTIONS)));
        };
        let call = Call { position, function, arguments };
        let plan = call.plan(context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// The functions planned here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WindowFunction {
    Tumble,
    Hop,
    Session,
}

impl WindowFunction {
    fn named(name: &ObjectName) -> Option<Self> {
        match name.to_string().to_ascii_uppercase().as_str() {
            "TUMBLE" => Some(WindowFunction::Tumble),
            "HOP" => Some(WindowFunction::Hop),
            "SESSION" => Some(WindowFunction::Session),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            WindowFunction::Tumble => "TUMBLE",
            WindowFunction::Hop => "HOP",
            WindowFunction::Session => "SESSION",
        }
    }

    /// The least and most arguments, what they are, and an example.
    fn arguments(self) -> (usize, usize, &'static str, &'static str) {
        match self {
            WindowFunction::Tumble => (
                3,
                4,
                "a stream, a time column and a size",
                "write TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR)",
            ),
            WindowFunction::Hop => (
                4,
                5,
                "a stream, a time column, a slide and a size",
                "write HOP(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '10' MINUTE, INTERVAL '1' HOUR)",
            ),
            WindowFunction::Session => (
                3,
                3,
                "a stream, a time column and a gap",
                "write SESSION(TABLE flights PARTITION BY origin, DESCRIPTOR(time_hour), INTERVAL '1' HOUR)",
            ),
        }
    }
}

/// What table functions there are, for suggestions.
pub(super) const TABLE_FUNCTIONS: [&str; 4] = ["TUMBLE", "HOP", "SESSION", "UNNEST"];

struct Call {
    function: WindowFunction,
    arguments: Vec<FunctionArg>,
    position: Position,
}

impl Call {
    fn plan(self, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let arguments = self.check().map_err(through_datafusion)?;
        let (table, time) = (&arguments[0], &arguments[1]);
        let (relation, partition) = table_argument(table).map_err(through_datafusion)?;
        if self.function != WindowFunction::Session
            && let Some(first) = partition.first()
        {
            let error = SqlError::new(first.span, format!("{} has no PARTITION BY", self.function.name()));
            return Err(through_datafusion(error.with_help("only SESSION has; group by the column instead")));
        }
        let input = context.plan(relation)?;
        let time = time_column(time, input.schema()).map_err(through_datafusion)?;
        let unit = time_unit(&time, input.schema());
        let ticks =
            |argument: &ast::Expr, is_size| ticks(argument, unit, is_size).map_err(through_datafusion);
        let partition = partition
            .iter()
            .map(|name| named_column(name, input.schema(), "to part sessions by"))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(through_datafusion)?;
        let input =
            LogicalPlanBuilder::from(input).filter(Expr::Column(time.clone()).is_not_null())?.build()?;
        let offset = |place: usize| arguments.get(place).map_or(Ok(0), |offset| ticks(offset, false));
        match self.function {
            WindowFunction::Tumble => {
                tumble(input, time, Tumble { size: ticks(&arguments[2], true)?, offset: offset(3)? })
            }
            WindowFunction::Hop => {
                let (slide, size) = (ticks(&arguments[2], true)?, ticks(&arguments[3], true)?);
                if size / slide > HOP_WINDOWS_MAX {
                    let message = format!("each row would be in {} windows", size / slide);
                    return Err(through_datafusion(
                        SqlError::new(arguments[2].span(), message)
                            .with_help(format!("the most is {HOP_WINDOWS_MAX}")),
                    ));
                }
                hop(input, time, Hop { size, slide, offset: offset(4)? })
            }
            WindowFunction::Session => Session::plan(input, partition, time, ticks(&arguments[2], true)?),
        }
    }

    /// The arguments in their order, after everything that can be wrong with the call's shape.
    fn check(&self) -> std::result::Result<Vec<ast::Expr>, SqlError> {
        let name = self.function.name();
        let mut arguments = Vec::new();
        for argument in &self.arguments {
            // Flink's named form gives the same in the same order: DATA, TIMECOL, SIZE, OFFSET.
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
                | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. } => arguments.push(expr.clone()),
                other => {
                    return Err(SqlError::new(
                        other.span(),
                        format!("`{other}` cannot be an argument of {name}"),
                    ));
                }
            }
        }
        let (least, most, what, example) = self.function.arguments();
        if !(least..=most).contains(&arguments.len()) {
            let message = format!("{name} takes {what}, and here are {}", arguments.len());
            return Err(SqlError::new(self.position, message).with_help(example));
        }
        Ok(arguments)
    }
}

fn tumble(input: LogicalPlan, time: Column, tumble: Tumble) -> Result<LogicalPlan> {
    let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let time = Expr::Column(time);
    for (edge, name) in [(Edge::Start, WINDOW_START), (Edge::End, WINDOW_END)] {
        columns.push(TumbleEdge::udf(edge, tumble).call(vec![time.clone()]).alias(name));
    }
    LogicalPlanBuilder::from(input).project(columns)?.build()
}

fn hop(input: LogicalPlan, time: Column, hop: Hop) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let start = Column::new_unqualified(WINDOW_START);
    let starts = HopFunction::udf(HopPart::Starts, hop).call(vec![Expr::Column(time)]).alias(WINDOW_START);
    let end = HopFunction::udf(HopPart::End, hop).call(vec![Expr::Column(start.clone())]).alias(WINDOW_END);
    let options = UnnestOptions::new().with_preserve_nulls(false);
    LogicalPlanBuilder::from(input)
        .project(columns.iter().cloned().chain([starts]).collect::<Vec<_>>())?
        .unnest_column_with_options(start.clone(), options)?
        .project(columns.into_iter().chain([Expr::Column(start), end]).collect::<Vec<_>>())?
        .build()
}

/// `TABLE name [PARTITION BY …]` as a relation for DataFusion to plan, so that it may be a stream or a common table
/// expression.
fn table_argument(argument: &ast::Expr) -> std::result::Result<(TableFactor, Vec<Ident>), SqlError> {
    let parts = match argument {
        ast::Expr::Prefixed { prefix, value } if prefix.value == TABLE_PREFIX => value.as_ref(),
        other => other,
    };
    // The dialect reads `t PARTITION BY a, b` as `t` and a tuple.
    let (parts, partition) = match parts {
        ast::Expr::Tuple(items) => match items.split_first() {
            Some((table, columns)) => {
                let idents = columns.iter().filter_map(|column| match column {
                    ast::Expr::Identifier(name) => Some(name.clone()),
                    _ => None,
                });
                (table, idents.collect())
            }
            None => (parts, Vec::new()),
        },
        _ => (parts, Vec::new()),
    };
    let parts: Vec<Ident> = match parts {
        ast::Expr::Identifier(name) => vec![name.clone()],
        ast::Expr::CompoundIdentifier(parts) => parts.clone(),
        other => {
            return Err(SqlError::new(other.span(), format!("`{other}` is not a stream"))
                .with_help("write TABLE and the stream's name"));
        }
    };
    let table = TableFactor::Table {
        name: ObjectName::from(parts),
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    };
    Ok((table, partition))
}

/// The column that `DESCRIPTOR(column)` names, which must be a timestamp.
fn time_column(argument: &ast::Expr, schema: &DFSchema) -> std::result::Result<Column, SqlError> {
    let position: Position = argument.span().into();
    let name = descriptor(argument).ok_or_else(|| {
        SqlError::new(position, format!("`{argument}` does not name a time column"))
            .with_help("write DESCRIPTOR(column)")
    })?;
    let column = named_column(&name, schema, "to make windows of")?;
    match schema.field_from_column(&column).map(|field| field.data_type().clone()) {
        Ok(DataType::Timestamp(_, _)) | Err(_) => Ok(column),
        Ok(other) => Err(SqlError::new(
            name.span,
            format!(
                "the column `{}` is a {}, and windows need a timestamp",
                name.value,
                ottla_formats::type_word(&other, false)
            ),
        )),
    }
}

fn named_column(name: &Ident, schema: &DFSchema, what_for: &str) -> std::result::Result<Column, SqlError> {
    let found = schema.iter().find(|(_, field)| field.name() == &name.value);
    match found {
        Some((qualifier, field)) => Ok(Column::new(qualifier.cloned(), field.name())),
        None => Err(SqlError::new(name.span, format!("there is no column `{}` {what_for}", name.value))
            .with_nearest(&name.value, schema.fields().iter().map(|field| field.name().as_str()))),
    }
}

fn descriptor(argument: &ast::Expr) -> Option<Ident> {
    match argument {
        ast::Expr::Identifier(name) => Some(name.clone()),
        ast::Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") => {
            match &call.args {
                FunctionArguments::List(list) => match list.args.as_slice() {
                    [FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Identifier(name)))] => {
                        Some(name.clone())
                    }
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

fn time_unit(column: &Column, schema: &DFSchema) -> TimeUnit {
    match schema.field_from_column(column).map(|field| field.data_type().clone()) {
        Ok(DataType::Timestamp(unit, _)) => unit,
        // `time_column` lets nothing else through.
        _ => TimeUnit::Millisecond,
    }
}

/// Nanoseconds in one tick of a timestamp column.
pub(super) fn nanos_per_tick(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// An interval in ticks of the time column; it must be a whole number of them, or windows would drift.
fn ticks(argument: &ast::Expr, unit: TimeUnit, is_size: bool) -> std::result::Result<i64, SqlError> {
    let nanos = interval_nanos(argument)?;
    let position: Position = argument.span().into();
    if is_size && nanos <= 0 {
        return Err(SqlError::new(position, "a window must be longer than nothing"));
    }
    let tick = nanos_per_tick(unit);
    if nanos % tick != 0 {
        return Err(SqlError::new(
            position,
            format!("the time column counts in {unit:?}s, and `{argument}` is not a whole number of them"),
        ));
    }
    Ok(nanos / tick)
}
