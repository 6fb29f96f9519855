//! `ottla transaction …`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ottla_client::{Client, ProducerState, TopicPartition, TransactionFilter};
use serde_json::{Value, json};

use super::connect;
use crate::cli::{AbortWhich, Output, TransactionCommand};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

pub async fn run(command: TransactionCommand) -> Result<(), Failure> {
    match command {
        TransactionCommand::List { states, running_longer_than_ms, output, cluster } => {
            let running_longer_than = running_longer_than_ms.map(Duration::from_millis);
            let filter = TransactionFilter { states, running_longer_than, ..TransactionFilter::default() };
            let listed = connect(&cluster).await?.admin().list_transactions(&filter).await?;
            let rows = listed.into_iter().map(|listing| {
                vec![
                    ("transactional id", json!(listing.transactional_id)),
                    ("coordinator", json!(listing.coordinator_id)),
                    ("producer id", json!(listing.producer_id)),
                    ("state", json!(listing.state)),
                ]
            });
            let headers = ["transactional id", "coordinator", "producer id", "state"];
            print_rows(&headers, rows.collect(), output)
        }
        TransactionCommand::Describe { transactional_id, output, cluster } => {
            describe(&connect(&cluster).await?, &transactional_id, output).await
        }
        TransactionCommand::Producers { topic, partition, output, cluster } => {
            let place = TopicPartition::new(topic, partition);
            let producers = connect(&cluster).await?.admin().describe_producers(&place).await?;
            print_rows(&PRODUCER_HEADERS, producers.iter().map(producer_row).collect(), output)
        }
        TransactionCommand::FindHanging { topic, open_for_minutes, output, cluster } => {
            let client = connect(&cluster).await?;
            find_hanging(&client, topic.as_deref(), open_for_minutes, output).await
        }
        TransactionCommand::Abort { which, cluster } => abort(&connect(&cluster).await?, which).await,
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

async fn describe(client: &Client, transactional_id: &str, output: Output) -> Result<(), Failure> {
    let described = client.admin().describe_transaction(transactional_id).await?;
    let running_ms = described.start_time_ms.map(|start| now_ms().saturating_sub(start).max(0));
    if output == Output::Json {
        let partitions: Vec<Value> = described
            .partitions
            .iter()
            .map(|place| json!({ "topic": place.topic, "partition": place.partition }))
            .collect();
        return Ok(print_json(&json!({
            "transactional_id": described.transactional_id, "producer_id": described.producer_id,
            "producer_epoch": described.producer_epoch, "state": described.state,
            "timeout_ms": described.timeout.as_millis() as u64, "start_time_ms": described.start_time_ms,
            "running_ms": running_ms, "partitions": partitions,
        }))?);
    }
    println!(
        "transactional id {}  state {}  producer id {}  epoch {}  timeout {} ms{}",
        described.transactional_id,
        described.state,
        described.producer_id,
        described.producer_epoch,
        described.timeout.as_millis(),
        running_ms.map(|ms| format!("  running for {ms} ms")).unwrap_or_default(),
    );
    let rows: Vec<Vec<String>> = described
        .partitions
        .iter()
        .map(|place| vec![place.topic.clone(), place.partition.to_string()])
        .collect();
    Ok(print_table(&["topic", "partition"], &rows)?)
}

const PRODUCER_HEADERS: [&str; 6] =
    ["producer id", "epoch", "coordinator epoch", "last sequence", "last timestamp ms", "open since offset"];

/// Cells under their headers.
type Row = Vec<(&'static str, Value)>;

fn producer_row(producer: &ProducerState) -> Row {
    let values = [
        json!(producer.producer_id),
        json!(producer.producer_epoch),
        json!(producer.coordinator_epoch),
        json!(producer.last_sequence),
        json!(producer.last_timestamp_ms),
        json!(producer.open_since_offset),
    ];
    PRODUCER_HEADERS.into_iter().zip(values).collect()
}

async fn find_hanging(
    client: &Client,
    topic: Option<&str>,
    open_for_minutes: u32,
    output: Output,
) -> Result<(), Failure> {
    let admin = client.admin();
    let topics = match topic {
        Some(name) => vec![(*admin.describe_topic(name).await?).clone()],
        None => admin.list_topics().await?,
    };
    let places: Vec<TopicPartition> = topics
        .iter()
        .flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| TopicPartition::new(topic.name.as_str(), partition.partition))
        })
        .collect();
    let open_for = Duration::from_secs(u64::from(open_for_minutes) * 60);
    let hanging = admin.find_hanging_transactions(&places, open_for, now_ms()).await?;
    let rows = hanging.iter().map(|(place, producer)| {
        let place = [("topic", json!(place.topic)), ("partition", json!(place.partition))];
        place.into_iter().chain(producer_row(producer)).collect()
    });
    let headers: Vec<&str> = ["topic", "partition"].into_iter().chain(PRODUCER_HEADERS).collect();
    print_rows(&headers, rows.collect(), output)
}

async fn abort(client: &Client, which: AbortWhich) -> Result<(), Failure> {
    let admin = client.admin();
    let AbortWhich { transactional_id, topic, partition, start_offset } = which;
    match (transactional_id, topic, partition, start_offset) {
        (Some(transactional_id), ..) => {
            // Fencing one that nobody has used would make it.
            admin.describe_transaction(&transactional_id).await?;
            admin.fence_producers(&transactional_id).await?;
            println!(
                "transactional id {transactional_id} has no transaction open, and its producer is fenced"
            );
            Ok(())
        }
        (None, Some(topic), Some(partition), Some(start_offset)) => {
            let place = TopicPartition::new(topic, partition);
            let producers = admin.describe_producers(&place).await?;
            let producer = producers.iter().find(|producer| producer.open_since_offset == Some(start_offset));
            let producer = producer.ok_or_else(|| {
                Failure::failed(format!(
                    "no transaction that began at offset {start_offset} is open in {place}"
                ))
            })?;
            admin.abort_hanging_transaction(&place, producer).await?;
            println!("aborted what producer {} had open in {place}", producer.producer_id);
            Ok(())
        }
        _ => Err(Failure::wrong_words("name a transactional id, or --topic, --partition and --start-offset")),
    }
}

/// A table, or an object for each row with the headers' words joined by `_`.
fn print_rows(headers: &[&str], rows: Vec<Row>, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let object = |row: Row| -> serde_json::Map<String, Value> {
            row.into_iter().map(|(header, value)| (header.replace(' ', "_"), value)).collect()
        };
        return Ok(print_json(&json!(rows.into_iter().map(object).collect::<Vec<_>>()))?);
    }
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|(_, value)| text(value)).collect()).collect();
    Ok(print_table(headers, &rows)?)
}
