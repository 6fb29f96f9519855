//! Batches to JSON objects, one per row, all in one buffer.

use arrow::array::RecordBatch;
use base64::Engine as _;
use bytes::Bytes;

use super::decode::FORMAT;
use crate::cells::{Cells, Kind};
use crate::error::FormatError;
use crate::timestamp::{write_date, write_timestamp};

/// A first guess at a row's size, in bytes per column, so that the buffer grows seldom.
const BYTES_PER_CELL_GUESS: usize = 20;

pub(super) fn encode(batch: &RecordBatch) -> Result<Vec<Bytes>, FormatError> {
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| Ok((quoted_name(field.name()), Cells::new(field, array, FORMAT, true)?)))
        .collect::<Result<Vec<_>, FormatError>>()?;

    let mut out = Vec::with_capacity(batch.num_rows() * columns.len() * BYTES_PER_CELL_GUESS);
    let mut ends = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        out.push(b'{');
        for (index, (name, cells)) in columns.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            write_cell(cells, row, &mut out);
        }
        out.push(b'}');
        ends.push(out.len());
    }
    let mut rest = Bytes::from(out);
    let mut start = 0;
    Ok(ends
        .into_iter()
        .map(|end| {
            let payload = rest.split_to(end - start);
            start = end;
            payload
        })
        .collect())
}

/// `"name":`, escaped once per batch.
fn quoted_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_json(&name, &mut out);
    out.push(b':');
    out
}

fn write_cell(cells: &Cells, row: usize, out: &mut Vec<u8>) {
    if cells.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match &cells.kind {
        Kind::Null => out.extend_from_slice(b"null"),
        Kind::Boolean(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
        Kind::Int(array) => write_json(&array.value(row), out),
        Kind::UInt64(array) => write_json(&array.value(row), out),
        Kind::Float32(array) => write_json(&array.value(row), out),
        Kind::Float64(array) => write_json(&array.value(row), out),
        Kind::Text(array) => write_json(&array.value(row), out),
        Kind::Binary(array) => {
            out.push(b'"');
            out.extend_from_slice(
                base64::engine::general_purpose::STANDARD.encode(array.value(row)).as_bytes(),
            );
            out.push(b'"');
        }
        Kind::Timestamp { ticks, unit } => {
            out.push(b'"');
            write_timestamp(ticks.get(row).copied().unwrap_or_default(), *unit, out);
            out.push(b'"');
        }
        Kind::Date(array) => {
            out.push(b'"');
            write_date(array.value(row), out);
            out.push(b'"');
        }
        Kind::Decimal(array) => {
            out.push(b'"');
            out.extend_from_slice(array.value_as_string(row).as_bytes());
            out.push(b'"');
        }
        Kind::List { array, items } => {
            out.push(b'[');
            let offsets = array.value_offsets();
            let start = offsets.get(row).copied().unwrap_or_default();
            let end = offsets.get(row + 1).copied().unwrap_or_default();
            for item in start..end {
                if item > start {
                    out.push(b',');
                }
                write_cell(items, usize::try_from(item).unwrap_or_default(), out);
            }
            out.push(b']');
        }
        Kind::Struct(children) => {
            out.push(b'{');
            for (index, (name, child)) in children.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(name, out);
                out.push(b':');
                write_cell(child, row, out);
            }
            out.push(b'}');
        }
    }
}

/// Numbers in their shortest exact form and strings with JSON's escapes.
fn write_json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing plain values to memory has no way to fail; if it ever did, null is what a reader can take.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"null");
    }
}
