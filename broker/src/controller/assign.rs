//! What is recorded when a replica is in another log dir than it was (KIP-858). Pure.

use ottla_protocol::messages::metadata_records::PartitionChangeRecord;
use uuid::Uuid;

use super::image::ClusterImage;
use super::records::MetadataRecord;
use crate::ids::NodeId;

/// The record that a node's replica is in a log dir; `None` where that is known, or the partition is not.
pub(super) fn decide_assign(
    image: &ClusterImage,
    node_id: NodeId,
    topic_id: Uuid,
    partition_id: i32,
    directory_id: Uuid,
) -> Option<MetadataRecord> {
    let topic = image.topic_by_id(topic_id)?;
    let partition = topic.partitions.get(usize::try_from(partition_id).ok()?)?;
    let place = partition.replicas.iter().position(|replica| *replica == node_id)?;
    let mut directories = partition.directories.clone();
    // Where nobody has said, of none of the replicas.
    directories.resize(partition.replicas.len(), Uuid::nil());
    let directory = directories.get_mut(place)?;
    if *directory == directory_id {
        return None;
    }
    *directory = directory_id;
    Some(MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id,
        topic_id,
        directories: Some(directories),
        ..PartitionChangeRecord::default()
    }))
}
