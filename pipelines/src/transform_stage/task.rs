//! The order of effects: poll, call the plugin, send; and, now and then, commit outputs and positions together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_client::{ConsumerRecord, Header, Record, TopicPartition, partition_of_key};
use tokio::sync::watch;

use super::apply::{Applied, BatchFunction, apply, client_record};
use super::cluster::{Positions, StageCluster};
use super::status::{Order, Shared, StageHandle, StageState};
use super::{StageConfig, StageError};
use crate::resolve::ErrorPolicy;

/// How long a poll waits for records.
const POLL: Duration = Duration::from_millis(50);
/// The same while something is not committed: nobody reads it before that.
const POLL_UNCOMMITTED: Duration = Duration::from_millis(2);
/// Records and bytes of one call of the plugin.
const CALL_RECORDS_MAX: usize = 1000;
const CALL_BYTES_MAX: usize = 1 << 20;
/// Commit after this time, or when so many records were taken.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
const UNCOMMITTED_MAX: u64 = 500_000;
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
    let outcome = async {
        let mut stage = Stage::recover(cluster.clone(), function, config, shared).await?;
        stage.shared.state.send_replace(StageState::Running);
        work(&mut stage, &orders).await
    };
    let outcome = outcome.await;
    cluster.give_up().await;
    outcome
}

/// Until an order ends it.
async fn work(stage: &mut Stage, orders: &watch::Receiver<Order>) -> Result<StageState, StageError> {
    let mut finish_at: Option<Positions> = None;
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
        let timeout = if stage.uncommitted_since.is_some() { POLL_UNCOMMITTED } else { POLL };
        let fetched = stage.cluster.poll(timeout).await.map_err(StageError::client("reading the input"))?;
        let is_idle = fetched.iter().all(|fetched| fetched.records.is_empty());
        for fetched in fetched {
            stage.take(&fetched.partition, fetched.records).await?;
            stage.pass(fetched.partition, fetched.next_offset);
        }
        if is_idle || stage.is_commit_due() {
            stage.commit().await?;
        }
    }
}

/// A stage that has found its place.
struct Stage {
    cluster: Arc<dyn StageCluster>,
    function: Arc<dyn BatchFunction + Send + Sync>,
    config: Arc<StageConfig>,
    shared: Arc<Shared>,
    /// How many partitions each topic that is written to has.
    outputs: Arc<BTreeMap<String, i32>>,
    positions: Positions,
    committed: Positions,
    /// Counted when the records are committed.
    uncounted: Counts,
    /// Since when something was taken that is not committed.
    uncommitted_since: Option<Instant>,
}

#[derive(Default)]
struct Counts {
    taken: u64,
    written: u64,
    bad: u64,
}

/// What a call's worth of records became.
#[derive(Default)]
struct Outgoing {
    records: BTreeMap<TopicPartition, Vec<Record>>,
    written: u64,
    bad: u64,
}

impl Stage {
    /// Takes over from whoever was before, and finds what that has committed.
    async fn recover(
        cluster: Arc<dyn StageCluster>,
        function: Arc<dyn BatchFunction + Send + Sync>,
        config: StageConfig,
        shared: Arc<Shared>,
    ) -> Result<Stage, StageError> {
        let partitions = async |topic: &str| -> Result<i32, StageError> {
            let found = cluster.partitions(topic).await.map_err(StageError::client("asking for a topic"))?;
            found.ok_or_else(|| StageError::NoTopic(topic.to_owned()))
        };
        let mut inputs = Vec::new();
        for name in &config.inputs {
            let input = |partition| TopicPartition::new(name.clone(), partition);
            inputs.extend((0..partitions(name).await?).map(input));
        }
        let mut outputs = BTreeMap::from([(config.output.clone(), partitions(&config.output).await?)]);
        if let ErrorPolicy::DeadLetter { topic } = &config.on_error {
            outputs.insert(topic.clone(), partitions(topic).await?);
        }
        cluster.take_over().await.map_err(StageError::client("becoming the stage's only writer"))?;
        let committed =
            cluster.committed(&inputs).await.map_err(StageError::client("asking for committed offsets"))?;
        let begins =
            cluster.begins(&inputs).await.map_err(StageError::client("asking for the input's begin"))?;
        let position = |input: TopicPartition| {
            let begin = begins.get(&input).copied().unwrap_or(0);
            let position = committed.get(&input).map_or(begin, |offset| begin.max(*offset));
            (input, position)
        };
        let positions: Positions = inputs.into_iter().map(position).collect();
        cluster.seek(&positions).await.map_err(StageError::client("going to the committed offsets"))?;
        tracing::info!(stage = config.id, ?positions, "recovered");
        Ok(Stage {
            cluster,
            function,
            config: Arc::new(config),
            shared,
            outputs: Arc::new(outputs),
            positions,
            committed,
            uncounted: Counts::default(),
            uncommitted_since: None,
        })
    }

    async fn input_ends(&mut self) -> Result<Positions, StageError> {
        let inputs: Vec<_> = self.positions.keys().cloned().collect();
        self.cluster.ends(&inputs).await.map_err(StageError::client("asking for the input's end"))
    }

    fn has_reached(&self, ends: &Positions) -> bool {
        ends.iter().all(|(input, end)| self.positions.get(input).is_some_and(|position| position >= end))
    }

    fn is_commit_due(&self) -> bool {
        self.uncounted.taken >= UNCOMMITTED_MAX
            || self.uncommitted_since.is_some_and(|since| since.elapsed() >= COMMIT_INTERVAL)
    }

    /// Records of one input partition through the plugin and to the producer.
    async fn take(&mut self, input: &TopicPartition, records: Vec<ConsumerRecord>) -> Result<(), StageError> {
        for batch in cut(records) {
            if batch.is_empty() {
                continue;
            }
            self.uncommitted_since.get_or_insert_with(Instant::now);
            self.uncounted.taken += batch.len() as u64;
            let outgoing = self.apply(input, batch).await?;
            self.uncounted.written += outgoing.written;
            self.uncounted.bad += outgoing.bad;
            for (output, records) in outgoing.records {
                let sent = self.cluster.send(&output, records).await;
                sent.map_err(StageError::client("writing the output"))?;
            }
        }
        Ok(())
    }

    /// Goes past what was taken, and past what there is no record of.
    fn pass(&mut self, input: TopicPartition, next_offset: i64) {
        let position = self.positions.entry(input).or_insert(next_offset);
        *position = next_offset.max(*position);
    }

    /// The plugin blocks, so it runs on a thread of its own.
    async fn apply(
        &mut self,
        input: &TopicPartition,
        batch: Vec<ConsumerRecord>,
    ) -> Result<Outgoing, StageError> {
        let (function, config, input) = (self.function.clone(), self.config.clone(), input.clone());
        let outputs = self.outputs.clone();
        let work = move || -> Result<Outgoing, StageError> {
            let applied = apply(&*function, &batch).map_err(|error| StageError::Plugin(error.to_string()))?;
            let mut outgoing = Outgoing::default();
            for applied in applied {
                outgoing.add(applied, &config, &input, &outputs)?;
            }
            Ok(outgoing)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(StageError::TornDown))
    }

    /// Commits what was written together with how far that is.
    async fn commit(&mut self) -> Result<(), StageError> {
        if self.positions != self.committed {
            let is_new =
                |(input, offset): &(&TopicPartition, &i64)| self.committed.get(*input) != Some(*offset);
            let moved = self.positions.iter().filter(is_new).map(|(input, offset)| (input.clone(), *offset));
            let committed = self.cluster.commit(moved.collect()).await;
            committed.map_err(StageError::client("committing the output and the input's offsets"))?;
            self.committed.clone_from(&self.positions);
        }
        self.uncommitted_since = None;
        let Counts { taken, written, bad } = std::mem::take(&mut self.uncounted);
        self.shared.records_in.fetch_add(taken, Ordering::Relaxed);
        self.shared.records_out.fetch_add(written, Ordering::Relaxed);
        self.shared.records_bad.fetch_add(bad, Ordering::Relaxed);
        Ok(())
    }
}

impl Outgoing {
    fn add(
        &mut self,
        applied: Applied<'_>,
        config: &StageConfig,
        input: &TopicPartition,
        outputs: &BTreeMap<String, i32>,
    ) -> Result<(), StageError> {
        let (topic, key, record) = match applied {
            Applied::Output(record) => {
                self.written += 1;
                let record = client_record(record);
                (&config.output, record.key.clone(), record)
            }
            Applied::Bad { input: record, reason } => match &config.on_error {
                ErrorPolicy::Stop => {
                    let place = format!("{input}@{}", record.offset);
                    return Err(StageError::BadRecord { place, reason });
                }
                ErrorPolicy::DeadLetter { topic } => {
                    self.bad += 1;
                    (topic, None, dead_letter(record, &reason, config, input))
                }
            },
        };
        let partitions = outputs.get(topic).map_or(1, |partitions| *partitions.max(&1));
        // Without a key the order of the input's partition is kept.
        let partition = match &key {
            Some(key) => partition_of_key(key, partitions),
            None => input.partition.rem_euclid(partitions),
        };
        self.records.entry(TopicPartition::new(topic.clone(), partition)).or_default().push(record);
        Ok(())
    }
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

/// The record as it was, with the place and the reason under Kafka Connect's header names (KIP-298).
fn dead_letter(
    input: &ConsumerRecord,
    reason: &str,
    config: &StageConfig,
    partition: &TopicPartition,
) -> Record {
    let mut headers = input.headers.clone();
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
