//! What consumers of a group tell each other: subscriptions and assignments on the wire, and the two assignors. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_protocol::messages::consumer_protocol::TopicPartition as WireTopicPartitions;
use ottla_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use ottla_protocol::{DecodeError, EncodeError, Message};

use crate::TopicPartition;

/// Every consumer reads this version; the newer ones only add what eager assignors do not use.
const WIRE_VERSION: i16 = 0;

/// How the leader of a group divides partitions among its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// Each topic by itself: neighbouring partitions to each member in turn.
    Range,
    /// All partitions of all topics, one by one to each member in turn.
    RoundRobin,
}

impl Assignor {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Assignor> {
        [Assignor::Range, Assignor::RoundRobin].into_iter().find(|assignor| assignor.name() == name)
    }

    /// Divides the partitions. Every member appears in the result, and every partition of a topic that someone
    /// subscribes to goes to exactly one of its subscribers.
    pub(crate) fn assign(self, members: &Subscriptions, partitions: &BTreeMap<String, i32>) -> Assignments {
        match self {
            Assignor::Range => range(members, partitions),
            Assignor::RoundRobin => round_robin(members, partitions),
        }
    }
}

/// Topics by member id.
pub(crate) type Subscriptions = BTreeMap<String, BTreeSet<String>>;
/// Partitions by member id.
pub(crate) type Assignments = BTreeMap<String, Vec<TopicPartition>>;

fn range(members: &Subscriptions, partitions: &BTreeMap<String, i32>) -> Assignments {
    let mut assignments: Assignments = members.keys().map(|member| (member.clone(), Vec::new())).collect();
    for (topic, count) in partitions {
        let subscribers: Vec<&String> =
            members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        let Ok(among) = i32::try_from(subscribers.len()) else { continue };
        let mut next = 0;
        for (place, member) in (0i32..).zip(subscribers) {
            let share = count / among + i32::from(place < count % among);
            let assigned = assignments.entry(member.clone()).or_default();
            assigned
                .extend((next..next + share).map(|partition| TopicPartition::new(topic.as_str(), partition)));
            next += share;
        }
    }
    assignments
}

fn round_robin(members: &Subscriptions, partitions: &BTreeMap<String, i32>) -> Assignments {
    let mut assignments: Assignments = members.keys().map(|member| (member.clone(), Vec::new())).collect();
    let mut turn = members.iter().cycle();
    for (topic, count) in partitions {
        if !members.values().any(|topics| topics.contains(topic)) {
            continue;
        }
        for partition in 0..*count {
            if let Some((member, _)) = turn.by_ref().find(|(_, topics)| topics.contains(topic)) {
                let assigned = assignments.entry(member.clone()).or_default();
                assigned.push(TopicPartition::new(topic.as_str(), partition));
            }
        }
    }
    assignments
}

pub(crate) fn encode_subscription<'a>(
    topics: impl IntoIterator<Item = &'a String>,
) -> Result<Bytes, EncodeError> {
    let topics = topics.into_iter().map(|topic| topic.into()).collect();
    ConsumerProtocolSubscription { topics, ..Default::default() }.encode_versioned(WIRE_VERSION)
}

pub(crate) fn decode_subscription(bytes: &Bytes) -> Result<BTreeSet<String>, DecodeError> {
    let subscription = ConsumerProtocolSubscription::decode_versioned_or_newer(bytes.clone())?;
    Ok(subscription.topics.iter().map(|topic| topic.to_string()).collect())
}

pub(crate) fn encode_assignment(partitions: &[TopicPartition]) -> Result<Bytes, EncodeError> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for each in partitions {
        topics.entry(&each.topic).or_default().push(each.partition);
    }
    let assigned_partitions = topics
        .into_iter()
        .map(|(topic, partitions)| WireTopicPartitions { topic: topic.into(), partitions })
        .collect();
    ConsumerProtocolAssignment { assigned_partitions, user_data: None }.encode_versioned(WIRE_VERSION)
}

/// Reads an assignment. No bytes at all are an empty one, which coordinators give to members that get nothing.
pub(crate) fn decode_assignment(bytes: &Bytes) -> Result<Vec<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let assignment = ConsumerProtocolAssignment::decode_versioned_or_newer(bytes.clone())?;
    let mut partitions = Vec::new();
    for topic in &assignment.assigned_partitions {
        let of_topic =
            topic.partitions.iter().map(|partition| TopicPartition::new(topic.topic.as_str(), *partition));
        partitions.extend(of_topic);
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    fn members(list: &[(&str, &[&str])]) -> Subscriptions {
        let topics = |topics: &[&str]| topics.iter().map(|topic| (*topic).to_owned()).collect();
        list.iter().map(|(member, subscribed)| ((*member).to_owned(), topics(subscribed))).collect()
    }

    fn show(assignments: &Assignments) -> String {
        let show = |partitions: &[TopicPartition]| {
            partitions.iter().map(|each| each.to_string()).collect::<Vec<_>>().join(" ")
        };
        assignments
            .iter()
            .map(|(member, each)| format!("{member}: {}", show(each)))
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn range_gives_neighbours_and_the_first_members_the_remainder() {
        let partitions = BTreeMap::from([("t".to_owned(), 5), ("u".to_owned(), 1)]);
        let assigned = Assignor::Range.assign(&members(&[("a", &["t", "u"]), ("b", &["t"])]), &partitions);
        assert_eq!(show(&assigned), "a: t-0 t-1 t-2 u-0; b: t-3 t-4");
    }

    #[test]
    fn round_robin_goes_on_across_topics() {
        let partitions = BTreeMap::from([("t".to_owned(), 3), ("u".to_owned(), 3)]);
        let both: &[&str] = &["t", "u"];
        let assigned = Assignor::RoundRobin.assign(&members(&[("a", both), ("b", both)]), &partitions);
        assert_eq!(show(&assigned), "a: t-0 t-2 u-1; b: t-1 u-0 u-2");
    }

    fn topic() -> impl Strategy<Value = String> {
        "[a-d]"
    }

    proptest! {
        #[test]
        fn every_partition_goes_to_exactly_one_subscriber(
            members in btree_map("[m-q]", btree_set(topic(), 0..4), 0..5),
            partitions in btree_map(topic(), 0i32..9, 0..4),
        ) {
            for assignor in [Assignor::Range, Assignor::RoundRobin] {
                let assigned = assignor.assign(&members, &partitions);
                prop_assert_eq!(assigned.keys().collect::<Vec<_>>(), members.keys().collect::<Vec<_>>());
                let mut given: Vec<TopicPartition> = Vec::new();
                for (member, each) in &assigned {
                    prop_assert!(each.iter().all(|partition| members[member].contains(&partition.topic)));
                    given.extend(each.iter().cloned());
                }
                given.sort();
                let wanted: Vec<TopicPartition> = partitions
                    .iter()
                    .filter(|(topic, _)| members.values().any(|topics| topics.contains(*topic)))
                    .flat_map(|(topic, count)| (0..*count).map(|p| TopicPartition::new(topic.as_str(), p)))
                    .collect();
                prop_assert_eq!(given, wanted);
            }
        }

        #[test]
        fn assignments_and_subscriptions_round_trip(
            topics in btree_set(topic(), 0..4),
            partitions in btree_set((topic(), 0i32..9), 0..20),
        ) {
            prop_assert_eq!(decode_subscription(&encode_subscription(&topics).unwrap()).unwrap(), topics);
            let partitions: Vec<TopicPartition> =
                partitions.into_iter().map(|(topic, partition)| TopicPartition::new(topic, partition)).collect();
            prop_assert_eq!(decode_assignment(&encode_assignment(&partitions).unwrap()).unwrap(), partitions);
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..60)) {
            let bytes = Bytes::from(bytes);
            let _ = decode_assignment(&bytes);
            let _ = decode_subscription(&bytes);
        }
    }
}
