//! Partitions that move to other brokers (KIP-455). Pure.
//!
//! ```text
//!   [1,2,3] ── wanted [3,4] ──▶ replicas [3,4,1,2], adding [4], removing [1,2]
//!                                  │ 4 is in sync, as the leader says          ╲ not wanted any more
//!                                  ▼                                            ▼
//!                               [3,4], a new leader if 1 or 2 led             [3,1,2]
//! ```
//! When it is complete `partition_change.rs` decides, with every change of who is in sync.

use ottla_protocol::ErrorCode;
use uuid::Uuid;

use super::bugs::PartitionRules;
use super::image::{ClusterImage, PartitionImage};
use super::partition_change::{Change, Live};
use super::placement::Placement;
use super::records::MetadataRecord;
use super::topics::{Refusal, TopicRules, check_assignment, hosts, refuse};
use crate::ids::NodeId;

/// The replicas that a partition shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassign {
    /// The partition's topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The preferred leader first; `None` ends a reassignment that is under way, with the replicas that there were.
    pub replicas: Option<Vec<NodeId>>,
    /// Whether there may be more or fewer than before (KIP-860).
    pub may_change_count: bool,
}

/// Decides about one partition.
pub(crate) fn decide_reassign(
    image: &ClusterImage,
    topic_rules: &TopicRules,
    rules: PartitionRules,
    wanted: &Reassign,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let found = image.topic(&wanted.topic).and_then(|topic| {
        let partition = topic.partitions.get(usize::try_from(wanted.partition).ok()?)?;
        Some((topic, partition))
    });
    let Some((topic, partition)) = found else {
        return refuse(ErrorCode::UnknownTopicOrPartition, "Unable to find the partition.");
    };
    let without = |nodes: &[NodeId], others: &[NodeId]| -> Vec<NodeId> {
        nodes.iter().copied().filter(|node| !others.contains(node)).collect()
    };
    let before = without(&partition.replicas, &partition.adding_replicas);
    let target = match &wanted.replicas {
        None if !partition.is_reassigned() => {
            return refuse(ErrorCode::NoReassignmentInProgress, "No reassignment is in progress.");
        }
        None => &before,
        Some(target) => {
            let count = if wanted.may_change_count { target.len() } else { before.len() };
            if !target.is_empty() && target.len() != count {
                return refuse(
                    ErrorCode::InvalidReplicationFactor,
                    format!("The replication factor is changed from {count} to {}.", target.len()),
                );
            }
            check_assignment(&hosts(image, topic_rules), target, target.len())?;
            target
        }
    };
    let (adding, removing) = (without(target, &before), without(&before, target));
    let replicas: Vec<NodeId> = target.iter().chain(&removing).copied().collect();
    if replicas == partition.replicas
        && adding == partition.adding_replicas
        && removing == partition.removing_replicas
    {
        return Ok(Vec::new());
    }
    // A replica that was to be added and is not wanted any more goes at once.
    let has_all =
        |node: &NodeId| partition.isr.contains(node) || partition.eligible_leader_replicas.contains(node);
    let had_somebody = partition.replicas.iter().any(has_all);
    if had_somebody && !replicas.iter().any(has_all) {
        return refuse(
            ErrorCode::InvalidReplicaAssignment,
            "Only replicas that would go have everything: the others would lose records.",
        );
    }
    let mut change = Change::of(rules, Live::of(image), topic, wanted.partition, partition);
    change.directories = directories(image, partition, &replicas);
    (change.replicas, change.adding, change.removing) = (replicas, adding, removing);
    Ok(change.record().into_iter().collect())
}

/// The log dirs of replicas: those that they have, and of new ones that of their broker which has the fewest.
fn directories(image: &ClusterImage, partition: &PartitionImage, replicas: &[NodeId]) -> Vec<Uuid> {
    let place = |node: &NodeId| {
        let known = partition.directory_of(*node);
        known.or_else(|| Placement::among(&image.brokers().get(node)?.log_dirs, image).place())
    };
    replicas.iter().map(|node| place(node).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::SnapshotRules;
    use crate::controller::alter_partitions::{AlterPartitions, IsrChange, decide_alter_partitions};
    use crate::controller::configs::Configs;
    use crate::controller::group_configs::GroupLimits;
    use crate::controller::partition_change::tests::{RULES, apply, cluster, told};

    fn reassign(
        image: &mut ClusterImage,
        replicas: Option<&[i32]>,
        count_stays: bool,
    ) -> Result<(), ErrorCode> {
        let topic_rules = TopicRules {
            node_id: NodeId(1),
            is_alone: false,
            default_partitions: 1,
            default_replication_factor: None,
            directories: Vec::new(),
            group_limits: GroupLimits::default(),
            topic_defaults: Configs::new(),
            snapshots: SnapshotRules::default(),
        };
        let wanted = Reassign {
            topic: "t".to_owned(),
            partition: 0,
            replicas: replicas.map(|replicas| replicas.iter().copied().map(NodeId).collect()),
            may_change_count: !count_stays,
        };
        let records = decide_reassign(image, &topic_rules, RULES, &wanted).map_err(|refusal| refusal.code)?;
        apply(image, records);
        Ok(())
    }

    fn in_sync(image: &mut ClusterImage, isr: &[i32]) {
        let topic = image.topic("t").unwrap();
        let partition = &topic.partitions[0];
        let broker = partition.leader.unwrap();
        let epoch = |node: NodeId| image.brokers()[&node].epoch;
        let wanted = AlterPartitions {
            broker,
            broker_epoch: epoch(broker),
            changes: vec![IsrChange {
                topic_id: topic.id,
                partition: 0,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                isr: isr.iter().map(|node| (NodeId(*node), epoch(NodeId(*node)))).collect(),
            }],
        };
        let (records, answers) = decide_alter_partitions(image, RULES, &wanted).unwrap();
        assert_eq!(answers, [Ok(())]);
        apply(image, records);
    }

    #[test]
    fn a_partition_moves_once_its_new_replicas_are_in_sync() {
        let mut image = cluster(5, &[1, 2, 3]);
        reassign(&mut image, Some(&[3, 4]), false).unwrap();
        assert_eq!(told(&image), "3,4,1,2 in sync 1,2,3 eligible  leader 1 adding 4 removing 1,2");
        in_sync(&mut image, &[1, 2, 3, 4]);
        assert_eq!(told(&image), "3,4 in sync 3,4 eligible  leader 3");
        let partition = &image.topic("t").unwrap().partitions[0];
        assert_eq!(partition.directories, [300, 400].map(Uuid::from_u128));
        // Another order needs nobody new, and another place for one of them is wanted before it is there.
        reassign(&mut image, Some(&[4, 3]), true).unwrap();
        assert_eq!(told(&image), "4,3 in sync 3,4 eligible  leader 3");
        reassign(&mut image, Some(&[4, 5]), true).unwrap();
        reassign(&mut image, Some(&[4, 1]), true).unwrap();
        assert_eq!(told(&image), "4,1,3 in sync 3,4 eligible  leader 3 adding 1 removing 3");
        reassign(&mut image, None, true).unwrap();
        assert_eq!(told(&image), "4,3 in sync 3,4 eligible  leader 3");
        assert_eq!(reassign(&mut image, None, true), Err(ErrorCode::NoReassignmentInProgress));
    }

    #[test]
    fn what_would_lose_records_or_makes_no_sense_is_refused() {
        let mut image = cluster(3, &[1]);
        for (replicas, code) in [
            (vec![2, 9], ErrorCode::InvalidReplicaAssignment),
            (vec![2, 2], ErrorCode::InvalidReplicaAssignment),
            (vec![], ErrorCode::InvalidReplicaAssignment),
        ] {
            assert_eq!(reassign(&mut image, Some(&replicas), false), Err(code), "{replicas:?}");
        }
        assert_eq!(reassign(&mut image, Some(&[1, 2]), true), Err(ErrorCode::InvalidReplicationFactor));
        reassign(&mut image, Some(&[1]), false).unwrap();
        assert_eq!(image.topic("t").unwrap().partitions[0].partition_epoch, 0, "nothing has changed");
        reassign(&mut image, Some(&[1, 2, 3]), false).unwrap();
        in_sync(&mut image, &[1, 2]);
        let records = crate::controller::brokers::decide_fence(&image, RULES, NodeId(1));
        apply(&mut image, records);
        assert_eq!(told(&image), "1,2,3 in sync 2 eligible  leader 2 adding 2,3 removing ");
        let refused = reassign(&mut image, None, false);
        assert_eq!(refused, Err(ErrorCode::InvalidReplicaAssignment), "only a new replica has everything");
    }
}
