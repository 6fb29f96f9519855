//! What silence does to a consumer group: who shows no life, or does not give up what it must, is out.

use std::collections::BTreeSet;

use super::draft::ConsumerDraft;

/// Deals with everything that is due.
pub(in crate::groups) fn on_deadline(draft: &mut ConsumerDraft<'_>) {
    let now = draft.now.monotonic;
    let late: BTreeSet<_> =
        draft.group.sessions.expired(now).into_iter().chain(draft.group.revocations.expired(now)).collect();
    if late.is_empty() {
        return;
    }
    // First, as in `lose_member`.
    draft.bump_epoch();
    for member_id in &late {
        draft.remove_member(member_id);
    }
}
