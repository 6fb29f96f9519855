//! Window table functions: `TUMBLE(TABLE stream, DESCRIPTOR(column), INTERVAL '…' [, INTERVAL '…' offset])`.
//!
//! Planned as a projection that adds `window_start` and `window_end` to the stream's columns. A row whose time is null
//! belongs to no window, so it is filtered out here; a streaming query has sent it to the dead letters before.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, DFSchema, ExprSchema, Result};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Spanned, TableFactor,
};

use super::errors::through_datafusion;
use crate::operators::tumble::{Edge, Tumble, TumbleEdge};
use crate::sql::{Position, SqlError, TABLE_PREFIX, interval_nanos};

/// The columns that a window table function adds.
pub(super) const WINDOW_START: &str = "window_start";
pub(super) const WINDOW_END: &str = "window_end";

/// The names of the functions planned here, and those that are known but not planned yet.
const PLANNED: &str = "TUMBLE";
const NOT_YET: [&str; 3] = ["HOP", "SESSION", "CUMULATE"];

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
        let call = Call { position: name.span().into(), name, arguments };
        let plan = call.plan(context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

struct Call {
    name: ObjectName,
    arguments: Vec<FunctionArg>,
    position: Position,
}

impl Call {
    fn plan(self, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let arguments = self.check().map_err(through_datafusion)?;
        let (table, time, size) = (&arguments[0], &arguments[1], &arguments[2]);
        let relation = table_argument(table).map_err(through_datafusion)?;
        let input = context.plan(relation)?;
        let time = time_column(time, input.schema()).map_err(through_datafusion)?;
        let unit = time_unit(&time, input.schema());
        let tumble = Tumble {
            size: ticks(size, unit, true).map_err(through_datafusion)?,
            offset: match arguments.get(3) {
                Some(offset) => ticks(offset, unit, false).map_err(through_datafusion)?,
                None => 0,
            },
        };
        let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let time = Expr::Column(time);
        for (edge, name) in [(Edge::Start, WINDOW_START), (Edge::End, WINDOW_END)] {
            columns.push(TumbleEdge::udf(edge, tumble).call(vec![time.clone()]).alias(name));
        }
        LogicalPlanBuilder::from(input).filter(time.is_not_null())?.project(columns)?.build()
    }

    /// The arguments in their order, after everything that can be wrong with the call's shape.
    fn check(&self) -> std::result::Result<Vec<ast::Expr>, SqlError> {
        let name = self.name.to_string();
        if !name.eq_ignore_ascii_case(PLANNED) {
            let upper = name.to_ascii_uppercase();
            let error = if NOT_YET.contains(&upper.as_str()) {
                SqlError::new(
                    self.position,
                    format!("the window table function {upper} is not supported yet"),
                )
            } else {
                SqlError::new(self.position, format!("there is no table function `{name}`"))
            };
            return Err(error.with_help("TUMBLE is").with_nearest(&name, [PLANNED]));
        }
        let mut arguments = Vec::new();
        for argument in &self.arguments {
            // Flink's named form gives the same four in the same order: DATA, TIMECOL, SIZE, OFFSET.
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
                | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. } => arguments.push(expr.clone()),
                other => {
                    return Err(SqlError::new(
                        other.span(),
                        format!("`{other}` cannot be an argument of TUMBLE"),
                    ));
                }
            }
        }
        if !(3..=4).contains(&arguments.len()) {
            let message =
                format!("TUMBLE takes a stream, a time column and a size, and here are {}", arguments.len());
            return Err(SqlError::new(self.position, message)
                .with_help("write TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR)"));
        }
        Ok(arguments)
    }
}

/// `TABLE name` as a relation for DataFusion to plan, so that it may be a stream or a common table expression.
fn table_argument(argument: &ast::Expr) -> std::result::Result<TableFactor, SqlError> {
    let parts = match argument {
        ast::Expr::Prefixed { prefix, value } if prefix.value == TABLE_PREFIX => value.as_ref(),
        other => other,
    };
    let parts: Vec<Ident> = match parts {
        ast::Expr::Identifier(name) => vec![name.clone()],
        ast::Expr::CompoundIdentifier(parts) => parts.clone(),
        other => {
            return Err(SqlError::new(other.span(), format!("`{other}` is not a stream"))
                .with_help("write TABLE and the stream's name"));
        }
    };
    Ok(TableFactor::Table {
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
    })
}

/// The column that `DESCRIPTOR(column)` names, which must be a timestamp.
fn time_column(argument: &ast::Expr, schema: &DFSchema) -> std::result::Result<Column, SqlError> {
    let position: Position = argument.span().into();
    let name = descriptor(argument).ok_or_else(|| {
        SqlError::new(position, format!("`{argument}` does not name a time column"))
            .with_help("write DESCRIPTOR(column)")
    })?;
    let found = schema.iter().find(|(_, field)| field.name() == &name.value);
    let Some((qualifier, field)) = found else {
        return Err(SqlError::new(
            name.span,
            format!("there is no column `{}` to make windows of", name.value),
        )
        .with_nearest(&name.value, schema.fields().iter().map(|field| field.name().as_str())));
    };
    if !matches!(field.data_type(), DataType::Timestamp(_, _)) {
        let word = ottla_formats::type_word(field.data_type(), false);
        return Err(SqlError::new(
            name.span,
            format!("the column `{}` is a {word}, and windows need a timestamp", name.value),
        ));
    }
    Ok(Column::new(qualifier.cloned(), field.name()))
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
