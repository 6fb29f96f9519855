//! InitProducerId: a producer takes a transactional id. Whoever had it before is fenced, and its transaction aborted.

use super::config::TransactionConfig;
use super::decide::{Decision, record};
use super::end::abort_by_coordinator;
use super::error::TransactionError;
use super::metadata::{EPOCH_LAST, NO_EPOCH, NONE, TransactionMetadata, TransactionState};
use super::request::{InitProducerId, Reply};
use crate::ids::Producer;
use crate::machine::{Now, ReplyId, WallMs};

pub(super) fn on_init_producer_id(
    known: Option<&TransactionMetadata>,
    config: &TransactionConfig,
    now: Now,
    reply: ReplyId,
    request: &InitProducerId,
) -> Decision {
    let refused = |error| Decision::reply(reply, Reply::InitProducerId(Err(error)));
    if request.transactional_id.as_str().is_empty() {
        return refused(TransactionError::InvalidRequest);
    }
    if request.timeout.is_zero() || request.timeout > config.timeout_max {
        return refused(TransactionError::InvalidTransactionTimeout);
    }
    let new;
    let current = match (known, request.fresh_producer_id) {
        (Some(known), _) => known,
        (None, Some(fresh)) => {
            new = TransactionMetadata::new(fresh, now.wall);
            &new
        }
        (None, None) => return refused(TransactionError::ProducerIdNeeded),
    };
    if !request.expected.is_none_or(|expected| may_be_asking(current, expected)) {
        return refused(TransactionError::ProducerFenced);
    }
    match current.state {
        TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
            refused(TransactionError::ConcurrentTransactions)
        }
        // The producer asks again until the abort is complete, and gets its epoch then.
        TransactionState::Ongoing => {
            let mut decision = abort_by_coordinator(&request.transactional_id, current, now.wall);
            let answer = Reply::InitProducerId(Err(TransactionError::ConcurrentTransactions));
            decision.replies.push((reply, answer));
            decision
        }
        _ => match next(current, request, now.wall) {
            Err(error) => refused(error),
            Ok(next) => {
                let answer = Reply::InitProducerId(Ok(next.producer));
                let mut decision = Decision::reply(reply, answer);
                decision.changes.push(record(&request.transactional_id, next));
                decision
            }
        },
    }
}

/// Whether a producer that says who it is may be the one that has the id: by its present id, or by one whose epochs
/// were just used up.
fn may_be_asking(current: &TransactionMetadata, expected: Producer) -> bool {
    current.producer.epoch == NO_EPOCH
        || expected.id == current.producer.id
        || (expected.id == current.previous_producer_id && expected.epoch >= EPOCH_LAST)
}

/// The id as its next producer has it.
fn next(
    current: &TransactionMetadata,
    request: &InitProducerId,
    now: WallMs,
) -> Result<TransactionMetadata, TransactionError> {
    let next = TransactionMetadata {
        timeout: request.timeout,
        started_at: WallMs(NONE),
        ..current.changed(TransactionState::Empty, now)
    };
    let is_expected = request.expected.is_none_or(|expected| expected.epoch == current.producer.epoch);
    if current.is_exhausted() && is_expected {
        let id = request.fresh_producer_id.ok_or(TransactionError::ProducerIdNeeded)?;
        let last_epoch = request.expected.map_or(NO_EPOCH, |_| current.producer.epoch);
        return Ok(TransactionMetadata { producer: Producer { id, epoch: 0 }, last_epoch, ..next });
    }
    let bumped = Producer { epoch: current.producer.epoch.saturating_add(1), ..current.producer };
    match request.expected {
        // Nobody else can have got this epoch: a newer producer would have left no last epoch.
        None => Ok(TransactionMetadata { producer: bumped, last_epoch: NO_EPOCH, ..next }),
        Some(expected) if current.producer.epoch == NO_EPOCH || expected.epoch == current.producer.epoch => {
            Ok(TransactionMetadata { producer: bumped, last_epoch: current.producer.epoch, ..next })
        }
        // The answer to the same question was lost.
        Some(expected) if expected.epoch == current.last_epoch => Ok(next),
        Some(_) => Err(TransactionError::ProducerFenced),
    }
}
