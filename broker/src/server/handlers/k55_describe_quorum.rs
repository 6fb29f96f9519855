//! DescribeQuorum (55): who leads and who follows the metadata log (KIP-595). Versions 0 to 2. What only the leader knows is
//! asked of it.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k55_describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::quorum::describe;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeQuorumRequest>,
) -> DescribeQuorumResponse {
    let (version, quorum) = (call.version(), context.controller.log());
    if quorum.state().leads_from.is_none()
        && let Some(answer) = quorum.ask_leader(&call.request, version).await
    {
        return answer;
    }
    let mut answer = describe::quorum(quorum, &call.request, version).await;
    // A node that is alone has no listener for other controllers.
    if version >= 2 && answer.error_code == 0 && answer.nodes.is_empty() {
        let listener = Listener {
            name: "PLAINTEXT".into(),
            host: call.peer.endpoint.host.clone(),
            port: u16::try_from(call.peer.endpoint.port).unwrap_or_default(),
        };
        answer.nodes = vec![Node { node_id: context.node_id().0, listeners: vec![listener] }];
    }
    answer
}

pub(in super::super) fn refused(_: &DescribeQuorumRequest, code: ErrorCode) -> DescribeQuorumResponse {
    DescribeQuorumResponse { error_code: code.code(), ..DescribeQuorumResponse::default() }
}
