//! Whole tasks against a cluster that dies: wherever that is, each record arrives once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla_client::Record;
use ottla_formats::schema_of;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::memory_cluster::{MemoryCluster, Storage, header};
use super::{
    OnError, SinkTask, SinkTaskConfig, SourceTask, SourceTaskConfig, TaskState, TaskStatus,
    TransactionBoundary,
};
use crate::error::ConnectError;

/// Runs a task in a process of its own (a runtime) that ends with the task, or by the cluster dying after `calls` calls.
fn run<F>(storage: &Storage, calls: Option<usize>, start: F) -> Option<Result<TaskStatus, ConnectError>>
where
    F: FnOnce(MemoryCluster) -> Result<super::TaskHandle, ConnectError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let cluster = MemoryCluster::new(storage, calls);
    let fuse = cluster.fuse();
    runtime.block_on(async move {
        let handle = match start(cluster) {
            Ok(handle) => handle,
            Err(error) => return Some(Err(error)),
        };
        tokio::select! {
            outcome = handle.wait() => Some(outcome),
            () = fuse.died() => None,
        }
    })
}

fn source_config(path: &Path) -> SourceTaskConfig {
    let config = json!({"path": path, "format": "csv", "batch_size": 3});
    SourceTaskConfig {
        key: Some("k".to_owned()),
        schema: Some(schema_of([("k", "string?"), ("n", "int")]).unwrap()),
        on_error: OnError::DeadLetter { topic: "dlq".to_owned() },
        // So that commits fall between batches too.
        transaction_boundary: TransactionBoundary::Interval(Duration::from_micros(50)),
        ..SourceTaskConfig::new("csv", "file", config, "t")
    }
}

fn run_source(
    storage: &Storage,
    calls: Option<usize>,
    path: &Path,
) -> Option<Result<TaskStatus, ConnectError>> {
    run(storage, calls, |cluster| SourceTask::start_on(Arc::new(cluster), source_config(path)))
}

/// A CSV file of so many rows, every seventh of them bad, and what should come of it.
fn csv_file(rows: u32) -> (tempfile::NamedTempFile, Vec<String>, Vec<String>) {
    let mut text = "k,n\n".to_owned();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for row in 0..rows {
        if row % 7 == 6 {
            text.push_str(&format!("x,no{row}\n"));
            bad.push(format!("x,no{row}"));
        } else {
            let key = if row % 3 == 0 { String::new() } else { format!("k{}", row % 5) };
            text.push_str(&format!("{key},{row}\n"));
            let key = if key.is_empty() { Value::Null } else { Value::from(key) };
            good.push(format!("{{\"k\":{key},\"n\":{row}}}"));
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    good.sort();
    bad.sort();
    (file, good, bad)
}

#[test]
fn a_file_becomes_records_and_dead_letters_and_the_task_is_done() {
    let storage = Storage::default();
    let (file, good, bad) = csv_file(20);
    let status = run_source(&storage, None, file.path()).unwrap().unwrap();
    assert_eq!(storage.values("t"), good);
    assert_eq!(storage.values("dlq"), bad);
    assert_eq!(status.state, TaskState::Done);
    assert_eq!((status.records_in, status.records_out, status.records_bad), (20, 18, 2));
    assert_eq!(Some(status.position), status.position_end);
    let letter = &storage.records("dlq")[0];
    assert_eq!(header(&letter.headers, "ottla.errors.line").as_deref(), Some("8"));
    assert_eq!(
        header(&letter.headers, "__connect.errors.exception.message").as_deref(),
        Some("column 'n': 'no6' is not of type int")
    );
    // A second run finds nothing left to do.
    let status = run_source(&storage, None, file.path()).unwrap().unwrap();
    assert_eq!(status.records_in, 0);
    assert_eq!(storage.values("t"), good);
}

#[test]
fn a_file_that_has_grown_is_read_on_and_one_that_was_replaced_is_refused() {
    let storage = Storage::default();
    let (file, mut good, _) = csv_file(5);
    run_source(&storage, None, file.path()).unwrap().unwrap();
    let mut text = std::fs::read_to_string(file.path()).unwrap();
    text.push_str("k9,9\n");
    std::fs::write(file.path(), &text).unwrap();
    run_source(&storage, None, file.path()).unwrap().unwrap();
    good.push("{\"k\":\"k9\",\"n\":9}".to_owned());
    good.sort();
    assert_eq!(storage.values("t"), good);

    std::fs::write(file.path(), text.replace("k9,9", "k8,8")).unwrap();
    let error = run_source(&storage, None, file.path()).unwrap().unwrap_err().to_string();
    assert!(error.contains("was replaced") && error.contains("rename the source"), "{error}");
    std::fs::write(file.path(), "k,n\n").unwrap();
    let error = run_source(&storage, None, file.path()).unwrap().unwrap_err().to_string();
    assert!(error.contains("was shortened"), "{error}");
}

#[test]
fn a_topic_made_anew_is_filled_anew() {
    let storage = Storage::default();
    let (file, good, bad) = csv_file(20);
    run_source(&storage, None, file.path()).unwrap().unwrap();
    storage.recreate("t");
    run_source(&storage, None, file.path()).unwrap().unwrap();
    assert_eq!(storage.values("t"), good);
    // The old letters are still there, and are written again with the records.
    assert_eq!(storage.values("dlq").len(), 2 * bad.len());
}

#[test]
fn what_is_wrong_with_a_source_is_told_with_place_and_remedy() {
    let storage = Storage::default();
    let error = run_source(&storage, None, Path::new("/no/such/file.csv")).unwrap().unwrap_err().to_string();
    assert!(error.starts_with("connector 'csv': opening /no/such/file.csv: "), "{error}");
    assert!(error.ends_with("create the file or set `path` to one that exists"), "{error}");

    let (file, _, _) = csv_file(20);
    let stop = |cluster| {
        let config = SourceTaskConfig { on_error: OnError::Stop, ..source_config(file.path()) };
        SourceTask::start_on(Arc::new(cluster), config)
    };
    let error = run(&storage, None, stop).unwrap().unwrap_err().to_string();
    assert!(error.starts_with("connector 'csv': line 8: column 'n': 'no6'"), "{error}");

    let wrong = |cluster: MemoryCluster| {
        SourceTask::start_on(Arc::new(cluster), SourceTaskConfig::new("s", "fiel", json!({}), "t"))
    };
    let error = run(&storage, None, wrong).unwrap().unwrap_err().to_string();
    assert!(error.contains("did you mean 'file'?"), "{error}");
}

fn sink_config(path: &Path) -> SinkTaskConfig {
    let config = json!({"path": path, "table": "t", "mode": "upsert", "primary_key": ["k"]});
    SinkTaskConfig {
        schema: Some(schema_of([("k", "string"), ("n", "int")]).unwrap()),
        on_error: OnError::DeadLetter { topic: "dlq".to_owned() },
        ..SinkTaskConfig::new("db", "sqlite", config, "t")
    }
}

fn run_sink(
    storage: &Storage,
    calls: Option<usize>,
    config: SinkTaskConfig,
) -> Option<Result<TaskStatus, ConnectError>> {
    run(storage, calls, |cluster| {
        let handle = SinkTask::start_on(Arc::new(cluster), config)?;
        handle.finish();
        Ok(handle)
    })
}

fn table(path: &Path) -> Vec<(String, i64)> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT k, n FROM t ORDER BY k").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Upserts, deletes and bad records in two partitions; keys stay in their partition.
fn fill(storage: &Storage, records: u32) -> (std::collections::BTreeMap<String, i64>, Vec<String>) {
    storage.create("t", 2);
    let (mut rows, mut bad) = (std::collections::BTreeMap::new(), Vec::new());
    for number in 0..records {
        let key = format!("k{}", number % 6);
        let partition = i32::try_from(number % 2).unwrap();
        let record = match number % 5 {
            3 => {
                bad.push(format!("oops {number}"));
                Record::new(key, format!("oops {number}"))
            }
            4 => {
                rows.remove(&key);
                Record { key: Some(key.into()), ..Record::default() }
            }
            _ => {
                rows.insert(key.clone(), i64::from(number));
                Record::new(key.clone(), format!("{{\"k\":\"{key}\",\"n\":{number}}}"))
            }
        };
        storage.append("t", partition, record);
    }
    bad.sort();
    (rows, bad)
}

#[test]
fn a_topic_becomes_a_table_with_deletes_and_dead_letters() {
    let storage = Storage::default();
    let (rows, bad) = fill(&storage, 33);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.db");
    let status = run_sink(&storage, None, sink_config(&path)).unwrap().unwrap();
    assert_eq!(table(&path), rows.clone().into_iter().collect::<Vec<_>>());
    assert_eq!(storage.values("dlq"), bad);
    assert_eq!((status.records_in, status.records_bad), (33, bad.len() as u64));
    assert_eq!((status.position, status.position_end), (33, Some(33)));
    let letter = &storage.records("dlq")[0];
    assert_eq!(header(&letter.headers, "__connect.errors.topic").as_deref(), Some("t"));
    assert_eq!(header(&letter.headers, "__connect.errors.offset").as_deref(), Some("1"));

    // Nothing is taken twice, and a fresh topic of the same name starts over into the same rows.
    let status = run_sink(&storage, None, sink_config(&path)).unwrap().unwrap();
    assert_eq!(status.records_in, 0);
    let fresh = Storage::default();
    fresh.create("t", 2);
    fresh.recreate("t");
    fill(&fresh, 33);
    let status = run_sink(&fresh, None, sink_config(&path)).unwrap().unwrap();
    assert_eq!(status.records_in, 33);
    assert_eq!(table(&path), rows.into_iter().collect::<Vec<_>>());
}

#[test]
fn a_topic_becomes_objects_with_each_record_once_although_the_sink_dies() {
    let storage = Storage::default();
    fill(&storage, 60);
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let config = || SinkTaskConfig {
        schema: Some(schema_of([("k", "string"), ("n", "int")]).unwrap()),
        on_error: OnError::DeadLetter { topic: "dlq".to_owned() },
        ..SinkTaskConfig::new("lake", "s3", json!({"url": url, "format": "json_lines", "flush_rows": 7}), "t")
    };
    // It dies at a later call each time; what it has not written it reads again.
    for calls in 1..12 {
        run_sink(&storage, Some(calls), config());
    }
    run_sink(&storage, None, config()).unwrap().unwrap();
    let mut found = Vec::new();
    for partition in ["partition=0", "partition=1"] {
        for object in std::fs::read_dir(folder.path().join("t").join(partition)).unwrap() {
            let text = std::fs::read_to_string(object.unwrap().path()).unwrap();
            let numbers =
                text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_i64().unwrap());
            found.extend(numbers);
        }
    }
    found.sort_unstable();
    let is_good = |number: &i64| ![3, 4].contains(&(number % 5));
    assert_eq!(found, (0..60).filter(is_good).collect::<Vec<_>>());
    // Deletes too: there is no key that they could delete by.
    let letters = storage.records("dlq").len();
    assert_eq!(letters, 60 - found.len());
}

#[test]
fn a_bad_record_stops_a_sink_whose_policy_is_to_stop_and_nothing_of_its_batch_stays() {
    let storage = Storage::default();
    fill(&storage, 4);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.db");
    let config = SinkTaskConfig { on_error: OnError::Stop, ..sink_config(&path) };
    let error = run_sink(&storage, None, config).unwrap().unwrap_err().to_string();
    assert!(error.starts_with("connector 'db': t-1@1: "), "{error}");
    assert_eq!(table(&path), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_source_that_dies_anywhere_writes_each_record_once(
        rows in 0_u32..40,
        deaths in proptest::collection::vec(0_usize..90, 0..5),
    ) {
        let storage = Storage::default();
        let (file, good, bad) = csv_file(rows);
        for calls in deaths {
            if let Some(outcome) = run_source(&storage, Some(calls), file.path()) {
                outcome.unwrap();
            }
        }
        run_source(&storage, None, file.path()).unwrap().unwrap();
        prop_assert_eq!(storage.values("t"), good);
        prop_assert_eq!(storage.values("dlq"), bad);
    }

    #[test]
    fn a_sink_that_dies_anywhere_takes_each_record_once(
        records in 0_u32..40,
        deaths in proptest::collection::vec(0_usize..60, 0..5),
    ) {
        let storage = Storage::default();
        let (rows, bad) = fill(&storage, records);
        let folder = tempfile::tempdir().unwrap();
        let (path, lines) = (folder.path().join("out.db"), folder.path().join("out.jsonl"));
        let mut to_file = SinkTaskConfig::new("lines", "file", json!({"path": lines}), "t");
        let mut files = Vec::new();
        for calls in deaths.into_iter().map(Some).chain([None]) {
            if let Some(outcome) = run_sink(&storage, calls, sink_config(&path)) {
                outcome.unwrap();
            }
            let config = SinkTaskConfig {
                schema: Some(schema_of([("k", "string"), ("n", "int")]).unwrap()),
                on_error: OnError::DeadLetter { topic: "lines.dlq".to_owned() },
                ..to_file
            };
            if let Some(outcome) = run_sink(&storage, calls, config) {
                outcome.unwrap();
            }
            to_file = SinkTaskConfig::new("lines", "file", json!({"path": lines}), "t");
            files = std::fs::read_to_string(&lines).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default();
        }
        prop_assert_eq!(table(&path), rows.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(storage.values("dlq"), bad);
        files.sort();
        let mut written: Vec<String> = storage.values("t").into_iter().filter(|value| value.starts_with('{')).collect();
        written.sort();
        prop_assert_eq!(files, written);
    }
}
