//! The sink task: one owner of a sink, a reader and the offsets; one loop, one `select!`.
//!
//! ```text
//!   start    offsets stored in the target ─► read from there; dead letters already written behind the stored end
//!   loop     fetch ─► read into runs ─► Sink::take ─► answered ─► dead letters, acknowledged ─► Sink::commit(offsets)
//! ```
//! A sink that takes ahead is given more while earlier fetches are not answered (`sink_under_way.rs`); what is committed
//! has no gap either way.
//!
//! The offsets committed with the rows are those of the topic and, so that dead letters are not doubled either, the end of
//! the dead-letter topic after the last letter.
//!
//! A sink whose target has no place for offsets keeps them in a consumer group, committed after the sink says that all is
//! delivered. Letters written just before a crash may come twice then, as the records do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use ottla_client::{Client, ConsumerRecord};
use ottla_formats::Format;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::OnError;
use super::cluster::{Cluster, Fetched, KafkaCluster, Reader, Topic};
use super::dead_letter::Stage;
use super::sink_batches::{NotRead, Read, RecordReader, written_schema};
use super::sink_letters::{Bad, From, Letters, stored_offsets};
use super::sink_under_way::{Asked, Taken, UnderWay};
use super::task::{End, Order, Orders, RetryPolicy, Shared, TaskHandle, TaskState, spawn};
use crate::connector::{ConsumedOffset, OffsetStore, Sink, SinkContext};
use crate::error::ConnectError;
use crate::plugins::{InstalledPlugins, NoPlugins};
use crate::registry::{Build, ConnectorKind, SinkConfig, connector_type};
use crate::transforms::{Calls, Transforms};

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
    /// The plugins that the transforms may call.
    pub plugins: Arc<dyn InstalledPlugins>,
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
            plugins: Arc::new(NoPlugins),
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
        let task = Arc::new(Task { cluster, class: class.name, sink, config, calls: OnceCell::new() });
        Ok(spawn(&name, retry, move |shared, orders| Arc::clone(&task).run(shared, orders)))
    }
}

/// What is the same in every attempt.
struct Task {
    cluster: Arc<dyn Cluster>,
    class: &'static str,
    sink: Arc<dyn SinkConfig>,
    config: SinkTaskConfig,
    /// The plugins of the transforms, once they are open.
    calls: OnceCell<Calls>,
}

/// One attempt, after it has found its place.
struct Attempt {
    task: Arc<Task>,
    shared: Arc<Shared>,
    sink: Box<dyn Sink>,
    store: OffsetStore,
    records: Arc<RecordReader>,
    topic: Topic,
    /// By partition, the offset after the last record that is answered, with all before it.
    next_offsets: BTreeMap<i32, i64>,
    /// By partition, the offset after the last record that the sink was given.
    taken_offsets: BTreeMap<i32, i64>,
    under_way: UnderWay,
    /// By partition, its end as far as known.
    ends: BTreeMap<i32, i64>,
    letters: Option<Letters>,
    last_commit: Instant,
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
        let opening = self.config.transforms.open_calls(&*self.config.plugins);
        let calls = self.calls.get_or_try_init(|| opening).await.map_err(ConnectError::connector(name))?;
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
                let connector = &self.config.name;
                let letter_topic = self.cluster.topic(name, 1).await.map_err(&lookup)?;
                // A group has no place for the ends of the letters.
                let from_end = is_new || store == OffsetStore::Group;
                let opened =
                    Letters::open(&*self.cluster, connector, letter_topic, &topic, &committed, from_end);
                Some(opened.await?)
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
        let records = Arc::new(records.map_err(unfit)?.calling(calls.clone()));
        let mut attempt = Attempt {
            task: Arc::clone(&self),
            shared,
            sink,
            store,
            records,
            topic,
            taken_offsets: next_offsets.clone(),
            next_offsets,
            under_way: UnderWay::default(),
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
        let topic = self.config.topic.clone();
        let opened = tokio::task::spawn_blocking(move || config.open_for(context, &topic)).await;
        opened
            .map_err(|lost| ConnectError::TaskLost { name: name.clone(), reason: lost.to_string() })?
            .map_err(ConnectError::connector(&name))
    }
}

/// Resolves some time after the order to stop.
async fn stopped_for(patience: Duration, mut orders: Orders) {
    orders.beyond(Order::Finish).await;
    tokio::time::sleep(patience).await;
}

/// What the loop of a task hears.
enum Event {
    Fetched(Vec<Fetched>),
    Settled(Vec<Taken>),
}

impl Attempt {
    async fn run(&mut self, reader: &mut dyn Reader, mut orders: Orders) -> Result<End, ConnectError> {
        let name = self.task.config.name.clone();
        let fetching = ConnectError::client(&name, "reading its topic");
        let writing = ConnectError::connector(&name);
        let takes_ahead = self.sink.takes_ahead();
        let mut targets: Option<BTreeMap<i32, i64>> = None;
        let mut order = orders.current();
        loop {
            match order {
                Order::Run => {}
                Order::Stop => {
                    // What the target has not committed comes again, as after a crash.
                    if let Ok(settled) = tokio::time::timeout(STOP_PATIENCE, self.settle_all()).await {
                        settled?;
                    } else {
                        tracing::warn!(connector = %name, "its target does not take the last records before it stops");
                    }
                    return Ok(End::Stopped);
                }
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
                        self.settle_all().await?;
                        self.sink.flush().await.map_err(&writing)?;
                        return Ok(End::Drained);
                    }
                }
            }
            let event = tokio::select! {
                next = orders.beyond(order) => {
                    order = next;
                    continue;
                }
                settled = self.under_way.settled(), if !self.under_way.is_empty() => {
                    Event::Settled(settled.map_err(&writing)?)
                }
                fetched = reader.poll(FETCH_WAIT), if self.under_way.has_room(takes_ahead) => {
                    Event::Fetched(fetched.map_err(&fetching)?)
                }
            };
            let step = async {
                match event {
                    Event::Fetched(fetched) => self.on_fetched(fetched).await,
                    Event::Settled(settled) => self.on_settled(settled).await,
                }
            };
            tokio::select! {
                done = step => done?,
                () = stopped_for(STOP_PATIENCE, orders.clone()) => {
                    tracing::warn!(connector = %name, "its target does not take the last records before it stops");
                    return Ok(End::Stopped);
                }
            }
        }
    }

    /// Waits until nothing is under way.
    async fn settle_all(&mut self) -> Result<(), ConnectError> {
        while !self.under_way.is_empty() {
            let settled = self.under_way.settled().await;
            let settled = settled.map_err(ConnectError::connector(&self.task.config.name))?;
            self.on_settled(settled).await?;
        }
        Ok(())
    }

    /// Gives the sink what one fetch brought.
    async fn on_fetched(&mut self, fetched: Vec<Fetched>) -> Result<(), ConnectError> {
        if fetched.is_empty() && !self.under_way.is_empty() {
            return Ok(());
        }
        let mut parts = Vec::new();
        for Fetched { partition, mut records, next_offset, end } in fetched {
            let known = self.ends.entry(partition).or_default();
            *known = end.max(*known);
            let next = self.taken_offsets.get(&partition).copied().unwrap_or(0);
            records.retain(|record| record.offset >= next);
            let next_offset = next_offset.max(next);
            let mut taken =
                Taken { partition, records, next_offset, bad: Vec::new(), asked: VecDeque::new() };
            if !taken.records.is_empty() {
                self.give(&mut taken).await?;
            }
            parts.push(taken);
            self.taken_offsets.insert(partition, next_offset);
        }
        self.under_way.push(parts);
        Ok(())
    }

    /// Gives records to the sink, as far as they can be read.
    async fn give(&mut self, taken: &mut Taken) -> Result<(), ConnectError> {
        let name = &self.task.config.name;
        let reader = Arc::clone(&self.records);
        let partition = taken.partition;
        let records = std::mem::take(&mut taken.records);
        // Some megabytes take some milliseconds: too long for a thread that serves connections.
        let (records, read) = tokio::task::spawn_blocking(move || {
            let read = reader.read(partition, &records);
            (records, read)
        })
        .await
        .map_err(|lost| ConnectError::TaskLost { name: name.clone(), reason: lost.to_string() })?;
        taken.records = records;
        let Read { runs, bad, refused } = read.map_err(|error| match error {
            NotRead::Format(error) => ConnectError::format(name)(error),
            NotRead::Plugin(error) => ConnectError::connector(name)(error),
        })?;
        let unread = bad.into_iter().map(|(index, reason)| (index, Stage::KeyOrValueConverter, reason));
        let refused = refused.into_iter().map(|(index, reason)| (index, Stage::Transformation, reason));
        taken.bad =
            unread.chain(refused).map(|(index, stage, reason)| Bad { index, stage, reason }).collect();
        for run in runs {
            let answers =
                self.sink.take(partition, run.batch).await.map_err(ConnectError::connector(name))?;
            taken.asked.push_back(Asked { records: run.records, answers });
        }
        Ok(())
    }

    /// Commits what is answered, as one transaction of the sink.
    async fn on_settled(&mut self, settled: Vec<Taken>) -> Result<(), ConnectError> {
        let mut taken = 0;
        let mut letters = 0;
        for Taken { partition, records, next_offset, bad, .. } in settled {
            taken += records.len() as u64;
            letters += bad.len() as u64;
            self.write_letters(partition, &records, bad).await?;
            self.next_offsets.insert(partition, next_offset);
        }
        if taken > 0 {
            self.commit().await?;
        } else {
            self.keep_offsets().await?;
        }
        let shared = &self.shared;
        shared.add(&shared.records_in, taken);
        shared.add(&shared.records_out, taken - letters);
        shared.add(&shared.records_bad, letters);
        self.show_position();
        Ok(())
    }

    /// Writes dead letters and waits until they are safe; without a topic for them the first bad record is an error.
    async fn write_letters(
        &mut self,
        partition: i32,
        records: &[ConsumerRecord],
        bad: Vec<Bad>,
    ) -> Result<(), ConnectError> {
        let (connector, class, topic) = (&self.task.config.name, self.task.class, &self.topic.name);
        let Some(letters) = &mut self.letters else {
            let Some(Bad { index, reason, .. }) = bad.into_iter().next() else { return Ok(()) };
            let offset = records.get(index).map_or(-1, |record| record.offset);
            let place = format!("{topic}-{partition}@{offset}");
            return Err(ConnectError::BadRecord { name: connector.clone(), place, reason });
        };
        letters.write(From { connector, class, topic, partition }, records, bad).await
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
        if self.sink.is_due() {
            return self.commit().await;
        }
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
