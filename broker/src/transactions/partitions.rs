//! AddPartitionsToTxn: where a transaction is going to write, so that its end reaches everything it wrote.

use super::decide::{Decision, record};
use super::error::TransactionError;
use super::metadata::{TransactionMetadata, TransactionState};
use super::request::{AddPartitions, Reply};
use crate::ids::Producer;
use crate::machine::{Now, ReplyId};

pub(super) fn on_add_partitions(
    known: Option<&TransactionMetadata>,
    now: Now,
    reply: ReplyId,
    request: &AddPartitions,
) -> Decision {
    let current = match check(known, request) {
        Err(error) => return Decision::reply(reply, Reply::AddPartitions(Err(error))),
        Ok(current) => current,
    };
    let mut decision = Decision::reply(reply, Reply::AddPartitions(Ok(())));
    let is_ongoing = current.state == TransactionState::Ongoing;
    let is_known = request.partitions.iter().all(|partition| current.partitions.contains(partition));
    // Nothing to add is nothing to begin.
    if (is_ongoing && is_known) || request.partitions.is_empty() {
        return decision;
    }
    let mut next = current.changed(TransactionState::Ongoing, now.wall);
    if !is_ongoing {
        next.started_at = now.wall;
    }
    next.partitions.extend(request.partitions.iter().cloned());
    next.client_version = request.version;
    decision.changes.push(record(&request.transactional_id, next));
    decision
}

pub(super) fn on_verify_partitions(
    known: Option<&TransactionMetadata>,
    reply: ReplyId,
    request: &AddPartitions,
) -> Decision {
    let answer = check(known, request).map(|current| {
        let verified =
            request.partitions.iter().map(|partition| match current.partitions.contains(partition) {
                true => Ok(()),
                false => Err(TransactionError::TransactionAbortable),
            });
        verified.collect()
    });
    Decision::reply(reply, Reply::VerifyPartitions(answer))
}

fn check<'a>(
    known: Option<&'a TransactionMetadata>,
    request: &AddPartitions,
) -> Result<&'a TransactionMetadata, TransactionError> {
    if request.transactional_id.as_str().is_empty() {
        return Err(TransactionError::InvalidRequest);
    }
    let current = known.ok_or(TransactionError::InvalidProducerIdMapping)?;
    // Who has been told of its next id may use it before the last transaction is complete; then it only has to wait.
    let next = Producer { id: current.next_producer_id, epoch: 0 };
    if current.state.is_prepared() && request.producer == next {
        return Err(TransactionError::ConcurrentTransactions);
    }
    if request.producer.id != current.producer.id {
        return Err(TransactionError::InvalidProducerIdMapping);
    }
    if request.producer.epoch != current.producer.epoch {
        return Err(TransactionError::ProducerFenced);
    }
    if current.state.is_prepared() {
        return Err(TransactionError::ConcurrentTransactions);
    }
    Ok(current)
}
