//! The columns of a batch as values that SQLite takes: booleans as 0 and 1, times as ISO-8601 UTC text, decimals as text.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use ottla_formats::timestamp::{timestamp_text, write_date};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

/// One column.
pub(super) enum SqlColumn {
    Boolean(BooleanArray),
    Integer(Int64Array),
    Real(Float64Array),
    Text(StringArray),
    Blob(BinaryArray),
    Timestamp(Int64Array, TimeUnit),
    Date(Date32Array),
}

impl SqlColumn {
    /// All columns of a batch.
    pub(super) fn of_batch(batch: &RecordBatch) -> Result<Vec<Self>, ArrowError> {
        batch.columns().iter().map(Self::new).collect()
    }

    fn new(array: &ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Boolean => Self::Boolean(array.as_boolean().clone()),
            DataType::Timestamp(unit, _) => Self::Timestamp(integers(array)?, *unit),
            DataType::Date32 | DataType::Date64 => {
                Self::Date(cast(array, &DataType::Date32)?.as_primitive::<Date32Type>().clone())
            }
            // An unsigned integer beyond SQLite's range would become null in the cast: text keeps it.
            DataType::UInt64 => Self::Text(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
            data_type if data_type.is_integer() => Self::Integer(integers(array)?),
            data_type if data_type.is_floating() => {
                Self::Real(cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => {
                Self::Blob(cast(array, &DataType::Binary)?.as_binary::<i32>().clone())
            }
            _ => Self::Text(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    /// The value of a row, borrowed where it can be.
    pub(super) fn value(&self, row: usize) -> ToSqlOutput<'_> {
        let array: &dyn Array = match self {
            Self::Boolean(array) => array,
            Self::Integer(array) | Self::Timestamp(array, _) => array,
            Self::Real(array) => array,
            Self::Text(array) => array,
            Self::Blob(array) => array,
            Self::Date(array) => array,
        };
        if array.is_null(row) {
            return ToSqlOutput::Borrowed(ValueRef::Null);
        }
        match self {
            Self::Boolean(array) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(array.value(row)))),
            Self::Integer(array) => ToSqlOutput::Borrowed(ValueRef::Integer(array.value(row))),
            Self::Real(array) => ToSqlOutput::Borrowed(ValueRef::Real(array.value(row))),
            Self::Text(array) => ToSqlOutput::Borrowed(ValueRef::Text(array.value(row).as_bytes())),
            Self::Blob(array) => ToSqlOutput::Borrowed(ValueRef::Blob(array.value(row))),
            Self::Timestamp(array, unit) => {
                ToSqlOutput::Owned(Value::Text(timestamp_text(array.value(row), *unit)))
            }
            Self::Date(array) => {
                let mut text = Vec::new();
                write_date(array.value(row), &mut text);
                ToSqlOutput::Owned(Value::Text(String::from_utf8_lossy(&text).into_owned()))
            }
        }
    }
}

fn integers(array: &ArrayRef) -> Result<Int64Array, ArrowError> {
    Ok(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}
