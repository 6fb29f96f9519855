//! Which committed offsets are forgotten (KIP-211): those of groups, or of topics, that nobody has read for
//! `offsets.retention.minutes`.

use super::{GroupOffsets, Offsets};
use crate::groups::names::{GroupId, TopicName, WallMs};

/// From when on an offset of some group ages.
pub(in crate::groups) enum ExpiryRule<'a> {
    /// Never: the group reads, and what it reads is not known.
    Never,
    /// From its commit on: nobody is known to read by it.
    SinceCommit,
    /// From when the group became empty.
    Since(WallMs),
    /// From its commit on, if the group does not read the topic.
    Unsubscribed(&'a dyn Fn(&TopicName) -> bool),
}

/// The offsets of the group to be forgotten now.
pub(in crate::groups) fn expired_offsets(
    offsets: &Offsets,
    group: &GroupId,
    rule: &ExpiryRule<'_>,
    retention_ms: i64,
    now: WallMs,
) -> Vec<(TopicName, i32)> {
    let of_group: Option<&GroupOffsets> = offsets.of_group(group);
    let expired = of_group.into_iter().flatten().filter(|((topic, _), committed)| {
        let ages_from = match rule {
            ExpiryRule::Never => return false,
            ExpiryRule::Unsubscribed(is_subscribed) if is_subscribed(topic) => return false,
            ExpiryRule::SinceCommit | ExpiryRule::Unsubscribed(_) => committed.committed_at,
            ExpiryRule::Since(at) => (*at).max(committed.committed_at),
        };
        match committed.expires_at {
            // The committer said how long (OffsetCommit v2 to v4).
            Some(at) => at <= now,
            None => now.0.saturating_sub(ages_from.0) >= retention_ms,
        }
    });
    expired.map(|((topic, partition), _)| (topic.clone(), *partition)).collect()
}
