//! InitProducerId (22): an id for an idempotent producer (KIP-98), or the id and epoch of a transactional one, which
//! fences whoever had them. Versions 0 to 5: 3 asks for a higher epoch of one's own (KIP-360), 4 knows PRODUCER_FENCED
//! (KIP-588), 5 TRANSACTION_ABORTABLE (KIP-890).

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k22_init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::transactions::code_fenced_since;
use crate::ids::Producer;
use crate::security::{Operation, ResourceType};
use crate::transactions::{InitProducerId, TransactionalId};

const FENCED_VERSION_MIN: i16 = 4;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<InitProducerIdRequest>,
) -> InitProducerIdResponse {
    let version = call.version();
    let request = call.request;
    let refused = |code: ErrorCode| InitProducerIdResponse {
        error_code: code.code(),
        producer_epoch: -1,
        ..Default::default()
    };
    let (write, any_topic) = (Operation::Write, ResourceType::Topic);
    // Whoever may write to some topic may do so idempotently (KIP-679).
    if request.transactional_id.is_none()
        && !call.access.any(&context, write, any_topic)
        && !call.access.cluster(&context, Operation::IdempotentWrite)
    {
        return refused(ErrorCode::ClusterAuthorizationFailed);
    }
    let granted = |producer: Producer| InitProducerIdResponse {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        ..Default::default()
    };
    let expected = Producer { id: request.producer_id, epoch: request.producer_epoch };
    if (expected.id < 0) != (expected.epoch < 0) {
        return refused(ErrorCode::InvalidRequest);
    }
    let Some(transactional_id) = request.transactional_id else {
        // Without a transaction a producer that asks again may as well begin anew: its old id is never used again.
        return match context.producer_ids.next_id().await {
            Ok(id) => granted(Producer { id, epoch: 0 }),
            Err(error) => {
                tracing::error!(%error, "no producer id can be given");
                refused(ErrorCode::CoordinatorNotAvailable)
            }
        };
    };
    if !call.access.transactional_id(&context, write, &transactional_id) {
        return refused(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let answer = context.transactions.init_producer_id(InitProducerId {
        transactional_id: TransactionalId::from(&*transactional_id),
        timeout: Duration::from_millis(u64::try_from(request.transaction_timeout_ms).unwrap_or(0)),
        expected: (expected.id >= 0).then_some(expected),
        fresh_producer_id: None,
    });
    let answer = answer.await;
    match answer {
        Ok(producer) => granted(producer),
        Err(_) => refused(code_fenced_since(&answer, version, FENCED_VERSION_MIN)),
    }
}
