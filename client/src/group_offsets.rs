//! Offsets that a group has committed: reading and writing them at its coordinator.

use std::collections::BTreeMap;

use ottla_protocol::messages::k08_offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::messages::k09_offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse};
use ottla_protocol::{ErrorCode, Str};

use crate::TopicPartition;
use crate::coordinator::Coordinator;
use crate::error::{ClientError, check};

/// From version 10 on topics are named by id alone.
const BY_NAME_VERSION_MAX: i16 = 9;
/// From here on several groups can be asked about at once.
const GROUPS_VERSION_MIN: i16 = 8;

/// From here on an unstable offset can be refused.
const REQUIRE_STABLE_VERSION_MIN: i16 = 7;

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Of the next record to read.
    pub offset: i64,
    /// Epoch of the record before; -1 when not known.
    pub leader_epoch: i32,
    /// Free text of whoever committed.
    pub metadata: String,
}

/// The group that offsets are committed for, and as whom: for [`Producer::send_offsets_to_transaction`].
///
/// [`Producer::send_offsets_to_transaction`]: crate::Producer::send_offsets_to_transaction
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    pub group_id: String,
    /// -1 for who is no member.
    pub generation_id: i32,
    /// Empty for who is no member.
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

impl GroupMetadata {
    /// For who is no member, and keeps others from committing for the group by its transactional id alone.
    pub fn of_group(group_id: impl Into<String>) -> GroupMetadata {
        let (group_id, member_id) = (group_id.into(), String::new());
        GroupMetadata { group_id, generation_id: -1, member_id, group_instance_id: None }
    }
}

/// Who commits: a member of a generation, or nobody in particular.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committer {
    /// Generation and member id.
    pub(crate) member: Option<(i32, Str)>,
    pub(crate) group_instance_id: Option<Str>,
}

/// Stores offsets.
pub(crate) async fn commit(
    coordinator: &Coordinator,
    committer: &Committer,
    offsets: &[(TopicPartition, CommittedOffset)],
) -> Result<(), ClientError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (topic_partition, committed) in offsets {
        topics.entry(&topic_partition.topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: topic_partition.partition,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            committed_metadata: Some(committed.metadata.as_str().into()),
        });
    }
    let topics: Vec<OffsetCommitRequestTopic> = topics
        .into_iter()
        .map(|(name, partitions)| OffsetCommitRequestTopic {
            name: name.into(),
            partitions,
            ..Default::default()
        })
        .collect();
    let (generation, member_id) = committer.member.clone().unwrap_or((-1, Str::default()));
    let request = |version: i16| OffsetCommitRequest {
        group_id: coordinator.key.clone(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.clone(),
        group_instance_id: committer.group_instance_id.clone().filter(|_| version >= 7),
        topics: topics.clone(),
        ..Default::default()
    };
    // The first error decides: it is retried as a whole, and committing twice does no harm.
    let first_error = |response: &ottla_protocol::messages::OffsetCommitResponse| {
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.find(|partition| partition.error_code != 0).map_or(0, |partition| partition.error_code)
    };
    match coordinator.send_retrying(BY_NAME_VERSION_MAX, request, first_error).await {
        Ok(_) => Ok(()),
        Err(error) => match error.code() {
            Some(
                code @ (ErrorCode::IllegalGeneration
                | ErrorCode::UnknownMemberId
                | ErrorCode::RebalanceInProgress
                | ErrorCode::FencedInstanceId),
            ) => Err(ClientError::CommitFenced { group: coordinator.key.to_string(), code }),
            _ => Err(error),
        },
    }
}

/// Reads offsets: of these partitions, or of all that the group has any for. Partitions without one are left out. With
/// `require_stable` an offset that an open transaction is about to change is waited for (KIP-447).
pub(crate) async fn fetch(
    coordinator: &Coordinator,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
    let topics = partitions.map(|partitions| {
        let mut topics: BTreeMap<Str, Vec<i32>> = BTreeMap::new();
        for each in partitions {
            topics.entry(each.topic.as_str().into()).or_default().push(each.partition);
        }
        topics
    });
    let request = |version: i16| {
        if version < GROUPS_VERSION_MIN {
            let topic = |(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes };
            return OffsetFetchRequest {
                group_id: coordinator.key.clone(),
                topics: topics.clone().map(|topics| topics.into_iter().map(topic).collect()),
                require_stable: require_stable && version >= REQUIRE_STABLE_VERSION_MIN,
                ..Default::default()
            };
        }
        let topic = |(name, partition_indexes)| OffsetFetchRequestTopics {
            name,
            partition_indexes,
            ..Default::default()
        };
        let group = OffsetFetchRequestGroup {
            group_id: coordinator.key.clone(),
            topics: topics.clone().map(|topics| topics.into_iter().map(topic).collect()),
            ..Default::default()
        };
        OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() }
    };
    let response = coordinator.send_retrying(BY_NAME_VERSION_MAX, request, deciding_code).await?;
    let mut committed = BTreeMap::new();
    let mut add = |topic: &Str, partition: i32, offset: i64, leader_epoch: i32, metadata: Option<&Str>| {
        if offset >= 0 {
            let metadata = metadata.map(|metadata| metadata.to_string()).unwrap_or_default();
            let topic_partition = TopicPartition::new(topic.as_str(), partition);
            committed.insert(topic_partition, CommittedOffset { offset, leader_epoch, metadata });
        }
    };
    for topic in &response.topics {
        for each in &topic.partitions {
            check(each.error_code, || {
                format!("reading the offset of {}-{}", topic.name, each.partition_index)
            })?;
            let (offset, epoch) = (each.committed_offset, each.committed_leader_epoch);
            add(&topic.name, each.partition_index, offset, epoch, each.metadata.as_ref());
        }
    }
    for topic in response.groups.iter().flat_map(|group| &group.topics) {
        for each in &topic.partitions {
            check(each.error_code, || {
                format!("reading the offset of {}-{}", topic.name, each.partition_index)
            })?;
            let (offset, epoch) = (each.committed_offset, each.committed_leader_epoch);
            add(&topic.name, each.partition_index, offset, epoch, each.metadata.as_ref());
        }
    }
    Ok(committed)
}

/// The group's error; in version 1 it only stands with the partitions, and an unstable offset stands there in all.
fn deciding_code(response: &OffsetFetchResponse) -> i16 {
    let group = response.groups.first().map_or(0, |group| group.error_code);
    let of_topics = response.topics.iter().flat_map(|topic| &topic.partitions);
    let of_topics = of_topics.map(|partition| partition.error_code);
    let of_groups = response.groups.iter().flat_map(|group| &group.topics);
    let of_groups = of_groups.flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    let in_partitions = of_topics.chain(of_groups).find(|code| ErrorCode::from_code(*code).is_retriable());
    [response.error_code, group].into_iter().find(|code| *code != 0).or(in_partitions).unwrap_or(0)
}
