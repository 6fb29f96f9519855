//! What a leader holds back from followers that move (KIP-73): the records of throttled partitions, while more than the broker's
//! `leader.replication.throttled.rate` was given. A follower in sync is never held back, nor does what it gets count.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::controller::{ClusterImage, ThrottledReplicas, ThrottledRole};
use crate::ids::{NodeId, TopicPartition};
use crate::quotas::Throttle;

/// Too short a wait would have the leader look at all partitions again for a few bytes.
const WAIT_MIN: Duration = Duration::from_millis(5);

/// What one pass over a follower's partitions gives and holds back.
pub(super) struct LeaderThrottle<'a> {
    throttle: &'a Throttle,
    image: &'a ClusterImage,
    me: NodeId,
    follower: NodeId,
    /// By topic.
    lists: HashMap<String, ThrottledReplicas>,
    given_bytes: usize,
    held_for: Option<Duration>,
}

impl<'a> LeaderThrottle<'a> {
    /// Of a fetch by a follower; nothing where the broker has no limit.
    pub fn of(
        throttle: &'a Throttle,
        image: &'a ClusterImage,
        me: NodeId,
        follower: Option<NodeId>,
    ) -> Option<LeaderThrottle<'a>> {
        let follower = follower.filter(|_| throttle.is_limited())?;
        let lists = HashMap::new();
        Some(LeaderThrottle { throttle, image, me, follower, lists, given_bytes: 0, held_for: None })
    }

    /// Whether what the follower gets of a partition counts.
    pub fn counts(&mut self, partition: &TopicPartition, isr: &[NodeId]) -> bool {
        if isr.contains(&self.follower) {
            return false;
        }
        if !self.lists.contains_key(&partition.topic) {
            let Some(topic) = self.image.topic(&partition.topic) else { return false };
            let list = ThrottledReplicas::of(topic, ThrottledRole::Leader, self.me);
            self.lists.insert(partition.topic.clone(), list);
        }
        self.lists.get(&partition.topic).is_some_and(|list| list.contains(partition.partition))
    }

    /// Whether nothing more may be given now of what counts.
    pub fn holds(&mut self, now: Instant) -> bool {
        let wait = self.throttle.wait(self.given_bytes, now);
        if wait.is_zero() {
            return false;
        }
        self.held_for = Some(wait.max(WAIT_MIN));
        true
    }

    /// So many bytes are given that count.
    pub fn gives(&mut self, bytes: usize) {
        self.given_bytes += bytes;
    }

    /// The bytes that count, and after how long more may be given, where something was held back.
    pub fn done(self) -> (usize, Option<Duration>) {
        (self.given_bytes, self.held_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::MetadataRecord;
    use ottla_protocol::messages::metadata_records::{ConfigRecord, TopicRecord};

    fn image(list: &str) -> ClusterImage {
        let mut image = ClusterImage::default();
        image.apply(&MetadataRecord::Topic(TopicRecord {
            name: "t".into(),
            topic_id: uuid::Uuid::from_u128(1),
        }));
        image.apply(&MetadataRecord::Config(ConfigRecord {
            resource_type: 2,
            resource_name: "t".into(),
            name: "leader.replication.throttled.replicas".into(),
            value: Some(list.into()),
        }));
        image
    }

    #[test]
    fn only_listed_partitions_of_a_follower_out_of_sync_count() {
        let (throttle, image) = (Throttle::unlimited(), image("0:1,1:2"));
        let of = |follower| LeaderThrottle::of(&throttle, &image, NodeId(1), follower);
        assert!(of(Some(NodeId(3))).is_none(), "there is no limit");
        throttle.set_rate(100);
        assert!(of(None).is_none(), "consumers have quotas of their own");
        let mut pass = of(Some(NodeId(3))).unwrap();
        let partition = |topic: &str, number| TopicPartition::new(topic.to_owned(), number);
        let in_sync = [NodeId(1), NodeId(2)];
        assert!(pass.counts(&partition("t", 0), &in_sync));
        assert!(!pass.counts(&partition("t", 1), &in_sync), "it is listed for another leader");
        assert!(!pass.counts(&partition("u", 0), &in_sync), "there is no such topic");
        assert!(!of(Some(NodeId(2))).unwrap().counts(&partition("t", 0), &in_sync));
    }

    #[test]
    fn a_pass_gives_until_the_rate_is_reached_and_tells_when_to_go_on() {
        let (throttle, image) = (Throttle::unlimited(), image("*"));
        throttle.set_rate(100);
        let now = Instant::now() + Duration::from_secs(9);
        let mut pass = LeaderThrottle::of(&throttle, &image, NodeId(1), Some(NodeId(3))).unwrap();
        assert!(!pass.holds(now));
        pass.gives(60);
        assert!(!pass.holds(now));
        pass.gives(60);
        assert!(pass.holds(now));
        assert_eq!(pass.done(), (120, Some(Duration::from_millis(200))));
    }
}
