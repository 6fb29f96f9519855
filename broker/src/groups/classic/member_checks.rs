//! Whether a request comes from a member of the group as it is now.

use super::group::{Group, Phase};
use crate::groups::error::GroupError;
use crate::groups::names::{GenerationId, InstanceId, MemberId};

impl Group {
    /// The member is in the group, and if it is static, it is the one that bears the instance id now.
    ///
    /// # Errors
    /// `FencedInstanceId` when another member took the instance id over, `UnknownMemberId` otherwise.
    pub(super) fn check_member(
        &self,
        member_id: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), GroupError> {
        if let Some(instance_id) = instance {
            let bearer = self.static_members.get(instance_id).ok_or(GroupError::UnknownMemberId)?;
            if bearer != member_id {
                return Err(GroupError::FencedInstanceId);
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// The member is in the group's present generation.
    ///
    /// # Errors
    /// As [`Group::check_member`], and `IllegalGeneration`.
    pub(super) fn check_generation(
        &self,
        generation: GenerationId,
        member_id: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), GroupError> {
        self.check_member(member_id, instance)?;
        if generation == self.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }

    /// Whether this sender may commit offsets now.
    ///
    /// # Errors
    /// As [`Group::check_generation`]; `UnknownMemberId` for a sender without a member id while the group has members;
    /// `RebalanceInProgress` while the leader assigns, since the sender may already have lost what it commits for.
    pub(in crate::groups) fn check_commit(
        &self,
        generation: GenerationId,
        member_id: Option<&MemberId>,
        instance: Option<&InstanceId>,
    ) -> Result<(), GroupError> {
        if generation < GenerationId(0) && self.phase == Phase::Empty {
            return Ok(());
        }
        match member_id {
            Some(member_id) => self.check_generation(generation, member_id, instance)?,
            None if generation >= GenerationId(0) || instance.is_some() => {
                self.check_generation(generation, &MemberId::from(""), instance)?;
            }
            None => return Err(GroupError::UnknownMemberId),
        }
        match self.phase {
            Phase::CompletingRebalance(_) => Err(GroupError::RebalanceInProgress),
            Phase::Empty | Phase::PreparingRebalance { .. } | Phase::Stable(_) => Ok(()),
        }
    }
}
