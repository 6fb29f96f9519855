//! Static members (KIP-345): one that stopped takes its place again under a new member id, without a new epoch.

use std::sync::Arc;

use super::draft::ConsumerDraft;
use super::epoch::Epoch;
use super::member::{CurrentAssignment, MemberMetadata};
use super::record::ConsumerRecord;
use super::request::{ConsumerHeartbeat, ConsumerRefused};
use crate::groups::error::GroupError;
use crate::groups::names::{InstanceId, MemberId};

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
        replace(draft, &old, request, &member.metadata, &member.current);
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

fn replace(
    draft: &mut ConsumerDraft<'_>,
    old: &MemberId,
    request: &ConsumerHeartbeat,
    metadata: &Arc<MemberMetadata>,
    current: &CurrentAssignment,
) {
    let target = draft.group.target.get(old).cloned();
    let (new, metadata) = (request.member_id.clone(), metadata.clone());
    // Not `remove_member`: the pattern it has goes on being used.
    draft.record(ConsumerRecord::Current { member_id: old.clone(), value: None });
    draft.record(ConsumerRecord::Target { member_id: old.clone(), value: None });
    draft.record(ConsumerRecord::Member { member_id: old.clone(), value: None });
    draft.record(ConsumerRecord::Member { member_id: new.clone(), value: Some(metadata) });
    if target.is_some() {
        draft.record(ConsumerRecord::Target { member_id: new.clone(), value: target });
    }
    let current = CurrentAssignment { epoch: Epoch::JOIN, previous_epoch: Epoch::LEAVE, ..current.clone() };
    draft.set_current(&new, current);
}
