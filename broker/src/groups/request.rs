//! Everything that can be asked of a coordinator partition, and every answer.

use std::sync::Arc;

use super::classic::{
    DescribedGroup, Heartbeat, JoinGroup, JoinRefused, Joined, LeaveGroup, SyncGroup, Synced,
};
use super::consumer::{ConsumerHeartbeat, ConsumerRefused, DescribedConsumerGroup, MemberAnswer};
use super::error::GroupError;
use super::names::{GroupId, TopicName};
use super::offsets::{CommitOffsets, FetchOffsets, FetchedOffset};
use crate::ids::Producer;

/// A request for the groups of one coordinator partition.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Answered when the rebalance ends.
    JoinGroup(Box<JoinGroup>),
    /// Answered when the leader has assigned.
    SyncGroup(SyncGroup),
    /// Answered at once.
    Heartbeat(Heartbeat),
    /// Answered at once.
    LeaveGroup(LeaveGroup),
    /// Answered when durable.
    CommitOffsets(CommitOffsets),
    /// Answered when durable; the offsets count once the producer's transaction is committed.
    CommitOffsetsInTransaction(Producer, CommitOffsets),
    /// A producer's transaction has ended. Answered when the marker is durable.
    EndTransaction {
        /// Whose.
        producer: Producer,
        /// Of the transaction's coordinator.
        coordinator_epoch: i32,
        /// Or abort.
        commit: bool,
    },
    /// Answered when what it saw is durable.
    FetchOffsets(FetchOffsets),
    /// Answered when what it leads to is durable.
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    /// One classic group.
    DescribeGroup(GroupId),
    /// One group of the consumer protocol.
    DescribeConsumerGroup(GroupId),
    /// Every group of the partition.
    ListGroups,
    /// A group without members, and its offsets.
    DeleteGroup(GroupId),
    /// Topics are gone; so are the offsets in them, lest a new topic of the same name be read from the middle.
    DeleteTopics(Vec<TopicName>),
    /// Offsets of topics that the group does not read.
    DeleteOffsets {
        /// The group.
        group: GroupId,
        /// Answered one by one, in this order.
        partitions: Vec<(TopicName, i32)>,
    },
}

/// By which protocol a group's members work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// JoinGroup and SyncGroup; also a group that nobody joined.
    Classic,
    /// KIP-848.
    Consumer,
}

impl GroupType {
    /// Kafka's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            GroupType::Classic => "classic",
            GroupType::Consumer => "consumer",
        }
    }
}

/// ListGroups' answer for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedGroup {
    /// The group.
    pub group: GroupId,
    /// Its type.
    pub group_type: GroupType,
    /// Its state, by Kafka's name.
    pub state: &'static str,
    /// Empty when no member ever joined.
    pub protocol_type: Arc<str>,
}

/// The answer to the [`Request`] of the same name.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Reply {
    JoinGroup(Result<Joined, JoinRefused>),
    SyncGroup(Result<Synced, GroupError>),
    Heartbeat(Result<(), GroupError>),
    /// Member by member, in the request's order.
    LeaveGroup(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// Partition by partition, in the request's order.
    CommitOffsets(Result<Vec<Result<(), GroupError>>, GroupError>),
    EndTransaction(Result<(), GroupError>),
    FetchOffsets(Result<Vec<FetchedOffset>, GroupError>),
    ConsumerHeartbeat(Result<MemberAnswer, ConsumerRefused>),
    DescribeGroup(Result<DescribedGroup, GroupError>),
    DescribeConsumerGroup(Result<DescribedConsumerGroup, ConsumerRefused>),
    ListGroups(Result<Vec<ListedGroup>, GroupError>),
    DeleteGroup(Result<(), GroupError>),
    DeleteTopics(Result<(), GroupError>),
    /// Partition by partition, in the request's order.
    DeleteOffsets(Result<Vec<Result<(), GroupError>>, GroupError>),
}

impl Request {
    /// The answer that only says why there is none.
    pub fn refused(&self, error: GroupError) -> Reply {
        match self {
            Request::JoinGroup(join) => {
                Reply::JoinGroup(Err(JoinRefused { error, member_id: join.member_id.clone() }))
            }
            Request::SyncGroup(_) => Reply::SyncGroup(Err(error)),
            Request::Heartbeat(_) => Reply::Heartbeat(Err(error)),
            Request::LeaveGroup(_) => Reply::LeaveGroup(Err(error)),
            Request::CommitOffsets(_) | Request::CommitOffsetsInTransaction(..) => {
                Reply::CommitOffsets(Err(error))
            }
            Request::EndTransaction { .. } => Reply::EndTransaction(Err(error)),
            Request::FetchOffsets(_) => Reply::FetchOffsets(Err(error)),
            Request::ConsumerHeartbeat(_) => Reply::ConsumerHeartbeat(Err(error.into())),
            Request::DescribeGroup(_) => Reply::DescribeGroup(Err(error)),
            Request::DescribeConsumerGroup(_) => Reply::DescribeConsumerGroup(Err(error.into())),
            Request::ListGroups => Reply::ListGroups(Err(error)),
            Request::DeleteGroup(_) => Reply::DeleteGroup(Err(error)),
            Request::DeleteTopics(_) => Reply::DeleteTopics(Err(error)),
            Request::DeleteOffsets { .. } => Reply::DeleteOffsets(Err(error)),
        }
    }
}

impl Reply {
    /// What is answered in its stead when the log refused the records that it rests on. A join keeps no member id: the
    /// id may be among what was lost.
    pub fn refused(&self, error: GroupError) -> Reply {
        match self {
            Reply::JoinGroup(_) => Reply::JoinGroup(Err(JoinRefused { error, member_id: None })),
            Reply::SyncGroup(_) => Reply::SyncGroup(Err(error)),
            Reply::Heartbeat(_) => Reply::Heartbeat(Err(error)),
            Reply::LeaveGroup(_) => Reply::LeaveGroup(Err(error)),
            Reply::CommitOffsets(_) => Reply::CommitOffsets(Err(error)),
            Reply::EndTransaction(_) => Reply::EndTransaction(Err(error)),
            Reply::FetchOffsets(_) => Reply::FetchOffsets(Err(error)),
            Reply::ConsumerHeartbeat(_) => Reply::ConsumerHeartbeat(Err(error.into())),
            Reply::DescribeGroup(_) => Reply::DescribeGroup(Err(error)),
            Reply::DescribeConsumerGroup(_) => Reply::DescribeConsumerGroup(Err(error.into())),
            Reply::ListGroups(_) => Reply::ListGroups(Err(error)),
            Reply::DeleteGroup(_) => Reply::DeleteGroup(Err(error)),
            Reply::DeleteTopics(_) => Reply::DeleteTopics(Err(error)),
            Reply::DeleteOffsets(_) => Reply::DeleteOffsets(Err(error)),
        }
    }
}
