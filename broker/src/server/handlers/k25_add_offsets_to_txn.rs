//! AddOffsetsToTxn (25): a transaction is going to commit a group's offsets (KIP-98). Versions 0 to 4: 2 knows
//! PRODUCER_FENCED (KIP-588), 4 TRANSACTION_ABORTABLE (KIP-890). It adds the group's partition of `__consumer_offsets`.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k25_add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::transactions::code_fenced_since;
use crate::controller::OFFSETS_TOPIC;
use crate::ids::{Producer, TopicPartition};
use crate::security::Operation;
use crate::transactions::{AddPartitions, TransactionVersion, TransactionalId};

const FENCED_VERSION_MIN: i16 = 2;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<AddOffsetsToTxnRequest>,
) -> AddOffsetsToTxnResponse {
    let version = call.version();
    let request = call.request;
    let denied = if !call.access.transactional_id(&context, Operation::Write, &request.transactional_id) {
        Some(ErrorCode::TransactionalIdAuthorizationFailed)
    } else if !call.access.group(&context, Operation::Read, &request.group_id) {
        Some(ErrorCode::GroupAuthorizationFailed)
    } else {
        None
    };
    if let Some(code) = denied {
        return AddOffsetsToTxnResponse { error_code: code.code(), ..Default::default() };
    }
    if context.offsets_log.make_topic().await.is_err() {
        return AddOffsetsToTxnResponse {
            error_code: ErrorCode::CoordinatorNotAvailable.code(),
            ..Default::default()
        };
    }
    let partition = TopicPartition::new(OFFSETS_TOPIC, context.groups.partition_for(&request.group_id));
    let added = context.transactions.add_partitions(AddPartitions {
        transactional_id: TransactionalId::from(&*request.transactional_id),
        producer: Producer { id: request.producer_id, epoch: request.producer_epoch },
        partitions: vec![partition],
        version: TransactionVersion::V1,
    });
    let error_code = code_fenced_since(&added.await, version, FENCED_VERSION_MIN).code();
    AddOffsetsToTxnResponse { error_code, ..Default::default() }
}
