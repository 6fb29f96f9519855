//! DescribeCluster (60): cluster id, controller and brokers (KIP-700). Versions 0 to 2; 1 can ask for controllers
//! (KIP-919), which only a controller's own listener answers.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k60_describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::OPERATIONS_UNKNOWN;

const BROKERS: i8 = 1;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeClusterRequest>,
) -> DescribeClusterResponse {
    if call.request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType.code(),
            error_message: Some("this listener is a broker's".into()),
            endpoint_type: BROKERS,
            ..DescribeClusterResponse::default()
        };
    }
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: context.cluster_id.clone(),
        controller_id: context.node_id().0,
        brokers: vec![DescribeClusterBroker {
            broker_id: context.node_id().0,
            host: context.host.clone(),
            port: context.port,
            rack: None,
            is_fenced: false,
        }],
        cluster_authorized_operations: OPERATIONS_UNKNOWN,
        ..DescribeClusterResponse::default()
    }
}
