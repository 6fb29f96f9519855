//! Heartbeat: a member shows life and learns whether it must join again.

use super::change::GroupChange;
use super::group::{Group, Phase};
use super::request::Heartbeat;
use crate::groups::decision::{Change, Decision};
use crate::groups::error::GroupError;
use crate::groups::names::{GroupId, MemberId, Now, ReplyId};
use crate::groups::request::Reply;

/// Decides without a draft: heartbeats are the most frequent request, and one change follows from one at most.
pub(in crate::groups) fn on_heartbeat(
    group: &Group,
    now: Now,
    reply: ReplyId,
    request: &Heartbeat,
) -> Decision {
    let checked =
        group.check_generation(request.generation, &request.member_id, request.instance_id.as_ref());
    let answer = checked.and(match group.phase {
        Phase::Empty => Err(GroupError::UnknownMemberId),
        Phase::PreparingRebalance { .. } => Err(GroupError::RebalanceInProgress),
        Phase::CompletingRebalance(_) | Phase::Stable(_) => Ok(()),
    });
    let mut decision = Decision::reply(reply, Reply::Heartbeat(answer));
    if checked.is_ok() {
        decision.changes.extend(extend_session(&request.group, group, now, &request.member_id));
    }
    decision
}

/// The change by which a member that showed life is kept for another session timeout.
pub(in crate::groups) fn extend_session(
    group_id: &GroupId,
    group: &Group,
    now: Now,
    member_id: &MemberId,
) -> Option<Change> {
    let member = group.members.get(member_id)?;
    let change = GroupChange::SessionExtended {
        member_id: member_id.clone(),
        expires_at: now.monotonic + member.session_timeout,
    };
    Some(Change::Live { group: group_id.clone(), change })
}
