//! What a decision consists of: changes, of which some are records, and replies.
//!
//! A classic group keeps most of its life in memory, as Kafka's does: who has joined, who is late. Only what must
//! outlive the coordinator is a [`Record`]. Both kinds are [`Change`]s, so that one list tells everything a decision
//! does, `apply` stays the only mutator, and two runs of the same requests can be compared change by change.

use std::sync::Arc;

use super::classic::{GroupChange, GroupMetadata};
use super::names::{GroupId, ReplyId, TopicName};
use super::offsets::CommittedOffset;
use super::request::Reply;

/// One step of the machine's state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// To be written to the log; replies wait until it is durable.
    Record(Record),
    /// Kept in memory only, lost with the coordinator.
    Live {
        /// The group it happens to.
        group: GroupId,
        /// What happens.
        change: GroupChange,
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
}

/// The outcome of a request or of a deadline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// To be applied, in order.
    pub changes: Vec<Change>,
    /// To be given once every record decided so far is durable: a rejection may rest on a change that is not yet.
    pub replies: Vec<(ReplyId, Reply)>,
}

impl Decision {
    /// Nothing but an answer.
    pub fn reply(to: ReplyId, reply: Reply) -> Decision {
        Decision { changes: Vec::new(), replies: vec![(to, reply)] }
    }

    /// The records among the changes, in order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.changes.iter().filter_map(|change| match change {
            Change::Record(record) => Some(record),
            Change::Live { .. } => None,
        })
    }

    /// Whether anything must be durable before the replies go out.
    pub fn has_records(&self) -> bool {
        self.records().next().is_some()
    }

    /// Adds a later decision's outcome.
    pub fn extend(&mut self, later: Decision) {
        self.changes.extend(later.changes);
        self.replies.extend(later.replies);
    }
}
