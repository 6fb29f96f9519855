//! AlterPartitionReassignments (45): gives partitions other replicas (KIP-455). Versions 0 and 1. The one broker there
//! is has them all: asking for it changes nothing, and there is no other to ask for.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k45_alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::TopicImage;
use crate::ids::NodeId;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<AlterPartitionReassignmentsRequest>,
) -> AlterPartitionReassignmentsResponse {
    let (image, node_id) = (context.image(), context.node_id());
    let responses = call.request.topics.iter().map(|topic| {
        let found = image.topic(&topic.name).map(|topic| &**topic);
        let partitions = topic.partitions.iter().map(|wanted| reassign(found, node_id, wanted));
        ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: call.request.allow_replication_factor_change,
        responses: responses.collect(),
        ..AlterPartitionReassignmentsResponse::default()
    }
}

fn reassign(
    topic: Option<&TopicImage>,
    node_id: NodeId,
    wanted: &ReassignablePartition,
) -> ReassignablePartitionResponse {
    let exists = topic.is_some_and(|topic| {
        usize::try_from(wanted.partition_index).is_ok_and(|number| number < topic.partitions.len())
    });
    let invalid = ErrorCode::InvalidReplicaAssignment;
    let (code, message) = match wanted.replicas.as_deref() {
        _ if !exists => (ErrorCode::UnknownTopicOrPartition, "Unable to find the partition.".to_owned()),
        None => (ErrorCode::NoReassignmentInProgress, "No reassignment is in progress.".to_owned()),
        Some([]) => (invalid, "The manual partition assignment includes an empty replica list.".to_owned()),
        Some([replica]) if *replica == node_id.0 => (ErrorCode::None, String::new()),
        Some(replicas) => match replicas.iter().find(|replica| **replica != node_id.0) {
            Some(unknown) => (invalid, format!("No broker {unknown} is registered.")),
            None => (invalid, "The manual partition assignment includes a broker twice.".to_owned()),
        },
    };
    ReassignablePartitionResponse {
        partition_index: wanted.partition_index,
        error_code: code.code(),
        error_message: (code != ErrorCode::None).then(|| message.into()),
    }
}

pub(in super::super) fn refused(
    _: &AlterPartitionReassignmentsRequest,
    code: ErrorCode,
) -> AlterPartitionReassignmentsResponse {
    AlterPartitionReassignmentsResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..AlterPartitionReassignmentsResponse::default()
    }
}
