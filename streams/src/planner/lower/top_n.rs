//! `WHERE rn <= n` around `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) AS rn`.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::WindowFunctionParams;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator as Comparison, Window};

use super::aggregate::closing_of;
use super::{Lowering, Relation, arrow_schema};
use crate::planner::facts::{ColumnFacts, KeyPart, column_index};
use crate::planner::plan::{Holding, Operator, SortKey, StateBound, TopNNode};
use crate::sql::SqlError;

/// Whether rows come from a ROW_NUMBER(), renamed and chosen from at most.
pub(super) fn is_numbered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Window(_) => true,
        LogicalPlan::Projection(projection) => is_numbered(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_numbered(&alias.input),
        _ => false,
    }
}

impl Lowering<'_> {
    /// Takes a condition down to the ROW_NUMBER() that it limits, through what only renames and chooses columns.
    pub(super) fn top_n_below(&mut self, predicate: Expr, plan: &LogicalPlan) -> Result<Relation, SqlError> {
        match plan {
            LogicalPlan::Window(window) => self.top_n(&predicate, window),
            LogicalPlan::Projection(projection) => {
                let below = |index: usize| projection.expr[index].clone().unalias();
                let predicate = self.moved_below(predicate, plan, below)?;
                let input = self.top_n_below(predicate, &projection.input)?;
                self.project(projection, &input)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let columns = alias.input.schema().columns();
                let below = |index: usize| Expr::Column(columns[index].clone());
                let predicate = self.moved_below(predicate, plan, below)?;
                self.top_n_below(predicate, &alias.input)
            }
            other => Err(self.error(format!("{} cannot be numbered", other.display()))),
        }
    }

    fn moved_below(
        &self,
        predicate: Expr,
        plan: &LogicalPlan,
        below: impl Fn(usize) -> Expr,
    ) -> Result<Expr, SqlError> {
        let moved = predicate.transform(|expr| match column_index(&expr, plan.schema()) {
            Some(index) => Ok(Transformed::new(below(index), true, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(expr)),
        });
        moved.map(|moved| moved.data).map_err(|error| self.datafusion(error))
    }

    fn top_n(&mut self, predicate: &Expr, window: &Window) -> Result<Relation, SqlError> {
        let [numbering] = window.window_expr.as_slice() else {
            return Err(self.error("one SELECT can have one ROW_NUMBER()"));
        };
        let Some(params) = row_number(numbering) else {
            return Err(self.error(format!("`{numbering}` cannot run on a stream yet")));
        };
        let input = self.visit(&window.input)?;
        let input_schema = window.input.schema();
        let number = input_schema.fields().len();
        let Some(limit) = limit_of(predicate, number, window) else {
            return Err(self
                .error("ROW_NUMBER() cannot run on a stream without a limit")
                .with_help("keep the first numbers only: … WHERE rn <= 10"));
        };
        let partition = self.physical_all(&params.partition_by, input_schema)?;
        let order = params
            .order_by
            .iter()
            .map(|sort| {
                let options =
                    arrow::compute::SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
                Ok(SortKey { expression: self.physical(&sort.expr, input_schema)?, options })
            })
            .collect::<Result<Vec<_>, SqlError>>()?;
        let schema = arrow_schema(&window.schema);
        self.check_all_storable(&schema, "ROW_NUMBER()")?;
        let parts = self.facts(&params.partition_by, &input, input_schema);
        let closing = closing_of(&parts);

        let mut columns: Vec<ColumnFacts> = input.columns.iter().map(ColumnFacts::without_closing).collect();
        columns.push(ColumnFacts::default());
        let places: Option<Vec<usize>> =
            params.partition_by.iter().map(|expr| column_index(expr, input_schema)).collect();
        let mut keys: Vec<Vec<KeyPart>> = Vec::new();
        if let Some(places) = places {
            // A partition is complete when its window is.
            for place in &places {
                columns[*place].closes_ms = input.columns[*place].closes_ms;
            }
            let facts: Vec<ColumnFacts> = places.iter().map(|place| input.columns[*place].clone()).collect();
            let parts = crate::planner::facts::key_parts(&facts);
            let mut key: Vec<KeyPart> =
                parts.iter().map(|part| part.iter().map(|index| places[*index]).collect()).collect();
            if limit > 1 {
                key.push(vec![number]);
            }
            keys.push(key);
        }
        keys.extend(input.keys.iter().cloned());
        let state = if closing.is_some() {
            StateBound::Watermark
        } else {
            StateBound::Unbounded(Holding::Partitions)
        };
        let keeps_all = self.retracts(&input);
        let node = TopNNode { partition, order, limit, closing, keeps_all, schema: Arc::clone(&schema) };
        let operator = Operator::TopN(Arc::new(node));
        let node = self.push(operator, vec![input.node], schema, true, &keys, state);
        let numbered = Relation { node, columns, keys, lost: None };
        // The whole condition, since it may say more than the limit.
        let predicate = self.physical(predicate, &window.schema)?;
        Ok(self.filtered(predicate, numbered))
    }
}

fn row_number(expr: &Expr) -> Option<&WindowFunctionParams> {
    match expr {
        Expr::Alias(alias) => row_number(&alias.expr),
        Expr::WindowFunction(function) => (function.fun.name() == "row_number").then_some(&function.params),
        _ => None,
    }
}

/// The greatest number for which the condition can be true.
fn limit_of(predicate: &Expr, number: usize, window: &Window) -> Option<u64> {
    let is_number = |expr: &Expr| {
        let inner = if let Expr::Cast(cast) = expr { cast.expr.as_ref() } else { expr };
        column_index(inner, &window.schema) == Some(number)
    };
    let limits = split_conjunction(predicate).into_iter().filter_map(|conjunct| match conjunct {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_number(left) => at_most(*op, literal(right)?),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_number(right) => {
            at_most(op.swap()?, literal(left)?)
        }
        Expr::Between(between) if is_number(&between.expr) && !between.negated => literal(&between.high),
        _ => None,
    });
    limits.min()
}

fn at_most(comparison: Comparison, limit: u64) -> Option<u64> {
    match comparison {
        Comparison::Lt => Some(limit.saturating_sub(1)),
        Comparison::LtEq | Comparison::Eq => Some(limit),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Literal(ScalarValue::UInt64(Some(value)), _) => Some(*value),
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some(u64::try_from(*value).unwrap_or_default()),
        _ => None,
    }
}
