//! The file source of Parquet files, with real files and whole tasks.

use std::fs;
use std::path::Path;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use ottla_formats::parquet::{ParquetCompression, write_parquet};
use ottla_formats::{Format as _, JsonFormat, schema_of};
use serde_json::json;

use super::config::FileSourceConfig;
use crate::connector::{Rows, Source, SourceBatch, SourceContext, SourceOffset};
use crate::error::ConnectorError;
use crate::registry::{CheckConfig as _, SourceConfig as _};
use crate::worker::memory_cluster::{MemoryCluster, Storage};
use crate::worker::{OnError, SourceTask, SourceTaskConfig};

/// Rows of more than one row group.
const ROWS: usize = 300_000;

fn batch(rows: std::ops::Range<usize>) -> RecordBatch {
    let lines: Vec<String> = rows
        .map(|n| if n % 7 == 0 { format!("{{\"n\":{n}}}") } else { format!("{{\"n\":{n},\"s\":\"{n}é\"}}") })
        .collect();
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    JsonFormat.decode(&lines, &schema_of([("n", "int"), ("s", "string?")]).unwrap()).unwrap().batch
}

fn write(path: &Path, rows: std::ops::Range<usize>) {
    let batch = batch(rows);
    fs::write(path, write_parquet(&batch.schema(), &[batch], ParquetCompression::Zstd).unwrap()).unwrap();
}

fn config(path: &Path) -> serde_json::Value {
    json!({"path": path, "format": "parquet", "batch_size": 5_000})
}

fn open(path: &Path, offset: Option<SourceOffset>) -> Result<Box<dyn Source>, ConnectorError> {
    let config: FileSourceConfig = serde_json::from_value(config(path)).unwrap();
    assert_eq!(config.check(), []);
    config.open(SourceContext { name: "s".to_owned(), schema: None, offset })
}

fn numbers(batch: &SourceBatch) -> Vec<i64> {
    let Rows::Arrow(rows) = &batch.rows else { panic!("a file gives columns") };
    rows.column(0).as_primitive::<Int64Type>().values().to_vec()
}

#[tokio::test]
async fn a_restart_goes_on_at_the_row_whatever_row_group_it_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.parquet");
    write(&path, 0..ROWS);
    let mut read = Vec::new();
    let mut offset = None;
    // Each time a few batches, then a restart.
    for batches in 1.. {
        let mut source = open(&path, offset.clone()).unwrap();
        let progress = source.progress().unwrap();
        assert_eq!((progress.position, progress.total), (read.len() as u64, ROWS as u64));
        let mut is_done = false;
        for _ in 0..batches {
            let Some(batch) = source.poll().await.unwrap() else {
                is_done = true;
                break;
            };
            read.extend(numbers(&batch));
            assert_eq!(batch.positions.last(), Some(&(read.len() as u64)));
            offset = Some(serde_json::from_value(serde_json::to_value(&batch.resume).unwrap()).unwrap());
        }
        if is_done {
            break;
        }
    }
    assert_eq!(read, (0..ROWS as i64).collect::<Vec<_>>());

    write(&path, 1..ROWS + 1);
    let error = open(&path, offset).err().unwrap().to_string();
    assert!(error.contains("it was replaced") && error.contains("after 300000 rows"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.parquet");
    write(&path, 0..ROWS);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let error = open(&path, None).err().unwrap();
    assert!(!error.retriable && error.to_string().contains("in.parquet: parquet: "), "{error}");
}

#[tokio::test]
async fn rows_that_do_not_fit_are_dead_letters_and_the_others_are_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.parquet");
    write(&path, 120..134);
    let storage = Storage::default();
    let cluster = MemoryCluster::new(&storage, None);
    let config = SourceTaskConfig {
        on_error: OnError::DeadLetter { topic: "dlq".to_owned() },
        schema: Some(schema_of([("s", "string"), ("n", "int8")]).unwrap()),
        key: Some("s".to_owned()),
        ..SourceTaskConfig::new("in", "file", config(&path), "t")
    };
    let handle = SourceTask::start_on(std::sync::Arc::new(cluster), config).unwrap();
    let status = handle.wait().await.unwrap();
    assert_eq!((status.records_in, status.records_out, status.records_bad), (14, 7, 7));
    let expected = [120, 121, 122, 123, 124, 125, 127].map(|n| format!("{{\"s\":\"{n}é\",\"n\":{n}}}"));
    assert_eq!(storage.values("t"), expected);
    assert_eq!(storage.values("dlq")[0], r#"{"n":126,"s":null}"#);
}

#[test]
fn a_parquet_file_is_not_followed() {
    let config = json!({"path": "in.parquet", "format": "parquet", "poll_interval_ms": 5});
    let config: FileSourceConfig = serde_json::from_value(config).unwrap();
    assert!(config.check()[0].to_string().starts_with("poll_interval_ms: must not be set"));
}
