//! From the syntax tree to DataFusion's logical plan, and through the rules of its optimiser that hold for streams.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement;

use super::context::PlanningContext;
use super::errors::from_datafusion;
use super::refuse::refuse_unknown_names;
use crate::sql::{QueryStatement, SqlError};

/// Resolves names and types.
pub(crate) fn to_logical(
    query: &QueryStatement,
    context: &PlanningContext,
) -> std::result::Result<LogicalPlan, SqlError> {
    refuse_unknown_names(query, context)?;
    let options = ParserOptions::new()
        // Names are as written, as in Flink and in JSON: `userId` must find the key `userId`.
        .with_enable_ident_normalization(false)
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true);
    SqlToRel::new_with_options(context, options)
        .sql_statement_to_plan(Statement::Query(query.query.clone()))
        .map_err(|error| from_datafusion(&error, query.position))
}

/// Coerces types and applies the rules that hold for changes of rows as for rows.
///
/// Left out on purpose: everything about limits and sorts; `SingleDistinctToGroupBy`, which would aggregate an
/// aggregate; and the simplification of `now()`, which would freeze the clock at planning time.
pub(super) fn optimized_for_streams(plan: LogicalPlan) -> Result<LogicalPlan> {
    let options = Arc::new(ConfigOptions::default());
    let plan = Analyzer::new().execute_and_check(plan, &options, |_, _| {})?;
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    let context = OptimizerContext::new_with_config_options(options).without_query_execution_start_time();
    Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})
}
