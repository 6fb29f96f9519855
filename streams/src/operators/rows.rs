//! A batch of changes: rows with weights, which remember the input records that they came from.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{filter, filter_record_batch, take, take_record_batch};
use arrow::error::ArrowError;

/// Rows on their way through a dataflow.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The columns.
    pub batch: RecordBatch,
    /// How often each row is added, or taken away where it is negative; never null. Without it, once each: what only
    /// grows pays nothing for weights.
    pub weights: Option<Int64Array>,
    /// For each row, the index of its record in the epoch's input; never null. Rows that an operator made from several
    /// have none.
    pub origins: Option<UInt32Array>,
}

impl Rows {
    /// Rows that are added once each, from these records.
    pub fn from_records(batch: RecordBatch, origins: UInt32Array) -> Self {
        Rows { batch, weights: None, origins: Some(origins) }
    }

    /// Changes that no single record made.
    pub fn changes(batch: RecordBatch, weights: Vec<i64>) -> Self {
        let weights = weights.iter().any(|weight| *weight != 1).then(|| Int64Array::from(weights));
        Rows { batch, weights, origins: None }
    }

    /// The weight of a row.
    pub fn weight(&self, row: usize) -> i64 {
        self.weights.as_ref().map_or(1, |weights| weights.value(row))
    }

    /// The record that a row came from, if it came from one.
    pub fn origin(&self, row: usize) -> Option<u32> {
        self.origins.as_ref().map(|origins| origins.value(row))
    }

    /// The same changes of other columns.
    pub fn with_batch(&self, batch: RecordBatch) -> Rows {
        Rows { batch, weights: self.weights.clone(), origins: self.origins.clone() }
    }

    /// The rows for which `keep` is true; null is not true.
    ///
    /// # Errors
    /// When `keep` is not as long as the rows.
    pub fn filtered(&self, keep: &BooleanArray) -> Result<Rows, ArrowError> {
        let kept = |array: &dyn Array| filter(array, keep);
        Ok(Rows {
            batch: match self.batch.num_columns() {
                0 => without_columns(&self.batch, keep.true_count())?,
                _ => filter_record_batch(&self.batch, keep)?,
            },
            weights: self.weights.as_ref().map(|w| kept(w)).transpose()?.map(|w| w.as_primitive().clone()),
            origins: self.origins.as_ref().map(|o| kept(o)).transpose()?.map(|o| o.as_primitive().clone()),
        })
    }

    /// The rows at these indices, in their order.
    ///
    /// # Errors
    /// When an index lies outside.
    pub fn taken(&self, indices: &UInt32Array) -> Result<Rows, ArrowError> {
        let taken = |array: &dyn Array| take(array, indices, None);
        Ok(Rows {
            batch: match self.batch.num_columns() {
                0 => without_columns(&self.batch, indices.len())?,
                _ => take_record_batch(&self.batch, indices)?,
            },
            weights: self.weights.as_ref().map(|w| taken(w)).transpose()?.map(|w| w.as_primitive().clone()),
            origins: self.origins.as_ref().map(|o| taken(o)).transpose()?.map(|o| o.as_primitive().clone()),
        })
    }

    /// Rows `from` up to, not including, `from + length`; must lie inside.
    pub fn slice(&self, from: usize, length: usize) -> Rows {
        Rows {
            batch: self.batch.slice(from, length),
            weights: self.weights.as_ref().map(|weights| weights.slice(from, length)),
            origins: self.origins.as_ref().map(|origins| origins.slice(from, length)),
        }
    }

    /// The weights as a slice, when there are any.
    pub fn weight_values(&self) -> Option<&[i64]> {
        self.weights.as_ref().map(|weights| weights.values().as_ref())
    }

    /// The number of rows, whatever their weights.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// As many rows that have no columns.
fn without_columns(batch: &RecordBatch, rows: usize) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(batch.schema(), Vec::new(), &options)
}

/// A row that goes to the dead letters instead of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The index of its record in the epoch's input.
    pub origin: u32,
    /// Why, in one sentence.
    pub reason: String,
    /// Whether it is a good row that came after its window had closed.
    pub is_late: bool,
}
