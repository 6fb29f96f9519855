//! The consumer: `poll` hands out what the fetch task has read ahead, and drives the group's rebalances.
//!
//! *Invariant:* offsets are only committed for records that an earlier `poll` has returned, so a record is never
//! lost with its reader; after a crash the last ones are read again.

mod config;
mod fetch;
mod fetcher;
mod group;
mod partitions;
mod poll;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ottla_protocol::Str;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

pub use config::{ConsumerConfig, IsolationLevel, OffsetReset};
pub use partitions::OFFSET_STORED;

use crate::TopicPartition;
use crate::cluster::Cluster;
use crate::coordinator::Coordinator;
use crate::error::ClientError;
use crate::group_offsets::{self, CommittedOffset, Committer, GroupMetadata};
use crate::list_offsets::{OFFSET_EARLIEST, OFFSET_LATEST, OffsetAtTime, list_offsets};
use crate::record::ConsumerRecord;
use group::{Command, Member, Phase};
use partitions::{Partitions, Place};
use poll::PollState;

/// Records of one partition, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedPartition {
    pub topic_partition: TopicPartition,
    /// None where reading has only passed over what is given to nobody.
    pub records: Vec<ConsumerRecord>,
    /// Where reading goes on: after the last record, and after what is given to nobody, as the ends of transactions and
    /// what was aborted or compacted away.
    pub next_offset: i64,
    /// The end of the partition when the records were read: the offset of the next record to be written. -1 where
    /// nothing was read yet.
    pub high_watermark: i64,
}

/// Reads records, alone ([`assign`](Consumer::assign)) or in a group ([`subscribe`](Consumer::subscribe)).
///
/// Cheap to clone; clones share one position per partition, and their polls take turns.
#[derive(Clone)]
pub struct Consumer {
    handle: Arc<Handle>,
}

/// Ends the tasks when the last clone goes.
struct Handle {
    shared: Arc<Shared>,
    /// One poll at a time; what only polls touch is inside.
    poll: tokio::sync::Mutex<PollState>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The membership task sees its commands end and leaves the group.
        self.shared.close();
    }
}

/// How partitions come to this consumer.
enum Mode {
    Unassigned,
    Assigned,
    Subscribed(Subscription),
}

#[derive(Clone)]
struct Subscription {
    topics: BTreeSet<String>,
    commands: mpsc::UnboundedSender<Command>,
    phase: watch::Receiver<Phase>,
    /// To hide the phase of an earlier subscription at once, before the membership task has heard of the new one.
    set_phase: watch::Sender<Phase>,
}

/// What the consumer and its fetch task both see.
struct Shared {
    cluster: Arc<Cluster>,
    config: ConsumerConfig,
    owner: u64,
    coordinator: Option<Arc<Coordinator>>,
    partitions: Mutex<Partitions>,
    mode: Mutex<Mode>,
    wake_fetcher: Notify,
    /// Counts changes that a waiting `poll` or `position` should look at.
    changes: watch::Sender<u64>,
    is_closed: AtomicBool,
    is_auto_committing: AtomicBool,
}

impl Shared {
    fn partitions(&self) -> MutexGuard<'_, Partitions> {
        self.partitions.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn mode(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn subscription(&self) -> Option<Subscription> {
        match &*self.mode() {
            Mode::Subscribed(subscription) => Some(subscription.clone()),
            Mode::Unassigned | Mode::Assigned => None,
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn check_open(&self) -> Result<(), ClientError> {
        if self.is_closed() { Err(ClientError::Closed("consumer")) } else { Ok(()) }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        *self.mode() = Mode::Unassigned;
        self.wake_fetcher.notify_one();
        self.changed();
    }

    fn coordinator(&self) -> Result<&Arc<Coordinator>, ClientError> {
        let missing =
            || ClientError::InvalidConfig("group_id is needed to subscribe and to commit".to_owned());
        self.coordinator.as_ref().ok_or_else(missing)
    }

    /// Whether offsets that an open transaction is about to change are waited for.
    fn requires_stable_offsets(&self) -> bool {
        self.config.isolation_level == IsolationLevel::ReadCommitted
    }

    /// As whom to commit: as the member that has the partitions, if this is a member.
    fn committer(&self) -> Committer {
        let group_instance_id = self.config.group_instance_id.as_deref().map(Str::from);
        let member = self.subscription().and_then(|subscription| match &*subscription.phase.borrow() {
            Phase::Stable(membership) | Phase::Revoking(membership) => {
                Some((membership.generation, membership.member_id.clone()))
            }
            Phase::Joining | Phase::Lost { .. } | Phase::Failed(_) => None,
        });
        Committer { group_instance_id: group_instance_id.filter(|_| member.is_some()), member }
    }

    /// Commits positions that were not committed yet.
    async fn commit_positions(&self) -> Result<(), ClientError> {
        let uncommitted = self.partitions().uncommitted();
        self.commit(&self.committer(), &uncommitted).await
    }

    /// Commits as a member of the generation in which the offsets were read: a later one may have given the
    /// partitions to others, and must refuse this.
    async fn commit(
        &self,
        committer: &Committer,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), ClientError> {
        let coordinator = self.coordinator()?;
        if committer.member.is_none() && self.subscription().is_some() && !offsets.is_empty() {
            // Without a generation the coordinator would take it for an offset tool, and refuse or, worse, not.
            let code = ottla_protocol::ErrorCode::RebalanceInProgress;
            return Err(ClientError::CommitFenced { group: coordinator.key.to_string(), code });
        }
        group_offsets::commit(coordinator, committer, offsets).await?;
        let mut partitions = self.partitions();
        for (topic_partition, committed) in offsets {
            partitions.on_committed(topic_partition, committed.offset);
        }
        Ok(())
    }
}

impl Consumer {
    pub(crate) fn new(cluster: Arc<Cluster>, config: ConsumerConfig) -> Result<Consumer, ClientError> {
        config.validate()?;
        let group = config.group_id.as_deref();
        let coordinator = group.map(|group_id| Arc::new(Coordinator::of_group(cluster.clone(), group_id)));
        let poll = PollState::new(&config);
        let shared = Arc::new(Shared {
            owner: cluster.new_owner(),
            cluster,
            config,
            coordinator,
            partitions: Mutex::default(),
            mode: Mutex::new(Mode::Unassigned),
            wake_fetcher: Notify::new(),
            changes: watch::Sender::new(0),
            is_closed: AtomicBool::new(false),
            is_auto_committing: AtomicBool::new(false),
        });
        let fetcher = fetcher::Fetcher::new(shared.clone());
        let released = shared.clone();
        tokio::spawn(async move {
            fetcher.run().await;
            released.cluster.pool.release(released.owner);
        });
        Ok(Consumer { handle: Arc::new(Handle { shared, poll: tokio::sync::Mutex::new(poll) }) })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Reads these topics as a member of the group; the group divides their partitions. Replaces what was subscribed
    /// or assigned before. Partitions arrive within `poll`.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`] without a group id.
    pub async fn subscribe(&self, topics: &[&str]) -> Result<(), ClientError> {
        let shared = self.shared();
        shared.check_open()?;
        let coordinator = shared.coordinator()?.clone();
        let topics: BTreeSet<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let mut poll = self.handle.poll.lock().await;
        poll.applied = None;
        shared.partitions().assign([]);
        let mut mode = shared.mode();
        let subscription = match &*mode {
            Mode::Subscribed(subscription) => Subscription { topics, ..subscription.clone() },
            Mode::Unassigned | Mode::Assigned => {
                // A fresh membership starts to count anew.
                poll.let_go_round = 0;
                let (commands, inbox) = mpsc::unbounded_channel();
                let (set_phase, phase) = watch::channel(Phase::Joining);
                let member =
                    Member::new(coordinator, shared.config.clone(), shared.owner, inbox, set_phase.clone());
                tokio::spawn(member.run());
                Subscription { topics, commands, phase, set_phase }
            }
        };
        subscription.set_phase.send_replace(Phase::Joining);
        // The receiver only ends with the consumer.
        let _ = subscription.commands.send(Command::Subscribe(subscription.topics.clone()));
        *mode = Mode::Subscribed(subscription);
        Ok(())
    }

    /// Reads these partitions, each from an offset, [`OFFSET_EARLIEST`], [`OFFSET_LATEST`] or [`OFFSET_STORED`].
    /// Replaces what was subscribed or assigned before.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`] for an offset that is none.
    pub async fn assign(&self, partitions: Vec<(TopicPartition, i64)>) -> Result<(), ClientError> {
        let shared = self.shared();
        shared.check_open()?;
        let places = partitions
            .into_iter()
            .map(|(topic_partition, offset)| place(offset).map(|place| (topic_partition, place)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut poll = self.handle.poll.lock().await;
        poll.applied = None;
        // Letting go of the commands makes a membership end.
        *shared.mode() = Mode::Assigned;
        shared.partitions().assign(places);
        shared.wake_fetcher.notify_one();
        Ok(())
    }

    /// Commits the positions: all that polls have returned so far.
    ///
    /// # Errors
    /// [`ClientError::CommitFenced`] when the group has given the partitions to others; [`ClientError::InvalidConfig`]
    /// without a group id.
    pub async fn commit(&self) -> Result<(), ClientError> {
        self.shared().commit_positions().await
    }

    /// Commits these offsets, each of the next record to read, with a note.
    ///
    /// # Errors
    /// As [`commit`](Consumer::commit).
    pub async fn commit_offsets(&self, offsets: &[(TopicPartition, i64, String)]) -> Result<(), ClientError> {
        let offsets: Vec<(TopicPartition, CommittedOffset)> = offsets
            .iter()
            .map(|(topic_partition, offset, metadata)| {
                let (offset, metadata) = (*offset, metadata.clone());
                (topic_partition.clone(), CommittedOffset { offset, leader_epoch: -1, metadata })
            })
            .collect();
        self.shared().commit(&self.shared().committer(), &offsets).await
    }

    /// The group, and this consumer's place in it at present: for a producer that commits what was read here in its
    /// transaction ([`Producer::send_offsets_to_transaction`]). As no member while the group is rebalancing.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`] without a group id.
    ///
    /// [`Producer::send_offsets_to_transaction`]: crate::Producer::send_offsets_to_transaction
    pub async fn group_metadata(&self) -> Result<GroupMetadata, ClientError> {
        let shared = self.shared();
        let group_id = shared.coordinator()?.key.to_string();
        let Committer { member, group_instance_id } = shared.committer();
        Ok(match member {
            None => GroupMetadata::of_group(group_id),
            Some((generation_id, member_id)) => GroupMetadata {
                group_id,
                generation_id,
                member_id: member_id.to_string(),
                group_instance_id: group_instance_id.map(|id| id.to_string()),
            },
        })
    }

    /// What the group has committed; partitions without an offset are left out.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`] without a group id, or what the coordinator answers.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        {
            let shared = self.shared();
            group_offsets::fetch(shared.coordinator()?, Some(partitions), shared.requires_stable_offsets())
                .await
        }
    }

    /// The offset of the next record that `poll` would return; waits until it is known.
    ///
    /// # Errors
    /// [`ClientError::NotAssigned`]; [`ClientError::NoOffset`]; [`ClientError::Timeout`] after `api_timeout`.
    pub async fn position(&self, topic_partition: &TopicPartition) -> Result<i64, ClientError> {
        let shared = self.shared();
        let started_at = Instant::now();
        let deadline = started_at + shared.cluster.config.api_timeout;
        let mut changes = shared.changes.subscribe();
        loop {
            shared.check_open()?;
            changes.borrow_and_update();
            let position = shared.partitions().position(topic_partition);
            let not_assigned = || ClientError::NotAssigned { topic_partition: topic_partition.clone() };
            if let Some(offset) = position.ok_or_else(not_assigned)?? {
                return Ok(offset);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(deadline) => {
                    return Err(ClientError::Timeout {
                        what: format!("finding the position of {topic_partition}"),
                        waited: started_at.elapsed(),
                        last: Arc::new(ClientError::NoLeader { topic_partition: topic_partition.clone() }),
                    });
                }
            }
        }
    }

    /// Goes on reading from another offset, as in [`assign`](Consumer::assign).
    ///
    /// # Errors
    /// [`ClientError::NotAssigned`]; [`ClientError::InvalidConfig`] for an offset that is none.
    pub async fn seek(&self, topic_partition: &TopicPartition, offset: i64) -> Result<(), ClientError> {
        let place = place(offset)?;
        let is_assigned = self.shared().partitions().seek(topic_partition, place);
        self.shared().wake_fetcher.notify_one();
        if is_assigned {
            Ok(())
        } else {
            Err(ClientError::NotAssigned { topic_partition: topic_partition.clone() })
        }
    }

    /// Stops returning records of these partitions until they are resumed; they stay assigned.
    ///
    /// # Errors
    /// [`ClientError::NotAssigned`] for the first that is not.
    pub async fn pause(&self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        self.set_paused(partitions, true)
    }

    /// Returns records of these partitions again.
    ///
    /// # Errors
    /// [`ClientError::NotAssigned`] for the first that is not.
    pub async fn resume(&self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        self.set_paused(partitions, false)
    }

    fn set_paused(&self, partitions: &[TopicPartition], is_paused: bool) -> Result<(), ClientError> {
        let shared = self.shared();
        for each in partitions {
            if !shared.partitions().set_paused(each, is_paused) {
                return Err(ClientError::NotAssigned { topic_partition: each.clone() });
            }
        }
        shared.wake_fetcher.notify_one();
        shared.changed();
        Ok(())
    }

    /// The partitions this consumer reads at present.
    pub async fn assignment(&self) -> Vec<TopicPartition> {
        self.shared().partitions().assigned().cloned().collect()
    }

    /// The offsets of the first records that are still there.
    ///
    /// # Errors
    /// As [`Admin::list_offsets`](crate::Admin::list_offsets).
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        self.offsets_at(partitions, OFFSET_EARLIEST, IsolationLevel::ReadUncommitted).await
    }

    /// The offsets that the next records will have.
    ///
    /// # Errors
    /// As [`Admin::list_offsets`](crate::Admin::list_offsets).
    pub async fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        self.offsets_at(partitions, OFFSET_LATEST, IsolationLevel::ReadUncommitted).await
    }

    /// How far each partition can be read as committed now: to its end, or to the first record of an open transaction.
    ///
    /// # Errors
    /// As [`Admin::list_offsets`](crate::Admin::list_offsets).
    pub async fn last_stable_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        self.offsets_at(partitions, OFFSET_LATEST, IsolationLevel::ReadCommitted).await
    }

    async fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        timestamp: i64,
        isolation_level: IsolationLevel,
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        let wanted: Vec<(TopicPartition, i64)> =
            partitions.iter().map(|each| (each.clone(), timestamp)).collect();
        let found = list_offsets(&self.shared().cluster, &wanted, isolation_level).await?;
        Ok(found.into_iter().map(|(each, at)| (each, at.offset)).collect())
    }

    /// The first records at or after these times, in milliseconds since the epoch; partitions without one are left
    /// out.
    ///
    /// # Errors
    /// As [`Admin::list_offsets`](crate::Admin::list_offsets).
    pub async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<BTreeMap<TopicPartition, OffsetAtTime>, ClientError> {
        list_offsets(&self.shared().cluster, times, IsolationLevel::ReadUncommitted).await
    }

    /// Commits, if `enable_auto_commit`, and leaves the group, so that others need not wait for the session to end.
    ///
    /// # Errors
    /// What committing met; the group is left in any case.
    pub async fn close(self) -> Result<(), ClientError> {
        let shared = self.shared();
        let is_open = shared.check_open().is_ok();
        let commits = is_open && shared.config.enable_auto_commit && shared.coordinator.is_some();
        let has_partitions = shared.partitions().assigned().next().is_some();
        let committed = if commits && has_partitions { shared.commit_positions().await } else { Ok(()) };
        if let Some(subscription) = shared.subscription() {
            let (done, left) = oneshot::channel();
            if subscription.commands.send(Command::Leave(done)).is_ok() {
                // Ends either way: with the answer, or with the task.
                let _ = left.await;
            }
        }
        shared.close();
        committed
    }
}

fn place(offset: i64) -> Result<Place, ClientError> {
    Place::from_offset(offset).ok_or_else(|| ClientError::InvalidConfig(format!("{offset} is no offset")))
}
