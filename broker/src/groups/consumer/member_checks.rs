//! Whether a request about offsets comes from a member as it is now.

use super::epoch::Epoch;
use super::group::ConsumerGroup;
use crate::groups::error::GroupError;
use crate::groups::names::MemberId;
use crate::groups::offsets::CommitOffsets;

impl ConsumerGroup {
    /// # Errors
    /// `UnknownMemberId`, `StaleMemberEpoch` (a heartbeat brings the member to its new epoch), or for a member of the
    /// classic protocol `IllegalGeneration`.
    pub fn check_member_epoch(&self, member_id: &MemberId, epoch: Epoch) -> Result<(), GroupError> {
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMemberId)?;
        match member.current.epoch == epoch {
            true => Ok(()),
            false if member.metadata.classic.is_some() => Err(GroupError::IllegalGeneration),
            false => Err(GroupError::StaleMemberEpoch),
        }
    }

    /// Whether this sender may commit offsets now. Without members anyone without an epoch may: tools, and consumers
    /// that assign themselves.
    pub(in crate::groups) fn check_commit(
        &self,
        request: &CommitOffsets,
        in_transaction: bool,
    ) -> Result<(), GroupError> {
        let epoch = Epoch(request.generation.0);
        if epoch < Epoch::JOIN && self.members.is_empty() {
            return Ok(());
        }
        let member_id = request.member_id.as_ref().ok_or(GroupError::UnknownMemberId)?;
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMemberId)?;
        if member.metadata.classic.is_none() && !in_transaction && !request.knows_group_id_not_found {
            // Before version 9 a client cannot know what to do about a stale epoch.
            return Err(GroupError::UnsupportedVersion);
        }
        self.check_member_epoch(member_id, epoch)
    }
}
