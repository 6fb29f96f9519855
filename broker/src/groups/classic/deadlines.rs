//! What silence does to a group: sessions end, gatherings close, members that never sync are removed.

use super::change::GroupChange;
use super::draft::Draft;
use super::group::Phase;
use crate::groups::error::GroupError;

/// Deals with everything that is due. What this makes due at once is dealt with at the next call.
pub(in crate::groups) fn on_deadline(draft: &mut Draft<'_>) {
    sessions_expired(draft);
    let now = draft.now.monotonic;
    match &draft.group.phase {
        Phase::PreparingRebalance { deadline, .. } if *deadline <= now => draft.gathering_deadline_passed(),
        Phase::CompletingRebalance(Some(awaited)) | Phase::Stable(Some(awaited))
            if awaited.deadline <= now =>
        {
            sync_expired(draft);
        }
        Phase::Empty
        | Phase::PreparingRebalance { .. }
        | Phase::CompletingRebalance(_)
        | Phase::Stable(_) => {}
    }
}

fn sessions_expired(draft: &mut Draft<'_>) {
    let expired = draft.group.sessions.expired(draft.now.monotonic);
    if expired.is_empty() {
        return;
    }
    let mut member_lost = false;
    for member_id in expired {
        if draft.group.pending_members.contains(&member_id) {
            draft.change(GroupChange::MemberIdTakenBack { member_id });
        } else {
            draft.remove_member(&member_id, GroupError::UnknownMemberId);
            member_lost = true;
        }
    }
    if member_lost {
        draft.rebalance();
    } else {
        // Nobody waits any longer for ids that never came back.
        draft.end_gathering_if_complete();
    }
}

/// Members that took part in the rebalance but never asked for their assignment hold partitions that nobody reads.
fn sync_expired(draft: &mut Draft<'_>) {
    let (Phase::CompletingRebalance(awaited) | Phase::Stable(awaited)) = &draft.group.phase else { return };
    let silent = awaited.iter().flat_map(|awaited| awaited.members.iter().cloned()).collect::<Vec<_>>();
    for member_id in silent {
        draft.remove_member(&member_id, GroupError::UnknownMemberId);
    }
    draft.start_gathering();
}
