//! Columns as they cross into a function of the world `udf-scalar` and back; `wit/ottla-v1/udf-scalar.wit` has the layout. Pure:
//! arrays in, bytes out, and the other way. What comes back is hostile until proven otherwise.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray,
    TimestampMillisecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};

use crate::signature::ValueType;

/// Why bytes are not the column that was asked for, or arrays do not fit into a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    #[error("it ends inside {0}")]
    Short(&'static str),
    #[error("{0} bytes follow it")]
    Trailing(usize),
    #[error("its type is {code}, not {} ({})", expected.code(), expected)]
    Type { code: u8, expected: ValueType },
    #[error("{0} says neither that there are nulls nor that there are none")]
    HasNulls(u8),
    #[error("the offset of row {row} is {offset}, {why}")]
    Offset { row: usize, offset: u32, why: &'static str },
    #[error("its text is not UTF-8: {0}")]
    Utf8(String),
    #[error(
        "argument {argument} is a column of {actual} with {rows} rows, not of {expected} with {rows_expected}"
    )]
    Argument { argument: usize, actual: String, rows: usize, expected: ValueType, rows_expected: usize },
    #[error("it has more rows or bytes than a batch can say")]
    TooLong,
}

/// Each part of a column takes a multiple of this.
const ALIGNMENT: usize = 8;

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// The batch of a call: the rows of these columns, whose types are the function's.
///
/// # Errors
/// When a column is of another type or length.
pub(crate) fn encode_batch(
    function: u32,
    rows: usize,
    arguments: &[ArrayRef],
    types: &[ValueType],
) -> Result<Vec<u8>, ColumnError> {
    let mut batch = Vec::with_capacity(8 + columns_bytes(arguments, rows));
    batch.extend_from_slice(&function.to_le_bytes());
    batch.extend_from_slice(&u32::try_from(rows).map_err(|_| ColumnError::TooLong)?.to_le_bytes());
    for (argument, (array, kind)) in arguments.iter().zip(types).enumerate() {
        if *array.data_type() != kind.data_type() || array.len() != rows {
            return Err(ColumnError::Argument {
                argument: argument + 1,
                actual: array.data_type().to_string(),
                rows: array.len(),
                expected: *kind,
                rows_expected: rows,
            });
        }
        put_column(&mut batch, array, *kind)?;
    }
    Ok(batch)
}

/// About how many bytes the columns' rows take in a batch.
pub(crate) fn columns_bytes(arguments: &[ArrayRef], rows: usize) -> usize {
    let column = |array: &ArrayRef| {
        let values = match ValueType::of(array.data_type()) {
            Some(ValueType::Boolean) => padded(rows.div_ceil(8)),
            Some(ValueType::Utf8) => 4 * (rows + 1) + text_bytes(array.as_string::<i32>().value_offsets()),
            Some(ValueType::Binary) => 4 * (rows + 1) + text_bytes(array.as_binary::<i32>().value_offsets()),
            _ => 8 * rows,
        };
        ALIGNMENT + padded(rows.div_ceil(8)) + padded(values) + ALIGNMENT
    };
    arguments.iter().map(column).sum()
}

fn text_bytes(offsets: &[i32]) -> usize {
    match offsets {
        [first, .., last] => usize::try_from(last - first).unwrap_or_default(),
        _ => 0,
    }
}

fn put_column(out: &mut Vec<u8>, array: &ArrayRef, kind: ValueType) -> Result<(), ColumnError> {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    out.extend_from_slice(&[kind.code(), u8::from(nulls.is_some()), 0, 0, 0, 0, 0, 0]);
    if let Some(nulls) = nulls {
        put_bitmap(out, nulls.inner());
    }
    match kind {
        ValueType::Boolean => put_bitmap(out, array.as_boolean().values()),
        ValueType::Int64 => {
            array.as_primitive::<Int64Type>().values().iter().for_each(|value| put(out, value.to_le_bytes()));
        }
        ValueType::Timestamp => {
            let values = array.as_primitive::<TimestampMillisecondType>().values();
            values.iter().for_each(|value| put(out, value.to_le_bytes()));
        }
        ValueType::Float64 => {
            array
                .as_primitive::<Float64Type>()
                .values()
                .iter()
                .for_each(|value| put(out, value.to_le_bytes()));
        }
        ValueType::Utf8 => {
            let array = array.as_string::<i32>();
            put_texts(out, array.value_offsets(), array.value_data())?;
        }
        ValueType::Binary => {
            let array = array.as_binary::<i32>();
            put_texts(out, array.value_offsets(), array.value_data())?;
        }
    }
    Ok(())
}

fn put<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) {
    out.extend_from_slice(&bytes);
}

fn pad(out: &mut Vec<u8>, part: usize) {
    out.resize(out.len() + padded(part) - part, 0);
}

fn put_bitmap(out: &mut Vec<u8>, bits: &BooleanBuffer) {
    let bytes = bits.len().div_ceil(8);
    let bitmap = bits.sliced();
    out.extend_from_slice(bitmap.get(..bytes).unwrap_or_default());
    // What lies after the last row is nobody's.
    if let Some(last) = out.last_mut().filter(|_| !bits.len().is_multiple_of(8)) {
        *last &= (1 << (bits.len() % 8)) - 1;
    }
    pad(out, bytes);
}

fn put_texts(out: &mut Vec<u8>, offsets: &[i32], bytes: &[u8]) -> Result<(), ColumnError> {
    let first = offsets.first().copied().unwrap_or_default();
    offsets.iter().for_each(|offset| put(out, (offset - first).to_le_bytes()));
    pad(out, offsets.len() * 4);
    let (from, length) = (usize::try_from(first).map_err(|_| ColumnError::TooLong)?, text_bytes(offsets));
    out.extend_from_slice(bytes.get(from..from + length).ok_or(ColumnError::TooLong)?);
    pad(out, length);
    Ok(())
}

/// The one column of an answer.
///
/// # Errors
/// Whatever is not a column of this type with so many rows.
pub fn decode_answer(answer: &[u8], kind: ValueType, rows: usize) -> Result<ArrayRef, ColumnError> {
    let mut rest = answer;
    let head = take(&mut rest, ALIGNMENT, "its head")?;
    let (code, has_nulls) = (head[0], head[1]);
    if code != kind.code() {
        return Err(ColumnError::Type { code, expected: kind });
    }
    let nulls = match has_nulls {
        0 => None,
        1 => Some(NullBuffer::new(take_bitmap(&mut rest, rows, "its validity")?)),
        other => return Err(ColumnError::HasNulls(other)),
    };
    let array: ArrayRef = match kind {
        ValueType::Boolean => Arc::new(BooleanArray::new(take_bitmap(&mut rest, rows, "its values")?, nulls)),
        ValueType::Int64 => {
            Arc::new(Int64Array::new(take_numbers(&mut rest, rows, i64::from_le_bytes)?, nulls))
        }
        ValueType::Timestamp => {
            let ticks = take_numbers(&mut rest, rows, i64::from_le_bytes)?;
            Arc::new(TimestampMillisecondArray::new(ticks, nulls).with_timezone("UTC"))
        }
        ValueType::Float64 => {
            Arc::new(Float64Array::new(take_numbers(&mut rest, rows, f64::from_le_bytes)?, nulls))
        }
        ValueType::Utf8 => {
            let (offsets, bytes) = take_texts(&mut rest, rows)?;
            let array = StringArray::try_new(offsets, bytes, nulls);
            Arc::new(array.map_err(|error| ColumnError::Utf8(error.to_string()))?)
        }
        ValueType::Binary => {
            let (offsets, bytes) = take_texts(&mut rest, rows)?;
            let array = BinaryArray::try_new(offsets, bytes, nulls);
            Arc::new(array.map_err(|error| ColumnError::Utf8(error.to_string()))?)
        }
    };
    if rest.is_empty() { Ok(array) } else { Err(ColumnError::Trailing(rest.len())) }
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize, what: &'static str) -> Result<&'a [u8], ColumnError> {
    let (part, _) = rest.split_at_checked(bytes).ok_or(ColumnError::Short(what))?;
    *rest = rest.get(padded(bytes)..).ok_or(ColumnError::Short(what))?;
    Ok(part)
}

fn take_bitmap(rest: &mut &[u8], rows: usize, what: &'static str) -> Result<BooleanBuffer, ColumnError> {
    let bytes = take(rest, rows.div_ceil(8), what)?;
    Ok(BooleanBuffer::new(Buffer::from(bytes), 0, rows))
}

fn take_numbers<T: arrow::datatypes::ArrowNativeType>(
    rest: &mut &[u8],
    rows: usize,
    number: impl Fn([u8; 8]) -> T,
) -> Result<ScalarBuffer<T>, ColumnError> {
    let bytes = rows.checked_mul(8).ok_or(ColumnError::TooLong)?;
    let (numbers, _) = take(rest, bytes, "its values")?.as_chunks::<8>();
    Ok(numbers.iter().map(|bytes| number(*bytes)).collect())
}

fn take_texts(rest: &mut &[u8], rows: usize) -> Result<(OffsetBuffer<i32>, Buffer), ColumnError> {
    let bytes = rows.checked_add(1).and_then(|offsets| offsets.checked_mul(4)).ok_or(ColumnError::TooLong)?;
    let (raw, _) = take(rest, bytes, "its offsets")?.as_chunks::<4>();
    let mut offsets: Vec<i32> = Vec::with_capacity(raw.len());
    for (row, bytes) in raw.iter().enumerate() {
        let offset = u32::from_le_bytes(*bytes);
        let wrong = |why| ColumnError::Offset { row, offset, why };
        let signed = i32::try_from(offset).map_err(|_| wrong("which is too large"))?;
        match offsets.last() {
            None if signed != 0 => return Err(wrong("and the first is 0")),
            Some(before) if signed < *before => return Err(wrong("less than the one before it")),
            _ => offsets.push(signed),
        }
    }
    let length = offsets.last().and_then(|last| usize::try_from(*last).ok()).unwrap_or_default();
    let bytes = Buffer::from(take(rest, length, "its bytes")?);
    Ok((OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// A column of any type, with nulls, beginning anywhere in its buffers.
    fn column() -> impl Strategy<Value = ArrayRef> {
        let rows = 0..40_usize;
        let array = prop_oneof![
            vec(option::of(any::<bool>()), rows.clone())
                .prop_map(|v| Arc::new(BooleanArray::from(v)) as ArrayRef),
            vec(option::of(any::<i64>()), rows.clone())
                .prop_map(|v| Arc::new(Int64Array::from(v)) as ArrayRef),
            vec(option::of(any::<f64>()), rows.clone())
                .prop_map(|v| Arc::new(Float64Array::from(v)) as ArrayRef),
            vec(option::of(any::<i64>()), rows.clone())
                .prop_map(|v| Arc::new(TimestampMillisecondArray::from(v).with_timezone("UTC")) as ArrayRef),
            vec(option::of(".{0,9}"), rows.clone()).prop_map(|v| Arc::new(StringArray::from(v)) as ArrayRef),
            vec(option::of(vec(any::<u8>(), 0..9)), rows)
                .prop_map(|v| { Arc::new(BinaryArray::from_iter(v)) as ArrayRef }),
        ];
        (array, any::<proptest::sample::Index>()).prop_map(|(array, from)| {
            let from = if array.is_empty() { 0 } else { from.index(array.len()) };
            array.slice(from, array.len() - from)
        })
    }

    proptest! {
        #[test]
        fn a_column_that_comes_back_is_the_one_that_went(column in column()) {
            let kind = ValueType::of(column.data_type()).unwrap();
            let batch = encode_batch(7, column.len(), &[Arc::clone(&column)], &[kind]).unwrap();
            prop_assert_eq!(batch.len() % ALIGNMENT, 0);
            prop_assert!(batch.len() <= 8 + columns_bytes(&[Arc::clone(&column)], column.len()));
            prop_assert_eq!(&decode_answer(&batch[8..], kind, column.len()).unwrap(), &column);
        }

        #[test]
        fn no_bytes_are_too_odd(
            bytes in vec(any::<u8>(), 0..200), kind in 0..6_usize, rows in 0..20_usize, is_typed in any::<bool>(),
        ) {
            let kind = ValueType::ALL[kind];
            let mut bytes = bytes;
            if let Some(code) = bytes.first_mut().filter(|_| is_typed) {
                *code = kind.code();
            }
            if let Ok(array) = decode_answer(&bytes, kind, rows) {
                prop_assert_eq!(array.len(), rows);
                prop_assert_eq!(array.data_type(), &kind.data_type());
            }
        }
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_told() {
        let answer = |code: u8, has_nulls: u8, parts: &[u8]| {
            let mut answer = vec![code, has_nulls, 0, 0, 0, 0, 0, 0];
            answer.extend_from_slice(parts);
            answer
        };
        let mut text = vec![0, 0, 0, 0, 1, 0, 0, 0];
        text.extend_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0]);
        let told = |answer: &[u8], kind| decode_answer(answer, kind, 1).unwrap_err().to_string();
        assert_eq!(told(&[], ValueType::Int64), "it ends inside its head");
        assert_eq!(told(&answer(4, 0, &text), ValueType::Int64), "its type is 4, not 2 (int64)");
        assert_eq!(
            told(&answer(2, 2, &[0; 8]), ValueType::Int64),
            "2 says neither that there are nulls nor that there are none"
        );
        assert_eq!(told(&answer(2, 0, &[0; 7]), ValueType::Int64), "it ends inside its values");
        assert_eq!(told(&answer(2, 0, &[0; 16]), ValueType::Int64), "8 bytes follow it");
        assert!(told(&answer(4, 0, &text), ValueType::Utf8).starts_with("its text is not UTF-8: "));
        let back = [1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            told(&answer(5, 0, &back), ValueType::Binary),
            "the offset of row 0 is 1, and the first is 0"
        );
        let far = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            told(&answer(5, 0, &far), ValueType::Binary),
            "the offset of row 1 is 4294967295, which is too large"
        );
    }

    #[test]
    fn arguments_of_another_type_are_refused() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let error = encode_batch(0, 1, &[column], &[ValueType::Utf8]).unwrap_err();
        assert_eq!(error.to_string(), "argument 1 is a column of Int64 with 1 rows, not of utf8 with 1");
    }
}
