//! The input topics of a query on a Kafka cluster.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ottla_client::{Client, ClientError, Consumer, OFFSET_EARLIEST, TopicPartition};
use tokio::sync::Mutex;

use super::input::{FetchedInput, InputRecord};
use super::topics;
use crate::planner::SourceNode;
use crate::state::changelog::{InputOffsets, InputPartition};

/// The partitions that a query reads.
pub(super) struct KafkaInput {
    consumer: Consumer,
    /// The sources that read each partition: one topic may be declared under several names.
    partitions: Vec<(TopicPartition, Vec<InputPartition>)>,
    /// The ends of the partitions as of the last seek, told with the next poll.
    news: Mutex<InputOffsets>,
}

impl KafkaInput {
    /// Finds the partitions of all sources' topics.
    ///
    /// # Errors
    /// When a topic does not exist or the cluster cannot be reached.
    pub(super) async fn open(client: &Client, sources: &[SourceNode]) -> Result<Self, ClientError> {
        Ok(KafkaInput {
            partitions: input_partitions(client, sources).await?,
            consumer: topics::reader(client).await?,
            news: Mutex::default(),
        })
    }

    /// Reads from these offsets on; partitions without one from their beginning.
    pub(super) async fn seek(&self, positions: &InputOffsets) -> Result<(), ClientError> {
        let ends = self.ends().await?;
        // All sources of a topic have read it up to the same offset, but for one that is new.
        let position = |source: &InputPartition| positions.get(source).copied().unwrap_or(OFFSET_EARLIEST);
        let place = |(partition, sources): &(TopicPartition, Vec<InputPartition>)| {
            (partition.clone(), sources.iter().map(position).min().unwrap_or(OFFSET_EARLIEST))
        };
        let places = self.partitions.iter().map(place).collect();
        self.consumer.assign(places).await?;
        *self.news.lock().await = ends;
        Ok(())
    }

    /// The next records, waiting up to `timeout` for the first.
    pub(super) async fn poll(&self, timeout: Duration) -> Result<Vec<FetchedInput>, ClientError> {
        let news = std::mem::take(&mut *self.news.lock().await);
        let mut inputs: Vec<FetchedInput> = news
            .into_iter()
            .map(|(partition, log_end)| FetchedInput { partition, records: Vec::new(), position: 0, log_end })
            .collect();
        let timeout = if inputs.is_empty() { timeout } else { Duration::ZERO };
        let polled = self.consumer.poll(timeout).await?;
        for fetched in polled {
            let records = fetched.records.into_iter().map(|record| InputRecord {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
            let records: Vec<InputRecord> = records.collect();
            let found = self.partitions.iter().find(|(partition, _)| *partition == fetched.topic_partition);
            let Some((last, others)) = found.and_then(|(_, sources)| sources.split_last()) else { continue };
            let (log_end, position) = (fetched.high_watermark.max(0), fetched.next_offset);
            for partition in others {
                inputs.push(FetchedInput {
                    partition: *partition,
                    records: records.clone(),
                    position,
                    log_end,
                });
            }
            inputs.push(FetchedInput { partition: *last, records, position, log_end });
        }
        Ok(inputs)
    }

    /// The offsets after the last record of every partition now.
    pub(super) async fn ends(&self) -> Result<InputOffsets, ClientError> {
        let partitions: Vec<TopicPartition> =
            self.partitions.iter().map(|(partition, _)| partition.clone()).collect();
        let ends = self.consumer.end_offsets(&partitions).await?;
        let sources_of = |(partition, end): (TopicPartition, i64)| {
            let found = self.partitions.iter().find(|(known, _)| *known == partition);
            found
                .into_iter()
                .flat_map(|(_, sources)| sources)
                .map(move |source| (*source, end))
                .collect::<Vec<_>>()
        };
        Ok(ends.into_iter().flat_map(sources_of).collect())
    }
}

/// The partitions of all sources' topics, each once.
async fn input_partitions(
    client: &Client,
    sources: &[SourceNode],
) -> Result<Vec<(TopicPartition, Vec<InputPartition>)>, ClientError> {
    let mut found: Vec<(TopicPartition, Vec<InputPartition>)> = Vec::new();
    for (source, node) in (0..).zip(sources) {
        for partition in topics::partitions(client, &node.topic).await? {
            let input = InputPartition { source, partition: partition.partition };
            match found.iter_mut().find(|(known, _)| *known == partition) {
                Some((_, sources)) => sources.push(input),
                None => found.push((partition, vec![input])),
            }
        }
    }
    Ok(found)
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
