//! Values of Avro: there and back, from other schemas, and from bytes that nobody should have written.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef, TimestampMillisecondType};
use proptest::prelude::*;
use serde_json::json;

use super::write::derived;
use super::{AvroFormat, AvroSchema, incompatibilities};
use crate::generate::any_flat_batch;
use crate::{Format, FormatError, JsonFormat, schema_of};

fn derived_schema(schema: &Schema) -> Arc<AvroSchema> {
    let text = derived("R", schema.fields()).unwrap().to_string();
    Arc::new(AvroSchema::parse(&text).unwrap())
}

fn slices(payloads: &[bytes::Bytes]) -> Vec<&[u8]> {
    payloads.iter().map(AsRef::as_ref).collect()
}

fn schema(text: &serde_json::Value) -> Arc<AvroSchema> {
    Arc::new(AvroSchema::parse(&text.to_string()).unwrap())
}

/// A list and a flag; a struct that is null where neither is there.
type Nested = (Option<Vec<Option<i64>>>, Option<bool>);

/// Lists and structs, as JSON makes them.
fn nested_batch(values: &[Nested]) -> RecordBatch {
    let item = Field::new_list_field(DataType::Int64, true);
    let inner = Fields::from(vec![
        Field::new("flag", DataType::Boolean, true),
        Field::new("list", DataType::List(Arc::new(item)), true),
    ]);
    let fields =
        vec![Field::new("s", DataType::Struct(inner), true), Field::new("n", DataType::Int64, false)];
    let texts: Vec<String> = (0..)
        .zip(values)
        .map(|(number, (list, flag))| match (list, flag) {
            (None, None) => json!({ "s": null, "n": number }).to_string(),
            _ => json!({ "s": { "flag": flag, "list": list }, "n": number }).to_string(),
        })
        .collect();
    let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let decoded = JsonFormat.decode(&payloads, &Arc::new(Schema::new(fields))).unwrap();
    assert_eq!(decoded.bad, []);
    decoded.batch
}

fn comes_back(batch: &RecordBatch) -> Result<(), TestCaseError> {
    let format = AvroFormat::with_schema(derived_schema(&batch.schema()));
    let payloads = format.encode(batch).unwrap();
    let decoded = format.decode(&slices(&payloads), &batch.schema()).unwrap();
    prop_assert_eq!(decoded.bad, vec![]);
    prop_assert_eq!(&decoded.batch, batch);
    Ok(())
}

/// A column's type and whether it may be null, of those that are promoted into each other and of others.
fn any_field() -> impl Strategy<Value = (DataType, bool)> {
    let types = vec![
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Boolean,
        DataType::Utf8,
        crate::types::timestamp_type(),
    ];
    (prop::sample::select(types), any::<bool>())
}

fn any_fields() -> impl Strategy<Value = SchemaRef> {
    prop::collection::vec(prop::option::weighted(0.8, any_field()), 1..4).prop_map(|fields| {
        let field = |(index, field): (usize, Option<(DataType, bool)>)| {
            field.map(|(data_type, nullable)| Field::new(format!("c{index}"), data_type, nullable))
        };
        Arc::new(Schema::new(fields.into_iter().enumerate().filter_map(field).collect::<Vec<_>>()))
    })
}

/// Rows of a schema, from random numbers.
fn rows_of(schema: &SchemaRef, seeds: &[i32]) -> RecordBatch {
    let text = |seed: &i32| {
        let mut row = serde_json::Map::new();
        for (index, field) in (0..).zip(schema.fields()) {
            let value = match field.data_type() {
                _ if field.is_nullable() && (seed + index) % 3 == 0 => json!(null),
                DataType::Boolean => json!(seed % 2 == 0),
                DataType::Utf8 => json!(format!("text {seed}")),
                _ => json!(seed),
            };
            row.insert(field.name().clone(), value);
        }
        serde_json::Value::Object(row).to_string()
    };
    let texts: Vec<String> = seeds.iter().map(text).collect();
    let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let decoded = JsonFormat.decode(&payloads, schema).unwrap();
    assert_eq!(decoded.bad, []);
    decoded.batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_flat_batch_comes_back(batch in any_flat_batch()) {
        comes_back(&batch)?;
    }

    #[test]
    fn lists_and_structs_come_back(
        values in prop::collection::vec(
            (prop::option::of(prop::collection::vec(prop::option::of(any::<i64>()), 0..4)), prop::option::of(any::<bool>())),
            0..12,
        )
    ) {
        comes_back(&nested_batch(&values))?;
    }

    #[test]
    fn what_a_compatible_reader_is_given_it_reads(
        writer in any_fields(),
        reader in any_fields(),
        seeds in prop::collection::vec(0..1_000i32, 0..8),
    ) {
        let (written, read) = (derived_schema(&writer), derived_schema(&reader));
        if incompatibilities(&read, &written, "new", "old").is_empty() {
            let format = AvroFormat::with_schema(written);
            let payloads = format.encode(&rows_of(&writer, &seeds)).unwrap();
            let decoded = format.decode(&slices(&payloads), &reader).unwrap();
            prop_assert_eq!(decoded.bad, vec![]);
            prop_assert_eq!(decoded.rows.len(), seeds.len());
        }
    }

    #[test]
    fn damaged_values_are_bad_and_hide_no_good_one(
        values in prop::collection::vec((prop::option::of(prop::collection::vec(any::<Option<i64>>(), 0..4)), any::<Option<bool>>()), 1..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..4),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let batch = nested_batch(&values);
        let format = AvroFormat::with_schema(derived_schema(&batch.schema()));
        let good: Vec<Vec<u8>> = format.encode(&batch).unwrap().iter().map(|value| value.to_vec()).collect();
        let mut all = good.clone();
        all.push(garbage);
        for (value, at, byte) in damage {
            let value = value.get(&all).len().min(all.len() - 1);
            if let Some(index) = (!all[value].is_empty()).then(|| at.index(all[value].len())) {
                all[value][index] = byte;
            }
        }
        let decoded = format.decode(&all.iter().map(Vec::as_slice).collect::<Vec<_>>(), &batch.schema()).unwrap();
        prop_assert_eq!(decoded.rows.len() + decoded.bad.len(), all.len());
        for (row, index) in decoded.rows.iter().enumerate() {
            let index = *index as usize;
            if good.get(index) == Some(&all[index]) {
                prop_assert_eq!(decoded.batch.slice(row, 1), batch.slice(index, 1));
            }
        }
        for bad in &decoded.bad {
            let index = bad.index as usize;
            prop_assert_ne!(good.get(index), Some(&all[index]), "{}", bad.reason);
        }
    }
}

#[test]
fn bytes_are_those_of_the_specification() {
    // From the specification: 64 is 0x80 0x01, "foo" is 0x06 0x66 0x6f 0x6f, and a union's branch comes first.
    let written = json!({ "type": "record", "name": "test", "fields": [
        { "name": "a", "type": "long" }, { "name": "b", "type": "string" }, { "name": "c", "type": ["null", "string"] },
        { "name": "d", "type": { "type": "array", "items": "long" } } ] });
    let columns: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8, false),
        Field::new("c", DataType::Utf8, true),
        Field::new("d", DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))), false),
    ]));
    let format = AvroFormat::with_schema(schema(&written));
    let json = br#"{"a": 27, "b": "foo", "c": "a", "d": [3, 27]}"#;
    let batch = JsonFormat.decode(&[json.as_slice()], &columns).unwrap().batch;
    let payload = format.encode(&batch).unwrap().remove(0);
    assert_eq!(payload.as_ref(), [0x36, 0x06, 0x66, 0x6f, 0x6f, 0x02, 0x02, 0x61, 0x04, 0x06, 0x36, 0x00]);
    // A block may say its size in bytes, after a negative count.
    let sized = [&payload[..8], &[0x03, 0x04, 0x06, 0x36, 0x00]].concat();
    assert_eq!(format.decode(&[&sized], &columns).unwrap().batch, batch);
}

#[test]
fn fields_and_types_of_another_schema_become_the_columns() {
    let written = json!({ "type": "record", "name": "old.Order", "fields": [
        { "name": "skipped", "type": { "type": "map", "values": ["null", { "type": "array", "items": "string" }] } },
        { "name": "id", "type": "int" },
        { "name": "kind", "type": { "type": "enum", "name": "Kind", "symbols": ["NEW", "OLD"] } },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-micros" } },
        { "name": "total", "type": { "type": "fixed", "name": "F", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 1 } },
        { "name": "tags", "type": { "type": "map", "values": "int" } } ] });
    let entry = DataType::Struct(Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int64, false),
    ]));
    let columns: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("number", DataType::Int64, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("at", crate::types::timestamp_type(), false),
        Field::new("total", DataType::Decimal128(12, 2), false),
        Field::new("tags", DataType::List(Arc::new(Field::new_list_field(entry, false))), false),
        Field::new("note", DataType::Utf8, true),
    ]));
    let value: &[&[u8]] = &[
        // One entry: "k" to the branch 1 with one string.
        &[2, 2, b'k', 2, 2, 4, b'h', b'i', 0, 0],
        &[0x54],
        &[2],
        // -1 microsecond is before the epoch, so in the millisecond before.
        &[1],
        &[0xff, 0xff, 0xff, 0x85],
        &[2, 2, b'x', 8, 0],
    ];
    let reader = json!({ "type": "record", "name": "Order", "fields": [{ "name": "number", "type": "long", "aliases": ["id"] }] });
    let format = AvroFormat::resolving(schema(&written), schema(&reader));
    let decoded = format.decode(&[&value.concat()], &columns).unwrap();
    assert_eq!(decoded.bad, []);
    let batch = decoded.batch;
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 42);
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "OLD");
    assert_eq!(batch.column(2).as_primitive::<TimestampMillisecondType>().value(0), -1);
    assert_eq!(batch.column(3).as_primitive::<arrow::datatypes::Decimal128Type>().value(0), -1230);
    let tags = batch.column(4).as_list::<i32>().value(0);
    assert_eq!(tags.as_struct().column(1).as_primitive::<Int64Type>().value(0), 4);
    assert!(batch.column(5).is_null(0));
}

#[test]
fn says_why_a_value_is_bad() {
    let written = json!({ "type": "record", "name": "R", "fields": [
        { "name": "a", "type": ["null", "long"] }, { "name": "b", "type": { "type": "array", "items": "null" } } ] });
    let format = AvroFormat::with_schema(schema(&written));
    let columns = schema_of([("a", "int32")]).unwrap();
    for (value, expected) in [
        (&[2, 2, 0][..], ""),
        (&[], "ends too early"),
        (&[4, 0], "no branch or symbol 2"),
        (&[0, 0], "column 'a' may not be null"),
        (&[2, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0], "is not of type int32"),
        (&[2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0], "more than 64 bits"),
        (&[2, 2, 0, 7], "1 bytes follow"),
        // A thousand million nulls take no byte.
        (&[2, 2, 0x80, 0xa8, 0xd6, 0xb9, 0x07, 0], "more items than"),
    ] {
        let decoded = format.decode(&[value], &columns).unwrap();
        let why = decoded.bad.first().map(|bad| bad.reason.clone()).unwrap_or_default();
        assert_eq!(why.is_empty(), expected.is_empty(), "{value:?}: {why}");
        assert!(why.contains(expected), "{value:?}: {why}");
    }
    let text = schema_of([("a", "string")]).unwrap();
    let decoded = format.decode(&[&[2, 2, 0]], &text).unwrap();
    assert!(decoded.bad[0].reason.contains("is not of type string"), "{}", decoded.bad[0].reason);
}

#[test]
fn says_what_cannot_be_written() {
    let batch = rows_of(&schema_of([("a", "int"), ("b", "string?")]).unwrap(), &[1]);
    let error = |fields: serde_json::Value| {
        let written = json!({ "type": "record", "name": "R", "fields": fields });
        AvroFormat::with_schema(schema(&written)).encode(&batch).unwrap_err().to_string()
    };
    let why = error(json!([{ "name": "a", "type": "string" }]));
    assert!(why.contains("row 0") && why.contains("column 'a'"), "{why}");
    assert!(error(json!([{ "name": "c", "type": "int" }])).contains("no column 'c'"));
    let odd = Schema::new(vec![Field::new("a-b", DataType::Int64, true)]);
    assert!(matches!(derived("R", odd.fields()), Err(FormatError::BadName { .. })));
}

mod with_registry {
    use super::*;
    use crate::registry::{RegistryClient, SchemaRegistry};

    async fn serve() -> String {
        let log = crate::registry::tests::memory_log::Storage::default().log();
        let router = SchemaRegistry::start(log).router("a-cluster".to_owned());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn values_name_their_schema_and_are_read_with_it() {
        let url = serve().await;
        let format = |url: &str| AvroFormat::with_registry(Arc::new(RegistryClient::new(url)));
        let writer = format(&url);
        let one = rows_of(&schema_of([("a", "int")]).unwrap(), &[1, 2]);
        let two = rows_of(&schema_of([("a", "int"), ("b", "string?")]).unwrap(), &[3, 4]);
        let mut payloads = writer.encode_for("my.topic", &one).unwrap();
        payloads.extend(writer.encode_for("my.topic", &two).unwrap());
        assert_eq!(payloads[0][..5], [0, 0, 0, 0, 1]);
        assert_eq!(payloads[3][..5], [0, 0, 0, 0, 2]);
        payloads.push(vec![0, 0, 0, 0, 9, 2].into());
        payloads.push(vec![b'{', b'}'].into());
        let decoded = format(&url).decode(&slices(&payloads), &two.schema()).unwrap();
        assert_eq!(decoded.rows, [0, 1, 2, 3]);
        assert_eq!(decoded.batch.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3, 4]);
        assert_eq!(decoded.batch.column(1).null_count(), 2);
        assert!(decoded.bad[0].reason.contains("id 9: Schema 9 not found"), "{}", decoded.bad[0].reason);
        assert!(decoded.bad[1].reason.contains("names no schema"), "{}", decoded.bad[1].reason);
        // A column that may not be null cannot come.
        let three = rows_of(&schema_of([("a", "int"), ("c", "string")]).unwrap(), &[5]);
        let refused = writer.encode_for("my.topic", &three).unwrap_err().to_string();
        assert!(refused.contains("my.topic-value") && refused.contains("incompatible"), "{refused}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_registry_that_does_not_answer_makes_no_value_bad() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", taken.local_addr().unwrap());
        drop(taken);
        let format = AvroFormat::with_registry(Arc::new(RegistryClient::new(&url)));
        let columns = schema_of([("a", "int")]).unwrap();
        let error = format.decode(&[&[0, 0, 0, 0, 1, 2]], &columns).unwrap_err();
        assert!(matches!(error, FormatError::Registry { .. }), "{error}");
    }
}
