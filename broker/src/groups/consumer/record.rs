//! The records that a consumer group consists of. A `None` is a tombstone.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::epoch::Epoch;
use super::member::{CurrentAssignment, MemberMetadata};
use super::partitions::PartitionSet;
use crate::groups::names::{MemberId, TopicName, WallMs};

/// One record of one group.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerRecord {
    /// The group itself.
    Group(Option<GroupEpoch>),
    /// What Kafka before 4.1 kept of the group's topics. Read over, and removed with the group.
    PartitionMetadata,
    /// What a member said of itself.
    Member {
        /// Which.
        member_id: MemberId,
        /// What.
        value: Option<Arc<MemberMetadata>>,
    },
    /// The epoch that the target assignment is for.
    TargetEpoch(Option<Epoch>),
    /// What a member is to own.
    Target {
        /// Which.
        member_id: MemberId,
        /// What.
        value: Option<Arc<PartitionSet>>,
    },
    /// What a member owns.
    Current {
        /// Which.
        member_id: MemberId,
        /// What.
        value: Option<CurrentAssignment>,
    },
    /// The topics that a pattern stands for.
    Regex {
        /// The pattern.
        regex: Arc<str>,
        /// The topics.
        value: Option<Arc<ResolvedRegex>>,
    },
}

/// A group's epoch with what the group's topics were then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// A hash of the subscribed topics' names, ids and numbers of partitions.
    pub metadata_hash: i64,
}

/// The topics that a pattern stood for at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRegex {
    /// Their names.
    pub topics: BTreeSet<TopicName>,
    /// Of the cluster's topics, as the catalog counts.
    pub version: i64,
    /// When.
    pub at: WallMs,
}
