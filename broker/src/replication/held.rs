//! Which partitions a follower does not ask for while more was fetched of throttled replicas than the broker's rate allows (KIP-73).
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::session::Key;
use crate::controller::{ClusterImage, ThrottledReplicas, ThrottledRole};
use crate::ids::{NodeId, TopicPartition};

/// The throttled partitions of one leader.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Each with whether its leader has committed more than is here. One that has caught up is never held: its next fetch is what
    /// makes it be in sync.
    behind: BTreeMap<Key, bool>,
}

impl Held {
    /// These are throttled from now on.
    pub fn throttle(&mut self, keys: BTreeSet<Key>) {
        self.behind.retain(|key, _| keys.contains(key));
        for key in keys {
            self.behind.entry(key).or_insert(true);
        }
    }

    /// Whether what is fetched of a partition counts.
    pub fn counts(&self, key: Key) -> bool {
        self.behind.contains_key(&key)
    }

    /// A partition was fetched, and is behind what its leader has committed or not.
    pub fn fetched(&mut self, key: Key, is_behind: bool) {
        if let Some(behind) = self.behind.get_mut(&key) {
            *behind = is_behind;
        }
    }

    /// What is not asked for while more than the rate was fetched.
    pub fn while_over(&self) -> BTreeSet<Key> {
        self.behind.iter().filter(|(_, is_behind)| **is_behind).map(|(key, _)| *key).collect()
    }
}

/// Of partitions that a node follows, those that are throttled there: listed in their topic's config, and not in sync.
pub(super) fn throttled<'a>(
    image: &ClusterImage,
    me: NodeId,
    followed: impl Iterator<Item = &'a TopicPartition>,
) -> BTreeSet<Key> {
    let mut lists: BTreeMap<&str, ThrottledReplicas> = BTreeMap::new();
    let throttled = followed.filter_map(|name| {
        let topic = image.topic(&name.topic)?;
        let partition = topic.partitions.get(usize::try_from(name.partition).ok()?)?;
        let list = lists
            .entry(&name.topic)
            .or_insert_with(|| ThrottledReplicas::of(topic, ThrottledRole::Follower, me));
        let counts = list.contains(name.partition) && !partition.isr.contains(&me);
        counts.then_some((topic.id, name.partition))
    });
    throttled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::MetadataRecord;
    use ottla_protocol::messages::metadata_records::{ConfigRecord, PartitionRecord, TopicRecord};
    use uuid::Uuid;

    const TOPIC: Uuid = Uuid::from_u128(1);

    #[test]
    fn what_is_behind_is_held_and_what_has_caught_up_is_not() {
        let mut held = Held::default();
        held.throttle([(TOPIC, 0), (TOPIC, 1)].into());
        assert_eq!(held.while_over(), [(TOPIC, 0), (TOPIC, 1)].into());
        held.fetched((TOPIC, 1), false);
        held.fetched((TOPIC, 7), true);
        assert_eq!(held.while_over(), [(TOPIC, 0)].into());
        assert!(held.counts((TOPIC, 1)) && !held.counts((TOPIC, 7)));
        held.throttle([(TOPIC, 1), (TOPIC, 2)].into());
        assert_eq!(held.while_over(), [(TOPIC, 2)].into(), "what is known of one stays known");
    }

    #[test]
    fn listed_replicas_are_throttled_until_they_are_in_sync() {
        let mut image = ClusterImage::default();
        image.apply(&MetadataRecord::Topic(TopicRecord { name: "t".into(), topic_id: TOPIC }));
        for partition_id in 0..3 {
            image.apply(&MetadataRecord::Partition(PartitionRecord {
                partition_id,
                topic_id: TOPIC,
                replicas: vec![1, 2],
                isr: if partition_id == 1 { vec![1, 2] } else { vec![1] },
                leader: 1,
                directories: Vec::new(),
                ..PartitionRecord::default()
            }));
        }
        image.apply(&MetadataRecord::Config(ConfigRecord {
            resource_type: 2,
            resource_name: "t".into(),
            name: "follower.replication.throttled.replicas".into(),
            value: Some("0:2,1:2,2:3".into()),
        }));
        let names = [0, 1, 2, 3].map(|number| TopicPartition::new("t".to_owned(), number));
        assert_eq!(throttled(&image, NodeId(2), names.iter()), [(TOPIC, 0)].into());
        assert_eq!(throttled(&image, NodeId(3), names.iter()), [(TOPIC, 2)].into());
    }
}
