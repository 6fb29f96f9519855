//! The SQLite sink on its own, without a cluster.

use std::path::Path;

use ottla_formats::{Format as _, JsonFormat, schema_of};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::config::SqliteSinkConfig;
use crate::connector::{ConsumedOffset, Operation, Rows, Sink, SinkBatch, SinkContext};
use crate::error::ConnectorError;
use crate::registry::SinkConfig as _;

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
    SinkBatch { operation, rows: Rows::Arrow(decoded.batch) }
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
