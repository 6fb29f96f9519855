//! The controller's task: the one that writes the metadata log, and so the one that orders all changes.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::records::{BatchBuilder, BatchError, BatchOptions};
use ottla_protocol::wire::EncodeError;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::acls;
use super::alter_configs::{self, AlterConfigs};
use super::assign::decide_assign;
use super::client_quotas::{self, AlterQuotas};
use super::features::{self, UpdateFeature};
use super::image::ClusterImage;
use super::producer_ids::{self, ProducerIdBlock};
use super::records::{MetadataRecord, RecordError};
use super::replay::{Replayed, replay};
use super::scram_credentials::{self, AlterScram};
use super::snapshots::Snapshots;
use super::takeover::{OtherNodes, decide_takeover};
use super::topics::{self, CreateTopic, CreatedTopic, Refusal, TopicRef, TopicRules};
use crate::ids::{NodeId, Offset};
use crate::log::{LogError, ReadError};
use crate::partition::{AppendError, Assignment, LogDirError, Partition, Partitions, now_ms};
use crate::security::acl::{Acl, AclFilter};

/// Requests that may wait; more of them wait at their connections.
const QUEUE_LEN: usize = 256;

/// Why the controller cannot start or go on.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The metadata log cannot be read.
    #[error("metadata log: {0}")]
    Read(#[from] ReadError),
    /// A batch in it is damaged.
    #[error("metadata log at offset {offset}: {error}")]
    Batch {
        /// Where.
        offset: Offset,
        /// What is wrong.
        error: BatchError,
    },
    /// A record in it cannot be understood.
    #[error("metadata log at offset {offset}: {error}")]
    Record {
        /// Where.
        offset: Offset,
        /// What is wrong.
        error: RecordError,
    },
    /// Records are missing that only a snapshot could tell.
    #[error(
        "{dir} begins at offset {log_start} and has no snapshot of what was before; restore its .checkpoint files"
    )]
    NoSnapshot {
        /// The folder of the metadata log.
        dir: PathBuf,
        /// Its first offset.
        log_start: Offset,
    },
    /// It is not about this node alone.
    #[error(transparent)]
    OtherNodes(#[from] OtherNodes),
    /// It cannot be written.
    #[error("metadata log: {0}")]
    Append(#[from] AppendError),
    /// A decision cannot be stored.
    #[error("metadata record: {0}")]
    Encode(#[from] EncodeError),
    /// The log dirs contradict each other.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// A partition cannot be opened or closed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The broker stops.
    #[error("the controller has stopped")]
    Stopped,
}

impl From<ControllerError> for Refusal {
    fn from(error: ControllerError) -> Refusal {
        let code = match error {
            ControllerError::Append(AppendError::Log(_)) | ControllerError::Log(_) => {
                ErrorCode::KafkaStorageError
            }
            _ => ErrorCode::UnknownServerError,
        };
        Refusal { code, message: error.to_string() }
    }
}

/// The new total of a topic's partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrowTopic {
    /// Which.
    pub name: String,
    /// After the change.
    pub count: i32,
    /// Replicas of each new partition, when the client chooses.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

type Answers<T> = oneshot::Sender<Vec<Result<T, Refusal>>>;

enum Command {
    Create { topics: Vec<CreateTopic>, validate_only: bool, reply: Answers<CreatedTopic> },
    Grow { topics: Vec<GrowTopic>, validate_only: bool, reply: Answers<()> },
    Delete { topics: Vec<TopicRef>, reply: Answers<(String, Uuid)> },
    Assign { assignment: Assignment, reply: oneshot::Sender<Result<(), ControllerError>> },
    Configs { changes: Vec<AlterConfigs>, validate_only: bool, reply: Answers<()> },
    CreateAcls { acls: Vec<Acl>, reply: Answers<()> },
    DeleteAcls { filters: Vec<AclFilter>, reply: Answers<Vec<Acl>> },
    Scram { changes: Vec<AlterScram>, reply: Answers<()> },
    Quotas { changes: Vec<AlterQuotas>, validate_only: bool, reply: Answers<()> },
    Features { updates: Vec<UpdateFeature>, validate_only: bool, reply: Answers<()> },
    ProducerIds { reply: oneshot::Sender<Result<ProducerIdBlock, ControllerError>> },
}

/// A handle to the controller; cheap to clone.
#[derive(Clone)]
pub struct Controller {
    commands: mpsc::Sender<Command>,
    image: Arc<ArcSwap<ClusterImage>>,
    log: Partition,
}

impl Controller {
    /// Replays the metadata log, opens what it names, and starts the task.
    pub async fn start(
        log: Partition,
        rules: TopicRules,
        partitions: Arc<Partitions>,
    ) -> Result<Controller, ControllerError> {
        let reader = log.clone();
        let nothing = ClusterImage::starting_with(rules.topic_defaults.clone());
        let dir = partitions.log_dirs().metadata().path().join(log.name().to_string());
        let replaying = dir.clone();
        let Replayed { mut image, bytes } =
            blocking(move || replay(reader.log(), &replaying, nothing)).await?;
        let mut records = decide_takeover(&image, rules.node_id)?;
        if !records.is_empty() {
            tracing::info!(partitions = records.len(), "leads what nobody led");
        }
        let (looking, described) = (partitions.clone(), image.clone());
        for assignment in blocking(move || looking.misplaced(&described)).await? {
            let Assignment { topic_id, partition, directory_id } = assignment;
            records.extend(decide_assign(&image, rules.node_id, topic_id, partition, directory_id));
        }
        if !records.is_empty() {
            log.append(batch_of(&records)?, true).await.map_err(|_| AppendError::Closed)??;
            records.iter().for_each(|record| image.apply(record));
        }
        let image = Arc::new(image);
        let (opening, opened) = (partitions.clone(), image.clone());
        blocking(move || opening.open_all(&opened)).await?;
        let published = Arc::new(ArcSwap::new(image));
        let (commands, inbox) = mpsc::channel(QUEUE_LEN);
        let mut snapshots = Snapshots::new(log.clone(), dir, rules.snapshots, bytes);
        snapshots.write_if_due(&published.load());
        let owner = Owner {
            log: log.clone(),
            rules: Arc::new(rules),
            partitions,
            image: published.clone(),
            snapshots,
        };
        tokio::spawn(owner.run(inbox));
        Ok(Controller { commands, image: published, log })
    }

    /// The metadata log.
    pub fn log(&self) -> &Partition {
        &self.log
    }

    /// The cluster as it is decided and stored now.
    pub fn image(&self) -> Arc<ClusterImage> {
        self.image.load_full()
    }

    /// Makes topics; one answer per topic, in order. With `validate_only` nothing changes.
    pub async fn create_topics(
        &self,
        topics: Vec<CreateTopic>,
        validate_only: bool,
    ) -> Vec<Result<CreatedTopic, Refusal>> {
        let count = topics.len();
        self.ask(count, |reply| Command::Create { topics, validate_only, reply }).await
    }

    /// Gives topics more partitions; one answer per topic, in order.
    pub async fn grow_topics(&self, topics: Vec<GrowTopic>, validate_only: bool) -> Vec<Result<(), Refusal>> {
        let count = topics.len();
        self.ask(count, |reply| Command::Grow { topics, validate_only, reply }).await
    }

    /// Removes topics with their records; one answer per topic, in order.
    pub async fn delete_topics(&self, topics: Vec<TopicRef>) -> Vec<Result<(String, Uuid), Refusal>> {
        let count = topics.len();
        self.ask(count, |reply| Command::Delete { topics, reply }).await
    }

    /// Changes configs; one answer per resource, in order. With `validate_only` nothing changes.
    pub async fn alter_configs(
        &self,
        changes: Vec<AlterConfigs>,
        validate_only: bool,
    ) -> Vec<Result<(), Refusal>> {
        let count = changes.len();
        self.ask(count, |reply| Command::Configs { changes, validate_only, reply }).await
    }

    /// Records in which log dir a partition of this node is.
    pub async fn assign(&self, assignment: Assignment) -> Result<(), ControllerError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Assign { assignment, reply };
        self.commands.send(command).await.map_err(|_| ControllerError::Stopped)?;
        answer.await.map_err(|_| ControllerError::Stopped)?
    }

    /// Adds access control entries; one answer per entry, in order.
    pub async fn create_acls(&self, acls: Vec<Acl>) -> Vec<Result<(), Refusal>> {
        let count = acls.len();
        self.ask(count, |reply| Command::CreateAcls { acls, reply }).await
    }

    /// Removes access control entries; one answer per filter, in order, with what it removed.
    pub async fn delete_acls(&self, filters: Vec<AclFilter>) -> Vec<Result<Vec<Acl>, Refusal>> {
        let count = filters.len();
        self.ask(count, |reply| Command::DeleteAcls { filters, reply }).await
    }

    /// Changes SCRAM credentials; one answer per change, in order.
    pub async fn alter_scram_credentials(&self, changes: Vec<AlterScram>) -> Vec<Result<(), Refusal>> {
        let count = changes.len();
        self.ask(count, |reply| Command::Scram { changes, reply }).await
    }

    /// Changes quotas; one answer per entity, in order. With `validate_only` nothing changes.
    pub async fn alter_client_quotas(
        &self,
        changes: Vec<AlterQuotas>,
        validate_only: bool,
    ) -> Vec<Result<(), Refusal>> {
        let count = changes.len();
        self.ask(count, |reply| Command::Quotas { changes, validate_only, reply }).await
    }

    /// Sets levels of features; one answer per feature, in order. With `validate_only` nothing changes.
    pub async fn update_features(
        &self,
        updates: Vec<UpdateFeature>,
        validate_only: bool,
    ) -> Vec<Result<(), Refusal>> {
        let count = updates.len();
        self.ask(count, |reply| Command::Features { updates, validate_only, reply }).await
    }

    /// A block of producer ids that nobody else gets.
    pub async fn producer_ids(&self) -> Result<ProducerIdBlock, ControllerError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::ProducerIds { reply }).await.map_err(|_| ControllerError::Stopped)?;
        answer.await.map_err(|_| ControllerError::Stopped)?
    }

    async fn ask<T>(
        &self,
        count: usize,
        command: impl FnOnce(Answers<T>) -> Command,
    ) -> Vec<Result<T, Refusal>> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(command(reply)).await.is_ok()
            && let Ok(answers) = answer.await
        {
            return answers;
        }
        (0..count).map(|_| Err(ControllerError::Stopped.into())).collect()
    }
}

async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ControllerError>
where
    ControllerError: From<E>,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ControllerError::Stopped),
    }
}

struct Owner {
    log: Partition,
    rules: Arc<TopicRules>,
    partitions: Arc<Partitions>,
    image: Arc<ArcSwap<ClusterImage>>,
    snapshots: Snapshots,
}

impl Owner {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let rules = self.rules.clone();
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Create { topics, validate_only, reply } => {
                    let decide = |image: &ClusterImage, wanted: &CreateTopic| {
                        topics::decide_create(image, &rules, wanted, Uuid::new_v4())
                    };
                    let _ = reply.send(self.change(&topics, validate_only, decide).await);
                }
                Command::Grow { topics, validate_only, reply } => {
                    let decide = |image: &ClusterImage, wanted: &GrowTopic| {
                        let assignments = wanted.assignments.as_deref();
                        topics::decide_grow(image, &rules, &wanted.name, wanted.count, assignments)
                            .map(|records| (records, ()))
                    };
                    let _ = reply.send(self.change(&topics, validate_only, decide).await);
                }
                Command::Delete { topics, reply } => {
                    let decide = |image: &ClusterImage, topic: &TopicRef| {
                        topics::decide_delete(image, topic).map(|(records, name, id)| (records, (name, id)))
                    };
                    let _ = reply.send(self.change(&topics, false, decide).await);
                }
                Command::Configs { changes, validate_only, reply } => {
                    let decide = |image: &ClusterImage, wanted: &AlterConfigs| {
                        alter_configs::decide_alter(image, &rules, wanted).map(|records| (records, ()))
                    };
                    let _ = reply.send(self.change(&changes, validate_only, decide).await);
                }
                Command::Assign { assignment, reply } => {
                    let Assignment { topic_id, partition, directory_id } = assignment;
                    let mut image = ClusterImage::clone(&self.image.load());
                    let node_id = self.rules.node_id;
                    let record = decide_assign(&image, node_id, topic_id, partition, directory_id);
                    record.iter().for_each(|record| image.apply(record));
                    let done = match record {
                        Some(record) => self.commit(vec![record], image).await,
                        None => Ok(()),
                    };
                    let _ = reply.send(done);
                }
                Command::CreateAcls { acls, reply } => {
                    let decide = |image: &ClusterImage, acl: &Acl| {
                        acls::decide_create(image, acl, Uuid::new_v4()).map(|records| (records, ()))
                    };
                    let _ = reply.send(self.change(&acls, false, decide).await);
                }
                Command::DeleteAcls { filters, reply } => {
                    let decide =
                        |image: &ClusterImage, filter: &AclFilter| Ok(acls::decide_delete(image, filter));
                    let _ = reply.send(self.change(&filters, false, decide).await);
                }
                Command::Scram { changes, reply } => {
                    let decide = |image: &ClusterImage, wanted: &AlterScram| {
                        scram_credentials::decide_alter(image, wanted).map(|records| (records, ()))
                    };
                    let _ = reply.send(self.change(&changes, false, decide).await);
                }
                Command::Quotas { changes, validate_only, reply } => {
                    let decide = |image: &ClusterImage, wanted: &AlterQuotas| {
                        client_quotas::decide_alter(image, wanted).map(|records| (records, ()))
                    };
                    let _ = reply.send(self.change(&changes, validate_only, decide).await);
                }
                Command::Features { updates, validate_only, reply } => {
                    let node_id = self.rules.node_id;
                    let decide = move |image: &ClusterImage, wanted: &UpdateFeature| {
                        features::decide_update(image, node_id, wanted).map(|records| (records, ()))
                    };
                    let _ = reply.send(self.change(&updates, validate_only, decide).await);
                }
                Command::ProducerIds { reply } => {
                    let mut image = ClusterImage::clone(&self.image.load());
                    let (records, block) = producer_ids::decide_block(&image, self.rules.node_id);
                    records.iter().for_each(|record| image.apply(record));
                    let _ = reply.send(self.commit(records, image).await.map(|()| block));
                }
            }
        }
    }

    /// Decides about every item against an image that has the earlier ones, then stores all records at once. When
    /// that fails nothing has happened and every item that was granted is refused.
    async fn change<W, T>(
        &mut self,
        wanted: &[W],
        validate_only: bool,
        decide: impl Fn(&ClusterImage, &W) -> Result<(Vec<MetadataRecord>, T), Refusal>,
    ) -> Vec<Result<T, Refusal>> {
        let mut image = ClusterImage::clone(&self.image.load());
        let mut records = Vec::new();
        let mut answers = Vec::with_capacity(wanted.len());
        for item in wanted {
            answers.push(decide(&image, item).map(|(more, answer)| {
                more.iter().for_each(|record| image.apply(record));
                records.extend(more);
                answer
            }));
        }
        if validate_only || records.is_empty() {
            return answers;
        }
        if let Err(error) = self.commit(records, image).await {
            tracing::error!(%error, "a metadata change failed");
            let refusal = Refusal::from(error);
            return answers.into_iter().map(|answer| answer.and(Err(refusal.clone()))).collect();
        }
        answers
    }

    /// Makes records durable, brings the partitions in line with the image they lead to, and publishes it.
    async fn commit(
        &mut self,
        records: Vec<MetadataRecord>,
        image: ClusterImage,
    ) -> Result<(), ControllerError> {
        let batch = batch_of(&records)?;
        let bytes = batch.len() as u64;
        let appended = self.log.append(batch, true).await.map_err(|_| AppendError::Closed)??;
        tracing::debug!(offset = %appended.base_offset, records = records.len(), "metadata changed");
        let image = Arc::new(image);
        let (partitions, before, after) = (self.partitions.clone(), self.image.load_full(), image.clone());
        let removed = blocking(move || partitions.follow(&before, &after)).await;
        // The records are committed, so the image holds whatever became of the files; a partition that could not be
        // opened is offline and its clients retry.
        self.image.store(image.clone());
        self.snapshots.appended(bytes);
        self.snapshots.write_if_due(&image);
        self.partitions.delete(removed?).await;
        Ok(())
    }
}

fn batch_of(records: &[MetadataRecord]) -> Result<Bytes, ControllerError> {
    let mut builder = BatchBuilder::default();
    let now = now_ms();
    for record in records {
        builder.push(now, None, Some(&record.encode()?), &[]);
    }
    Ok(builder.build(BatchOptions::default()))
}
