//! TxnOffsetCommit (28): a group's offsets that count once the transaction is committed. Versions 0 to 5, as
//! `coordinator/api/k28_txn_offset_commit.rs` says. Before the group takes them the transaction's coordinator must agree
//! that the group's partition of `__consumer_offsets` is part of the transaction; from version 5 on this adds it
//! (KIP-890).

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::group_access;
use super::transactions::code;
use crate::controller::OFFSETS_TOPIC;
use crate::coordinator::GroupCoordinator;
use crate::ids::{Producer, TopicPartition};
use crate::transactions::{AddPartitions, TransactionError, TransactionVersion, TransactionalId};

const ABORTABLE_VERSION_MIN: i16 = 4;
const V2_VERSION_MIN: i16 = 5;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    mut call: Call<TxnOffsetCommitRequest>,
) -> TxnOffsetCommitResponse {
    let version = call.version();
    let denied = match group_access::commit_in_transaction(&context, &call.access, &mut call.request) {
        Ok(denied) => denied,
        Err(code) => return GroupCoordinator::refuse_txn_offsets(&call.request, code),
    };
    let request = &call.request;
    if request.topics.is_empty() && !denied.is_empty() {
        return TxnOffsetCommitResponse { topics: denied, ..TxnOffsetCommitResponse::default() };
    }
    if context.offsets_log.make_topic().await.is_err() {
        return GroupCoordinator::refuse_txn_offsets(request, ErrorCode::CoordinatorNotAvailable);
    }
    let is_v2 = version >= V2_VERSION_MIN;
    let partition = TopicPartition::new(OFFSETS_TOPIC, context.groups.partition_for(&request.group_id));
    let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
    let verification = context.groups.begin_verification(&request.group_id, producer);
    let begun = context.transaction_verifier.begin_in_partition(AddPartitions {
        transactional_id: TransactionalId::from(&*request.transactional_id),
        producer,
        partitions: vec![partition],
        version: if is_v2 { TransactionVersion::V2 } else { TransactionVersion::V1 },
    });
    let mut response = match begun.await {
        Ok(()) => context.groups.txn_offset_commit(request, &verification).await,
        Err(error) => GroupCoordinator::refuse_txn_offsets(request, refusal(error, version)),
    };
    response.topics.extend(denied);
    response
}

fn refusal(error: TransactionError, version: i16) -> ErrorCode {
    match error {
        TransactionError::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        TransactionError::TransactionAbortable if version < ABORTABLE_VERSION_MIN => {
            ErrorCode::InvalidTxnState
        }
        // What passes by itself: older clients know only that a coordinator loads.
        TransactionError::ConcurrentTransactions if version < V2_VERSION_MIN => {
            ErrorCode::CoordinatorLoadInProgress
        }
        error => code(error),
    }
}
