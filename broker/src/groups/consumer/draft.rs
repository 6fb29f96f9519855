//! A decision in the making about one consumer group: a copy of the group on which each change is tried as it is
//! decided. The copy shares its members and is thrown away; the changes are the decision.

use std::time::Duration;

use super::change::ConsumerChange;
use super::epoch::Epoch;
use super::group::ConsumerGroup;
use super::member::CurrentAssignment;
use super::record::{ConsumerRecord, GroupEpoch};
use super::request::{ConsumerRefused, MemberAnswer};
use crate::groups::config::GroupConfig;
use crate::groups::decision::{Change, Decision, Record};
use crate::groups::names::{GroupId, MemberId, Now, ReplyId};
use crate::groups::request::Reply;

/// See the module.
pub(in crate::groups) struct ConsumerDraft<'a> {
    pub(in crate::groups) group_id: &'a GroupId,
    pub(in crate::groups) group: ConsumerGroup,
    pub(super) config: &'a GroupConfig,
    pub(super) now: Now,
    pub(in crate::groups) decision: Decision,
}

impl<'a> ConsumerDraft<'a> {
    /// Starts from the group as it is, or from a new one.
    pub(in crate::groups) fn new(
        group_id: &'a GroupId,
        group: Option<&ConsumerGroup>,
        config: &'a GroupConfig,
        now: Now,
    ) -> ConsumerDraft<'a> {
        ConsumerDraft {
            group_id,
            group: group.cloned().unwrap_or_default(),
            config,
            now,
            decision: Decision::default(),
        }
    }

    /// The changes and replies so far.
    pub(in crate::groups) fn into_decision(self) -> Decision {
        self.decision
    }

    pub(in crate::groups) fn record(&mut self, record: ConsumerRecord) {
        self.group.apply_record(&record);
        self.decision.changes.push(Change::Record(Record::Consumer { group: self.group_id.clone(), record }));
    }

    pub(super) fn live(&mut self, change: ConsumerChange) {
        self.group.apply(&change);
        self.decision.changes.push(Change::LiveConsumer { group: self.group_id.clone(), change });
    }

    pub(super) fn answer(&mut self, to: ReplyId, answer: Result<MemberAnswer, ConsumerRefused>) {
        self.decision.replies.push((to, Reply::ConsumerHeartbeat(answer)));
    }

    /// The group has changed: it is in the next epoch, for which somebody's heartbeat will make a target.
    pub(super) fn bump_epoch(&mut self) {
        let GroupEpoch { epoch, metadata_hash } = self.group.stored.unwrap_or_default();
        self.record(ConsumerRecord::Group(Some(GroupEpoch { epoch: epoch.next(), metadata_hash })));
    }

    pub(super) fn set_current(&mut self, member_id: &MemberId, current: CurrentAssignment) {
        self.record(ConsumerRecord::Current { member_id: member_id.clone(), value: Some(current) });
    }

    /// Takes everything about a member out, the most general last, so that a part of it in the log is still a member.
    pub(super) fn remove_member(&mut self, member_id: &MemberId) {
        self.record(ConsumerRecord::Current { member_id: member_id.clone(), value: None });
        if self.group.target.contains_key(member_id) {
            self.record(ConsumerRecord::Target { member_id: member_id.clone(), value: None });
        }
        self.record(ConsumerRecord::Member { member_id: member_id.clone(), value: None });
        self.forget_unused_regexes();
    }

    /// A member goes on under another id, in no epoch yet, with what it has.
    pub(super) fn move_member(&mut self, old: &MemberId, new: &MemberId) {
        let Some(member) = self.group.members.get(old).cloned() else { return };
        let target = self.group.target.get(old).cloned();
        // Not `remove_member`: the pattern it has goes on being used.
        self.record(ConsumerRecord::Current { member_id: old.clone(), value: None });
        self.record(ConsumerRecord::Target { member_id: old.clone(), value: None });
        self.record(ConsumerRecord::Member { member_id: old.clone(), value: None });
        let metadata = member.metadata.clone();
        self.record(ConsumerRecord::Member { member_id: new.clone(), value: Some(metadata) });
        if target.is_some() {
            self.record(ConsumerRecord::Target { member_id: new.clone(), value: target });
        }
        let current =
            CurrentAssignment { assigned: member.current.assigned.clone(), ..CurrentAssignment::default() };
        self.set_current(new, current);
    }

    /// Every member has a session from now on.
    pub(in crate::groups) fn restart_sessions(&mut self, session_timeout: Duration) {
        self.live(ConsumerChange::Restored { now: self.now.monotonic, session_timeout });
    }

    /// A member is out for good, so the others get what it had. The epoch comes first: if only a part of this reaches the
    /// log, there is a new target all the same.
    pub(super) fn lose_member(&mut self, member_id: &MemberId) {
        self.bump_epoch();
        self.remove_member(member_id);
    }

    pub(super) fn forget_unused_regexes(&mut self) {
        let used =
            |regex| self.group.members.values().any(|m| m.metadata.topic_regex.as_ref() == Some(regex));
        let unused: Vec<_> = self.group.regexes.keys().filter(|regex| !used(*regex)).cloned().collect();
        for regex in unused {
            self.record(ConsumerRecord::Regex { regex, value: None });
        }
    }

    /// Removes the group, the record that says that there is one last.
    pub(in crate::groups) fn remove_group(&mut self) {
        let members: Vec<MemberId> = self.group.members.keys().cloned().collect();
        for member_id in members {
            self.remove_member(&member_id);
        }
        let targets: Vec<MemberId> = self.group.target.keys().cloned().collect();
        for member_id in targets {
            self.record(ConsumerRecord::Target { member_id, value: None });
        }
        self.forget_unused_regexes();
        if self.group.target_epoch.is_some() {
            self.record(ConsumerRecord::TargetEpoch(None));
        }
        self.record(ConsumerRecord::PartitionMetadata);
        self.record(ConsumerRecord::Group(None));
    }

    /// The epoch that a member gets to.
    pub(super) fn target_epoch(&self) -> Epoch {
        self.group.assignment_epoch()
    }
}
