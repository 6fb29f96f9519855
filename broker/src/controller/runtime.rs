//! The controller's task: the one that has the image follow the metadata log, and on the node that leads the quorum the one that
//! decides what is appended to it, and so the one that orders all changes.
//!
//! An image is changed by what is committed and by nothing else, on a leader as on a follower: a leader decides, appends, waits
//! until the quorum has committed, reads the log on to there, and then answers. So a leader that loses its office has nothing
//! to take back, and a new one decides only once it has read everything up to its own epoch.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::records::{BatchBuilder, BatchOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, timeout};
use uuid::Uuid;

use super::acls;
use super::alter_configs::{self, AlterConfigs};
use super::alter_partitions::{AlterPartitions, IsrAnswers};
use super::assign::decide_assign;
use super::brokers::{Registration, decide_unregister};
use super::bugs::PartitionRules;
use super::client_quotas::{self, AlterQuotas};
use super::elections::{ElectLeader, decide_elect, decide_follow_configs};
use super::error::ControllerError;
use super::features::{self, UpdateFeature};
use super::image::ClusterImage;
use super::partition_change::unclean_elections;
use super::producer_ids::{self, ProducerIdBlock};
use super::reassignments::{Reassign, decide_reassign};
use super::records::MetadataRecord;
use super::replay::{Replay, replay};
use super::scram_credentials::{self, AlterScram};
use super::sessions::Sessions;
use super::snapshot::SnapshotId;
use super::snapshots::Snapshots;
use super::takeover::decide_takeover;
use super::topics::{self, CreateTopic, CreatedTopic, Refusal, TopicRef, TopicRules};
use crate::ids::{NodeId, Offset};
use crate::partition::{Assignment, Partitions, now_ms, off_the_runtime};
use crate::quorum::{Epoch, QuorumHandle, QuorumState};
use crate::security::acl::{Acl, AclFilter};

mod brokers;
mod gone;

pub(crate) use gone::look_for_the_gone;

pub use brokers::{Heartbeat, HeartbeatAnswer};

/// Requests that may wait; more of them wait at their connections.
const QUEUE_LEN: usize = 256;
/// How often it is looked which brokers are silent.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a decision waits until this node, which has become the leader, has read what its predecessors decided.
const OFFICE_TIME_MAX: Duration = Duration::from_secs(10);

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

/// When the controller looks what brokers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControllerTiming {
    /// How long a broker may be silent (`broker.session.timeout.ms`).
    pub session_timeout: Duration,
    /// How often leaderships go back to preferred leaders (`leader.imbalance.check.interval.seconds`); `None` for never.
    pub balance_interval: Option<Duration>,
}

type Answers<T> = oneshot::Sender<Vec<Result<T, Refusal>>>;

type AlterPartitionsReply = oneshot::Sender<Result<IsrAnswers, ErrorCode>>;

pub(super) enum Command {
    Create {
        topics: Vec<CreateTopic>,
        validate_only: bool,
        reply: Answers<CreatedTopic>,
    },
    Grow {
        topics: Vec<GrowTopic>,
        validate_only: bool,
        reply: Answers<()>,
    },
    Delete {
        topics: Vec<TopicRef>,
        reply: Answers<(String, Uuid)>,
    },
    Assign {
        node_id: NodeId,
        assignment: Assignment,
        reply: oneshot::Sender<Result<(), ControllerError>>,
    },
    Configs {
        changes: Vec<AlterConfigs>,
        validate_only: bool,
        reply: Answers<()>,
    },
    CreateAcls {
        acls: Vec<Acl>,
        reply: Answers<()>,
    },
    DeleteAcls {
        filters: Vec<AclFilter>,
        reply: Answers<Vec<Acl>>,
    },
    Scram {
        changes: Vec<AlterScram>,
        reply: Answers<()>,
    },
    Quotas {
        changes: Vec<AlterQuotas>,
        validate_only: bool,
        reply: Answers<()>,
    },
    Features {
        updates: Vec<UpdateFeature>,
        validate_only: bool,
        reply: Answers<()>,
    },
    ProducerIds {
        node_id: NodeId,
        reply: oneshot::Sender<Result<ProducerIdBlock, ControllerError>>,
    },
    Register {
        wanted: Registration,
        reply: oneshot::Sender<Result<Offset, Refusal>>,
    },
    Heartbeat {
        heartbeat: Heartbeat,
        reply: oneshot::Sender<Result<HeartbeatAnswer, Refusal>>,
    },
    AlterPartitions {
        wanted: AlterPartitions,
        reply: AlterPartitionsReply,
    },
    Elect {
        elections: Vec<ElectLeader>,
        reply: Answers<()>,
    },
    Reassign {
        wanted: Vec<Reassign>,
        reply: Answers<()>,
    },
    Unregister {
        id: NodeId,
        reply: Answers<()>,
    },
    /// Nobody listens any more where the broker of this registration was.
    Gone {
        id: NodeId,
        epoch: Offset,
    },
}

/// A handle to the controller; cheap to clone.
#[derive(Clone)]
pub struct Controller {
    pub(super) commands: mpsc::Sender<Command>,
    image: Arc<ArcSwap<ClusterImage>>,
    quorum: QuorumHandle,
    applied: watch::Receiver<Offset>,
}

impl Controller {
    /// Replays what is committed of the metadata log, opens what it names, and starts the task.
    pub async fn start(
        quorum: QuorumHandle,
        rules: TopicRules,
        partitions: Arc<Partitions>,
        timing: ControllerTiming,
    ) -> Result<Controller, ControllerError> {
        let nothing = ClusterImage::starting_with(rules.topic_defaults.clone());
        let (reader, dir) = (quorum.log().clone(), quorum.dir().clone());
        let committed = quorum.high_watermark();
        let replay = blocking(move || replay(&reader, &dir, nothing, committed)).await?;
        let mut snapshots = Snapshots::new(quorum.clone(), rules.snapshots, replay.bytes);
        let (publish_applied, applied) = watch::channel(replay.next);
        let mut owner = Owner {
            applied: publish_applied,
            sessions: Sessions::new(timing.session_timeout),
            balance_interval: timing.balance_interval,
            state: quorum.watch(),
            image: Arc::new(ArcSwap::from_pointee(replay.image.clone())),
            replay,
            rules: Arc::new(rules),
            partitions: partitions.clone(),
            quorum: quorum.clone(),
            follows: None,
        };
        if quorum.is_alone() {
            owner.take_over().await?;
        }
        let image = owner.image.load_full();
        let (opening, opened) = (partitions, image.clone());
        blocking(move || opening.open_all(&opened)).await?;
        snapshots.write_if_due(&image, owner.snapshot_id());
        owner.follows = Some(snapshots);
        let published = owner.image.clone();
        let (commands, inbox) = mpsc::channel(QUEUE_LEN);
        tokio::spawn(owner.run(inbox));
        Ok(Controller { commands, image: published, quorum, applied })
    }

    /// The quorum that keeps the metadata log.
    pub fn log(&self) -> &QuorumHandle {
        &self.quorum
    }

    /// How much of the metadata log the image has.
    pub fn applied(&self) -> Offset {
        *self.applied.borrow()
    }

    /// As [`applied`](Controller::applied), and how that changes.
    pub fn watch_applied(&self) -> watch::Receiver<Offset> {
        self.applied.clone()
    }

    /// Waits until the image has the metadata log up to there, for as long as the controller runs.
    pub async fn applied_up_to(&self, offset: Offset) {
        let _ = self.applied.clone().wait_for(|applied| *applied >= offset).await;
    }

    async fn tell<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        self.commands.send(command).await.map_err(|_| ControllerError::Stopped)?;
        answer.await.map_err(|_| ControllerError::Stopped)?
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

    /// A block of producer ids that nobody but this node gets.
    pub async fn producer_ids(&self, node_id: NodeId) -> Result<ProducerIdBlock, ControllerError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::ProducerIds { node_id, reply })
            .await
            .map_err(|_| ControllerError::Stopped)?;
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
    quorum: QuorumHandle,
    state: watch::Receiver<QuorumState>,
    rules: Arc<TopicRules>,
    partitions: Arc<Partitions>,
    image: Arc<ArcSwap<ClusterImage>>,
    /// The image that is published, on its way.
    replay: Replay,
    /// Set once the partitions are open: from then on they follow the image.
    follows: Option<Snapshots>,
    applied: watch::Sender<Offset>,
    sessions: Sessions,
    /// How often leaderships go back to preferred leaders (`auto.leader.rebalance.enable`).
    balance_interval: Option<Duration>,
}

impl Owner {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut checks = tokio::time::interval(SESSION_CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_alone = self.quorum.is_alone();
        let every = self.balance_interval.unwrap_or(Duration::from_secs(300));
        let mut balancing = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        balancing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = checks.tick(), if !is_alone => self.fence_the_silent().await,
                _ = balancing.tick(), if !is_alone && self.balance_interval.is_some() => self.balance().await,
                command = inbox.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                changed = self.state.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let up_to = self.state.borrow_and_update().high_watermark;
                    if let Err(error) = self.catch_up(up_to).await {
                        tracing::error!(%error, "the metadata cannot be brought up to what is committed");
                    }
                }
            }
        }
        // Nothing can be decided any more, but who asks hears so.
        while let Some(command) = inbox.recv().await {
            self.on_command(command).await;
        }
    }

    async fn on_command(&mut self, command: Command) {
        let rules = self.rules.clone();
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
                    alter_configs::decide_alter(image, &rules, wanted)
                        .map(|records| (with_what_follows(image, &rules, records), ()))
                };
                let _ = reply.send(self.change(&changes, validate_only, decide).await);
            }
            Command::Assign { node_id, assignment, reply } => {
                let Assignment { topic_id, partition, directory_id } = assignment;
                let decide = |image: &ClusterImage| {
                    let record = decide_assign(image, node_id, topic_id, partition, directory_id);
                    (record.into_iter().collect(), ())
                };
                let _ = reply.send(self.decide(decide).await);
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
            Command::Register { wanted, reply } => {
                let _ = reply.send(self.register(&wanted).await);
            }
            Command::Heartbeat { heartbeat, reply } => {
                let _ = reply.send(self.on_heartbeat(heartbeat).await);
            }
            Command::Elect { elections, reply } => {
                let decide = |image: &ClusterImage, wanted: &ElectLeader| {
                    decide_elect(image, PartitionRules::default(), wanted).map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&elections, false, decide).await);
            }
            Command::Reassign { wanted, reply } => {
                let decide = |image: &ClusterImage, wanted: &Reassign| {
                    decide_reassign(image, &rules, PartitionRules::default(), wanted)
                        .map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&wanted, false, decide).await);
            }
            Command::Gone { id, epoch } => self.fence_gone(id, epoch).await,
            Command::Unregister { id, reply } => {
                let decide = |image: &ClusterImage, id: &NodeId| {
                    decide_unregister(image, PartitionRules::default(), *id).map(|records| (records, ()))
                };
                let _ = reply.send(self.change(&[id], false, decide).await);
            }
            Command::AlterPartitions { wanted, reply } => {
                let _ = reply.send(self.alter_partitions(&wanted).await);
            }
            Command::ProducerIds { node_id, reply } => {
                let decide = |image: &ClusterImage| producer_ids::decide_block(image, node_id);
                let _ = reply.send(self.decide(decide).await);
            }
        }
    }

    /// Decides about every item against an image that has the earlier ones, then stores all records at once. When
    /// that fails nothing has happened, as far as is known here, and every item that was granted is refused.
    async fn change<W, T>(
        &mut self,
        wanted: &[W],
        validate_only: bool,
        decide: impl Fn(&ClusterImage, &W) -> Result<(Vec<MetadataRecord>, T), Refusal>,
    ) -> Vec<Result<T, Refusal>> {
        let epoch = match self.office().await {
            Ok(epoch) => epoch,
            Err(error) => {
                let refusal = Refusal::from(error);
                return wanted.iter().map(|_| Err(refusal.clone())).collect();
            }
        };
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
        if let Err(error) = self.commit(epoch, &records).await {
            match error {
                ControllerError::NotController => tracing::warn!(%error, "a metadata change may be lost"),
                _ => tracing::error!(%error, "a metadata change failed"),
            }
            let refusal = Refusal::from(error);
            return answers.into_iter().map(|answer| answer.and(Err(refusal.clone()))).collect();
        }
        answers
    }

    /// As [`change`](Owner::change), of one thing that cannot be refused.
    async fn decide<T>(
        &mut self,
        decide: impl FnOnce(&ClusterImage) -> (Vec<MetadataRecord>, T),
    ) -> Result<T, ControllerError> {
        let epoch = self.office().await?;
        let (records, answer) = decide(&self.image.load());
        if !records.is_empty() {
            self.commit(epoch, &records).await?;
        }
        Ok(answer)
    }

    /// The epoch in which this node decides, once the image has everything from before it.
    async fn office(&mut self) -> Result<Epoch, ControllerError> {
        let is_alone = self.quorum.is_alone();
        let taking_office = async {
            loop {
                let state = *self.state.borrow_and_update();
                match state.leads_from {
                    Some(begin) if state.high_watermark > begin => {
                        self.catch_up(state.high_watermark).await?;
                        return Ok(state.epoch);
                    }
                    // What is decided in its own epoch comes after the record with which that begins.
                    Some(_) => {}
                    None if is_alone => {}
                    None => return Err(ControllerError::NotController),
                }
                self.state.changed().await.map_err(|_| ControllerError::Stopped)?;
            }
        };
        timeout(OFFICE_TIME_MAX, taking_office).await.unwrap_or(Err(ControllerError::NotController))
    }

    /// Appends records and waits until they are committed and the image has them.
    async fn commit(&mut self, epoch: Epoch, records: &[MetadataRecord]) -> Result<(), ControllerError> {
        let unclean = unclean_elections(&self.image.load(), records);
        if let Some(first) = unclean.first() {
            tracing::warn!(
                partitions = unclean.len(), %first,
                "partitions get leaders that may lack records which were acknowledged: nobody else is left"
            );
        }
        let end = self.quorum.append(epoch, batch_of(records)?).await?;
        tracing::debug!(%end, records = records.len(), "metadata changed");
        loop {
            let state = *self.state.borrow_and_update();
            if state.leads_from.is_none() || state.epoch != epoch {
                return Err(ControllerError::NotController);
            }
            if state.high_watermark >= end {
                return self.catch_up(state.high_watermark).await;
            }
            self.state.changed().await.map_err(|_| ControllerError::Stopped)?;
        }
    }

    /// Brings the image up to what is committed, the partitions in line with it, and publishes it.
    async fn catch_up(&mut self, committed: Offset) -> Result<(), ControllerError> {
        let quorum = &self.quorum;
        let begin = quorum.log().log_start();
        let has_changed = if begin > self.replay.next {
            // The leader's snapshot has taken the place of what was not read yet.
            let nothing = ClusterImage::starting_with(self.rules.topic_defaults.clone());
            let mut newer =
                off_the_runtime(|| replay(quorum.log(), quorum.dir(), nothing, committed.max(begin)))?;
            newer.image.supersede(&self.replay.image);
            newer.bytes = 0;
            self.replay = newer;
            true
        } else if committed > self.replay.next {
            off_the_runtime(|| self.replay.read_log(quorum.log(), committed))?
        } else {
            false
        };
        if !has_changed {
            self.applied.send_replace(self.replay.next);
            return Ok(());
        }
        let image = Arc::new(self.replay.image.clone());
        let id = self.snapshot_id();
        let Some(snapshots) = &mut self.follows else {
            self.image.store(image);
            return Ok(());
        };
        let (partitions, before, after) = (self.partitions.clone(), self.image.load_full(), image.clone());
        let removed = blocking(move || partitions.follow(&before, &after)).await;
        // The records are committed, so the image holds whatever became of the files; a partition that could not be
        // opened is offline and its clients retry.
        self.image.store(image.clone());
        self.applied.send_replace(self.replay.next);
        snapshots.appended(std::mem::take(&mut self.replay.bytes));
        if self.replay.is_whole() {
            snapshots.write_if_due(&image, id);
        }
        self.partitions.delete(removed?).await;
        Ok(())
    }

    /// Of a snapshot of the image as it is now.
    fn snapshot_id(&self) -> SnapshotId {
        SnapshotId { end: self.replay.next, epoch: self.replay.epoch }
    }

    /// Of a node that is the whole cluster: has it lead what nobody led, and notes where partitions really are.
    async fn take_over(&mut self) -> Result<(), ControllerError> {
        let node_id = self.rules.node_id;
        let mut records = decide_takeover(&self.replay.image, node_id)?;
        if !records.is_empty() {
            tracing::info!(partitions = records.len(), "leads what nobody led");
        }
        let (looking, described) = (self.partitions.clone(), self.image.load_full());
        for assignment in blocking(move || looking.misplaced(&described)).await? {
            let Assignment { topic_id, partition, directory_id } = assignment;
            records.extend(decide_assign(&self.replay.image, node_id, topic_id, partition, directory_id));
        }
        if records.is_empty() {
            return Ok(());
        }
        let epoch = self.office().await?;
        self.commit(epoch, &records).await
    }
}

/// With what the partitions become by configs that change.
fn with_what_follows(
    image: &ClusterImage,
    rules: &TopicRules,
    mut records: Vec<MetadataRecord>,
) -> Vec<MetadataRecord> {
    if !rules.is_alone {
        let mut after = image.clone();
        records.iter().for_each(|record| after.apply(record));
        records.extend(decide_follow_configs(&after, PartitionRules::default(), &records));
    }
    records
}

fn batch_of(records: &[MetadataRecord]) -> Result<Bytes, ControllerError> {
    let mut builder = BatchBuilder::default();
    let now = now_ms();
    for record in records {
        builder.push(now, None, Some(&record.encode()?), &[]);
    }
    Ok(builder.build(BatchOptions::default()))
}
