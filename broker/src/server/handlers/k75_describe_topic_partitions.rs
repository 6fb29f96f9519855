//! DescribeTopicPartitions (75): partitions of topics in pages, so that a large cluster does not answer all at once
//! (KIP-966). Version 0.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k75_describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{ClusterImage, PartitionImage, is_internal};
use crate::ids::NodeId;
use crate::security::{Operation, ResourceType};

/// `max.request.partition.size.limit`.
const PARTITIONS_PER_PAGE_MAX: usize = 2000;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeTopicPartitionsRequest>,
) -> DescribeTopicPartitionsResponse {
    let (image, access) = (context.image(), &call.access);
    let sees = |name: &&str| access.sees(&context, Operation::Describe, (ResourceType::Topic, *name));
    let mut names: BTreeSet<&str> = match call.request.topics.as_slice() {
        [] => image.topics().map(|topic| topic.name.as_str()).filter(sees).collect(),
        topics => topics.iter().map(|topic| &*topic.name).collect(),
    };
    let mut from = 0;
    if let Some(cursor) = &call.request.cursor {
        names = names.split_off(&*cursor.topic_name);
        if names.first() == Some(&&*cursor.topic_name) {
            from = usize::try_from(cursor.partition_index).unwrap_or(0);
        }
    }
    let limit = usize::try_from(call.request.response_partition_limit).unwrap_or(0);
    let mut response = page(&image, names, from, limit.clamp(1, PARTITIONS_PER_PAGE_MAX));
    for topic in &mut response.topics {
        let name = topic.name.clone().unwrap_or_default();
        if !access.topic(&context, Operation::Describe, &name) {
            *topic = DescribeTopicPartitionsResponseTopic {
                error_code: ErrorCode::TopicAuthorizationFailed.code(),
                name: Some(name),
                ..DescribeTopicPartitionsResponseTopic::default()
            };
        }
        topic.topic_authorized_operations = match ErrorCode::from_code(topic.error_code) {
            ErrorCode::None => access.operations(
                &context,
                true,
                (ResourceType::Topic, topic.name.as_deref().unwrap_or_default()),
            ),
            _ => i32::MIN,
        };
    }
    response
}

/// The partitions of these topics, of the first one from number `from` on, until there are `limit` of them.
fn page(
    image: &ClusterImage,
    names: BTreeSet<&str>,
    mut from: usize,
    limit: usize,
) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default();
    let mut room = limit;
    for name in names {
        let first = std::mem::take(&mut from);
        let cursor =
            |partition: usize| Some(Cursor { topic_name: name.into(), partition_index: partition as i32 });
        if room == 0 {
            response.next_cursor = cursor(first);
            break;
        }
        let mut described = DescribeTopicPartitionsResponseTopic {
            name: Some(name.into()),
            ..DescribeTopicPartitionsResponseTopic::default()
        };
        let Some(topic) = image.topic(name) else {
            described.error_code = ErrorCode::UnknownTopicOrPartition.code();
            response.topics.push(described);
            continue;
        };
        described.topic_id = topic.id;
        described.is_internal = is_internal(name);
        let partitions = topic.partitions.iter().enumerate().skip(first).take(room);
        described.partitions =
            partitions.map(|(number, partition)| describe(image, number, partition)).collect();
        let next = first + described.partitions.len();
        room -= described.partitions.len();
        response.topics.push(described);
        if next < topic.partitions.len() {
            response.next_cursor = cursor(next);
            break;
        }
    }
    response
}

fn describe(
    image: &ClusterImage,
    number: usize,
    partition: &PartitionImage,
) -> DescribeTopicPartitionsResponsePartition {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let code = if partition.leader.is_none() { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
    DescribeTopicPartitionsResponsePartition {
        error_code: code.code(),
        partition_index: number as i32,
        leader_id: partition.leader.map_or(-1, |leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: ids(&partition.replicas),
        isr_nodes: ids(&partition.isr),
        eligible_leader_replicas: Some(ids(&partition.eligible_leader_replicas)),
        last_known_elr: Some(ids(&partition.last_known_elr)),
        offline_replicas: ids(&image.offline_replicas(partition)),
    }
}
