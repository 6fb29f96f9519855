//! CSV as a record format: the fields of one record, in the schema's order, without header and line end.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use super::CsvOptions;
use super::fields::{FieldSpan, Scan, scan_record, unescape};
use crate::cells::{Cells, Kind};
use crate::columns::{Column, Columns};
use crate::timestamp::{write_date, write_timestamp};
use crate::{BadRecord, Decoded, Format, FormatError};

pub(super) const FORMAT: &str = "csv";

/// The CSV record format; `header` plays no part in it.
#[derive(Debug, Clone, Default)]
pub struct CsvFormat {
    options: CsvOptions,
}

impl CsvFormat {
    /// # Errors
    /// [`FormatError::BadOption`] naming the option that makes no sense.
    pub fn new(options: CsvOptions) -> Result<Self, FormatError> {
        options.validate()?;
        Ok(Self { options })
    }
}

impl Format for CsvFormat {
    fn name(&self) -> &'static str {
        FORMAT
    }

    fn decode(&self, payloads: &[&[u8]], schema: &SchemaRef) -> Result<Decoded, FormatError> {
        let mut columns = Columns::new(schema.fields(), FORMAT, false)?;
        let places: Vec<usize> = (0..columns.columns.len()).collect();
        let mut spans = Vec::new();
        let mut rows = Vec::with_capacity(payloads.len());
        let mut bad = Vec::new();
        for (index, payload) in (0_u32..).zip(payloads) {
            let result = match scan_record(payload, self.options.delimiter, true, &mut spans) {
                Scan::Record { len, content_len, stray, .. } if len == payload.len() => {
                    check_stray(stray, payload).and_then(|()| {
                        let record = payload.get(..content_len).unwrap_or(payload);
                        append_row(&mut columns, record, &spans, &places, places.len(), &self.options)
                    })
                }
                Scan::Record { .. } => Err("there is more after the record".to_owned()),
                Scan::Incomplete { .. } => Err("a quote never closes".to_owned()),
            };
            match result {
                Ok(()) => rows.push(index),
                Err(reason) => {
                    columns.truncate(rows.len());
                    bad.push(BadRecord { index, reason });
                }
            }
        }
        let count = rows.len();
        Ok(Decoded { batch: columns.finish(schema, count)?, rows, bad })
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Vec<Bytes>, FormatError> {
        let schema = batch.schema();
        let columns = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, array)| Cells::new(field, array, FORMAT, false))
            .collect::<Result<Vec<_>, FormatError>>()?;
        let mut payloads = Vec::with_capacity(batch.num_rows());
        let mut cell = Vec::new();
        for row in 0..batch.num_rows() {
            let mut out = Vec::new();
            for (index, cells) in columns.iter().enumerate() {
                if index > 0 {
                    out.push(self.options.delimiter);
                }
                self.write_cell(cells, row, &mut cell, &mut out);
            }
            payloads.push(Bytes::from(out));
        }
        Ok(payloads)
    }
}

impl CsvFormat {
    fn write_cell(&self, cells: &Cells, row: usize, cell: &mut Vec<u8>, out: &mut Vec<u8>) {
        if cells.is_null(row) {
            let null = self.options.null_values.first().map_or("", String::as_str);
            out.extend_from_slice(null.as_bytes());
            return;
        }
        cell.clear();
        write_text(cells, row, cell);
        let special = |byte: &u8| *byte == self.options.delimiter || matches!(byte, b'"' | b'\n' | b'\r');
        let reads_as_null = std::str::from_utf8(cell).is_ok_and(|text| self.options.is_null(text));
        if reads_as_null || cell.is_empty() || cell.iter().any(special) {
            out.push(b'"');
            for byte in cell.iter() {
                if *byte == b'"' {
                    out.push(b'"');
                }
                out.push(*byte);
            }
            out.push(b'"');
        } else {
            out.extend_from_slice(cell);
        }
    }
}

fn write_text(cells: &Cells, row: usize, out: &mut Vec<u8>) {
    match &cells.kind {
        // Nulls never come here, and CSV's cells are made without lists and structs.
        Kind::Null | Kind::List { .. } | Kind::Struct(_) => {}
        Kind::Boolean(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
        Kind::Int(array) => out.extend_from_slice(array.value(row).to_string().as_bytes()),
        Kind::UInt64(array) => out.extend_from_slice(array.value(row).to_string().as_bytes()),
        Kind::Float32(array) => out.extend_from_slice(array.value(row).to_string().as_bytes()),
        Kind::Float64(array) => out.extend_from_slice(array.value(row).to_string().as_bytes()),
        Kind::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
        Kind::Binary(array) => {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(array.value(row));
            out.extend_from_slice(text.as_bytes());
        }
        Kind::Timestamp { ticks, unit } => {
            write_timestamp(ticks.get(row).copied().unwrap_or_default(), *unit, out);
        }
        Kind::Date(array) => write_date(array.value(row), out),
        Kind::Decimal(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
    }
}

/// A reason when text follows a closing quote.
pub(super) fn check_stray(stray: Option<usize>, record: &[u8]) -> Result<(), String> {
    match stray {
        None => Ok(()),
        Some(at) => {
            let text = String::from_utf8_lossy(record.get(at..(at + 10).min(record.len())).unwrap_or(&[]));
            Err(format!("text after a closing quote at byte {at} of the row: '{}'", text.trim_end()))
        }
    }
}

/// Appends one record. `places[i]` is the field of column `i`; `width` is how many fields a record has to have.
///
/// On an error the columns may hold half a row, which the caller truncates.
pub(super) fn append_row(
    columns: &mut Columns,
    record: &[u8],
    spans: &[FieldSpan],
    places: &[usize],
    width: usize,
    options: &CsvOptions,
) -> Result<(), String> {
    let text = std::str::from_utf8(record)
        .map_err(|error| format!("not UTF-8 from byte {} of the row on", error.valid_up_to()))?;
    if spans.len() != width {
        return Err(format!("expected {width} fields, found {}", spans.len()));
    }
    for (column, place) in columns.columns.iter_mut().zip(places) {
        let span =
            spans.get(*place).ok_or_else(|| format!("expected {width} fields, found {}", spans.len()))?;
        let field = text.get(span.start..span.end).unwrap_or_default();
        append_field(column, field, span, options)?;
    }
    Ok(())
}

fn append_field(
    column: &mut Column,
    field: &str,
    span: &FieldSpan,
    options: &CsvOptions,
) -> Result<(), String> {
    if !span.quoted {
        // In a text column that may not be null, the empty text is a value and the only one it can be.
        let empty_text = field.is_empty() && column.is_text() && !column.is_nullable();
        if (options.is_null(field) && !empty_text) || (field.is_empty() && !column.is_text()) {
            return column.append_null();
        }
    }
    if span.escaped { column.append_csv_text(&unescape(field, span)) } else { column.append_csv_text(field) }
}
