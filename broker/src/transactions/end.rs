//! EndTxn, and the ends that come without one: the decision to commit or abort, then the markers, then it is complete.
//!
//! ```text
//!   version 1:  epoch 7  ── EndTxn ──▶  markers with epoch 7  ──▶  next transaction with epoch 7
//!   version 2:  epoch 7  ── EndTxn ──▶  markers with epoch 8  ──▶  next transaction with epoch 8
//! ```
//! So with version 2 what a delayed request of the last transaction brings is refused everywhere (KIP-890), and the
//! epoch tells a retry of EndTxn from the end of the next transaction.

use super::decide::{Decision, Effect, Markers, record};
use super::error::TransactionError;
use super::metadata::{EPOCH_LAST, NONE, TransactionMetadata, TransactionState, TransactionalId};
use super::request::{EndTransaction, Reply};
use crate::ids::Producer;
use crate::machine::{Now, ReplyId, WallMs};

/// What an EndTxn comes to.
enum Verdict {
    /// Decide so.
    Prepare,
    /// It was decided so before; say it again.
    DoneBefore,
}

pub(super) fn on_end_transaction(
    known: Option<&TransactionMetadata>,
    now: Now,
    reply: ReplyId,
    request: &EndTransaction,
) -> Decision {
    let answer = |answer| Decision::reply(reply, Reply::EndTransaction(answer));
    if request.transactional_id.as_str().is_empty() {
        return answer(Err(TransactionError::InvalidRequest));
    }
    let Some(current) = known else { return answer(Err(TransactionError::InvalidProducerIdMapping)) };
    let verdict = match request.version.bumps_epoch() {
        true => judge_v2(current, request),
        false => judge_v1(current, request),
    };
    match verdict {
        Err(error) => answer(Err(error)),
        Ok(Verdict::DoneBefore) => answer(Ok(current.producer)),
        Ok(Verdict::Prepare) => {
            let mut next = prepared(current, request.commit, now.wall);
            next.client_version = request.version;
            if request.version.bumps_epoch() {
                if current.is_exhausted() {
                    let Some(fresh) = request.fresh_producer_id else {
                        return answer(Err(TransactionError::ProducerIdNeeded));
                    };
                    next.next_producer_id = fresh;
                }
                next.last_epoch = current.producer.epoch;
                next.producer.epoch = current.producer.epoch.saturating_add(1);
            }
            let mut decision = answer(Ok(goes_on_as(&next)));
            decision.effects.push(Effect::WriteMarkers(markers(&request.transactional_id, &next)));
            decision.changes.push(record(&request.transactional_id, next));
            decision
        }
    }
}

fn judge_v1(current: &TransactionMetadata, request: &EndTransaction) -> Result<Verdict, TransactionError> {
    if request.producer.id != current.producer.id {
        return Err(TransactionError::InvalidProducerIdMapping);
    }
    if request.producer.epoch != current.producer.epoch {
        return Err(TransactionError::ProducerFenced);
    }
    match (current.state, request.commit) {
        (TransactionState::Ongoing, _) => Ok(Verdict::Prepare),
        (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
            Ok(Verdict::DoneBefore)
        }
        (TransactionState::PrepareCommit, true) | (TransactionState::PrepareAbort, false) => {
            Err(TransactionError::ConcurrentTransactions)
        }
        _ => Err(TransactionError::InvalidTxnState),
    }
}

fn judge_v2(current: &TransactionMetadata, request: &EndTransaction) -> Result<Verdict, TransactionError> {
    let asks = request.producer;
    let is_retry_after_rotation =
        current.previous_producer_id == asks.id && asks.epoch == EPOCH_LAST && current.producer.epoch == 0;
    let is_retry_after_bump = asks.epoch.checked_add(1) == Some(current.producer.epoch);
    let is_retry = is_retry_after_bump || is_retry_after_rotation;
    if asks.id != current.producer.id && !is_retry_after_rotation {
        // What comes with the next id while the last transaction is being completed has only to wait.
        return Err(match current.state.is_prepared() && asks == goes_on_as(current) {
            true => TransactionError::ConcurrentTransactions,
            false => TransactionError::InvalidProducerIdMapping,
        });
    }
    let is_current = asks.epoch == current.producer.epoch;
    match current.state {
        TransactionState::Ongoing if is_current => Ok(Verdict::Prepare),
        // There may be nothing in a transaction that is aborted; that it is lets the producer bump its epoch.
        TransactionState::Empty if is_current && !request.commit => Ok(Verdict::Prepare),
        TransactionState::Empty if is_current => Err(TransactionError::InvalidTxnState),
        TransactionState::PrepareCommit if is_retry && request.commit => {
            Err(TransactionError::ConcurrentTransactions)
        }
        TransactionState::PrepareAbort if is_retry && !request.commit => {
            Err(TransactionError::ConcurrentTransactions)
        }
        TransactionState::PrepareCommit | TransactionState::PrepareAbort if is_retry => {
            Err(TransactionError::InvalidTxnState)
        }
        // Already the next transaction's, which has only to wait.
        TransactionState::PrepareCommit | TransactionState::PrepareAbort if is_current => {
            Err(TransactionError::ConcurrentTransactions)
        }
        TransactionState::CompleteCommit if is_retry && request.commit => Ok(Verdict::DoneBefore),
        TransactionState::CompleteCommit if is_retry => Err(TransactionError::InvalidTxnState),
        TransactionState::CompleteAbort if is_retry && !request.commit => Ok(Verdict::DoneBefore),
        // The commit came too late: the coordinator has aborted.
        TransactionState::CompleteAbort if is_retry => Err(TransactionError::InvalidTxnState),
        TransactionState::CompleteCommit | TransactionState::CompleteAbort if is_current => {
            match request.commit {
                true => Err(TransactionError::InvalidTxnState),
                false => Ok(Verdict::Prepare),
            }
        }
        _ => Err(TransactionError::ProducerFenced),
    }
}

/// An ongoing transaction that its producer may not end any more: it took too long, or a newer producer has come. The
/// bump of the epoch fences it.
pub(super) fn abort_by_coordinator(
    transactional_id: &TransactionalId,
    current: &TransactionMetadata,
    now: WallMs,
) -> Decision {
    let mut next = prepared(current, false, now);
    next.producer.epoch = current.producer.epoch.saturating_add(1);
    // By it the producer that took too long can ask for the new epoch and go on (KIP-588). Where a newer one has come that
    // one gets an epoch of its own next, which leaves none.
    next.last_epoch = current.producer.epoch;
    let mut decision = Decision::default();
    decision.effects.push(Effect::WriteMarkers(markers(transactional_id, &next)));
    decision.changes.push(record(transactional_id, next));
    decision
}

/// Every partition has its marker.
pub(super) fn on_markers_written(
    known: Option<&TransactionMetadata>,
    now: Now,
    transactional_id: &TransactionalId,
    producer: Producer,
) -> Decision {
    let mut decision = Decision::default();
    // The markers may have been sent twice, before and after the coordinator's log was read again.
    let Some(current) = known.filter(|known| known.state.is_prepared() && known.producer == producer) else {
        return decision;
    };
    let state = match current.state {
        TransactionState::PrepareCommit => TransactionState::CompleteCommit,
        _ => TransactionState::CompleteAbort,
    };
    let mut next = current.changed(state, now.wall);
    next.producer = goes_on_as(current);
    next.next_producer_id = NONE;
    next.partitions.clear();
    decision.changes.push(record(transactional_id, next));
    decision
}

/// What is to be written for a prepared transaction.
pub(super) fn markers(transactional_id: &TransactionalId, prepared: &TransactionMetadata) -> Markers {
    Markers {
        transactional_id: transactional_id.clone(),
        producer: prepared.producer,
        commit: prepared.state == TransactionState::PrepareCommit,
        partitions: prepared.partitions.iter().cloned().collect(),
    }
}

fn prepared(current: &TransactionMetadata, commit: bool, now: WallMs) -> TransactionMetadata {
    let state = if commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
    let mut next = current.changed(state, now);
    if current.state != TransactionState::Ongoing {
        next.started_at = now;
    }
    next
}

/// Who the producer is in the transaction after a prepared one.
fn goes_on_as(prepared: &TransactionMetadata) -> Producer {
    match prepared.next_producer_id {
        NONE => prepared.producer,
        id => Producer { id, epoch: 0 },
    }
}
