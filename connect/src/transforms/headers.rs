//! `HeaderFrom$Value`: columns become headers, as the text of their values.

use arrow::array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use ottla_client::Header;

use super::columns::{Changed, build, columns_of, place_of};
use crate::texts::texts;

/// What becomes of the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeaderFrom {
    /// Columns, and the name of the header that each becomes.
    pub fields: Vec<(String, String)>,
    /// Whether the columns go.
    pub is_move: bool,
}

impl HeaderFrom {
    /// The batch without the columns that go.
    pub fn apply(&self, batch: &RecordBatch) -> Changed {
        for (field, _) in &self.fields {
            place_of(batch, field)?;
        }
        let goes = |name: &str| self.is_move && self.fields.iter().any(|(field, _)| field == name);
        let left = columns_of(batch).filter(|(field, _)| !goes(field.name())).collect();
        build(batch, left)
    }

    /// The headers of each row, a null as a header without a value.
    ///
    /// # Errors
    /// When a column is not there, or has no text.
    pub fn headers(&self, batch: &RecordBatch) -> Result<Vec<Vec<Header>>, String> {
        let mut headers = vec![Vec::new(); batch.num_rows()];
        for (field, name) in &self.fields {
            let column: &ArrayRef = batch.column(place_of(batch, field)?);
            let values = texts(column).map_err(|why| format!("column '{field}': {why}"))?;
            let key = Bytes::copy_from_slice(name.as_bytes());
            for (headers, value) in headers.iter_mut().zip(values) {
                headers.push(Header { key: key.clone(), value });
            }
        }
        Ok(headers)
    }
}
