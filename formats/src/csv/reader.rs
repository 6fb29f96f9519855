//! A CSV file, chunk by chunk, into batches with the place after each row.
//!
//! ```text
//!   feed(chunk) ─► Window ─► scan_record ─► columns ─► next_batch() ─► RowBatch { batch, positions, bad, resume }
//! ```
//! A row waits in the window until its end is there, so where the chunks are cut never shows. A row that cannot be read
//! is handed out whole and reading goes on after it; when its quote never closes (within 1 MiB, or before the end of
//! the file), only its first line is bad, so that one stray quote does not swallow the rest of the file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;

use super::CsvOptions;
use super::fields::{FieldSpan, Scan, scan_record, unescape};
use super::format::{FORMAT, append_row, check_stray};
use crate::columns::Columns;
use crate::rows::{BadRow, Position, RowBatch};
use crate::window::{ROW_BYTES_MAX, Window};
use crate::{FormatError, columns};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Cuts a CSV file into batches. It holds at most one chunk and one row; it reads no file itself.
pub struct CsvReader {
    options: CsvOptions,
    wanted: Option<SchemaRef>,
    layout: Option<Layout>,
    window: Window,
    spans: Vec<FieldSpan>,
    row_bytes_max: usize,
}

/// Which field is which column; known once the header has been read.
struct Layout {
    schema: SchemaRef,
    places: Vec<usize>,
    width: usize,
}

/// One row cut off the window.
enum Row {
    Good { content_len: usize },
    Bad { content_len: usize, reason: String },
}

impl CsvReader {
    /// A reader that stands at the start of a file.
    ///
    /// With a header, columns are found by name: the file's other columns are skipped, and without a `schema` all of
    /// them are nullable strings. Without a header, fields are the schema's columns in their order.
    ///
    /// # Errors
    /// [`FormatError::BadOption`] for options that make no sense, [`FormatError::UnsupportedType`] for a schema with a
    /// type that CSV cannot hold.
    pub fn new(options: CsvOptions, schema: Option<SchemaRef>) -> Result<Self, FormatError> {
        options.validate()?;
        if let Some(schema) = &schema {
            Columns::new(schema.fields(), FORMAT, false)?;
        }
        let layout = match (&schema, options.header) {
            (Some(schema), false) => {
                let width = schema.fields().len();
                Some(Layout { schema: Arc::clone(schema), places: (0..width).collect(), width })
            }
            (None, false) => {
                return Err(FormatError::BadOption {
                    option: "header",
                    reason: "a file without a header needs a schema that names its columns".to_owned(),
                });
            }
            (_, true) => None,
        };
        Ok(Self {
            options,
            wanted: schema,
            layout,
            window: Window::new(Position::START),
            spans: Vec::new(),
            row_bytes_max: ROW_BYTES_MAX,
        })
    }

    /// The same reader with another limit on the length of a row, in bytes.
    #[must_use]
    pub fn with_row_bytes_max(mut self, row_bytes_max: usize) -> Self {
        self.row_bytes_max = row_bytes_max.max(1);
        self
    }

    /// Gives the reader the next bytes of the file.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.window.feed(chunk);
    }

    /// Tells the reader that the file ends here: the last row needs no line end.
    pub fn end(&mut self) {
        self.window.end();
    }

    /// The schema of the batches; `None` until the header has been read.
    #[must_use]
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.layout.as_ref().map(|layout| &layout.schema)
    }

    /// Where the next row starts.
    #[must_use]
    pub fn position(&self) -> Position {
        self.window.position()
    }

    /// Reads the header if it is still to come. `false`: not all of it has been fed yet.
    ///
    /// # Errors
    /// [`FormatError::BadHeader`], [`FormatError::MissingColumn`] or [`FormatError::AmbiguousColumn`].
    pub fn read_header(&mut self) -> Result<bool, FormatError> {
        let at_start = self.window.position() == Position::START;
        if at_start && !self.skip_byte_order_mark() {
            return Ok(false);
        }
        if self.layout.is_some() {
            return Ok(true);
        }
        let bad = |reason: String| FormatError::BadHeader { reason };
        let rest = self.window.rest();
        match scan_record(rest, self.options.delimiter, self.window.is_ended(), &mut self.spans) {
            Scan::Record { len, content_len, lines, stray } => {
                let record = rest.get(..content_len).unwrap_or(rest);
                check_stray(stray, record).map_err(bad)?;
                let text = std::str::from_utf8(record).map_err(|_| bad("it is not UTF-8".to_owned()))?;
                if text.trim().is_empty() {
                    return Err(bad("the first line is empty, so no column has a name".to_owned()));
                }
                let names: Vec<String> = self
                    .spans
                    .iter()
                    .map(|span| {
                        let name = text.get(span.start..span.end).unwrap_or_default();
                        unescape(name, span).trim().to_owned()
                    })
                    .collect();
                self.layout = Some(Layout::from_header(&names, self.wanted.as_ref())?);
                self.window.advance(len, lines);
                Ok(true)
            }
            Scan::Incomplete { open_quote } if self.window.is_ended() || rest.len() > self.row_bytes_max => {
                let reason = if open_quote { "a quote in it never closes" } else { "it is too long" };
                Err(bad(reason.to_owned()))
            }
            Scan::Incomplete { .. } => Ok(false),
        }
    }

    /// Goes to a place that a batch of this same file returned, e.g. in an earlier run; the header must have been read.
    /// What was fed before is forgotten: feed the bytes from `position.byte` on.
    pub fn seek(&mut self, position: Position) {
        self.window = Window::new(position);
    }

    /// The next rows, at most `rows_max` good and bad ones together, of what has been fed. `None` when there is no whole
    /// row left: feed more, or be done if the end has been told.
    ///
    /// # Errors
    /// Those of [`CsvReader::read_header`] for the header; a row is never an error.
    pub fn next_batch(&mut self, rows_max: usize) -> Result<Option<RowBatch>, FormatError> {
        if !self.read_header()? {
            return Ok(None);
        }
        let Some(layout) = &self.layout else { return Ok(None) };
        let mut columns = Columns::new(layout.schema.fields(), FORMAT, false)?;
        let mut positions = Vec::new();
        let mut bad = Vec::new();
        let begin = self.window.position();
        while positions.len() + bad.len() < rows_max {
            let Some((row, len, lines)) =
                cut_row(&self.window, &self.options, self.row_bytes_max, &mut self.spans)
            else {
                break;
            };
            let line = self.window.position().line;
            let rest = self.window.rest();
            let (content_len, result) = match row {
                // A blank line is no row; with one column it could be an empty field, but files end in blank lines.
                Row::Good { content_len: 0 } => {
                    self.window.advance(len, lines);
                    continue;
                }
                Row::Good { content_len } => {
                    let record = rest.get(..content_len).unwrap_or(rest);
                    let result = append_row(
                        &mut columns,
                        record,
                        &self.spans,
                        &layout.places,
                        layout.width,
                        &self.options,
                    );
                    (content_len, result)
                }
                Row::Bad { content_len, reason } => (content_len, Err(reason)),
            };
            let raw =
                result.is_err().then(|| Bytes::copy_from_slice(rest.get(..content_len).unwrap_or(rest)));
            self.window.advance(len, lines);
            let position = self.window.position();
            match result {
                Ok(()) => positions.push(position),
                Err(reason) => {
                    columns.truncate(positions.len());
                    bad.push(BadRow { line, position, raw: raw.unwrap_or_default(), reason });
                }
            }
        }
        let resume = self.window.position();
        if positions.is_empty() && bad.is_empty() && resume == begin {
            return Ok(None);
        }
        let batch = columns.finish(&layout.schema, positions.len())?;
        Ok(Some(RowBatch { batch, positions, bad, resume }))
    }

    /// `false` while too little has been fed to tell whether the file starts with a byte order mark.
    fn skip_byte_order_mark(&mut self) -> bool {
        let rest = self.window.rest();
        if rest.starts_with(BYTE_ORDER_MARK) {
            self.window.advance(BYTE_ORDER_MARK.len(), 0);
            return true;
        }
        self.window.is_ended() || !BYTE_ORDER_MARK.starts_with(rest)
    }
}

/// Finds the row at the front of the window: what it is, and how many bytes and line ends to cut off.
fn cut_row(
    window: &Window,
    options: &CsvOptions,
    row_bytes_max: usize,
    spans: &mut Vec<FieldSpan>,
) -> Option<(Row, usize, u64)> {
    let rest = window.rest();
    if rest.is_empty() {
        return None;
    }
    // No more than the limit is ever looked at, whatever has been fed: else the chunks would show in the rows.
    let capped = rest.len() > row_bytes_max;
    let view = rest.get(..row_bytes_max).unwrap_or(rest);
    match scan_record(view, options.delimiter, window.is_ended() && !capped, spans) {
        Scan::Record { len, content_len, lines, stray } => {
            let record = view.get(..content_len).unwrap_or(view);
            let row = match check_stray(stray, record) {
                Ok(()) => Row::Good { content_len },
                Err(reason) => Row::Bad { content_len, reason },
            };
            Some((row, len, lines))
        }
        Scan::Incomplete { .. } if !capped && !window.is_ended() => None,
        Scan::Incomplete { open_quote } => {
            let newline = view.iter().position(|byte| *byte == b'\n');
            let len = newline.map_or(view.len(), |at| at + 1);
            let content = view.get(..newline.unwrap_or(len)).unwrap_or(view);
            let content = content.strip_suffix(b"\r").unwrap_or(content);
            let reason = if open_quote {
                "a quote opens here and never closes".to_owned()
            } else {
                format!("the row is longer than {row_bytes_max} bytes")
            };
            Some((Row::Bad { content_len: content.len(), reason }, len, u64::from(newline.is_some())))
        }
    }
}

impl Layout {
    fn from_header(names: &[String], wanted: Option<&SchemaRef>) -> Result<Self, FormatError> {
        let width = names.len();
        let Some(schema) = wanted else {
            for (index, name) in names.iter().enumerate() {
                if names.get(..index).is_some_and(|before| before.contains(name)) {
                    return Err(FormatError::AmbiguousColumn { column: name.clone() });
                }
            }
            let fields: Vec<Field> =
                names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
            return Ok(Self { schema: Arc::new(Schema::new(fields)), places: (0..width).collect(), width });
        };
        let mut places = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let mut found = names.iter().enumerate().filter(|(_, name)| *name == field.name());
            match (found.next(), found.next()) {
                (Some((place, _)), None) => places.push(place),
                (Some(_), Some(_)) => {
                    return Err(FormatError::AmbiguousColumn { column: field.name().clone() });
                }
                (None, _) => {
                    return Err(FormatError::MissingColumn {
                        column: field.name().clone(),
                        header: columns::quoted(&names.join(",")),
                    });
                }
            }
        }
        Ok(Self { schema: Arc::clone(schema), places, width })
    }
}
