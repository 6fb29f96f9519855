//! ConsumerGroupDescribe v0–1 (KIP-848). v1 tells which protocol each member speaks (KIP-1099).

use std::future::Future;

use futures::future::{Either, join_all, ready};
use ottla_protocol::messages::k69_consumer_group_describe::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use ottla_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use ottla_protocol::{ErrorCode, Str};

use super::k15_describe_groups::{ALL_OPERATIONS, NO_OPERATIONS};
use super::{Caller, group_id, text};
use crate::coordinator::{GroupCoordinator, TopicLookup};
use crate::groups::consumer::{
    ConsumerRefused, DescribedConsumerGroup, DescribedConsumerMember, PartitionSet,
};
use crate::groups::{Reply, Request};

const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

impl GroupCoordinator {
    /// Answers for each group in the request's order.
    pub fn consumer_group_describe(
        &self,
        _caller: &Caller,
        request: &ConsumerGroupDescribeRequest,
    ) -> impl Future<Output = ConsumerGroupDescribeResponse> + Send + use<> {
        let operations = if request.include_authorized_operations { ALL_OPERATIONS } else { NO_OPERATIONS };
        let groups = request.group_ids.iter().map(|name| {
            let name = name.detached();
            match group_id(&name) {
                Err(error) => Either::Left(ready(refused(name, error))),
                Ok(group) => {
                    let reply = self.handle(&group, Request::DescribeConsumerGroup(group.clone()));
                    let topics = self.topics.clone();
                    Either::Right(async move {
                        match reply.await {
                            Reply::DescribeConsumerGroup(Ok(described)) => {
                                to_response(&*topics, described, operations)
                            }
                            Reply::DescribeConsumerGroup(Err(ConsumerRefused { error, message })) => {
                                let refused = refused(name, error.into());
                                DescribedGroup { error_message: Some(message.into()), ..refused }
                            }
                            other => unreachable!("a shard answers what it was asked, not {other:?}"),
                        }
                    })
                }
            }
        });
        let groups = join_all(groups.collect::<Vec<_>>());
        async move { ConsumerGroupDescribeResponse { throttle_time_ms: 0, groups: groups.await } }
    }
}

fn to_response(
    topics: &dyn TopicLookup,
    described: DescribedConsumerGroup,
    authorized_operations: i32,
) -> DescribedGroup {
    DescribedGroup {
        group_id: text(described.group.as_str()),
        group_state: text(described.state.as_str()),
        group_epoch: described.epoch.0,
        assignment_epoch: described.assignment_epoch.0,
        assignor_name: text(&described.assignor),
        members: described.members.iter().map(|member| to_member(topics, member)).collect(),
        authorized_operations,
        ..DescribedGroup::default()
    }
}

fn to_member(topics: &dyn TopicLookup, described: &DescribedConsumerMember) -> Member {
    let (member, metadata) = (&described.member, described.metadata());
    Member {
        member_id: text(member.id.as_str()),
        instance_id: metadata.instance_id.as_ref().map(|id| text(id.as_str())),
        rack_id: metadata.rack_id.as_deref().map(text),
        member_epoch: member.current.epoch.0,
        client_id: text(&metadata.client_id),
        client_host: text(&metadata.client_host),
        subscribed_topic_names: metadata.topic_names.iter().map(|name| text(name.as_str())).collect(),
        subscribed_topic_regex: metadata.topic_regex.as_deref().map(text),
        assignment: to_assignment(topics, &member.current.assigned),
        target_assignment: to_assignment(topics, &described.target),
        member_type: if metadata.classic.is_some() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
    }
}

/// Topics that are gone have no name any more and are left out.
fn to_assignment(topics: &dyn TopicLookup, partitions: &PartitionSet) -> Assignment {
    let topic_partitions = partitions.topics().filter_map(|(topic_id, partitions)| {
        let topic_name = topics.topic_name(topic_id)?;
        Some(TopicPartitions { topic_id, topic_name, partitions: partitions.iter().copied().collect() })
    });
    Assignment { topic_partitions: topic_partitions.collect() }
}

fn refused(group_id: Str, error: ErrorCode) -> DescribedGroup {
    DescribedGroup { error_code: error.code(), group_id, ..DescribedGroup::default() }
}
