//! SyncGroup: the leader hands in the assignments, every member gets its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::GroupChange;
use super::draft::Draft;
use super::group::{Group, Phase};
use super::request::{SyncGroup, Synced};
use crate::groups::error::GroupError;
use crate::groups::names::{MemberId, ReplyId};

pub(in crate::groups) fn on_sync_group(draft: &mut Draft<'_>, reply: ReplyId, request: &SyncGroup) {
    if let Err(error) = check_sync(&draft.group, request) {
        return draft.answer_sync(reply, Err(error));
    }
    let member_id = &request.member_id;
    draft.change(GroupChange::SyncReceived { member_id: member_id.clone() });
    if let Phase::Stable(_) = draft.group.phase {
        let synced = synced(&draft.group, member_id);
        let expires_at = draft.session_end(member_id);
        draft.change(GroupChange::SessionExtended { member_id: member_id.clone(), expires_at });
        return draft.answer_sync(reply, Ok(synced));
    }
    if let Some(superseded) = draft.group.members.get(member_id).and_then(|member| member.awaiting_sync) {
        draft.answer_sync(superseded, Err(GroupError::RebalanceInProgress));
    }
    draft.change(GroupChange::SyncParked { member_id: member_id.clone(), reply });
    if draft.group.is_leader(member_id) {
        let assignments: BTreeMap<_, _> = request
            .assignments
            .iter()
            .filter(|(member_id, _)| draft.group.members.contains_key(member_id))
            .cloned()
            .collect();
        draft.change(GroupChange::Assigned { assignments });
        draft.store();
        answer_parked_syncs(draft);
    }
}

fn check_sync(group: &Group, request: &SyncGroup) -> Result<(), GroupError> {
    group.check_generation(request.generation, &request.member_id, request.instance_id.as_ref())?;
    let differs = |said: &Option<Arc<str>>, known: &Option<Arc<str>>| matches!((said, known), (Some(said), Some(known)) if said != known);
    if differs(&request.protocol_type, &group.protocol_type)
        || differs(&request.protocol_name, &group.protocol_name)
    {
        return Err(GroupError::InconsistentGroupProtocol);
    }
    match group.phase {
        Phase::Empty => Err(GroupError::UnknownMemberId),
        Phase::PreparingRebalance { .. } => Err(GroupError::RebalanceInProgress),
        Phase::CompletingRebalance(_) | Phase::Stable(_) => Ok(()),
    }
}

fn synced(group: &Group, member_id: &MemberId) -> Synced {
    Synced {
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol_name.clone(),
        assignment: group.members.get(member_id).map(|member| member.assignment.clone()).unwrap_or_default(),
    }
}

fn answer_parked_syncs(draft: &mut Draft<'_>) {
    let waiting =
        draft.group.members.values().filter_map(|m| m.awaiting_sync.map(|reply| (m.id.clone(), reply)));
    for (member_id, reply) in waiting.collect::<Vec<_>>() {
        let synced = synced(&draft.group, &member_id);
        let expires_at = draft.session_end(&member_id);
        draft.change(GroupChange::SyncAnswered { member_id, expires_at });
        draft.answer_sync(reply, Ok(synced));
    }
}
