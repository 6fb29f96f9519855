//! What CSV must hold: round trip, no panic, chunks that never show, and reading on from any place.

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

use super::{CsvFormat, CsvOptions, CsvReader};
use crate::generate::any_flat_batch;
use crate::{BadRow, Format, FormatError, Position, schema_of};

struct Read {
    rows: Vec<RecordBatch>,
    positions: Vec<Position>,
    bad: Vec<BadRow>,
    resume: Vec<Position>,
}

impl Read {
    fn text(&self) -> Vec<Vec<Option<String>>> {
        let mut rows = Vec::new();
        for batch in &self.rows {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| {
                    let column = column.as_string::<i32>();
                    column.iter().nth(row).flatten().map(str::to_owned)
                });
                rows.push(cells.collect());
            }
        }
        rows
    }
}

fn try_read(
    mut reader: CsvReader,
    bytes: &[u8],
    chunk: usize,
    from: Option<Position>,
) -> Result<Read, FormatError> {
    let mut read = Read { rows: vec![], positions: vec![], bad: vec![], resume: vec![] };
    let mut take = |reader: &mut CsvReader| {
        while let Some(rows) = reader.next_batch(3)? {
            read.rows.push(rows.batch);
            read.positions.extend(rows.positions);
            read.bad.extend(rows.bad);
            read.resume.push(rows.resume);
        }
        Ok::<(), FormatError>(())
    };
    let mut start = 0;
    if let Some(position) = from {
        reader.feed(bytes);
        assert!(reader.read_header()?);
        reader.seek(position);
        start = usize::try_from(position.byte).unwrap();
    }
    for piece in bytes[start..].chunks(chunk.max(1)) {
        reader.feed(piece);
        take(&mut reader)?;
    }
    reader.end();
    take(&mut reader)?;
    Ok(read)
}

fn read(text: &str) -> Read {
    let reader = CsvReader::new(CsvOptions::default(), None).unwrap();
    try_read(reader, text.as_bytes(), text.len(), None).unwrap()
}

fn some(cells: &[&str]) -> Vec<Option<String>> {
    cells.iter().map(|cell| Some((*cell).to_owned())).collect()
}

#[test]
fn reads_quotes_line_ends_and_a_byte_order_mark() {
    let read = read("\u{feff}a,b\r\n1,\"two\r\nlines\"\r\n\r\n3,\"say \"\"four\"\"\"\n5,6");
    assert_eq!(read.text(), [some(&["1", "two\r\nlines"]), some(&["3", "say \"four\""]), some(&["5", "6"])]);
    assert!(read.bad.is_empty());
    let lines: Vec<u64> = read.positions.iter().map(|position| position.line).collect();
    assert_eq!(lines, [4, 6, 6]);
}

#[test]
fn types_columns_by_header_name_and_reads_null_tokens() {
    let schema = schema_of([("delay", "int?"), ("time", "timestamp"), ("origin", "string?")]).unwrap();
    let options = CsvOptions { null_values: vec!["NA".to_owned()], ..CsvOptions::default() };
    let reader = CsvReader::new(options, Some(schema)).unwrap();
    let text = "origin,other,time,delay\nJFK,x,2013-01-01T10:00:00Z,-4\n,y,2013-01-01 10:00,NA\n\"NA\",z,2013-01-01,\n";
    let read = try_read(reader, text.as_bytes(), 7, None).unwrap();
    assert!(read.bad.is_empty(), "{:?}", read.bad);
    let batch = concat_batches(&read.rows[0].schema(), &read.rows).unwrap();
    assert_eq!(
        batch.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [Some(-4), None, None]
    );
    let origins: Vec<_> = batch.column(2).as_string::<i32>().iter().collect();
    assert_eq!(origins, [Some("JFK"), Some(""), Some("NA")]);
}

#[test]
fn a_bad_row_comes_out_with_its_bytes_line_and_reason_and_the_next_row_is_read() {
    let schema = schema_of([("a", "int"), ("b", "string")]).unwrap();
    let reader = CsvReader::new(CsvOptions::default(), Some(schema)).unwrap();
    let text = b"a,b\n1,x\n2\n3,x,y\nfour,x\n,x\n\"5\"5,x\n6,\xff\n7,y\n8,\"open\n9,z\n";
    let read = try_read(reader, text, 5, None).unwrap();
    let reasons: Vec<String> = read.bad.iter().map(|bad| format!("{}: {}", bad.line, bad.reason)).collect();
    assert_eq!(
        reasons,
        [
            "3: expected 2 fields, found 1",
            "4: expected 2 fields, found 3",
            "5: column 'a': 'four' is not of type int",
            "6: column 'a' may not be null",
            "7: text after a closing quote at byte 3 of the row: '5,x'",
            "8: not UTF-8 from byte 2 of the row on",
            "10: a quote opens here and never closes",
        ]
    );
    assert_eq!(&read.bad[5].raw[..], b"6,\xff");
    let batch = concat_batches(&read.rows[0].schema(), &read.rows).unwrap();
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 7, 9]);
}

#[test]
fn a_row_over_the_limit_is_bad_and_cut_at_the_limit() {
    let reader = CsvReader::new(CsvOptions::default(), None).unwrap().with_row_bytes_max(8);
    let read = try_read(reader, b"a,b\n0123456789,1\n2,3\n", 4, None).unwrap();
    assert_eq!(read.bad[0].reason, "the row is longer than 8 bytes");
    assert_eq!(read.text(), [some(&["89", "1"]), some(&["2", "3"])]);
}

#[test]
fn the_header_must_name_every_wanted_column_once() {
    let error = |text: &str| {
        let schema = schema_of([("b", "int")]).unwrap();
        let reader = CsvReader::new(CsvOptions::default(), Some(schema)).unwrap();
        try_read(reader, text.as_bytes(), 3, None).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(error("a,c\n1,2\n"), "column 'b' is not in the header: 'a,c'");
    assert_eq!(error("b,b\n1,2\n"), "column 'b' is in the header more than once");
    assert!(error("").contains("header"), "{}", error(""));
    assert!(error("\"b\n").contains("never closes"));
}

#[test]
fn an_option_that_makes_no_sense_is_named() {
    let options = CsvOptions { delimiter: b'"', ..CsvOptions::default() };
    assert!(CsvFormat::new(options).unwrap_err().to_string().starts_with("delimiter:"));
    let options = CsvOptions { header: false, ..CsvOptions::default() };
    assert!(CsvReader::new(options, None).map(|_| ()).unwrap_err().to_string().contains("schema"));
}

/// A file with everything in it that can go wrong, mostly three fields wide.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        4 => "[a-z0-9]{0,4}".prop_map(String::into_bytes),
        2 => "\"[a-z,\n\r]{0,5}(\"\"[a-z]{0,2})?\"".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..5),
        1 => "\"[a-z]{0,3}".prop_map(String::into_bytes),
    ];
    let row = proptest::collection::vec(field, 1..5).prop_map(|fields| fields.join(&b','));
    (
        proptest::collection::vec(row, 0..8),
        prop_oneof![Just("\n"), Just("\r\n")],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(rows, line_end, last, mark)| {
            let mut file = if mark { b"\xEF\xBB\xBFx,y,z".to_vec() } else { b"x,y,z".to_vec() };
            for row in rows {
                file.extend_from_slice(line_end.as_bytes());
                file.extend_from_slice(&row);
            }
            if last {
                file.extend_from_slice(line_end.as_bytes());
            }
            file
        })
}

proptest! {
    #[test]
    fn every_batch_round_trips(batch in any_flat_batch(), delimiter in prop_oneof![Just(b','), Just(b';'), Just(b'\t')]) {
        let options = CsvOptions { delimiter, header: false, null_values: vec!["NA".to_owned()] };
        let format = CsvFormat::new(options).unwrap();
        let payloads = format.encode(&batch).unwrap();
        let payloads: Vec<&[u8]> = payloads.iter().map(AsRef::as_ref).collect();
        let decoded = format.decode(&payloads, &batch.schema()).unwrap();
        prop_assert_eq!(&decoded.bad, &vec![]);
        prop_assert_eq!(decoded.batch, batch);
    }

    #[test]
    fn a_written_file_reads_back(batch in any_flat_batch()) {
        let options = CsvOptions { header: false, ..CsvOptions::default() };
        let payloads = CsvFormat::new(options.clone()).unwrap().encode(&batch).unwrap();
        let mut file = Vec::new();
        let mut blank = 0;
        for payload in &payloads {
            // A null alone on its line is a blank line, and blank lines are no rows.
            blank += usize::from(payload.is_empty());
            file.extend_from_slice(payload);
            file.push(b'\n');
        }
        prop_assume!(blank == 0);
        let reader = CsvReader::new(options, Some(batch.schema())).unwrap();
        let read = try_read(reader, &file, 11, None).unwrap();
        prop_assert_eq!(&read.bad, &vec![]);
        prop_assert_eq!(concat_batches(&batch.schema(), &read.rows).unwrap(), batch);
    }

    #[test]
    fn any_bytes_are_a_row_or_a_bad_record(payloads in proptest::collection::vec(
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..30), "[0-9]{1,2},[a-z]{0,3}".prop_map(String::into_bytes)],
        0..10,
    )) {
        let schema = schema_of([("a", "int?"), ("b", "string?")]).unwrap();
        let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let decoded = CsvFormat::default().decode(&slices, &schema).unwrap();
        prop_assert_eq!(decoded.rows.len() + decoded.bad.len(), slices.len());
        prop_assert_eq!(decoded.rows.len(), decoded.batch.num_rows());
    }

    #[test]
    fn the_answer_does_not_depend_on_where_the_chunks_are_cut(file in any_file(), chunk in 1_usize..40, limit in 12_usize..60) {
        let reader = || CsvReader::new(CsvOptions::default(), None).unwrap().with_row_bytes_max(limit);
        let whole = try_read(reader(), &file, file.len(), None).unwrap();
        let cut = try_read(reader(), &file, chunk, None).unwrap();
        prop_assert_eq!(whole.text(), cut.text());
        prop_assert_eq!(&whole.positions, &cut.positions);
        prop_assert_eq!(&whole.bad, &cut.bad);
        prop_assert_eq!(whole.positions.len(), whole.text().len());
    }

    #[test]
    fn reading_on_from_any_place_gives_exactly_the_rest(file in any_file(), chunk in 1_usize..40) {
        let reader = || CsvReader::new(CsvOptions::default(), None).unwrap().with_row_bytes_max(30);
        let whole = try_read(reader(), &file, file.len(), None).unwrap();
        let places = whole.positions.iter().copied().chain(whole.bad.iter().map(|bad| bad.position));
        for place in places.chain(whole.resume.iter().copied()) {
            let rest = try_read(reader(), &file, chunk, Some(place)).unwrap();
            let before = whole.positions.iter().filter(|position| **position <= place).count();
            prop_assert_eq!(&rest.positions[..], &whole.positions[before..]);
            prop_assert_eq!(&rest.text()[..], &whole.text()[before..]);
            let bad: Vec<_> = whole.bad.iter().filter(|bad| bad.position > place).cloned().collect();
            prop_assert_eq!(&rest.bad, &bad);
        }
    }
}
