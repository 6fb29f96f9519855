//! The part of the controller's task that is about brokers and their replicas: who registers, is heard of or silent, stops, says who
//! is in sync, and which leaders are wanted. What is decided is in `brokers.rs`, `alter_partitions.rs` and `elections.rs`.

use ottla_protocol::ErrorCode;
use tokio::sync::oneshot;

use super::owner::Owner;
use super::{Command, Controller};
use crate::controller::alter_partitions::{AlterPartitions, IsrAnswers, decide_alter_partitions};
use crate::controller::brokers::{self, Registration};
use crate::controller::bugs::PartitionRules;
use crate::controller::elections::{ElectLeader, decide_balance};
use crate::controller::error::ControllerError;
use crate::controller::reassignments::Reassign;
use crate::controller::topics::{Refusal, refuse};
use crate::ids::{NodeId, Offset};

/// What a broker says of itself while it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who.
    pub id: NodeId,
    /// Of its registration.
    pub epoch: Offset,
    /// How much of the metadata it has applied.
    pub applied: Offset,
    /// It wants nobody to be sent to it any more.
    pub wants_fence: bool,
    /// It wants to stop, and gives away what it leads first.
    pub wants_shut_down: bool,
}

/// What a broker hears when it says that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// It may not serve.
    pub is_fenced: bool,
    /// It leads nothing any more, and may stop.
    pub should_shut_down: bool,
}

impl Controller {
    /// Registers a broker, which is fenced until it has all of the metadata; gives the epoch of its registration.
    pub async fn register_broker(&self, wanted: Registration) -> Result<Offset, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Register { wanted, reply }, answer).await
    }

    /// Notes that a broker is there.
    pub async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Heartbeat { heartbeat, reply }, answer).await
    }

    /// As [`alter_partitions`](Controller::alter_partitions), decided here, if this node decides.
    pub(crate) async fn alter_partitions_here(
        &self,
        wanted: AlterPartitions,
    ) -> Result<IsrAnswers, ErrorCode> {
        let (reply, answer) = oneshot::channel();
        let command = Command::AlterPartitions { wanted, reply };
        self.commands.send(command).await.map_err(|_| ErrorCode::NotController)?;
        answer.await.map_err(|_| ErrorCode::NotController)?
    }

    /// Elects leaders; one answer per election, in order.
    pub async fn elect_leaders(&self, elections: Vec<ElectLeader>) -> Vec<Result<(), Refusal>> {
        let count = elections.len();
        self.ask(count, |reply| Command::Elect { elections, reply }).await
    }

    /// Gives partitions other replicas, or stops doing so; one answer per partition, in order. What is granted is under way then.
    pub async fn reassign_partitions(&self, wanted: Vec<Reassign>) -> Vec<Result<(), Refusal>> {
        let count = wanted.len();
        self.ask(count, |reply| Command::Reassign { wanted, reply }).await
    }

    /// Forgets a broker that will not come back; if it does, it registers anew.
    pub async fn unregister_broker(&self, id: NodeId) -> Result<(), Refusal> {
        let answer = self.ask(1, |reply| Command::Unregister { id, reply }).await.pop();
        answer.unwrap_or_else(|| Err(ControllerError::Stopped.into()))
    }
}

impl Owner {
    pub(super) async fn register(&mut self, wanted: &Registration) -> Result<Offset, Refusal> {
        let epoch = self.office().await?;
        let image = self.image.clone();
        self.sessions.begin(epoch, &image);
        let is_alive = self.sessions.is_alive(wanted.id);
        // In its epoch nobody else appends, so this is where the first record will be.
        let at = self.quorum.log().log_end();
        let (records, registered) =
            brokers::decide_register(&image, PartitionRules::default(), wanted, at, is_alive)?;
        if !records.is_empty() {
            self.commit(epoch, &records).await?;
        }
        self.sessions.heard_of(wanted.id);
        tracing::info!(node_id = %wanted.id, epoch = %registered, "a broker has registered");
        Ok(registered)
    }

    pub(super) async fn on_heartbeat(&mut self, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, Refusal> {
        let Heartbeat { id, epoch: registered, applied, wants_fence, wants_shut_down } = heartbeat;
        let epoch = self.office().await?;
        let image = self.image.clone();
        self.sessions.begin(epoch, &image);
        let Some(broker) = image.brokers().get(&id) else {
            return refuse(ErrorCode::BrokerIdNotRegistered, format!("broker {id} is not registered"));
        };
        if broker.epoch != registered {
            let message = format!("broker {id} has registered again with the epoch {}", broker.epoch);
            return refuse(ErrorCode::StaleBrokerEpoch, message);
        }
        self.sessions.heard_of(id);
        let rules = PartitionRules::default();
        let (records, now) = if wants_shut_down && broker.is_active() {
            (brokers::decide_controlled_shutdown(&image, rules, id), "gives away what it leads")
        } else if wants_fence || wants_shut_down {
            (brokers::decide_fence(&image, rules, id), "is fenced")
        } else if applied > registered {
            (brokers::decide_unfence(&image, rules, id), "serves")
        } else {
            // It does not know of its own registration yet.
            (Vec::new(), "")
        };
        if !records.is_empty() {
            self.commit(epoch, &records).await?;
            tracing::info!(node_id = %id, now, partitions = records.len() - 1, "a broker has changed");
        }
        let image = self.image.clone();
        let is_fenced = image.brokers().get(&id).is_none_or(|broker| broker.is_fenced);
        let should_shut_down = wants_shut_down && is_fenced && !brokers::leads_something(&image, id);
        Ok(HeartbeatAnswer { is_fenced, should_shut_down })
    }

    pub(super) async fn alter_partitions(
        &mut self,
        wanted: &AlterPartitions,
    ) -> Result<IsrAnswers, ErrorCode> {
        let code = |error: ControllerError| Refusal::from(error).code;
        let epoch = self.office().await.map_err(code)?;
        let decided = decide_alter_partitions(&self.image, PartitionRules::default(), wanted);
        let (records, answers) = decided?;
        if !records.is_empty() {
            self.commit(epoch, &records).await.map_err(code)?;
        }
        Ok(answers)
    }

    /// Fences the brokers of which nothing was heard for too long, where this node decides.
    pub(super) async fn fence_the_silent(&mut self) {
        if self.state.borrow().leads_from.is_none() {
            return;
        }
        let Ok(epoch) = self.office().await else { return };
        let image = self.image.clone();
        self.sessions.begin(epoch, &image);
        for id in self.sessions.silent(&image) {
            let records = brokers::decide_fence(&self.image, PartitionRules::default(), id);
            tracing::warn!(node_id = %id, "a broker is fenced: nothing was heard of it for broker.session.timeout.ms");
            if let Err(error) = self.commit(epoch, &records).await {
                tracing::warn!(%error, "a broker was not fenced");
                return;
            }
        }
    }

    /// Gives leaderships back to preferred leaders, where this node decides.
    pub(super) async fn balance(&mut self) {
        if self.state.borrow().leads_from.is_none() {
            return;
        }
        let Ok(epoch) = self.office().await else { return };
        let records = decide_balance(&self.image, PartitionRules::default());
        if records.is_empty() {
            return;
        }
        tracing::info!(partitions = records.len(), "leaderships go back to preferred leaders");
        if let Err(error) = self.commit(epoch, &records).await {
            tracing::warn!(%error, "leaderships were not balanced");
        }
    }
}
