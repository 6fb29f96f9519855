//! A file of JSON lines, chunk by chunk, into batches with the place after each line.
//!
//! Lines end in `\n` or `\r\n`; blank ones are skipped. A line that is no object of the schema, or longer than 1 MiB, is
//! handed out as it is and reading goes on after it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use super::decode::RowDecoder;
use crate::FormatError;
use crate::rows::{BadRow, Position, RowBatch};
use crate::window::{ROW_BYTES_MAX, Window};

/// Cuts a file of JSON lines into batches. It holds at most one chunk and one line; it reads no file itself.
pub struct JsonLinesReader {
    schema: SchemaRef,
    window: Window,
    row_bytes_max: usize,
}

impl JsonLinesReader {
    /// A reader that stands at the start of a file.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedType`] for a schema with a type that JSON cannot hold.
    pub fn new(schema: SchemaRef) -> Result<Self, FormatError> {
        RowDecoder::new(&schema)?;
        Ok(Self { schema, window: Window::new(Position::START), row_bytes_max: ROW_BYTES_MAX })
    }

    /// The same reader with another limit on the length of a line, in bytes.
    #[must_use]
    pub fn with_row_bytes_max(mut self, row_bytes_max: usize) -> Self {
        self.row_bytes_max = row_bytes_max.max(1);
        self
    }

    /// Gives the reader the next bytes of the file.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.window.feed(chunk);
    }

    /// Tells the reader that the file ends here: the last line needs no line end.
    pub fn end(&mut self) {
        self.window.end();
    }

    /// Where the next line starts.
    #[must_use]
    pub fn position(&self) -> Position {
        self.window.position()
    }

    /// Goes to a place that a batch of this same file returned. Feed the bytes from `position.byte` on.
    pub fn seek(&mut self, position: Position) {
        self.window = Window::new(position);
    }

    /// The next lines, at most `rows_max` good and bad ones together, of what has been fed. `None` when there is no
    /// whole line left.
    ///
    /// # Errors
    /// None that depends on the file; see [`FormatError`].
    pub fn next_batch(&mut self, rows_max: usize) -> Result<Option<RowBatch>, FormatError> {
        let mut rows = RowDecoder::new(&self.schema)?;
        let mut positions = Vec::new();
        let mut bad = Vec::new();
        let begin = self.window.position();
        while positions.len() + bad.len() < rows_max {
            let rest = self.window.rest();
            let capped = rest.len() > self.row_bytes_max;
            let view = rest.get(..self.row_bytes_max).unwrap_or(rest);
            let newline = view.iter().position(|byte| *byte == b'\n');
            if view.is_empty() || (newline.is_none() && !capped && !self.window.is_ended()) {
                break;
            }
            let line = view.get(..newline.unwrap_or(view.len())).unwrap_or(view);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let len = newline.map_or(view.len(), |at| at + 1);
            let result = if newline.is_none() && capped {
                Err(format!("the line is longer than {} bytes", self.row_bytes_max))
            } else if line.trim_ascii().is_empty() {
                self.window.advance(len, u64::from(newline.is_some()));
                continue;
            } else {
                rows.push(line)
            };
            let raw = result.is_err().then(|| Bytes::copy_from_slice(line));
            let number = self.window.position().line;
            self.window.advance(len, u64::from(newline.is_some()));
            let position = self.window.position();
            match result {
                Ok(()) => positions.push(position),
                Err(reason) => {
                    bad.push(BadRow { line: number, position, raw: raw.unwrap_or_default(), reason })
                }
            }
        }
        let resume = self.window.position();
        if positions.is_empty() && bad.is_empty() && resume == begin {
            return Ok(None);
        }
        Ok(Some(RowBatch { batch: rows.finish(&Arc::clone(&self.schema))?, positions, bad, resume }))
    }
}
