//! OffsetCommit v2–10. v2–4 retention time, v6 leader epoch (KIP-320), v7 static members (KIP-345), v9
//! `GROUP_ID_NOT_FOUND` (KIP-848), v10 topic ids instead of names (KIP-516).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use ottla_protocol::messages::k08_offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use ottla_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use ottla_protocol::{ErrorCode, Uuid};

use super::errors::code;
use super::{Caller, group_id, instance_id, kept_text, member_id};
use crate::coordinator::{GroupCoordinator, TopicLookup};
use crate::groups::offsets::{CommitOffset, CommitOffsets};
use crate::groups::{GenerationId, GroupError, GroupId, Reply, Request, TopicName};

/// Where in the response the answer of each commit belongs: topic, then partition.
type Places = Vec<(usize, usize)>;

impl GroupCoordinator {
    /// Answers when the offsets are durable.
    pub fn offset_commit(
        &self,
        caller: &Caller,
        request: &OffsetCommitRequest,
    ) -> impl Future<Output = OffsetCommitResponse> + Send + use<> {
        let group = match group_id(&request.group_id) {
            Ok(group) => group,
            Err(error) => return Either::Left(std::future::ready(refuse_all(request, error))),
        };
        let (offsets, places, mut response) = resolve(caller.api_version, &*self.topics, request);
        if offsets.is_empty() {
            return Either::Left(std::future::ready(response));
        }
        let commit = to_commit(caller, group.clone(), request, offsets);
        let reply = self.handle(&group, Request::CommitOffsets(commit));
        Either::Right(async move {
            let answer = match reply.await {
                Reply::CommitOffsets(answer) => answer,
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            };
            for (index, (topic, partition)) in places.into_iter().enumerate() {
                let each = match &answer {
                    Ok(answers) => answers.get(index).copied().unwrap_or(Ok(())),
                    Err(error) => Err(*error),
                };
                response.topics[topic].partitions[partition].error_code = code(&each);
            }
            response
        })
    }
}

/// Finds each topic by its name or id. What is not there is refused in the response; the rest is to be committed.
fn resolve(
    version: i16,
    topics: &dyn TopicLookup,
    request: &OffsetCommitRequest,
) -> (Vec<CommitOffset>, Places, OffsetCommitResponse) {
    let mut offsets = Vec::new();
    let mut places = Vec::new();
    let mut response = OffsetCommitResponse::default();
    for (topic_index, topic) in request.topics.iter().enumerate() {
        let found = find_topic(version, topics, topic);
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (partition_index, partition) in topic.partitions.iter().enumerate() {
            let index = partition.partition_index;
            let found =
                found.clone().and_then(|(name, id)| match topics.has_partition(name.as_str(), index) {
                    true => Ok((name, id)),
                    false => Err(GroupError::UnknownTopicOrPartition),
                });
            answers.push(OffsetCommitResponsePartition { partition_index: index, error_code: code(&found) });
            if let Ok((name, topic_id)) = found {
                offsets.push(to_offset(name, topic_id, partition));
                places.push((topic_index, partition_index));
            }
        }
        response.topics.push(OffsetCommitResponseTopic {
            name: topic.name.detached(),
            topic_id: topic.topic_id,
            partitions: answers,
        });
    }
    (offsets, places, response)
}

fn find_topic(
    version: i16,
    topics: &dyn TopicLookup,
    topic: &OffsetCommitRequestTopic,
) -> Result<(TopicName, Uuid), GroupError> {
    if version >= 10 {
        let name = topics.topic_name(topic.topic_id).ok_or(GroupError::UnknownTopicId)?;
        Ok((TopicName::from(&*name), topic.topic_id))
    } else {
        let id = topics.topic_id(&topic.name).ok_or(GroupError::UnknownTopicOrPartition)?;
        Ok((TopicName::from(&*topic.name), id))
    }
}

fn to_offset(topic: TopicName, topic_id: Uuid, partition: &OffsetCommitRequestPartition) -> CommitOffset {
    CommitOffset {
        topic,
        topic_id,
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_deref().map_or_else(|| Arc::from(""), kept_text),
    }
}

fn to_commit(
    caller: &Caller,
    group: GroupId,
    request: &OffsetCommitRequest,
    offsets: Vec<CommitOffset>,
) -> CommitOffsets {
    CommitOffsets {
        group,
        generation: GenerationId(request.generation_id_or_member_epoch),
        member_id: member_id(&request.member_id),
        instance_id: instance_id(request.group_instance_id.as_ref()),
        knows_group_id_not_found: caller.api_version >= 9,
        // -1 leaves it to the broker, which keeps offsets.
        retention: u64::try_from(request.retention_time_ms).ok().map(Duration::from_millis),
        offsets,
    }
}

fn refuse_all(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.detached(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
            })
            .collect(),
    });
    OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
}
