//! The file connectors on their own, without a cluster.

use std::fs;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use ottla_formats::{Format as _, JsonFormat, schema_of};
use serde_json::json;

use super::config::{FileSinkConfig, FileSourceConfig};
use crate::connector::{
    ConsumedOffset, Operation, Rows, Sink, SinkBatch, SinkContext, Source, SourceBatch, SourceContext,
    SourceOffset,
};
use crate::error::ConnectorError;
use crate::registry::{SinkConfig as _, SourceConfig as _};

fn open_source(
    path: &Path,
    options: serde_json::Value,
    schema: Option<&[(&str, &str)]>,
    offset: Option<SourceOffset>,
) -> Result<Box<dyn Source>, ConnectorError> {
    let mut config = json!({"path": path, "format": "csv"});
    config.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let config: FileSourceConfig = serde_json::from_value(config).unwrap();
    let schema = schema.map(|columns| schema_of(columns.iter().copied()).unwrap());
    config.open(SourceContext { name: "s".to_owned(), schema, offset })
}

async fn drain(mut source: Box<dyn Source>) -> Vec<SourceBatch> {
    let mut batches = Vec::new();
    while let Some(batch) = source.poll().await.unwrap() {
        batches.push(batch);
    }
    batches
}

fn write(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn ints(batch: &SourceBatch) -> Vec<Option<i64>> {
    let Rows::Arrow(rows) = &batch.rows else { panic!("a file gives columns") };
    rows.column(0).as_primitive::<Int64Type>().iter().collect()
}

#[tokio::test]
async fn reads_csv_in_batches_and_goes_on_from_each_batchs_offset() {
    let file = write("a;b\n1;x\n2;NA\n\n3;y\nbad\n5;z");
    let options = json!({"delimiter": ";", "null_values": ["NA"], "batch_size": 2});
    let schema: &[_] = &[("a", "int"), ("b", "string?")];
    let whole = drain(open_source(file.path(), options.clone(), Some(schema), None).unwrap()).await;
    let all: Vec<_> = whole.iter().flat_map(ints).collect();
    assert_eq!(all, [Some(1), Some(2), Some(3), Some(5)]);
    assert_eq!(whole[1].bad[0].line, Some(6));
    assert_eq!(whole[1].bad[0].raw, "bad");
    assert_eq!(whole[0].resume.state["line"], 4);
    for (index, batch) in whole.iter().enumerate() {
        let source =
            open_source(file.path(), options.clone(), Some(schema), Some(batch.resume.clone())).unwrap();
        assert_eq!(source.progress().unwrap().total, 25);
        let rest = drain(source).await;
        let expected: Vec<_> = whole[index + 1..].iter().flat_map(ints).collect();
        assert_eq!(rest.iter().flat_map(ints).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn without_a_schema_every_column_is_text() {
    let file = write("a,b\n1,\n");
    let batches = drain(open_source(file.path(), json!({}), None, None).unwrap()).await;
    let Rows::Arrow(rows) = &batches[0].rows else { panic!("a file gives columns") };
    assert_eq!(rows.schema(), schema_of([("a", "string?"), ("b", "string?")]).unwrap());
}

#[tokio::test]
async fn reads_json_lines() {
    let file = write("{\"a\":1}\n{\"a\":\"x\"}\n{\"a\":3}\n");
    let schema: &[_] = &[("a", "int")];
    let batches =
        drain(open_source(file.path(), json!({"format": "json"}), Some(schema), None).unwrap()).await;
    assert_eq!(ints(&batches[0]), [Some(1), Some(3)]);
    assert_eq!((batches[0].bad[0].line, batches[0].bad[0].position), (Some(2), 18));
    let error = open_source(file.path(), json!({"format": "json"}), None, None).err().unwrap();
    assert!(error.to_string().contains("to.schema"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_names_its_place_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let error = open_source(folder.path(), json!({}), None, None).err().unwrap().to_string();
    assert!(error.contains("set `path` to a file in this folder"), "{error}");
    let file = write("a,b\n");
    let error = open_source(file.path(), json!({}), Some(&[("c", "int")]), None).err().unwrap();
    assert!(error.to_string().contains("column 'c' is not in the header: 'a,b'"), "{error}");
    assert!(!error.retriable);
}

async fn next(source: &mut Box<dyn Source>) -> Result<Option<SourceBatch>, ConnectorError> {
    tokio::time::timeout(std::time::Duration::from_secs(60), source.poll()).await.expect("it goes on")
}

fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn follows_a_file_line_by_whole_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.csv");
    fs::write(&path, "a").unwrap();
    let config = json!({"path": path, "format": "csv", "poll_interval_ms": 1});
    let open = |offset| {
        let config: FileSourceConfig = serde_json::from_value(config.clone()).unwrap();
        let schema = Some(schema_of([("a", "int")]).unwrap());
        config.open(SourceContext { name: "in".to_owned(), schema, offset })
    };
    let unfinished = open(None).err().unwrap();
    assert!(unfinished.retriable && unfinished.to_string().contains("not there yet"), "{unfinished}");

    append(&path, "\n1\n2");
    let mut source = open(None).unwrap();
    assert!(source.progress().is_none());
    assert_eq!(ints(&next(&mut source).await.unwrap().unwrap()), [Some(1)]);
    append(&path, "2\n3\n");
    let batch = next(&mut source).await.unwrap().unwrap();
    assert_eq!(ints(&batch), [Some(22), Some(3)]);

    let mut again = open(Some(batch.resume)).unwrap();
    append(&path, "4\n");
    for source in [&mut source, &mut again] {
        assert_eq!(ints(&next(source).await.unwrap().unwrap()), [Some(4)]);
    }
}

fn open_sink(path: &Path) -> Result<Box<dyn Sink>, ConnectorError> {
    let config: FileSinkConfig = serde_json::from_value(json!({"path": path})).unwrap();
    config.open(SinkContext { name: "out".to_owned(), schema: None })
}

fn raw(values: &[&'static str]) -> SinkBatch {
    let values = values.iter().map(|value| Bytes::from_static(value.as_bytes())).collect();
    SinkBatch::new(Operation::Write, Rows::Raw(values))
}

fn offset(topic_id: &str, next_offset: i64) -> ConsumedOffset {
    ConsumedOffset { topic_id: topic_id.to_owned(), topic: "t".to_owned(), partition: 0, next_offset }
}

#[tokio::test]
async fn appends_lines_and_forgets_what_was_not_committed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    fs::write(&path, "{\"old\":1}\n").unwrap();

    let mut sink = open_sink(&path).unwrap();
    assert_eq!(sink.committed().await.unwrap(), []);
    sink.write(raw(&["{\"a\":\n1}"])).await.unwrap();
    sink.commit(&[offset("x", 1)]).await.unwrap();
    sink.write(raw(&["{\"lost\":1}"])).await.unwrap();
    drop(sink);

    // Lines that a dying process had appended before its commit.
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"half");
    fs::write(&path, text).unwrap();

    let mut sink = open_sink(&path).unwrap();
    assert_eq!(sink.committed().await.unwrap(), [offset("x", 1)]);
    let schema = schema_of([("b", "string")]).unwrap();
    let rows = Rows::Arrow(JsonFormat.decode(&[br#"{"b":"2\n"}"#], &schema).unwrap().batch);
    sink.write(SinkBatch::new(Operation::Write, rows)).await.unwrap();
    sink.commit(&[offset("x", 2), offset("y", 5)]).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"old\":1}\n{\"a\": 1}\n{\"b\":\"2\\n\"}\n");
    assert_eq!(open_sink(&path).unwrap().committed().await.unwrap(), [offset("x", 2), offset("y", 5)]);
}

#[tokio::test]
async fn a_value_that_is_not_json_is_rejected_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let mut sink = open_sink(&path).unwrap();
    let rejected = sink.write(raw(&["1", "no", "\"x\""])).await.unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1]);
    sink.commit(&[]).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "1\n\"x\"\n");
}

#[tokio::test]
async fn a_file_that_is_not_its_own_or_was_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let mut sink = open_sink(&path).unwrap();
    sink.write(raw(&["1"])).await.unwrap();
    sink.commit(&[]).await.unwrap();
    drop(sink);
    let config: FileSinkConfig = serde_json::from_value(json!({"path": path})).unwrap();
    let other = config.open(SinkContext { name: "other".to_owned(), schema: None }).err().unwrap();
    assert!(other.to_string().contains("written by the connector 'out'"), "{other}");
    fs::write(&path, "").unwrap();
    let error = open_sink(&path).err().unwrap().to_string();
    assert!(error.contains("0 bytes are left of 2"), "{error}");
    let error = open_sink(&folder.path().join("no/out.jsonl")).err().unwrap().to_string();
    assert!(error.contains("create the folder"), "{error}");
}
