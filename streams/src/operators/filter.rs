//! Keeps the rows for which an expression is true.

use std::sync::Arc;

use arrow::array::AsArray;
use datafusion::common::{Result, exec_err};
use datafusion::physical_expr::PhysicalExpr;

use super::evaluate::evaluate;
use super::rows::Rows;

/// The rows for which `predicate` is true; where it is null it is not.
///
/// # Errors
/// What evaluating the expression over some row can give, e.g. a division by zero.
pub(super) fn filter(predicate: &Arc<dyn PhysicalExpr>, rows: &Rows) -> Result<Rows> {
    let keep = evaluate(predicate, rows)?;
    match keep.as_boolean_opt() {
        Some(keep) if keep.true_count() == rows.len() => Ok(rows.clone()),
        Some(keep) => Ok(rows.filtered(keep)?),
        None => exec_err!("the condition {predicate} is a {} and not a boolean", keep.data_type()),
    }
}
