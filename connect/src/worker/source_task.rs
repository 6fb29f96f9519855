//! The source task: one owner of a source, a producer and the ledger; one loop, one `select!`.
//!
//! ```text
//!   start    stored commit ─► tails of the topics behind its ends ─► positions already written
//!   loop     poll ─► prepare (skip what is written) ─► send ─► acknowledged ─► commit position and ends, at most every
//!            `offset_flush_interval`
//! ```
//! The first commit is written before the first record, so the tails are short from the beginning. After an error that may
//! pass, the next attempt does what a new process would do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use ottla_client::{Client, ClientError, Record, partition_of_key};
use ottla_formats::Format;
use serde_json::Value;

use super::OnError;
use super::cluster::{Bounds, Cluster, KafkaCluster, Topic, Writer, read_spans};
use super::offsets::{self, SourceCommit, TopicEnds};
use super::origin::Origin;
use super::source_ledger::{SourceLedger, UnitId, still_valid};
use super::source_records::{NotPrepared, RecordMaker};
use super::task::{End, Order, Orders, RetryPolicy, Shared, TaskHandle, spawn};
use crate::connector::{Source, SourceBatch, SourceContext, SourceOffset};
use crate::error::ConnectError;
use crate::registry::{Build, ConnectorKind, SourceConfig, connector_type};
use crate::transforms::Transforms;

/// Batches that may be on their way to the cluster; with the batches' own bound this bounds the task's memory.
const UNITS_OPEN_MAX: usize = 16;

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
    /// What to do with what cannot be read or transformed.
    pub on_error: OnError,
    /// Longest time between two commits of the source's position while records flow. A restart reads again, and skips, at
    /// most about that much.
    pub offset_flush_interval: Duration,
    /// What happens after errors that may pass.
    pub retry: RetryPolicy,
}

impl SourceTaskConfig {
    /// A task with everything else left out: no key, JSON, the source's own schema, stop on errors, commit each second.
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
            on_error: OnError::Stop,
            offset_flush_interval: Duration::from_secs(1),
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
        let task = Arc::new(Task { cluster, class: class.name, source, config });
        Ok(spawn(&name, retry, move |shared, orders| Arc::clone(&task).run(shared, orders)))
    }
}

/// What is the same in every attempt.
struct Task {
    cluster: Arc<dyn Cluster>,
    class: &'static str,
    source: Arc<dyn SourceConfig>,
    config: SourceTaskConfig,
}

/// What came of one write.
struct Written {
    unit: UnitId,
    topic: String,
    partition: i32,
    records: u64,
    first_offset: Result<Option<i64>, ClientError>,
}

/// One attempt, after it has found its place.
struct Attempt {
    task: Arc<Task>,
    shared: Arc<Shared>,
    source: Box<dyn Source>,
    writer: Box<dyn Writer>,
    maker: RecordMaker,
    ledger: SourceLedger,
    offsets: OffsetsWriter,
    acknowledgements: FuturesUnordered<BoxFuture<'static, Written>>,
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
        let end = attempt.run(orders).await?;
        attempt.writer.close().await;
        Ok(end)
    }

    /// Finds out where an earlier attempt or process stopped, and opens the source there.
    async fn open(self: Arc<Self>, shared: Arc<Shared>) -> Result<Attempt, ConnectError> {
        let name = &self.config.name;
        let cluster = &*self.cluster;
        let partition = self.source.partition();
        let origin = Origin::new(name, &partition.id());

        let lookup = ConnectError::client(name, "looking up its topics");
        let topic = cluster.topic(&self.config.topic, -1).await.map_err(&lookup)?;
        let dead_letters = match &self.config.on_error {
            OnError::DeadLetter { topic } => Some(cluster.topic(topic, 1).await.map_err(&lookup)?),
            OnError::Stop => None,
        };
        let offsets_topic = cluster.topic(offsets::TOPIC, 1).await.map_err(&lookup)?;
        let offsets = OffsetsWriter { topic: offsets_topic, key: offsets::key(name, &partition) };
        let topics: Vec<&Topic> = std::iter::once(&topic).chain(&dead_letters).collect();

        let writer = cluster.writer().await.map_err(ConnectError::client(name, "opening a producer"))?;
        let stored = self.read_commit(&offsets).await?;
        let ids = topics.iter().map(|topic| (topic.name.clone(), topic.id.clone())).collect();
        let (commit, found) = match still_valid(stored, &topic.name, &ids) {
            Some(commit) => {
                let found = self.read_tails(&topics, &commit, &origin).await?;
                (commit, found)
            }
            None => (self.first_commit(&topics, &offsets, &*writer).await?, Vec::new()),
        };
        tracing::info!(
            connector = %name,
            position = commit.resume.as_ref().map_or(0, |resume| resume.position),
            already_written = found.len(),
            "source starts"
        );
        let written = found.iter().copied().max().unwrap_or(0);
        let source = self.open_source(commit.resume.clone(), written).await?;
        let maker = RecordMaker {
            connector: name.clone(),
            class: self.class,
            topic: topic.name.clone(),
            partitions: topic.partitions,
            dead_letters: dead_letters.map(|topic| (topic.name, topic.partitions)),
            key: self.config.key.clone(),
            format: Arc::clone(&self.config.format),
            transforms: self.config.transforms.clone(),
            origin,
        };
        let ledger = SourceLedger::recover(commit, found);
        let acknowledgements = FuturesUnordered::new();
        Ok(Attempt {
            task: Arc::clone(&self),
            shared,
            source,
            writer,
            maker,
            ledger,
            offsets,
            acknowledgements,
        })
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

    /// The positions of this source that stand in the topics behind a commit's ends.
    async fn read_tails(
        &self,
        topics: &[&Topic],
        commit: &SourceCommit,
        origin: &Origin,
    ) -> Result<Vec<u64>, ConnectError> {
        let failed = ConnectError::client(&self.config.name, "reading what it had written");
        let mut found = Vec::new();
        for topic in topics {
            let ends = commit.topics.get(&topic.name);
            let mut spans = self.cluster.bounds(topic).await.map_err(&failed)?;
            for (partition, span) in &mut spans {
                let end = ends.and_then(|ends| ends.ends.get(partition)).copied().unwrap_or(0);
                span.start = span.start.max(end);
            }
            read_spans(&*self.cluster, topic, &spans, |_, record| {
                found.extend(origin.position(&record.headers))
            })
            .await
            .map_err(&failed)?;
        }
        Ok(found)
    }

    /// Commits that nothing is read yet, and where the topics end now: nothing of ours is before that.
    async fn first_commit(
        &self,
        topics: &[&Topic],
        offsets: &OffsetsWriter,
        writer: &dyn Writer,
    ) -> Result<SourceCommit, ConnectError> {
        let name = &self.config.name;
        let mut commit = SourceCommit { resume: None, topics: BTreeMap::new() };
        for topic in topics {
            let bounds = self.cluster.bounds(topic).await;
            let bounds = bounds.map_err(ConnectError::client(name, "looking up the ends of its topics"))?;
            let ends = bounds.into_iter().map(|(partition, Bounds { end, .. })| (partition, end)).collect();
            commit.topics.insert(topic.name.clone(), TopicEnds { topic_id: topic.id.clone(), ends });
        }
        offsets
            .write(writer, &commit)
            .await
            .map_err(ConnectError::client(name, "storing its first offset"))?;
        Ok(commit)
    }

    async fn open_source(
        &self,
        offset: Option<SourceOffset>,
        written: u64,
    ) -> Result<Box<dyn Source>, ConnectError> {
        let name = self.config.name.clone();
        let context =
            SourceContext { name: name.clone(), schema: self.config.schema.clone(), offset, written };
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

    async fn write(&self, writer: &dyn Writer, commit: &SourceCommit) -> Result<(), ClientError> {
        let record = Record::new(self.key.clone(), offsets::value(commit));
        writer.send(&self.topic.name, self.partition(), vec![record]).await?.await?;
        Ok(())
    }
}

impl Attempt {
    async fn run(&mut self, mut orders: Orders) -> Result<End, ConnectError> {
        let mut flush =
            tokio::time::interval(self.task.config.offset_flush_interval.max(Duration::from_millis(1)));
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_stopping = orders.current() == Order::Stop;
        let mut is_drained = false;
        loop {
            let may_read = !is_stopping && !is_drained && self.ledger.units_open() < UNITS_OPEN_MAX;
            let is_settled = self.acknowledgements.is_empty();
            if is_settled && (is_drained || is_stopping) {
                self.commit().await?;
                return Ok(if is_drained { End::Drained } else { End::Stopped });
            }
            tokio::select! {
                Order::Stop = orders.beyond(Order::Finish), if !is_stopping => is_stopping = true,
                Some(written) = self.acknowledgements.next(), if !is_settled => self.on_written(written)?,
                _ = flush.tick() => self.commit().await?,
                batch = self.source.poll(), if may_read => {
                    let name = &self.task.config.name;
                    match batch.map_err(ConnectError::connector(name))? {
                        Some(batch) => self.on_batch(batch).await?,
                        None => is_drained = true,
                    }
                }
            }
        }
    }

    async fn on_batch(&mut self, batch: SourceBatch) -> Result<(), ConnectError> {
        let name = self.task.config.name.clone();
        let resume = batch.resume.clone();
        let prepared = self.maker.prepare(batch, &mut self.ledger).map_err(|error| match error {
            NotPrepared::Schema(reason) => ConnectError::Format { name: name.clone(), reason },
            NotPrepared::Format(error) => ConnectError::format(&name)(error),
            NotPrepared::Bad { place, reason } => {
                ConnectError::BadRecord { name: name.clone(), place, reason }
            }
        })?;
        self.shared.add(&self.shared.records_skipped, prepared.skipped);
        let unit = self.ledger.sent(resume, prepared.writes.len());
        self.tell_acknowledged();
        for ((topic, partition), records) in prepared.writes {
            let count = records.len() as u64;
            let sent = self.writer.send(&topic, partition, records).await;
            let acknowledgement = sent.map_err(ConnectError::client(&name, "writing records"))?;
            self.acknowledgements.push(Box::pin(async move {
                let first_offset = acknowledgement.await;
                Written { unit, topic, partition, records: count, first_offset }
            }));
        }
        if let Some(progress) = self.source.progress() {
            self.shared.set_position(progress.position, Some(progress.total));
        }
        Ok(())
    }

    fn on_written(&mut self, written: Written) -> Result<(), ConnectError> {
        let name = &self.task.config.name;
        let first = written.first_offset.map_err(ConnectError::client(name, "writing records"))?;
        let records = written.records;
        // Others' records may stand between ours, so the last one is at this offset or later.
        let next_offset = first.map(|first| first + i64::try_from(records).unwrap_or(0));
        self.ledger.acknowledged(written.unit, &written.topic, written.partition, next_offset);
        self.tell_acknowledged();
        let shared = &self.shared;
        shared.add(&shared.records_in, records);
        let is_good = written.topic == self.maker.topic;
        shared.add(if is_good { &shared.records_out } else { &shared.records_bad }, records);
        Ok(())
    }

    fn tell_acknowledged(&mut self) {
        if let Some(position) = self.ledger.position() {
            self.source.acknowledged(position);
        }
    }

    async fn commit(&mut self) -> Result<(), ConnectError> {
        if let Some(commit) = self.ledger.next_commit() {
            let written = self.offsets.write(&*self.writer, &commit).await;
            written.map_err(ConnectError::client(&self.task.config.name, "storing its offset"))?;
        }
        Ok(())
    }
}
