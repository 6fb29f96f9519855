//! CSV: one record per payload or per row of a file, its fields matched to columns by place or by header name.
//!
//! A null is an unquoted field that is one of `null_values` (a quoted one is always text); an empty field of a column
//! that is not text is null too. Text that reads as a null is written in quotes, so every value comes back as it was.

mod fields;
mod format;
mod reader;
#[cfg(test)]
mod tests;

use crate::FormatError;

pub use format::CsvFormat;
pub use reader::CsvReader;

/// How a CSV text is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// Between two fields; one ASCII character, not a quote or line end.
    pub delimiter: u8,
    /// Whether a file's first record names its columns.
    pub header: bool,
    /// Unquoted texts that mean null.
    pub null_values: Vec<String>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', header: true, null_values: vec![String::new()] }
    }
}

impl CsvOptions {
    /// # Errors
    /// [`FormatError::BadOption`] naming the option that makes no sense.
    pub fn validate(&self) -> Result<(), FormatError> {
        if !self.delimiter.is_ascii() || matches!(self.delimiter, b'"' | b'\n' | b'\r') {
            return Err(FormatError::BadOption {
                option: "delimiter",
                reason: "must be one ASCII character that is neither a quote nor a line end".to_owned(),
            });
        }
        Ok(())
    }

    fn is_null(&self, text: &str) -> bool {
        self.null_values.iter().any(|null| null == text)
    }
}
