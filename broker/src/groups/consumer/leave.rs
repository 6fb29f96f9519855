//! A member goes: for good, or as a static member that keeps its place until its session ends.

use super::draft::ConsumerDraft;
use super::epoch::Epoch;
use super::member::{CurrentAssignment, MemberState};
use super::partitions::PartitionSet;
use super::request::{ConsumerHeartbeat, ConsumerRefused, MemberAnswer};
use crate::groups::error::GroupError;
use crate::groups::names::ReplyId;

pub(super) fn on_leave(draft: &mut ConsumerDraft<'_>, reply: ReplyId, request: &ConsumerHeartbeat) {
    if let Err(refused) = let_go(draft, request) {
        return draft.answer(reply, Err(refused));
    }
    let answer = MemberAnswer {
        member_id: request.member_id.clone(),
        epoch: request.epoch,
        heartbeat_interval: Default::default(),
        assigned: None,
    };
    draft.answer(reply, Ok(answer));
}

fn let_go(draft: &mut ConsumerDraft<'_>, request: &ConsumerHeartbeat) -> Result<(), ConsumerRefused> {
    if let Some(instance_id) = &request.instance_id {
        let bearer = draft.group.static_members.get(instance_id).ok_or_else(|| {
            ConsumerRefused::with(
                GroupError::UnknownMemberId,
                format!("Instance id {instance_id} is unknown."),
            )
        })?;
        if *bearer != request.member_id {
            return Err(GroupError::FencedInstanceId.into());
        }
    }
    let member = draft.group.members.get(&request.member_id).ok_or(GroupError::UnknownMemberId)?;
    if request.epoch == Epoch::LEAVE_STATIC {
        let current = CurrentAssignment {
            epoch: Epoch::LEAVE_STATIC,
            state: MemberState::Stable,
            // Whoever stopped reads nothing, so what it was to give up is given up.
            pending_revocation: PartitionSet::default(),
            ..member.current.clone()
        };
        draft.set_current(&request.member_id, current);
    } else {
        draft.lose_member(&request.member_id);
    }
    Ok(())
}
