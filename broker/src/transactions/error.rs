//! Why a transaction's coordinator refuses.

/// The facts; Kafka's codes are given at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TransactionError {
    /// The coordinator is still reading its log.
    #[error("the coordinator is loading")]
    CoordinatorLoadInProgress,
    /// Its log cannot be used now.
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    /// Another broker has the transactional id.
    #[error("this is not the coordinator")]
    NotCoordinator,
    /// The request contradicts itself.
    #[error("the request is not valid")]
    InvalidRequest,
    /// Not positive, or longer than `transaction.max.timeout.ms`.
    #[error("the transaction timeout is out of bounds")]
    InvalidTransactionTimeout,
    /// The id is not known, or has another producer id.
    #[error("the producer id is not that of the transactional id")]
    InvalidProducerIdMapping,
    /// A newer instance has the transactional id.
    #[error("a newer producer has the transactional id")]
    ProducerFenced,
    /// The last transaction is not over; a moment later it is.
    #[error("the last transaction is still being completed")]
    ConcurrentTransactions,
    /// The transaction was ended the other way, or never begun.
    #[error("the transaction is not in a state that allows this")]
    InvalidTxnState,
    /// The partition was not added; only an abort helps (KIP-890).
    #[error("the partition is not part of the transaction, which must be aborted")]
    TransactionAbortable,
    /// Nobody has this transactional id.
    #[error("there is no such transactional id")]
    TransactionalIdNotFound,
    /// All epochs of the producer id are used up: the request is to be made again with a fresh id to go on with. Never
    /// leaves the broker.
    #[error("a fresh producer id is needed")]
    ProducerIdNeeded,
}
