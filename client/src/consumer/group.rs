//! Membership in a classic group: joining, syncing, heartbeats, leaving. The membership task owns the member id and
//! the generation; the consumer sees a [`Phase`] and answers it from within `poll`.
//!
//! ```text
//!   Joining ──▶ Stable ──the group rebalances──▶ Revoking ──poll let go of its partitions──▶ Joining …
//!                  └───the member was put out──▶ Lost ─────poll let go of its partitions──▶ Joining …
//! ```
//! So nobody else is given a partition while the caller still works on its records, unless the caller does not poll
//! for longer than `max_poll_interval`: then the member leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::messages::k11_join_group::JoinGroupRequestProtocol;
use ottla_protocol::messages::k13_leave_group::MemberIdentity;
use ottla_protocol::messages::k14_sync_group::SyncGroupRequestAssignment;
use ottla_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use ottla_protocol::{ErrorCode, Str};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::config::ConsumerConfig;
use crate::TopicPartition;
use crate::assignment::{
    Assignor, Subscriptions, decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use crate::coordinator::Coordinator;
use crate::error::ClientError;
use crate::pool::Lane;

const PROTOCOL_TYPE: &str = "consumer";
/// The last version of LeaveGroup that names one member.
const LEAVE_ONE_VERSION_MAX: i16 = 2;

/// A member in a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Membership {
    /// Counts this consumer's memberships.
    pub(super) round: u64,
    pub(super) generation: i32,
    pub(super) member_id: Str,
    pub(super) assignment: Arc<Vec<TopicPartition>>,
    /// For the leader: the partition counts it divided. When they change, it asks for a rebalance.
    pub(super) divided: Option<Arc<BTreeMap<String, i32>>>,
}

/// What the consumer has to know and do.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Not yet, or not at present, a member of a generation.
    Joining,
    /// Has these partitions.
    Stable(Membership),
    /// Must commit and let go of its partitions, then say [`Command::Rejoin`].
    Revoking(Membership),
    /// Has lost its partitions; others may own them already. Must say [`Command::Rejoin`].
    Lost { round: u64 },
    /// Can't be a member.
    Failed(ClientError),
}

/// What the consumer asks of the membership task.
pub(super) enum Command {
    /// The topics are these now.
    Subscribe(BTreeSet<String>),
    /// The partitions are let go of.
    Rejoin,
    /// `poll` was called, or is (`true`) going on.
    Polled(bool),
    /// Leaves the group.
    Leave(oneshot::Sender<()>),
}

/// Why a member is not stable any more.
enum Interrupted {
    Rebalance,
    Lost,
    Failed(ClientError),
    Command(Command),
}

pub(super) struct Member {
    coordinator: Arc<Coordinator>,
    config: ConsumerConfig,
    owner: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    phase: watch::Sender<Phase>,
    topics: BTreeSet<String>,
    member_id: Str,
    round: u64,
    /// When `poll` was last called; none while it is going on.
    polled_at: Option<Instant>,
}

impl Member {
    pub(super) fn new(
        coordinator: Arc<Coordinator>,
        config: ConsumerConfig,
        owner: u64,
        commands: mpsc::UnboundedReceiver<Command>,
        phase: watch::Sender<Phase>,
    ) -> Member {
        Member {
            coordinator,
            config,
            owner,
            commands,
            phase,
            topics: BTreeSet::new(),
            member_id: Str::default(),
            round: 0,
            polled_at: Some(Instant::now()),
        }
    }

    pub(super) async fn run(mut self) {
        // The first command is the first subscription.
        let mut command = self.commands.recv().await;
        while let Some(next) = command {
            command = match next {
                Command::Subscribe(topics) => {
                    self.topics = topics;
                    self.join_and_stay().await
                }
                Command::Rejoin => self.join_and_stay().await,
                Command::Polled(is_going_on) => {
                    self.on_polled(is_going_on);
                    self.commands.recv().await
                }
                Command::Leave(done) => {
                    self.leave().await;
                    let _ = done.send(());
                    return;
                }
            };
        }
        // The consumer was dropped without being closed: others need not wait for the session to expire.
        self.leave().await;
    }

    fn on_polled(&mut self, is_going_on: bool) {
        self.polled_at = Some(Instant::now()).filter(|_| !is_going_on);
    }

    /// Joins, stays a member for as long as that lasts, and tells the consumer how it ended. Gives the next command.
    async fn join_and_stay(&mut self) -> Option<Command> {
        self.phase.send_replace(Phase::Joining);
        self.round += 1;
        let membership = match self.join_or_command().await {
            Ok(Ok(membership)) => membership,
            Ok(Err(error)) => {
                self.phase.send_replace(Phase::Failed(error));
                return self.commands.recv().await;
            }
            Err(command) => return command,
        };
        info!(
            group = %self.coordinator.key,
            generation = membership.generation,
            partitions = membership.assignment.len(),
            "joined the group"
        );
        self.member_id = membership.member_id.clone();
        self.phase.send_replace(Phase::Stable(membership.clone()));
        match self.stay(&membership).await {
            Interrupted::Rebalance => {
                self.phase.send_replace(Phase::Revoking(membership.clone()));
                self.wait_for_poll(&membership).await
            }
            Interrupted::Lost => {
                self.phase.send_replace(Phase::Lost { round: membership.round });
                self.commands.recv().await
            }
            Interrupted::Failed(error) => {
                self.phase.send_replace(Phase::Failed(error));
                self.commands.recv().await
            }
            Interrupted::Command(command) => Some(command),
        }
    }

    /// The inner result is of joining; the outer error is a command that came first and ended the attempt.
    async fn join_or_command(&mut self) -> Result<Result<Membership, ClientError>, Option<Command>> {
        let joiner = Joiner {
            coordinator: self.coordinator.clone(),
            config: self.config.clone(),
            lane: Lane::Group(self.owner),
            topics: self.topics.clone(),
            round: self.round,
        };
        let member_id = self.member_id.clone();
        let joining = joiner.join(member_id);
        tokio::pin!(joining);
        let ended = loop {
            tokio::select! {
                joined = &mut joining => return Ok(joined),
                command = self.commands.recv() => match command {
                    // What was let go of before is let go of; that poll is called changes nothing.
                    Some(Command::Rejoin) => {}
                    Some(Command::Polled(is_going_on)) => {
                        self.polled_at = Some(Instant::now()).filter(|_| !is_going_on);
                    }
                    other => break other,
                },
            }
        };
        // A join may be parked at the coordinator, and requests behind it on its connection would wait with it.
        self.coordinator.cluster.pool.release_lane(Lane::Group(self.owner));
        Err(ended)
    }

    /// Sends heartbeats until something ends the membership.
    async fn stay(&mut self, membership: &Membership) -> Interrupted {
        let mut next_heartbeat = Instant::now() + self.config.heartbeat_interval;
        let mut heard_at = Instant::now();
        loop {
            let poll_deadline = self.polled_at.map(|at| at + self.config.max_poll_interval);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Polled(is_going_on)) => self.on_polled(is_going_on),
                    Some(Command::Rejoin) => return Interrupted::Rebalance,
                    Some(command) => return Interrupted::Command(command),
                    None => {
                        self.leave().await;
                        return Interrupted::Lost;
                    }
                },
                () = tokio::time::sleep_until(poll_deadline.unwrap_or(next_heartbeat)), if poll_deadline.is_some() => {
                    warn!(
                        group = %self.coordinator.key,
                        max_poll_interval = ?self.config.max_poll_interval,
                        "poll was not called in time: leaving the group"
                    );
                    self.leave().await;
                    return Interrupted::Lost;
                }
                () = tokio::time::sleep_until(next_heartbeat) => {
                    match heartbeat(&self.coordinator, &self.config, self.owner, membership).await {
                        Ok(()) => heard_at = Instant::now(),
                        Err(error) => {
                            if let Some(interrupted) = self.on_heartbeat_failed(error, heard_at) {
                                return interrupted;
                            }
                        }
                    }
                    next_heartbeat = Instant::now() + self.config.heartbeat_interval;
                }
            }
        }
    }

    fn on_heartbeat_failed(&mut self, error: ClientError, heard_at: Instant) -> Option<Interrupted> {
        match error.code() {
            Some(ErrorCode::RebalanceInProgress) => Some(Interrupted::Rebalance),
            Some(ErrorCode::IllegalGeneration) => Some(Interrupted::Lost),
            Some(ErrorCode::UnknownMemberId) => {
                self.member_id = Str::default();
                Some(Interrupted::Lost)
            }
            _ if error.is_retriable() => {
                debug!(%error, "a heartbeat failed");
                (heard_at.elapsed() >= self.config.session_timeout).then_some(Interrupted::Lost)
            }
            _ => Some(Interrupted::Failed(error)),
        }
    }

    /// Stays alive while the caller finishes its records, but not longer than it may take between polls.
    async fn wait_for_poll(&mut self, membership: &Membership) -> Option<Command> {
        loop {
            let poll_deadline = self.polled_at.map(|at| at + self.config.max_poll_interval);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Polled(is_going_on)) => self.on_polled(is_going_on),
                    other => return other,
                },
                () = tokio::time::sleep(self.config.heartbeat_interval) => {
                    // The coordinator counts it as a sign of life, whatever it answers.
                    let _ = heartbeat(&self.coordinator, &self.config, self.owner, membership).await;
                    if poll_deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        self.leave().await;
                        self.phase.send_replace(Phase::Lost { round: membership.round });
                        return self.commands.recv().await;
                    }
                }
            }
        }
    }

    /// Leaves at once. A static member stays in the group: it is to come back before its session ends (KIP-345).
    async fn leave(&mut self) {
        if self.member_id.is_empty() || self.config.group_instance_id.is_some() {
            return;
        }
        let member_id = std::mem::take(&mut self.member_id);
        let group_id = self.coordinator.key.clone();
        let request = |version: i16| {
            if version <= LEAVE_ONE_VERSION_MAX {
                return LeaveGroupRequest { group_id, member_id, members: Vec::new() };
            }
            let member = MemberIdentity { member_id, ..Default::default() };
            LeaveGroupRequest { group_id, member_id: Str::default(), members: vec![member] }
        };
        let timeout = Duration::from_secs(5).min(self.coordinator.cluster.config.request_timeout);
        let left =
            self.coordinator.send(Lane::Control, i16::MAX, timeout, request, |response| response.error_code);
        if let Err(error) = left.await {
            debug!(%error, "leaving the group failed; its session will expire");
        }
    }
}

async fn heartbeat(
    coordinator: &Coordinator,
    config: &ConsumerConfig,
    owner: u64,
    membership: &Membership,
) -> Result<(), ClientError> {
    let request = |version: i16| HeartbeatRequest {
        group_id: coordinator.key.clone(),
        generation_id: membership.generation,
        member_id: membership.member_id.clone(),
        group_instance_id: instance_id(config).filter(|_| version >= 3),
    };
    let timeout = config.session_timeout.min(coordinator.cluster.config.request_timeout);
    let lane = Lane::Group(owner);
    coordinator.send(lane, i16::MAX, timeout, request, |response| response.error_code).await.map(|_| ())
}

fn instance_id(config: &ConsumerConfig) -> Option<Str> {
    config.group_instance_id.as_deref().map(Str::from)
}

/// One effort to become a member, with as many rounds as it takes.
struct Joiner {
    coordinator: Arc<Coordinator>,
    config: ConsumerConfig,
    lane: Lane,
    topics: BTreeSet<String>,
    round: u64,
}

impl Joiner {
    async fn join(&self, mut member_id: Str) -> Result<Membership, ClientError> {
        let mut backoff = self.coordinator.cluster.backoff();
        loop {
            let error = match self.join_once(&mut member_id).await {
                Ok(membership) => return Ok(membership),
                Err(error) => error,
            };
            debug!(group = %self.coordinator.key, %error, "joining again");
            match error.code() {
                // The coordinator gave this member its id; with it, it is let in (KIP-394).
                Some(ErrorCode::MemberIdRequired) => continue,
                // The group moved on between join and sync.
                Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {}
                Some(ErrorCode::UnknownMemberId) => member_id = Str::default(),
                _ if error.is_retriable() || error.is_connection() => {}
                _ => return Err(error),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn join_once(&self, member_id: &mut Str) -> Result<Membership, ClientError> {
        let joined = self.send_join(member_id).await?;
        let what = || format!("joining group {}", self.coordinator.key);
        let code = ErrorCode::from_code(joined.error_code);
        if code == ErrorCode::MemberIdRequired || code == ErrorCode::None {
            *member_id = joined.member_id.clone();
        }
        if code != ErrorCode::None {
            return Err(ClientError::broker(what(), code));
        }
        let is_leader = joined.leader == joined.member_id && !joined.skip_assignment;
        let (assignments, divided) = if is_leader { self.divide(&joined).await? } else { (Vec::new(), None) };
        let request = |version: i16| SyncGroupRequest {
            group_id: self.coordinator.key.clone(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: instance_id(&self.config).filter(|_| version >= 3),
            protocol_type: Some(Str::from_static(PROTOCOL_TYPE)),
            protocol_name: joined.protocol_name.clone(),
            assignments,
        };
        let timeout = self.round_timeout();
        let synced = self
            .coordinator
            .send(self.lane, i16::MAX, timeout, request, |response| response.error_code)
            .await?;
        let assignment =
            decode_assignment(&synced.assignment).map_err(|reason| ClientError::BadResponse {
                address: format!("the leader of group {}", self.coordinator.key),
                api: ottla_protocol::ApiKey::SyncGroup,
                reason,
            })?;
        Ok(Membership {
            round: self.round,
            generation: joined.generation_id,
            member_id: joined.member_id,
            assignment: Arc::new(assignment),
            divided,
        })
    }

    async fn send_join(&self, member_id: &Str) -> Result<JoinGroupResponse, ClientError> {
        let metadata: Bytes = encode_subscription(&self.topics).map_err(|error| {
            ClientError::InvalidConfig(format!("the subscription cannot be sent: {error}"))
        })?;
        let protocols = self.config.assignors.iter().map(|assignor| JoinGroupRequestProtocol {
            name: Str::from_static(assignor.name()),
            metadata: metadata.clone(),
        });
        let millis = |duration: Duration| duration.as_millis().min(i32::MAX as u128) as i32;
        let request = |version: i16| JoinGroupRequest {
            group_id: self.coordinator.key.clone(),
            session_timeout_ms: millis(self.config.session_timeout),
            rebalance_timeout_ms: millis(self.config.max_poll_interval),
            member_id: member_id.clone(),
            group_instance_id: instance_id(&self.config).filter(|_| version >= 5),
            protocol_type: Str::from_static(PROTOCOL_TYPE),
            protocols: protocols.collect(),
            reason: None,
        };
        let hide_member_id_required = |response: &JoinGroupResponse| {
            // The answer carries the member id to come back with, so it must not be swallowed here.
            let code = ErrorCode::from_code(response.error_code);
            if code == ErrorCode::MemberIdRequired { 0 } else { response.error_code }
        };
        let timeout = self.round_timeout();
        self.coordinator.send(self.lane, i16::MAX, timeout, request, hide_member_id_required).await
    }

    /// A join is answered when all members have joined, or the rebalance timeout has passed.
    fn round_timeout(&self) -> Duration {
        self.config.max_poll_interval.max(self.coordinator.cluster.config.request_timeout)
            + Duration::from_secs(5)
    }

    /// Divides the partitions among the members: this one leads the group.
    async fn divide(
        &self,
        joined: &JoinGroupResponse,
    ) -> Result<(Vec<SyncGroupRequestAssignment>, Option<Arc<BTreeMap<String, i32>>>), ClientError> {
        let mut members = Subscriptions::new();
        for member in &joined.members {
            // A member that says nothing readable gets nothing; it must not stop the others.
            let topics = decode_subscription(&member.metadata).unwrap_or_default();
            members.insert(member.member_id.to_string(), topics);
        }
        let topics: BTreeSet<String> = members.values().flatten().cloned().collect();
        let counts = partition_counts(&self.coordinator.cluster, &topics).await?;
        let assignor = joined.protocol_name.as_deref().and_then(Assignor::from_name);
        let assignor = assignor.unwrap_or(self.config.assignors[0]);
        let assignments = assignor.assign(&members, &counts);
        let mut wire = Vec::with_capacity(assignments.len());
        for (member_id, partitions) in assignments {
            let assignment = encode_assignment(&partitions).map_err(|error| {
                ClientError::InvalidConfig(format!("an assignment cannot be sent: {error}"))
            })?;
            wire.push(SyncGroupRequestAssignment { member_id: member_id.into(), assignment });
        }
        Ok((wire, Some(Arc::new(counts))))
    }
}

/// How many partitions each topic has now; topics that do not exist are left out.
pub(super) async fn partition_counts(
    cluster: &crate::cluster::Cluster,
    topics: &BTreeSet<String>,
) -> Result<BTreeMap<String, i32>, ClientError> {
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    if !names.is_empty() {
        cluster.refresh(Some(&names), cluster.config.allow_auto_create_topics).await?;
    }
    Ok(known_partition_counts(&cluster.metadata(), topics))
}

/// As the metadata has it.
pub(super) fn known_partition_counts(
    metadata: &crate::metadata::Metadata,
    topics: &BTreeSet<String>,
) -> BTreeMap<String, i32> {
    let count = |topic: &String| Some((topic.clone(), metadata.topic_of_any_age(topic)?.partition_count()));
    topics.iter().filter_map(count).collect()
}
