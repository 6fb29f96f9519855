//! Streaming answers against the batch answers of DataFusion over the same rows.
//!
//! Random tables are cut into random epochs and run through the operators; what a reader has at the end, the last row of
//! every key, must equal what DataFusion gives for the same query over the whole table, to the last bit.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use datafusion::prelude::SessionContext;
use ottla_formats::{Format, JsonFormat};
use ottla_streams::runtime::{EpochInput, EpochRunner, InputRecord, Machine};
use ottla_streams::state::changelog::{ChangelogRecord, Header, Offsets};
use ottla_streams::{Catalog, QueryPlan, plan};
use proptest::prelude::*;

/// Key, value, event time in seconds; nulls anywhere.
type Row = (Option<u8>, Option<i64>, Option<i64>);

const STREAM: &str = "CREATE STREAM s (k STRING, v INT, ts TIMESTAMP); ";

/// Queries as a stream runs them, and what they mean to a batch: windows are spelt out.
const QUERIES: [(&str, &str); 7] = [
    (
        "SELECT k, COUNT(*) AS c, COUNT(v) AS n, SUM(v) AS s, AVG(v) AS a, MIN(v) AS lo, MAX(v) AS hi FROM s GROUP BY k",
        "SELECT k, COUNT(*) AS c, COUNT(v) AS n, SUM(v) AS s, AVG(v) AS a, MIN(v) AS lo, MAX(v) AS hi FROM s GROUP BY k",
    ),
    (
        "SELECT k, window_start, window_end, COUNT(*) AS flights, COUNT(*) FILTER (WHERE v IS NULL) AS cancelled,
           COUNT(*) FILTER (WHERE v > 15) AS delayed, AVG(v) AS a, MAX(v) AS m
         FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY k, window_start, window_end",
        "SELECT k, date_bin(INTERVAL '1' MINUTE, ts) AS window_start,
           date_bin(INTERVAL '1' MINUTE, ts) + INTERVAL '1' MINUTE AS window_end, COUNT(*) AS flights,
           COUNT(*) FILTER (WHERE v IS NULL) AS cancelled, COUNT(*) FILTER (WHERE v > 15) AS delayed,
           AVG(v) AS a, MAX(v) AS m
         FROM s WHERE ts IS NOT NULL GROUP BY k, window_start, window_end",
    ),
    (
        "SELECT k, SUM(CASE WHEN v > 0 THEN 1 ELSE 0 END) AS up, COUNT(DISTINCT v) AS d FROM s WHERE v <> 7 GROUP BY k HAVING COUNT(DISTINCT v) > 1",
        "SELECT k, SUM(CASE WHEN v > 0 THEN 1 ELSE 0 END) AS up, COUNT(DISTINCT v) AS d FROM s WHERE v <> 7 GROUP BY k HAVING COUNT(DISTINCT v) > 1",
    ),
    (
        "SELECT k, AVG(v) AS a FROM s GROUP BY k HAVING AVG(v) BETWEEN -2 AND 2",
        "SELECT k, AVG(v) AS a FROM s GROUP BY k HAVING AVG(v) BETWEEN -2 AND 2",
    ),
    ("SELECT COUNT(*) AS c, SUM(v) AS s, MIN(k) AS lo FROM s", "SELECT COUNT(*) AS c, SUM(v) AS s, MIN(k) AS lo FROM s"),
    ("SELECT DISTINCT k, v % 3 AS r FROM s", "SELECT DISTINCT k, v % 3 AS r FROM s"),
    (
        "SELECT upper(k) AS u, median(v) AS m, bool_and(v > 0) AS b FROM s GROUP BY upper(k)",
        "SELECT upper(k) AS u, median(v) AS m, bool_and(v > 0) AS b FROM s GROUP BY upper(k)",
    ),
];

fn batch(plan_schema_of: &Catalog, rows: &[Row]) -> RecordBatch {
    let schema = Arc::clone(&plan_schema_of.get("s").unwrap().schema);
    let times: TimestampMillisecondArray =
        rows.iter().map(|(_, _, time)| time.map(|time| time * 1_000)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(key, _, _)| key.map(|key| format!("k{key}"))).collect::<StringArray>()),
        Arc::new(rows.iter().map(|(_, value, _)| *value).collect::<Int64Array>()),
        Arc::new(times.with_timezone("UTC")),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::new();
    for statement in ottla_streams::sql::parse(STREAM).unwrap() {
        if let ottla_streams::sql::Statement::CreateStream(create) = statement {
            catalog.declare(create).unwrap();
        }
    }
    catalog
}

/// Rows as text, to compare floats bit by bit: the shortest text that reads back is different for different doubles.
fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join(" | "));
        }
    }
    rows.sort();
    rows
}

fn batch_answer(catalog: &Catalog, query: &str, rows: &[Row]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let session = SessionContext::new();
        session.register_batch("s", batch(catalog, rows)).unwrap();
        shown(&session.sql(query).await.unwrap().collect().await.unwrap())
    })
}

/// Runs the rows through epochs of the given sizes, each applied to the state through its changelog bytes, and folds the
/// outputs as a reader of a compacted topic would.
fn stream_answer(plan: QueryPlan, records: &[Bytes], cuts: &[usize], twice: bool) -> Vec<String> {
    let plan = Arc::new(plan);
    let runner = EpochRunner::new("q", Arc::clone(&plan), "json").unwrap();
    let header = Header { query: "q".to_owned(), fingerprint: plan.state_fingerprint() };
    let mut machine = Machine::new(header, runner.stateful_operator());
    let mut table: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    let (mut from, mut offset, mut cuts) = (0, 0, cuts.iter().copied().cycle());
    while from < records.len() {
        let to = (from + cuts.next().unwrap_or(1).max(1)).min(records.len());
        let input = |number: usize| InputRecord {
            offset: number as i64,
            timestamp_ms: 0,
            key: None,
            value: Some(records[number].clone()),
            headers: Vec::new(),
        };
        let epoch = EpochInput::from([(0, (from..to).map(input).collect())]);
        let intent =
            Machine::intent_after(machine.committed(), Offsets::from([(0, to as i64)]), Vec::new(), 0, false);
        let mut outputs = runner.run(machine.committed(), machine.store(), &intent, &epoch).unwrap();
        if twice {
            let again = runner.run(machine.committed(), machine.store(), &intent, &epoch).unwrap();
            assert_eq!(format!("{again:?}"), format!("{outputs:?}"), "an epoch run again gives the same");
            outputs = again;
        }
        let mut changes = vec![ChangelogRecord::Intent(intent.clone())];
        changes.extend(machine.decide_commit(&intent, &outputs, &Offsets::new(), &Offsets::new()));
        for record in changes {
            let (key, value) = record.encode();
            machine.apply_bytes(offset, Some(&key), value.as_ref()).unwrap();
            offset += 1;
        }
        machine.invariants();
        for output in outputs.outputs {
            let key = output.record.key.unwrap();
            match output.record.value {
                Some(value) => table.insert(key, value),
                None => table.remove(&key),
            };
        }
        from = to;
    }
    let payloads: Vec<&[u8]> = table.values().map(|value| value.as_ref()).collect();
    let decoded = JsonFormat.decode(&payloads, &plan.output_schema).unwrap();
    assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
    shown(&[decoded.batch])
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        proptest::option::weighted(0.9, 0..4u8),
        proptest::option::weighted(
            0.8,
            prop_oneof![4 => -20..40i64, 1 => -1_000_000_000_000..1_000_000_000_000i64],
        ),
        proptest::option::weighted(0.95, -100..400i64),
    );
    proptest::collection::vec(row, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_cut_into_epochs_gives_the_batch_answer(rows in rows(), cuts in proptest::collection::vec(1..30usize, 1..6)) {
        let catalog = catalog();
        let records = JsonFormat.encode(&batch(&catalog, &rows)).unwrap();
        for (query, batch_query) in QUERIES {
            let expected = batch_answer(&catalog, batch_query, &rows);
            let plan = plan(query, &catalog).unwrap();
            prop_assert_eq!(stream_answer(plan, &records, &cuts, true), expected, "{}", query);
        }
    }
}

#[test]
fn averages_and_extremes_ignore_nulls_and_are_null_without_values() {
    let catalog = catalog();
    let rows: Vec<Row> = vec![
        (Some(1), None, Some(0)),
        (Some(1), None, Some(5)),
        (Some(2), Some(5), Some(0)),
        (Some(2), None, Some(0)),
        (Some(2), Some(2), Some(0)),
    ];
    let records = JsonFormat.encode(&batch(&catalog, &rows)).unwrap();
    let plan = plan(QUERIES[1].0, &catalog).unwrap();
    assert_eq!(
        stream_answer(plan, &records, &[2], false),
        [
            "k1 | 1970-01-01T00:00:00Z | 1970-01-01T00:01:00Z | 2 | 2 | 0 | ∅ | ∅",
            "k2 | 1970-01-01T00:00:00Z | 1970-01-01T00:01:00Z | 3 | 1 | 0 | 3.5 | 5",
        ]
    );
}

#[test]
fn a_new_group_without_values_stays_null_beside_one_that_has_some() {
    let catalog = catalog();
    let rows: Vec<Row> =
        vec![(Some(2), Some(0), Some(300)), (Some(1), None, Some(0)), (Some(2), None, Some(300))];
    let records = JsonFormat.encode(&batch(&catalog, &rows)).unwrap();
    let plan = plan("SELECT k, MIN(v) AS lo, MAX(v) AS hi, SUM(v) AS s FROM s GROUP BY k", &catalog).unwrap();
    assert_eq!(stream_answer(plan, &records, &[1, 2], false), ["k1 | ∅ | ∅ | ∅", "k2 | 0 | 0 | 0"]);
}
