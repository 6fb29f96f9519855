//! Files of lines, whatever the lines are: one face for the readers of `ottla-formats`.

use arrow::datatypes::SchemaRef;
use ottla_formats::{CsvOptions, CsvReader, FormatError, JsonLinesReader, Position, RowBatch};

/// What the lines of a file are.
#[derive(Debug, Clone)]
pub(super) enum LineFormat {
    /// Without a schema the first line of each file names the columns.
    Csv(CsvOptions, Option<SchemaRef>),
    Json(SchemaRef),
}

/// Cuts a file into rows.
pub(super) enum LinesReader {
    Csv(CsvReader),
    Json(JsonLinesReader),
}

impl LineFormat {
    /// A reader that stands at the start of a file.
    ///
    /// # Errors
    /// When the format cannot hold the schema.
    pub(super) fn reader(&self) -> Result<LinesReader, FormatError> {
        Ok(match self {
            Self::Csv(options, schema) => LinesReader::Csv(CsvReader::new(options.clone(), schema.clone())?),
            Self::Json(schema) => LinesReader::Json(JsonLinesReader::new(schema.clone())?),
        })
    }
}

impl LinesReader {
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        match self {
            Self::Csv(reader) => reader.feed(chunk),
            Self::Json(reader) => reader.feed(chunk),
        }
    }

    /// The last line needs no end.
    pub(super) fn end(&mut self) {
        match self {
            Self::Csv(reader) => reader.end(),
            Self::Json(reader) => reader.end(),
        }
    }

    /// Reads what stands before the rows; false when not all of it has been fed.
    pub(super) fn read_header(&mut self) -> Result<bool, FormatError> {
        match self {
            Self::Csv(reader) => reader.read_header(),
            Self::Json(_) => Ok(true),
        }
    }

    pub(super) fn position(&self) -> Position {
        match self {
            Self::Csv(reader) => reader.position(),
            Self::Json(reader) => reader.position(),
        }
    }

    /// Goes to a place of the same file; the header must have been read.
    pub(super) fn seek(&mut self, position: Position) {
        match self {
            Self::Csv(reader) => reader.seek(position),
            Self::Json(reader) => reader.seek(position),
        }
    }

    pub(super) fn next_batch(&mut self, rows_max: usize) -> Result<Option<RowBatch>, FormatError> {
        match self {
            Self::Csv(reader) => reader.next_batch(rows_max),
            Self::Json(reader) => reader.next_batch(rows_max),
        }
    }
}
