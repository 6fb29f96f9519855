//! Gives one column per expression.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::rows::Rows;

/// The columns that `expressions` make of the rows, as `schema` names them.
///
/// # Errors
/// What evaluating an expression over some row can give.
pub(super) fn project(
    expressions: &[Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
    rows: &Rows,
) -> Result<Rows> {
    let columns = expressions
        .iter()
        .map(|expression| expression.evaluate(&rows.batch)?.into_array(rows.len()))
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
    Ok(Rows { batch, origins: rows.origins.clone() })
}
