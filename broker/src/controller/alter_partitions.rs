//! What leaders say about who is in sync (KIP-497): a change counts if it comes from the leader there is, about what that knows to
//! be so, and names nobody who may have lost something since. Pure.

use std::collections::BTreeSet;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::metadata_records::PartitionChangeRecord;
use uuid::Uuid;

use super::bugs::{Bug, PartitionRules};
use super::image::{ClusterImage, PartitionImage};
use super::partition_change::{Change, Live, has_directory};
use super::records::MetadataRecord;
use crate::ids::{LeaderEpoch, NodeId, Offset};

/// What a broker says of the partitions that it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterPartitions {
    /// Who.
    pub broker: NodeId,
    /// Of its registration.
    pub broker_epoch: Offset,
    /// Of one partition each.
    pub changes: Vec<IsrChange>,
}

/// The in-sync replicas that a leader wants for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrChange {
    /// The partition's topic.
    pub topic_id: Uuid,
    /// Its number.
    pub partition: i32,
    /// In which the leader leads.
    pub leader_epoch: LeaderEpoch,
    /// Of the partition as the leader knows it.
    pub partition_epoch: i32,
    /// In sync, each with the epoch of the broker's registration in which the leader heard of it.
    pub isr: Vec<(NodeId, Offset)>,
}

/// One per change, in order; `Ok(())` where what was wanted is so.
pub type IsrAnswers = Vec<Result<(), ErrorCode>>;

/// Decides about all of it; one answer per change, in order. `Ok(())` where what was wanted is so, once the records are committed.
///
/// # Errors
/// As a whole, where the broker is not the one that is registered.
pub(crate) fn decide_alter_partitions(
    image: &ClusterImage,
    rules: PartitionRules,
    wanted: &AlterPartitions,
) -> Result<(Vec<MetadataRecord>, IsrAnswers), ErrorCode> {
    let registered = image.brokers().get(&wanted.broker);
    if registered.is_none_or(|registered| registered.epoch != wanted.broker_epoch) {
        return Err(ErrorCode::StaleBrokerEpoch);
    }
    let (mut records, mut seen) = (Vec::new(), BTreeSet::new());
    let answers = wanted.changes.iter().map(|change| {
        if !seen.insert((change.topic_id, change.partition)) {
            return Err(ErrorCode::InvalidRequest);
        }
        records.push(decide_change(image, rules, wanted.broker, change)?);
        Ok(())
    });
    let answers = answers.collect();
    Ok((records, answers))
}

fn decide_change(
    image: &ClusterImage,
    rules: PartitionRules,
    broker: NodeId,
    wanted: &IsrChange,
) -> Result<MetadataRecord, ErrorCode> {
    let topic = image.topic_by_id(wanted.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    let number = usize::try_from(wanted.partition).unwrap_or(usize::MAX);
    let partition = topic.partitions.get(number).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check(image, rules, broker, wanted, partition)?;
    let mut change = Change::of(rules, Live::of(image), topic, wanted.partition, partition);
    // In the order of the replicas, so that the same members are the same value.
    let is_wanted = |node: &NodeId| wanted.isr.iter().any(|(member, _)| member == node);
    change.isr = partition.replicas.iter().copied().filter(is_wanted).collect();
    if change.isr.len() == partition.isr.len() && partition.isr.iter().all(is_wanted) {
        change.isr.clone_from(&partition.isr);
    }
    // One that has caught up from another log dir than is recorded has it in one that the broker has.
    for (replica, directory) in partition.replicas.iter().zip(&mut change.directories) {
        let Some(broker) = image.brokers().get(replica).filter(|_| is_wanted(replica)) else { continue };
        if !has_directory(&broker.log_dirs, Some(*directory)) {
            *directory = match broker.log_dirs.as_slice() {
                [only] => *only,
                _ => Uuid::nil(),
            };
        }
    }
    // That all stays as it is is a decision too: whatever the leader asked before counts no more.
    Ok(change.record().unwrap_or_else(|| stays(topic.id, wanted.partition, partition)))
}

/// A record that changes nothing but the partition's epoch.
fn stays(topic_id: Uuid, partition_id: i32, partition: &PartitionImage) -> MetadataRecord {
    let isr = partition.isr.iter().map(|node| node.0).collect();
    MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id,
        topic_id,
        isr: Some(isr),
        ..PartitionChangeRecord::default()
    })
}

fn check(
    image: &ClusterImage,
    rules: PartitionRules,
    broker: NodeId,
    wanted: &IsrChange,
    partition: &PartitionImage,
) -> Result<(), ErrorCode> {
    if wanted.leader_epoch > partition.leader_epoch || wanted.partition_epoch > partition.partition_epoch {
        // It knows more than is decided here: another controller must be.
        return Err(ErrorCode::NotController);
    }
    let trusts_any_leader = rules.has(Bug::StaleLeaderAlters);
    if wanted.leader_epoch < partition.leader_epoch && !trusts_any_leader {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if partition.leader != Some(broker) && !trusts_any_leader {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let trusts_any_change = trusts_any_leader || rules.has(Bug::StaleChangeAlters);
    if wanted.partition_epoch < partition.partition_epoch && !trusts_any_change {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let mut members = BTreeSet::new();
    let are_replicas =
        wanted.isr.iter().all(|(member, _)| partition.replicas.contains(member) && members.insert(*member));
    if !are_replicas || !members.contains(&broker) {
        return Err(ErrorCode::InvalidRequest);
    }
    // Of one that has not fetched from this leader yet only the controller knows that it is in sync.
    let stays = |member: &NodeId, epoch: &Offset| *epoch == Offset(-1) && partition.isr.contains(member);
    let may_be_in = |(member, epoch): &(NodeId, Offset)| {
        stays(member, epoch) || is_eligible(image, rules, *member, *epoch)
    };
    match wanted.isr.iter().all(may_be_in) {
        true => Ok(()),
        false => Err(ErrorCode::IneligibleReplica),
    }
}

/// Whether a replica may be in sync: its broker serves, does not stop (KIP-841), and has not restarted since the leader heard of it,
/// after which it may lack what it had (KIP-903).
fn is_eligible(image: &ClusterImage, rules: PartitionRules, member: NodeId, epoch: Offset) -> bool {
    let Some(broker) = image.brokers().get(&member) else { return false };
    let serves = broker.is_active() || rules.has(Bug::FencedReplicaJoins);
    serves && (broker.epoch == epoch || rules.has(Bug::StaleBrokerEpochJoins))
}
