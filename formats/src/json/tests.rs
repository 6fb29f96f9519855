//! What JSON records must hold: round trip, no panic, no bad record that hides a good one.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, ListArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMillisecondType};
use proptest::prelude::*;

use crate::generate::any_flat_batch;
use crate::{Format, JsonFormat, JsonLinesReader, Position, schema_of};

fn decode(schema: &[(&str, &str)], payloads: &[&str]) -> crate::Decoded {
    let schema = schema_of(schema.iter().copied()).unwrap();
    let payloads: Vec<&[u8]> = payloads.iter().map(|payload| payload.as_bytes()).collect();
    JsonFormat.decode(&payloads, &schema).unwrap()
}

fn reason(word: &str, value: &str) -> String {
    let decoded = decode(&[("a", word)], &[&format!("{{\"a\":{value}}}")]);
    decoded.bad.first().map(|bad| bad.reason.clone()).unwrap_or_default()
}

#[test]
fn reads_fields_by_name_in_any_order_and_skips_the_rest() {
    let decoded = decode(
        &[("a", "int?"), ("t", "timestamp?"), ("s", "string?")],
        &[
            r#"{"a":1,"t":"2013-01-01T10:00:00Z","s":"x"}"#,
            r#"{"other":{"deep":[1,{"a":9}]},"s":"y","a":2}"#,
            r#" {"t":1357034400000,"a":null} "#,
        ],
    );
    assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
    let ints = decoded.batch.column(0).as_primitive::<Int64Type>();
    assert_eq!(ints.iter().collect::<Vec<_>>(), [Some(1), Some(2), None]);
    let times = decoded.batch.column(1).as_primitive::<TimestampMillisecondType>();
    assert_eq!(times.iter().collect::<Vec<_>>(), [Some(1_357_034_400_000), None, Some(1_357_034_400_000)]);
}

#[test]
fn a_bad_record_comes_out_beside_the_batch_with_its_reason() {
    let decoded = decode(
        &[("a", "int"), ("b", "string?")],
        &[
            r#"{"a":1}"#,
            r#"{"b":"half","a":"#,
            r#"{"a":1}{"a":2}"#,
            "",
            "[1]",
            r#"{"b":"x","a":2.5}"#,
            r#"{"b":"x"}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":7,"b":null}"#,
        ],
    );
    assert_eq!(decoded.rows, [0, 8]);
    assert_eq!(decoded.batch.num_rows(), 2);
    let reasons: Vec<&str> = decoded.bad.iter().map(|bad| bad.reason.as_str()).collect();
    assert_eq!(decoded.bad.iter().map(|bad| bad.index).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert!(reasons[1].contains("more after the JSON object"), "{reasons:?}");
    assert!(reasons[4].contains("column 'a': 2.5 is not of type int"), "{reasons:?}");
    assert!(reasons[5].contains("column 'a' is missing"), "{reasons:?}");
    assert!(reasons[6].contains("'a' is there twice"), "{reasons:?}");
}

#[test]
fn no_value_is_bent_to_fit_a_type() {
    for (word, value) in [
        ("int", r#""5""#),
        ("int", "2.5"),
        ("int", "9223372036854775808"),
        ("int8", "128"),
        ("int", "true"),
        ("string", "5"),
        ("boolean", "1"),
        ("boolean", r#""true""#),
        ("timestamp", r#""yesterday""#),
        ("decimal(4,2)", "\"100.00\""),
        ("decimal(4,2)", "\"1.005\""),
        ("bytes", r#""not base64!""#),
        ("string", "{}"),
        ("string", "[]"),
        ("string", "null"),
    ] {
        assert!(reason(word, value).contains("column 'a'"), "{value} must not pass for {word}");
    }
    for (word, value) in [
        ("int", "2.0"),
        ("double", "1"),
        ("decimal(4,2)", "12.5"),
        ("decimal(4,2)", "\"12.500\""),
        ("date", "\"2013-02-28\""),
    ] {
        assert_eq!(reason(word, value), "", "{value} is a {word}");
    }
}

#[test]
fn a_record_that_is_not_utf8_is_bad_even_in_a_field_nobody_reads() {
    let schema = schema_of([("a", "int")]).unwrap();
    let decoded = JsonFormat.decode(&[b"{\"a\":1,\"x\":\"\xff\"}", b"{\"a\":2}"], &schema).unwrap();
    assert_eq!(decoded.rows, [1]);
    assert!(decoded.bad[0].reason.starts_with("not UTF-8"));
}

#[test]
fn writes_every_column_in_order_with_nulls_and_iso_times() {
    let decoded = decode(
        &[("s", "string?"), ("t", "timestamp"), ("d", "double?"), ("x", "decimal(6,2)?"), ("b", "boolean?")],
        &[r#"{"s":"a\"b","t":"2013-01-01T10:00:00.5Z","d":1,"x":12.5,"b":true}"#, r#"{"t":0}"#],
    );
    let payloads = JsonFormat.encode(&decoded.batch).unwrap();
    assert_eq!(payloads[0], r#"{"s":"a\"b","t":"2013-01-01T10:00:00.500Z","d":1.0,"x":"12.50","b":true}"#);
    assert_eq!(payloads[1], r#"{"s":null,"t":"1970-01-01T00:00:00Z","d":null,"x":null,"b":null}"#);
}

#[test]
fn nested_lists_and_structs_round_trip_and_a_bad_one_leaves_no_trace() {
    let item = Arc::new(Field::new_list_field(DataType::Int64, true));
    let inner = vec![Field::new("n", DataType::Int64, false), Field::new("l", DataType::List(item), true)];
    let schema = Arc::new(Schema::new(vec![Field::new("s", DataType::Struct(inner.into()), true)]));
    let payloads: [&[u8]; 4] = [
        br#"{"s":{"n":1,"l":[1,null,3]}}"#,
        br#"{"s":{"n":2,"l":[4,5,"x"]}}"#,
        br#"{"s":null}"#,
        br#"{"s":{"n":3,"l":[]}}"#,
    ];
    let decoded = JsonFormat.decode(&payloads, &schema).unwrap();
    assert_eq!(decoded.rows, [0, 2, 3]);
    let structs: &StructArray = decoded.batch.column(0).as_struct();
    let lists: &ListArray = structs.column(1).as_list();
    assert_eq!(lists.value(0).as_primitive::<Int64Type>(), &Int64Array::from(vec![Some(1), None, Some(3)]));
    let again = JsonFormat.encode(&decoded.batch).unwrap();
    let expected: Vec<&[u8]> = decoded.rows.iter().map(|row| payloads[*row as usize]).collect();
    assert_eq!(again, expected);
}

#[test]
fn a_batch_without_columns_still_has_its_rows() {
    let decoded = decode(&[], &["{}", r#"{"a":1}"#, "no"]);
    assert_eq!((decoded.batch.num_rows(), decoded.bad.len()), (2, 1));
}

#[test]
fn reads_a_file_of_lines_with_the_place_after_each() {
    let mut reader = JsonLinesReader::new(schema_of([("a", "int")]).unwrap()).unwrap();
    reader.feed(b"{\"a\":1}\r\n\n{\"a\":oops}\n{\"a\":2}");
    reader.end();
    let rows = reader.next_batch(10).unwrap().unwrap();
    assert_eq!(rows.positions, [Position { byte: 9, line: 2 }, Position { byte: 28, line: 4 }]);
    assert_eq!((rows.bad[0].line, &rows.bad[0].raw[..]), (3, &b"{\"a\":oops}"[..]));
    assert!(reader.next_batch(10).unwrap().is_none());
}

fn lines_of(
    bytes: &[u8],
    chunk: usize,
    from: Position,
) -> (Vec<Position>, Vec<crate::BadRow>, Vec<RecordBatch>) {
    let schema = schema_of([("a", "int?")]).unwrap();
    let mut reader = JsonLinesReader::new(schema).unwrap().with_row_bytes_max(24);
    reader.seek(from);
    let (mut positions, mut bad, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    let mut take = |reader: &mut JsonLinesReader| {
        while let Some(rows) = reader.next_batch(2).unwrap() {
            positions.extend(rows.positions);
            bad.extend(rows.bad);
            batches.push(rows.batch);
        }
    };
    for piece in bytes[usize::try_from(from.byte).unwrap()..].chunks(chunk) {
        reader.feed(piece);
        take(&mut reader);
    }
    reader.end();
    take(&mut reader);
    (positions, bad, batches)
}

proptest! {
    #[test]
    fn every_batch_round_trips(batch in any_flat_batch()) {
        let payloads = JsonFormat.encode(&batch).unwrap();
        let payloads: Vec<&[u8]> = payloads.iter().map(AsRef::as_ref).collect();
        let decoded = JsonFormat.decode(&payloads, &batch.schema()).unwrap();
        prop_assert_eq!(&decoded.bad, &vec![]);
        prop_assert_eq!(decoded.batch, batch);
    }

    #[test]
    fn any_bytes_are_a_row_or_a_bad_record(payloads in proptest::collection::vec(
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "[{}\\[\\]\":,a0-9.eE+\\\\nul -]{0,30}".prop_map(String::into_bytes),
            "\\{\"a\":[0-9]{1,3}(,\"b\":\"[a-z]{0,3}\")?\\}".prop_map(String::into_bytes),
        ],
        0..12,
    )) {
        let schema = schema_of([("a", "int?"), ("b", "string?")]).unwrap();
        let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let together = JsonFormat.decode(&slices, &schema).unwrap();
        prop_assert_eq!(together.rows.len() + together.bad.len(), slices.len());
        prop_assert_eq!(together.rows.len(), together.batch.num_rows());
        // A record decodes the same alone as among bad ones.
        for (row, index) in together.rows.iter().enumerate() {
            let alone = JsonFormat.decode(&[slices[*index as usize]], &schema).unwrap();
            prop_assert_eq!(alone.batch, together.batch.slice(row, 1));
        }
    }

    #[test]
    fn lines_do_not_depend_on_chunks_and_go_on_from_any_place(
        text in "([{}\":a0-9é]{0,8}|\\{\"a\":[0-9]\\}|[a-z]{30})(\r?\n([{}\":a0-9]{0,8}|\\{\"a\":[0-9]\\}|[a-z]{30})){0,8}",
        chunk in 1_usize..20,
    ) {
        let whole = lines_of(text.as_bytes(), text.len().max(1), Position::START);
        let cut = lines_of(text.as_bytes(), chunk, Position::START);
        prop_assert_eq!(&whole.0, &cut.0);
        prop_assert_eq!(&whole.1, &cut.1);
        let rows: usize = whole.2.iter().map(RecordBatch::num_rows).sum();
        prop_assert_eq!(rows, whole.0.len());
        for (index, position) in whole.0.iter().enumerate() {
            let rest = lines_of(text.as_bytes(), chunk, *position);
            prop_assert_eq!(&rest.0[..], &whole.0[index + 1..]);
        }
    }
}

#[test]
fn what_json_cannot_hold_is_an_error_that_names_the_column() {
    let schema = Arc::new(Schema::new(vec![Field::new(
        "d",
        DataType::Duration(arrow::datatypes::TimeUnit::Second),
        true,
    )]));
    let error = JsonFormat.decode(&[], &schema).unwrap_err();
    assert!(error.to_string().contains("column 'd'"), "{error}");
}
