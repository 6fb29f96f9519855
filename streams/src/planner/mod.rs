//! The planner: SQL and a catalog in, a [`QueryPlan`] or a [`SqlError`] out. Pure.
//!
//! ```text
//! text ─ sql::parse ─▶ statements ─ refuse ─▶ LogicalPlan ─ DataFusion's analyzer and rules ─▶ lower ─▶ QueryPlan
//! ```
//!
//! DataFusion resolves names and types and optimises; what it must not do to a stream (sort, join, look at the clock)
//! is refused on the syntax tree, where the place is still known. Nothing here knows topics' contents, clients or time.

mod catalog;
mod context;
mod errors;
mod explain;
mod facts;
mod functions;
mod insert;
mod logical;
mod lower;
mod plan;
mod refuse;
mod session;
mod time_bounds;
mod user_function;
mod window;

use std::sync::Arc;

pub use catalog::{Catalog, Stream, Watermark};
pub(crate) use context::PlanningContext;
pub(crate) use errors::{from_datafusion, plain_message};
pub(crate) use functions::Functions;
pub(crate) use insert::plan_insert;
pub(crate) use logical::to_logical;
pub use plan::{
    AggregateCall, AggregateKind, AggregateNode, ChangelogMode, Closing, EventTime, Holding, JoinNode, Node,
    Operator, QueryPlan, SessionNode, SortKey, SourceNode, StateBound, TopNNode, UnnestNode,
};
pub use refuse::{functions_called, streams_read};
pub(crate) use session::without_sessions;
pub use user_function::UserFunction;
pub(crate) use user_function::is_function_failure;

use crate::sql::{self, Position, QueryStatement, SqlError, Statement};

/// Whether a function of this name, in lower case, is built in, so that none of a plugin can be called so.
pub fn is_builtin_function(name: &str) -> bool {
    Functions::builtin().contains(name)
}

/// Plans the one query of `sql` over the streams of `catalog` and those that the text itself declares.
///
/// # Errors
/// What is wrong with the text, at its line and column: grammar, an unknown name, a type that does not fit, or
/// something a stream cannot do yet.
pub fn plan(sql: &str, catalog: &Catalog) -> Result<QueryPlan, SqlError> {
    let mut catalog = catalog.clone();
    let mut query = None;
    for statement in sql::parse(sql)? {
        match statement {
            Statement::CreateStream(create) => catalog.declare(create)?,
            Statement::Query(second) if query.is_some() => {
                return Err(SqlError::new(second.position, "this is a second query, and a plan has one")
                    .with_help("give each query its own name"));
            }
            Statement::Query(first) => query = Some(first),
            _ => {
                return Err(SqlError::new(Position::START, "a plan is of streams, tables and one SELECT")
                    .with_help("run the other statements with `ottla sql`"));
            }
        }
    }
    let query = query.ok_or_else(|| {
        SqlError::new(Position::START, "there is no query here").with_help("a plan needs one SELECT")
    })?;
    plan_query(&query, &catalog)
}

/// Plans a query whose result goes to a topic, so that its rows must be told apart.
///
/// # Errors
/// As [`plan`].
pub fn plan_query(query: &QueryStatement, catalog: &Catalog) -> Result<QueryPlan, SqlError> {
    planned(query, catalog, lower::GoesTo::Topic)
}

/// Plans a query whose changes go to a listener, who is told which row goes.
///
/// # Errors
/// As [`plan`].
pub fn plan_changes(query: &QueryStatement, catalog: &Catalog) -> Result<QueryPlan, SqlError> {
    planned(query, catalog, lower::GoesTo::Listener)
}

fn planned(query: &QueryStatement, catalog: &Catalog, goes_to: lower::GoesTo) -> Result<QueryPlan, SqlError> {
    refuse::refuse_unsupported(query)?;
    let context = PlanningContext::for_streams(catalog);
    let logical = to_logical(query, &context)?;
    let optimized =
        logical::optimized_for_streams(logical).map_err(|error| from_datafusion(&error, query.position))?;
    lower::lower(&optimized, catalog, query, goes_to).map(|mut plan| {
        plan.sql = Arc::from(query.query.to_string());
        let called = functions_called(query);
        let of_plugins =
            catalog.functions().filter(|function| called.iter().any(|name| name == function.name()));
        plan.functions = of_plugins.cloned().collect();
        plan
    })
}

#[cfg(test)]
mod tests;
