//! The topics of a query on a Kafka cluster, through the client.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use ottla_client::{
    Client, ClientError, Consumer, ErrorCode, NewTopic, OFFSET_EARLIEST, Producer, ProducerConfig, Record,
    TopicPartition, partition_of_key,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::epoch::{OutputRecord, Target};
use super::error::QueryError;
use super::input::FetchedInput;
use super::kafka_input::{KafkaInput, now_ms};
use super::log::{EpochRecords, QueryLog, RawChangelogRecord};
use super::query::QueryConfig;
use super::topics;
use crate::planner::ChangelogMode;
use crate::state::changelog::InputOffsets;

/// How long an epoch is tried to be written while the cluster does not take it.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(120);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A changelog's segments: only those that are full can be compacted.
const CHANGELOG_SEGMENT_BYTES: &str = "67108864";

/// Input, output, dead letters and changelog of one query.
pub(super) struct KafkaLog {
    query: String,
    producer: Producer,
    input: KafkaInput,
    output: SinkTopic,
    dead_letters: SinkTopic,
    changelog: String,
    changelog_reader: Mutex<ChangelogReader>,
}

struct SinkTopic {
    name: String,
    partitions: i32,
}

struct ChangelogReader {
    partition: TopicPartition,
    /// Until the end was reached.
    consumer: Option<Consumer>,
    end: i64,
}

impl ChangelogReader {
    async fn open(client: &Client, topic: &str) -> Result<ChangelogReader, ClientError> {
        let partition = TopicPartition::new(topic, 0);
        let consumer = topics::reader(client).await?;
        let ends = topics::end_offsets(&consumer, std::slice::from_ref(&partition)).await?;
        consumer.assign(vec![(partition.clone(), OFFSET_EARLIEST)]).await?;
        let end = ends.get(&0).copied().unwrap_or_default();
        Ok(ChangelogReader { partition, consumer: Some(consumer), end })
    }

    async fn next(&mut self) -> Result<Vec<RawChangelogRecord>, ClientError> {
        let Some(consumer) = &self.consumer else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        while records.is_empty() {
            // What is aborted or compacted away is passed over, so the position decides, not the last record.
            if self.end == 0 || consumer.position(&self.partition).await? >= self.end {
                self.consumer = None;
                return Ok(Vec::new());
            }
            for fetched in consumer.poll(Duration::from_millis(500)).await? {
                records.extend(fetched.records.into_iter().map(|record| RawChangelogRecord {
                    offset: record.offset,
                    key: record.key,
                    value: record.value,
                }));
            }
        }
        Ok(records)
    }
}

/// The records of a transaction by topic and partition.
type Batches<'a> = BTreeMap<(&'a str, i32), Vec<Record>>;

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
        let kept =
            BTreeMap::from([("cleanup.policy", "compact"), ("segment.bytes", CHANGELOG_SEGMENT_BYTES)]);
        make_topic(client, &config.changelog_topic(), 1, kept).await?;
        // Of rows that replace others the newest of each key stays for good; rows that stand are kept as the cluster has it.
        let output = match config.plan.mode {
            ChangelogMode::Append => BTreeMap::new(),
            ChangelogMode::Upsert | ChangelogMode::Retract => BTreeMap::from([("cleanup.policy", "compact")]),
        };
        make_topic(client, &config.output_topic, config.output_partitions, output).await?;
        make_topic(client, &config.dead_letter_topic, 1, BTreeMap::new()).await?;
        // The driver makes its own batches; waiting for more would only delay them.
        let producing = ProducerConfig {
            linger: Duration::ZERO,
            transactional_id: Some(format!("ottla-query-{}", config.name)),
            ..ProducerConfig::default()
        };
        let producer = client.producer(producing).await?;
        // From here on no earlier instance writes, and what it has left open is aborted: the changelog's end stands.
        producer.init_transactions().await?;
        let changelog_reader = ChangelogReader::open(client, &config.changelog_topic()).await?;
        Ok(KafkaLog {
            query: config.name.clone(),
            producer,
            input,
            output: SinkTopic::find(client, &config.output_topic).await?,
            dead_letters: SinkTopic::find(client, &config.dead_letter_topic).await?,
            changelog: config.changelog_topic(),
            changelog_reader: Mutex::new(changelog_reader),
        })
    }

    fn failed(&self, source: ClientError) -> QueryError {
        let query = self.query.clone();
        match source {
            ClientError::ProducerFenced { .. } => QueryError::AnotherInstance { query },
            source => QueryError::Client { query, source },
        }
    }

    fn batches(&self, records: EpochRecords) -> Batches<'_> {
        let mut batches = Batches::new();
        for (topic, outputs) in [(&self.output, records.outputs), (&self.dead_letters, records.dead_letters)]
        {
            for output in outputs {
                let place = (topic.name.as_str(), topic.partition_of(&output));
                batches.entry(place).or_default().push(output.record);
            }
        }
        let changelog = records.changelog.into_iter();
        let changelog = changelog.map(|(key, value)| Record { key: Some(key), value, ..Record::default() });
        batches.entry((self.changelog.as_str(), 0)).or_default().extend(changelog);
        batches
    }

    /// Writes all of it in a transaction; one that had to be aborted is tried again. Nothing stays open but what nobody knows
    /// the end of, or what another instance has taken over.
    async fn write(&self, batches: &Batches<'_>) -> Result<(), ClientError> {
        let give_up_at = Instant::now() + COMMIT_TIME_MAX;
        loop {
            self.producer.begin_transaction()?;
            let error = match self.send(batches).await {
                Ok(()) => match until(give_up_at, || self.producer.commit_transaction()).await {
                    Ok(()) => return Ok(()),
                    // Whether it is committed is known to nobody but the coordinator, which tells the next instance.
                    Err(error) if error.is_retriable() => return Err(error),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if error.is_fatal() {
                return Err(error);
            }
            until(give_up_at, || self.producer.abort_transaction()).await?;
            if !error.must_abort() || Instant::now() >= give_up_at {
                return Err(error);
            }
            tracing::warn!(query = self.query, %error, "an epoch was not committed and is written again");
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn send(&self, batches: &Batches<'_>) -> Result<(), ClientError> {
        for ((topic, partition), records) in batches {
            // The commit waits for all of them and fails with the first that fails.
            drop(self.producer.send_batch(topic, *partition, records).await?);
        }
        Ok(())
    }
}

/// Repeats what may be repeated until it is known whether it was done.
async fn until<F: Future<Output = Result<(), ClientError>>>(
    give_up_at: Instant,
    mut attempt: impl FnMut() -> F,
) -> Result<(), ClientError> {
    loop {
        match attempt().await {
            Err(error) if error.is_retriable() && Instant::now() < give_up_at => sleep(RETRY_PAUSE).await,
            outcome => return outcome,
        }
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
    configs: BTreeMap<&str, &str>,
) -> Result<(), ClientError> {
    let configs = configs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let topic = NewTopic { configs, ..NewTopic::new(name, partitions) };
    match client.admin().create_topics(&[topic]).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => Ok(()),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl QueryLog for KafkaLog {
    async fn read_changelog(&self) -> Result<Vec<RawChangelogRecord>, QueryError> {
        self.changelog_reader.lock().await.next().await.map_err(|source| self.failed(source))
    }

    async fn commit(&self, records: EpochRecords) -> Result<(), QueryError> {
        debug_assert!(records.changes.is_empty(), "only a query with a listener gives changes");
        self.write(&self.batches(records)).await.map_err(|source| self.failed(source))
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

    fn now_ms(&self) -> i64 {
        now_ms()
    }
}
