//! All groups of one coordinator partition as one machine: `decide` says what follows from a request, `apply` makes it
//! so, and replaying the log's records through `apply` gives the same groups and offsets again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::classic::{self, Draft, Group, GroupChange, GroupMetadata, GroupState, Phase};
use super::config::GroupConfig;
use super::decision::{Change, Decision, Record};
use super::error::GroupError;
use super::names::{GroupId, Monotonic, Now, ReplyId, TopicName};
use super::offsets::{Offsets, PendingOffsets, on_commit_offsets, on_fetch_offsets};
use super::request::{Reply, Request};

/// The groups of one partition of `__consumer_offsets`.
#[derive(Clone, Debug)]
pub struct Groups {
    config: GroupConfig,
    /// Groups as they live, members and parked replies included.
    live: BTreeMap<GroupId, Group>,
    /// Groups as the log has them.
    stored: BTreeMap<GroupId, Arc<GroupMetadata>>,
    offsets: Offsets,
    /// Offsets of open transactions.
    pending: PendingOffsets,
    /// The next deadline of every live group that has one; follows from `live`.
    deadlines: BTreeSet<(Monotonic, GroupId)>,
}

impl Groups {
    /// No groups yet.
    pub fn new(config: GroupConfig) -> Groups {
        Groups {
            config,
            live: BTreeMap::new(),
            stored: BTreeMap::new(),
            offsets: Offsets::default(),
            pending: PendingOffsets::default(),
            deadlines: BTreeSet::new(),
        }
    }

    /// What follows from a request. Changes nothing.
    pub fn decide(&self, now: Now, reply: ReplyId, request: &Request) -> Decision {
        match request {
            Request::JoinGroup(join) => match classic::check_join(join, &self.config) {
                Err(error) => Decision::reply(reply, request.refused(error)),
                Ok(()) => {
                    let known = self.live.contains_key(&join.group);
                    let mut draft = self.draft(now, &join.group);
                    classic::on_join_group(&mut draft, known, reply, join);
                    draft.into_decision()
                }
            },
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
                on_commit_offsets(self.live.get(&commit.group), &self.config, now, reply, commit)
            }
            Request::FetchOffsets(fetch) => {
                Decision::reply(reply, Reply::FetchOffsets(Ok(on_fetch_offsets(&self.offsets, fetch))))
            }
            Request::DescribeGroup(group) => {
                Decision::reply(reply, Reply::DescribeGroup(Ok(self.describe(group))))
            }
            Request::ListGroups => Decision::reply(reply, Reply::ListGroups(Ok(self.list()))),
            Request::DeleteGroup(group) => self.on_delete_group(reply, group),
            Request::DeleteTopics(topics) => self.on_delete_topics(reply, topics),
        }
    }

    /// The next moment at which [`Groups::on_deadline`] has something to do.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// What follows from time having passed. Changes nothing. May leave work that is due at once.
    pub fn on_deadline(&self, now: Now) -> Decision {
        let mut decision = Decision::default();
        for (_, group_id) in self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now.monotonic) {
            let mut draft = self.draft(now, group_id);
            classic::on_deadline(&mut draft);
            decision.extend(draft.into_decision());
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
            Change::Pending { record: Record::Group { .. }, .. } => {}
            Change::EndTransaction { producer, commit, .. } => {
                for ((group, topic, partition), value) in self.pending.end(producer.id, *commit) {
                    self.offsets.apply(&group, &topic, partition, value.as_ref());
                }
            }
            Change::Live { group, change } => self.apply_live(group, change),
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

    /// A group as it lives.
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
        if before != after {
            self.deadlines.extend(after.map(|deadline| (deadline, group_id.clone())));
            if let Some(before) = before {
                self.deadlines.remove(&(before, group_id.clone()));
            }
        }
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

    /// A group that has offsets but never had members counts as empty.
    fn state(&self, group: &GroupId) -> GroupState {
        match self.live.get(group) {
            Some(live) => live.state(),
            None if self.offsets.has_group(group) => GroupState::Empty,
            None => GroupState::Dead,
        }
    }

    fn describe(&self, group: &GroupId) -> classic::DescribedGroup {
        match self.live.get(group) {
            Some(live) => live.describe(group),
            None => classic::describe_without_members(group, self.state(group)),
        }
    }

    fn list(&self) -> Vec<classic::ListedGroup> {
        let ids: BTreeSet<&GroupId> = self.live.keys().chain(self.offsets.groups()).collect();
        let list = ids.into_iter().map(|group| match self.live.get(group) {
            Some(live) => live.list(group),
            None => {
                let protocol_type = Arc::from("");
                classic::ListedGroup { group: group.clone(), state: GroupState::Empty, protocol_type }
            }
        });
        list.collect()
    }

    fn on_delete_group(&self, reply: ReplyId, group: &GroupId) -> Decision {
        match self.state(group) {
            GroupState::Dead => {
                return Decision::reply(reply, Reply::DeleteGroup(Err(GroupError::GroupIdNotFound)));
            }
            GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Stable => {
                return Decision::reply(reply, Reply::DeleteGroup(Err(GroupError::NonEmptyGroup)));
            }
            GroupState::Empty => {}
        }
        let mut decision = Decision::reply(reply, Reply::DeleteGroup(Ok(())));
        // Offsets first: if only a part of this reaches the log, the group is still there to be deleted again.
        for (topic, partition) in self.offsets.of_group(group).into_iter().flat_map(|offsets| offsets.keys())
        {
            decision.changes.push(forget_offset(group, topic, *partition));
        }
        if self.stored.contains_key(group) {
            decision.changes.push(Change::Record(Record::Group { group: group.clone(), value: None }));
        }
        if self.live.contains_key(group) {
            decision.changes.push(Change::Live { group: group.clone(), change: GroupChange::Deleted });
        }
        decision
    }

    fn on_delete_topics(&self, reply: ReplyId, topics: &[TopicName]) -> Decision {
        let mut decision = Decision::reply(reply, Reply::DeleteTopics(Ok(())));
        for (group, topic, partition, _) in self.offsets.iter() {
            if topics.contains(topic) {
                decision.changes.push(forget_offset(group, topic, partition));
            }
        }
        decision
    }
}

fn forget_offset(group: &GroupId, topic: &TopicName, partition: i32) -> Change {
    Change::Record(Record::Offset { group: group.clone(), topic: topic.clone(), partition, value: None })
}
