//! FindCoordinator (10): which broker coordinates a group or a transactional id. Versions 0 to 6; several keys at once (4)
//! are KIP-699. Share groups have no coordinator in this release, which is said as such.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k10_find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use ottla_protocol::wire::Str;

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::security::Operation;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const KEYS_VERSION_MIN: i16 = 4;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<FindCoordinatorRequest>,
) -> FindCoordinatorResponse {
    let version = call.version();
    let request = call.request;
    let ready = match request.key_type {
        GROUP => context
            .offsets_log
            .make_topic()
            .await
            .map_err(|refusal| (ErrorCode::CoordinatorNotAvailable, refusal.message)),
        TRANSACTION => context
            .transactions_log
            .make_topic()
            .await
            .map_err(|refusal| (ErrorCode::CoordinatorNotAvailable, refusal.message)),
        _ => {
            let message = "only groups and transactions have a coordinator in this release";
            Err((ErrorCode::InvalidRequest, message.to_owned()))
        }
    };
    let may_know = |key: &str| match request.key_type {
        GROUP => call.access.group(&context, Operation::Describe, key),
        _ => call.access.transactional_id(&context, Operation::Describe, key),
    };
    let denied = match request.key_type {
        GROUP => ErrorCode::GroupAuthorizationFailed,
        _ => ErrorCode::TransactionalIdAuthorizationFailed,
    };
    let brokers = context.reachable_brokers(&call.peer.endpoint);
    let log = if request.key_type == GROUP { &context.offsets_log } else { &context.transactions_log };
    let answer = |key: Str| {
        let allowed = may_know(&key);
        let mut coordinator = Coordinator { key, node_id: -1, port: -1, ..Coordinator::default() };
        match &ready {
            _ if !allowed => {
                coordinator.error_code = denied.code();
                coordinator.error_message = Some(denied.message().into());
            }
            Ok(()) => match brokers.iter().find(|broker| Some(broker.id) == log.leader_for(&coordinator.key))
            {
                Some(broker) => {
                    coordinator.node_id = broker.id.0;
                    coordinator.host = broker.host.clone();
                    coordinator.port = broker.port;
                }
                None => coordinator.error_code = ErrorCode::CoordinatorNotAvailable.code(),
            },
            Err((code, message)) => {
                coordinator.error_code = code.code();
                coordinator.error_message = Some(message.as_str().into());
            }
        }
        coordinator
    };
    if version >= KEYS_VERSION_MIN {
        let coordinators = request.coordinator_keys.into_iter().map(answer).collect();
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let only = answer(request.key);
    FindCoordinatorResponse {
        error_code: only.error_code,
        error_message: only.error_message,
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        ..FindCoordinatorResponse::default()
    }
}
