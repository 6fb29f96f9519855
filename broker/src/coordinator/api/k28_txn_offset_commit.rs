//! TxnOffsetCommit v0–5. v2 leader epoch (KIP-320), v3 generation and member (KIP-447), v5 `GROUP_ID_NOT_FOUND` and
//! transactions of version 2 (KIP-890). That the transaction is open is not asked here.

use std::future::Future;
use std::sync::Arc;

use futures::future::Either;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k28_txn_offset_commit::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use ottla_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::errors::code;
use super::{group_id, instance_id, kept_text, member_id};
use crate::coordinator::{GroupCoordinator, TopicLookup, Verification};
use crate::groups::offsets::{CommitOffset, CommitOffsets};
use crate::groups::{GenerationId, GroupError, Reply, TopicName};
use crate::ids::Producer;

/// Where in the response the answer of each commit belongs: topic, then partition.
type Places = Vec<(usize, usize)>;

impl GroupCoordinator {
    /// Answers when the offsets are durable as part of the transaction, to which its coordinator has agreed since
    /// `verification` began.
    pub fn txn_offset_commit(
        &self,
        request: &TxnOffsetCommitRequest,
        verification: &Verification,
    ) -> impl Future<Output = TxnOffsetCommitResponse> + Send + use<> {
        let group = group_id(&request.group_id).and_then(|group| match group.is_empty() {
            true => Err(ErrorCode::InvalidGroupId),
            false => Ok(group),
        });
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                return Either::Left(std::future::ready(GroupCoordinator::refuse_txn_offsets(
                    request, error,
                )));
            }
        };
        let (offsets, places, mut response) = resolve(&*self.topics, request);
        if offsets.is_empty() {
            return Either::Left(std::future::ready(response));
        }
        let commit = CommitOffsets {
            group,
            generation: GenerationId(request.generation_id),
            member_id: member_id(&request.member_id),
            instance_id: instance_id(request.group_instance_id.as_ref()),
            knows_group_id_not_found: false,
            retention: None,
            offsets,
        };
        let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
        let reply = self.commit_in_transaction(producer, commit, verification);
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

    /// The same answer for every partition.
    pub fn refuse_txn_offsets(request: &TxnOffsetCommitRequest, error: ErrorCode) -> TxnOffsetCommitResponse {
        let topics = request.topics.iter().map(|topic| TxnOffsetCommitResponseTopic {
            name: topic.name.detached(),
            partitions: topic
                .partitions
                .iter()
                .map(|partition| TxnOffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: error.code(),
                })
                .collect(),
        });
        TxnOffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
    }
}

/// Finds each topic. What is not there is refused in the response; the rest is to be committed.
fn resolve(
    topics: &dyn TopicLookup,
    request: &TxnOffsetCommitRequest,
) -> (Vec<CommitOffset>, Places, TxnOffsetCommitResponse) {
    let (mut offsets, mut places) = (Vec::new(), Vec::new());
    let mut response = TxnOffsetCommitResponse::default();
    for (topic_index, topic) in request.topics.iter().enumerate() {
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (partition_index, partition) in topic.partitions.iter().enumerate() {
            let index = partition.partition_index;
            let exists = topics.has_partition(&topic.name, index);
            let found = match topics.topic_id(&topic.name) {
                Some(id) if exists => Ok(id),
                _ => Err(GroupError::UnknownTopicOrPartition),
            };
            answers
                .push(TxnOffsetCommitResponsePartition { partition_index: index, error_code: code(&found) });
            if let Ok(topic_id) = found {
                offsets.push(to_offset(TopicName::from(&*topic.name), topic_id, partition));
                places.push((topic_index, partition_index));
            }
        }
        let name = topic.name.detached();
        response.topics.push(TxnOffsetCommitResponseTopic { name, partitions: answers });
    }
    (offsets, places, response)
}

fn to_offset(
    topic: TopicName,
    topic_id: uuid::Uuid,
    partition: &TxnOffsetCommitRequestPartition,
) -> CommitOffset {
    CommitOffset {
        topic,
        topic_id,
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_deref().map_or_else(|| Arc::from(""), kept_text),
    }
}
