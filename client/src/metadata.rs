//! What is known of brokers and topics: an immutable image, replaced as a whole. Pure; asking for it is `cluster`'s.
//!
//! A partition's leader is only replaced by one of the same or a later leader epoch (KIP-320): an answer of a broker
//! that lags behind must not undo what is already known.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ottla_protocol::messages::MetadataResponse;
use ottla_protocol::{ErrorCode, Uuid};
use tokio::time::Instant;

use crate::topic_partition::Endpoint;

/// A partition as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    pub partition: i32,
    /// Broker id of the leader, or none at present.
    pub leader: Option<i32>,
    /// -1 when the broker does not tell.
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
}

/// A topic as the cluster describes it; partitions in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    /// Nil when the broker has no topic ids.
    pub topic_id: Uuid,
    pub is_internal: bool,
    pub partitions: Vec<PartitionDescription>,
}

impl TopicDescription {
    /// The partition of that number.
    pub fn partition(&self, partition: i32) -> Option<&PartitionDescription> {
        let guess = usize::try_from(partition).ok().and_then(|index| self.partitions.get(index));
        match guess {
            Some(found) if found.partition == partition => Some(found),
            _ => self.partitions.iter().find(|each| each.partition == partition),
        }
    }

    /// How many partitions there are, as the numbers go.
    pub fn partition_count(&self) -> i32 {
        self.partitions.last().map_or(0, |last| last.partition + 1)
    }
}

/// A cached topic and when it was learnt.
#[derive(Debug, Clone)]
pub(crate) struct CachedTopic {
    pub(crate) description: std::sync::Arc<TopicDescription>,
    learnt_at: Instant,
}

/// Everything known at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) cluster_id: Option<String>,
    pub(crate) controller_id: Option<i32>,
    pub(crate) brokers: BTreeMap<i32, Endpoint>,
    topics: HashMap<String, CachedTopic>,
}

impl Metadata {
    /// The topic, if it is known and was learnt less than `age_max` ago.
    pub(crate) fn topic(&self, name: &str, now: Instant, age_max: Duration) -> Option<&CachedTopic> {
        self.topics.get(name).filter(|topic| now.saturating_duration_since(topic.learnt_at) < age_max)
    }

    /// The topic, of whatever age.
    pub(crate) fn topic_of_any_age(&self, name: &str) -> Option<&TopicDescription> {
        self.topics.get(name).map(|topic| &*topic.description)
    }

    /// The leader of the partition and its epoch.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        let partition = self.topic_of_any_age(topic)?.partition(partition)?;
        Some((partition.leader?, partition.leader_epoch))
    }

    /// The image after a response. The errors of single topics are given back beside it; a topic that does not
    /// exist (any more) is forgotten.
    pub(crate) fn updated(&self, response: &MetadataResponse, now: Instant) -> (Metadata, TopicErrors) {
        let mut next = self.clone();
        let mut errors = TopicErrors::new();
        next.brokers = response
            .brokers
            .iter()
            .filter_map(|broker| Some((broker.node_id, Endpoint::from_wire(&broker.host, broker.port)?)))
            .collect();
        next.controller_id = Some(response.controller_id).filter(|id| *id >= 0);
        next.cluster_id = response.cluster_id.as_ref().map(|id| id.to_string()).or(next.cluster_id);
        for topic in &response.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.to_string()) else { continue };
            match ErrorCode::from_code(topic.error_code) {
                ErrorCode::None => {}
                error => {
                    if matches!(error, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) {
                        next.topics.remove(&name);
                    }
                    errors.insert(name, error);
                    continue;
                }
            }
            // A topic that was deleted and made again has a new id, and its leader epochs start over.
            let known = next.topics.get(&name).map(|topic| topic.description.clone());
            let known = known.filter(|known| known.topic_id == topic.topic_id);
            let mut partitions: Vec<PartitionDescription> = topic
                .partitions
                .iter()
                .map(|partition| PartitionDescription {
                    partition: partition.partition_index,
                    leader: Some(partition.leader_id).filter(|id| *id >= 0),
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes.clone(),
                    isr: partition.isr_nodes.clone(),
                })
                .map(|fresh| match known.as_ref().and_then(|known| known.partition(fresh.partition)) {
                    Some(known) if known.leader_epoch > fresh.leader_epoch => known.clone(),
                    _ => fresh,
                })
                .collect();
            partitions.sort_by_key(|partition| partition.partition);
            let description = TopicDescription {
                name: name.clone(),
                topic_id: topic.topic_id,
                is_internal: topic.is_internal,
                partitions,
            };
            next.topics.insert(name, CachedTopic { description: description.into(), learnt_at: now });
        }
        (next, errors)
    }

    /// The image without these topics.
    pub(crate) fn without(&self, names: &[&str]) -> Metadata {
        let mut next = self.clone();
        next.topics.retain(|name, _| !names.contains(&name.as_str()));
        next
    }
}

/// Errors of single topics in a metadata answer.
pub(crate) type TopicErrors = BTreeMap<String, ErrorCode>;

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::messages::k03_metadata::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    fn response(topic_id: u128, leader: i32, epoch: i32) -> MetadataResponse {
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: "h".into(),
                port: 9092,
                ..Default::default()
            }],
            topics: vec![MetadataResponseTopic {
                name: Some("t".into()),
                topic_id: Uuid::from_u128(topic_id),
                partitions: vec![MetadataResponsePartition {
                    leader_id: leader,
                    leader_epoch: epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn leader_after(responses: &[MetadataResponse]) -> Option<(i32, i32)> {
        let mut metadata = Metadata::default();
        for response in responses {
            metadata = metadata.updated(response, Instant::now()).0;
        }
        metadata.leader("t", 0)
    }

    #[test]
    fn an_older_leader_epoch_does_not_undo_a_newer_one() {
        assert_eq!(leader_after(&[response(7, 1, 5), response(7, 2, 6)]), Some((2, 6)));
        assert_eq!(leader_after(&[response(7, 2, 6), response(7, 1, 5)]), Some((2, 6)));
    }

    #[test]
    fn a_topic_made_again_starts_over_with_its_epochs() {
        assert_eq!(leader_after(&[response(7, 2, 6), response(8, 1, 0)]), Some((1, 0)));
    }

    #[test]
    fn a_topic_that_is_gone_is_forgotten() {
        let (metadata, _) = Metadata::default().updated(&response(7, 1, 0), Instant::now());
        let mut gone = response(7, 1, 0);
        gone.topics[0].error_code = ErrorCode::UnknownTopicOrPartition.code();
        let (metadata, errors) = metadata.updated(&gone, Instant::now());
        assert_eq!(errors.get("t"), Some(&ErrorCode::UnknownTopicOrPartition));
        assert!(metadata.topic_of_any_age("t").is_none());
    }

    #[test]
    fn a_topic_grows_old() {
        let now = Instant::now();
        let (metadata, _) = Metadata::default().updated(&response(7, 1, 0), now);
        let age_max = Duration::from_secs(300);
        assert!(metadata.topic("t", now + Duration::from_secs(299), age_max).is_some());
        assert!(metadata.topic("t", now + Duration::from_secs(300), age_max).is_none());
    }
}
