//! What a decision consists of: changes, of which some are records, and replies.
//!
//! A classic group keeps most of its life in memory, as Kafka's does: who has joined, who is late. Only what must
//! outlive the coordinator is a [`Record`]. Both kinds are [`Change`]s, so that one list tells everything a decision
//! does, `apply` stays the only mutator, and two runs of the same requests can be compared change by change.

use std::sync::Arc;

use super::classic::{GroupChange, GroupMetadata};
use super::consumer::{ConsumerChange, ConsumerRecord};
use super::names::{GroupId, Monotonic, TopicName};
use super::offsets::CommittedOffset;
use super::request::Reply;
use crate::ids::Producer;

/// One step of the machine's state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// To be written to the log; replies wait until it is durable.
    Record(Record),
    /// To be written to the log as part of a producer's transaction; it counts once that is committed.
    Pending {
        /// The transaction's.
        producer: Producer,
        /// What a commit makes true.
        record: Record,
    },
    /// The end of a producer's transaction, to be written to the log as its marker.
    EndTransaction {
        /// The marker's.
        producer: Producer,
        /// Of the transaction coordinator that sent the marker.
        coordinator_epoch: i32,
        /// Whether what is pending counts now, or is forgotten.
        commit: bool,
    },
    /// Kept in memory only, lost with the coordinator.
    Live {
        /// The group it happens to.
        group: GroupId,
        /// What happens.
        change: GroupChange,
    },
    /// The same, of a group of the consumer protocol.
    LiveConsumer {
        /// The group it happens to.
        group: GroupId,
        /// What happens.
        change: ConsumerChange,
    },
    /// Offsets were looked through for those that are to be forgotten.
    OffsetsChecked {
        /// When they are looked through again.
        next_at: Monotonic,
    },
}

/// What the log of a coordinator's partition holds. A `None` value is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The group as it stands, for whoever coordinates it next.
    Group {
        /// The group.
        group: GroupId,
        /// Its members and assignments.
        value: Option<Arc<GroupMetadata>>,
    },
    /// One committed offset.
    Offset {
        /// The group.
        group: GroupId,
        /// The topic's name.
        topic: TopicName,
        /// The partition's index.
        partition: i32,
        /// What was committed.
        value: Option<CommittedOffset>,
    },
    /// A part of a group of the consumer protocol.
    Consumer {
        /// The group.
        group: GroupId,
        /// The part.
        record: ConsumerRecord,
    },
}

/// The outcome of a request or of a deadline.
pub type Decision = crate::machine::Decision<Change, Reply>;

impl Decision {
    /// The records among the changes, in order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.changes.iter().filter_map(|change| match change {
            Change::Record(record) => Some(record),
            Change::Pending { .. }
            | Change::EndTransaction { .. }
            | Change::Live { .. }
            | Change::LiveConsumer { .. }
            | Change::OffsetsChecked { .. } => None,
        })
    }

    /// Whether anything must be durable before the replies go out.
    pub fn has_records(&self) -> bool {
        self.changes.iter().any(|change| !matches!(change, Change::Live { .. }))
    }
}
