//! What a decision consists of: records, replies, and markers to be written.

use std::sync::Arc;

use super::metadata::{TransactionMetadata, TransactionalId};
use super::request::Reply;
use crate::ids::{Producer, TopicPartition};
use crate::machine::Monotonic;

/// One step of the machine's state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// To be written to the log: an id as it stands now, or that it is forgotten.
    Record {
        /// Which.
        transactional_id: TransactionalId,
        /// `None` is a tombstone.
        value: Option<Arc<TransactionMetadata>>,
    },
    /// Transactions that take too long were looked for. Kept in memory only.
    LookedForTimeouts(Monotonic),
    /// Ids that nobody uses were looked for. Kept in memory only.
    LookedForExpired(Monotonic),
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write a marker to each partition, for as long as it takes, and say [`Request::MarkersWritten`] then.
    ///
    /// [`Request::MarkersWritten`]: super::Request::MarkersWritten
    WriteMarkers(Markers),
}

/// The markers of one prepared transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Markers {
    /// Whose.
    pub transactional_id: TransactionalId,
    /// With the epoch that fences the writers of the transaction.
    pub producer: Producer,
    /// Or abort.
    pub commit: bool,
    /// Where.
    pub partitions: Vec<TopicPartition>,
}

/// The outcome of a request or of a deadline.
pub type Decision = crate::machine::Decision<Change, Reply, Effect>;

pub(super) fn record(transactional_id: &TransactionalId, value: TransactionMetadata) -> Change {
    Change::Record { transactional_id: transactional_id.clone(), value: Some(Arc::new(value)) }
}
