//! `ottla run`: an embedded broker, the pipeline in it, progress until it is drained, and a summary.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use indicatif::{ProgressBar, ProgressStyle};
use ottla_broker::{Broker, BrokerConfig};
use ottla_client::{
    Client, ClientConfig, ClientError, ConsumerConfig, IsolationLevel, OFFSET_EARLIEST, TopicPartition,
};
use ottla_pipelines::run::{OutsideTopics, StageProgress};
use ottla_pipelines::{Event, Outcome, ResolvedPipeline, Summary, Work};
use serde_json::json;

use super::pipeline::load;
use crate::cli::{Output, RunArguments};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

/// Rows of each sink's input that are shown at the end, and records looked at to find them.
const ROWS_SHOWN: usize = 5;
const RECORDS_LOOKED_AT: usize = 200_000;
const POLL: Duration = Duration::from_millis(200);

pub async fn run(arguments: RunArguments) -> Result<(), Failure> {
    let pipeline = load(&arguments.file, None).await?;
    let pipeline = pipeline.resolve();
    let embedded = Embedded::start(arguments.data_dir, "ottla-run").await?;
    let client = &embedded.client;
    let mut progress = Progress::new(&pipeline.name, arguments.output);
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    let summary = ottla_pipelines::run(
        client,
        pipeline,
        OutsideTopics::End,
        &mut |event| progress.on_event(event),
        stop,
    )
    .await;
    progress.end();
    report(client, pipeline, &summary, arguments.output).await?;
    embedded.shutdown().await?;
    match summary.outcome {
        Outcome::Drained => Ok(()),
        Outcome::Stopped => Err(Failure::failed(
            "stopped before the sources were drained; run it again with the same --data-dir to go on",
        )),
        Outcome::Failed { .. } => Err(Failure::failed(summary.outcome)),
    }
}

/// A broker in this process, and a client of it.
pub struct Embedded {
    pub client: Client,
    broker: Broker,
    /// A directory that is temporary goes with it.
    _data: DataDir,
}

impl Embedded {
    /// Starts one over the directory, or over a temporary one.
    pub async fn start(data_dir: Option<PathBuf>, client_id: &str) -> Result<Embedded, Failure> {
        let data = DataDir::new(data_dir)?;
        let broker = Broker::start(BrokerConfig::new(data.path())).await?;
        let config = ClientConfig {
            bootstrap_servers: vec![broker.address().to_string()],
            client_id: client_id.to_owned(),
            ..ClientConfig::default()
        };
        let client = Client::connect_with(config, Arc::new(broker.in_process())).await?;
        Ok(Embedded { client, broker, _data: data })
    }

    pub async fn shutdown(self) -> Result<(), Failure> {
        drop(self.client);
        Ok(self.broker.shutdown().await?)
    }
}

/// Where the embedded broker keeps its data: a directory that stays, or one that goes with the process.
enum DataDir {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl DataDir {
    fn new(kept: Option<PathBuf>) -> Result<DataDir, Failure> {
        match kept {
            Some(path) => Ok(DataDir::Kept(path)),
            None => {
                let made = tempfile::Builder::new().prefix("ottla-run-").tempdir();
                let made = made.map_err(|error| {
                    let parent = std::env::temp_dir();
                    Failure::failed(format!(
                        "no temporary directory can be made in {}: {error}; set TMPDIR, or choose a directory with --data-dir",
                        parent.display()
                    ))
                })?;
                Ok(DataDir::Temporary(made))
            }
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            DataDir::Kept(path) => path.clone(),
            DataDir::Temporary(dir) => dir.path().to_owned(),
        }
    }
}

/// One line that moves on a terminal; nothing elsewhere, where the summary says all.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(name: &str, output: Output) -> Progress {
        let bar = (output == Output::Table && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}  {elapsed}") {
                bar.set_style(style);
            }
            bar.with_prefix(name.to_owned())
        });
        Progress { bar }
    }

    fn on_event(&mut self, event: &Event) {
        let Some(bar) = &self.bar else { return };
        match event {
            Event::Progress { stages, .. } => {
                let line = |stage: &StageProgress| format!("{} {}", stage.name, stage.records_out);
                bar.set_message(stages.iter().map(line).collect::<Vec<_>>().join(" → "));
                bar.tick();
            }
            Event::TopicsReady { .. } | Event::StageStarted { .. } | Event::StageEnded { .. } => bar.tick(),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn report(
    client: &Client,
    pipeline: &ResolvedPipeline,
    summary: &Summary,
    output: Output,
) -> Result<(), Failure> {
    if output == Output::Json {
        let stages: Vec<_> = summary
            .stages
            .iter()
            .map(|stage| {
                json!({ "stage": stage.name, "kind": stage.kind, "in": stage.records_in, "out": stage.records_out,
                        "dead_lettered": stage.records_bad, "late": stage.records_late,
                        "seconds": stage.elapsed.as_secs_f64(),
                        "rows_per_second": stage.records_per_second })
            })
            .collect();
        return Ok(print_json(&json!({
            "pipeline": pipeline.name, "outcome": summary.outcome.to_string(), "stages": stages,
            "dead_lettered": summary.records_bad(), "seconds": summary.elapsed.as_secs_f64(),
            "rows_per_second": summary.records_per_second(),
        }))?);
    }
    let rows: Vec<Vec<String>> = summary
        .stages
        .iter()
        .map(|stage| {
            vec![
                stage.name.clone(),
                stage.kind.to_owned(),
                stage.records_in.to_string(),
                stage.records_out.to_string(),
                stage.records_bad.to_string(),
                stage.records_late.to_string(),
                format!("{:.2}", stage.elapsed.as_secs_f64()),
                format!("{:.0}", stage.records_per_second),
            ]
        })
        .collect();
    print_table(&["stage", "kind", "in", "out", "dead letters", "late", "seconds", "rows/s"], &rows)?;
    if summary.outcome == Outcome::Drained {
        for stage in &pipeline.stages {
            let Work::Sink { schemas, .. } = &stage.work else { continue };
            for topic in &stage.inputs {
                show_rows(client, topic, schemas.get(topic)).await?;
            }
        }
    }
    let outcome = match summary.outcome {
        Outcome::Drained => "drained",
        Outcome::Stopped => "stopped",
        // The reason is the command's own error, said last.
        Outcome::Failed { .. } => "failed",
    };
    println!(
        "\n{} {outcome} in {:.2} s, {:.0} rows/s, {} dead letters",
        pipeline.name,
        summary.elapsed.as_secs_f64(),
        summary.records_per_second(),
        summary.records_bad()
    );
    Ok(())
}

/// The first rows of a topic by key, each as it is now: of an upsert topic that is what its sink holds.
async fn show_rows(client: &Client, topic: &str, schema: Option<&SchemaRef>) -> Result<(), Failure> {
    let rows = latest_by_key(client, topic).await?;
    if rows.is_empty() {
        println!("\n{topic} is empty");
        return Ok(());
    }
    println!("\nfirst rows of {topic}, of {}:", rows.len());
    let objects: Vec<serde_json::Map<String, serde_json::Value>> =
        rows.values().take(ROWS_SHOWN).filter_map(|value| serde_json::from_slice(value).ok()).collect();
    let Some(first) = objects.first() else {
        for value in rows.values().take(ROWS_SHOWN) {
            println!("  {}", String::from_utf8_lossy(value));
        }
        return Ok(());
    };
    let columns: Vec<&str> = match schema {
        Some(schema) => schema.fields().iter().map(|field| field.name().as_str()).collect(),
        None => first.keys().map(String::as_str).collect(),
    };
    let cell = |value: Option<&serde_json::Value>| match value {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let cells: Vec<Vec<String>> = objects
        .iter()
        .map(|object| columns.iter().map(|column| cell(object.get(*column))).collect())
        .collect();
    Ok(print_table(&columns, &cells)?)
}

async fn latest_by_key(client: &Client, topic: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ClientError> {
    let partitions = client.admin().describe_topic(topic).await?.partition_count();
    let places: Vec<TopicPartition> =
        (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
    let config =
        ConsumerConfig { isolation_level: IsolationLevel::ReadCommitted, ..ConsumerConfig::default() };
    let consumer = client.consumer(config).await?;
    let mut ends = consumer.end_offsets(&places).await?;
    ends.retain(|_, end| *end > 0);
    consumer.assign(ends.keys().map(|place| (place.clone(), OFFSET_EARLIEST)).collect()).await?;
    let mut latest = BTreeMap::new();
    let mut looked_at = 0;
    while !ends.is_empty() && looked_at < RECORDS_LOOKED_AT {
        for fetched in consumer.poll(POLL).await? {
            for record in fetched.records {
                looked_at += 1;
                // A record without a key is a row of its own.
                let own = || {
                    format!("{:010}-{:020}", fetched.topic_partition.partition, record.offset).into_bytes()
                };
                let key = record.key.as_ref().map_or_else(own, |key| key.to_vec());
                match record.value {
                    Some(value) => latest.insert(key, value.to_vec()),
                    None => latest.remove(&key),
                };
            }
        }
        // The last record may be before the end, as where a transaction ends.
        for place in ends.keys().cloned().collect::<Vec<_>>() {
            if ends.get(&place).copied() <= Some(consumer.position(&place).await?) {
                ends.remove(&place);
            }
        }
    }
    consumer.close().await?;
    Ok(latest)
}
