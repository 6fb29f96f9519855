//! InitProducerId (22): an id for an idempotent producer (KIP-98), or a higher epoch for one that lost track
//! (3, KIP-360). Versions 0 to 5. Transactional ids are refused: this release has no transactions.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k22_init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::security::{Operation, ResourceType};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<InitProducerIdRequest>,
) -> InitProducerIdResponse {
    let refused = |code: ErrorCode| InitProducerIdResponse {
        error_code: code.code(),
        producer_epoch: -1,
        ..Default::default()
    };
    let (write, any_topic) = (Operation::Write, ResourceType::Topic);
    // Whoever may write to some topic may do so idempotently (KIP-679).
    if call.request.transactional_id.is_none()
        && !call.access.any(&context, write, any_topic)
        && !call.access.cluster(&context, Operation::IdempotentWrite)
    {
        return refused(ErrorCode::ClusterAuthorizationFailed);
    }
    if call.request.transactional_id.is_some() {
        return refused(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    // Without a transaction a producer that asks again may as well begin anew: its old id is never used again.
    match context.next_producer_id().await {
        Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
        Err(error) => {
            tracing::error!(%error, "no producer id can be given");
            refused(ErrorCode::CoordinatorNotAvailable)
        }
    }
}
