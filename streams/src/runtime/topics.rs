//! Reading stretches of topics to their end, for recovery and for batch queries.

use std::ops::ControlFlow;
use std::time::Duration;

use ottla_client::{
    Client, ClientError, Consumer, ConsumerConfig, ConsumerRecord, IsolationLevel, OFFSET_EARLIEST,
    OffsetReset, TopicPartition,
};

use crate::state::changelog::Offsets;

/// How long one poll waits. A stretch has an end that exists, so this only bounds how late a dead broker is noticed.
const POLL: Duration = Duration::from_millis(500);

/// A consumer outside of any group that begins where it is told. Records of an aborted transaction are no rows.
pub(crate) async fn reader(client: &Client) -> Result<Consumer, ClientError> {
    let config = ConsumerConfig {
        isolation_level: IsolationLevel::ReadCommitted,
        auto_offset_reset: OffsetReset::Earliest,
        enable_auto_commit: false,
        max_partition_fetch_bytes: 8 << 20,
        ..ConsumerConfig::default()
    };
    client.consumer(config).await
}

/// The partitions of a topic.
pub(crate) async fn partitions(client: &Client, topic: &str) -> Result<Vec<TopicPartition>, ClientError> {
    let description = client.admin().describe_topic(topic).await?;
    Ok(description
        .partitions
        .iter()
        .map(|partition| TopicPartition::new(topic, partition.partition))
        .collect())
}

/// The offsets after the last records of a topic.
pub(crate) async fn end_offsets(
    consumer: &Consumer,
    partitions: &[TopicPartition],
) -> Result<Offsets, ClientError> {
    let ends = consumer.end_offsets(partitions).await?;
    Ok(ends.into_iter().map(|(partition, offset)| (partition.partition, offset)).collect())
}

/// Gives every record of a topic from `from` (or its beginning) up to `to`, partition by partition in order, some at a
/// time, until `each` breaks off.
///
/// # Errors
/// What fetching meets.
pub(crate) async fn read_range(
    client: &Client,
    topic: &str,
    from: &Offsets,
    to: &Offsets,
    mut each: impl FnMut(i32, Vec<ConsumerRecord>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ClientError> {
    let begin = |partition: &i32| from.get(partition).copied().unwrap_or(OFFSET_EARLIEST);
    let mut open: Offsets = to
        .iter()
        .filter(|(partition, end)| begin(partition) < **end && **end > 0)
        .map(|(p, e)| (*p, *e))
        .collect();
    if open.is_empty() {
        return Ok(ControlFlow::Continue(()));
    }
    let consumer = reader(client).await?;
    let assigned =
        open.keys().map(|partition| (TopicPartition::new(topic, *partition), begin(partition))).collect();
    consumer.assign(assigned).await?;
    while !open.is_empty() {
        for fetched in consumer.poll(POLL).await? {
            let partition = fetched.topic_partition.partition;
            let Some(end) = open.get(&partition) else { continue };
            let records = fetched.records.into_iter().filter(|record| record.offset < *end).collect();
            if each(partition, records).is_break() {
                consumer.close().await?;
                return Ok(ControlFlow::Break(()));
            }
        }
        // A partition may end in records that are not given to anyone, so the position decides, not the last record.
        let mut done = Vec::new();
        for (partition, end) in &open {
            if consumer.position(&TopicPartition::new(topic, *partition)).await? >= *end {
                done.push(*partition);
            }
        }
        for partition in done {
            open.remove(&partition);
        }
    }
    consumer.close().await?;
    Ok(ControlFlow::Continue(()))
}
