//! Columns that grow row by row and can take a half-written row back.
//!
//! Arrow's builders cannot shrink, so with them one bad cell in the last column would spoil a row that the other
//! columns already hold, and a whole batch would have to be decoded again to leave it out. Here a row that turns out
//! bad is undone with [`Column::truncate`] and the batch goes on: bad records cost no more than good ones.
//!
//! Cells are kept in one wide type per kind (all integers as `i64`, all text as UTF-8 with 32-bit offsets) and cast to
//! the declared type once per batch.

mod binary;

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, Float64Array,
    Int64Array, ListArray, NullBufferBuilder, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray,
    StructArray, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use base64::Engine as _;

use crate::decimal::parse_decimal;
use crate::error::FormatError;
use crate::timestamp::{parse_date, parse_timestamp, ticks_per_second};
use crate::types::type_word;

/// Longest piece of a bad value that a reason repeats, in characters.
const QUOTED_CHARS_MAX: usize = 40;

/// One growing column of a batch.
pub(crate) struct Column {
    field: FieldRef,
    nulls: NullBufferBuilder,
    values: Values,
}

/// The cells, in the widest type of their kind; a null has a default cell.
pub(crate) enum Values {
    Boolean(BooleanBufferBuilder),
    Int { values: Vec<i64>, min: i64, max: i64 },
    UInt64(Vec<u64>),
    Float(Vec<f64>),
    Text { offsets: Vec<i32>, bytes: Vec<u8> },
    Binary { offsets: Vec<i32>, bytes: Vec<u8> },
    Timestamp { ticks: Vec<i64>, unit: TimeUnit },
    Date(Vec<i32>),
    Decimal { values: Vec<i128>, precision: u8, scale: i8 },
    List { offsets: Vec<i32>, child: Box<Column> },
    Struct(Columns),
}

/// The columns of a row, or of a nested struct.
pub(crate) struct Columns {
    pub(crate) columns: Vec<Column>,
}

impl Columns {
    /// Empty columns for these fields; `nested` says whether the format can hold lists and structs.
    pub(crate) fn new(fields: &Fields, format: &'static str, nested: bool) -> Result<Self, FormatError> {
        let columns =
            fields.iter().map(|field| Column::new(field, format, nested)).collect::<Result<_, _>>()?;
        Ok(Self { columns })
    }

    /// The column of this name. `expected` is where a record that keeps the schema's order has it.
    pub(crate) fn find(&self, name: &str, expected: usize) -> Option<usize> {
        if self.columns.get(expected).is_some_and(|column| column.name() == name) {
            return Some(expected);
        }
        self.columns.iter().position(|column| column.name() == name)
    }

    /// Gives every column that has fewer than `rows` rows a null.
    pub(crate) fn fill_missing(&mut self, rows: usize) -> Result<(), String> {
        for column in &mut self.columns {
            if column.len() < rows {
                if !column.field.is_nullable() {
                    return Err(format!("column '{}' is missing and may not be null", column.name()));
                }
                column.append_null()?;
            }
        }
        Ok(())
    }

    /// Takes back everything after the first `rows` rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        for column in &mut self.columns {
            column.truncate(rows);
        }
    }

    /// The batch of these columns; they must all have `rows` rows.
    pub(crate) fn finish(self, schema: &SchemaRef, rows: usize) -> Result<RecordBatch, FormatError> {
        let arrays = self.columns.into_iter().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
    }
}

impl Column {
    fn new(field: &FieldRef, format: &'static str, nested: bool) -> Result<Self, FormatError> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => int_values(i64::from(i8::MIN), i64::from(i8::MAX)),
            DataType::Int16 => int_values(i64::from(i16::MIN), i64::from(i16::MAX)),
            DataType::Int32 => int_values(i64::from(i32::MIN), i64::from(i32::MAX)),
            DataType::Int64 => int_values(i64::MIN, i64::MAX),
            DataType::UInt8 => int_values(0, i64::from(u8::MAX)),
            DataType::UInt16 => int_values(0, i64::from(u16::MAX)),
            DataType::UInt32 => int_values(0, i64::from(u32::MAX)),
            DataType::UInt64 => Values::UInt64(Vec::new()),
            DataType::Float32 | DataType::Float64 => Values::Float(Vec::new()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Values::Text { offsets: vec![0], bytes: Vec::new() }
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                Values::Binary { offsets: vec![0], bytes: Vec::new() }
            }
            DataType::Timestamp(unit, _) => Values::Timestamp { ticks: Vec::new(), unit: *unit },
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Decimal128(precision, scale) if *scale >= 0 => {
                Values::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
            }
            DataType::List(child) if nested => Values::List {
                offsets: vec![0],
                child: Box::new(Self::new(child, format, nested).map_err(|error| under(error, field))?),
            },
            DataType::Struct(fields) if nested => {
                Values::Struct(Columns::new(fields, format, nested).map_err(|error| under(error, field))?)
            }
            other => {
                return Err(FormatError::UnsupportedType {
                    column: field.name().clone(),
                    format,
                    data_type: other.clone(),
                });
            }
        };
        Ok(Self { field: Arc::clone(field), nulls: NullBufferBuilder::new(0), values })
    }

    pub(crate) fn name(&self) -> &str {
        self.field.name()
    }

    pub(crate) fn len(&self) -> usize {
        self.nulls.len()
    }

    pub(crate) fn is_nullable(&self) -> bool {
        self.field.is_nullable()
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.values, Values::Text { .. })
    }

    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// The cells of a list or struct column; such a row is finished with [`Column::append_nested`].
    pub(crate) fn values_mut(&mut self) -> &mut Values {
        &mut self.values
    }

    /// A reason that names this column and its type: `column 'a': '1x' is not an int`.
    pub(crate) fn mismatch(&self, found: &str) -> String {
        let word = type_word(self.field.data_type(), false);
        format!("column '{}': {found} is not of type {word}", self.name())
    }

    pub(crate) fn append_null(&mut self) -> Result<(), String> {
        if !self.field.is_nullable() {
            return Err(format!("column '{}' may not be null", self.name()));
        }
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int { values, .. } => values.push(0),
            Values::UInt64(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Text { offsets, .. } | Values::Binary { offsets, .. } => {
                let end = offsets.last().copied().unwrap_or(0);
                offsets.push(end);
            }
            Values::Timestamp { ticks, .. } => ticks.push(0),
            Values::Date(values) => values.push(0),
            Values::Decimal { values, .. } => values.push(0),
            Values::List { offsets, .. } => {
                let end = offsets.last().copied().unwrap_or(0);
                offsets.push(end);
            }
            Values::Struct(children) => {
                // The children's cells below a null struct are never seen, so they need not obey their own nullability.
                for child in &mut children.columns {
                    child.append_hidden();
                }
            }
        }
        self.nulls.append_null();
        Ok(())
    }

    /// A default cell beneath a null parent; valid for a column that may not be null.
    fn append_hidden(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int { values, .. } => values.push(0),
            Values::UInt64(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Text { offsets, .. } | Values::Binary { offsets, .. } | Values::List { offsets, .. } => {
                let end = offsets.last().copied().unwrap_or(0);
                offsets.push(end);
            }
            Values::Timestamp { ticks, .. } => ticks.push(0),
            Values::Date(values) => values.push(0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Struct(children) => children.columns.iter_mut().for_each(Self::append_hidden),
        }
        self.nulls.append(!self.field.is_nullable());
    }

    pub(crate) fn append_bool(&mut self, value: bool) -> Result<(), String> {
        match &mut self.values {
            Values::Boolean(values) => values.append(value),
            _ => return Err(self.mismatch(if value { "true" } else { "false" })),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// A JSON number's text. An integer column takes `2.0` but not `2.5`; a timestamp takes milliseconds since 1970, as
    /// Kafka Connect writes them.
    pub(crate) fn append_json_number(&mut self, text: &str) -> Result<(), String> {
        let fits = match &mut self.values {
            Values::Int { values, min, max } => {
                push_some(parse_whole::<i64>(text).filter(|value| (*min..=*max).contains(value)), |value| {
                    values.push(value)
                })
            }
            Values::UInt64(values) => push_some(parse_whole(text), |value| values.push(value)),
            Values::Float(values) => {
                push_some(text.parse::<f64>().ok().filter(|value| value.is_finite()), |value| {
                    values.push(value)
                })
            }
            Values::Timestamp { ticks, unit } => {
                let value = parse_whole(text).and_then(|millis| millis_to_ticks(millis, *unit));
                push_some(value, |value| ticks.push(value))
            }
            Values::Decimal { values, precision, scale } => {
                push_some(parse_decimal(text, *precision, *scale), |value| values.push(value))
            }
            _ => false,
        };
        if !fits {
            return Err(self.mismatch(text));
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// A JSON string: only the types that JSON has to write as text take one, so `"5"` is no int.
    pub(crate) fn append_json_str(&mut self, text: &str) -> Result<(), String> {
        match &self.values {
            Values::Text { .. }
            | Values::Binary { .. }
            | Values::Timestamp { .. }
            | Values::Date(_)
            | Values::Decimal { .. } => self.append_csv_text(text),
            _ => Err(self.mismatch(&quoted(text))),
        }
    }

    /// A cell written as text, as CSV has them all: bytes in base64, and numbers may have spaces around them.
    pub(crate) fn append_csv_text(&mut self, text: &str) -> Result<(), String> {
        let trimmed = text.trim();
        let fits = match &mut self.values {
            Values::Text { offsets, bytes } => {
                push_bytes(offsets, bytes, text.as_bytes())?;
                true
            }
            Values::Binary { offsets, bytes } => {
                match base64::engine::general_purpose::STANDARD.decode(trimmed) {
                    Ok(decoded) => {
                        push_bytes(offsets, bytes, &decoded)?;
                        true
                    }
                    Err(_) => false,
                }
            }
            Values::Boolean(values) => push_some(parse_boolean(trimmed), |value| values.append(value)),
            Values::Int { values, min, max } => {
                push_some(trimmed.parse().ok().filter(|value| (*min..=*max).contains(value)), |value| {
                    values.push(value)
                })
            }
            Values::UInt64(values) => push_some(trimmed.parse().ok(), |value| values.push(value)),
            Values::Float(values) => push_some(trimmed.parse().ok(), |value| values.push(value)),
            Values::Timestamp { ticks, unit } => {
                push_some(parse_timestamp(trimmed, *unit), |value| ticks.push(value))
            }
            Values::Date(values) => push_some(parse_date(trimmed), |value| values.push(value)),
            Values::Decimal { values, precision, scale } => {
                push_some(parse_decimal(trimmed, *precision, *scale), |value| values.push(value))
            }
            Values::List { .. } | Values::Struct(_) => false,
        };
        if !fits {
            return Err(self.mismatch(&quoted(text)));
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Ends a list or struct cell whose children have been appended.
    pub(crate) fn append_nested(&mut self) -> Result<(), String> {
        if let Values::List { offsets, child } = &mut self.values {
            let end =
                i32::try_from(child.len()).map_err(|_| "the batch holds too many list items".to_owned())?;
            offsets.push(end);
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Takes back everything after the first `rows` rows, also what a failed cell left behind.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Int { values, .. } => values.truncate(rows),
            Values::UInt64(values) => values.truncate(rows),
            Values::Float(values) => values.truncate(rows),
            Values::Text { offsets, bytes } | Values::Binary { offsets, bytes } => {
                offsets.truncate(rows + 1);
                bytes.truncate(end_of(offsets));
            }
            Values::Timestamp { ticks, .. } => ticks.truncate(rows),
            Values::Date(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::List { offsets, child } => {
                offsets.truncate(rows + 1);
                child.truncate(end_of(offsets));
            }
            Values::Struct(children) => children.truncate(rows),
        }
        self.nulls.truncate(rows);
    }

    fn finish(mut self) -> Result<ArrayRef, FormatError> {
        let rows = self.nulls.len();
        let nulls = self.nulls.finish();
        let array: ArrayRef = match self.values {
            Values::Boolean(mut values) => {
                let values: BooleanBuffer = values.finish();
                Arc::new(BooleanArray::new(values, nulls))
            }
            Values::Int { values, .. } => Arc::new(Int64Array::try_new(ScalarBuffer::from(values), nulls)?),
            Values::UInt64(values) => Arc::new(UInt64Array::try_new(ScalarBuffer::from(values), nulls)?),
            Values::Float(values) => Arc::new(Float64Array::try_new(ScalarBuffer::from(values), nulls)?),
            Values::Text { offsets, bytes } => {
                Arc::new(StringArray::try_new(offset_buffer(offsets), Buffer::from_vec(bytes), nulls)?)
            }
            Values::Binary { offsets, bytes } => {
                Arc::new(BinaryArray::try_new(offset_buffer(offsets), Buffer::from_vec(bytes), nulls)?)
            }
            Values::Timestamp { ticks, unit } => timestamp_array(ticks, nulls, unit, self.field.data_type())?,
            Values::Date(values) => Arc::new(Date32Array::try_new(ScalarBuffer::from(values), nulls)?),
            Values::Decimal { values, precision, scale } => Arc::new(
                Decimal128Array::try_new(ScalarBuffer::from(values), nulls)?
                    .with_precision_and_scale(precision, scale)?,
            ),
            Values::List { offsets, child } => {
                let item: FieldRef = match self.field.data_type() {
                    DataType::List(item) => Arc::clone(item),
                    _ => Arc::new(Field::new_list_field(child.field.data_type().clone(), true)),
                };
                Arc::new(ListArray::try_new(item, offset_buffer(offsets), child.finish()?, nulls)?)
            }
            Values::Struct(children) => {
                let fields: Fields = children.columns.iter().map(|child| Arc::clone(&child.field)).collect();
                let arrays =
                    children.columns.into_iter().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
                Arc::new(StructArray::try_new_with_length(fields, arrays, nulls, rows)?)
            }
        };
        if array.data_type() == self.field.data_type() {
            Ok(array)
        } else {
            Ok(cast(&array, self.field.data_type())?)
        }
    }
}

fn int_values(min: i64, max: i64) -> Values {
    Values::Int { values: Vec::new(), min, max }
}

/// Puts the parent's name before a nested column's in an error.
fn under(error: FormatError, parent: &Field) -> FormatError {
    match error {
        FormatError::UnsupportedType { column, format, data_type } => {
            FormatError::UnsupportedType { column: format!("{}.{column}", parent.name()), format, data_type }
        }
        other => other,
    }
}

fn end_of(offsets: &[i32]) -> usize {
    offsets.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0)
}

fn offset_buffer(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

fn push_bytes(offsets: &mut Vec<i32>, bytes: &mut Vec<u8>, cell: &[u8]) -> Result<(), String> {
    let end = i32::try_from(bytes.len() + cell.len())
        .map_err(|_| "the batch holds more than 2 GiB in one column".to_owned())?;
    bytes.extend_from_slice(cell);
    offsets.push(end);
    Ok(())
}

fn push_some<T>(value: Option<T>, push: impl FnOnce(T)) -> bool {
    value.map(push).is_some()
}

/// A value for a reason: in quotes, and cut when long.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("'{shown}'")
}

fn parse_boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") || text == "1" || text.eq_ignore_ascii_case("t") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") || text == "0" || text.eq_ignore_ascii_case("f") {
        Some(false)
    } else {
        None
    }
}

/// An integer, also when it is written with a fraction of zeros or an exponent.
fn parse_whole<T: FromStr + TryFrom<i64>>(text: &str) -> Option<T> {
    /// Up to here every integer has its own double.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let value: f64 = text.parse().ok()?;
    if value.fract() != 0.0 || value.abs() > EXACT_MAX || !text.contains(['.', 'e', 'E']) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "just checked to be whole and small enough")]
    T::try_from(value as i64).ok()
}

/// Kafka Connect's rule for a number in a timestamp column: milliseconds since 1970.
fn millis_to_ticks(millis: i64, unit: TimeUnit) -> Option<i64> {
    match ticks_per_second(unit) {
        1 if millis % 1000 == 0 => Some(millis / 1000),
        1 => None,
        per_second => millis.checked_mul(per_second / 1000),
    }
}

fn timestamp_array(
    ticks: Vec<i64>,
    nulls: Option<NullBuffer>,
    unit: TimeUnit,
    data_type: &DataType,
) -> Result<ArrayRef, FormatError> {
    let zone = match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let ticks = ScalarBuffer::from(ticks);
    Ok(match unit {
        TimeUnit::Second => {
            Arc::new(PrimitiveArray::<TimestampSecondType>::try_new(ticks, nulls)?.with_timezone_opt(zone))
        }
        TimeUnit::Millisecond => Arc::new(
            PrimitiveArray::<TimestampMillisecondType>::try_new(ticks, nulls)?.with_timezone_opt(zone),
        ),
        TimeUnit::Microsecond => Arc::new(
            PrimitiveArray::<TimestampMicrosecondType>::try_new(ticks, nulls)?.with_timezone_opt(zone),
        ),
        TimeUnit::Nanosecond => Arc::new(
            PrimitiveArray::<TimestampNanosecondType>::try_new(ticks, nulls)?.with_timezone_opt(zone),
        ),
    })
}
