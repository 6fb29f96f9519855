//! JSON objects straight into columns, without a tree of values between.
//!
//! Arrow's own JSON reader is as fast, but it reads a stream (two halves of an object in two records would join), takes
//! `2.5` for the integer 2, and loses the whole batch for one bad record.

use arrow::datatypes::SchemaRef;

use super::scan::{Scanner, Token};
use crate::columns::{Column, Columns, Values};
use crate::{BadRecord, Decoded, FormatError};

pub(super) const FORMAT: &str = "json";

pub(super) fn decode(payloads: &[&[u8]], schema: &SchemaRef) -> Result<Decoded, FormatError> {
    let mut rows = RowDecoder::new(schema)?;
    let mut good = Vec::with_capacity(payloads.len());
    let mut bad = Vec::new();
    for (index, payload) in (0_u32..).zip(payloads) {
        match rows.push(payload) {
            Ok(()) => good.push(index),
            Err(reason) => bad.push(BadRecord { index, reason }),
        }
    }
    Ok(Decoded { batch: rows.finish(schema)?, rows: good, bad })
}

/// Decodes record after record into one batch.
pub(super) struct RowDecoder {
    columns: Columns,
    rows: usize,
}

impl RowDecoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, FormatError> {
        Ok(Self { columns: Columns::new(schema.fields(), FORMAT, true)?, rows: 0 })
    }

    /// Adds one record; a bad one leaves no trace.
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), String> {
        match self.try_push(payload) {
            Ok(()) => {
                self.rows += 1;
                Ok(())
            }
            Err(reason) => {
                self.columns.truncate(self.rows);
                Err(reason)
            }
        }
    }

    fn try_push(&mut self, payload: &[u8]) -> Result<(), String> {
        // The whole payload is checked, also the fields that nobody reads: a record is UTF-8 or it is bad.
        let text = std::str::from_utf8(payload)
            .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to()))?;
        let mut scanner = Scanner::new(text);
        if scanner.value()? != Token::Object {
            return Err("not a JSON object".to_owned());
        }
        read_object(&mut scanner, &mut self.columns, self.rows)?;
        scanner.end()
    }

    pub(super) fn finish(self, schema: &SchemaRef) -> Result<arrow::array::RecordBatch, FormatError> {
        self.columns.finish(schema, self.rows)
    }
}

/// Reads one object into the row after the first `rows` rows of these columns.
fn read_object(scanner: &mut Scanner, columns: &mut Columns, rows: usize) -> Result<(), String> {
    scanner.enter()?;
    let mut first = true;
    let mut expected = 0;
    while let Some(name) = scanner.next_field(first)? {
        first = false;
        let found = columns.find(&name, expected);
        let Some(column) = found.and_then(|index| columns.columns.get_mut(index)) else {
            scanner.skip_value()?;
            continue;
        };
        if column.len() > rows {
            return Err(format!("the field '{name}' is there twice"));
        }
        read_cell(scanner, column)?;
        expected = found.unwrap_or(expected) + 1;
    }
    columns.fill_missing(rows + 1)
}

/// Reads one value into the next cell of a column.
fn read_cell(scanner: &mut Scanner, column: &mut Column) -> Result<(), String> {
    match scanner.value()? {
        Token::Null => column.append_null(),
        Token::Boolean(value) => column.append_bool(value),
        Token::Number(text) => column.append_json_number(text),
        Token::String => column.append_json_str(&scanner.string()?),
        Token::Array => {
            let Values::List { child, .. } = column.values_mut() else {
                return Err(column.mismatch("an array"));
            };
            scanner.enter()?;
            let mut first = true;
            while scanner.next_item(first)? {
                first = false;
                read_cell(scanner, child)?;
            }
            column.append_nested()
        }
        Token::Object => {
            let rows = column.len();
            let Values::Struct(children) = column.values_mut() else {
                return Err(column.mismatch("an object"));
            };
            read_object(scanner, children, rows)?;
            column.append_nested()
        }
    }
}
