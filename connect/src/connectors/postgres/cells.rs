//! Rows as the JSON that PostgreSQL's `json_populate_recordset` reads, value by value as its own input functions do: bytes as
//! `\x…`, and numbers that JSON has no word for as text. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema};
use arrow::error::ArrowError;
use bytes::Bytes;
use ottla_formats::{Format as _, FormatError, JsonFormat};

/// Why rows cannot be told to PostgreSQL at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTold {
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// A JSON object for each row.
pub(super) fn objects(batch: &RecordBatch) -> Result<Vec<Bytes>, NotTold> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, array)| told(field, array));
    let columns: Vec<(FieldRef, ArrayRef)> = columns.collect::<Result<_, _>>()?;
    let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = columns.into_iter().unzip();
    Ok(JsonFormat.encode(&RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)?)
}

/// The rows to write where a statement may touch a key once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distinct {
    /// Of each key the last row.
    pub(super) rows: Vec<usize>,
    /// By row, the one before it with the same key: it counts when the later one is refused.
    pub(super) before: HashMap<usize, usize>,
}

/// Tells rows with the same key apart; `keys` are the key columns.
pub(super) fn distinct(keys: &RecordBatch) -> Result<Distinct, NotTold> {
    let texts = objects(keys)?;
    let (mut last, mut before) = (HashMap::new(), HashMap::new());
    for (row, text) in texts.iter().enumerate() {
        before.extend(last.insert(text, row).map(|earlier| (row, earlier)));
    }
    let mut rows: Vec<usize> = last.into_values().collect();
    rows.sort_unstable();
    Ok(Distinct { rows, before })
}

fn told(field: &FieldRef, array: &ArrayRef) -> Result<(FieldRef, ArrayRef), ArrowError> {
    let as_text = |texts: StringArray| {
        let field = Field::new(field.name(), DataType::Utf8, field.is_nullable());
        (Arc::new(field) as FieldRef, Arc::new(texts) as ArrayRef)
    };
    match field.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = cast(array, &DataType::Binary)?;
            let bytes: &BinaryArray = bytes.as_binary();
            Ok(as_text(bytes.iter().map(|bytes| bytes.map(hex)).collect()))
        }
        data_type if data_type.is_floating() => {
            let numbers = cast(array, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            if numbers.iter().flatten().all(f64::is_finite) {
                return Ok((Arc::clone(field), Arc::clone(array)));
            }
            let text = |number: f64| match number {
                number if number.is_nan() => "NaN".to_owned(),
                number if number.is_infinite() && number > 0.0 => "Infinity".to_owned(),
                number if number.is_infinite() => "-Infinity".to_owned(),
                number => number.to_string(),
            };
            Ok(as_text(numbers.iter().map(|number| number.map(text)).collect()))
        }
        _ => Ok((Arc::clone(field), Arc::clone(array))),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}

/// Some of the objects as one JSON array.
pub(super) fn array(objects: &[Bytes], rows: &[usize]) -> String {
    let mut joined = Vec::new();
    joined.push(b'[');
    for (place, object) in rows.iter().filter_map(|row| objects.get(*row)).enumerate() {
        if place > 0 {
            joined.push(b',');
        }
        joined.extend_from_slice(object);
    }
    joined.push(b']');
    // JSON is text.
    String::from_utf8(joined).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Float64Array;

    #[test]
    fn bytes_and_odd_numbers_are_written_as_postgresql_reads_them() {
        let bytes: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\x00\xff"), None]));
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(0.1)]));
        let batch =
            RecordBatch::try_from_iter_with_nullable([("b", bytes, true), ("n", numbers, true)]).unwrap();
        let objects = objects(&batch).unwrap();
        assert_eq!(array(&objects, &[0, 1]), r#"[{"b":"\\x00ff","n":"NaN"},{"b":null,"n":"0.1"}]"#);
    }

    #[test]
    fn the_last_of_the_rows_with_a_key_goes_and_the_others_are_known() {
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a", "c", "a"]));
        let batch = RecordBatch::try_from_iter([("k", keys)]).unwrap();
        let expected = Distinct { rows: vec![1, 3, 4], before: [(4, 2), (2, 0)].into() };
        assert_eq!(distinct(&batch).unwrap(), expected);
    }
}
