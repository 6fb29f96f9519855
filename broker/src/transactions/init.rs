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
    // The epoch that fences is nobody's: who may go on behind it gets another id.
    let is_behind_fence = |epoch| current.producer.epoch == i16::MAX && epoch == current.last_epoch;
    let is_expected = request
        .expected
        .is_none_or(|expected| expected.epoch == current.producer.epoch || is_behind_fence(expected.epoch));
    if current.is_exhausted() && is_expected {
        let id = request.fresh_producer_id.ok_or(TransactionError::ProducerIdNeeded)?;
        let last_epoch = request.expected.map_or(NO_EPOCH, |expected| expected.epoch);
        return Ok(TransactionMetadata { producer: Producer { id, epoch: 0 }, last_epoch, ..next });
    }
    let bumped = Producer { epoch: current.producer.epoch.saturating_add(1), ..current.producer };
    match request.expected {
        // A newer producer leaves no last epoch, by which the one before it could go on.
        None => Ok(TransactionMetadata { producer: bumped, last_epoch: NO_EPOCH, ..next }),
        Some(expected) if current.producer.epoch == NO_EPOCH || expected.epoch == current.producer.epoch => {
            Ok(TransactionMetadata { producer: bumped, last_epoch: current.producer.epoch, ..next })
        }
        // The answer to the same question was lost.
        Some(expected) if expected.epoch == current.last_epoch => Ok(next),
        Some(_) => Err(TransactionError::ProducerFenced),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::machine::Monotonic;
    use crate::transactions::{Change, TransactionalId};

    fn ask(known: &TransactionMetadata, expected: Option<Producer>) -> (Reply, TransactionMetadata) {
        let request = InitProducerId {
            transactional_id: TransactionalId::from("id"),
            timeout: Duration::from_secs(60),
            expected,
            fresh_producer_id: Some(8),
        };
        let now = Now { monotonic: Monotonic::from_millis(5), wall: WallMs(5) };
        let config = TransactionConfig::default();
        let decision = on_init_producer_id(Some(known), &config, now, ReplyId(1), &request);
        let changed = decision.changes.into_iter().find_map(|change| match change {
            Change::Record { value: Some(value), .. } => Some((*value).clone()),
            _ => None,
        });
        (decision.replies[0].1.clone(), changed.unwrap_or_else(|| known.clone()))
    }

    /// Aborted by the coordinator, as it took too long with `epoch`.
    fn aborted(epoch: i16) -> TransactionMetadata {
        let begun = TransactionMetadata {
            producer: Producer { id: 7, epoch },
            started_at: WallMs(1),
            partitions: [crate::ids::TopicPartition::new("t", 0)].into(),
            ..TransactionMetadata::new(7, WallMs(1)).changed(TransactionState::Ongoing, WallMs(1))
        };
        let decision = abort_by_coordinator(&TransactionalId::from("id"), &begun, WallMs(2));
        match decision.changes.as_slice() {
            [Change::Record { value: Some(value), .. }] => TransactionMetadata {
                partitions: Default::default(),
                ..value.changed(TransactionState::CompleteAbort, WallMs(3))
            },
            other => panic!("{other:?}"),
        }
    }

    fn granted(id: i64, epoch: i16) -> Reply {
        Reply::InitProducerId(Ok(Producer { id, epoch }))
    }

    #[test]
    fn a_producer_whose_transaction_took_too_long_may_go_on_unless_another_has_come() {
        let aborted = aborted(3);
        let own = Some(Producer { id: 7, epoch: 3 });
        let (answer, next) = ask(&aborted, own);
        assert_eq!(answer, granted(7, 4));
        assert_eq!(ask(&next, own).0, granted(7, 4), "its answer may have been lost");
        let (answer, next) = ask(&aborted, None);
        assert_eq!(answer, granted(7, 5));
        assert_eq!(ask(&next, own).0, Reply::InitProducerId(Err(TransactionError::ProducerFenced)));
    }

    #[test]
    fn nobody_goes_on_with_the_epoch_that_fences() {
        let aborted = aborted(EPOCH_LAST);
        assert_eq!(aborted.producer.epoch, i16::MAX);
        let own = Some(Producer { id: 7, epoch: EPOCH_LAST });
        let (answer, next) = ask(&aborted, own);
        assert_eq!(answer, granted(8, 0));
        next.invariants();
        assert_eq!(ask(&next, own).0, granted(8, 0), "its answer may have been lost");
    }
}
