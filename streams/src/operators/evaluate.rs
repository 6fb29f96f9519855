//! Expressions over rows, and what becomes of rows that they fail for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::rows::{Rejected, Rows};
use crate::planner::{is_function_failure, plain_message};

/// Does `work` to every batch of rows. Where it fails, the rows are halved until the one that it fails for stands alone,
/// and that one is rejected, if it came from a record.
///
/// # Errors
/// When it fails for a row that no single record made, or not because of a row.
pub(super) fn each<T>(
    batches: &[Rows],
    rejected: &mut Vec<Rejected>,
    mut work: impl FnMut(&Rows) -> Result<T>,
) -> Result<Vec<T>> {
    let mut done = Vec::with_capacity(batches.len());
    for rows in batches.iter().filter(|rows| !rows.is_empty()) {
        halve(rows, rejected, &mut work, &mut done)?;
    }
    Ok(done)
}

fn halve<T>(
    rows: &Rows,
    rejected: &mut Vec<Rejected>,
    work: &mut impl FnMut(&Rows) -> Result<T>,
    done: &mut Vec<T>,
) -> Result<()> {
    match (work(rows), rows.len(), rows.origin(0)) {
        (Ok(result), _, _) => {
            done.push(result);
            Ok(())
        }
        (Err(error), _, None) => Err(error),
        (Err(error), _, _) if is_function_failure(&error) => Err(error),
        (Err(error), 1, Some(origin)) => {
            rejected.push(Rejected { origin, reason: plain_message(&error), is_late: false });
            Ok(())
        }
        (Err(_), count, Some(_)) => {
            let half = count / 2;
            halve(&rows.slice(0, half), rejected, work, done)?;
            halve(&rows.slice(half, count - half), rejected, work, done)
        }
    }
}

/// The value of an expression for each row.
///
/// # Errors
/// What evaluating it over some row can give, e.g. a division by zero.
pub(super) fn evaluate(expression: &Arc<dyn PhysicalExpr>, rows: &Rows) -> Result<ArrayRef> {
    expression.evaluate(&rows.batch)?.into_array(rows.len())
}

/// The values of several expressions.
///
/// # Errors
/// As [`evaluate`].
pub(super) fn evaluate_all(expressions: &[Arc<dyn PhysicalExpr>], rows: &Rows) -> Result<Vec<ArrayRef>> {
    expressions.iter().map(|expression| evaluate(expression, rows)).collect()
}

/// Timestamps as milliseconds since 1970; null where they are null or no timestamps. What is between two milliseconds is
/// taken for the later one where it `is_end`: closing late is right, closing early is not.
///
/// # Errors
/// Never for timestamps.
pub(super) fn millis(times: &ArrayRef, is_end: bool) -> Result<Int64Array> {
    let unit = match times.data_type() {
        DataType::Timestamp(unit, _) => *unit,
        _ => return Ok(Int64Array::new_null(times.len())),
    };
    let ticks = cast(times, &DataType::Int64)?;
    let ticks = ticks.as_primitive::<Int64Type>();
    Ok(match unit {
        TimeUnit::Second => ticks.unary(|tick| tick.saturating_mul(1_000)),
        TimeUnit::Millisecond => ticks.clone(),
        TimeUnit::Microsecond => ticks.unary(|tick| divided(tick, 1_000, is_end)),
        TimeUnit::Nanosecond => ticks.unary(|tick| divided(tick, 1_000_000, is_end)),
    })
}

fn divided(tick: i64, by: i64, rounds_up: bool) -> i64 {
    tick.div_euclid(by) + i64::from(rounds_up && tick.rem_euclid(by) != 0)
}
