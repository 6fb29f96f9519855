//! The SQLite source and the SQLite sink on their own, without a cluster.

use std::path::Path;

use ottla_formats::{Format as _, JsonFormat, schema_of};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::config::{SqliteSinkConfig, SqliteSourceConfig};
use crate::connector::{
    ConsumedOffset, Operation, Rows, Sink, SinkBatch, SinkContext, Source, SourceBatch, SourceContext,
    SourceOffset,
};
use crate::error::ConnectorError;
use crate::registry::{SinkConfig as _, SourceConfig as _};

const COLUMNS: [(&str, &str); 7] = [
    ("origin", "string"),
    ("at", "timestamp"),
    ("n", "int?"),
    ("avg", "double?"),
    ("ok", "boolean?"),
    ("price", "decimal(6,2)?"),
    ("raw", "bytes?"),
];

fn open(path: &Path, options: Value) -> Result<Box<dyn Sink>, ConnectorError> {
    let mut config = json!({"path": path, "table": "t"});
    config.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let config: SqliteSinkConfig = serde_json::from_value(config).unwrap();
    config.open(SinkContext { name: "db".to_owned(), schema: Some(schema_of(COLUMNS).unwrap()) })
}

fn upsert() -> Value {
    json!({"mode": "upsert", "primary_key": ["origin", "at"]})
}

fn batch(operation: Operation, rows: &[&str]) -> SinkBatch {
    let schema = match operation {
        Operation::Write => schema_of(COLUMNS).unwrap(),
        Operation::Delete => schema_of([COLUMNS[0], COLUMNS[1]]).unwrap(),
    };
    let payloads: Vec<&[u8]> = rows.iter().map(|row| row.as_bytes()).collect();
    let decoded = JsonFormat.decode(&payloads, &schema).unwrap();
    assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
    SinkBatch::new(operation, Rows::Arrow(decoded.batch))
}

fn offset(topic_id: &str, partition: i32, next_offset: i64) -> ConsumedOffset {
    ConsumedOffset { topic_id: topic_id.to_owned(), topic: "t".to_owned(), partition, next_offset }
}

/// The rows of a query, each as SQLite's own JSON array.
fn query(path: &Path, sql: &str) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

const ALL: &str = "SELECT json_array(origin, at, n, avg, ok, price, hex(raw)) FROM t ORDER BY origin, at";

#[tokio::test]
async fn rows_have_sqlites_types_and_are_replaced_and_deleted_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.db");
    let mut sink = open(&path, upsert()).unwrap();
    assert_eq!(sink.key_columns(), ["origin", "at"]);
    let full = r#"{"origin":"JFK","at":"2013-01-01T10:00:00Z","n":5,"avg":1.5,"ok":true,"price":"12.50","raw":"AQI="}"#;
    let empty = r#"{"origin":"LGA","at":"2013-01-01T10:00:00.250Z"}"#;
    let gone = r#"{"origin":"EWR","at":"2013-01-01T10:00:00Z"}"#;
    sink.write(batch(Operation::Write, &[full, empty, gone])).await.unwrap();
    sink.commit(&[offset("id", 0, 3)]).await.unwrap();
    assert_eq!(
        query(&path, ALL),
        [
            r#"["EWR","2013-01-01T10:00:00Z",null,null,null,null,""]"#,
            r#"["JFK","2013-01-01T10:00:00Z",5,1.5,1,"12.50","0102"]"#,
            r#"["LGA","2013-01-01T10:00:00.250Z",null,null,null,null,""]"#,
        ]
    );
    sink.write(batch(Operation::Write, &[&full.replace("\"n\":5", "\"n\":6")])).await.unwrap();
    sink.write(batch(Operation::Delete, &[gone, empty])).await.unwrap();
    sink.commit(&[offset("id", 0, 6)]).await.unwrap();
    assert_eq!(query(&path, ALL), [r#"["JFK","2013-01-01T10:00:00Z",6,1.5,1,"12.50","0102"]"#]);
}

#[tokio::test]
async fn rows_and_offsets_are_there_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.db");
    let row = r#"{"origin":"JFK","at":"2013-01-01T10:00:00Z"}"#;
    let mut sink = open(&path, upsert()).unwrap();
    sink.write(batch(Operation::Write, &[row])).await.unwrap();
    drop(sink);
    let mut sink = open(&path, upsert()).unwrap();
    assert_eq!(sink.committed().await.unwrap(), []);
    assert_eq!(query(&path, ALL).len(), 0);
    sink.write(batch(Operation::Write, &[row])).await.unwrap();
    sink.commit(&[offset("id", 0, 1), offset("id", 1, 0)]).await.unwrap();
    sink.commit(&[offset("id", 1, 4)]).await.unwrap();
    drop(sink);
    let mut sink = open(&path, upsert()).unwrap();
    assert_eq!(sink.committed().await.unwrap(), [offset("id", 0, 1), offset("id", 1, 4)]);
    assert_eq!(query(&path, ALL).len(), 1);
}

#[tokio::test]
async fn a_row_that_breaks_a_constraint_is_rejected_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.db");
    let mut sink = open(&path, json!({"mode": "insert", "primary_key": ["origin"]})).unwrap();
    assert!(sink.key_columns().is_empty());
    let row = |origin: &str| format!("{{\"origin\":\"{origin}\",\"at\":0}}");
    let rejected = sink.write(batch(Operation::Write, &[&row("a"), &row("a"), &row("b")])).await.unwrap();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].row, 1);
    assert!(rejected[0].reason.contains("UNIQUE constraint failed: t.origin"), "{rejected:?}");
    sink.commit(&[]).await.unwrap();
    assert_eq!(query(&path, ALL).len(), 2);
}

#[test]
fn what_is_wrong_with_the_database_is_told_with_place_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path, options: Value| open(path, options).err().unwrap().to_string();

    let missing = folder.path().join("no/out.db");
    let text = error(&missing, upsert());
    assert!(text.starts_with(&format!("opening {}: the folder ", missing.display())), "{text}");
    assert!(text.ends_with("create it or set `path` to another place"), "{text}");

    let no_database = folder.path().join("text.db");
    std::fs::write(&no_database, "this is a text, and long enough to be taken for no database header at all")
        .unwrap();
    let text = error(&no_database, upsert());
    assert!(text.contains("is no SQLite database: set `path` to another file"), "{text}");

    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let text = error(&other, upsert());
    assert!(text.contains("choose another table or drop this one"), "{text}");

    let text = error(&folder.path().join("out.db"), json!({"mode": "upsert", "primary_key": ["orign"]}));
    assert!(text.contains("there is no column 'orign'; there are: origin, at, n"), "{text}");
}

#[tokio::test]
async fn another_programs_lock_is_an_error_that_may_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.db");
    let mut sink = open(&path, json!({"busy_timeout_ms": 1})).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let rows = batch(Operation::Write, &[r#"{"origin":"a","at":0}"#]);
    let error = sink.write(rows.clone()).await.unwrap_err();
    assert!(error.retriable, "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    sink.write(rows).await.unwrap();
    sink.commit(&[]).await.unwrap();
    assert_eq!(query(&path, ALL).len(), 1);
}

fn source(
    path: &Path,
    options: Value,
    columns: Option<&[(&str, &str)]>,
    offset: Option<SourceOffset>,
) -> Result<Box<dyn Source>, ConnectorError> {
    let mut config = json!({"path": path, "table": "t", "batch_size": 2});
    config.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let config: SqliteSourceConfig = serde_json::from_value(config).unwrap();
    let schema = columns.map(|columns| schema_of(columns.iter().copied()).unwrap());
    config.open(SourceContext { name: "db".to_owned(), schema, offset })
}

fn run_sql(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Positions and values of a batch.
fn lines(batch: &SourceBatch) -> Vec<(u64, String)> {
    let Rows::Arrow(rows) = &batch.rows else { panic!("rows without columns") };
    let values = JsonFormat.encode(rows).unwrap();
    let text = |value: &bytes::Bytes| String::from_utf8(value.to_vec()).unwrap();
    batch.positions.iter().copied().zip(values.iter().map(text)).collect()
}

async fn drain(source: &mut dyn Source) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    while let Some(batch) = source.poll().await.unwrap() {
        all.extend(lines(&batch));
    }
    all
}

#[tokio::test]
async fn a_table_is_read_in_order_and_read_on_from_an_offset() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    run_sql(
        &path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, paid BOOLEAN NOT NULL, sum REAL);
         INSERT INTO t VALUES (7, 'g', 1, 2.5), (1, 'a', 0, NULL), (3, NULL, 1, 4), (9, 'i', 0, 1e3);",
    );
    let all = drain(&mut *source(&path, json!({}), None, None).unwrap()).await;
    assert_eq!(
        all,
        [
            (1, r#"{"id":1,"name":"a","paid":false,"sum":null}"#),
            (3, r#"{"id":3,"name":null,"paid":true,"sum":4.0}"#),
            (7, r#"{"id":7,"name":"g","paid":true,"sum":2.5}"#),
            (9, r#"{"id":9,"name":"i","paid":false,"sum":1000.0}"#),
        ]
        .map(|(position, line)| (position, line.to_owned()))
    );
    // Some columns, from the middle.
    let offset = SourceOffset { position: 3, state: serde_json::Map::new() };
    let mut rest = source(&path, json!({"column": "id"}), Some(&[("name", "string")]), Some(offset)).unwrap();
    assert_eq!(rest.progress().map(|progress| (progress.position, progress.total)), Some((3, 9)));
    assert_eq!(drain(&mut *rest).await.len(), 2);
}

#[tokio::test]
async fn a_source_that_follows_sees_rows_that_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    run_sql(&path, "CREATE TABLE t (a INT); INSERT INTO t VALUES (1);");
    let mut following = source(&path, json!({"poll_interval_ms": 1}), None, None).unwrap();
    assert_eq!(lines(&following.poll().await.unwrap().unwrap()).len(), 1);
    run_sql(&path, "INSERT INTO t VALUES (2);");
    assert_eq!(lines(&following.poll().await.unwrap().unwrap()), [(2, r#"{"a":2}"#.to_owned())]);
    assert!(following.progress().is_none());
}

#[tokio::test]
async fn a_row_that_does_not_fit_comes_out_beside_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    run_sql(&path, "CREATE TABLE t (a INT, b); INSERT INTO t VALUES (1, 'x'), ('no', 'y'), (3, x'ff');");
    let mut mixed = source(&path, json!({"batch_size": 9}), None, None).unwrap();
    let batch = mixed.poll().await.unwrap().unwrap();
    assert_eq!(lines(&batch), [(1, r#"{"a":1,"b":"x"}"#.to_owned())]);
    let bad: Vec<(u64, &str)> = batch.bad.iter().map(|bad| (bad.position, &*bad.reason)).collect();
    assert_eq!(bad[1], (3, "column 'b': the bytes are no text"));
    assert!(bad[0].0 == 2 && bad[0].1.contains('a'), "{bad:?}");
    assert_eq!(batch.resume.position, 3);
}

#[tokio::test]
async fn what_cannot_be_read_in_order_is_refused_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let refused = |options, columns| source(&path, options, columns, None).err().unwrap().to_string();
    assert!(refused(json!({}), None).contains("set `path`"));
    run_sql(&path, "CREATE TABLE t (a INT, b INT); INSERT INTO t VALUES (0, 5), (2, 5), (3, 5);");
    assert!(refused(json!({"table": "none"}), None).contains("no such table"));
    assert!(refused(json!({}), Some(&[("c", "int")][..])).contains("there are: a, b"));
    assert!(refused(json!({"column": "a"}), None).contains("numbers must begin at 1"));
    assert!(refused(json!({"column": "c"}), None).contains("set `column`"));
    let mut twice = source(&path, json!({"column": "b"}), None, None).unwrap();
    assert!(twice.poll().await.unwrap_err().to_string().contains("two rows have the number 5"));
}
