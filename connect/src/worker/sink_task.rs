//! The sink task: one owner of a sink, a reader and the offsets; one loop, one `select!`.
//!
//! ```text
//!   start    offsets stored in the target ─► read from there; dead letters already written behind the stored end
//!   loop     fetch ─► read into runs ─► Sink::write ─► dead letters, acknowledged ─► Sink::commit(offsets)
//! ```
//! The offsets committed with the rows are those of the topic and, so that dead letters are not doubled either, the end of
//! the dead-letter topic after the last letter.
//!
//! A sink whose target has no place for offsets keeps them in a consumer group, committed after the sink says that all is
//! delivered. Letters written just before a crash may come twice then, as the records do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use ottla_client::{Client, ConsumerRecord, Record, partition_of_key};
use ottla_formats::Format;
use serde_json::Value;

use super::OnError;
use super::cluster::{Bounds, Cluster, Fetched, KafkaCluster, Reader, Topic, Writer, read_spans};
use super::dead_letter::{Letter, Stage};
use super::origin::Origin;
use super::sink_batches::{Read, RecordReader, written_schema};
use super::task::{End, Order, Orders, RetryPolicy, Shared, TaskHandle, TaskState, spawn};
use crate::connector::{ConsumedOffset, OffsetStore, Sink, SinkContext};
use crate::error::ConnectError;
use crate::registry::{Build, ConnectorKind, SinkConfig, connector_type};
use crate::transforms::Transforms;

/// How long a fetch may wait for records.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// How long a target may still take to take what it was given before the task was told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// After so long without records the offsets of a group are committed again.
const OFFSETS_KEPT_FOR: Duration = Duration::from_secs(600);

/// What a sink task is to do.
pub struct SinkTaskConfig {
    /// The connector's name: its offsets are stored in the target under it.
    pub name: String,
    /// The connector's type, e.g. `sqlite`.
    pub connector_type: String,
    /// The connector's own config, as the pipeline has it.
    pub config: Value,
    /// Where the records come from; made with the cluster's defaults if it does not exist.
    pub topic: String,
    /// How record values become rows.
    pub format: Arc<dyn Format>,
    /// The columns of the values; without one the sink gets raw values, if it can take them.
    pub schema: Option<SchemaRef>,
    /// What is done to the rows before the sink gets them.
    pub transforms: Transforms,
    /// What to do with what cannot be read or transformed, or what the target refuses.
    pub on_error: OnError,
    /// The consumer group in which the offsets of a sink are kept whose target has no place for them.
    pub group: String,
    /// What happens after errors that may pass.
    pub retry: RetryPolicy,
}

impl SinkTaskConfig {
    /// A task with everything else left out: JSON, raw values, stop on errors, the group `connect-NAME`.
    #[must_use]
    pub fn new(name: &str, connector_type: &str, config: Value, topic: &str) -> Self {
        Self {
            name: name.to_owned(),
            connector_type: connector_type.to_owned(),
            config,
            topic: topic.to_owned(),
            format: Arc::new(ottla_formats::JsonFormat),
            schema: None,
            transforms: Transforms::default(),
            on_error: OnError::Stop,
            group: group_of(name),
            retry: RetryPolicy::default(),
        }
    }
}

/// The consumer group of a connector, as Kafka Connect names it.
pub(crate) fn group_of(connector: &str) -> String {
    format!("connect-{connector}")
}

/// Writes a topic to a sink: exactly once if the target keeps the offsets with the rows, else at least once.
pub struct SinkTask;

impl SinkTask {
    /// Starts the task on the current tokio runtime; it reads all partitions of the topic until it is told to finish or to
    /// stop. What is wrong with the config is told at once, what is wrong with the target by [`TaskHandle::wait`].
    ///
    /// # Errors
    /// [`ConnectError::UnknownType`], [`ConnectError::InvalidConfig`].
    pub fn start(client: Client, config: SinkTaskConfig) -> Result<TaskHandle, ConnectError> {
        Self::start_on(Arc::new(KafkaCluster::new(client)), config)
    }

    pub(crate) fn start_on(
        cluster: Arc<dyn Cluster>,
        config: SinkTaskConfig,
    ) -> Result<TaskHandle, ConnectError> {
        let class = connector_type(ConnectorKind::Sink, &config.connector_type)?;
        let invalid = |errors| ConnectError::InvalidConfig { name: config.name.clone(), errors };
        let errors = class.validate(&config.config);
        if !errors.is_empty() {
            return Err(invalid(errors));
        }
        let Build::Sink(build) = &class.build else {
            // `connector_type` was asked for a sink.
            return Err(invalid(Vec::new()));
        };
        let sink: Arc<dyn SinkConfig> = build(config.config.clone()).map_err(invalid)?.into();
        let (name, retry) = (config.name.clone(), config.retry);
        let task = Arc::new(Task { cluster, class: class.name, sink, config });
        Ok(spawn(&name, retry, move |shared, orders| Arc::clone(&task).run(shared, orders)))
    }
}

/// What is the same in every attempt.
struct Task {
    cluster: Arc<dyn Cluster>,
    class: &'static str,
    sink: Arc<dyn SinkConfig>,
    config: SinkTaskConfig,
}

/// One attempt, after it has found its place.
struct Attempt {
    task: Arc<Task>,
    shared: Arc<Shared>,
    sink: Box<dyn Sink>,
    store: OffsetStore,
    records: Arc<RecordReader>,
    topic: Topic,
    /// By partition, the offset after the last record taken.
    next_offsets: BTreeMap<i32, i64>,
    /// By partition, its end as far as known.
    ends: BTreeMap<i32, i64>,
    letters: Option<Letters>,
    last_commit: Instant,
}

/// The dead letters of one attempt.
struct Letters {
    topic: Topic,
    writer: Box<dyn Writer>,
    /// By partition of the dead-letter topic, the offset after the last letter of ours.
    ends: BTreeMap<i32, i64>,
    /// Partition and offset of records whose letters are written though their offsets were not committed.
    written: BTreeSet<(i32, u64)>,
}

/// A record that is to become a dead letter: its index in the fetch, the stage and the reason.
struct Bad {
    index: usize,
    stage: Stage,
    reason: String,
}

impl Task {
    async fn run(self: Arc<Self>, shared: Arc<Shared>, orders: Orders) -> Result<End, ConnectError> {
        let mut attempt = self.open(Arc::clone(&shared)).await?;
        let lookup = ConnectError::client(&attempt.task.config.name, "opening a consumer");
        let task = Arc::clone(&attempt.task);
        let mut reader = task.cluster.reader(&attempt.topic, &attempt.next_offsets).await.map_err(lookup)?;
        shared.set_state(TaskState::Running);
        let end = attempt.run(&mut *reader, orders).await?;
        reader.close().await;
        if let Some(letters) = attempt.letters {
            letters.writer.close().await;
        }
        Ok(end)
    }

    /// Opens the sink and finds out what it has.
    async fn open(self: Arc<Self>, shared: Arc<Shared>) -> Result<Attempt, ConnectError> {
        let name = &self.config.name;
        let mut sink = self.open_sink().await?;
        let store = self.sink.offset_store();
        let committed = match store {
            OffsetStore::Target => sink.committed().await.map_err(ConnectError::connector(name))?,
            OffsetStore::Group => Vec::new(),
        };

        let lookup = ConnectError::client(name, "looking up its topics");
        let topic = self.cluster.topic(&self.config.topic, -1).await.map_err(&lookup)?;
        let bounds = self.cluster.bounds(&topic).await.map_err(&lookup)?;
        let stored = match store {
            OffsetStore::Target => stored_offsets(&committed, &topic),
            OffsetStore::Group => {
                let failed = ConnectError::client(name, "reading its group's offsets");
                self.cluster.group_offsets(&self.config.group, &topic).await.map_err(failed)?
            }
        };
        // Only a topic of the same id counts as known, so a fresh cluster is read from the start.
        let is_new = stored.is_empty();
        let next_offsets: BTreeMap<i32, i64> = bounds
            .iter()
            .map(|(partition, bounds)| (*partition, stored.get(partition).copied().unwrap_or(bounds.start)))
            .collect();
        let ends = bounds.iter().map(|(partition, bounds)| (*partition, bounds.end)).collect();
        let letters = match &self.config.on_error {
            OnError::DeadLetter { topic: name } => {
                let letter_topic = self.cluster.topic(name, 1).await.map_err(&lookup)?;
                // A group has no place for the ends of the letters.
                let from_end = is_new || store == OffsetStore::Group;
                Some(self.open_letters(letter_topic, &topic, &committed, from_end).await?)
            }
            OnError::Stop => None,
        };
        tracing::info!(connector = %name, topic = %topic.name, offsets = ?next_offsets, "sink starts");
        let unfit = |reason| ConnectError::Format { name: name.clone(), reason };
        let records = RecordReader::new(
            Arc::clone(&self.config.format),
            self.config.schema.clone(),
            self.config.transforms.clone(),
            sink.key_columns(),
        );
        let records = Arc::new(records.map_err(unfit)?);
        let mut attempt = Attempt {
            task: Arc::clone(&self),
            shared,
            sink,
            store,
            records,
            topic,
            next_offsets,
            ends,
            letters,
            last_commit: Instant::now(),
        };
        if is_new {
            // Before the first letter, so that no letter of ours is before the stored ends.
            attempt.commit().await?;
        }
        attempt.show_position();
        Ok(attempt)
    }

    async fn open_sink(&self) -> Result<Box<dyn Sink>, ConnectError> {
        let name = self.config.name.clone();
        let schema = written_schema(self.config.schema.as_ref(), &self.config.transforms)
            .map_err(|reason| ConnectError::Format { name: name.clone(), reason })?;
        let context = SinkContext { name: name.clone(), schema };
        let config = Arc::clone(&self.sink);
        // Opening may read the disk or wait for a lock.
        let opened = tokio::task::spawn_blocking(move || config.open(context)).await;
        opened
            .map_err(|lost| ConnectError::TaskLost { name: name.clone(), reason: lost.to_string() })?
            .map_err(ConnectError::connector(&name))
    }

    /// Finds the letters behind the stored ends of the dead-letter topic.
    async fn open_letters(
        &self,
        letter_topic: Topic,
        topic: &Topic,
        committed: &[ConsumedOffset],
        from_end: bool,
    ) -> Result<Letters, ConnectError> {
        let name = &self.config.name;
        let failed = ConnectError::client(name, "reading its dead letters");
        let bounds = self.cluster.bounds(&letter_topic).await.map_err(&failed)?;
        let stored = stored_offsets(committed, &letter_topic);
        let mut ends = BTreeMap::new();
        let mut spans = BTreeMap::new();
        for (partition, found) in &bounds {
            let start =
                if from_end { found.end } else { stored.get(partition).copied().unwrap_or(found.start) };
            ends.insert(*partition, start);
            spans.insert(*partition, Bounds { start: start.max(found.start), end: found.end });
        }
        let origins: Vec<(i32, Origin)> = (0..topic.partitions)
            .map(|partition| (partition, letter_origin(name, &topic.name, partition)))
            .collect();
        let mut written = BTreeSet::new();
        read_spans(&*self.cluster, &letter_topic, &spans, |_, record| {
            let place = origins.iter().find_map(|(partition, origin)| {
                origin.position(&record.headers).map(|offset| (*partition, offset))
            });
            written.extend(place);
        })
        .await
        .map_err(&failed)?;
        let writer = self.cluster.writer().await.map_err(&failed)?;
        Ok(Letters { topic: letter_topic, writer, ends, written })
    }
}

/// Resolves some time after the order to stop.
async fn stopped_for(patience: Duration, mut orders: Orders) {
    orders.beyond(Order::Finish).await;
    tokio::time::sleep(patience).await;
}

/// What the sink has stored for this very topic, by partition.
fn stored_offsets(committed: &[ConsumedOffset], topic: &Topic) -> BTreeMap<i32, i64> {
    let of_topic = committed.iter().filter(|offset| offset.topic_id == topic.id);
    of_topic.map(|offset| (offset.partition, offset.next_offset)).collect()
}

fn letter_origin(connector: &str, topic: &str, partition: i32) -> Origin {
    Origin::new(connector, &format!("{topic}-{partition}"))
}

impl Attempt {
    async fn run(&mut self, reader: &mut dyn Reader, mut orders: Orders) -> Result<End, ConnectError> {
        let name = self.task.config.name.clone();
        let fetching = ConnectError::client(&name, "reading its topic");
        let mut targets: Option<BTreeMap<i32, i64>> = None;
        let mut order = orders.current();
        loop {
            match order {
                Order::Run => {}
                Order::Stop => return Ok(End::Stopped),
                Order::Finish => {
                    if targets.is_none() {
                        let bounds = self.task.cluster.bounds(&self.topic).await.map_err(&fetching)?;
                        targets =
                            Some(bounds.iter().map(|(partition, bounds)| (*partition, bounds.end)).collect());
                    }
                    let is_reached = |(partition, end): (&i32, &i64)| {
                        self.next_offsets.get(partition).is_none_or(|next| next >= end)
                    };
                    if targets.iter().flatten().all(is_reached) {
                        return Ok(End::Drained);
                    }
                }
            }
            tokio::select! {
                next = orders.beyond(order) => order = next,
                fetched = reader.poll(FETCH_WAIT) => {
                    let fetched = fetched.map_err(&fetching)?;
                    if fetched.is_empty() {
                        self.keep_offsets().await?;
                        continue;
                    }
                    tokio::select! {
                        taken = self.on_fetched(fetched) => taken?,
                        // What the target has not committed comes again, as after a crash.
                        () = stopped_for(STOP_PATIENCE, orders.clone()) => {
                            tracing::warn!(connector = %name, "its target does not take the last records before it stops");
                            return Ok(End::Stopped);
                        }
                    }
                }
            }
        }
    }

    /// Takes what one fetch brought, as one transaction of the sink.
    async fn on_fetched(&mut self, fetched: Vec<Fetched>) -> Result<(), ConnectError> {
        let mut taken = 0;
        let mut letters = 0;
        for Fetched { partition, mut records, high_watermark } in fetched {
            self.ends.insert(partition, high_watermark);
            let next = self.next_offsets.get(&partition).copied().unwrap_or(0);
            records.retain(|record| record.offset >= next);
            let Some(last) = records.last().map(|record| record.offset) else { continue };
            let (records, bad) = self.write(records).await?;
            taken += records.len() as u64;
            letters += bad.len() as u64;
            self.write_letters(partition, &records, bad).await?;
            self.next_offsets.insert(partition, last + 1);
        }
        if taken > 0 {
            self.commit().await?;
        }
        let shared = &self.shared;
        shared.add(&shared.records_in, taken);
        shared.add(&shared.records_out, taken - letters);
        shared.add(&shared.records_bad, letters);
        self.show_position();
        Ok(())
    }

    /// Gives records to the sink; gives them back with those that cannot be read or that it refuses.
    async fn write(
        &mut self,
        records: Vec<ConsumerRecord>,
    ) -> Result<(Vec<ConsumerRecord>, Vec<Bad>), ConnectError> {
        let name = &self.task.config.name;
        let reader = Arc::clone(&self.records);
        // Some megabytes take some milliseconds: too long for a thread that serves connections.
        let (records, read) = tokio::task::spawn_blocking(move || {
            let read = reader.read(&records);
            (records, read)
        })
        .await
        .map_err(|lost| ConnectError::TaskLost { name: name.clone(), reason: lost.to_string() })?;
        let Read { runs, bad } = read.map_err(ConnectError::format(name))?;
        let mut bad: Vec<Bad> = bad
            .into_iter()
            .map(|(index, reason)| Bad { index, stage: Stage::KeyOrValueConverter, reason })
            .collect();
        for run in runs {
            let rejected = self.sink.write(run.batch).await.map_err(ConnectError::connector(name))?;
            bad.extend(rejected.into_iter().filter_map(|rejected| {
                let index = *run.records.get(rejected.row)?;
                Some(Bad { index, stage: Stage::TaskPut, reason: rejected.reason })
            }));
        }
        bad.sort_by_key(|bad| bad.index);
        Ok((records, bad))
    }

    /// Writes dead letters and waits until they are safe.
    async fn write_letters(
        &mut self,
        partition: i32,
        records: &[ConsumerRecord],
        bad: Vec<Bad>,
    ) -> Result<(), ConnectError> {
        let config = &self.task.config;
        let origin = letter_origin(&config.name, &self.topic.name, partition);
        let mut letters: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for Bad { index, stage, reason } in bad {
            let Some(record) = records.get(index) else { continue };
            let Some(dead) = &mut self.letters else {
                let place = format!("{}-{partition}@{}", self.topic.name, record.offset);
                return Err(ConnectError::BadRecord { name: config.name.clone(), place, reason });
            };
            let position = u64::try_from(record.offset).unwrap_or(0);
            if dead.written.remove(&(partition, position)) {
                continue;
            }
            let letter = Letter {
                connector: &config.name,
                class: self.task.class,
                stage,
                topic: &self.topic.name,
                place: Some((partition, record.offset)),
                line: None,
                reason: &reason,
            };
            let original = Record {
                key: record.key.clone(),
                value: record.value.clone(),
                headers: record.headers.clone(),
                timestamp_ms: Some(record.timestamp_ms),
            };
            let target = partition_of_key(&position.to_be_bytes(), dead.topic.partitions);
            letters.entry(target).or_default().push(letter.record(original, &origin, position));
        }
        let Some(dead) = &mut self.letters else { return Ok(()) };
        let failed = ConnectError::client(&config.name, "writing dead letters");
        for (target, letters) in letters {
            let count = i64::try_from(letters.len()).unwrap_or(0);
            let sent = dead.writer.send(&dead.topic.name, target, letters).await.map_err(&failed)?;
            if let Some(first) = sent.await.map_err(&failed)? {
                dead.ends.insert(target, first + count);
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), ConnectError> {
        let offsets_of = |topic: &Topic, offsets: &BTreeMap<i32, i64>| -> Vec<ConsumedOffset> {
            offsets
                .iter()
                .map(|(partition, next_offset)| ConsumedOffset {
                    topic_id: topic.id.clone(),
                    topic: topic.name.clone(),
                    partition: *partition,
                    next_offset: *next_offset,
                })
                .collect()
        };
        let config = &self.task.config;
        let mut offsets = offsets_of(&self.topic, &self.next_offsets);
        if let Some(letters) = &self.letters {
            offsets.extend(offsets_of(&letters.topic, &letters.ends));
        }
        self.sink.commit(&offsets).await.map_err(ConnectError::connector(&config.name))?;
        if self.store == OffsetStore::Group {
            let committed =
                self.task.cluster.commit_group_offsets(&config.group, &self.topic, &self.next_offsets);
            committed.await.map_err(ConnectError::client(&config.name, "committing its group's offsets"))?;
        }
        self.last_commit = Instant::now();
        Ok(())
    }

    /// The cluster forgets offsets of a group without members some days after they were committed: while nothing comes they
    /// are committed again.
    async fn keep_offsets(&mut self) -> Result<(), ConnectError> {
        if self.store == OffsetStore::Group && self.last_commit.elapsed() >= OFFSETS_KEPT_FOR {
            self.commit().await?;
        }
        Ok(())
    }

    fn show_position(&self) {
        let sum = |offsets: &BTreeMap<i32, i64>| {
            offsets.values().filter_map(|offset| u64::try_from(*offset).ok()).sum()
        };
        self.shared.set_position(sum(&self.next_offsets), Some(sum(&self.ends)));
    }
}
