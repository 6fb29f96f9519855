//! The PostgreSQL source and sink against a real PostgreSQL, on their own and as whole tasks over a cluster in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_client::Record;
use ottla_formats::{Format as _, JsonFormat, schema_of};
use serde_json::{Map, Value, json};

use super::config::{PostgresSinkConfig, PostgresSourceConfig};
use super::test_server::{TestDatabase, database};
use crate::connector::{
    ConsumedOffset, Operation, Rows, Sink, SinkBatch, SinkContext, Source, SourceBatch, SourceContext,
    SourceOffset,
};
use crate::error::ConnectorError;
use crate::registry::{CheckConfig as _, ConnectorKind, SinkConfig as _, SourceConfig as _, connector_type};
use crate::worker::memory_cluster::{MemoryCluster, Storage};
use crate::worker::{OnError, SinkTask, SinkTaskConfig, SourceTask, SourceTaskConfig, TransactionBoundary};

fn config(database: &TestDatabase, more: Value) -> Value {
    let mut config = json!({"url": database.url(), "table": "t"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn source(
    database: &TestDatabase,
    more: Value,
    columns: Option<&[(&str, &str)]>,
    offset: Option<SourceOffset>,
) -> Result<Box<dyn Source>, ConnectorError> {
    let config: PostgresSourceConfig = serde_json::from_value(config(database, more)).unwrap();
    assert_eq!(config.check(), []);
    let schema = columns.map(|columns| schema_of(columns.iter().copied()).unwrap());
    config.open(SourceContext { name: "db".to_owned(), schema, offset })
}

fn lines(batch: &SourceBatch) -> Vec<String> {
    let Rows::Arrow(rows) = &batch.rows else { panic!("rows without columns") };
    let values = JsonFormat.encode(rows).unwrap();
    values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

async fn drain(source: &mut dyn Source) -> (Vec<String>, Option<SourceOffset>) {
    let (mut all, mut resume, mut last) = (Vec::new(), None, 0);
    while let Some(batch) = source.poll().await.unwrap() {
        assert!(batch.positions.iter().all(|position| *position > last), "{:?}", batch.positions);
        last = batch.resume.position;
        all.extend(lines(&batch));
        resume = Some(batch.resume);
    }
    (all, resume)
}

async fn refused(source: Result<Box<dyn Source>, ConnectorError>) -> ConnectorError {
    match source {
        Ok(mut source) => source.poll().await.unwrap_err(),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_table_is_read_with_its_types_and_read_on_from_an_offset() {
    let Some(database) = database().await else { return };
    database
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, big bigint, yes boolean, x double precision, price numeric(8,2), free numeric,
                 name text, raw bytea, at timestamptz, local timestamp, day date, tag uuid, doc jsonb);
             INSERT INTO t VALUES
                 (1, 9007199254740993, true, 0.1, 12.50, 1e30, 'ä\"', '\\x00ff', '2013-01-01 11:00:00.123456+01',
                  '2013-01-01 10:00:00', '2013-01-02', '00000000-0000-0000-0000-000000000001', '{\"a\": [1]}');
             INSERT INTO t (id) VALUES (5), (3);",
        )
        .await;
    let (all, resume) = drain(&mut *source(&database, json!({"batch_size": 2}), None, None).unwrap()).await;
    let full = json!({
        "id": 1, "big": 9_007_199_254_740_993_i64, "yes": true, "x": 0.1, "price": "12.50",
        "free": "1000000000000000000000000000000", "name": "ä\"", "raw": "AP8=",
        "at": "2013-01-01T10:00:00.123456Z", "local": "2013-01-01T10:00:00Z", "day": "2013-01-02",
        "tag": "00000000-0000-0000-0000-000000000001", "doc": "{\"a\": [1]}",
    });
    assert_eq!(serde_json::from_str::<Value>(&all[0]).unwrap(), full);
    let id = |line: &String| serde_json::from_str::<Value>(line).unwrap()["id"].clone();
    assert_eq!(all.iter().map(id).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!(resume, Some(SourceOffset { position: 5, state: Map::new() }));
    // Some columns as other types, from the middle.
    let columns = [("id", "string"), ("at", "timestamp?")];
    let offset = Some(SourceOffset { position: 1, state: Map::new() });
    let (rest, _) = drain(&mut *source(&database, json!({}), Some(&columns), offset).unwrap()).await;
    assert_eq!(rest, [r#"{"id":"3","at":null}"#, r#"{"id":"5","at":null}"#]);
    let (first, _) = drain(&mut *source(&database, json!({}), Some(&columns), None).unwrap()).await;
    assert_eq!(first[0], r#"{"id":"1","at":"2013-01-01T10:00:00.123Z"}"#);
}

#[tokio::test]
async fn a_row_whose_transaction_commits_late_is_not_left_out() {
    let Some(database) = database().await else { return };
    database.run("CREATE TABLE t (id serial PRIMARY KEY, n int); INSERT INTO t (n) VALUES (1)").await;
    let options = json!({"poll_interval_ms": 1});
    let mut following = source(&database, options, Some(&[("n", "int")]), None).unwrap();
    assert_eq!(lines(&following.poll().await.unwrap().unwrap()), [r#"{"n":1}"#]);
    let slow = database.client().await;
    slow.batch_execute("BEGIN; INSERT INTO t (n) VALUES (2)").await.unwrap();
    database.run("INSERT INTO t (n) VALUES (3)").await;
    // The row after it is there, and waits for it.
    let waiting = tokio::time::timeout(Duration::from_millis(100), following.poll()).await;
    assert!(waiting.is_err());
    slow.batch_execute("COMMIT").await.unwrap();
    let mut read = Vec::new();
    while read.len() < 2 {
        read.extend(lines(&following.poll().await.unwrap().unwrap()));
    }
    assert_eq!(read, [r#"{"n":2}"#, r#"{"n":3}"#]);
    // One that is rolled back holds nothing up for ever.
    slow.batch_execute("BEGIN; INSERT INTO t (n) VALUES (4)").await.unwrap();
    database.run("INSERT INTO t (n) VALUES (5)").await;
    slow.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(lines(&following.poll().await.unwrap().unwrap()), [r#"{"n":5}"#]);
}

#[tokio::test]
async fn rows_that_change_come_again_in_the_order_of_their_times() {
    let Some(database) = database().await else { return };
    database
        .run(
            "CREATE TABLE t (id bigint PRIMARY KEY, n int, at timestamptz);
             INSERT INTO t SELECT i, i, '2013-01-01'::timestamptz + (i / 3) * interval '1 second' FROM generate_series(1, 7) i;
             INSERT INTO t VALUES (99, 99, NULL)",
        )
        .await;
    let options = json!({"timestamp_column": "at", "delay_ms": 0, "batch_size": 2});
    let columns = Some(&[("n", "int")][..]);
    let (all, resume) = drain(&mut *source(&database, options.clone(), columns, None).unwrap()).await;
    let numbers = |numbers: &[i32]| numbers.iter().map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>();
    assert_eq!(all, numbers(&[1, 2, 3, 4, 5, 6, 7]));
    let (rest, same) =
        drain(&mut *source(&database, options.clone(), columns, resume.clone()).unwrap()).await;
    assert_eq!((rest.len(), same), (0, None));
    database.run("UPDATE t SET n = -n, at = '2013-01-02' WHERE id IN (2, 5)").await;
    database.run("INSERT INTO t VALUES (1000, 8, '2013-01-02')").await;
    let (rest, resume) = drain(&mut *source(&database, options.clone(), columns, resume).unwrap()).await;
    assert_eq!(rest, numbers(&[-2, -5, 8]));
    // What is too young waits.
    database.run("INSERT INTO t VALUES (1001, 9, now() + interval '1 hour')").await;
    let mut following = options;
    following["poll_interval_ms"] = json!(1);
    let mut following = source(&database, following, columns, resume.clone()).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), following.poll()).await.is_err());
    let error = refused(source(&database, json!({}), columns, resume)).await;
    assert!(error.to_string().contains("in another order"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_way_out() {
    let Some(database) = database().await else { return };
    database
        .run("CREATE TABLE t (id int, n int, at timestamptz); INSERT INTO t VALUES (1, 0), (2, 7), (3, 7)")
        .await;
    for (more, columns, told) in [
        (json!({"table": "none"}), None, "there is no such table; make the table"),
        (json!({"column": "idd"}), None, "there is no column 'idd'; there are: id, n, at"),
        (json!({"column": "at"}), None, "is of type timestamptz"),
        (json!({"timestamp_column": "n"}), None, "is of type int4"),
        (json!({}), Some(&[("x", "int")][..]), "there is no column 'x'"),
        (json!({"column": "n"}), None, "numbers must begin at 1"),
    ] {
        let error = refused(source(&database, more, columns, None)).await;
        assert!(!error.retriable && error.to_string().contains(told), "{error}");
    }
    database.run("UPDATE t SET n = 7 WHERE id = 1").await;
    let error = refused(source(&database, json!({"column": "n", "batch_size": 1}), None, None)).await;
    assert!(error.to_string().contains("two rows have the number 7"), "{error}");
    let config: PostgresSourceConfig =
        serde_json::from_value(json!({"url": "host=/nowhere user=a", "table": "t"})).unwrap();
    let context = SourceContext { name: "db".to_owned(), schema: None, offset: None };
    let error = config.open(context).unwrap().poll().await.unwrap_err();
    assert!(error.retriable, "a database that is away may come back: {error}");
}

#[test]
fn what_is_wrong_with_a_config_is_told_by_field_and_secrets_are_not_shown() {
    let sink = connector_type(ConnectorKind::Sink, "postgres").unwrap();
    for (config, beginning) in [
        (json!({"url": "mysql://a/b", "table": "t"}), "url: is no PostgreSQL URL"),
        (json!({"url": "postgres://u:secret@a/b", "table": "t"}), "url: must hold no password"),
        (json!({"url": "dbname=b", "table": "t"}), "url: must name a host"),
        (json!({"url": "postgres://a/b", "table": "t", "ca_file": "/x"}), "url: has no sslmode=require"),
        (json!({"url": "postgres://a/b", "table": ""}), "table: must be a name"),
        (json!({"url": "postgres://a/b", "table": "_ottla_offsets"}), "table: names that start"),
        (json!({"url": "postgres://a/b", "table": "t", "mode": "upsert"}), "primary_key: upsert needs"),
        (json!({"url": "postgres://a/b", "table": "t", "mode": "merge"}), "mode: unknown variant"),
    ] {
        let found: Vec<String> = sink.validate(&config).iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|message| message.starts_with(beginning)), "{beginning}: {found:?}");
        assert!(found.iter().all(|message| !message.contains("secret")), "{found:?}");
    }
    let config: PostgresSourceConfig = serde_json::from_value(
        json!({"url": "postgres://a:1/b", "table": "t", "username": "u", "password": "hunter2"}),
    )
    .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.partition().0["database"], "a:1/b");
}

const COLUMNS: [(&str, &str); 8] = [
    ("k", "string"),
    ("at", "timestamp"),
    ("n", "int?"),
    ("x", "double?"),
    ("ok", "boolean?"),
    ("price", "decimal(6,2)?"),
    ("raw", "bytes?"),
    ("day", "date?"),
];

fn sink(database: &TestDatabase, more: Value) -> Result<Box<dyn Sink>, ConnectorError> {
    let config: PostgresSinkConfig = serde_json::from_value(config(database, more)).unwrap();
    assert_eq!(config.check(), []);
    config.open(SinkContext { name: "db".to_owned(), schema: Some(schema_of(COLUMNS).unwrap()) })
}

/// What a sink has committed, when the one before it is gone: the server needs a moment to see that.
async fn opened(sink: &mut dyn Sink) -> Vec<ConsumedOffset> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match sink.committed().await {
            Ok(committed) => return committed,
            Err(error) => {
                assert!(error.to_string().contains("another task") && Instant::now() < deadline, "{error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn upsert() -> Value {
    json!({"mode": "upsert", "primary_key": ["k", "at"]})
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

fn row(k: &str, n: i32) -> String {
    format!("{{\"k\":\"{k}\",\"at\":0,\"n\":{n}}}")
}

#[tokio::test]
async fn rows_have_postgresqls_types_and_are_replaced_and_deleted_by_key() {
    let Some(database) = database().await else { return };
    let mut sink = sink(&database, upsert()).unwrap();
    assert_eq!(sink.committed().await.unwrap(), []);
    assert_eq!(sink.key_columns(), ["k", "at"]);
    let full = r#"{"k":"ä'\\","at":"2013-01-01T10:00:00.250Z","n":5,"x":1.5,"ok":true,"price":"12.50","raw":"AP8=","day":"2013-01-02"}"#;
    let [gone, empty] = [row("gone", 1), row("empty", 0)];
    sink.write(batch(Operation::Write, &[full, &gone, &empty, &row("gone", 2)])).await.unwrap();
    sink.write(batch(Operation::Write, &[&row("empty", 7)])).await.unwrap();
    sink.write(batch(Operation::Delete, &[r#"{"k":"gone","at":0}"#])).await.unwrap();
    sink.commit(&[offset("id", 0, 6)]).await.unwrap();
    assert_eq!(
        database.query("SELECT to_jsonb(t)::text FROM t ORDER BY k").await,
        [
            r#"{"k": "empty", "n": 7, "x": null, "at": "1970-01-01T00:00:00+00:00", "ok": null, "day": null, "raw": null, "price": null}"#,
            r#"{"k": "ä'\\", "n": 5, "x": 1.5, "at": "2013-01-01T10:00:00.25+00:00", "ok": true, "day": "2013-01-02", "raw": "\\x00ff", "price": 12.50}"#,
        ]
    );
}

#[tokio::test]
async fn rows_and_offsets_are_there_together_or_not_at_all_and_one_task_writes_at_a_time() {
    let Some(database) = database().await else { return };
    let mut first = sink(&database, upsert()).unwrap();
    first.committed().await.unwrap();
    first.write(batch(Operation::Write, &[&row("a", 1)])).await.unwrap();
    let mut second = sink(&database, upsert()).unwrap();
    let error = second.committed().await.unwrap_err();
    assert!(error.retriable && error.to_string().contains("another task"), "{error}");
    drop(first);
    let committed = opened(&mut *second).await;
    assert_eq!(committed, []);
    assert_eq!(database.query("SELECT k FROM t").await.len(), 0);
    second.write(batch(Operation::Write, &[&row("a", 1)])).await.unwrap();
    second.commit(&[offset("id", 0, 1), offset("id", 1, 0)]).await.unwrap();
    second.commit(&[offset("id", 1, 4)]).await.unwrap();
    let mut committed = opened(&mut *second).await;
    committed.sort();
    assert_eq!(committed, [offset("id", 0, 1), offset("id", 1, 4)]);
    assert_eq!(database.query("SELECT k FROM t").await, ["a"]);
}

#[tokio::test]
async fn a_row_that_the_table_refuses_is_found_and_the_others_are_in() {
    let Some(database) = database().await else { return };
    database
        .run(
            "CREATE TABLE t (k text, at timestamptz, n smallint CHECK (n <> 13), x real, ok boolean, price numeric, raw bytea,
                 day date, PRIMARY KEY (k, at) DEFERRABLE);
             CREATE TABLE u (LIKE t INCLUDING ALL, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED);
             CREATE TABLE v (LIKE t, PRIMARY KEY (k, at), CHECK (n <> 13));",
        )
        .await;
    let mut insert = sink(&database, json!({"table": "u"})).unwrap();
    insert.committed().await.unwrap();
    let rows: Vec<String> =
        [1, 2, 13, 3, 2, 100_000, 4].iter().zip(0..).map(|(n, k)| row(&format!("k{k}"), *n)).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let rejected = insert.write(batch(Operation::Write, &rows)).await.unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [2, 4, 5], "{rejected:?}");
    assert!(rejected[0].reason.contains("check constraint"), "{rejected:?}");
    assert!(rejected[1].reason.contains("duplicate key"), "{rejected:?}");
    insert.commit(&[]).await.unwrap();
    assert_eq!(database.query("SELECT n::text FROM u ORDER BY n").await, ["1", "2", "3", "4"]);
    // A later row with the same key that is refused leaves the one before.
    let mut more = upsert();
    more["table"] = json!("v");
    let mut upserting = sink(&database, more).unwrap();
    drop(insert);
    opened(&mut *upserting).await;
    let rows = [row("a", 1), row("a", 2), row("b", 5), row("a", 13)];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let rejected = upserting.write(batch(Operation::Write, &rows)).await.unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [3]);
    upserting.commit(&[]).await.unwrap();
    assert_eq!(database.query("SELECT k || n FROM v ORDER BY k").await, ["a2", "b5"]);
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_told_with_a_way_out() {
    let Some(database) = database().await else { return };
    database.run("CREATE TABLE t (k text)").await;
    let error = sink(&database, upsert()).unwrap().committed().await.unwrap_err().to_string();
    assert!(error.contains("\"at\"") && error.contains("give the table this column"), "{error}");
    let error = sink(&database, json!({"mode": "upsert", "primary_key": ["kk"]})).err().unwrap().to_string();
    assert!(error.contains("there is no column 'kk'; there are: k, at"), "{error}");
    database
        .run("DROP TABLE t; CREATE ROLE somebody LOGIN; GRANT CONNECT ON DATABASE postgres TO somebody")
        .await;
    let config = config(&database, json!({"username": "somebody", "table": "t"}));
    let config: PostgresSinkConfig = serde_json::from_value(config).unwrap();
    let context = SinkContext { name: "other".to_owned(), schema: Some(schema_of(COLUMNS).unwrap()) };
    let error = config.open(context).unwrap().committed().await.unwrap_err().to_string();
    assert!(error.contains("permission denied") && error.contains("grant the user"), "{error}");
}

#[tokio::test]
async fn a_server_is_trusted_by_its_certificate_and_no_other() {
    let Some(database) = database().await else { return };
    database.run("CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await;
    let read = async |host: &str, ca_file: Option<std::path::PathBuf>| {
        let more = json!({"url": database.tls_url(host), "ca_file": ca_file});
        let config: PostgresSourceConfig = serde_json::from_value(config(&database, more)).unwrap();
        assert_eq!(config.check(), []);
        let context = SourceContext { name: "db".to_owned(), schema: None, offset: None };
        config.open(context).unwrap().poll().await
    };
    let batch = read("localhost", Some(database.certificate())).await.unwrap().unwrap();
    assert_eq!(lines(&batch), [r#"{"id":1}"#]);
    let error = read("localhost", None).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let error = read("127.0.0.1", Some(database.certificate())).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let error = read("localhost", Some("/nowhere".into())).await.unwrap_err();
    assert!(!error.retriable && error.to_string().starts_with("reading `ca_file`: /nowhere"), "{error}");
}

/// Runs a task in a process of its own (a runtime) until it ends, or its cluster dies after so many calls: what it has open
/// is gone with it.
async fn run_sink(database: &TestDatabase, storage: &Storage, calls: Option<usize>) {
    let options = config(database, json!({"mode": "upsert", "primary_key": ["k"]}));
    let config = SinkTaskConfig {
        schema: Some(schema_of([("k", "string"), ("n", "int")]).unwrap()),
        on_error: OnError::DeadLetter { topic: "dlq".to_owned() },
        ..SinkTaskConfig::new("db", "postgres", options, "t")
    };
    let cluster = MemoryCluster::new(storage, calls);
    let fuse = cluster.fuse();
    let process = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let handle = SinkTask::start_on(Arc::new(cluster), config).unwrap();
            handle.finish();
            tokio::select! {
                outcome = handle.wait() => drop(outcome.unwrap()),
                () = fuse.died() => {}
            }
        });
    };
    tokio::task::spawn_blocking(process).await.unwrap();
}

#[tokio::test]
async fn a_sink_that_dies_anywhere_takes_each_record_once() {
    let Some(database) = database().await else { return };
    database.run("CREATE TABLE log (k text, n int)").await;
    // Every write of the table is counted.
    database
        .run(
            "CREATE TABLE t (k text PRIMARY KEY, n bigint NOT NULL);
             CREATE FUNCTION note() RETURNS trigger AS $$ BEGIN INSERT INTO log VALUES (NEW.k, NEW.n); RETURN NEW; END $$ LANGUAGE plpgsql;
             CREATE TRIGGER noting AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();",
        )
        .await;
    let storage = Storage::default();
    storage.create("t", 2);
    let mut expected = BTreeMap::new();
    for number in 0..30 {
        let key = format!("k{number}");
        let value =
            if number % 7 == 3 { "oops".to_owned() } else { json!({"k": key, "n": number}).to_string() };
        if number % 7 != 3 {
            expected.insert(key.clone(), number);
        }
        storage.append("t", number % 2, Record::new(key, value));
    }
    for calls in [3, 8, 9, 10, 12, 15, 7, 11] {
        run_sink(&database, &storage, Some(calls)).await;
    }
    run_sink(&database, &storage, None).await;
    let found = database.query("SELECT n || ' ' || k FROM log ORDER BY n").await;
    assert_eq!(
        found,
        expected
            .iter()
            .map(|(k, n)| (n, format!("{n} {k}")))
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect::<Vec<_>>()
    );
    assert_eq!(storage.values("dlq").len(), 4);
}

#[tokio::test]
async fn a_source_that_dies_anywhere_writes_each_row_once() {
    let Some(database) = database().await else { return };
    database
        .run("CREATE TABLE t (id serial PRIMARY KEY, n int, at timestamptz DEFAULT '2013-01-01'); INSERT INTO t (n) SELECT generate_series(1, 20)")
        .await;
    for more in [json!({}), json!({"timestamp_column": "at", "delay_ms": 0})] {
        for calls in (5..50).step_by(5) {
            let storage = Storage::default();
            for calls in [Some(calls), Some(calls / 2 + 4), None] {
                let cluster = MemoryCluster::new(&storage, calls);
                let fuse = cluster.fuse();
                let mut options = more.clone();
                options["batch_size"] = json!(3);
                let config = SourceTaskConfig {
                    schema: Some(schema_of([("n", "int")]).unwrap()),
                    transaction_boundary: TransactionBoundary::Poll,
                    ..SourceTaskConfig::new("db", "postgres", config(&database, options), "t")
                };
                let handle = SourceTask::start_on(Arc::new(cluster), config).unwrap();
                tokio::select! {
                    outcome = handle.wait() => drop(outcome.unwrap()),
                    () = fuse.died() => {}
                }
            }
            let mut expected: Vec<String> = (1..=20).map(|n| format!("{{\"n\":{n}}}")).collect();
            expected.sort();
            assert_eq!(storage.values("t"), expected, "{more} after {calls} calls");
        }
    }
}
