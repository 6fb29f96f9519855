//! Parquet files of several row groups, read from every row on, and files that are damaged.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::{ParquetReader, ParquetRows};
use crate::generate::any_flat_batch;
use crate::{Format as _, FormatError, JsonFormat, schema_of};

/// The bytes of a file with row groups of so many rows.
fn file_of(batch: &RecordBatch, group_rows: usize) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(group_rows))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn stored(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn open(bytes: &[u8], schema: Option<SchemaRef>, batch_rows: usize) -> Result<ParquetReader, FormatError> {
    ParquetReader::open(stored(bytes), schema, batch_rows)
}

fn rest(reader: &mut ParquetReader) -> Result<Vec<ParquetRows>, FormatError> {
    std::iter::from_fn(|| reader.next_batch().transpose()).collect()
}

fn lines(rows: &[ParquetRows]) -> Vec<Bytes> {
    rows.iter().flat_map(|rows| JsonFormat.encode(&rows.batch).unwrap()).collect()
}

fn json(rows: &[ParquetRows]) -> Vec<String> {
    lines(rows).into_iter().map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
}

fn people() -> RecordBatch {
    let tags = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(2)]),
        Some(vec![Some(3)]),
    ]);
    let fields: Fields = vec![Field::new("city", DataType::Utf8, true)].into();
    let cities: ArrayRef =
        Arc::new(StringArray::from(vec![Some("Bergen"), None, Some("Oslo"), Some("Å"), None]));
    let home = StructArray::new(fields, vec![cities], Some(vec![true, true, false, true, true].into()));
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int32Array::from(vec![1, 2, 300, 4, 5])) as ArrayRef, false),
        ("tags", Arc::new(tags), true),
        ("home", Arc::new(home), true),
        ("score", Arc::new(Float64Array::from(vec![Some(0.5), None, Some(2.0), Some(3.0), None])), true),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000, 2, 3, 4]).with_timezone("UTC")),
            false,
        ),
    ])
    .unwrap()
}

#[test]
fn nested_values_and_nulls_are_what_they_are_in_json() {
    let mut reader = open(&file_of(&people(), 2), None, 10).unwrap();
    assert_eq!(reader.rows(), 5);
    let rows = rest(&mut reader).unwrap();
    assert_eq!(
        json(&rows)[..3],
        [
            r#"{"id":1,"tags":[1,null],"home":{"city":"Bergen"},"score":0.5,"at":"1970-01-01T00:00:00Z"}"#,
            r#"{"id":2,"tags":null,"home":{"city":null},"score":null,"at":"1970-01-01T00:00:01.500Z"}"#,
            r#"{"id":300,"tags":[],"home":null,"score":2.0,"at":"1970-01-01T00:00:00.000002Z"}"#,
        ]
    );
    // No batch is of two row groups.
    assert_eq!(
        rows.iter().map(|rows| rows.positions.clone()).collect::<Vec<_>>(),
        [vec![1, 2], vec![3, 4], vec![5]]
    );
}

#[test]
fn declared_columns_are_taken_by_name_and_what_does_not_fit_is_a_bad_row() {
    let schema = schema_of([("at", "timestamp"), ("id", "int8"), ("score", "double")]).unwrap();
    let rows = rest(&mut open(&file_of(&people(), 3), Some(schema.clone()), 10).unwrap()).unwrap();
    assert_eq!(rows[0].batch.schema(), schema);
    assert_eq!(
        json(&rows),
        [
            r#"{"at":"1970-01-01T00:00:00Z","id":1,"score":0.5}"#,
            r#"{"at":"1970-01-01T00:00:00Z","id":4,"score":3.0}"#
        ]
    );
    assert_eq!((&rows[0].positions, &rows[1].positions, rows[1].resume), (&vec![1], &vec![4], 5));
    let bad: Vec<_> =
        rows.iter().flat_map(|rows| &rows.bad).map(|bad| (bad.position, bad.reason.as_str())).collect();
    assert_eq!(
        bad,
        [
            (2, "column 'score' may not be null"),
            (3, "column 'id': 300 is no int8"),
            (5, "column 'score' may not be null")
        ]
    );
    assert_eq!(rows[0].bad[1].raw, r#"{"id":300,"score":2.0,"at":"1970-01-01T00:00:00.000002Z"}"#);
    for (columns, expected) in [
        ([("score", "int?")], "column 'score' is double in the file, which does not become int"),
        ([("home", "string?")], "does not become string"),
        ([("name", "string?")], "column 'name' is not in the header: id,tags,home,score,at"),
    ] {
        let schema = schema_of(columns).unwrap();
        let error = open(&file_of(&people(), 3), Some(schema), 10).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn wide_rows_come_in_small_batches() {
    let texts: Vec<String> = (0..64).map(|row| format!("{row}").repeat(512 << 10)).collect();
    let batch = RecordBatch::try_from_iter([("a", Arc::new(StringArray::from(texts)) as ArrayRef)]).unwrap();
    let rows = rest(&mut open(&file_of(&batch, 100), None, 1_000).unwrap()).unwrap();
    assert!(rows.len() >= 4, "{} batches", rows.len());
    assert_eq!(concat_batches(&batch.schema(), rows.iter().map(|rows| &rows.batch)).unwrap(), batch);
}

#[test]
fn a_file_that_is_no_parquet_file_or_only_a_part_of_one_is_refused() {
    let bytes = file_of(&people(), 2);
    for length in [0, 3, 4, 8, 20, bytes.len() / 2, bytes.len() - 1] {
        let error = open(&bytes[..length], None, 10).err().unwrap();
        assert!(matches!(error, FormatError::Parquet { .. }), "{length}: {error}");
    }
    assert!(open(b"id,name\n1,a\n2,b\n", None, 10).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn reading_on_from_any_row_gives_the_rows_after_it(
        batch in any_flat_batch(),
        group_rows in 1..8usize,
        batch_rows in 1..8usize,
    ) {
        let bytes = file_of(&batch, group_rows);
        let total = batch.num_rows();
        for from in 0..=total {
            let mut reader = open(&bytes, None, batch_rows).unwrap();
            reader.seek(from as u64).unwrap();
            let rows = rest(&mut reader).unwrap();
            let positions: Vec<u64> = rows.iter().flat_map(|rows| rows.positions.clone()).collect();
            prop_assert_eq!(positions, (from as u64 + 1..=total as u64).collect::<Vec<_>>());
            prop_assert!(rows.iter().all(|rows| rows.batch.num_rows() <= batch_rows));
            let expected = JsonFormat.encode(&batch.slice(from, total - from)).unwrap();
            prop_assert_eq!(lines(&rows), expected);
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_or_other_rows_and_no_more(
        place in any::<prop::sample::Index>(),
        damage in prop::collection::vec(any::<u8>(), 1..6),
        from in 0..6u64,
    ) {
        let mut bytes = file_of(&people(), 2);
        let place = place.index(bytes.len());
        for (byte, damage) in bytes[place..].iter_mut().zip(damage) {
            *byte = damage;
        }
        if let Ok(mut reader) = open(&bytes, None, 10)
            && reader.seek(from).is_ok()
        {
            let _ = rest(&mut reader);
        }
    }

    #[test]
    fn integers_keep_their_value_in_every_integer_type_that_holds_it(numbers in prop::collection::vec(any::<i64>(), 1..20)) {
        let column: ArrayRef = Arc::new(Int64Array::from(numbers.clone()));
        let bytes = file_of(&RecordBatch::try_from_iter([("n", column)]).unwrap(), 7);
        let schema = schema_of([("n", "int16")]).unwrap();
        let rows = rest(&mut open(&bytes, Some(schema), 5).unwrap()).unwrap();
        let expected: Vec<String> = numbers.iter().filter(|n| i16::try_from(**n).is_ok()).map(|n| format!("{{\"n\":{n}}}")).collect();
        prop_assert_eq!(json(&rows), expected);
    }
}
