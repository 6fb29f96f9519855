//! What a join's condition says about the times of its two sides.
//!
//! ```text
//!   left.time BETWEEN right.time - INTERVAL '10' SECOND AND right.time + INTERVAL '5' SECOND
//!
//!                  right.time
//! ───[───────────────┼────────]──▶ left.time       least ≤ left.time - right.time ≤ most
//!   -10 s                   +5 s
//! ```

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use super::facts::column_index;

/// How far apart the times of a pair of rows may be: `least_ms ≤ left - right ≤ most_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeBound {
    /// The left column, by its index in the left input.
    pub(super) left: usize,
    /// The right column, by its index in the right input.
    pub(super) right: usize,
    pub(super) least_ms: Option<i64>,
    pub(super) most_ms: Option<i64>,
}

/// The bounds that a condition over joined rows gives. `is_time` says which of the joined columns are times; the first
/// `left_columns` of them are the left side's.
pub(super) fn time_bounds(
    filter: Option<&Expr>,
    schema: &DFSchema,
    left_columns: usize,
    is_time: impl Fn(usize) -> bool,
) -> Vec<TimeBound> {
    let mut bounds: Vec<TimeBound> = Vec::new();
    let mut at_least = |greater: &Expr, lesser: &Expr| {
        let (Some((a, a_ms)), Some((b, b_ms))) = (shifted(greater, schema), shifted(lesser, schema)) else {
            return;
        };
        // column a + a_ms ≥ column b + b_ms
        if !is_time(a) || !is_time(b) || (a < left_columns) == (b < left_columns) {
            return;
        }
        let (left, right) = (a.min(b), a.max(b) - left_columns);
        let place = bounds.iter().position(|bound| (bound.left, bound.right) == (left, right));
        let place = place.unwrap_or_else(|| {
            bounds.push(TimeBound { left, right, least_ms: None, most_ms: None });
            bounds.len() - 1
        });
        let bound = &mut bounds[place];
        if a < left_columns {
            let least = b_ms.saturating_sub(a_ms);
            bound.least_ms = Some(bound.least_ms.map_or(least, |known| known.max(least)));
        } else {
            let most = a_ms.saturating_sub(b_ms);
            bound.most_ms = Some(bound.most_ms.map_or(most, |known| known.min(most)));
        }
    };
    for conjunct in filter.map(split_conjunction).unwrap_or_default() {
        match conjunct {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::Gt | Operator::GtEq => at_least(left, right),
                Operator::Lt | Operator::LtEq => at_least(right, left),
                Operator::Eq => {
                    at_least(left, right);
                    at_least(right, left);
                }
                _ => {}
            },
            Expr::Between(Between { expr, negated: false, low, high }) => {
                at_least(expr, low);
                at_least(high, expr);
            }
            _ => {}
        }
    }
    bounds
}

/// `column`, `column + interval` or `column - interval`.
fn shifted(expr: &Expr, schema: &DFSchema) -> Option<(usize, i64)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Plus => match (shifted(left, schema), interval_ms(right)) {
                (Some((column, by)), Some(more)) => Some((column, by.checked_add(more)?)),
                _ => {
                    let (column, by) = shifted(right, schema)?;
                    Some((column, by.checked_add(interval_ms(left)?)?))
                }
            },
            Operator::Minus => {
                let (column, by) = shifted(left, schema)?;
                Some((column, by.checked_sub(interval_ms(right)?)?))
            }
            _ => None,
        },
        // The same instant in another unit or zone.
        Expr::Cast(cast) if cast.field.data_type().is_temporal() => shifted(&cast.expr, schema),
        other => column_index(other, schema).map(|column| (column, 0)),
    }
}

/// An interval literal of whole milliseconds; months have no fixed length.
fn interval_ms(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) if interval.months == 0 => {
            let nanos = i64::from(interval.days)
                .checked_mul(86_400_000_000_000)?
                .checked_add(interval.nanoseconds)?;
            (nanos % 1_000_000 == 0).then_some(nanos / 1_000_000)
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(interval)), _) => {
            Some(i64::from(interval.days) * 86_400_000 + i64::from(interval.milliseconds))
        }
        Expr::Literal(ScalarValue::DurationMillisecond(Some(length)), _) => Some(*length),
        Expr::Cast(cast) => interval_ms(&cast.expr),
        _ => None,
    }
}
