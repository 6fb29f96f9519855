//! Gives one column per expression.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::evaluate::evaluate_all;
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
    let columns = evaluate_all(expressions, rows)?;
    Ok(rows.with_batch(batch_of(schema, columns, rows.len())?))
}

/// A batch that may have no columns.
///
/// # Errors
/// When the columns are not those of the schema.
pub(super) fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
