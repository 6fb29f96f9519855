//! DescribeCluster (60): cluster id, controller and brokers (KIP-700). Versions 0 to 2; 1 can ask for controllers
//! (KIP-919), which only a controller's own listener answers.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k60_describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::security::ResourceType;
use crate::security::acl::CLUSTER_NAME;

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
    let with_fenced = call.request.include_fenced_brokers;
    let brokers = context.reachable_brokers(&call.peer.endpoint).into_iter();
    let brokers =
        brokers.filter(|broker| with_fenced || !broker.is_fenced).map(|broker| DescribeClusterBroker {
            broker_id: broker.id.0,
            host: broker.host,
            port: broker.port,
            rack: broker.rack,
            is_fenced: broker.is_fenced,
        });
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: context.cluster_id.clone(),
        controller_id: context.controller_id(),
        brokers: brokers.collect(),
        cluster_authorized_operations: call.access.operations(
            &context,
            call.request.include_cluster_authorized_operations,
            (ResourceType::Cluster, CLUSTER_NAME),
        ),
        ..DescribeClusterResponse::default()
    }
}
