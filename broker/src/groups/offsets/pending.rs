//! Offsets committed within transactions that are still open (KIP-447): by producer, until the marker says whether
//! they count.
//!
//! Of two commits for one partition the one later in the log counts, as compaction will keep only that one: a commit
//! forgets what other producers had pending from before it.

use std::collections::BTreeMap;

use super::CommittedOffset;
use crate::groups::names::{GroupId, TopicName};

/// One partition of one group.
type Key = (GroupId, TopicName, i32);

/// What a transaction would make of each partition, and the place of that among all that were pending.
type OfProducer = BTreeMap<Key, (u64, Option<CommittedOffset>)>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PendingOffsets {
    by_producer: BTreeMap<i64, OfProducer>,
    next_place: u64,
}

impl PendingOffsets {
    /// Part of a producer's open transaction from now on.
    pub fn add(&mut self, producer_id: i64, key: Key, value: Option<CommittedOffset>) {
        self.by_producer.entry(producer_id).or_default().insert(key, (self.next_place, value));
        self.next_place += 1;
    }

    /// A commit outside transactions overtakes what was pending for its partition.
    pub fn overtake(&mut self, key: &Key) {
        self.forget_before(key, self.next_place);
    }

    /// The producer's transaction has ended: gives what was pending in it, in the order of partitions, which is what
    /// counts now if it was committed.
    pub fn end(&mut self, producer_id: i64, commit: bool) -> Vec<(Key, Option<CommittedOffset>)> {
        let ended = self.by_producer.remove(&producer_id).unwrap_or_default();
        if !commit {
            return Vec::new();
        }
        let counts = ended.into_iter().map(|(key, (place, value))| {
            self.forget_before(&key, place);
            (key, value)
        });
        counts.collect()
    }

    /// Whether an open transaction holds an offset of this partition, so that the committed one may be about to change.
    pub fn holds(&self, group: &GroupId, topic: &TopicName, partition: i32) -> bool {
        if self.by_producer.is_empty() {
            return false;
        }
        let key = (group.clone(), topic.clone(), partition);
        self.by_producer.values().any(|of_producer| of_producer.contains_key(&key))
    }

    /// Whether an open transaction holds an offset of this group.
    pub fn has_group(&self, group: &GroupId) -> bool {
        self.by_producer.values().any(|of_producer| of_producer.keys().any(|(of, _, _)| of == group))
    }

    fn forget_before(&mut self, key: &Key, place: u64) {
        self.by_producer.retain(|_, of_producer| {
            if of_producer.get(key).is_some_and(|(pending, _)| *pending < place) {
                of_producer.remove(key);
            }
            !of_producer.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::names::WallMs;

    fn key() -> Key {
        (GroupId::from("g"), TopicName::from("t"), 0)
    }

    fn offset(offset: i64) -> Option<CommittedOffset> {
        Some(CommittedOffset {
            offset,
            leader_epoch: -1,
            metadata: "".into(),
            committed_at: WallMs(0),
            expires_at: None,
            topic_id: uuid::Uuid::nil(),
        })
    }

    #[test]
    fn what_is_pending_counts_with_the_commit_and_is_forgotten_with_the_abort() {
        let mut pending = PendingOffsets::default();
        pending.add(1, key(), offset(5));
        pending.add(2, key(), offset(6));
        assert!(pending.holds(&key().0, &key().1, 0) && !pending.holds(&key().0, &key().1, 1));
        assert_eq!(pending.end(2, false), vec![]);
        assert_eq!(pending.end(1, true), vec![(key(), offset(5))]);
        assert!(!pending.has_group(&key().0));
    }

    #[test]
    fn of_two_commits_the_later_in_the_log_counts() {
        let mut pending = PendingOffsets::default();
        pending.add(1, key(), offset(5));
        pending.add(2, key(), offset(6));
        assert_eq!(pending.end(2, true), vec![(key(), offset(6))]);
        assert_eq!(pending.end(1, true), vec![], "it lies before the other");
        pending.add(1, key(), offset(7));
        pending.overtake(&key());
        assert_eq!(pending.end(1, true), vec![]);
    }
}
