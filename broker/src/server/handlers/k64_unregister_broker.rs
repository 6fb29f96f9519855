//! UnregisterBroker (64): forgets a broker that will not come back (KIP-631). Version 0. One that is there registers anew.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::ids::NodeId;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<UnregisterBrokerRequest>,
) -> UnregisterBrokerResponse {
    let answer = context.controller.unregister_broker(NodeId(call.request.broker_id)).await;
    let refusal = answer.err();
    UnregisterBrokerResponse {
        error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.code).code(),
        error_message: refusal.map(|refusal| refusal.message.into()),
        ..UnregisterBrokerResponse::default()
    }
}

pub(in super::super) fn refused(_: &UnregisterBrokerRequest, code: ErrorCode) -> UnregisterBrokerResponse {
    UnregisterBrokerResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..UnregisterBrokerResponse::default()
    }
}
