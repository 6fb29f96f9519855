//! The source task: one owner of a source and of the transactions that write what it gives; one loop, one `select!`.
//!
//! ```text
//!   start    become the only writer ─► what an earlier one left open is aborted ─► stored position
//!   loop     poll ─► prepare ─► send ─┐
//!            poll ─► prepare ─► send ─┴► position ─► commit: the records and the position, or neither
//! ```
//! After an error that may pass, the next attempt does what a new process would do.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use ottla_client::{Client, Record, partition_of_key};
use ottla_formats::Format;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep_until};

use super::OnError;
use super::cluster::{Cluster, KafkaCluster, Topic, Transactions, read_spans};
use super::offsets::{self, SourceCommit, WrittenTopic};
use super::source_records::{NotPrepared, RecordMaker};
use super::task::{End, Order, Orders, RetryPolicy, Shared, TaskHandle, spawn};
use crate::connector::{Source, SourceBatch, SourceContext, SourceOffset};
use crate::error::ConnectError;
use crate::plugins::{InstalledPlugins, NoPlugins};
use crate::registry::{Build, ConnectorKind, SourceConfig, connector_type};
use crate::transforms::{Calls, Transforms};

/// A source that gives nothing for so long has nothing to give now: what it gave is committed.
const SILENCE: Duration = Duration::from_millis(2);
/// Records in one transaction, however short the time: what a reader of committed records waits for stays bounded.
const TRANSACTION_RECORDS_MAX: u64 = 500_000;

/// Where the transactions of a source end (KIP-618).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionBoundary {
    /// Each batch of the source is one.
    Poll,
    /// After this time, or as soon as the source has nothing to give.
    Interval(Duration),
}

impl TransactionBoundary {
    /// The interval unless another is wanted: readers of committed records wait for it.
    pub(crate) const INTERVAL_DEFAULT: Duration = Duration::from_millis(100);
}

impl Default for TransactionBoundary {
    fn default() -> Self {
        Self::Interval(Self::INTERVAL_DEFAULT)
    }
}

/// What a source task is to do.
pub struct SourceTaskConfig {
    /// The connector's name: its offsets are stored under it, so another name reads from the start.
    pub name: String,
    /// The connector's type, e.g. `file`.
    pub connector_type: String,
    /// The connector's own config, as the pipeline has it.
    pub config: Value,
    /// Where the records go; made with the cluster's defaults if it does not exist.
    pub topic: String,
    /// The column whose text is the records' key; without one they have no key.
    pub key: Option<String>,
    /// How rows become record values.
    pub format: Arc<dyn Format>,
    /// The columns that the source shall give; without one it decides.
    pub schema: Option<SchemaRef>,
    /// What is done to the rows before they are written.
    pub transforms: Transforms,
    /// The plugins that the transforms may call.
    pub plugins: Arc<dyn InstalledPlugins>,
    /// What to do with what cannot be read or transformed.
    pub on_error: OnError,
    /// What is written in one transaction.
    pub transaction_boundary: TransactionBoundary,
    /// What happens after errors that may pass.
    pub retry: RetryPolicy,
}

impl SourceTaskConfig {
    /// A task with everything else left out: no key, JSON, the source's own schema, stop on errors.
    #[must_use]
    pub fn new(name: &str, connector_type: &str, config: Value, topic: &str) -> Self {
        Self {
            name: name.to_owned(),
            connector_type: connector_type.to_owned(),
            config,
            topic: topic.to_owned(),
            key: None,
            format: Arc::new(ottla_formats::JsonFormat),
            schema: None,
            transforms: Transforms::default(),
            plugins: Arc::new(NoPlugins),
            on_error: OnError::Stop,
            transaction_boundary: TransactionBoundary::default(),
            retry: RetryPolicy::default(),
        }
    }
}

/// Reads a source into a topic, exactly once.
pub struct SourceTask;

impl SourceTask {
    /// Starts the task on the current tokio runtime. What is wrong with the config is told at once; the source itself is
    /// opened by the task, so a missing file shows in [`TaskHandle::wait`].
    ///
    /// # Errors
    /// [`ConnectError::UnknownType`], [`ConnectError::InvalidConfig`].
    pub fn start(client: Client, config: SourceTaskConfig) -> Result<TaskHandle, ConnectError> {
        Self::start_on(Arc::new(KafkaCluster::new(client)), config)
    }

    pub(crate) fn start_on(
        cluster: Arc<dyn Cluster>,
        config: SourceTaskConfig,
    ) -> Result<TaskHandle, ConnectError> {
        let class = connector_type(ConnectorKind::Source, &config.connector_type)?;
        let invalid = |errors| ConnectError::InvalidConfig { name: config.name.clone(), errors };
        let errors = class.validate(&config.config);
        if !errors.is_empty() {
            return Err(invalid(errors));
        }
        let Build::Source(build) = &class.build else {
            // `connector_type` was asked for a source.
            return Err(invalid(Vec::new()));
        };
        let source: Arc<dyn SourceConfig> = build(config.config.clone()).map_err(invalid)?.into();
        let (name, retry) = (config.name.clone(), config.retry);
        let task = Arc::new(Task { cluster, class: class.name, source, config, calls: OnceCell::new() });
        Ok(spawn(&name, retry, move |shared, orders| Arc::clone(&task).run(shared, orders)))
    }
}

/// What is the same in every attempt.
struct Task {
    cluster: Arc<dyn Cluster>,
    class: &'static str,
    source: Arc<dyn SourceConfig>,
    config: SourceTaskConfig,
    /// The plugins of the transforms, once they are open.
    calls: OnceCell<Calls>,
}

/// One attempt, after it has found its place.
struct Attempt {
    task: Arc<Task>,
    shared: Arc<Shared>,
    source: Box<dyn Source>,
    writer: Box<dyn Transactions>,
    maker: Arc<RecordMaker>,
    topics: Vec<Topic>,
    offsets: OffsetsWriter,
    uncommitted: Option<Uncommitted>,
}

/// What was sent since the last commit.
struct Uncommitted {
    since: Instant,
    /// When the source gave something last.
    last: Instant,
    resume: SourceOffset,
    good: u64,
    bad: u64,
}

/// Where this source partition's commits are stored.
struct OffsetsWriter {
    topic: Topic,
    key: bytes::Bytes,
}

impl Task {
    async fn run(self: Arc<Self>, shared: Arc<Shared>, orders: Orders) -> Result<End, ConnectError> {
        let mut attempt = self.open(Arc::clone(&shared)).await?;
        shared.set_state(super::TaskState::Running);
        let end = attempt.run(orders).await;
        match &end {
            Ok(_) => attempt.writer.close().await,
            // On its own, as the cluster may be away for long; the next writer ends what this one left open.
            Err(_) => drop(tokio::spawn(attempt.writer.close())),
        }
        end
    }

    /// Finds out where an earlier attempt or process stopped, and opens the source there.
    async fn open(self: Arc<Self>, shared: Arc<Shared>) -> Result<Attempt, ConnectError> {
        let name = &self.config.name;
        let cluster = &*self.cluster;
        let partition = self.source.partition();
        let opening = self.config.transforms.open_calls(&*self.config.plugins);
        let calls = self.calls.get_or_try_init(|| opening).await.map_err(ConnectError::connector(name))?;

        let lookup = ConnectError::client(name, "looking up its topics");
        let topic = cluster.topic(&self.config.topic, -1).await.map_err(&lookup)?;
        let dead_letters = match &self.config.on_error {
            OnError::DeadLetter { topic } => Some(cluster.topic(topic, 1).await.map_err(&lookup)?),
            OnError::Stop => None,
        };
        let offsets_topic = cluster.topic(offsets::TOPIC, 1).await.map_err(&lookup)?;
        let offsets = OffsetsWriter { topic: offsets_topic, key: offsets::key(name, &partition) };

        let writer = cluster.transactions(&format!("connect-{name}-0")).await;
        let writer = writer.map_err(ConnectError::client(name, "becoming its only writer"))?;
        let stored = self.read_commit(&offsets).await?;
        let resume =
            stored.filter(|commit| commit.is_of(&topic.name, &topic.id)).and_then(|commit| commit.resume);
        let position = resume.as_ref().map_or(0, |resume| resume.position);
        tracing::info!(connector = %name, position, "source starts");
        let source = self.open_source(resume).await?;
        let maker = RecordMaker {
            connector: name.clone(),
            class: self.class,
            topic: topic.name.clone(),
            partitions: topic.partitions,
            dead_letters: dead_letters.as_ref().map(|topic| (topic.name.clone(), topic.partitions)),
            key: self.config.key.clone(),
            format: Arc::clone(&self.config.format),
            transforms: self.config.transforms.clone(),
            calls: calls.clone(),
        };
        let topics = std::iter::once(topic).chain(dead_letters).collect();
        let task = Arc::clone(&self);
        let maker = Arc::new(maker);
        Ok(Attempt { task, shared, source, writer, maker, topics, offsets, uncommitted: None })
    }

    /// The last commit of this source partition, or `None` if there is none yet.
    async fn read_commit(&self, offsets: &OffsetsWriter) -> Result<Option<SourceCommit>, ConnectError> {
        let name = &self.config.name;
        let failed = ConnectError::client(name, "reading its stored offset");
        let partition = offsets.partition();
        let mut spans = self.cluster.bounds(&offsets.topic).await.map_err(&failed)?;
        spans.retain(|found, _| *found == partition);
        let mut last = None;
        read_spans(&*self.cluster, &offsets.topic, &spans, |_, record| {
            if record.key.as_ref() == Some(&offsets.key) {
                last = Some(record.value);
            }
        })
        .await
        .map_err(&failed)?;
        // A tombstone says that the offset was reset.
        let Some(value) = last.flatten() else { return Ok(None) };
        let unreadable = |reason| ConnectError::BadOffset { name: name.clone(), reason };
        offsets::parse(&value).map(Some).map_err(unreadable)
    }

    async fn open_source(&self, offset: Option<SourceOffset>) -> Result<Box<dyn Source>, ConnectError> {
        let name = self.config.name.clone();
        let context = SourceContext { name: name.clone(), schema: self.config.schema.clone(), offset };
        let config = Arc::clone(&self.source);
        // Opening may read the disk or wait for a network.
        let opened = tokio::task::spawn_blocking(move || config.open(context)).await;
        opened
            .map_err(|lost| ConnectError::TaskLost { name: name.clone(), reason: lost.to_string() })?
            .map_err(ConnectError::connector(&name))
    }
}

impl OffsetsWriter {
    fn partition(&self) -> i32 {
        partition_of_key(&self.key, self.topic.partitions)
    }

    fn record(&self, commit: &SourceCommit) -> Record {
        Record::new(self.key.clone(), offsets::value(commit))
    }
}

impl Attempt {
    async fn run(&mut self, mut orders: Orders) -> Result<End, ConnectError> {
        let mut is_stopping = orders.current() == Order::Stop;
        let mut is_drained = false;
        loop {
            if is_drained || is_stopping {
                self.commit().await?;
                return Ok(if is_drained { End::Drained } else { End::Stopped });
            }
            let due = self.commit_due_at();
            tokio::select! {
                Order::Stop = orders.beyond(Order::Finish) => is_stopping = true,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.commit().await?,
                batch = self.source.poll() => {
                    let name = &self.task.config.name;
                    match batch.map_err(ConnectError::connector(name))? {
                        Some(batch) => self.on_batch(batch).await?,
                        None => is_drained = true,
                    }
                }
            }
        }
    }

    /// When what was sent is to be committed, if anything was.
    fn commit_due_at(&self) -> Option<Instant> {
        let uncommitted = self.uncommitted.as_ref()?;
        let is_full = uncommitted.good + uncommitted.bad >= TRANSACTION_RECORDS_MAX;
        Some(match self.task.config.transaction_boundary {
            TransactionBoundary::Interval(interval) if !is_full => {
                (uncommitted.last + SILENCE).min(uncommitted.since + interval)
            }
            TransactionBoundary::Interval(_) | TransactionBoundary::Poll => uncommitted.since,
        })
    }

    async fn on_batch(&mut self, batch: SourceBatch) -> Result<(), ConnectError> {
        let name = self.task.config.name.clone();
        let resume = batch.resume.clone();
        let maker = Arc::clone(&self.maker);
        let prepared = if maker.blocks() {
            let preparing = tokio::task::spawn_blocking(move || maker.prepare(batch)).await;
            preparing
                .map_err(|lost| ConnectError::TaskLost { name: name.clone(), reason: lost.to_string() })?
        } else {
            maker.prepare(batch)
        };
        let prepared = prepared.map_err(|error| match error {
            NotPrepared::Schema(reason) => ConnectError::Format { name: name.clone(), reason },
            NotPrepared::Format(error) => ConnectError::format(&name)(error),
            NotPrepared::Plugin(error) => ConnectError::connector(&name)(error),
            NotPrepared::Bad { place, reason } => {
                ConnectError::BadRecord { name: name.clone(), place, reason }
            }
        })?;
        let writing = ConnectError::client(&name, "writing records");
        for ((topic, partition), records) in prepared.writes {
            self.writer.send(&topic, partition, records).await.map_err(&writing)?;
        }
        let now = Instant::now();
        let sent = self.uncommitted.take();
        let (since, good, bad) = sent.map_or((now, 0, 0), |sent| (sent.since, sent.good, sent.bad));
        let (good, bad) = (good + prepared.good, bad + prepared.bad);
        self.uncommitted = Some(Uncommitted { since, last: now, resume, good, bad });
        if let Some(progress) = self.source.progress() {
            self.shared.set_position(progress.position, Some(progress.total));
        }
        if self.commit_due_at().is_some_and(|due| due <= Instant::now()) {
            self.commit().await?;
        }
        Ok(())
    }

    /// Commits what was sent together with the position after it.
    async fn commit(&mut self) -> Result<(), ConnectError> {
        let Some(Uncommitted { resume, good, bad, .. }) = self.uncommitted.take() else { return Ok(()) };
        let position = resume.position;
        let written = |topic: &Topic| (topic.name.clone(), WrittenTopic { topic_id: topic.id.clone() });
        let commit = SourceCommit { resume: Some(resume), topics: self.topics.iter().map(written).collect() };
        let failed = ConnectError::client(&self.task.config.name, "committing records and its offset");
        let (topic, partition) = (&self.offsets.topic.name, self.offsets.partition());
        let record = vec![self.offsets.record(&commit)];
        self.writer.send(topic, partition, record).await.map_err(&failed)?;
        self.writer.commit().await.map_err(&failed)?;
        self.source.acknowledged(position);
        let shared = &self.shared;
        shared.add(&shared.records_in, good + bad);
        shared.add(&shared.records_out, good);
        shared.add(&shared.records_bad, bad);
        Ok(())
    }
}
