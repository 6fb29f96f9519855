//! JoinGroup: who is let in, under which id, and whether that calls for a rebalance.

use super::change::GroupChange;
use super::draft::Draft;
use super::group::{Group, Phase};
use super::member::Member;
use super::request::{JoinGroup, Joined};
use crate::groups::error::GroupError;
use crate::groups::names::{InstanceId, MemberId, ReplyId};

/// Refuses a join that no group could grant.
pub(in crate::groups) fn check_join(
    request: &JoinGroup,
    config: &crate::groups::config::GroupConfig,
) -> Result<(), GroupError> {
    if request.group.is_empty() {
        return Err(GroupError::InvalidGroupId);
    }
    let allowed = config.session_timeout_min..=config.session_timeout_max;
    if !allowed.contains(&request.session_timeout) {
        return Err(GroupError::InvalidSessionTimeout);
    }
    Ok(())
}

/// Decides a join that passed [`check_join`]. `known` tells whether the group existed before.
pub(in crate::groups) fn on_join_group(
    draft: &mut Draft<'_>,
    known: bool,
    reply: ReplyId,
    request: &JoinGroup,
) {
    let sender = request.member_id.as_ref();
    if !known && sender.is_some() {
        // Only a member without an id may found a group: one with an id belongs to a group that was lost.
        return draft.refuse_join(reply, GroupError::UnknownMemberId, sender);
    }
    if !has_room(&draft.group, sender, request.instance_id.as_ref(), draft.config.size_max) {
        if let Some(member_id) = sender {
            shed(draft, member_id);
        }
        return draft.refuse_join(reply, GroupError::GroupMaxSizeReached, None);
    }
    if !draft.group.supports(&request.protocol_type, &request.protocols) {
        return draft.refuse_join(reply, GroupError::InconsistentGroupProtocol, sender);
    }
    match sender {
        Some(member_id) if draft.group.pending_members.contains(member_id) => {
            add_member(draft, member_id.clone(), reply, request);
        }
        Some(member_id) => on_rejoin(draft, member_id, reply, request),
        None => on_first_join(draft, reply, request),
    }
}

/// `group.max.size`. While members are gathered those who have rejoined count, so that a group that is too large (the
/// limit was lowered) sheds the last ones.
fn has_room(
    group: &Group,
    sender: Option<&MemberId>,
    instance: Option<&InstanceId>,
    size_max: usize,
) -> bool {
    let known = sender.and_then(|member_id| group.members.get(member_id));
    // A static member that comes back takes its own place, not another; and one whose place was taken must hear that
    // it is fenced, not that the group is full.
    let bearer = instance.and_then(|id| group.static_members.get(id));
    let replaces = bearer.is_some() && sender.is_none();
    if bearer.is_some() && sender.is_some() && bearer != sender {
        return true;
    }
    match group.phase {
        Phase::Empty => true,
        Phase::PreparingRebalance { .. } => {
            known.is_some_and(|member| member.awaiting_join.is_some())
                || group.awaiting_join_count() < size_max
        }
        Phase::CompletingRebalance(_) | Phase::Stable(_) => {
            known.is_some() || replaces || group.members.len() < size_max
        }
    }
}

/// Gives up the place or the id that a member without room still has, so that nobody waits for it.
fn shed(draft: &mut Draft<'_>, member_id: &MemberId) {
    if draft.group.pending_members.contains(member_id) {
        draft.change(GroupChange::MemberIdTakenBack { member_id: member_id.clone() });
    }
    draft.remove_member(member_id, GroupError::GroupMaxSizeReached);
    draft.end_gathering_if_complete();
}

fn on_first_join(draft: &mut Draft<'_>, reply: ReplyId, request: &JoinGroup) {
    let member_id = request.fresh_member_id.clone();
    match &request.instance_id {
        Some(instance_id) => match draft.group.static_members.get(instance_id).cloned() {
            Some(old) => replace_static_member(draft, instance_id, &old, reply, request),
            None => add_member(draft, member_id, reply, request),
        },
        None if request.knows_member_id_required => {
            // A client that gives up waiting and asks again would otherwise leave a ghost in the group each time.
            let expires_at = draft.now.monotonic + request.session_timeout;
            draft.change(GroupChange::MemberIdGiven { member_id: member_id.clone(), expires_at });
            draft.refuse_join(reply, GroupError::MemberIdRequired, Some(&member_id));
        }
        None => add_member(draft, member_id, reply, request),
    }
}

fn add_member(draft: &mut Draft<'_>, member_id: MemberId, reply: ReplyId, request: &JoinGroup) {
    let expires_at = draft.now.monotonic + draft.config.new_member_join_timeout;
    let member = Box::new(Member::joining(member_id, request, reply));
    draft.change(GroupChange::MemberAdded {
        member,
        expires_at,
        protocol_type: request.protocol_type.clone(),
    });
    draft.rebalance();
}

fn on_rejoin(draft: &mut Draft<'_>, member_id: &MemberId, reply: ReplyId, request: &JoinGroup) {
    if let Err(error) = draft.group.check_member(member_id, request.instance_id.as_ref()) {
        return draft.refuse_join(reply, error, Some(member_id));
    }
    let Some(member) = draft.group.members.get(member_id) else {
        return draft.refuse_join(reply, GroupError::UnknownMemberId, Some(member_id));
    };
    let same_wishes = member.protocols == request.protocols;
    let leads = draft.group.is_leader(member_id);
    match draft.group.phase {
        // It may not have had the answer to its join: give it again.
        Phase::CompletingRebalance(_) if same_wishes => {
            let joined = draft.joined(member_id, leads);
            draft.answer_join(reply, Ok(joined));
        }
        // A leader rejoins to have the work assigned anew, for reasons that only it knows (such as new partitions).
        Phase::Stable(_) if same_wishes && !leads => {
            let joined = draft.joined(member_id, false);
            draft.answer_join(reply, Ok(joined));
        }
        Phase::Empty => draft.refuse_join(reply, GroupError::UnknownMemberId, Some(member_id)),
        Phase::PreparingRebalance { .. } | Phase::CompletingRebalance(_) | Phase::Stable(_) => {
            park_rejoin(draft, member_id, reply, request);
            draft.rebalance();
        }
    }
}

/// Parks the join. One that was parked before is superseded: its client has asked again, and only the last answer
/// counts, but every request is answered, as those behind it on the same connection wait for it.
fn park_rejoin(draft: &mut Draft<'_>, member_id: &MemberId, reply: ReplyId, request: &JoinGroup) {
    if let Some(superseded) = draft.group.members.get(member_id).and_then(|member| member.awaiting_join) {
        draft.refuse_join(superseded, GroupError::RebalanceInProgress, Some(member_id));
    }
    draft.change(GroupChange::MemberRejoined {
        member_id: member_id.clone(),
        protocols: request.protocols.clone(),
        session_timeout: request.session_timeout,
        rebalance_timeout: request.rebalance_timeout,
        reply,
    });
}

/// A static member restarted: it takes over its place and its assignment under a new id, without a rebalance if it can
/// (KIP-345).
fn replace_static_member(
    draft: &mut Draft<'_>,
    instance_id: &InstanceId,
    old: &MemberId,
    reply: ReplyId,
    request: &JoinGroup,
) {
    let Some(member) = draft.group.members.get(old).cloned() else { return };
    if let Some(join) = member.awaiting_join {
        draft.refuse_join(join, GroupError::FencedInstanceId, Some(old));
    }
    if let Some(sync) = member.awaiting_sync {
        draft.answer_sync(sync, Err(GroupError::FencedInstanceId));
    }
    let leader_before = draft.group.leader.clone();
    let new = request.fresh_member_id.clone();
    let expires_at = draft.now.monotonic + request.session_timeout;
    draft.change(GroupChange::StaticMemberReplaced {
        instance_id: instance_id.clone(),
        old: old.clone(),
        new: new.clone(),
        expires_at,
    });
    park_rejoin(draft, &new, reply, request);
    match draft.group.phase {
        Phase::Stable(_) if draft.group.select_protocol() == draft.group.protocol_name => {
            draft.store();
            let leads = draft.group.is_leader(&new);
            let joined = if request.knows_skip_assignment {
                Joined { skip_assignment: leads, ..draft.joined(&new, leads) }
            } else {
                // An older client that were told that it leads would assign anew, and its followers would not ask for
                // that assignment. So it is told the leader from before, even if that was itself under its old id.
                Joined { leader: leader_before, ..draft.joined(&new, false) }
            };
            draft.change(GroupChange::JoinAnswered { member_id: new, expires_at });
            draft.answer_join(reply, Ok(joined));
        }
        // In CompletingRebalance the leader may already assign to the old id, so all must join again.
        Phase::Stable(_) | Phase::CompletingRebalance(_) => draft.start_gathering(),
        Phase::PreparingRebalance { .. } => draft.end_gathering_if_complete(),
        Phase::Empty => unreachable!("an empty group has no static members"),
    }
}
