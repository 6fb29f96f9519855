//! Static members (KIP-345): one that stopped takes its place again under a new member id, without a new epoch.

use super::draft::ConsumerDraft;
use super::epoch::Epoch;
use super::request::{ConsumerHeartbeat, ConsumerRefused};
use crate::groups::error::GroupError;
use crate::groups::names::InstanceId;

/// Finds the place of a static member, and moves it to a new member id if the member comes back under one.
pub(super) fn find_static_member(
    draft: &mut ConsumerDraft<'_>,
    instance_id: &InstanceId,
    request: &ConsumerHeartbeat,
) -> Result<(), ConsumerRefused> {
    let bearer = draft.group.static_members.get(instance_id).cloned();
    if request.epoch != Epoch::JOIN {
        let bearer = bearer.ok_or_else(|| {
            ConsumerRefused::with(
                GroupError::UnknownMemberId,
                format!("Instance id {instance_id} is unknown."),
            )
        })?;
        return if bearer == request.member_id { Ok(()) } else { Err(GroupError::FencedInstanceId.into()) };
    }
    let Some(old) = bearer else { return Ok(()) };
    let Some(member) = draft.group.members.get(&old).cloned() else { return Ok(()) };
    if member.current.epoch == Epoch::LEAVE_STATIC {
        draft.move_member(&old, &request.member_id);
        return Ok(());
    }
    if old == request.member_id {
        return Ok(());
    }
    Err(ConsumerRefused::with(
        GroupError::UnreleasedInstanceId,
        format!(
            "Static member {} with instance id {instance_id} cannot join the group because the instance id is owned by \
             {old} member.",
            request.member_id
        ),
    ))
}
