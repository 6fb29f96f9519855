//! LeaveGroup: members go at their own wish, or are sent away by an administrator (KIP-345).

use super::change::GroupChange;
use super::draft::Draft;
use super::group::Phase;
use super::request::{LeaveGroup, LeavingMember};
use crate::groups::error::GroupError;
use crate::groups::names::ReplyId;
use crate::groups::request::Reply;

/// Answers member by member, in the request's order.
pub(in crate::groups) fn on_leave_group(draft: &mut Draft<'_>, reply: ReplyId, request: &LeaveGroup) {
    let mut answers = Vec::with_capacity(request.members.len());
    for leaving in &request.members {
        answers.push(let_go(draft, leaving));
    }
    if answers.iter().any(Result::is_ok) && draft.group.phase != Phase::Empty {
        draft.rebalance();
    }
    draft.reply(reply, Reply::LeaveGroup(Ok(answers)));
}

fn let_go(draft: &mut Draft<'_>, leaving: &LeavingMember) -> Result<(), GroupError> {
    let instance = leaving.instance_id.as_ref();
    let member_id = match &leaving.member_id {
        Some(member_id) if instance.is_none() && draft.group.pending_members.contains(member_id) => {
            draft.change(GroupChange::MemberIdTakenBack { member_id: member_id.clone() });
            return Ok(());
        }
        Some(member_id) => {
            draft.group.check_member(member_id, instance)?;
            member_id.clone()
        }
        // Only an administrator, or a client that never learnt its id, names a member by its instance id alone.
        None => {
            let bearer = instance.and_then(|instance_id| draft.group.static_members.get(instance_id));
            bearer.cloned().ok_or(GroupError::UnknownMemberId)?
        }
    };
    draft.remove_member(&member_id, GroupError::UnknownMemberId);
    Ok(())
}
