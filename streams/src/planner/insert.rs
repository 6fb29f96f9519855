//! `INSERT INTO target SELECT …`: the query's columns become the target's, in their order.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};

use super::catalog::{Catalog, Stream};
use super::context::PlanningContext;
use super::errors::from_datafusion;
use super::logical::{optimized_for_streams, to_logical};
use super::lower::{GoesTo, lower};
use super::plan::{ChangelogMode, QueryPlan};
use super::refuse::refuse_unsupported;
use crate::sql::{Name, QueryStatement, SqlError};

/// Plans a query whose rows go into a declared stream or table.
///
/// # Errors
/// As [`super::plan`]; when the columns do not fit; and when rows that are replaced later would go into a stream, or into
/// a table under another key.
pub(crate) fn plan_insert(
    query: &QueryStatement,
    target: &Stream,
    name: &Name,
    catalog: &Catalog,
) -> Result<QueryPlan, SqlError> {
    refuse_unsupported(query)?;
    let context = PlanningContext::for_streams(catalog);
    let logical = fitted(to_logical(query, &context)?, target, name, query)?;
    let optimized =
        optimized_for_streams(logical).map_err(|error| from_datafusion(&error, query.position))?;
    let mut plan = lower(&optimized, catalog, query, GoesTo::Topic)?;
    plan.sql = Arc::from(format!("INSERT INTO {} {}", name.text, query.query));
    let columns = |indices: &[usize]| {
        let names: Vec<&str> =
            indices.iter().map(|index| plan.output_schema.field(*index).name().as_str()).collect();
        names.join(", ")
    };
    match (&target.primary_key, plan.mode) {
        (None, ChangelogMode::Append) => {}
        (None, _) => {
            return Err(SqlError::new(
                name.position,
                format!("rows of this query are replaced later, and the stream `{}` only grows", name.text),
            )
            .with_help(format!(
                "group by windows and add EMIT FINAL, or write into a table with PRIMARY KEY ({})",
                columns(&plan.upsert_key)
            )));
        }
        (Some(key), mode) => {
            let wanted: Vec<usize> =
                key.iter().filter_map(|column| plan.output_schema.index_of(column).ok()).collect();
            let same = plan.upsert_key.len() == wanted.len()
                && plan.upsert_key.iter().all(|column| wanted.contains(column));
            if mode != ChangelogMode::Append && !same {
                let message = format!(
                    "`{}` is keyed by {}, and rows of this query are told apart by {}",
                    name.text,
                    key.join(", "),
                    columns(&plan.upsert_key)
                );
                return Err(SqlError::new(name.position, message)
                    .with_help("declare the table with that key, or group by its columns"));
            }
            // A row that stands replaces the one before it with its key.
            plan.upsert_key = wanted;
        }
    }
    Ok(plan)
}

/// The query's rows with the target's names and types.
fn fitted(
    plan: LogicalPlan,
    target: &Stream,
    name: &Name,
    query: &QueryStatement,
) -> Result<LogicalPlan, SqlError> {
    let (given, wanted) = (plan.schema().columns(), target.schema.fields());
    if given.len() != wanted.len() {
        let names: Vec<&str> = wanted.iter().map(|field| field.name().as_str()).collect();
        let message = format!(
            "`{}` has {} columns ({}), and the query gives {}",
            name.text,
            wanted.len(),
            names.join(", "),
            given.len()
        );
        return Err(SqlError::new(name.position, message));
    }
    let columns: Vec<Expr> = given
        .into_iter()
        .zip(wanted)
        .map(|(column, field)| {
            let index = plan.schema().index_of_column(&column);
            let same = index.is_ok_and(|index| plan.schema().field(index).data_type() == field.data_type());
            let column = Expr::Column(column);
            let fitted = if same { column } else { cast(column, field.data_type().clone()) };
            fitted.alias(field.name())
        })
        .collect();
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| from_datafusion(&error, query.position))
}
