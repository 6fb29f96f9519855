//! Results as JSON lines.

use std::collections::VecDeque;
use std::convert::Infallible;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::{LineDelimitedWriter, StructMode, WriterBuilder};
use bytes::Bytes;
use futures::Stream;
use ottla_streams::engine::PushQuery;
use ottla_streams::operators::Rows;
use serde_json::json;

/// Rows that are written at a time.
const CHUNK_ROWS: usize = 4_096;

/// `{"done": "…"}`
pub(super) fn done(done: &str, out: &mut Vec<u8>) {
    line(&json!({ "done": done }), out);
}

/// `{"columns": [{"name", "type"}]}`, with `"changes": true` where rows come with weights.
pub(super) fn columns(schema: &SchemaRef, are_changes: bool, out: &mut Vec<u8>) {
    let column = |field: &arrow::datatypes::FieldRef| json!({ "name": field.name(), "type": ottla_formats::type_word(field.data_type(), false) });
    let columns: Vec<serde_json::Value> = schema.fields().iter().map(column).collect();
    match are_changes {
        true => line(&json!({ "columns": columns, "changes": true }), out),
        false => line(&json!({ "columns": columns }), out),
    }
}

/// How a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As an object of its columns.
    Object,
    /// As an array of its values, for whoever was given the columns.
    Array,
}

/// A row a line.
pub(super) fn rows(batch: &RecordBatch, shape: Shape, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mode = match shape {
        Shape::Object => StructMode::ObjectOnly,
        Shape::Array => StructMode::ListOnly,
    };
    let builder = WriterBuilder::new().with_explicit_nulls(true).with_struct_mode(mode);
    let mut writer: LineDelimitedWriter<_> = builder.build(out);
    writer.write(batch)?;
    writer.finish()
}

/// A change a line. JSON has no line ends within, so lines are rows.
fn weighted(changes: &Rows, shape: Shape, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut text = Vec::new();
    rows(&changes.batch, shape, &mut text)?;
    for (row, json) in text.split(|byte| *byte == b'\n').take(changes.len()).enumerate() {
        out.extend_from_slice(format!("{{\"weight\":{},\"row\":", changes.weight(row)).as_bytes());
        out.extend_from_slice(json);
        out.extend_from_slice(b"}\n");
    }
    Ok(())
}

fn line(value: &serde_json::Value, out: &mut Vec<u8>) {
    out.extend_from_slice(value.to_string().as_bytes());
    out.push(b'\n');
}

/// The changes of a query on their way to a client; the next are made when the client has taken the last.
pub(super) struct Changes {
    /// What comes before the changes.
    begin: Option<Vec<u8>>,
    shape: Shape,
    query: Option<Box<PushQuery>>,
    waiting: VecDeque<Rows>,
}

impl Changes {
    pub(super) fn after(begin: Vec<u8>, shape: Shape, query: Box<PushQuery>) -> Changes {
        Changes { begin: Some(begin), shape, query: Some(query), waiting: VecDeque::new() }
    }

    pub(super) fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        futures::stream::unfold(self, |mut changes| async move {
            let bytes = changes.next().await?;
            Some((Ok(Bytes::from(bytes)), changes))
        })
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(begin) = self.begin.take().filter(|begin| !begin.is_empty()) {
            return Some(begin);
        }
        loop {
            if let Some(rows) = self.waiting.pop_front() {
                if rows.len() > CHUNK_ROWS {
                    self.waiting.push_front(rows.slice(CHUNK_ROWS, rows.len() - CHUNK_ROWS));
                }
                let mut out = Vec::new();
                return match weighted(&rows.slice(0, rows.len().min(CHUNK_ROWS)), self.shape, &mut out) {
                    Ok(()) => Some(out),
                    Err(error) => Some(self.end(&error.to_string())),
                };
            }
            match self.query.as_mut()?.next().await {
                Ok(Some(changes)) => self.waiting.extend(changes.into_iter().filter(|rows| !rows.is_empty())),
                Ok(None) => return None,
                Err(error) => return Some(self.end(&error.to_string())),
            }
        }
    }

    /// The answer's status is long sent, so an error is its last line.
    fn end(&mut self, error: &str) -> Vec<u8> {
        self.query = None;
        self.waiting.clear();
        let mut out = Vec::new();
        line(&json!({ "error": error }), &mut out);
        out
    }
}
