//! What group requests ask for that their senders may not do: taken out of the request before the coordinator sees it, or
//! out of the answer, and answered with the error that Kafka has for it.

use std::collections::HashMap;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k08_offset_commit::{
    OffsetCommitRequestTopic, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_protocol::messages::k09_offset_fetch::{OffsetFetchResponseGroup, OffsetFetchResponsePartitions};
use ottla_protocol::messages::k15_describe_groups::DescribedGroup;
use ottla_protocol::messages::k28_txn_offset_commit as k28;
use ottla_protocol::messages::k42_delete_groups::DeletableGroupResult;
use ottla_protocol::messages::k47_offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use ottla_protocol::messages::k69_consumer_group_describe as k69;
use ottla_protocol::messages::*;
use ottla_protocol::wire::{Str, Uuid};

use super::super::access::Access;
use super::super::context::Context;
use crate::security::acl::CLUSTER_NAME;
use crate::security::{Operation, ResourceType};

/// A topic by name, or by id where the version has ids.
fn name_of(context: &Context, name: &Str, id: Uuid) -> Option<Str> {
    if id.is_nil() {
        return Some(name.clone());
    }
    context.image().topic_by_id(id).map(|topic| topic.name.as_str().into())
}

/// Takes the topics out of a commit that its sender may not read; gives their answers.
pub(super) fn commit(
    context: &Context,
    access: &Access,
    request: &mut OffsetCommitRequest,
) -> Vec<OffsetCommitResponseTopic> {
    let group_allowed = access.group(context, Operation::Read, &request.group_id);
    let refused = |topic: OffsetCommitRequestTopic, code: ErrorCode| {
        let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: code.code(),
        });
        OffsetCommitResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
            topic_id: topic.topic_id,
        }
    };
    let mut denied = Vec::new();
    for topic in std::mem::take(&mut request.topics) {
        if !group_allowed {
            denied.push(refused(topic, ErrorCode::GroupAuthorizationFailed));
            continue;
        }
        // A topic that is not there is the coordinator's to refuse.
        match name_of(context, &topic.name, topic.topic_id) {
            Some(name) if !access.topic(context, Operation::Read, &name) => {
                denied.push(refused(topic, ErrorCode::TopicAuthorizationFailed));
            }
            _ => request.topics.push(topic),
        }
    }
    denied
}

/// Takes the topics out of a transaction's commit that its sender may not read; gives their answers.
///
/// # Errors
/// Where it may not use the transactional id, or not read in the group.
pub(super) fn commit_in_transaction(
    context: &Context,
    access: &Access,
    request: &mut TxnOffsetCommitRequest,
) -> Result<Vec<k28::TxnOffsetCommitResponseTopic>, ErrorCode> {
    if !access.transactional_id(context, Operation::Write, &request.transactional_id) {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    if !access.group(context, Operation::Read, &request.group_id) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    let mut denied = Vec::new();
    for topic in std::mem::take(&mut request.topics) {
        if access.topic(context, Operation::Read, &topic.name) {
            request.topics.push(topic);
            continue;
        }
        let partitions = topic.partitions.iter().map(|partition| k28::TxnOffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: ErrorCode::TopicAuthorizationFailed.code(),
        });
        denied.push(k28::TxnOffsetCommitResponseTopic { partitions: partitions.collect(), name: topic.name });
    }
    Ok(denied)
}

/// Takes offsets out of an answer that its asker may not know of. Who asked for all is not told that there are more.
pub(super) fn fetched(
    context: &Context,
    access: &Access,
    request: &OffsetFetchRequest,
    response: &mut OffsetFetchResponse,
) {
    let describe = Operation::Describe;
    let may_describe = |name: &str| access.sees(context, describe, (ResourceType::Topic, name));
    for (asked, answer) in request.groups.iter().zip(&mut response.groups) {
        if !access.group(context, describe, &asked.group_id) {
            *answer = OffsetFetchResponseGroup {
                group_id: asked.group_id.clone(),
                error_code: ErrorCode::GroupAuthorizationFailed.code(),
                ..OffsetFetchResponseGroup::default()
            };
            continue;
        }
        let allowed = |name: &Str, id| name_of(context, name, id).is_none_or(|name| may_describe(&name));
        if asked.topics.is_none() {
            answer.topics.retain(|topic| allowed(&topic.name, topic.topic_id));
        }
        for topic in answer.topics.iter_mut().filter(|topic| !allowed(&topic.name, topic.topic_id)) {
            for partition in &mut topic.partitions {
                *partition = OffsetFetchResponsePartitions {
                    partition_index: partition.partition_index,
                    committed_offset: -1,
                    committed_leader_epoch: -1,
                    metadata: Some(Str::default()),
                    error_code: ErrorCode::TopicAuthorizationFailed.code(),
                };
            }
        }
    }
    if request.groups.is_empty() {
        let group_allowed = access.group(context, describe, &request.group_id);
        if request.topics.is_none() {
            response.topics.retain(|topic| group_allowed && may_describe(&topic.name));
        }
        for topic in &mut response.topics {
            let code = match (group_allowed, may_describe(&topic.name)) {
                (false, _) => ErrorCode::GroupAuthorizationFailed,
                (true, false) => ErrorCode::TopicAuthorizationFailed,
                (true, true) => continue,
            };
            for partition in &mut topic.partitions {
                (partition.committed_offset, partition.error_code) = (-1, code.code());
                partition.committed_leader_epoch = -1;
                partition.metadata = Some(Str::default());
            }
        }
        if !group_allowed {
            response.error_code = ErrorCode::GroupAuthorizationFailed.code();
        }
    }
}

/// Takes groups out of an answer that its asker may not know of, and says what it may do with the others.
pub(super) fn described(
    context: &Context,
    access: &Access,
    with_operations: bool,
    response: &mut DescribeGroupsResponse,
) {
    for group in &mut response.groups {
        if !access.group(context, Operation::Describe, &group.group_id) {
            *group = DescribedGroup {
                group_id: group.group_id.clone(),
                error_code: ErrorCode::GroupAuthorizationFailed.code(),
                ..DescribedGroup::default()
            };
            continue;
        }
        let resource = (ResourceType::Group, &*group.group_id);
        group.authorized_operations = access.operations(context, with_operations, resource);
    }
}

/// Takes groups out of a list that its asker may not know of.
pub(super) fn listed(context: &Context, access: &Access, response: &mut ListGroupsResponse) {
    let describe = Operation::Describe;
    if !access.sees(context, describe, (ResourceType::Cluster, CLUSTER_NAME)) {
        response
            .groups
            .retain(|group| access.sees(context, describe, (ResourceType::Group, &group.group_id)));
    }
}

/// Takes the groups out of a request that its sender may not delete; gives their answers.
pub(super) fn delete(
    context: &Context,
    access: &Access,
    request: &mut DeleteGroupsRequest,
) -> Vec<DeletableGroupResult> {
    let mut seen: HashMap<Str, bool> = HashMap::new();
    let mut denied = Vec::new();
    request.groups_names.retain(|name| {
        let first = !seen.contains_key(name);
        let allowed =
            *seen.entry(name.clone()).or_insert_with(|| access.group(context, Operation::Delete, name));
        if !allowed && first {
            let error_code = ErrorCode::GroupAuthorizationFailed.code();
            denied.push(DeletableGroupResult { group_id: name.clone(), error_code });
        }
        allowed
    });
    denied
}

/// Takes the topics out of a request whose offsets its sender may not delete; gives their answers.
pub(super) fn delete_offsets(
    context: &Context,
    access: &Access,
    request: &mut OffsetDeleteRequest,
) -> Vec<OffsetDeleteResponseTopic> {
    let mut denied = Vec::new();
    for topic in std::mem::take(&mut request.topics) {
        if access.topic(context, Operation::Read, &topic.name) {
            request.topics.push(topic);
            continue;
        }
        let partitions = topic.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
            partition_index: partition.partition_index,
            error_code: ErrorCode::TopicAuthorizationFailed.code(),
        });
        denied.push(OffsetDeleteResponseTopic { partitions: partitions.collect(), name: topic.name });
    }
    denied
}

/// Whether a member may take part in its group, and knows of the topics that it names.
pub(super) fn heartbeat(
    context: &Context,
    access: &Access,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<(), ErrorCode> {
    if !access.group(context, Operation::Read, &request.group_id) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    let mut topics = request.subscribed_topic_names.iter().flatten();
    match topics.all(|topic| access.topic(context, Operation::Describe, topic)) {
        true => Ok(()),
        false => Err(ErrorCode::TopicAuthorizationFailed),
    }
}

/// Takes groups out of an answer that its asker may not know of, or whose topics it may not know of, and says what it may
/// do with the others.
pub(super) fn consumer_groups(
    context: &Context,
    access: &Access,
    with_operations: bool,
    response: &mut ConsumerGroupDescribeResponse,
) {
    for group in &mut response.groups {
        let resource = (ResourceType::Group, &*group.group_id);
        let code = if !access.group(context, Operation::Describe, &group.group_id) {
            ErrorCode::GroupAuthorizationFailed
        } else if !knows_topics(context, access, group) {
            ErrorCode::TopicAuthorizationFailed
        } else {
            group.authorized_operations = access.operations(context, with_operations, resource);
            continue;
        };
        *group = k69::DescribedGroup {
            error_code: code.code(),
            error_message: Some(code.message().into()),
            group_id: group.group_id.clone(),
            ..k69::DescribedGroup::default()
        };
    }
}

fn knows_topics(context: &Context, access: &Access, group: &k69::DescribedGroup) -> bool {
    group.members.iter().all(|member| {
        let assigned = [&member.assignment, &member.target_assignment];
        let assigned = assigned.into_iter().flat_map(|assignment| &assignment.topic_partitions);
        let names = member.subscribed_topic_names.iter().chain(assigned.map(|topic| &topic.topic_name));
        names.into_iter().all(|name| access.sees(context, Operation::Describe, (ResourceType::Topic, name)))
    })
}
