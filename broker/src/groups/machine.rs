//! All groups of one coordinator partition as one machine: `decide` says what follows from a request, `apply` makes it
//! so, and replaying the log's records through `apply` gives the same groups and offsets again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::classic::{self, Draft, Group, GroupChange, GroupMetadata, Phase};
use super::config::GroupConfig;
use super::consumer::{
    self, ConsumerChange, ConsumerDraft, ConsumerGroup, ConsumerHeartbeat, ConsumerRefused, Epoch,
};
use super::decision::{Change, Decision, Record};
use super::error::GroupError;
use super::migration::{downgrade, is_to_be_downgraded, upgrade};
use super::names::{GroupId, Monotonic, Now, ReplyId};
use super::offsets::{Offsets, PendingOffsets, check_fetch, on_commit_offsets, on_fetch_offsets};
use super::request::{Reply, Request};

/// The groups of one partition of `__consumer_offsets`.
#[derive(Clone, Debug)]
pub struct Groups {
    pub(super) config: GroupConfig,
    /// Classic groups as they live, members and parked replies included.
    pub(super) live: BTreeMap<GroupId, Group>,
    /// Classic groups as the log has them.
    pub(super) stored: BTreeMap<GroupId, Arc<GroupMetadata>>,
    /// Groups of the consumer protocol. None of them is among the classic ones.
    pub(super) consumer: BTreeMap<GroupId, ConsumerGroup>,
    pub(super) offsets: Offsets,
    /// Offsets of open transactions.
    pub(super) pending: PendingOffsets,
    /// The next deadline of every group that has one; follows from `live` and `consumer`.
    deadlines: BTreeSet<(Monotonic, GroupId)>,
    /// When offsets are looked through for those that are to be forgotten.
    pub(super) offsets_check_at: Option<Monotonic>,
}

impl Groups {
    /// No groups yet.
    pub fn new(config: GroupConfig) -> Groups {
        Groups {
            config,
            live: BTreeMap::new(),
            stored: BTreeMap::new(),
            consumer: BTreeMap::new(),
            offsets: Offsets::default(),
            pending: PendingOffsets::default(),
            deadlines: BTreeSet::new(),
            offsets_check_at: None,
        }
    }

    /// What follows from a request. Changes nothing.
    pub fn decide(&self, now: Now, reply: ReplyId, request: &Request) -> Decision {
        match request {
            Request::JoinGroup(join) => match classic::check_join(join, &self.config) {
                Err(error) => Decision::reply(reply, request.refused(error)),
                Ok(()) => self.on_join(now, reply, join),
            },
            Request::SyncGroup(sync) if self.consumer.contains_key(&sync.group) => {
                let mut draft = self.consumer_draft(now, &sync.group);
                consumer::on_sync_group(&mut draft, reply, sync);
                draft.into_decision()
            }
            Request::Heartbeat(heartbeat) if self.consumer.contains_key(&heartbeat.group) => {
                let mut draft = self.consumer_draft(now, &heartbeat.group);
                consumer::on_classic_heartbeat(&mut draft, reply, heartbeat);
                draft.into_decision()
            }
            Request::LeaveGroup(leave) if self.consumer.contains_key(&leave.group) => {
                let mut draft = self.consumer_draft(now, &leave.group);
                consumer::on_leave_group(&mut draft, reply, leave);
                self.settled(now, draft)
            }
            Request::SyncGroup(sync) => match self.require(&sync.group) {
                Err(error) => Decision::reply(reply, request.refused(error)),
                Ok(_) => {
                    let mut draft = self.draft(now, &sync.group);
                    classic::on_sync_group(&mut draft, reply, sync);
                    draft.into_decision()
                }
            },
            Request::Heartbeat(heartbeat) => match self.require(&heartbeat.group) {
                Err(error) => Decision::reply(reply, request.refused(error)),
                Ok(group) => classic::on_heartbeat(group, now, reply, heartbeat),
            },
            Request::LeaveGroup(leave) => match self.require(&leave.group) {
                Err(GroupError::UnknownMemberId) => {
                    let nobody = leave.members.iter().map(|_| Err(GroupError::UnknownMemberId)).collect();
                    Decision::reply(reply, Reply::LeaveGroup(Ok(nobody)))
                }
                Err(error) => Decision::reply(reply, request.refused(error)),
                Ok(_) => {
                    let mut draft = self.draft(now, &leave.group);
                    classic::on_leave_group(&mut draft, reply, leave);
                    draft.into_decision()
                }
            },
            Request::CommitOffsets(commit) => {
                let consumer = self.consumer.get(&commit.group);
                let live = self.live.get(&commit.group);
                on_commit_offsets(live, consumer, &self.config, now, reply, commit, None)
            }
            Request::CommitOffsetsInTransaction(producer, commit) => {
                let consumer = self.consumer.get(&commit.group);
                let live = self.live.get(&commit.group);
                on_commit_offsets(live, consumer, &self.config, now, reply, commit, Some(*producer))
            }
            Request::EndTransaction { producer, coordinator_epoch, commit } => {
                let mut decision = Decision::reply(reply, Reply::EndTransaction(Ok(())));
                decision.changes.push(Change::EndTransaction {
                    producer: *producer,
                    coordinator_epoch: *coordinator_epoch,
                    commit: *commit,
                });
                decision
            }
            Request::FetchOffsets(fetch) => {
                let checked = check_fetch(self.consumer.get(&fetch.group), fetch);
                let answer = checked.map(|()| on_fetch_offsets(&self.offsets, &self.pending, fetch));
                Decision::reply(reply, Reply::FetchOffsets(answer))
            }
            Request::ConsumerHeartbeat(heartbeat) => self.on_consumer_heartbeat(now, reply, heartbeat),
            Request::DescribeGroup(group) => {
                Decision::reply(reply, Reply::DescribeGroup(Ok(self.describe(group))))
            }
            Request::DescribeConsumerGroup(group) => {
                Decision::reply(reply, Reply::DescribeConsumerGroup(self.describe_consumer(group)))
            }
            Request::ListGroups => Decision::reply(reply, Reply::ListGroups(Ok(self.list()))),
            Request::DeleteGroup(group) => self.on_delete_group(now, reply, group),
            Request::DeleteTopics(topics) => self.on_delete_topics(reply, topics),
            Request::DeleteOffsets { group, partitions } => self.on_delete_offsets(reply, group, partitions),
        }
    }

    /// The next moment at which [`Groups::on_deadline`] has something to do.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let of_groups = self.deadlines.first().map(|(deadline, _)| *deadline);
        [of_groups, self.offsets_check_at].into_iter().flatten().min()
    }

    /// What follows from time having passed. Changes nothing. May leave work that is due at once.
    pub fn on_deadline(&self, now: Now) -> Decision {
        let mut decision = Decision::default();
        for (_, group_id) in self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now.monotonic) {
            if self.consumer.contains_key(group_id) {
                let mut draft = self.consumer_draft(now, group_id);
                consumer::on_deadline(&mut draft);
                decision.extend(self.settled(now, draft));
            } else {
                let mut draft = self.draft(now, group_id);
                classic::on_deadline(&mut draft);
                decision.extend(draft.into_decision());
            }
        }
        // Apart from the others, so that both see the groups as they are.
        if decision == Decision::default() && self.offsets_check_at.is_some_and(|at| at <= now.monotonic) {
            return self.forget_expired_offsets(now);
        }
        decision
    }

    /// What follows from the log having been read to its end: the groups in it come to life, and their members have a
    /// session timeout from now to show that they still do. Changes nothing.
    pub fn on_loaded(&self, now: Now) -> Decision {
        let mut decision = Decision::default();
        for (group, metadata) in &self.stored {
            let change = GroupChange::Restored { metadata: metadata.clone(), now: now.monotonic };
            decision.changes.push(Change::Live { group: group.clone(), change });
        }
        for group in self.consumer.keys() {
            let session_timeout = self.config.consumer.session_timeout;
            let change = ConsumerChange::Restored { now: now.monotonic, session_timeout };
            decision.changes.push(Change::LiveConsumer { group: group.clone(), change });
        }
        let next_at = now.monotonic + self.config.offset_retention.check_interval;
        decision.changes.push(Change::OffsetsChecked { next_at });
        decision
    }

    /// Makes one change. The only way the machine changes.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Record(record) => self.apply_record(record),
            Change::Pending { producer, record: Record::Offset { group, topic, partition, value } } => {
                self.pending.add(producer.id, (group.clone(), topic.clone(), *partition), value.clone());
            }
            // Only offsets are committed in transactions.
            Change::Pending { record: Record::Group { .. } | Record::Consumer { .. }, .. } => {}
            Change::EndTransaction { producer, commit, .. } => {
                for ((group, topic, partition), value) in self.pending.end(producer.id, *commit) {
                    self.offsets.apply(&group, &topic, partition, value.as_ref());
                }
            }
            Change::Live { group, change } => self.apply_live(group, change),
            Change::LiveConsumer { group, change } => {
                self.change_consumer(group, |group| group.apply(change));
            }
            Change::OffsetsChecked { next_at } => self.offsets_check_at = Some(*next_at),
        }
    }

    /// Makes every change of a decision.
    pub fn apply_all(&mut self, decision: &Decision) {
        for change in &decision.changes {
            self.apply(change);
        }
    }

    /// What the log would give again: groups as stored and their offsets.
    pub fn image(&self) -> (&BTreeMap<GroupId, Arc<GroupMetadata>>, &Offsets) {
        (&self.stored, &self.offsets)
    }

    /// Groups of the consumer protocol.
    pub fn consumer_groups(&self) -> &BTreeMap<GroupId, ConsumerGroup> {
        &self.consumer
    }

    /// A classic group as it lives.
    pub fn group(&self, group: &GroupId) -> Option<&Group> {
        self.live.get(group)
    }

    /// # Panics
    /// When something that must hold does not.
    pub fn invariants(&self) {
        let mut deadlines = BTreeSet::new();
        for (group_id, group) in &self.live {
            group.invariants();
            assert!(!group.is_blank(), "{group_id}: a group of which nothing is known is forgotten");
            deadlines.extend(group.next_deadline().map(|deadline| (deadline, group_id.clone())));
            let stored = self.stored.get(group_id);
            let generation = stored.map(|metadata| metadata.generation).unwrap_or_default();
            assert_eq!(
                generation, group.generation,
                "{group_id}: a generation is in the log before it is told"
            );
            if let (Phase::Stable(_), Some(stored)) = (&group.phase, stored) {
                assert_eq!(
                    **stored,
                    group.to_metadata(stored.since),
                    "{group_id}: the log has the stable group"
                );
            }
        }
        for (group_id, group) in &self.consumer {
            group.invariants();
            assert!(!group.is_blank(), "{group_id}: a group of which nothing is known is forgotten");
            assert!(
                !self.live.contains_key(group_id) && !self.stored.contains_key(group_id),
                "{group_id}: a group has one protocol"
            );
            deadlines.extend(group.next_deadline().map(|deadline| (deadline, group_id.clone())));
        }
        assert_eq!(deadlines, self.deadlines, "every group is woken at its next deadline");
    }

    fn apply_record(&mut self, record: &Record) {
        match record {
            Record::Group { group, value: Some(value) } => {
                self.stored.insert(group.clone(), value.clone());
            }
            Record::Group { group, value: None } => {
                self.stored.remove(group);
            }
            Record::Offset { group, topic, partition, value } => {
                self.pending.overtake(&(group.clone(), topic.clone(), *partition));
                self.offsets.apply(group, topic, *partition, value.as_ref());
            }
            Record::Consumer { group, record } => {
                self.change_consumer(group, |group| group.apply_record(record));
            }
        }
    }

    fn apply_live(&mut self, group_id: &GroupId, change: &GroupChange) {
        let before = self.live.get(group_id).and_then(Group::next_deadline);
        let group = self.live.entry(group_id.clone()).or_default();
        group.apply(change);
        let after = group.next_deadline();
        if group.is_blank() {
            self.live.remove(group_id);
        }
        self.move_deadline(group_id, before, after);
    }

    fn change_consumer(&mut self, group_id: &GroupId, change: impl FnOnce(&mut ConsumerGroup)) {
        let before = self.consumer.get(group_id).and_then(ConsumerGroup::next_deadline);
        let group = self.consumer.entry(group_id.clone()).or_default();
        change(group);
        let after = group.next_deadline();
        if group.is_blank() {
            self.consumer.remove(group_id);
        }
        self.move_deadline(group_id, before, after);
    }

    fn move_deadline(&mut self, group_id: &GroupId, before: Option<Monotonic>, after: Option<Monotonic>) {
        if before != after {
            self.deadlines.extend(after.map(|deadline| (deadline, group_id.clone())));
            if let Some(before) = before {
                self.deadlines.remove(&(before, group_id.clone()));
            }
        }
    }

    /// A group that becomes a classic one, or stays one.
    fn on_join(&self, now: Now, reply: ReplyId, join: &classic::JoinGroup) -> Decision {
        let mut decision = Decision::default();
        if let Some(group) = self.consumer.get(&join.group) {
            let mut draft = self.consumer_draft(now, &join.group);
            if !group.members.is_empty() {
                consumer::on_join_group(&mut draft, reply, join);
                return draft.into_decision();
            }
            draft.remove_group();
            decision = draft.into_decision();
        }
        let known = self.live.contains_key(&join.group);
        let mut draft = self.draft(now, &join.group);
        classic::on_join_group(&mut draft, known, reply, join);
        decision.extend(draft.into_decision());
        decision
    }

    fn on_consumer_heartbeat(&self, now: Now, reply: ReplyId, request: &ConsumerHeartbeat) -> Decision {
        let refuse = |message: String| {
            let refused = ConsumerRefused::with(GroupError::GroupIdNotFound, message);
            Decision::reply(reply, Reply::ConsumerHeartbeat(Err(refused)))
        };
        let mut decision = Decision::default();
        if let Some(group) = self.consumer.get(&request.group) {
            if let Some(steady) = consumer::on_steady_heartbeat(group, now, reply, request) {
                return steady;
            }
        } else if request.epoch != Epoch::JOIN {
            return refuse(format!("Consumer group {} not found.", request.group));
        } else {
            if let Some(group) = self.live.get(&request.group).filter(|group| group.phase != Phase::Empty) {
                return match upgrade(&request.group, group, &self.config, &request.topics, now) {
                    Err(why) => refuse(why),
                    Ok((decision, draft)) => join_upgraded(decision, draft, reply, request),
                };
            }
            // An empty classic group becomes one of the consumer protocol; its offsets stay.
            decision = self.forget_classic(&request.group);
        }
        let mut draft = self.consumer_draft(now, &request.group);
        consumer::on_heartbeat(&mut draft, reply, request);
        let outcome = self.settled(now, draft);
        if !outcome.has_records() {
            // Nothing came of it, so the group stays what it was.
            return outcome;
        }
        decision.extend(outcome);
        decision
    }

    /// What follows from a draft in which members may have gone: where only classic ones are left, the group is theirs.
    fn settled(&self, now: Now, draft: ConsumerDraft<'_>) -> Decision {
        let Some(before) = self.consumer.get(draft.group_id) else { return draft.into_decision() };
        let is_smaller = draft.group.members.len() < before.members.len();
        if is_smaller && is_to_be_downgraded(&draft.group, &self.config) {
            return downgrade(draft, before.epoch(), &self.config, now);
        }
        draft.into_decision()
    }

    /// What removes a classic group, if it is there.
    pub(super) fn forget_classic(&self, group: &GroupId) -> Decision {
        let mut decision = Decision::default();
        if self.stored.contains_key(group) {
            decision.changes.push(Change::Record(Record::Group { group: group.clone(), value: None }));
        }
        if self.live.contains_key(group) {
            decision.changes.push(Change::Live { group: group.clone(), change: GroupChange::Deleted });
        }
        decision
    }

    pub(super) fn consumer_draft<'a>(&'a self, now: Now, group: &'a GroupId) -> ConsumerDraft<'a> {
        ConsumerDraft::new(group, self.consumer.get(group), &self.config, now)
    }

    fn draft<'a>(&'a self, now: Now, group: &'a GroupId) -> Draft<'a> {
        Draft::new(group, self.live.get(group), &self.config, now)
    }

    /// The group of a request that only its members may make.
    fn require(&self, group: &GroupId) -> Result<&Group, GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        self.live.get(group).ok_or(GroupError::UnknownMemberId)
    }
}

/// A member of the consumer protocol joins what was a classic group, unless it is refused.
fn join_upgraded(
    mut decision: Decision,
    mut draft: ConsumerDraft<'_>,
    reply: ReplyId,
    request: &ConsumerHeartbeat,
) -> Decision {
    consumer::on_heartbeat(&mut draft, reply, request);
    let outcome = draft.into_decision();
    if let Some((_, Reply::ConsumerHeartbeat(Err(_)))) = outcome.replies.last() {
        return Decision { replies: outcome.replies, ..Decision::default() };
    }
    decision.extend(outcome);
    decision
}
