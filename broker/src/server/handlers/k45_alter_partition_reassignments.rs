//! AlterPartitionReassignments (45): gives partitions other replicas, or stops doing so (KIP-455). Versions 0 and 1; from 1 on a client can
//! forbid that there are more or fewer than before (KIP-860).

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k45_alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::Reassign;
use crate::ids::NodeId;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<AlterPartitionReassignmentsRequest>,
) -> AlterPartitionReassignmentsResponse {
    let request = call.request;
    let may_change_count = request.allow_replication_factor_change;
    let wanted = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| Reassign {
            topic: topic.name.to_string(),
            partition: partition.partition_index,
            replicas: (partition.replicas.as_ref())
                .map(|replicas| replicas.iter().copied().map(NodeId).collect()),
            may_change_count,
        })
    });
    let mut answers = context.controller.reassign_partitions(wanted.collect()).await.into_iter();
    let responses = request.topics.iter().map(|topic| {
        let mut answer = |partition_index: i32| {
            let refusal = answers.next().and_then(Result::err);
            ReassignablePartitionResponse {
                partition_index,
                error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.code).code(),
                error_message: refusal.map(|refusal| refusal.message.into()),
            }
        };
        let partitions = topic.partitions.iter().map(|partition| answer(partition.partition_index));
        ReassignableTopicResponse { partitions: partitions.collect(), name: topic.name.clone() }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: may_change_count,
        responses: responses.collect(),
        ..AlterPartitionReassignmentsResponse::default()
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
