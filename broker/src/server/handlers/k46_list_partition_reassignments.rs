//! ListPartitionReassignments (46): the reassignments under way (KIP-455). Version 0.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k46_list_partition_reassignments::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use ottla_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::TopicImage;
use crate::ids::NodeId;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<ListPartitionReassignmentsRequest>,
) -> ListPartitionReassignmentsResponse {
    let image = context.image();
    let topics: Vec<OngoingTopicReassignment> = match call.request.topics {
        None => image.topics().filter_map(|topic| under_way(topic, None)).collect(),
        Some(wanted) => {
            let asked = |wanted: &str| image.topic(wanted);
            let found = wanted
                .iter()
                .filter_map(|topic| under_way(asked(&topic.name)?, Some(topic.partition_indexes.as_slice())));
            found.collect()
        }
    };
    ListPartitionReassignmentsResponse { topics, ..ListPartitionReassignmentsResponse::default() }
}

/// What is under way of a topic, of all or only of some of its partitions.
fn under_way(topic: &TopicImage, wanted: Option<&[i32]>) -> Option<OngoingTopicReassignment> {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    let is_wanted = |number: i32| wanted.is_none_or(|wanted| wanted.contains(&number));
    let partitions = (0i32..).zip(&topic.partitions);
    let moved = partitions.filter(|(number, partition)| partition.is_reassigned() && is_wanted(*number));
    let partitions: Vec<_> = moved
        .map(|(number, partition)| OngoingPartitionReassignment {
            partition_index: number,
            replicas: ids(&partition.replicas),
            adding_replicas: ids(&partition.adding_replicas),
            removing_replicas: ids(&partition.removing_replicas),
        })
        .collect();
    (!partitions.is_empty())
        .then(|| OngoingTopicReassignment { name: topic.name.as_str().into(), partitions })
}

pub(in super::super) fn refused(
    _: &ListPartitionReassignmentsRequest,
    code: ErrorCode,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..ListPartitionReassignmentsResponse::default()
    }
}
