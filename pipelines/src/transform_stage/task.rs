//! The order of effects: poll, call the plugin, produce; and, when everything is acknowledged, commit. It
//! decides nothing about positions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_client::{ConsumerRecord, Header, Record, TopicPartition, partition_of_key};
use tokio::sync::watch;

use super::apply::{Applied, BatchFunction, apply, client_record};
use super::cluster::{Acknowledged, StageCluster, StoredCommit, TopicInfo};
use super::ledger::{CommitMetadata, Ledger, tail_start};
use super::origin::{Origin, Position, is_own};
use super::status::{Order, Shared, StageHandle, StageState};
use super::{StageConfig, StageError};
use crate::resolve::ErrorPolicy;

/// How long a poll waits for records.
const POLL: Duration = Duration::from_millis(50);
/// Records and bytes of one call of the plugin.
const CALL_RECORDS_MAX: usize = 1000;
const CALL_BYTES_MAX: usize = 1 << 20;
/// Commit when so many records are on their way, or after this time.
const PENDING_MAX: usize = 20_000;
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// The first pause before a new attempt; it doubles up to the last.
const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);
const RETRIES_MAX: u32 = 12;

/// Starts a stage.
pub fn start(
    cluster: Arc<dyn StageCluster>,
    function: Arc<dyn BatchFunction + Send + Sync>,
    config: StageConfig,
) -> StageHandle {
    let (handle, shared, orders) = StageHandle::new();
    tokio::spawn(async move {
        let mut retries_in_a_row = 0;
        let state = loop {
            let written_before = shared.records_out.load(Ordering::Relaxed);
            let attempt =
                attempt(cluster.clone(), function.clone(), config.clone(), shared.clone(), orders.clone());
            // A task of its own, so that a panic ends the stage as failed and not silently.
            let error = match tokio::spawn(attempt).await {
                Ok(Ok(state)) => break state,
                Ok(Err(error)) => error,
                Err(lost) => {
                    tracing::error!(stage = config.id, %lost, "a stage's task was lost");
                    StageError::TornDown
                }
            };
            if shared.records_out.load(Ordering::Relaxed) > written_before {
                retries_in_a_row = 0;
            }
            retries_in_a_row += 1;
            if !error.is_retriable() || retries_in_a_row > RETRIES_MAX || current(&orders) == Order::Stop {
                break StageState::Failed(error);
            }
            tracing::warn!(stage = config.id, retry = retries_in_a_row, %error, "a stage starts again after an error");
            shared.state.send_replace(StageState::Retrying);
            let pause = RETRY_PAUSE_FIRST.saturating_mul(1 << retries_in_a_row.min(16)).min(RETRY_PAUSE_MAX);
            tokio::time::sleep(pause).await;
        };
        shared.state.send_replace(state);
    });
    handle
}

/// When every handle is gone nobody can give an order, so that is an order to stop.
fn current(orders: &watch::Receiver<Order>) -> Order {
    if orders.has_changed().is_err() { Order::Stop } else { *orders.borrow() }
}

/// One run from the last commit on.
async fn attempt(
    cluster: Arc<dyn StageCluster>,
    function: Arc<dyn BatchFunction + Send + Sync>,
    config: StageConfig,
    shared: Arc<Shared>,
    orders: watch::Receiver<Order>,
) -> Result<StageState, StageError> {
    shared.state.send_replace(StageState::Starting);
    let mut stage = Stage::recover(cluster, function, config, shared).await?;
    stage.shared.state.send_replace(StageState::Running);
    let outcome = work(&mut stage, &orders).await;
    if outcome.is_err() {
        // The next attempt reads the output's tail: what is on its way must have arrived, or been given up,
        // by then.
        for (_, acknowledged) in stage.pending.drain(..) {
            let _ = acknowledged.await;
        }
    }
    outcome
}

/// Until an order ends it.
async fn work(stage: &mut Stage, orders: &watch::Receiver<Order>) -> Result<StageState, StageError> {
    let mut finish_at: Option<BTreeMap<TopicPartition, i64>> = None;
    loop {
        match current(orders) {
            Order::Stop => {
                stage.commit().await?;
                return Ok(StageState::Stopped);
            }
            Order::Finish if finish_at.is_none() => finish_at = Some(stage.input_ends().await?),
            Order::Finish | Order::Run => {}
        }
        if finish_at.as_ref().is_some_and(|ends| stage.has_reached(ends)) {
            stage.commit().await?;
            return Ok(StageState::Done);
        }
        let fetched = stage.cluster.poll(POLL).await.map_err(StageError::client("reading the input"))?;
        let is_idle = fetched.iter().all(|fetched| fetched.records.is_empty());
        for fetched in fetched {
            stage.take(&fetched.partition, fetched.records).await?;
            stage.pass(fetched.partition, fetched.next_offset);
        }
        if is_idle || stage.pending.len() >= PENDING_MAX || stage.last_commit.elapsed() >= COMMIT_INTERVAL {
            stage.commit().await?;
        }
    }
}

/// A stage that has found its place.
struct Stage {
    cluster: Arc<dyn StageCluster>,
    function: Arc<dyn BatchFunction + Send + Sync>,
    config: StageConfig,
    origin: Origin,
    shared: Arc<Shared>,
    /// Partitions of the topics written to.
    outputs: BTreeMap<String, TopicInfo>,
    /// The next record of each input partition.
    positions: BTreeMap<TopicPartition, i64>,
    committed: BTreeMap<TopicPartition, i64>,
    ledger: Ledger,
    pending: Vec<(TopicPartition, Acknowledged)>,
    /// Counted when the records are acknowledged.
    uncounted: Counts,
    last_commit: Instant,
}

#[derive(Default)]
struct Counts {
    taken: u64,
    written: u64,
    bad: u64,
    skipped: u64,
}

/// A record on its way out, with the place it comes from.
struct Outgoing {
    topic: String,
    position: Position,
    record: Record,
    is_bad: bool,
}

impl Stage {
    /// Finds what was committed, and what was written beyond it.
    async fn recover(
        cluster: Arc<dyn StageCluster>,
        function: Arc<dyn BatchFunction + Send + Sync>,
        config: StageConfig,
        shared: Arc<Shared>,
    ) -> Result<Stage, StageError> {
        let topic = async |name: &str| -> Result<TopicInfo, StageError> {
            let info = cluster.topic(name).await.map_err(StageError::client("asking for a topic"))?;
            info.ok_or_else(|| StageError::NoTopic(name.to_owned()))
        };
        let mut inputs = Vec::new();
        for name in &config.inputs {
            let partitions = topic(name).await?.partitions;
            inputs.extend((0..partitions).map(|partition| TopicPartition::new(name.clone(), partition)));
        }
        let mut outputs = BTreeMap::from([(config.output.clone(), topic(&config.output).await?)]);
        if let ErrorPolicy::DeadLetter { topic: name } = &config.on_error {
            outputs.insert(name.clone(), topic(name).await?);
        }
        let stored =
            cluster.committed(&inputs).await.map_err(StageError::client("asking for committed offsets"))?;
        let begins =
            cluster.begins(&inputs).await.map_err(StageError::client("asking for the input's begin"))?;
        let position = |input: &TopicPartition| {
            let begin = begins.get(input).copied().unwrap_or(0);
            stored.get(input).map_or(begin, |commit| commit.offset.max(begin))
        };
        let positions: BTreeMap<_, _> = inputs.iter().map(|input| (input.clone(), position(input))).collect();
        let commits: Vec<CommitMetadata> = inputs
            .iter()
            .map(|input| {
                stored
                    .get(input)
                    .map_or_else(CommitMetadata::default, |commit| CommitMetadata::parse(&commit.metadata))
            })
            .collect();
        let origin = Origin::new(&config.id);
        let ledger = read_tails(&*cluster, &origin, &outputs, &commits).await?;
        cluster.seek(&positions).await.map_err(StageError::client("going to the committed offsets"))?;
        tracing::info!(stage = config.id, ?positions, "recovered");
        Ok(Stage {
            cluster: cluster.clone(),
            function,
            origin,
            config,
            shared,
            outputs,
            positions,
            committed: stored.into_iter().map(|(input, commit)| (input, commit.offset)).collect(),
            ledger,
            pending: Vec::new(),
            uncounted: Counts::default(),
            last_commit: Instant::now(),
        })
    }

    async fn input_ends(&mut self) -> Result<BTreeMap<TopicPartition, i64>, StageError> {
        let inputs: Vec<_> = self.positions.keys().cloned().collect();
        self.cluster.ends(&inputs).await.map_err(StageError::client("asking for the input's end"))
    }

    fn has_reached(&self, ends: &BTreeMap<TopicPartition, i64>) -> bool {
        ends.iter().all(|(input, end)| self.positions.get(input).is_some_and(|position| position >= end))
    }

    /// Records of one input partition through the plugin and to the producer.
    async fn take(&mut self, input: &TopicPartition, records: Vec<ConsumerRecord>) -> Result<(), StageError> {
        for batch in cut(records) {
            let Some(last) = batch.last().map(|record| record.offset) else { continue };
            self.uncounted.taken += batch.len() as u64;
            for outgoing in self.apply(input, batch).await? {
                self.send(input, outgoing).await?;
            }
            self.positions.insert(input.clone(), last + 1);
        }
        Ok(())
    }

    /// Goes past what there is no record of.
    fn pass(&mut self, input: TopicPartition, next_offset: i64) {
        let position = self.positions.entry(input).or_insert(next_offset);
        *position = next_offset.max(*position);
    }

    /// The plugin blocks, so it runs on a thread of its own.
    async fn apply(
        &mut self,
        input: &TopicPartition,
        batch: Vec<ConsumerRecord>,
    ) -> Result<Vec<Outgoing>, StageError> {
        let (function, config, input) = (self.function.clone(), self.config.clone(), input.clone());
        let work = move || -> Result<Vec<Outgoing>, StageError> {
            let applied = apply(&*function, &batch).map_err(|error| StageError::Plugin(error.to_string()))?;
            applied.into_iter().map(|applied| outgoing(applied, &config, &input)).collect()
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(StageError::TornDown))
    }

    async fn send(&mut self, input: &TopicPartition, outgoing: Outgoing) -> Result<(), StageError> {
        let Outgoing { topic, position, mut record, is_bad } = outgoing;
        let partitions = self.outputs.get(&topic).map_or(1, |info| info.partitions.max(1));
        // The same record goes to the same partition in every run, or the position found there would say
        // nothing.
        let partition = match &record.key {
            Some(key) if !is_bad => partition_of_key(key, partitions),
            Some(_) | None => input.partition.rem_euclid(partitions),
        };
        let output = TopicPartition::new(topic, partition);
        if !self.ledger.is_new(&output, input, position) {
            self.uncounted.skipped += 1;
            return Ok(());
        }
        record.headers.push(self.origin.header(input, position));
        let acknowledged =
            self.cluster.send(&output, record).await.map_err(StageError::client("writing the output"))?;
        self.pending.push((output, acknowledged));
        if is_bad {
            self.uncounted.bad += 1;
        } else {
            self.uncounted.written += 1;
        }
        Ok(())
    }

    /// Waits until all that was written is acknowledged, then stores how far that is.
    async fn commit(&mut self) -> Result<(), StageError> {
        for (output, acknowledged) in self.pending.drain(..) {
            let offset = acknowledged.await.map_err(StageError::client("writing the output"))?;
            self.ledger.acknowledged(&output, offset);
        }
        if self.positions != self.committed {
            let metadata = self.ledger.metadata();
            let commit = |offset: &i64| StoredCommit { offset: *offset, metadata: metadata.clone() };
            let commits =
                self.positions.iter().map(|(input, offset)| (input.clone(), commit(offset))).collect();
            self.cluster
                .commit(commits)
                .await
                .map_err(StageError::client("committing the input's offsets"))?;
            self.committed = self.positions.clone();
        }
        self.last_commit = Instant::now();
        let Counts { taken, written, bad, skipped } = std::mem::take(&mut self.uncounted);
        self.shared.records_in.fetch_add(taken, Ordering::Relaxed);
        self.shared.records_out.fetch_add(written, Ordering::Relaxed);
        self.shared.records_bad.fetch_add(bad, Ordering::Relaxed);
        self.shared.records_skipped.fetch_add(skipped, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads what may have been written beyond the commits.
async fn read_tails(
    cluster: &dyn StageCluster,
    origin: &Origin,
    outputs: &BTreeMap<String, TopicInfo>,
    commits: &[CommitMetadata],
) -> Result<Ledger, StageError> {
    let mut ledger = Ledger::default();
    for (topic, info) in outputs {
        let partitions: Vec<_> =
            (0..info.partitions).map(|partition| TopicPartition::new(topic.clone(), partition)).collect();
        let begins =
            cluster.begins(&partitions).await.map_err(StageError::client("asking for the output's begin"))?;
        let ends =
            cluster.ends(&partitions).await.map_err(StageError::client("asking for the output's end"))?;
        let mut starts = BTreeMap::new();
        for partition in &partitions {
            let end = ends.get(partition).copied().unwrap_or(0);
            let begin = begins.get(partition).copied().unwrap_or(0);
            let start = tail_start(commits, topic, &info.id, partition.partition).max(begin);
            starts.insert(partition.partition, start);
            if start < end {
                let mut see = |record: &ConsumerRecord| {
                    if let Some((input, position)) = origin.read(&record.headers) {
                        ledger.found(partition, input, position);
                    }
                };
                let read = cluster.read(partition, start, end, &mut see).await;
                read.map_err(StageError::client("reading the output's tail"))?;
            }
        }
        ledger.knows_topic(topic, &info.id, starts);
    }
    Ok(ledger)
}

/// Records in calls' worth.
fn cut(records: Vec<ConsumerRecord>) -> Vec<Vec<ConsumerRecord>> {
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for record in records {
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let record_bytes = length(&record.key) + length(&record.value);
        if batch.len() >= CALL_RECORDS_MAX || (!batch.is_empty() && bytes + record_bytes > CALL_BYTES_MAX) {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += record_bytes;
        batch.push(record);
    }
    batches.push(batch);
    batches
}

fn outgoing(
    applied: Applied<'_>,
    config: &StageConfig,
    partition: &TopicPartition,
) -> Result<Outgoing, StageError> {
    match applied {
        Applied::Output { input, number, record } => Ok(Outgoing {
            topic: config.output.clone(),
            position: Position::new(input.offset, number),
            record: client_record(record),
            is_bad: false,
        }),
        Applied::Bad { input, reason } => match &config.on_error {
            ErrorPolicy::Stop => {
                Err(StageError::BadRecord { place: format!("{partition}@{}", input.offset), reason })
            }
            ErrorPolicy::DeadLetter { topic } => Ok(Outgoing {
                topic: topic.clone(),
                position: Position::new(input.offset, 0),
                record: dead_letter(input, &reason, config, partition),
                is_bad: true,
            }),
        },
    }
}

/// The record as it was, with the place and the reason under Kafka Connect's header names (KIP-298).
fn dead_letter(
    input: &ConsumerRecord,
    reason: &str,
    config: &StageConfig,
    partition: &TopicPartition,
) -> Record {
    let mut headers: Vec<Header> =
        input.headers.iter().filter(|header| is_own(&header.key)).cloned().collect();
    let context = [
        ("__connect.errors.topic", partition.topic.clone()),
        ("__connect.errors.partition", partition.partition.to_string()),
        ("__connect.errors.offset", input.offset.to_string()),
        ("__connect.errors.connector.name", config.id.clone()),
        ("__connect.errors.task.id", "0".to_owned()),
        ("__connect.errors.stage", "TRANSFORMATION".to_owned()),
        ("__connect.errors.class.name", "wasm".to_owned()),
        ("__connect.errors.exception.class.name", "ottla.errors.PluginError".to_owned()),
        ("__connect.errors.exception.message", reason.to_owned()),
    ];
    headers.extend(
        context.into_iter().map(|(key, value)| Header { key: key.into(), value: Some(Bytes::from(value)) }),
    );
    Record {
        key: input.key.clone(),
        value: input.value.clone(),
        headers,
        timestamp_ms: Some(input.timestamp_ms),
    }
}
