//! Joins: what tells their rows apart, and when a row can have no new partner any more.

use std::sync::Arc;

use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, Operator as Comparison};

use super::{Lowering, Relation, arrow_schema};
use crate::planner::facts::{ColumnFacts, KeyPart, column_index};
use crate::planner::plan::{Closing, Holding, JoinNode, Operator, StateBound};
use crate::planner::time_bounds::{TimeBound, time_bounds};
use crate::sql::SqlError;

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Relation, SqlError> {
        let left = self.visit(&join.left)?;
        let right = self.visit(&join.right)?;
        if join.null_equality == NullEquality::NullEqualsNull {
            return Err(self.error("a join in which null equals null cannot run on a stream yet"));
        }
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let (pairs, rest) = split_condition(join);
        let on = pairs
            .iter()
            .map(|(l, r)| Ok((self.physical(l, left_schema)?, self.physical(r, right_schema)?)))
            .collect::<Result<Vec<_>, SqlError>>()?;
        let filter = rest.as_ref().map(|filter| self.physical(filter, &join.schema)).transpose()?;
        let is_left = join.join_type == JoinType::Left;
        let (left_arrow, right_arrow) = (arrow_schema(left_schema), arrow_schema(right_schema));
        self.check_all_storable(&left_arrow, "a join")?;
        self.check_all_storable(&right_arrow, "a join")?;

        let bounds = self.bounds(join, &pairs, &left, &right);
        let closings: Vec<Closings> =
            bounds.iter().filter_map(|bound| Closings::of(bound, &left.columns, &right.columns)).collect();
        let best = closings.iter().find(|closings| closings.left.is_some() && closings.right.is_some());
        let (left_closing, right_closing) = match best {
            Some(closings) => (closings.left, closings.right),
            None => closings.first().map_or((None, None), |closings| (closings.left, closings.right)),
        };
        // A row is late by the column that the other side's forgetting is reckoned by.
        let late = |column: Option<usize>, columns: &[ColumnFacts]| {
            let column = column?;
            Some(Closing { column, after_ms: columns[column].closes_ms? })
        };
        let bound = best.or(closings.first()).map(|closings| closings.bound);
        let left_late = late(bound.map(|bound| bound.left), &left.columns);
        let right_late = late(bound.map(|bound| bound.right), &right.columns);
        let left_count = left.columns.len();
        let columns = joined_facts(&left, &right, &closings, is_left);
        let keys = self.joined_keys(join, &pairs, &left, &right, is_left);
        let retracts = is_left || self.retracts(&left) || self.retracts(&right);
        let state = match (left_closing, right_closing) {
            (Some(_), Some(_)) => StateBound::Watermark,
            _ => StateBound::Unbounded(Holding::BothSides),
        };
        let schema = arrow_schema(&join.schema);
        debug_assert_eq!(left_count + right.columns.len(), schema.fields().len());
        let node = JoinNode {
            on,
            filter,
            is_left,
            left_closing,
            right_closing,
            left_late,
            right_late,
            left_schema: left_arrow,
            right_schema: right_arrow,
            schema: Arc::clone(&schema),
        };
        let operator = Operator::Join(Arc::new(node));
        let node = self.push(operator, vec![left.node, right.node], schema, retracts, &keys, state);
        Ok(Relation { node, columns, keys, lost: None })
    }

    /// How far apart the times of a pair may be, by its condition.
    fn bounds(
        &self,
        join: &Join,
        pairs: &[(Expr, Expr)],
        left: &Relation,
        right: &Relation,
    ) -> Vec<TimeBound> {
        let left_count = left.columns.len();
        let is_time = |column: usize| match column.checked_sub(left_count) {
            None => left.columns[column].closes_ms.is_some(),
            Some(column) => right.columns[column].closes_ms.is_some(),
        };
        let mut bounds: Vec<TimeBound> = Vec::new();
        for (l, r) in pairs {
            if let (Some(left), Some(right)) =
                (column_index(l, join.left.schema()), column_index(r, join.right.schema()))
                && is_time(left)
                && is_time(left_count + right)
            {
                bounds.push(TimeBound { left, right, least_ms: Some(0), most_ms: Some(0) });
            }
        }
        bounds.extend(time_bounds(join.filter.as_ref(), &join.schema, left_count, is_time));
        bounds
    }

    fn joined_keys(
        &self,
        join: &Join,
        pairs: &[(Expr, Expr)],
        left: &Relation,
        right: &Relation,
        is_left: bool,
    ) -> Vec<Vec<KeyPart>> {
        let side = |pick: fn(&(Expr, Expr)) -> &Expr, schema| -> Vec<usize> {
            pairs.iter().filter_map(|pair| column_index(pick(pair), schema)).collect()
        };
        let on_left = side(|pair| &pair.0, join.left.schema());
        let on_right = side(|pair| &pair.1, join.right.schema());
        let covers = |on: &[usize], key: &[KeyPart]| {
            key.iter().all(|part| part.iter().any(|column| on.contains(column)))
        };
        let shift = |key: &[KeyPart]| -> Vec<KeyPart> {
            let by = left.columns.len();
            key.iter().map(|part| part.iter().map(|column| column + by).collect()).collect()
        };
        let mut keys: Vec<Vec<KeyPart>> = Vec::new();
        // Each left row meets one right row at most.
        if right.keys.iter().any(|key| covers(&on_right, key)) {
            keys.extend(left.keys.iter().cloned());
        }
        // Each right row meets one left row at most; a left row without partner has no right key.
        if !is_left && left.keys.iter().any(|key| covers(&on_left, key)) {
            keys.extend(right.keys.iter().map(|key| shift(key)));
        }
        for left_key in &left.keys {
            keys.extend(right.keys.iter().map(|right_key| [left_key.clone(), shift(right_key)].concat()));
        }
        keys
    }
}

/// Pairs of expressions that must be equal, one over each side, and what else must be true.
fn split_condition(join: &Join) -> (Vec<(Expr, Expr)>, Option<Expr>) {
    let (mut pairs, mut rest) = (join.on.clone(), Vec::new());
    for conjunct in join.filter.as_ref().map(split_conjunction).unwrap_or_default() {
        let pair = match conjunct {
            Expr::BinaryExpr(BinaryExpr { left, op: Comparison::Eq, right }) => {
                let (l, r) = (join.left.schema(), join.right.schema());
                if is_over(left, l) && is_over(right, r) {
                    Some((*left.clone(), *right.clone()))
                } else if is_over(left, r) && is_over(right, l) {
                    Some((*right.clone(), *left.clone()))
                } else {
                    None
                }
            }
            _ => None,
        };
        match pair {
            Some(pair) => pairs.push(pair),
            None => rest.push(conjunct.clone()),
        }
    }
    (pairs, conjunction(rest))
}

/// Whether an expression has columns, all of them of this schema.
fn is_over(expr: &Expr, schema: &DFSchema) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty() && columns.iter().all(|column| schema.maybe_index_of_column(column).is_some())
}

/// When the rows of each side can be forgotten, by one bound of their times.
struct Closings {
    bound: TimeBound,
    left: Option<Closing>,
    right: Option<Closing>,
}

impl Closings {
    fn of(bound: &TimeBound, left: &[ColumnFacts], right: &[ColumnFacts]) -> Option<Self> {
        let (left_after, right_after) = (left[bound.left].closes_ms?, right[bound.right].closes_ms?);
        // A left row at `l` meets right rows at `l - least` at the latest, and changes itself until `l + left_after`.
        let left = bound.least_ms.map(|least| Closing {
            column: bound.left,
            after_ms: right_after.saturating_sub(least).max(left_after),
        });
        let right = bound.most_ms.map(|most| Closing {
            column: bound.right,
            after_ms: left_after.saturating_add(most).max(right_after),
        });
        Some(Closings { bound: *bound, left, right })
    }
}

/// Joined columns keep their windows; their times close where the join bounds them.
fn joined_facts(left: &Relation, right: &Relation, closings: &[Closings], is_left: bool) -> Vec<ColumnFacts> {
    let sides = left.columns.iter().chain(&right.columns);
    let mut columns: Vec<ColumnFacts> = sides.map(ColumnFacts::without_closing).collect();
    // Windows of the two sides may be of the same kind and time and yet be those of two rows.
    columns[left.columns.len()..].iter_mut().for_each(|facts| facts.window = None);
    for closings in closings {
        let (Some(left_closing), Some(right_closing)) = (closings.left, closings.right) else { continue };
        columns[closings.bound.left].closes_ms = Some(left_closing.after_ms);
        if !is_left {
            columns[left.columns.len() + closings.bound.right].closes_ms = Some(right_closing.after_ms);
        }
    }
    columns
}
