//! What the APIs of transactions share: Kafka's codes for what a coordinator says.

use ottla_protocol::ErrorCode;

use crate::transactions::TransactionError;

/// From this version on Produce knows TRANSACTION_ABORTABLE.
const PRODUCE_ABORTABLE_VERSION_MIN: i16 = 11;
/// From this version on Produce adds its partitions to the transaction itself.
pub(super) const PRODUCE_V2_VERSION_MIN: i16 = 12;

pub(super) fn code(error: TransactionError) -> ErrorCode {
    match error {
        TransactionError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        TransactionError::CoordinatorNotAvailable | TransactionError::ProducerIdNeeded => {
            ErrorCode::CoordinatorNotAvailable
        }
        TransactionError::NotCoordinator => ErrorCode::NotCoordinator,
        TransactionError::InvalidRequest => ErrorCode::InvalidRequest,
        TransactionError::InvalidTransactionTimeout => ErrorCode::InvalidTransactionTimeout,
        TransactionError::InvalidProducerIdMapping => ErrorCode::InvalidProducerIdMapping,
        TransactionError::ProducerFenced => ErrorCode::ProducerFenced,
        TransactionError::ConcurrentTransactions => ErrorCode::ConcurrentTransactions,
        TransactionError::InvalidTxnState => ErrorCode::InvalidTxnState,
        TransactionError::TransactionAbortable => ErrorCode::TransactionAbortable,
        TransactionError::TransactionalIdNotFound => ErrorCode::TransactionalIdNotFound,
    }
}

/// What another broker's coordinator meant by a code; what passes by itself, or is not known, is asked again.
pub(in super::super) fn error_of(code: ErrorCode) -> TransactionError {
    match code {
        ErrorCode::CoordinatorLoadInProgress => TransactionError::CoordinatorLoadInProgress,
        ErrorCode::NotCoordinator => TransactionError::NotCoordinator,
        ErrorCode::InvalidRequest => TransactionError::InvalidRequest,
        ErrorCode::InvalidTransactionTimeout => TransactionError::InvalidTransactionTimeout,
        ErrorCode::InvalidProducerIdMapping => TransactionError::InvalidProducerIdMapping,
        ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch => TransactionError::ProducerFenced,
        ErrorCode::ConcurrentTransactions => TransactionError::ConcurrentTransactions,
        ErrorCode::InvalidTxnState => TransactionError::InvalidTxnState,
        ErrorCode::TransactionAbortable => TransactionError::TransactionAbortable,
        ErrorCode::TransactionalIdNotFound => TransactionError::TransactionalIdNotFound,
        _ => TransactionError::CoordinatorNotAvailable,
    }
}

/// Clients from before PRODUCER_FENCED (KIP-588) are told so by an older code.
pub(super) fn code_fenced_since<T>(
    answer: &Result<T, TransactionError>,
    version: i16,
    fenced_version_min: i16,
) -> ErrorCode {
    match answer {
        Ok(_) => ErrorCode::None,
        Err(TransactionError::ProducerFenced) if version < fenced_version_min => {
            ErrorCode::InvalidProducerEpoch
        }
        Err(error) => code(*error),
    }
}

/// As the error of a produced batch, which producers understand: what passes by itself must make them send it again.
pub(super) fn produce_code(error: TransactionError, version: i16) -> ErrorCode {
    match error {
        TransactionError::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        TransactionError::TransactionAbortable if version < PRODUCE_ABORTABLE_VERSION_MIN => {
            ErrorCode::InvalidTxnState
        }
        TransactionError::ConcurrentTransactions if version < PRODUCE_V2_VERSION_MIN => {
            ErrorCode::NotEnoughReplicas
        }
        TransactionError::CoordinatorLoadInProgress
        | TransactionError::CoordinatorNotAvailable
        | TransactionError::NotCoordinator => ErrorCode::NotEnoughReplicas,
        error => code(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_coordinator_says_is_understood_by_the_broker_that_asked() {
        for error in [
            TransactionError::CoordinatorLoadInProgress,
            TransactionError::CoordinatorNotAvailable,
            TransactionError::NotCoordinator,
            TransactionError::InvalidRequest,
            TransactionError::InvalidTransactionTimeout,
            TransactionError::InvalidProducerIdMapping,
            TransactionError::ProducerFenced,
            TransactionError::ConcurrentTransactions,
            TransactionError::InvalidTxnState,
            TransactionError::TransactionAbortable,
            TransactionError::TransactionalIdNotFound,
        ] {
            assert_eq!(error_of(code(error)), error);
        }
    }
}
