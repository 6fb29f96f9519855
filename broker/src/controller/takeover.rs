//! What is decided when a node starts on a metadata log: what nobody leads gets this node as its leader, as when a broker
//! of Kafka registers again after a controlled shutdown took its leaderships away and left it eligible (KIP-966). Pure.

use ottla_protocol::messages::metadata_records::PartitionChangeRecord;
use thiserror::Error;

use super::image::{ClusterImage, PartitionImage};
use super::records::MetadataRecord;
use crate::ids::{NodeId, TopicPartition};

/// Partitions that are named in an error.
const NAMED_MAX: usize = 3;

/// The log describes a cluster of several nodes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the data directory belongs to a cluster of several nodes: {count} partitions have replicas elsewhere, such as {} on nodes {nodes}; \
     this release runs on one node and takes over only what a single one kept, so move the replicas to node {node_id} first",
    .names.join(", ")
)]
pub struct OtherNodes {
    node_id: NodeId,
    count: usize,
    names: Vec<String>,
    /// Of the first of them.
    nodes: String,
}

/// The records that make a node which is the whole cluster the leader of whatever has none.
pub(super) fn decide_takeover(
    image: &ClusterImage,
    node_id: NodeId,
) -> Result<Vec<MetadataRecord>, OtherNodes> {
    let mut others: Option<OtherNodes> = None;
    for topic in image.topics() {
        for (number, partition) in (0i32..).zip(&topic.partitions) {
            if partition.replicas != [node_id] {
                let others = others.get_or_insert_with(|| OtherNodes {
                    node_id,
                    count: 0,
                    names: Vec::new(),
                    nodes: partition.replicas.iter().map(NodeId::to_string).collect::<Vec<_>>().join(","),
                });
                others.count += 1;
                if others.names.len() < NAMED_MAX {
                    others.names.push(TopicPartition::new(topic.name.clone(), number).to_string());
                }
            }
        }
    }
    others.map_or_else(|| Ok(lead_unled(image, node_id)), Err)
}

/// The records that make `node_id` the leader of what it keeps all of and nobody leads.
pub(super) fn lead_unled(image: &ClusterImage, node_id: NodeId) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for topic in image.topics() {
        for (number, partition) in (0i32..).zip(&topic.partitions) {
            let is_kept = partition.replicas.contains(&node_id);
            if is_kept && partition.leader.is_none() && may_lead(partition, node_id) {
                records.push(MetadataRecord::PartitionChange(PartitionChangeRecord {
                    partition_id: number,
                    topic_id: topic.id,
                    leader: node_id.0,
                    isr: Some(vec![node_id.0]),
                    eligible_leader_replicas: Some(Vec::new()),
                    last_known_elr: Some(Vec::new()),
                    ..PartitionChangeRecord::default()
                }));
            }
        }
    }
    records
}

/// Whether a node is known to have everything that was committed.
fn may_lead(partition: &PartitionImage, node_id: NodeId) -> bool {
    partition.isr.contains(&node_id) || partition.eligible_leader_replicas.contains(&node_id)
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::metadata_records::{PartitionRecord, TopicRecord};
    use uuid::Uuid;

    use super::*;
    use crate::ids::LeaderEpoch;

    fn image(partitions: &[(&[i32], i32)]) -> ClusterImage {
        let mut image = ClusterImage::default();
        let topic_id = Uuid::from_u128(7);
        image.apply(&MetadataRecord::Topic(TopicRecord { name: "t".into(), topic_id }));
        for (partition_id, (replicas, leader)) in (0..).zip(partitions) {
            image.apply(&MetadataRecord::Partition(PartitionRecord {
                partition_id,
                topic_id,
                replicas: replicas.to_vec(),
                isr: replicas.to_vec(),
                leader: *leader,
                leader_epoch: 5,
                ..PartitionRecord::default()
            }));
        }
        image
    }

    #[test]
    fn what_nobody_leads_is_led_in_a_new_epoch_and_the_rest_stays() {
        let mut image = image(&[(&[1], -1), (&[1], 1), (&[1], -1), (&[1], -1)]);
        let topic_id = image.topic("t").unwrap().id;
        for (partition_id, eligible) in [(2, vec![1]), (3, vec![])] {
            image.apply(&MetadataRecord::PartitionChange(PartitionChangeRecord {
                partition_id,
                topic_id,
                isr: Some(Vec::new()),
                eligible_leader_replicas: Some(eligible),
                ..PartitionChangeRecord::default()
            }));
        }
        for record in decide_takeover(&image, NodeId(1)).unwrap() {
            let stored = MetadataRecord::decode(record.encode().unwrap()).unwrap();
            assert_eq!(stored, record);
            image.apply(&stored);
        }
        let partitions = &image.topic("t").unwrap().partitions;
        let led: Vec<_> = partitions.iter().map(|p| (p.leader, p.leader_epoch)).collect();
        let node = Some(NodeId(1));
        let epochs = [(node, 6), (node, 5), (node, 6), (None, 5)];
        assert_eq!(led, epochs.map(|(leader, epoch)| (leader, LeaderEpoch(epoch))));
        assert_eq!(decide_takeover(&image, NodeId(1)), Ok(Vec::new()));
        image.invariants().unwrap();
    }

    #[test]
    fn a_cluster_of_several_nodes_is_refused_with_one_message() {
        let error = decide_takeover(&image(&[(&[1], -1), (&[2, 1], 2), (&[3], 3)]), NodeId(1)).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("2 partitions have replicas elsewhere, such as t-1, t-2 on nodes 2,1"),
            "{message}"
        );
    }
}
