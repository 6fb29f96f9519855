//! `ottla consume`: records to standard output, from an offset or as a member of a group.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use ottla_client::{Client, Consumer, ConsumerConfig, ConsumerRecord, OffsetReset, TopicPartition};
use serde_json::json;

use super::connect;
use crate::cli::{ConsumeArguments, Output};
use crate::failure::Failure;

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const POLL: Duration = Duration::from_millis(500);

pub async fn run(arguments: ConsumeArguments) -> Result<(), Failure> {
    let client = connect(&arguments.cluster).await?;
    let consumer = client
        .consumer(ConsumerConfig {
            group_id: arguments.group.clone(),
            auto_offset_reset: if arguments.from_beginning {
                OffsetReset::Earliest
            } else {
                OffsetReset::Latest
            },
            enable_auto_commit: false,
            ..ConsumerConfig::default()
        })
        .await?;
    let mut ends = start(&client, &consumer, &arguments).await?;
    let mut left = arguments.max_records.unwrap_or(u64::MAX);
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    while left > 0 && ends.as_ref().is_none_or(|ends| !ends.is_empty()) {
        let fetched = tokio::select! {
            fetched = consumer.poll(POLL) => fetched?,
            _ = &mut stop => break,
        };
        let mut printed = Vec::new();
        for partition in fetched {
            let place = partition.topic_partition;
            let mut next = None;
            for record in &partition.records {
                if left == 0 {
                    break;
                }
                match print(&place, record, &arguments) {
                    // Whoever reads us has seen enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    result => result?,
                }
                left -= 1;
                next = Some(record.offset + 1);
            }
            printed.extend(next.map(|next| (place, next, String::new())));
        }
        if let Some(ends) = &mut ends {
            take_reached(&consumer, ends).await;
        }
        if arguments.group.is_some() && !printed.is_empty() {
            consumer.commit_offsets(&printed).await?;
        }
    }
    consumer.close().await?;
    Ok(())
}

/// Takes out the partitions that are read to their ends. What lies before an end need not be a record: the end of a
/// transaction is told to nobody.
async fn take_reached(consumer: &Consumer, ends: &mut BTreeMap<TopicPartition, i64>) {
    for place in ends.keys().cloned().collect::<Vec<_>>() {
        // What is not assigned at present will be, or somebody else reads it.
        if let Ok(position) = consumer.position(&place).await
            && ends.get(&place).is_some_and(|end| position >= *end)
        {
            ends.remove(&place);
        }
    }
}

/// Subscribes or assigns; with `--exit-at-end` gives the ends that are still to be reached.
async fn start(
    client: &Client,
    consumer: &Consumer,
    arguments: &ConsumeArguments,
) -> Result<Option<BTreeMap<TopicPartition, i64>>, Failure> {
    let named =
        |error: ottla_client::ClientError| Failure::failed(format!("topic {}: {error}", arguments.topic));
    let topic = client.admin().describe_topic(&arguments.topic).await.map_err(named)?;
    let places: Vec<TopicPartition> = topic
        .partitions
        .iter()
        .map(|partition| TopicPartition::new(&arguments.topic, partition.partition))
        .filter(|place| arguments.partition.is_none_or(|wanted| wanted == place.partition))
        .collect();
    if places.is_empty() {
        let wanted = arguments.partition.unwrap_or_default();
        return Err(Failure::failed(format!("topic {} has no partition {wanted}", arguments.topic)));
    }
    let from = arguments.offset.unwrap_or(if arguments.from_beginning { EARLIEST } else { LATEST });
    let mut ends = None;
    if arguments.exit_at_end {
        let begins = match (&arguments.group, from) {
            (Some(_), _) => {
                let committed = consumer.committed(&places).await.map_err(named)?;
                committed.into_iter().map(|(place, committed)| (place, committed.offset)).collect()
            }
            (None, EARLIEST) => consumer.beginning_offsets(&places).await.map_err(named)?,
            (None, LATEST) => consumer.end_offsets(&places).await.map_err(named)?,
            (None, from) => places.iter().map(|place| (place.clone(), from)).collect(),
        };
        let starts = consumer.beginning_offsets(&places).await.map_err(named)?;
        let mut to_reach = consumer.end_offsets(&places).await.map_err(named)?;
        to_reach.retain(|place, end| {
            let start = starts.get(place).copied().unwrap_or_default();
            begins.get(place).copied().unwrap_or(start).max(start) < *end
        });
        ends = Some(to_reach);
    }
    match arguments.group {
        Some(_) => consumer.subscribe(&[&arguments.topic]).await.map_err(named)?,
        None => {
            let assigned = places.into_iter().map(|place| (place, from)).collect();
            consumer.assign(assigned).await.map_err(named)?;
        }
    }
    Ok(ends)
}

fn print(place: &TopicPartition, record: &ConsumerRecord, arguments: &ConsumeArguments) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if arguments.output == Output::Json {
        let text =
            |bytes: &Option<bytes::Bytes>| bytes.as_deref().map(String::from_utf8_lossy).map(String::from);
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|header| json!([String::from_utf8_lossy(&header.key), text(&header.value)]))
            .collect();
        let line = json!({ "topic": place.topic, "partition": place.partition, "offset": record.offset,
                           "timestamp": record.timestamp_ms, "key": text(&record.key),
                           "value": text(&record.value), "headers": headers });
        return writeln!(out, "{line}");
    }
    if let Some(separator) = &arguments.key_separator {
        out.write_all(record.key.as_deref().unwrap_or_default())?;
        out.write_all(separator.as_bytes())?;
    }
    out.write_all(record.value.as_deref().unwrap_or_default())?;
    writeln!(out)
}
