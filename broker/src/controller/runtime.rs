//! The controller's tasks: the one that has the image follow the metadata log, and on the node that leads the quorum the one that
//! decides what is appended to it, and so the one that orders all changes.
//!
//! An image is changed by what is committed and by nothing else, on a leader as on a follower: a leader decides, appends, waits
//! until the quorum has committed, reads the log on to there, and then answers. So a leader that loses its office has nothing
//! to take back, and a new one decides only once it has read everything up to its own epoch.
//!
//! `owner.rs` decides, `publisher.rs` brings this node's partitions in line with what is decided and only then publishes it, and who
//! asks through the handle is answered after that.

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::alter_configs::AlterConfigs;
use super::alter_partitions::{AlterPartitions, IsrAnswers};
use super::brokers::Registration;
use super::client_quotas::AlterQuotas;
use super::elections::ElectLeader;
use super::error::ControllerError;
use super::features::UpdateFeature;
use super::image::ClusterImage;
use super::producer_ids::ProducerIdBlock;
use super::reassignments::Reassign;
use super::replay::replay;
use super::scram_credentials::AlterScram;
use super::topics::{CreateTopic, CreatedTopic, Refusal, TopicRef, TopicRules};
use crate::ids::{NodeId, Offset};
use crate::partition::{Assignment, Partitions};
use crate::quorum::QuorumHandle;
use crate::security::acl::{Acl, AclFilter};

mod brokers;
mod gone;
mod owner;
mod publisher;

pub(crate) use gone::look_for_the_gone;

pub use brokers::{Heartbeat, HeartbeatAnswer};
use owner::{Decided, Owner};
use publisher::{Published, Publisher};

/// Requests that may wait; more of them wait at their connections.
const QUEUE_LEN: usize = 256;

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
    published: Published,
    decided: watch::Receiver<Decided>,
    quorum: QuorumHandle,
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
        let mut owner = Owner::new(quorum.clone(), replay, rules, timing);
        if quorum.is_alone() {
            owner.take_over(&partitions).await?;
        }
        let decided = owner.watch_decided();
        let (publisher, published) = Publisher::open(partitions, decided.clone()).await?;
        let (commands, inbox) = mpsc::channel(QUEUE_LEN);
        tokio::spawn(publisher.run());
        tokio::spawn(owner.run(inbox));
        Ok(Controller { commands, published, decided, quorum })
    }

    /// The quorum that keeps the metadata log.
    pub fn log(&self) -> &QuorumHandle {
        &self.quorum
    }

    /// How much of the metadata log the image has.
    pub fn applied(&self) -> Offset {
        *self.published.applied.borrow()
    }

    /// As [`applied`](Controller::applied), and how that changes.
    pub fn watch_applied(&self) -> watch::Receiver<Offset> {
        self.published.applied.clone()
    }

    /// Waits until the image has the metadata log up to there, for as long as the controller runs.
    pub async fn applied_up_to(&self, offset: Offset) {
        let _ = self.published.applied.clone().wait_for(|applied| *applied >= offset).await;
    }

    async fn tell<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        self.commands.send(command).await.map_err(|_| ControllerError::Stopped)?;
        answer.await.map_err(|_| ControllerError::Stopped)?
    }

    /// The cluster as it is on this node: as was decided, and the partitions here are in line with it.
    pub fn image(&self) -> Arc<ClusterImage> {
        self.published.image.load_full()
    }

    /// The cluster as it is decided, of which this node's partitions may not have heard yet.
    pub(crate) fn decided(&self) -> Arc<ClusterImage> {
        self.decided.borrow().image.clone()
    }

    /// Waits until this node is as is decided now: who has an answer finds here what it says.
    pub(super) async fn settle(&self) {
        let next = self.decided.borrow().next;
        let _ = self.published.settled.clone().wait_for(|settled| *settled >= next).await;
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
            self.settle().await;
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
