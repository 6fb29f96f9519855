//! Everything that can be asked of a coordinator partition, and every answer.

use std::time::Duration;

use super::error::TransactionError;
use super::metadata::{TransactionMetadata, TransactionState, TransactionVersion, TransactionalId};
use crate::ids::{Producer, TopicPartition};

/// A request for the transactions of one coordinator partition.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Answered when durable.
    InitProducerId(InitProducerId),
    /// Answered when durable.
    AddPartitions(AddPartitions),
    /// Whether these were added. Answered when what it saw is durable.
    VerifyPartitions(AddPartitions),
    /// Answered when the outcome is durable; the markers come later.
    EndTransaction(EndTransaction),
    /// Every partition of a prepared transaction has its marker, or is gone.
    MarkersWritten {
        /// Whose.
        transactional_id: TransactionalId,
        /// As the markers name it.
        producer: Producer,
    },
    /// One id.
    DescribeTransaction(TransactionalId),
    /// Every id of the partition that matches.
    ListTransactions(ListTransactions),
}

/// A producer takes a transactional id, or asks for a new epoch of its own (KIP-360).
#[derive(Clone, Debug, PartialEq)]
pub struct InitProducerId {
    /// Which.
    pub transactional_id: TransactionalId,
    /// How long its transactions may take.
    pub timeout: Duration,
    /// What the producer believes it has.
    pub expected: Option<Producer>,
    /// To go on with where the old one's epochs are used up, or there is none.
    pub fresh_producer_id: Option<i64>,
}

/// A transaction is going to write to partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct AddPartitions {
    /// Whose.
    pub transactional_id: TransactionalId,
    /// Which instance.
    pub producer: Producer,
    /// Where.
    pub partitions: Vec<TopicPartition>,
    /// What the producer speaks.
    pub version: TransactionVersion,
}

/// A producer ends its transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct EndTransaction {
    /// Whose.
    pub transactional_id: TransactionalId,
    /// Which instance.
    pub producer: Producer,
    /// Or abort.
    pub commit: bool,
    /// What the producer speaks.
    pub version: TransactionVersion,
    /// To go on with where the old one's epochs are used up.
    pub fresh_producer_id: Option<i64>,
}

/// Which ids are asked for (KIP-664, KIP-994). Empty lists ask for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListTransactions {
    /// In one of these.
    pub states: Vec<TransactionState>,
    /// Of one of these.
    pub producer_ids: Vec<i64>,
    /// Running for longer than this.
    pub longer_than: Option<Duration>,
}

/// An id and how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedTransaction {
    /// Which.
    pub transactional_id: TransactionalId,
    /// How.
    pub metadata: TransactionMetadata,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedTransaction {
    /// Which.
    pub transactional_id: TransactionalId,
    /// Of its producer.
    pub producer_id: i64,
    /// How it stands.
    pub state: TransactionState,
}

/// The answer to the [`Request`] of the same name.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Reply {
    /// Who the producer is from now on.
    InitProducerId(Result<Producer, TransactionError>),
    AddPartitions(Result<(), TransactionError>),
    /// Partition by partition, in the request's order.
    VerifyPartitions(Result<Vec<Result<(), TransactionError>>, TransactionError>),
    /// Who the producer is in its next transaction.
    EndTransaction(Result<Producer, TransactionError>),
    MarkersWritten,
    DescribeTransaction(Result<DescribedTransaction, TransactionError>),
    ListTransactions(Result<Vec<ListedTransaction>, TransactionError>),
}

impl Request {
    /// The answer that only says why there is none.
    pub fn refused(&self, error: TransactionError) -> Reply {
        match self {
            Request::InitProducerId(_) => Reply::InitProducerId(Err(error)),
            Request::AddPartitions(_) => Reply::AddPartitions(Err(error)),
            Request::VerifyPartitions(_) => Reply::VerifyPartitions(Err(error)),
            Request::EndTransaction(_) => Reply::EndTransaction(Err(error)),
            Request::MarkersWritten { .. } => Reply::MarkersWritten,
            Request::DescribeTransaction(_) => Reply::DescribeTransaction(Err(error)),
            Request::ListTransactions(_) => Reply::ListTransactions(Err(error)),
        }
    }
}

impl Reply {
    /// What is answered in its stead when the log refused the records that it rests on.
    pub fn refused(&self, error: TransactionError) -> Reply {
        match self {
            Reply::InitProducerId(_) => Reply::InitProducerId(Err(error)),
            Reply::AddPartitions(_) => Reply::AddPartitions(Err(error)),
            Reply::VerifyPartitions(_) => Reply::VerifyPartitions(Err(error)),
            Reply::EndTransaction(_) => Reply::EndTransaction(Err(error)),
            Reply::MarkersWritten => Reply::MarkersWritten,
            Reply::DescribeTransaction(_) => Reply::DescribeTransaction(Err(error)),
            Reply::ListTransactions(_) => Reply::ListTransactions(Err(error)),
        }
    }
}
