//! OffsetDelete v0 (KIP-496): forgets offsets of topics that the group does not read.

use std::future::Future;

use futures::future::{Either, ready};
use ottla_protocol::messages::k47_offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use ottla_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::errors::code;
use super::{Caller, group_id};
use crate::coordinator::GroupCoordinator;
use crate::groups::{GroupError, Reply, Request, TopicName};

impl GroupCoordinator {
    /// Answers once what can be forgotten is, durably.
    pub fn offset_delete(
        &self,
        _caller: &Caller,
        request: &OffsetDeleteRequest,
    ) -> impl Future<Output = OffsetDeleteResponse> + Send + use<> {
        let group = match group_id(&request.group_id) {
            Ok(group) => group,
            Err(error) => {
                let error_code = error.code();
                return Either::Left(ready(OffsetDeleteResponse { error_code, ..Default::default() }));
            }
        };
        let mut partitions = Vec::new();
        let mut places = Vec::new();
        let mut topics = Vec::new();
        for (topic_place, topic) in request.topics.iter().enumerate() {
            let mut answers = Vec::with_capacity(topic.partitions.len());
            for (place, partition) in topic.partitions.iter().enumerate() {
                let index = partition.partition_index;
                let there = match self.topics.has_partition(&topic.name, index) {
                    true => Ok(()),
                    false => Err(GroupError::UnknownTopicOrPartition),
                };
                if there.is_ok() {
                    partitions.push((TopicName::from(&*topic.name), index));
                    places.push((topic_place, place));
                }
                answers
                    .push(OffsetDeleteResponsePartition { partition_index: index, error_code: code(&there) });
            }
            topics.push(OffsetDeleteResponseTopic { name: topic.name.detached(), partitions: answers });
        }
        let reply = self.handle(&group, Request::DeleteOffsets { group: group.clone(), partitions });
        Either::Right(async move {
            let answers = match reply.await {
                Reply::DeleteOffsets(Ok(answers)) => answers,
                Reply::DeleteOffsets(refused) => {
                    return OffsetDeleteResponse { error_code: code(&refused), ..Default::default() };
                }
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            };
            for ((topic, partition), answer) in places.into_iter().zip(&answers) {
                let topic = topics.get_mut(topic);
                if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(partition)) {
                    partition.error_code = code(answer);
                }
            }
            OffsetDeleteResponse { topics, ..Default::default() }
        })
    }
}
