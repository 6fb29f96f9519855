//! Objects in a folder: each record in one of them, whatever is killed when, and what a bucket answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use ottla_formats::parquet::read_parquet;
use ottla_formats::{Format as _, JsonFormat, schema_of};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::config::S3SinkConfig;
use crate::connector::{ConsumedOffset, Operation, Rows, Sink, SinkBatch, SinkContext};
use crate::error::ConnectorError;
use crate::registry::{CheckConfig as _, SinkConfig as _};

const COLUMNS: [(&str, &str); 2] = [("partition", "int"), ("offset", "int")];

fn config(mut settings: Value, folder: &Path) -> S3SinkConfig {
    settings["url"] = json!(format!("file://{}", folder.display()));
    let config: S3SinkConfig = serde_json::from_value(settings).unwrap();
    assert!(config.check().is_empty(), "{:?}", config.check());
    config
}

fn open(config: &S3SinkConfig, has_schema: bool) -> Result<Box<dyn Sink>, ConnectorError> {
    let schema = has_schema.then(|| schema_of(COLUMNS).unwrap());
    config.open_for(SinkContext { name: "lake/1".to_owned(), schema }, "visits")
}

fn batch(partition: i32, offsets: std::ops::Range<i64>, is_raw: bool) -> SinkBatch {
    let row = |offset: i64| Bytes::from(json!({ "partition": partition, "offset": offset }).to_string());
    let values: Vec<Bytes> = offsets.map(row).collect();
    let rows = match is_raw {
        true => Rows::Raw(values),
        false => {
            let slices: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
            Rows::Arrow(JsonFormat.decode(&slices, &schema_of(COLUMNS).unwrap()).unwrap().batch)
        }
    };
    SinkBatch::new(Operation::Write, rows)
}

fn consumed(next: &BTreeMap<i32, i64>) -> Vec<ConsumedOffset> {
    let one = |(partition, next_offset): (&i32, &i64)| ConsumedOffset {
        topic_id: "an-id".to_owned(),
        topic: "visits".to_owned(),
        partition: *partition,
        next_offset: *next_offset,
    };
    next.iter().map(one).collect()
}

/// The files below a folder, in order, with the rows that are in them as JSON.
fn objects(folder: &Path) -> Vec<(PathBuf, Vec<Value>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("visits")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = Bytes::from(fs::read(&path).unwrap());
            let lines = match path.extension().and_then(|suffix| suffix.to_str()) {
                Some("parquet") => {
                    let batches = read_parquet(bytes, 1000).unwrap();
                    batches.iter().flat_map(|batch| JsonFormat.encode(batch).unwrap()).collect()
                }
                _ => bytes.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect::<Vec<_>>(),
            };
            let lines = lines.iter().filter(|line| !line.is_empty());
            let rows: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
            found.push((path, rows));
        }
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

/// What becomes of the sink after a commit.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Lives,
    /// What it had in memory is gone.
    Killed,
    /// It was killed between its objects and their offsets.
    KilledBeforeOffsets,
}

fn any_step() -> impl Strategy<Value = (Vec<(i32, i64)>, Fate)> {
    let fate =
        prop_oneof![6 => Just(Fate::Lives), 2 => Just(Fate::Killed), 2 => Just(Fate::KilledBeforeOffsets)];
    (prop::collection::vec((0..3i32, 1..20i64), 1..4), fate)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_record_is_in_one_object_although_the_sink_is_killed(
        steps in prop::collection::vec(any_step(), 1..25),
        flush_rows in 1..60usize,
        kind in 0..3_usize,
    ) {
        let (format, is_raw): (&str, bool) = [("parquet", false), ("json_lines", false), ("json_lines", true)][kind];
        let dir = tempfile::tempdir().unwrap();
        let config = config(json!({ "format": format, "flush_rows": flush_rows }), dir.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let offsets_file = dir.path().join("_ottla/lake%2F1/visits.json");
        // What the topic has had at most: what was read once can be read again.
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        runtime.block_on(async {
            let mut sink = open(&config, !is_raw).unwrap();
            sink.committed().await.unwrap();
            let mut next: BTreeMap<i32, i64> = BTreeMap::new();
            for (reads, fate) in steps {
                let before = fs::read(&offsets_file).ok();
                for (partition, count) in reads {
                    let from = next.get(&partition).copied().unwrap_or(0);
                    let rejected = sink.write_partition(partition, batch(partition, from..from + count, is_raw)).await.unwrap();
                    prop_assert_eq!(rejected, vec![]);
                    next.insert(partition, from + count);
                    let end = ends.entry(partition).or_default();
                    *end = (*end).max(from + count);
                }
                sink.commit(&consumed(&next)).await.unwrap();
                if matches!(fate, Fate::KilledBeforeOffsets) {
                    match before {
                        Some(before) => fs::write(&offsets_file, before).unwrap(),
                        None => drop(fs::remove_file(&offsets_file)),
                    }
                }
                if !matches!(fate, Fate::Lives) {
                    sink = open(&config, !is_raw).unwrap();
                    let committed = sink.committed().await.unwrap();
                    next = committed.into_iter().map(|offset| (offset.partition, offset.next_offset)).collect();
                }
            }
            for (partition, end) in &ends {
                let from = next.get(partition).copied().unwrap_or(0);
                sink.write_partition(*partition, batch(*partition, from..*end, is_raw)).await.unwrap();
            }
            sink.commit(&consumed(&ends)).await.unwrap();
            sink.flush().await.unwrap();
            Ok(())
        })?;
        let mut found: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for (path, rows) in objects(dir.path()) {
            let first = rows[0]["offset"].as_i64().unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            prop_assert!(name.contains(&format!("+{first:020}.")), "{} begins with {}", name, first);
            for row in rows {
                let partition = i32::try_from(row["partition"].as_i64().unwrap()).unwrap();
                found.entry(partition).or_default().push(row["offset"].as_i64().unwrap());
            }
        }
        let expected: BTreeMap<i32, Vec<i64>> = ends.iter().map(|(partition, end)| (*partition, (0..*end).collect())).collect();
        prop_assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn objects_are_written_when_there_is_enough_and_when_it_has_waited() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(json!({ "flush_rows": 10, "flush_ms": 50 }), dir.path());
    let mut sink = open(&config, true).unwrap();
    assert_eq!(sink.committed().await.unwrap(), []);
    let mut next = BTreeMap::from([(0, 7)]);
    sink.commit(&consumed(&next)).await.unwrap();
    sink.write_partition(0, batch(0, 7..10, false)).await.unwrap();
    next.insert(0, 10);
    assert!(!sink.is_due() || objects(dir.path()).is_empty());
    while !sink.is_due() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sink.commit(&consumed(&next)).await.unwrap();
    assert!(!sink.is_due());
    sink.write_partition(0, batch(0, 10..20, false)).await.unwrap();
    next.insert(0, 20);
    sink.commit(&consumed(&next)).await.unwrap();
    let written = objects(dir.path());
    let names: Vec<&str> =
        written.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["visits+0+00000000000000000007.parquet", "visits+0+00000000000000000010.parquet"]);
    assert_eq!(written[1].1.len(), 10);
    assert!(written[0].0.parent().unwrap().ends_with("visits/partition=0"));
    assert_eq!(open(&config, true).unwrap().committed().await.unwrap(), consumed(&next));
}

#[tokio::test]
async fn values_that_are_no_json_are_refused_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(json!({ "format": "json_lines" }), dir.path());
    let mut sink = open(&config, false).unwrap();
    sink.committed().await.unwrap();
    let values =
        ["{\"offset\":\n 1}", "no", "{\"offset\": 2}"].map(|text| Bytes::from_static(text.as_bytes()));
    let rows = SinkBatch::new(Operation::Write, Rows::Raw(values.to_vec()));
    let rejected = sink.write_partition(1, rows).await.unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1]);
    sink.flush().await.unwrap();
    let rows: Vec<Value> = objects(dir.path()).remove(0).1;
    assert_eq!(rows, [json!({ "offset": 1 }), json!({ "offset": 2 })]);
}

#[test]
fn says_field_by_field_what_is_wrong() {
    let told = |settings: Value| -> Vec<String> {
        let config: S3SinkConfig = serde_json::from_value(settings).unwrap();
        config.check().iter().map(ToString::to_string).collect()
    };
    assert!(told(json!({ "url": "s3://lake/raw" })).is_empty());
    for folder in ["file:///data/lake", "/data/lake", "./lake", "../lake"] {
        assert!(told(json!({ "url": folder })).is_empty(), "{folder}");
    }
    for (settings, expected) in [
        (json!({ "url": "gs://lake" }), "url: gs: is not known"),
        (json!({ "url": "lake" }), "expected s3://BUCKET/PREFIX"),
        (json!({ "url": "s3://lake", "endpoint": "ftp://x" }), "endpoint: must begin with http"),
        (json!({ "url": "s3://lake", "access_key_id": "a" }), "secret_access_key:"),
        (json!({ "url": "s3://lake", "flush_rows": 0 }), "flush_rows:"),
        (json!({ "url": "s3://lake", "flush_bytes": 0 }), "flush_bytes:"),
    ] {
        let found = told(settings.clone());
        assert!(found.len() == 1 && found[0].contains(expected), "{settings}: {found:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let error = open(&config(json!({}), dir.path()), false).err().unwrap();
    assert!(error.to_string().contains("value.schema"), "{error}");
}

/// A store that gives these answers, one a connection; gives the first lines of the requests.
async fn store(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let is_whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_ascii_lowercase();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
                let length =
                    head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                body.len() >= length.unwrap_or(0)
            };
            while !is_whole(&request) {
                let count = stream.read(&mut buffer).await.unwrap();
                assert!(count > 0, "the request ends too early");
                request.extend_from_slice(&buffer[..count]);
            }
            asked.push(String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned());
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (endpoint, task)
}

fn bucket(endpoint: &str) -> S3SinkConfig {
    let settings = json!({
        "url": "s3://lake/raw/", "endpoint": endpoint, "format": "json_lines",
        "access_key_id": "an-id", "secret_access_key": "a-key",
    });
    serde_json::from_value(settings).unwrap()
}

#[tokio::test]
async fn a_bucket_that_is_busy_is_asked_again() {
    let (endpoint, asked) =
        store(vec!["404 Not Found", "503 Slow Down", "200 OK", "500 Internal Error", "200 OK"]).await;
    let mut sink = open(&bucket(&endpoint), false).unwrap();
    assert_eq!(sink.committed().await.unwrap(), []);
    sink.write_partition(0, batch(0, 0..1, true)).await.unwrap();
    sink.commit(&consumed(&BTreeMap::from([(0, 1)]))).await.unwrap();
    sink.flush().await.unwrap();
    let asked = asked.await.unwrap();
    let paths: Vec<&str> = asked.iter().map(|line| line.split(['?', '\r']).next().unwrap()).collect();
    let (data, offsets) =
        ("PUT /lake/raw/visits/partition%3D0/visits%2B0%2B", "/lake/raw/_ottla/lake%252F1/visits.json");
    assert_eq!(paths[0], format!("GET {offsets}"));
    assert!(paths[1].starts_with(data) && paths[1] == paths[2], "{paths:?}");
    assert!(paths[3] == format!("PUT {offsets}") && paths[3] == paths[4], "{paths:?}");
    assert!(asked.iter().all(|line| line.contains("X-Amz-Signature=") && !line.contains("a-key")));
}

#[tokio::test]
async fn a_bucket_that_refuses_is_not_asked_again() {
    let (endpoint, asked) = store(vec!["403 Forbidden"]).await;
    let error = open(&bucket(&endpoint), false).unwrap().committed().await.unwrap_err();
    assert!(!error.retriable && error.to_string().contains("403"), "{error}");
    assert_eq!(asked.await.unwrap().len(), 1);
}
