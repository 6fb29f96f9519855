//! Arrow columns as PostgreSQL's types.
//!
//! Times in binary are counted from 2000-01-01, microseconds or days; a numeric is groups of four decimal digits
//! (PostgreSQL's `src/backend/utils/adt/numeric.c`). Lists, structs and whatever PostgreSQL has no type for are text.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Field, Float64Type, Int64Type, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, BytesMut};
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldFormat, FieldInfo};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;

/// Days and microseconds from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// The type of a column.
fn pg_type(data_type: &DataType) -> Type {
    match data_type {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 => Type::INT8,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::UInt64
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => Type::NUMERIC,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Type::BYTEA
        }
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        _ => Type::TEXT,
    }
}

/// The columns' names and types.
pub(super) fn fields(schema: &Schema, format: &Format) -> Vec<FieldInfo> {
    let format_of = |place: usize| match format {
        Format::UnifiedText => FieldFormat::Text,
        Format::UnifiedBinary => FieldFormat::Binary,
        // A client may have given fewer than there are columns.
        Format::Individual(formats) => {
            formats.get(place).map_or(FieldFormat::Text, |code| FieldFormat::from(*code))
        }
    };
    let field = |(place, field): (usize, &std::sync::Arc<Field>)| {
        FieldInfo::new(field.name().clone(), None, None, pg_type(field.data_type()), format_of(place))
    };
    schema.fields().iter().enumerate().map(field).collect()
}

/// Rows as messages, made as they are asked for.
pub(super) fn data_rows(
    batches: Vec<RecordBatch>,
    formats: Vec<FieldFormat>,
) -> impl Iterator<Item = PgWireResult<DataRow>> + Send + 'static {
    batches.into_iter().flat_map(move |batch| {
        let failed = |error: ArrowError| PgWireError::ApiError(Box::new(error));
        let cells = batch.columns().iter().zip(&formats).map(|(column, format)| Cells::of(column, *format));
        let cells: Result<Vec<Cells>, ArrowError> = cells.collect();
        let rows: Vec<PgWireResult<DataRow>> = match cells {
            Ok(cells) => (0..batch.num_rows()).map(|row| data_row(&cells, row).map_err(failed)).collect(),
            Err(error) => vec![Err(failed(error))],
        };
        rows
    })
}

fn data_row(cells: &[Cells], row: usize) -> Result<DataRow, ArrowError> {
    let mut out = BytesMut::new();
    for cells in cells {
        let place = out.len();
        out.put_i32(-1);
        if cells.array.is_valid(row) {
            cells.write(row, &mut out)?;
            let length = i32::try_from(out.len() - place - 4).map_err(|_| invalid("a value is too long"))?;
            out[place..place + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    let count = i16::try_from(cells.len()).map_err(|_| invalid("there are too many columns"))?;
    Ok(DataRow::new(out, count))
}

fn invalid(what: &str) -> ArrowError {
    ArrowError::InvalidArgumentError(format!("{what} for PostgreSQL's protocol"))
}

/// A column, ready to be written.
struct Cells {
    array: ArrayRef,
    kind: Type,
    format: FieldFormat,
}

impl Cells {
    /// Brings the column to the one Arrow type that stands for PostgreSQL's.
    fn of(column: &ArrayRef, format: FieldFormat) -> Result<Cells, ArrowError> {
        let kind = pg_type(column.data_type());
        let array = match kind {
            Type::INT2 | Type::INT4 | Type::INT8 => cast(column, &DataType::Int64)?,
            Type::FLOAT4 | Type::FLOAT8 => cast(column, &DataType::Float64)?,
            Type::BYTEA => cast(column, &DataType::LargeBinary)?,
            Type::DATE => cast(column, &DataType::Date32)?,
            // A time zone says how to show a time, not when it is.
            Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                cast(&cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?, &DataType::Int64)?
            }
            Type::BOOL => ArrayRef::clone(column),
            _ => shown(column)?,
        };
        Ok(Cells { array, kind, format })
    }

    /// Appends a value that is not null.
    fn write(&self, row: usize, out: &mut BytesMut) -> Result<(), ArrowError> {
        match (self.kind.clone(), self.format) {
            (Type::BOOL, FieldFormat::Binary) => out.put_u8(u8::from(self.array.as_boolean().value(row))),
            (Type::BOOL, FieldFormat::Text) => {
                out.put_slice(if self.array.as_boolean().value(row) { b"t" } else { b"f" });
            }
            (kind @ (Type::INT2 | Type::INT4 | Type::INT8), format) => {
                let value = self.array.as_primitive::<Int64Type>().value(row);
                match (kind, format) {
                    (_, FieldFormat::Text) => out.put_slice(value.to_string().as_bytes()),
                    // The column's own type has no more bytes than these.
                    (Type::INT2, _) => out.put_i16(value as i16),
                    (Type::INT4, _) => out.put_i32(value as i32),
                    _ => out.put_i64(value),
                }
            }
            (kind @ (Type::FLOAT4 | Type::FLOAT8), format) => {
                let value = self.array.as_primitive::<Float64Type>().value(row);
                match (kind, format) {
                    (Type::FLOAT4, FieldFormat::Binary) => out.put_f32(value as f32),
                    (_, FieldFormat::Binary) => out.put_f64(value),
                    (Type::FLOAT4, FieldFormat::Text) => {
                        out.put_slice(float_text(value as f32, value).as_bytes())
                    }
                    (_, FieldFormat::Text) => out.put_slice(float_text(value, value).as_bytes()),
                }
            }
            (Type::BYTEA, format) => {
                let value = self.array.as_binary::<i64>().value(row);
                match format {
                    FieldFormat::Binary => out.put_slice(value),
                    FieldFormat::Text => {
                        out.put_slice(b"\\x");
                        value.iter().for_each(|byte| out.put_slice(format!("{byte:02x}").as_bytes()));
                    }
                }
            }
            (Type::DATE, format) => {
                let days = self.array.as_primitive::<Date32Type>().value(row);
                match format {
                    FieldFormat::Binary => out.put_i32(days.saturating_sub(EPOCH_DAYS)),
                    FieldFormat::Text => {
                        out.put_slice(time_text(i64::from(days) * 86_400_000_000, "%Y-%m-%d").as_bytes())
                    }
                }
            }
            (kind @ (Type::TIMESTAMP | Type::TIMESTAMPTZ), format) => {
                let micros = self.array.as_primitive::<Int64Type>().value(row);
                match (format, kind) {
                    (FieldFormat::Binary, _) => out.put_i64(micros.saturating_sub(EPOCH_MICROS)),
                    (_, Type::TIMESTAMP) => {
                        out.put_slice(time_text(micros, "%Y-%m-%d %H:%M:%S%.f").as_bytes())
                    }
                    _ => out.put_slice(time_text(micros, "%Y-%m-%d %H:%M:%S%.f+00").as_bytes()),
                }
            }
            (Type::NUMERIC, FieldFormat::Binary) => {
                write_numeric(self.array.as_string::<i32>().value(row), out)
            }
            _ => out.put_slice(self.array.as_string::<i32>().value(row).as_bytes()),
        }
        Ok(())
    }
}

/// Values as they are shown to people.
fn shown(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Utf8 => Ok(ArrayRef::clone(column)),
        DataType::LargeUtf8 | DataType::Utf8View => cast(column, &DataType::Utf8),
        _ => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column, &options)?;
            let text = |row: usize| column.is_valid(row).then(|| formatter.value(row).to_string());
            Ok(std::sync::Arc::new((0..column.len()).map(text).collect::<StringArray>()))
        }
    }
}

/// The shortest text that reads back, with an exponent where PostgreSQL has one.
fn float_text(value: impl std::fmt::Display + std::fmt::LowerExp, size: f64) -> String {
    match size.abs() {
        size if size == f64::INFINITY => {
            if value.to_string().starts_with('-') { "-Infinity" } else { "Infinity" }.to_owned()
        }
        size if size != 0.0 && !(1e-4..1e15).contains(&size) => format!("{value:e}"),
        _ => value.to_string(),
    }
}

fn time_text(micros: i64, format: &str) -> String {
    match chrono::DateTime::from_timestamp_micros(micros) {
        Some(time) => time.format(format).to_string(),
        // Beyond what a calendar has.
        None if micros < 0 => "-infinity".to_owned(),
        None => "infinity".to_owned(),
    }
}

/// A decimal number's text as PostgreSQL's numeric: the count of groups of four digits, the weight of the first group, the
/// sign, the digits after the point that are shown, and the groups.
fn write_numeric(text: &str, out: &mut BytesMut) {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (0x4000_u16, digits),
        None => (0, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let ahead = "0".repeat((4 - whole.len() % 4) % 4);
    let behind = "0".repeat((4 - part.len() % 4) % 4);
    let all = format!("{ahead}{whole}{part}{behind}");
    let mut groups: Vec<u16> = all
        .as_bytes()
        .chunks(4)
        .map(|four| four.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
        .collect();
    let mut weight = i16::try_from((ahead.len() + whole.len()) / 4).unwrap_or(i16::MAX) - 1;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    out.put_u16(u16::try_from(groups.len()).unwrap_or(u16::MAX));
    out.put_i16(if groups.is_empty() { 0 } else { weight });
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_u16(u16::try_from(part.len()).unwrap_or(u16::MAX));
    groups.into_iter().for_each(|group| out.put_u16(group));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, Int16Array, TimestampMillisecondArray};

    use super::*;

    fn written(column: ArrayRef, format: FieldFormat) -> Vec<Vec<u8>> {
        let cells = Cells::of(&column, format).unwrap();
        let write = |row| {
            let mut out = BytesMut::new();
            cells.write(row, &mut out).unwrap();
            out.to_vec()
        };
        (0..column.len()).map(write).collect()
    }

    /// A numeric as PostgreSQL reads it.
    fn read_numeric(bytes: &[u8]) -> String {
        let number = |place: usize| u16::from_be_bytes([bytes[place * 2], bytes[place * 2 + 1]]);
        let (count, weight, sign, scale) = (number(0), number(1) as i16, number(2), usize::from(number(3)));
        let group = |place: i16| match usize::try_from(weight - place) {
            Ok(index) if index < usize::from(count) => number(4 + index),
            _ => 0,
        };
        let whole: String = (0..=weight.max(0)).rev().map(|place| format!("{:04}", group(place))).collect();
        let part: String =
            (1..=scale.div_ceil(4) as i16).map(|place| format!("{:04}", group(-place))).collect();
        let whole = whole.trim_start_matches('0');
        let point = if scale > 0 { "." } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        format!("{}{whole}{point}{}", if sign == 0 { "" } else { "-" }, &part[..scale])
    }

    #[test]
    fn numbers_are_what_they_were_in_binary_too() {
        for text in [
            "0",
            "1",
            "-1",
            "10000",
            "123456789.0123",
            "-0.00012",
            "0.5",
            "99999999.9",
            "100000000",
            "0.0000",
        ] {
            let mut out = BytesMut::new();
            write_numeric(text, &mut out);
            assert_eq!(read_numeric(&out), text);
        }
        let decimals: ArrayRef =
            Arc::new(Decimal128Array::from(vec![-12_345]).with_precision_and_scale(10, 2).unwrap());
        assert_eq!(written(decimals.clone(), FieldFormat::Text), [b"-123.45"]);
        assert_eq!(read_numeric(&written(decimals, FieldFormat::Binary)[0]), "-123.45");
        assert_eq!(
            written(Arc::new(Int16Array::from(vec![-2])), FieldFormat::Binary),
            [(-2_i16).to_be_bytes()]
        );
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::INFINITY, 1e300, 0.1]));
        assert_eq!(written(floats, FieldFormat::Text), [&b"Infinity"[..], b"1e300", b"0.1"]);
    }

    #[test]
    fn times_are_counted_from_2000_in_binary() {
        let times = |ms: i64| -> ArrayRef {
            Arc::new(TimestampMillisecondArray::from(vec![ms]).with_timezone("UTC"))
        };
        assert_eq!(written(times(946_684_800_001), FieldFormat::Binary), [1_000_i64.to_be_bytes()]);
        assert_eq!(written(times(946_684_800_001), FieldFormat::Text), [b"2000-01-01 00:00:00.001+00"]);
        assert_eq!(written(times(0), FieldFormat::Text), [b"1970-01-01 00:00:00+00"]);
    }
}
