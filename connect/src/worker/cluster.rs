//! Everything that a task asks of the Kafka cluster, in one trait.
//!
//! Tasks see only this: the real one is a thin cover of `ottla-client`, and the tests have one in memory that dies at any
//! chosen call.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use ottla_client::{
    Client, ClientError, CommittedOffset, ConsumerConfig, ConsumerRecord, ErrorCode, FetchedPartition,
    IsolationLevel, NewTopic, OFFSET_EARLIEST, OFFSET_LATEST, OffsetReset, Producer, ProducerConfig, Record,
    TopicPartition,
};

use super::transactional_writer::TransactionalWriter;
use crate::herder::{CONFIGS_TOPIC, STATUS_TOPIC};

/// Bytes of one fetch: what a sink holds in memory, and takes in one transaction.
const FETCH_BYTES_MAX: i32 = 8 << 20;

/// A topic as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Its id as text; another one after it was deleted and made anew.
    pub(crate) id: String,
    pub(crate) partitions: i32,
}

/// What a partition holds: offsets from `start` up to, but not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// Some records of a partition.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) partition: i32,
    pub(crate) records: Vec<ConsumerRecord>,
    /// Where reading goes on: after the last record, and after what is given to nobody, as the ends of transactions are.
    pub(crate) next_offset: i64,
    /// The partition's end as far as the reader knows.
    pub(crate) end: i64,
}

/// Resolves to the offset of the first record when all are acknowledged; `None` when the cluster cannot tell it.
pub(crate) type Acknowledgement = BoxFuture<'static, Result<Option<i64>, ClientError>>;

/// A Kafka cluster.
#[async_trait]
pub(crate) trait Cluster: Send + Sync + 'static {
    /// Whether there is a topic of this name.
    async fn exists(&self, name: &str) -> Result<bool, ClientError>;

    /// The topic, made with this many partitions (-1: the cluster's default) if it does not exist.
    async fn topic(&self, name: &str, partitions: i32) -> Result<Topic, ClientError>;

    /// What each partition of the topic holds, by partition.
    async fn bounds(&self, topic: &Topic) -> Result<BTreeMap<i32, Bounds>, ClientError>;

    /// A producer of its own, so that what one attempt of a task left behind never mixes with the next.
    async fn writer(&self) -> Result<Box<dyn Writer>, ClientError>;

    /// Becomes the one writer of this transactional id: what an earlier one left open counts for nothing from here on.
    async fn transactions(&self, transactional_id: &str) -> Result<Box<dyn Transactions>, ClientError>;

    /// A reader of these partitions of the topic, from these offsets on.
    async fn reader(&self, topic: &Topic, from: &BTreeMap<i32, i64>) -> Result<Box<dyn Reader>, ClientError>;

    /// What a consumer group has committed for this topic, by partition: not for one of the same name that was before it.
    async fn group_offsets(&self, group: &str, topic: &Topic) -> Result<BTreeMap<i32, i64>, ClientError>;

    /// Commits offsets of a topic for a consumer group that has no members.
    async fn commit_group_offsets(
        &self,
        group: &str,
        topic: &Topic,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<(), ClientError>;

    /// Deletes a consumer group and its offsets, if there is one.
    async fn delete_group(&self, group: &str) -> Result<(), ClientError>;
}

/// Appends records; idempotent and in order within a partition.
#[async_trait]
pub(crate) trait Writer: Send + Sync {
    /// Waits only for room; the records are safe when the returned future says so.
    async fn send(
        &self,
        topic: &str,
        partition: i32,
        records: Vec<Record>,
    ) -> Result<Acknowledgement, ClientError>;

    /// Ends it in good order.
    async fn close(self: Box<Self>);
}

/// Appends records in transactions, one after the other; after an error it is good for nothing but to be closed.
#[async_trait]
pub(crate) trait Transactions: Send {
    /// Adds records to the open transaction, or begins one with them; waits only for room.
    async fn send(&mut self, topic: &str, partition: i32, records: Vec<Record>) -> Result<(), ClientError>;

    /// Commits all that was sent since the last commit, or nothing.
    async fn commit(&mut self) -> Result<(), ClientError>;

    /// Ends it; what is not committed is given up.
    async fn close(self: Box<Self>);
}

/// Reads records of one topic.
#[async_trait]
pub(crate) trait Reader: Send {
    /// The next records, or none after `wait`. Cancel safe: what a dropped call had fetched comes with the next one.
    async fn poll(&mut self, wait: Duration) -> Result<Vec<Fetched>, ClientError>;

    /// Ends it in good order.
    async fn close(self: Box<Self>);
}

/// Calls `visit` for every record of the topic in the given spans, partition by partition in order.
pub(crate) async fn read_spans(
    cluster: &dyn Cluster,
    topic: &Topic,
    spans: &BTreeMap<i32, Bounds>,
    mut visit: impl FnMut(i32, ConsumerRecord) + Send,
) -> Result<(), ClientError> {
    const WAIT: Duration = Duration::from_millis(500);
    let mut open: BTreeMap<i32, Bounds> = spans
        .iter()
        .filter(|(_, span)| span.start < span.end)
        .map(|(partition, span)| (*partition, *span))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let from = open.iter().map(|(partition, span)| (*partition, span.start)).collect();
    let mut reader = cluster.reader(topic, &from).await?;
    while !open.is_empty() {
        for fetched in reader.poll(WAIT).await? {
            let Some(span) = open.get(&fetched.partition).copied() else { continue };
            for record in fetched.records {
                if record.offset < span.end {
                    visit(fetched.partition, record);
                }
            }
            let next = fetched.next_offset;
            if next >= span.end {
                open.remove(&fetched.partition);
            } else {
                open.insert(fetched.partition, Bounds { start: next, end: span.end });
            }
        }
    }
    reader.close().await;
    Ok(())
}

/// The cluster behind a client.
pub(crate) struct KafkaCluster {
    client: Client,
}

impl KafkaCluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Cluster for KafkaCluster {
    async fn exists(&self, name: &str) -> Result<bool, ClientError> {
        self.client.admin().topic_exists(name).await
    }

    async fn topic(&self, name: &str, partitions: i32) -> Result<Topic, ClientError> {
        let admin = self.client.admin();
        let described = match admin.describe_topic(name).await {
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                let mut topic = NewTopic::new(name, partitions);
                if [super::offsets::TOPIC, CONFIGS_TOPIC, STATUS_TOPIC].contains(&name) {
                    // The last position of every source partition, and what every connector is and does, must stay, however old.
                    topic = topic.with_config("cleanup.policy", "compact");
                }
                let created = admin.create_topics(&[topic]).await;
                if let Err(error) = created {
                    // Someone else may have made it in between.
                    if error.code() != Some(ErrorCode::TopicAlreadyExists) {
                        return Err(error);
                    }
                }
                admin.describe_topic(name).await?
            }
            other => other?,
        };
        Ok(Topic {
            name: name.to_owned(),
            id: described.topic_id.to_string(),
            partitions: described.partition_count(),
        })
    }

    async fn bounds(&self, topic: &Topic) -> Result<BTreeMap<i32, Bounds>, ClientError> {
        let admin = self.client.admin();
        let at = |time: i64| -> Vec<(TopicPartition, i64)> {
            (0..topic.partitions)
                .map(|partition| (TopicPartition::new(&topic.name, partition), time))
                .collect()
        };
        let starts = admin.list_offsets(&at(OFFSET_EARLIEST)).await?;
        let ends = admin.list_offsets(&at(OFFSET_LATEST)).await?;
        Ok(ends
            .into_iter()
            .map(|(place, end)| {
                let start = starts.get(&place).map_or(0, |start| start.offset);
                (place.partition, Bounds { start, end: end.offset })
            })
            .collect())
    }

    async fn writer(&self) -> Result<Box<dyn Writer>, ClientError> {
        let producer = self.client.producer(ProducerConfig::default()).await?;
        Ok(Box::new(KafkaWriter { producer }))
    }

    async fn transactions(&self, transactional_id: &str) -> Result<Box<dyn Transactions>, ClientError> {
        Ok(Box::new(TransactionalWriter::open(&self.client, transactional_id).await?))
    }

    async fn reader(&self, topic: &Topic, from: &BTreeMap<i32, i64>) -> Result<Box<dyn Reader>, ClientError> {
        // An offset that retention has passed by goes on with the oldest record there is, never with the newest.
        let config = ConsumerConfig {
            auto_offset_reset: OffsetReset::Earliest,
            enable_auto_commit: false,
            fetch_max_bytes: FETCH_BYTES_MAX,
            isolation_level: IsolationLevel::ReadCommitted,
            ..ConsumerConfig::default()
        };
        let consumer = self.client.consumer(config).await?;
        let places: Vec<_> = from
            .iter()
            .map(|(partition, offset)| (TopicPartition::new(&topic.name, *partition), *offset))
            .collect();
        consumer.assign(places).await?;
        Ok(Box::new(KafkaReader { consumer }))
    }

    async fn group_offsets(&self, group: &str, topic: &Topic) -> Result<BTreeMap<i32, i64>, ClientError> {
        let committed = self.client.admin().list_group_offsets(group).await?;
        // Without the topic's id it was committed by a tool, for the topic as it was then known by its name.
        let is_of_topic = |place: &TopicPartition, committed: &CommittedOffset| {
            place.topic == topic.name && (committed.metadata.is_empty() || committed.metadata == topic.id)
        };
        Ok(committed
            .into_iter()
            .filter(|(place, committed)| committed.offset >= 0 && is_of_topic(place, committed))
            .map(|(place, committed)| (place.partition, committed.offset))
            .collect())
    }

    async fn commit_group_offsets(
        &self,
        group: &str,
        topic: &Topic,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<(), ClientError> {
        let offsets: Vec<(TopicPartition, CommittedOffset)> = offsets
            .iter()
            .map(|(partition, offset)| {
                let committed =
                    CommittedOffset { offset: *offset, leader_epoch: -1, metadata: topic.id.clone() };
                (TopicPartition::new(&topic.name, *partition), committed)
            })
            .collect();
        self.client.admin().commit_group_offsets(group, &offsets).await
    }

    async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        match self.client.admin().delete_groups(&[group]).await {
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => Ok(()),
            other => other,
        }
    }
}

struct KafkaWriter {
    producer: Producer,
}

#[async_trait]
impl Writer for KafkaWriter {
    async fn send(
        &self,
        topic: &str,
        partition: i32,
        records: Vec<Record>,
    ) -> Result<Acknowledgement, ClientError> {
        let delivery = self.producer.send_batch(topic, partition, records).await?;
        Ok(delivery
            .map(|result| result.map(|first| Some(first.offset).filter(|offset| *offset >= 0)))
            .boxed())
    }

    async fn close(self: Box<Self>) {
        // Everything that mattered was awaited before; what is left failed and was told to whoever waited for it.
        let _ = self.producer.close().await;
    }
}

#[async_trait]
impl Transactions for TransactionalWriter {
    async fn send(&mut self, topic: &str, partition: i32, records: Vec<Record>) -> Result<(), ClientError> {
        TransactionalWriter::send(self, topic, partition, &records).await
    }

    async fn commit(&mut self) -> Result<(), ClientError> {
        TransactionalWriter::commit(self).await
    }

    async fn close(self: Box<Self>) {
        TransactionalWriter::close(*self).await;
    }
}

struct KafkaReader {
    consumer: ottla_client::Consumer,
}

#[async_trait]
impl Reader for KafkaReader {
    async fn poll(&mut self, wait: Duration) -> Result<Vec<Fetched>, ClientError> {
        let polled = self.consumer.poll(wait).await?;
        let fetched = |polled: FetchedPartition| {
            let FetchedPartition { topic_partition, records, next_offset, high_watermark } = polled;
            let end = high_watermark.max(next_offset);
            Fetched { partition: topic_partition.partition, records, next_offset, end }
        };
        Ok(polled.into_iter().map(fetched).collect())
    }

    async fn close(self: Box<Self>) {
        // A reader without a group has nothing to leave.
        let _ = self.consumer.close().await;
    }
}
