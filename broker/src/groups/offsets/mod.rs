//! Committed offsets: where each group will read on. The image, and what may be asked of it.
//!
//! Owns the offsets of every group of one coordinator partition; who may commit is the group's own rule
//! (`Group::check_commit`).

mod commit;
mod expiry;
mod fetch;
mod pending;

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::names::{GroupId, TopicName, WallMs};

pub use commit::{CommitOffset, CommitOffsets};
pub use fetch::{FetchOffsets, FetchedOffset, OffsetSelection};
pub use pending::PendingOffsets;

pub(super) use commit::on_commit_offsets;
pub(super) use expiry::{ExpiryRule, expired_offsets};
pub(super) use fetch::{check_fetch, on_fetch_offsets};

/// What a group committed for one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: i64,
    /// Epoch of the leader that the last record read came from, by which a truncation is noticed (KIP-320). -1 if unknown.
    pub leader_epoch: i32,
    /// The committer's own text.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub committed_at: WallMs,
    /// When it may be forgotten, if the committer said so (OffsetCommit v2 to v4).
    pub expires_at: Option<WallMs>,
    /// Which topic of that name was meant; nil if unknown.
    pub topic_id: Uuid,
}

/// The partitions of one group, by topic name and index.
pub type GroupOffsets = BTreeMap<(TopicName, i32), CommittedOffset>;

/// All committed offsets of a coordinator partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offsets {
    by_group: BTreeMap<GroupId, GroupOffsets>,
}

impl Offsets {
    /// Makes one change: a commit, or with `None` its removal.
    pub fn apply(
        &mut self,
        group: &GroupId,
        topic: &TopicName,
        partition: i32,
        value: Option<&CommittedOffset>,
    ) {
        let key = (topic.clone(), partition);
        if let Some(value) = value {
            self.by_group.entry(group.clone()).or_default().insert(key, value.clone());
        } else if let Some(offsets) = self.by_group.get_mut(group) {
            offsets.remove(&key);
            if offsets.is_empty() {
                self.by_group.remove(group);
            }
        }
    }

    /// Whether the group has any.
    pub fn has_group(&self, group: &GroupId) -> bool {
        self.by_group.contains_key(group)
    }

    /// The group's offsets; `None` when it has none.
    pub fn of_group(&self, group: &GroupId) -> Option<&GroupOffsets> {
        self.by_group.get(group)
    }

    /// Groups that have offsets, in order.
    pub fn groups(&self) -> impl Iterator<Item = &GroupId> {
        self.by_group.keys()
    }

    /// Every offset there is, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupId, &TopicName, i32, &CommittedOffset)> {
        self.by_group.iter().flat_map(|(group, offsets)| {
            offsets.iter().map(move |((topic, partition), value)| (group, topic, *partition, value))
        })
    }
}
