//! A decision in the making about one group: a copy of the group on which each change is tried as it is decided, so
//! that later steps of the decision see earlier ones. The copy is thrown away; the changes are the decision.

use std::sync::Arc;

use super::change::GroupChange;
use super::group::Group;
use super::request::{JoinRefused, Joined, Synced};
use crate::groups::config::GroupConfig;
use crate::groups::decision::{Change, Decision, Record};
use crate::groups::error::GroupError;
use crate::groups::names::{GroupId, MemberId, Monotonic, Now, ReplyId};
use crate::groups::request::Reply;

/// See the module.
pub(in crate::groups) struct Draft<'a> {
    pub(in crate::groups) group_id: &'a GroupId,
    pub(super) group: Group,
    pub(super) config: &'a GroupConfig,
    pub(super) now: Now,
    decision: Decision,
}

impl<'a> Draft<'a> {
    /// Starts from the group as it is, or from a new one.
    pub(in crate::groups) fn new(
        group_id: &'a GroupId,
        group: Option<&Group>,
        config: &'a GroupConfig,
        now: Now,
    ) -> Draft<'a> {
        Draft {
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

    pub(in crate::groups) fn change(&mut self, change: GroupChange) {
        self.group.apply(&change);
        self.decision.changes.push(Change::Live { group: self.group_id.clone(), change });
    }

    /// Writes the group with its members: it is stable.
    pub(super) fn store(&mut self) {
        let value = self.group.to_metadata(self.now.wall);
        self.push_record(value);
    }

    /// Writes the generation's number only.
    pub(super) fn store_generation(&mut self) {
        let value = self.group.to_metadata_without_members(self.now.wall);
        self.push_record(value);
    }

    fn push_record(&mut self, value: super::stored::GroupMetadata) {
        let record = Record::Group { group: self.group_id.clone(), value: Some(Arc::new(value)) };
        self.decision.changes.push(Change::Record(record));
    }

    pub(super) fn reply(&mut self, to: ReplyId, reply: Reply) {
        self.decision.replies.push((to, reply));
    }

    pub(super) fn answer_join(&mut self, to: ReplyId, answer: Result<Joined, JoinRefused>) {
        self.reply(to, Reply::JoinGroup(answer));
    }

    pub(super) fn answer_sync(&mut self, to: ReplyId, answer: Result<Synced, GroupError>) {
        self.reply(to, Reply::SyncGroup(answer));
    }

    pub(super) fn refuse_join(&mut self, to: ReplyId, error: GroupError, member_id: Option<&MemberId>) {
        self.answer_join(to, Err(JoinRefused { error, member_id: member_id.cloned() }));
    }

    /// When the session of a member that just showed life ends.
    pub(super) fn session_end(&self, member_id: &MemberId) -> Monotonic {
        let timeout =
            self.group.members.get(member_id).map(|member| member.session_timeout).unwrap_or_default();
        self.now.monotonic + timeout
    }

    /// Takes a member out and answers whatever it waits for with `error`, so that its client, if there is one, starts
    /// over. The caller then sees to the rebalance.
    pub(super) fn remove_member(&mut self, member_id: &MemberId, error: GroupError) {
        let Some(member) = self.group.members.get(member_id).cloned() else { return };
        if let Some(join) = member.awaiting_join {
            self.refuse_join(join, error, None);
        }
        if let Some(sync) = member.awaiting_sync {
            self.answer_sync(sync, Err(error));
        }
        self.change(GroupChange::MemberRemoved { member_id: member_id.clone() });
    }
}
