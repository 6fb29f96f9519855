//! Columns for topics that nobody declared, from what their values look like. Pure.
//!
//! A column's type is the narrowest that holds all of its values: boolean, int, double, or text; an array or object, and
//! a column of several kinds, is its JSON text. A topic whose values are not all JSON objects has one more column,
//! `_value`, with the text of those that are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use ottla_client::ConsumerRecord;
use serde_json::{Map, Value};

/// What all values of a column fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only nulls so far.
    Unknown,
    Boolean,
    Int,
    Double,
    Text,
    /// Several kinds, or nested values: as JSON text.
    Json,
}

impl Kind {
    fn of(value: &Value) -> Kind {
        match value {
            Value::Null => Kind::Unknown,
            Value::Bool(_) => Kind::Boolean,
            Value::Number(number) if number.is_i64() => Kind::Int,
            Value::Number(_) => Kind::Double,
            Value::String(_) => Kind::Text,
            Value::Array(_) | Value::Object(_) => Kind::Json,
        }
    }

    fn or(self, other: Kind) -> Kind {
        match (self, other) {
            (same, other) if same == other => same,
            (Kind::Unknown, known) | (known, Kind::Unknown) => known,
            (Kind::Int, Kind::Double) | (Kind::Double, Kind::Int) => Kind::Double,
            (_, _) => Kind::Json,
        }
    }
}

/// The records of a topic as one batch, partition after partition.
///
/// # Errors
/// Never for real topics: the columns are made with one value per record.
pub(super) fn infer(partitions: &BTreeMap<i32, Vec<ConsumerRecord>>) -> Result<RecordBatch, ArrowError> {
    let records: Vec<(i32, &ConsumerRecord)> = partitions
        .iter()
        .flat_map(|(partition, records)| records.iter().map(move |record| (*partition, record)))
        .collect();
    let rows: Vec<Option<Map<String, Value>>> = records.iter().map(|(_, record)| object(record)).collect();
    // In the order in which they first appear, which is the author's order for records written by one program.
    let mut names: Vec<&str> = Vec::new();
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    for (name, value) in rows.iter().flatten().flatten() {
        let kind = kinds.entry(name).or_insert_with(|| {
            names.push(name);
            Kind::Unknown
        });
        *kind = kind.or(Kind::of(value));
    }
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let mut push = |name: &str, column: ArrayRef, nullable: bool| {
        fields.push(Field::new(name, column.data_type().clone(), nullable));
        columns.push(column);
    };
    for name in names {
        let values = rows.iter().map(|row| row.as_ref().and_then(|row| row.get(name)));
        push(name, column(kinds[name], values), true);
    }
    if rows.iter().zip(&records).any(|(row, (_, record))| row.is_none() && record.value.is_some()) {
        let texts = rows.iter().zip(&records).map(|(row, (_, record))| match row {
            Some(_) => None,
            None => record.value.as_deref().map(String::from_utf8_lossy),
        });
        push("_value", Arc::new(texts.collect::<StringArray>()), true);
    }
    let keys: StringArray =
        records.iter().map(|(_, record)| record.key.as_deref().map(String::from_utf8_lossy)).collect();
    push("_key", Arc::new(keys), true);
    push(
        "_partition",
        Arc::new(records.iter().map(|(partition, _)| Some(*partition)).collect::<Int32Array>()),
        false,
    );
    push(
        "_offset",
        Arc::new(records.iter().map(|(_, record)| Some(record.offset)).collect::<Int64Array>()),
        false,
    );
    let times: TimestampMillisecondArray =
        records.iter().map(|(_, record)| Some(record.timestamp_ms)).collect();
    push("_timestamp", Arc::new(times.with_timezone("UTC")), false);
    let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// The value as a JSON object, if it is one.
fn object(record: &ConsumerRecord) -> Option<Map<String, Value>> {
    match serde_json::from_slice(record.value.as_deref()?) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

fn column<'a>(kind: Kind, values: impl Iterator<Item = Option<&'a Value>>) -> ArrayRef {
    let present = values.map(|value| value.filter(|value| !value.is_null()));
    match kind {
        Kind::Boolean => {
            Arc::new(present.map(|value| value.and_then(Value::as_bool)).collect::<BooleanArray>())
        }
        Kind::Int => Arc::new(present.map(|value| value.and_then(Value::as_i64)).collect::<Int64Array>()),
        Kind::Double => {
            Arc::new(present.map(|value| value.and_then(Value::as_f64)).collect::<Float64Array>())
        }
        Kind::Text | Kind::Unknown => {
            Arc::new(present.map(|value| value.and_then(Value::as_str)).collect::<StringArray>())
        }
        Kind::Json => Arc::new(present.map(|value| value.map(Value::to_string)).collect::<StringArray>()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use bytes::Bytes;

    use super::*;

    fn record(offset: i64, key: Option<&'static str>, value: Option<&'static str>) -> ConsumerRecord {
        ConsumerRecord {
            offset,
            timestamp_ms: 1_357_034_400_000 + offset,
            key: key.map(Bytes::from),
            value: value.map(Bytes::from),
            headers: Vec::new(),
            leader_epoch: 0,
        }
    }

    #[test]
    fn columns_take_the_narrowest_type_that_holds_all_values() {
        let partitions = BTreeMap::from([
            (
                0,
                vec![
                    record(
                        0,
                        Some("a"),
                        Some(r#"{"z":1,"text":"x","mixed":1,"list":[1],"flag":true,"none":null}"#),
                    ),
                    record(1, None, Some(r#"{"z":2.5,"mixed":"1","flag":null}"#)),
                ],
            ),
            (1, vec![record(7, Some("b"), None), record(8, Some("b"), Some("not json"))]),
        ]);
        let batch = infer(&partitions).unwrap();
        let shown = pretty_format_batches(std::slice::from_ref(&batch)).unwrap().to_string();
        let types: Vec<String> = batch
            .schema()
            .fields()
            .iter()
            .map(|field| {
                format!(
                    "{} {}",
                    field.name(),
                    ottla_formats::type_word(field.data_type(), field.is_nullable())
                )
            })
            .collect();
        let mut own = types[..6].to_vec();
        own.sort();
        assert_eq!(
            own,
            ["flag boolean?", "list string?", "mixed string?", "none string?", "text string?", "z double?"]
        );
        assert_eq!(
            types[6..],
            ["_value string?", "_key string?", "_partition int32", "_offset int", "_timestamp timestamp"]
        );
        for part in ["[1]", "2.5", "\"1\"", "not json", "2013-01-01T10:00:00.001Z"] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
    }

    #[test]
    fn an_empty_topic_has_only_the_columns_of_every_record() {
        let batch = infer(&BTreeMap::new()).unwrap();
        let names: Vec<&str> =
            batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!((names, batch.num_rows()), (vec!["_key", "_partition", "_offset", "_timestamp"], 0));
    }
}
