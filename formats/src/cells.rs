//! The columns of a batch, readable cell by cell for writing.
//!
//! The mirror image of `columns.rs`: every column is cast once to the widest type of its kind, so that a format needs
//! one way of writing per kind. Types without a kind of their own (times, intervals, dictionaries, …) are cast to text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int64Array, ListArray, StringArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int64Type, TimeUnit, UInt64Type,
};

use crate::error::FormatError;

/// One column, ready to be written.
pub(crate) struct Cells {
    nulls: Option<NullBuffer>,
    pub(crate) kind: Kind,
}

/// The cells by kind; a format matches on this once per cell.
pub(crate) enum Kind {
    Null,
    Boolean(BooleanArray),
    Int(Int64Array),
    UInt64(UInt64Array),
    Float32(Float32Array),
    Float64(Float64Array),
    Text(StringArray),
    Binary(BinaryArray),
    Timestamp { ticks: ScalarBuffer<i64>, unit: TimeUnit },
    Date(Date32Array),
    Decimal(Decimal128Array),
    List { array: ListArray, items: Box<Cells> },
    Struct(Vec<(String, Cells)>),
}

impl Cells {
    /// The cells of `array`; `nested` says whether the format can hold lists and structs.
    pub(crate) fn new(
        field: &Field,
        array: &ArrayRef,
        format: &'static str,
        nested: bool,
    ) -> Result<Self, FormatError> {
        let unsupported = || FormatError::UnsupportedType {
            column: field.name().clone(),
            format,
            data_type: field.data_type().clone(),
        };
        let nulls = array.logical_nulls();
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean(array.as_boolean().clone()),
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => {
                Kind::Int(as_type(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            DataType::UInt64 => Kind::UInt64(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float16 | DataType::Float32 => {
                Kind::Float32(as_type(array, &DataType::Float32)?.as_primitive::<Float32Type>().clone())
            }
            DataType::Float64 => Kind::Float64(array.as_primitive::<Float64Type>().clone()),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => {
                Kind::Binary(as_type(array, &DataType::Binary)?.as_binary::<i32>().clone())
            }
            DataType::Timestamp(unit, _) => Kind::Timestamp {
                ticks: as_type(array, &DataType::Int64)?.as_primitive::<Int64Type>().values().clone(),
                unit: *unit,
            },
            DataType::Date32 | DataType::Date64 => {
                Kind::Date(as_type(array, &DataType::Date32)?.as_primitive::<Date32Type>().clone())
            }
            DataType::Decimal128(_, _) => Kind::Decimal(array.as_primitive::<Decimal128Type>().clone()),
            DataType::List(item) if nested => {
                let array = array.as_list::<i32>().clone();
                let items = Box::new(Self::new(item, array.values(), format, nested)?);
                Kind::List { array, items }
            }
            DataType::Struct(fields) if nested => {
                let array = array.as_struct();
                let children = fields
                    .iter()
                    .zip(array.columns())
                    .map(|(field, child)| {
                        Ok((field.name().clone(), Self::new(field, child, format, nested)?))
                    })
                    .collect::<Result<_, FormatError>>()?;
                Kind::Struct(children)
            }
            DataType::Dictionary(_, value) if **value != DataType::Utf8 => {
                return Self::new(field, &as_type(array, value)?, format, nested);
            }
            other if other.is_nested() || !can_cast_types(other, &DataType::Utf8) => {
                return Err(unsupported());
            }
            _ => Kind::Text(as_type(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        };
        Ok(Self { nulls, kind })
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        match &self.kind {
            Kind::Null => true,
            _ => self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)),
        }
    }
}

fn as_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, FormatError> {
    if array.data_type() == data_type { Ok(Arc::clone(array)) } else { Ok(cast(array, data_type)?) }
}
