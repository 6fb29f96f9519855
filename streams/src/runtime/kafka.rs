//! The topics of a query on a Kafka cluster, through the client.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ottla_client::{
    Client, ClientError, Consumer, Delivery, ErrorCode, IsolationLevel, NewTopic, Producer, ProducerConfig,
    Record, TopicPartition, partition_of_key,
};
use tokio::sync::Mutex;

use super::epoch::{OutputRecord, Target, epoch_of};
use super::error::QueryError;
use super::input::FetchedInput;
use super::kafka_input::{KafkaInput, now_ms};
use super::log::{QueryLog, RawChangelogRecord, Sink};
use super::query::QueryConfig;
use super::topics;
use crate::planner::ChangelogMode;
use crate::state::changelog::{Epoch, InputOffsets, Offsets};

/// Input, output, dead letters and changelog of one query.
pub(super) struct KafkaLog {
    query: String,
    client: Client,
    producer: Producer,
    input: KafkaInput,
    /// Tells the ends of what the query itself writes.
    own: Consumer,
    output: SinkTopic,
    dead_letters: SinkTopic,
    changelog: String,
    changelog_reader: Mutex<Option<ChangelogReader>>,
}

struct SinkTopic {
    name: String,
    partitions: i32,
}

struct ChangelogReader {
    consumer: Consumer,
    end: i64,
}

impl KafkaLog {
    /// Makes the topics that are missing and connects to all of them.
    ///
    /// # Errors
    /// What making or finding the topics meets; an input topic that does not exist is one.
    pub(super) async fn open(client: &Client, config: &QueryConfig) -> Result<Self, QueryError> {
        Self::connect(client, config)
            .await
            .map_err(|source| QueryError::Client { query: config.name.clone(), source })
    }

    async fn connect(client: &Client, config: &QueryConfig) -> Result<Self, ClientError> {
        let input = KafkaInput::open(client, &config.plan.sources).await?;
        let replicas = config.replication_factor;
        let kept = BTreeMap::from([("cleanup.policy", "delete"), ("retention.ms", "-1")]);
        make_topic(client, &config.changelog_topic(), 1, replicas, kept).await?;
        // Of rows that replace others the newest of each key stays for good; rows that stand are kept as the cluster has it.
        let output = match config.plan.mode {
            ChangelogMode::Append => BTreeMap::new(),
            ChangelogMode::Upsert | ChangelogMode::Retract => BTreeMap::from([("cleanup.policy", "compact")]),
        };
        make_topic(client, &config.output_topic, config.output_partitions, replicas, output).await?;
        make_topic(client, &config.dead_letter_topic, 1, replicas, BTreeMap::new()).await?;
        // The driver makes its own batches; waiting for more would only delay them.
        let producing = ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() };
        Ok(KafkaLog {
            query: config.name.clone(),
            producer: client.producer(producing).await?,
            input,
            own: topics::reader(client, IsolationLevel::ReadUncommitted).await?,
            output: SinkTopic::find(client, &config.output_topic).await?,
            dead_letters: SinkTopic::find(client, &config.dead_letter_topic).await?,
            changelog: config.changelog_topic(),
            changelog_reader: Mutex::new(None),
            client: client.clone(),
        })
    }

    fn failed(&self, source: ClientError) -> QueryError {
        QueryError::Client { query: self.query.clone(), source }
    }

    fn sink(&self, sink: Sink) -> &SinkTopic {
        match sink {
            Sink::Output => &self.output,
            Sink::DeadLetters => &self.dead_letters,
        }
    }

    async fn open_changelog(&self, from: i64) -> Result<ChangelogReader, ClientError> {
        let partition = TopicPartition::new(&self.changelog, 0);
        let consumer = topics::reader(&self.client, IsolationLevel::ReadUncommitted).await?;
        let ends = topics::end_offsets(&consumer, std::slice::from_ref(&partition)).await?;
        consumer.assign(vec![(partition, from)]).await?;
        Ok(ChangelogReader { consumer, end: ends.get(&0).copied().unwrap_or_default() })
    }

    async fn write_batches(
        &self,
        sink: &SinkTopic,
        records: Vec<OutputRecord>,
    ) -> Result<Offsets, ClientError> {
        let mut batches: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for output in records {
            batches.entry(sink.partition_of(&output)).or_default().push(output.record);
        }
        let mut deliveries: Vec<(i32, i64, Delivery)> = Vec::with_capacity(batches.len());
        for (partition, batch) in batches {
            let count = i64::try_from(batch.len()).unwrap_or(i64::MAX);
            deliveries.push((
                partition,
                count,
                self.producer.send_batch(&sink.name, partition, batch).await?,
            ));
        }
        let mut ends = Offsets::new();
        for (partition, count, delivery) in deliveries {
            let first = delivery.await?.offset;
            // A duplicate of a batch that the broker has forgotten has no offset; the old end then still holds.
            if first >= 0 {
                ends.insert(partition, first + count);
            }
        }
        Ok(ends)
    }
}

impl SinkTopic {
    async fn find(client: &Client, name: &str) -> Result<SinkTopic, ClientError> {
        let partitions = topics::partitions(client, name).await?.len();
        Ok(SinkTopic { name: name.to_owned(), partitions: i32::try_from(partitions).unwrap_or(i32::MAX) })
    }

    fn partition_of(&self, output: &OutputRecord) -> i32 {
        match (output.target, &output.record.key) {
            (Target::Key, Some(key)) => partition_of_key(key, self.partitions),
            (Target::Key, None) => 0,
            (Target::Input(partition), _) => partition.rem_euclid(self.partitions.max(1)),
        }
    }
}

async fn make_topic(
    client: &Client,
    name: &str,
    partitions: i32,
    replication_factor: i16,
    configs: BTreeMap<&str, &str>,
) -> Result<(), ClientError> {
    let configs = configs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let topic = NewTopic { name: name.to_owned(), partitions, replication_factor, configs };
    match client.admin().create_topics(&[topic]).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => Ok(()),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl QueryLog for KafkaLog {
    async fn read_changelog(&self, from: i64) -> Result<Vec<RawChangelogRecord>, QueryError> {
        let mut slot = self.changelog_reader.lock().await;
        if slot.is_none() {
            *slot = Some(self.open_changelog(from).await.map_err(|source| self.failed(source))?);
        }
        let Some(reader) = slot.as_ref() else { return Ok(Vec::new()) };
        let partition = TopicPartition::new(&self.changelog, 0);
        let mut records = Vec::new();
        while records.is_empty() {
            let position =
                reader.consumer.position(&partition).await.map_err(|source| self.failed(source))?;
            if position >= reader.end {
                *slot = None;
                return Ok(Vec::new());
            }
            let timeout = Duration::from_millis(500);
            for fetched in reader.consumer.poll(timeout).await.map_err(|source| self.failed(source))? {
                records.extend(fetched.records.into_iter().map(|record| RawChangelogRecord {
                    offset: record.offset,
                    key: record.key,
                    value: record.value,
                }));
            }
        }
        Ok(records)
    }

    async fn append_changelog(&self, records: Vec<(Bytes, Option<Bytes>)>) -> Result<i64, QueryError> {
        let records = records
            .into_iter()
            .map(|(key, value)| Record { key: Some(key), value, ..Record::default() })
            .collect();
        let sent = self.producer.send_batch(&self.changelog, 0, records).await;
        let delivered = sent.map_err(|source| self.failed(source))?.await;
        Ok(delivered.map_err(|source| self.failed(source))?.offset)
    }

    async fn seek_input(&self, positions: &InputOffsets) -> Result<(), QueryError> {
        self.input.seek(positions).await.map_err(|source| self.failed(source))
    }

    async fn poll_input(&self, timeout: Duration) -> Result<Vec<FetchedInput>, QueryError> {
        self.input.poll(timeout).await.map_err(|source| self.failed(source))
    }

    async fn input_ends(&self) -> Result<InputOffsets, QueryError> {
        self.input.ends().await.map_err(|source| self.failed(source))
    }

    async fn write(&self, sink: Sink, records: Vec<OutputRecord>) -> Result<Offsets, QueryError> {
        self.write_batches(self.sink(sink), records).await.map_err(|source| self.failed(source))
    }

    async fn sink_ends(&self, sink: Sink) -> Result<Offsets, QueryError> {
        let sink = self.sink(sink);
        let partitions: Vec<TopicPartition> =
            (0..sink.partitions).map(|partition| TopicPartition::new(&sink.name, partition)).collect();
        topics::end_offsets(&self.own, &partitions).await.map_err(|source| self.failed(source))
    }

    async fn written(&self, sink: Sink, from: &Offsets, epoch: Epoch) -> Result<BTreeSet<usize>, QueryError> {
        let ends = self.sink_ends(sink).await?;
        let mut found = BTreeSet::new();
        let topic = &self.sink(sink).name;
        let read = topics::read_range(
            &self.client,
            IsolationLevel::ReadUncommitted,
            topic,
            from,
            &ends,
            |_, records| {
                let tags = records.iter().filter_map(|record| epoch_of(&self.query, &record.headers));
                found.extend(tags.filter(|(of, _)| *of == epoch).map(|(_, sequence)| sequence));
                ControlFlow::Continue(())
            },
        );
        let _all_of_it = read.await.map_err(|source| self.failed(source))?;
        Ok(found)
    }

    fn now_ms(&self) -> i64 {
        now_ms()
    }
}
