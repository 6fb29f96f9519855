//! ConsumerGroupHeartbeat v0–1 (KIP-848). v1 patterns of topics and member ids that the client makes (KIP-1082).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, ready};
use ottla_protocol::messages::k68_consumer_group_heartbeat::{Assignment, TopicPartitions};
use ottla_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use ottla_protocol::{ErrorCode, Str};

use super::{Caller, NAME_BYTES_MAX, group_id, instance_id, kept_text, text};
use crate::coordinator::GroupCoordinator;
use crate::groups::consumer::{ConsumerHeartbeat, ConsumerRefused, Epoch, MemberAnswer, PartitionSet};
use crate::groups::{GroupId, MemberId, Reply, Request, TopicName};

/// What a request is refused with before a group sees it.
type Invalid = (ErrorCode, &'static str);

impl GroupCoordinator {
    /// Answers when what the member is told is durable.
    pub fn consumer_group_heartbeat(
        &self,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> impl Future<Output = ConsumerGroupHeartbeatResponse> + Send + use<> {
        let group = match check(caller.api_version, request) {
            Ok(group) => group,
            Err((error, message)) => return Either::Left(ready(refused(error, message.into()))),
        };
        let heartbeat = self.to_heartbeat(caller, group, request);
        let reply = self.handle(&heartbeat.group.clone(), Request::ConsumerHeartbeat(Box::new(heartbeat)));
        Either::Right(async move {
            match reply.await {
                Reply::ConsumerHeartbeat(Ok(answer)) => granted(answer),
                Reply::ConsumerHeartbeat(Err(ConsumerRefused { error, message })) => {
                    refused(error.into(), message.into())
                }
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            }
        })
    }

    fn to_heartbeat(
        &self,
        caller: &Caller,
        group: GroupId,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerHeartbeat {
        let timeouts = self.topics.consumer_timeouts(group.as_str());
        // Before version 1 the coordinator names a member that joins.
        let member_id = match request.member_id.is_empty() {
            true => MemberId::from(uuid::Uuid::new_v4().to_string()),
            false => MemberId::from(&*request.member_id),
        };
        let names = |names: &Vec<Str>| names.iter().map(|name| TopicName::from(&**name)).collect();
        ConsumerHeartbeat {
            group,
            member_id,
            epoch: Epoch(request.member_epoch),
            instance_id: instance_id(request.instance_id.as_ref()),
            rack_id: request.rack_id.as_deref().map(kept_text),
            client_id: kept_text(caller.client_id.as_deref().unwrap_or_default()),
            client_host: kept_text(&caller.client_host),
            rebalance_timeout: u64::try_from(request.rebalance_timeout_ms).ok().map(Duration::from_millis),
            topic_names: request.subscribed_topic_names.as_ref().map(names),
            topic_regex: request.subscribed_topic_regex.as_deref().map(kept_text),
            server_assignor: request.server_assignor.as_deref().map(kept_text),
            owned: request.topic_partitions.as_deref().map(to_partitions),
            topics: self.topics.catalog(),
            session_timeout: timeouts.session,
            heartbeat_interval: timeouts.heartbeat_interval,
        }
    }
}

/// What Kafka demands of a heartbeat, whatever the group is.
fn check(version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<GroupId, Invalid> {
    let invalid = |message| Err((ErrorCode::InvalidRequest, message));
    let is_empty = |text: &Option<Str>| text.as_ref().is_some_and(|text| text.is_empty());
    let epoch = Epoch(request.member_epoch);
    if request.group_id.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    if epoch < Epoch::LEAVE_STATIC {
        return invalid("MemberEpoch is invalid.");
    }
    if request.member_id.is_empty() && (version >= 1 || epoch != Epoch::JOIN) {
        return invalid("MemberId can't be empty.");
    }
    if epoch == Epoch::LEAVE_STATIC && request.instance_id.is_none() {
        return invalid("InstanceId can't be null.");
    }
    if epoch == Epoch::JOIN {
        if request.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
    }
    let long = |text: &Option<Str>| text.as_ref().is_some_and(|text| text.len() > NAME_BYTES_MAX);
    let too_long = request.member_id.len() > NAME_BYTES_MAX
        || long(&request.instance_id)
        || long(&request.rack_id)
        || long(&request.subscribed_topic_regex)
        || long(&request.server_assignor)
        || request.subscribed_topic_names.iter().flatten().any(|name| name.len() > NAME_BYTES_MAX);
    if too_long {
        return invalid("A name is longer than a record can hold.");
    }
    group_id(&request.group_id).map_err(|error| (error, "The group id is too long."))
}

fn to_partitions(topics: &[TopicPartitions]) -> PartitionSet {
    let partitions =
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id, *partition)));
    partitions.collect()
}

fn granted(answer: MemberAnswer) -> ConsumerGroupHeartbeatResponse {
    let assignment = answer.assigned.map(|assigned| Assignment {
        topic_partitions: assigned
            .topics()
            .map(|(topic_id, partitions)| TopicPartitions {
                topic_id,
                partitions: partitions.iter().copied().collect(),
            })
            .collect(),
    });
    ConsumerGroupHeartbeatResponse {
        member_id: Some(text(answer.member_id.as_str())),
        member_epoch: answer.epoch.0,
        heartbeat_interval_ms: i32::try_from(answer.heartbeat_interval.as_millis()).unwrap_or(i32::MAX),
        assignment,
        ..ConsumerGroupHeartbeatResponse::default()
    }
}

fn refused(error: ErrorCode, message: Arc<str>) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: error.code(),
        error_message: Some(text(&message)),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
