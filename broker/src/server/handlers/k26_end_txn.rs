//! EndTxn (26): commits or aborts a producer's transaction (KIP-98). Versions 0 to 5: 2 knows PRODUCER_FENCED (KIP-588),
//! 4 TRANSACTION_ABORTABLE, 5 answers with the id and epoch of the next transaction (KIP-890). Answered when the outcome is
//! durable; the markers follow.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k26_end_txn::{EndTxnRequest, EndTxnResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::transactions::code_fenced_since;
use crate::ids::Producer;
use crate::security::Operation;
use crate::transactions::{EndTransaction, TransactionVersion, TransactionalId};

const FENCED_VERSION_MIN: i16 = 2;
const V2_VERSION_MIN: i16 = 5;

pub(in super::super) async fn handle(context: Arc<Context>, call: Call<EndTxnRequest>) -> EndTxnResponse {
    let version = call.version();
    let request = call.request;
    if !call.access.transactional_id(&context, Operation::Write, &request.transactional_id) {
        let error_code = ErrorCode::TransactionalIdAuthorizationFailed.code();
        return EndTxnResponse { error_code, ..Default::default() };
    }
    let is_v2 = version >= V2_VERSION_MIN;
    let ended = context.transactions.end_transaction(EndTransaction {
        transactional_id: TransactionalId::from(&*request.transactional_id),
        producer: Producer { id: request.producer_id, epoch: request.producer_epoch },
        commit: request.committed,
        version: if is_v2 { TransactionVersion::V2 } else { TransactionVersion::V1 },
        fresh_producer_id: None,
    });
    let ended = ended.await;
    let mut response = EndTxnResponse {
        error_code: code_fenced_since(&ended, version, FENCED_VERSION_MIN).code(),
        ..Default::default()
    };
    if let Ok(producer) = ended
        && is_v2
    {
        response.producer_id = producer.id;
        response.producer_epoch = producer.epoch;
    }
    response
}
