//! A batch of rows that remembers which input record each row came from.

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter, filter_record_batch};
use arrow::error::ArrowError;

/// Rows on their way through a chain.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The columns.
    pub batch: RecordBatch,
    /// For each row, the index of its record in the epoch's input; never null.
    pub origins: UInt32Array,
}

impl Rows {
    /// The rows for which `keep` is true; null is not true.
    ///
    /// # Errors
    /// When `keep` is not as long as the rows.
    pub fn filtered(&self, keep: &BooleanArray) -> Result<Rows, ArrowError> {
        let origins = filter(&self.origins, keep)?;
        Ok(Rows {
            batch: filter_record_batch(&self.batch, keep)?,
            origins: arrow::array::AsArray::as_primitive(&origins).clone(),
        })
    }

    /// Rows `from` up to, not including, `from + length`; must lie inside.
    pub fn slice(&self, from: usize, length: usize) -> Rows {
        Rows { batch: self.batch.slice(from, length), origins: self.origins.slice(from, length) }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
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
