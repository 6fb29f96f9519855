//! DescribeQuorum (55): who leads and who follows the metadata log (KIP-595). Versions 0 to 2. The quorum is this node.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k55_describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, DescribedQuorum, DescribedQuorumTopic, Listener, Node,
    ReplicaState,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::METADATA_TOPIC;
use crate::partition::now_ms;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeQuorumRequest>,
) -> DescribeQuorumResponse {
    let version = call.version();
    let is_metadata_log = match call.request.topics.as_slice() {
        [topic] => {
            *topic.topic_name == *METADATA_TOPIC
                && matches!(topic.partitions.as_slice(), [partition] if partition.partition_index == 0)
        }
        _ => false,
    };
    if !is_metadata_log {
        return DescribeQuorumResponse {
            error_code: ErrorCode::UnknownTopicOrPartition.code(),
            ..DescribeQuorumResponse::default()
        };
    }
    let (log, now) = (context.controller.log(), now_ms());
    let voter = ReplicaState {
        replica_id: context.node_id().0,
        // Versions before 2 cannot say it.
        replica_directory_id: match version {
            2.. => context.partitions.log_dirs().metadata().directory_id,
            _ => Default::default(),
        },
        log_end_offset: log.log().log_end().0,
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
    };
    let quorum = DescribedQuorum {
        partition_index: 0,
        leader_id: context.node_id().0,
        leader_epoch: 0,
        high_watermark: log.high_watermark().0,
        current_voters: vec![voter],
        ..DescribedQuorum::default()
    };
    let listener = Listener {
        name: "PLAINTEXT".into(),
        host: call.peer.endpoint.host.clone(),
        port: u16::try_from(call.peer.endpoint.port).unwrap_or_default(),
    };
    let node = Node { node_id: context.node_id().0, listeners: vec![listener] };
    DescribeQuorumResponse {
        topics: vec![DescribedQuorumTopic { topic_name: METADATA_TOPIC.into(), partitions: vec![quorum] }],
        nodes: if version >= 2 { vec![node] } else { Vec::new() },
        ..DescribeQuorumResponse::default()
    }
}

pub(in super::super) fn refused(_: &DescribeQuorumRequest, code: ErrorCode) -> DescribeQuorumResponse {
    DescribeQuorumResponse { error_code: code.code(), ..DescribeQuorumResponse::default() }
}
