//! Which replica a consumer should read at (KIP-392). Pure: what its leader knows decides.

use crate::ids::{NodeId, Offset};
use crate::replica::FollowerPlace;

/// `replica.selector.class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaSelector {
    /// Everybody reads at the leader.
    Leader,
    /// Who says where it is (`client.rack`) reads at a replica in sync that is there too.
    RackAware,
}

impl ReplicaSelector {
    const ALL: [ReplicaSelector; 2] = [ReplicaSelector::Leader, ReplicaSelector::RackAware];

    /// The name of Kafka's class.
    pub const fn class(self) -> &'static str {
        match self {
            ReplicaSelector::Leader => "org.apache.kafka.common.replica.LeaderSelector",
            ReplicaSelector::RackAware => "org.apache.kafka.common.replica.RackAwareReplicaSelector",
        }
    }

    /// That of a class of Kafka's.
    pub fn of_class(name: &str) -> Option<ReplicaSelector> {
        ReplicaSelector::ALL.into_iter().find(|selector| selector.class() == name)
    }
}

/// Of followers in sync that are where the consumer is: the one that has most, and lately had all, of those that have what is at
/// `offset`. `None` where the consumer should stay at the leader.
pub fn nearest(followers: impl IntoIterator<Item = FollowerPlace>, offset: Offset) -> Option<NodeId> {
    let has_it = followers.into_iter().filter(|follower| {
        // Else it would send the consumer back, and it would come here again.
        follower.log_start <= offset && offset <= follower.log_end
    });
    has_it
        .max_by_key(|follower| (follower.log_end, follower.caught_up_at, follower.id))
        .map(|follower| follower.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Monotonic;

    fn place(id: i32, log_start: i64, log_end: i64, caught_up_ms: u64) -> FollowerPlace {
        FollowerPlace {
            id: NodeId(id),
            log_start: Offset(log_start),
            log_end: Offset(log_end),
            caught_up_at: Monotonic::from_millis(caught_up_ms),
        }
    }

    #[test]
    fn a_consumer_reads_where_its_offset_is_and_most_is() {
        let nearest = |followers: &[FollowerPlace], offset| {
            nearest(followers.iter().copied(), Offset(offset)).map(|id| id.0)
        };
        assert_eq!(nearest(&[], 5), None);
        assert_eq!(nearest(&[place(2, 0, 4, 9)], 5), None, "it has not got there yet");
        assert_eq!(nearest(&[place(2, 6, 9, 9)], 5), None, "it has deleted it");
        assert_eq!(nearest(&[place(2, 5, 5, 9)], 5), Some(2), "there it waits for what comes");
        assert_eq!(nearest(&[place(2, 0, 9, 9), place(3, 0, 10, 1)], 5), Some(3));
        assert_eq!(nearest(&[place(2, 0, 9, 9), place(3, 0, 9, 1)], 5), Some(2));
        assert_eq!(nearest(&[place(2, 0, 9, 9), place(3, 7, 10, 9)], 5), Some(2));
    }

    #[test]
    fn selectors_have_the_names_of_kafkas_classes() {
        for selector in ReplicaSelector::ALL {
            assert_eq!(ReplicaSelector::of_class(selector.class()), Some(selector));
        }
        assert_eq!(ReplicaSelector::of_class("com.example.Selector"), None);
    }
}
