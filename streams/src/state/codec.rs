//! Values as bytes, for keys and rows of state: version 1 of the layout.
//!
//! The bytes of two rows of the same types compare as the rows do, nulls first, so that an ordered map of keys is
//! ordered by value and a range of keys is a range of windows. The layout stands in changelogs for years, so it never
//! changes; another one would be version 2 beside it.
//!
//! | value | bytes |
//! |---|---|
//! | null | `00` |
//! | anything else | `01`, then |
//! | boolean | `00` or `01` |
//! | integers, times, decimals | big-endian, the sign bit flipped when signed |
//! | floats | the IEEE bits big-endian; all flipped when negative, else the sign bit: `totalOrder` |
//! | text and bytes | each byte, `00` as `00 FF`, and at the end `00 00` |
//! | lists | `01` before each element, `00` at the end |
//! | structs | the fields one after the other |

mod native;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, GenericListArray, NullArray, OffsetSizeTrait,
    PrimitiveArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, FieldRef,
    Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;

use native::NativeBytes;

/// Bytes that are no row of the types asked for.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// They end in the middle of a value.
    #[error("the bytes end inside a value of type {0}")]
    Truncated(DataType),
    /// A byte stands where none of its kind can.
    #[error("{byte:#04x} cannot begin or end a value of type {data_type}")]
    Malformed {
        /// The byte.
        byte: u8,
        /// The type that was read.
        data_type: DataType,
    },
    /// More bytes than the types take.
    #[error("{0} bytes are left after the last value")]
    Trailing(usize),
    /// A type that version 1 has no bytes for.
    #[error("values of type {0} cannot be stored")]
    Unsupported(DataType),
    /// The values do not make an Arrow array, e.g. text that is not UTF-8.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

const NULL: u8 = 0;
/// The first byte of a value that is not null.
pub(crate) const VALUE: u8 = 1;
const END: u8 = 0;

/// Whether values of this type have bytes.
pub fn can_store(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) => can_store(field.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| can_store(field.data_type())),
        other => is_flat(other),
    }
}

macro_rules! with_primitive {
    ($data_type:expr, $T:ident => $body:expr, _ => $other:expr) => {
        match $data_type {
            DataType::Int8 => {
                type $T = Int8Type;
                $body
            }
            DataType::Int16 => {
                type $T = Int16Type;
                $body
            }
            DataType::Int32 => {
                type $T = Int32Type;
                $body
            }
            DataType::Int64 => {
                type $T = Int64Type;
                $body
            }
            DataType::UInt8 => {
                type $T = UInt8Type;
                $body
            }
            DataType::UInt16 => {
                type $T = UInt16Type;
                $body
            }
            DataType::UInt32 => {
                type $T = UInt32Type;
                $body
            }
            DataType::UInt64 => {
                type $T = UInt64Type;
                $body
            }
            DataType::Float32 => {
                type $T = Float32Type;
                $body
            }
            DataType::Float64 => {
                type $T = Float64Type;
                $body
            }
            DataType::Date32 => {
                type $T = Date32Type;
                $body
            }
            DataType::Date64 => {
                type $T = Date64Type;
                $body
            }
            DataType::Time32(TimeUnit::Second) => {
                type $T = Time32SecondType;
                $body
            }
            DataType::Time32(TimeUnit::Millisecond) => {
                type $T = Time32MillisecondType;
                $body
            }
            DataType::Time64(TimeUnit::Microsecond) => {
                type $T = Time64MicrosecondType;
                $body
            }
            DataType::Time64(TimeUnit::Nanosecond) => {
                type $T = Time64NanosecondType;
                $body
            }
            DataType::Timestamp(TimeUnit::Second, _) => {
                type $T = TimestampSecondType;
                $body
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                type $T = TimestampMillisecondType;
                $body
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                type $T = TimestampMicrosecondType;
                $body
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                type $T = TimestampNanosecondType;
                $body
            }
            DataType::Duration(TimeUnit::Second) => {
                type $T = DurationSecondType;
                $body
            }
            DataType::Duration(TimeUnit::Millisecond) => {
                type $T = DurationMillisecondType;
                $body
            }
            DataType::Duration(TimeUnit::Microsecond) => {
                type $T = DurationMicrosecondType;
                $body
            }
            DataType::Duration(TimeUnit::Nanosecond) => {
                type $T = DurationNanosecondType;
                $body
            }
            DataType::Decimal128(_, _) => {
                type $T = Decimal128Type;
                $body
            }
            DataType::Decimal256(_, _) => {
                type $T = Decimal256Type;
                $body
            }
            _ => $other,
        }
    };
}

fn is_flat(data_type: &DataType) -> bool {
    is_bytes(data_type)
        || matches!(data_type, DataType::Boolean | DataType::Null)
        || with_primitive!(data_type, T => { let _known = T::DATA_TYPE; true }, _ => false)
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    )
}

/// Appends the value in `row` of `array`.
///
/// # Errors
/// [`CodecError::Unsupported`], which [`can_store`] tells beforehand.
pub fn write_value(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let data_type = array.data_type();
    if array.is_null(row) || matches!(data_type, DataType::Null) {
        out.push(NULL);
        return Ok(());
    }
    out.push(VALUE);
    match data_type {
        DataType::Boolean => out.push(u8::from(array.as_boolean().value(row))),
        DataType::Utf8 => write_bytes(array.as_string::<i32>().value(row).as_bytes(), out),
        DataType::LargeUtf8 => write_bytes(array.as_string::<i64>().value(row).as_bytes(), out),
        DataType::Utf8View => write_bytes(array.as_string_view().value(row).as_bytes(), out),
        DataType::Binary => write_bytes(array.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => write_bytes(array.as_binary::<i64>().value(row), out),
        DataType::BinaryView => write_bytes(array.as_binary_view().value(row), out),
        DataType::List(_) => write_elements(array.as_list::<i32>().value(row).as_ref(), out)?,
        DataType::LargeList(_) => write_elements(array.as_list::<i64>().value(row).as_ref(), out)?,
        DataType::Struct(_) => {
            for column in array.as_struct().columns() {
                write_value(column.as_ref(), row, out)?;
            }
        }
        other => with_primitive!(
            other,
            T => array.as_primitive::<T>().value(row).write(out),
            _ => return Err(CodecError::Unsupported(other.clone()))
        ),
    }
    Ok(())
}

fn write_elements(elements: &dyn Array, out: &mut Vec<u8>) -> Result<(), CodecError> {
    for index in 0..elements.len() {
        out.push(VALUE);
        write_value(elements, index, out)?;
    }
    out.push(END);
    Ok(())
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(zero) = position_of_zero(rest) {
        out.extend_from_slice(&rest[..=zero]);
        out.push(0xFF);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

/// Zeros are rare, and whether there is one is told many bytes at a time.
fn position_of_zero(bytes: &[u8]) -> Option<usize> {
    if bytes.contains(&0) { bytes.iter().position(|byte| *byte == 0) } else { None }
}

/// The rows of these columns as bytes, one value after the other.
///
/// # Errors
/// As [`write_value`].
pub fn encode_rows(columns: &[ArrayRef], rows: usize) -> Result<Vec<Vec<u8>>, CodecError> {
    let guess = rows_size_guess(columns);
    let mut encoded: Vec<Vec<u8>> = (0..rows).map(|_| Vec::with_capacity(guess)).collect();
    append_rows(columns, &mut encoded)?;
    Ok(encoded)
}

/// The same, each row after the bytes that are in its place of `encoded`.
///
/// # Errors
/// As [`write_value`].
pub fn append_rows(columns: &[ArrayRef], encoded: &mut [Vec<u8>]) -> Result<(), CodecError> {
    columns.iter().try_for_each(|column| write_column(column.as_ref(), encoded))
}

/// About the bytes of one row of these columns.
pub fn rows_size_guess(columns: &[ArrayRef]) -> usize {
    columns.iter().map(|column| size_guess(column.as_ref())).sum()
}

/// About the bytes of one value.
fn size_guess(array: &dyn Array) -> usize {
    let mean = |offsets: &[i32]| match offsets {
        [first, .., last] => usize::try_from(last - first).unwrap_or_default() / (offsets.len() - 1),
        _ => 0,
    };
    match array.data_type() {
        DataType::Utf8 => 3 + mean(array.as_string::<i32>().value_offsets()),
        DataType::Binary => 3 + mean(array.as_binary::<i32>().value_offsets()),
        other => 1 + other.primitive_width().unwrap_or(16),
    }
}

/// Appends the value of each row; what it is, is asked once for all of them.
fn write_column(array: &dyn Array, encoded: &mut [Vec<u8>]) -> Result<(), CodecError> {
    match array.data_type() {
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            each_value(array, encoded, |row, out| write_bytes(values.value(row).as_bytes(), out));
        }
        DataType::Utf8View => {
            let values = array.as_string_view();
            each_value(array, encoded, |row, out| write_bytes(values.value(row).as_bytes(), out));
        }
        DataType::Boolean => {
            let values = array.as_boolean();
            each_value(array, encoded, |row, out| out.push(u8::from(values.value(row))));
        }
        other => with_primitive!(
            other,
            T => {
                let values = array.as_primitive::<T>();
                each_value(array, encoded, |row, out| values.value(row).write(out));
            },
            _ => for (row, out) in encoded.iter_mut().enumerate() {
                write_value(array, row, out)?;
            }
        ),
    }
    Ok(())
}

fn each_value(array: &dyn Array, encoded: &mut [Vec<u8>], mut write: impl FnMut(usize, &mut Vec<u8>)) {
    match array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
        None => {
            for (row, out) in encoded.iter_mut().enumerate() {
                out.push(VALUE);
                write(row, out);
            }
        }
        Some(nulls) => {
            for (row, out) in encoded.iter_mut().enumerate() {
                if nulls.is_null(row) {
                    out.push(NULL);
                } else {
                    out.push(VALUE);
                    write(row, out);
                }
            }
        }
    }
}

/// Columns of these types from rows of bytes; the inverse of [`encode_rows`].
///
/// # Errors
/// When any row is not exactly one value of each type.
pub fn decode_rows(rows: &[&[u8]], types: &[DataType]) -> Result<Vec<ArrayRef>, CodecError> {
    let mut cursors = rows.to_vec();
    let columns =
        types.iter().map(|data_type| read_column(&mut cursors, data_type)).collect::<Result<Vec<_>, _>>()?;
    match cursors.iter().find(|rest| !rest.is_empty()) {
        Some(rest) => Err(CodecError::Trailing(rest.len())),
        None => Ok(columns),
    }
}

/// Takes one value of `data_type` from each cursor.
fn read_column(cursors: &mut [&[u8]], data_type: &DataType) -> Result<ArrayRef, CodecError> {
    match data_type {
        DataType::Null => {
            for cursor in cursors.iter_mut() {
                if is_value(cursor, data_type)? {
                    return Err(CodecError::Malformed { byte: VALUE, data_type: data_type.clone() });
                }
            }
            Ok(Arc::new(NullArray::new(cursors.len())))
        }
        DataType::Boolean => {
            let values = read_each(cursors, data_type, |cursor| match take(cursor, data_type)? {
                0 => Ok(false),
                1 => Ok(true),
                byte => Err(CodecError::Malformed { byte, data_type: data_type.clone() }),
            })?;
            Ok(Arc::new(BooleanArray::from(values)))
        }
        DataType::List(field) => read_lists::<i32>(cursors, data_type, field),
        DataType::LargeList(field) => read_lists::<i64>(cursors, data_type, field),
        DataType::Struct(fields) => read_structs(cursors, data_type, fields),
        bytes if is_bytes(bytes) => read_bytes_column(cursors, bytes),
        other => with_primitive!(
            other,
            T => {
                let values = read_each(cursors, other, |cursor| NativeBytes::read(cursor, other))?;
                let array: PrimitiveArray<T> = values.into_iter().collect();
                Ok(Arc::new(array.with_data_type(other.clone())))
            },
            _ => Err(CodecError::Unsupported(other.clone()))
        ),
    }
}

/// Text and bytes go into one buffer; text is checked as a whole.
fn read_bytes_column(cursors: &mut [&[u8]], data_type: &DataType) -> Result<ArrayRef, CodecError> {
    let guess = cursors.first().map_or(0, |cursor| cursor.len()) * cursors.len();
    let mut builder = BinaryBuilder::with_capacity(cursors.len(), guess.min(READ_BUFFER_MAX));
    for cursor in cursors.iter_mut() {
        match is_value(cursor, data_type)? {
            true => builder.append_value(read_bytes(cursor, data_type)?),
            false => builder.append_null(),
        }
    }
    let binary: ArrayRef = Arc::new(builder.finish());
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    // Text goes through `Utf8`, where it is checked.
    let checked = match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => cast_with_options(&binary, &DataType::Utf8, &strict)?,
        _ => binary,
    };
    Ok(cast_with_options(&checked, data_type, &strict)?)
}

/// Bytes that are reserved for a column before it is read.
const READ_BUFFER_MAX: usize = 1 << 20;

fn read_each<V>(
    cursors: &mut [&[u8]],
    data_type: &DataType,
    mut read: impl FnMut(&mut &[u8]) -> Result<V, CodecError>,
) -> Result<Vec<Option<V>>, CodecError> {
    cursors
        .iter_mut()
        .map(|cursor| if is_value(cursor, data_type)? { read(cursor).map(Some) } else { Ok(None) })
        .collect()
}

fn read_lists<O: OffsetSizeTrait>(
    cursors: &mut [&[u8]],
    data_type: &DataType,
    field: &FieldRef,
) -> Result<ArrayRef, CodecError> {
    let mut elements: Vec<&[u8]> = Vec::new();
    let mut lengths = Vec::with_capacity(cursors.len());
    let mut valid = Vec::with_capacity(cursors.len());
    for cursor in cursors.iter_mut() {
        let before = elements.len();
        valid.push(is_value(cursor, data_type)?);
        while valid.last() == Some(&true) && is_value(cursor, data_type)? {
            let element = *cursor;
            skip(cursor, field.data_type())?;
            elements.push(&element[..element.len() - cursor.len()]);
        }
        lengths.push(elements.len() - before);
    }
    let values = read_column(&mut elements, field.data_type())?;
    let offsets = OffsetBuffer::<O>::from_lengths(lengths);
    let list =
        GenericListArray::<O>::try_new(Arc::clone(field), offsets, values, Some(NullBuffer::from(valid)))?;
    Ok(Arc::new(list))
}

fn read_structs(
    cursors: &mut [&[u8]],
    data_type: &DataType,
    fields: &Fields,
) -> Result<ArrayRef, CodecError> {
    let mut valid = Vec::with_capacity(cursors.len());
    for cursor in cursors.iter_mut() {
        valid.push(is_value(cursor, data_type)?);
    }
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        // A null struct has no fields in its bytes; in Arrow its fields still have a value, which is null.
        let mut inner: Vec<&[u8]> = cursors
            .iter()
            .zip(&valid)
            .map(|(cursor, valid)| if *valid { *cursor } else { &[NULL][..] })
            .collect();
        columns.push(read_column(&mut inner, field.data_type())?);
        for ((cursor, valid), inner) in cursors.iter_mut().zip(&valid).zip(inner) {
            if *valid {
                *cursor = inner;
            }
        }
    }
    let nulls = Some(NullBuffer::from(valid));
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, cursors.len())?))
}

/// Moves a cursor behind one value.
fn skip(cursor: &mut &[u8], data_type: &DataType) -> Result<(), CodecError> {
    if !is_value(cursor, data_type)? {
        return Ok(());
    }
    match data_type {
        DataType::Boolean => take(cursor, data_type).map(|_| ()),
        DataType::List(field) | DataType::LargeList(field) => {
            while is_value(cursor, data_type)? {
                skip(cursor, field.data_type())?;
            }
            Ok(())
        }
        DataType::Struct(fields) => fields.iter().try_for_each(|field| skip(cursor, field.data_type())),
        bytes if is_bytes(bytes) => read_bytes(cursor, bytes).map(|_| ()),
        other => with_primitive!(
            other,
            T => <T as ArrowPrimitiveType>::Native::read(cursor, other).map(|_| ()),
            _ => Err(CodecError::Unsupported(other.clone()))
        ),
    }
}

fn take(cursor: &mut &[u8], data_type: &DataType) -> Result<u8, CodecError> {
    let (first, rest) = cursor.split_first().ok_or_else(|| CodecError::Truncated(data_type.clone()))?;
    *cursor = rest;
    Ok(*first)
}

/// Reads the byte that says whether a value follows.
fn is_value(cursor: &mut &[u8], data_type: &DataType) -> Result<bool, CodecError> {
    match take(cursor, data_type)? {
        NULL => Ok(false),
        VALUE => Ok(true),
        byte => Err(CodecError::Malformed { byte, data_type: data_type.clone() }),
    }
}

fn read_bytes<'a>(cursor: &mut &'a [u8], data_type: &DataType) -> Result<Cow<'a, [u8]>, CodecError> {
    let bytes: &'a [u8] = cursor;
    let truncated = || CodecError::Truncated(data_type.clone());
    let mut owned: Vec<u8> = Vec::new();
    let mut start = 0;
    loop {
        let zero = start + bytes[start..].iter().position(|byte| *byte == 0).ok_or_else(truncated)?;
        match bytes.get(zero + 1).ok_or_else(truncated)? {
            0 => {
                *cursor = &bytes[zero + 2..];
                // Without a zero in it a value is its own bytes.
                return Ok(match start {
                    0 => Cow::Borrowed(&bytes[..zero]),
                    _ => {
                        owned.extend_from_slice(&bytes[start..zero]);
                        Cow::Owned(owned)
                    }
                });
            }
            0xFF => {
                owned.extend_from_slice(&bytes[start..=zero]);
                start = zero + 2;
            }
            byte => return Err(CodecError::Malformed { byte: *byte, data_type: data_type.clone() }),
        }
    }
}

#[cfg(test)]
mod tests;
