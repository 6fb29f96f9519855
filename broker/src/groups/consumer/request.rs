//! What members ask of a consumer group and what they are answered, free of wire versions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::epoch::Epoch;
use super::group::ConsumerGroupState;
use super::member::{Member, MemberMetadata};
use super::partitions::PartitionSet;
use crate::groups::error::GroupError;
use crate::groups::names::{GroupId, InstanceId, MemberId, TopicName};
use crate::groups::topics::Topics;

/// ConsumerGroupHeartbeat. What is `None` has not changed since the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group: GroupId,
    /// Never empty: who joins without an id comes with a fresh one, as the machine has no randomness.
    pub member_id: MemberId,
    /// The epoch the member is in, or [`Epoch::JOIN`], [`Epoch::LEAVE`], [`Epoch::LEAVE_STATIC`].
    pub epoch: Epoch,
    /// Set by static members.
    pub instance_id: Option<InstanceId>,
    /// Where the member runs.
    pub rack_id: Option<Arc<str>>,
    /// As in the request's header.
    pub client_id: Arc<str>,
    /// Where it connected from.
    pub client_host: Arc<str>,
    /// How long the member may take to give partitions up.
    pub rebalance_timeout: Option<Duration>,
    /// Topics by name.
    pub topic_names: Option<BTreeSet<TopicName>>,
    /// A pattern of topics; empty for none any more.
    pub topic_regex: Option<Arc<str>>,
    /// The assignor the member prefers.
    pub server_assignor: Option<Arc<str>>,
    /// What the member owns.
    pub owned: Option<PartitionSet>,
    /// The cluster's topics now.
    pub topics: Topics,
    /// How long the group's members may be silent.
    pub session_timeout: Duration,
    /// How often the group's members are to come.
    pub heartbeat_interval: Duration,
}

impl ConsumerHeartbeat {
    /// The member says all that it has to say, as one does that joins or is not sure what was heard; so it is told all.
    pub fn is_full(&self) -> bool {
        self.rebalance_timeout.is_some()
            && (self.topic_names.is_some() || self.topic_regex.is_some())
            && self.owned.is_some()
    }
}

/// ConsumerGroupHeartbeat, granted.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberAnswer {
    /// The member.
    pub member_id: MemberId,
    /// The epoch it is in now.
    pub epoch: Epoch,
    /// When to come next; zero for who left.
    pub heartbeat_interval: Duration,
    /// What the member may own, if that changed or it asked for everything.
    pub assigned: Option<PartitionSet>,
}

/// ConsumerGroupHeartbeat, refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRefused {
    /// Why.
    pub error: GroupError,
    /// For people.
    pub message: String,
}

impl ConsumerRefused {
    /// With words of its own.
    pub fn with(error: GroupError, message: impl Into<String>) -> ConsumerRefused {
        ConsumerRefused { error, message: message.into() }
    }
}

impl From<GroupError> for ConsumerRefused {
    fn from(error: GroupError) -> ConsumerRefused {
        ConsumerRefused { error, message: error.to_string() }
    }
}

/// ConsumerGroupDescribe's answer for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedConsumerGroup {
    /// The group.
    pub group: GroupId,
    /// Its state.
    pub state: ConsumerGroupState,
    /// Its epoch.
    pub epoch: Epoch,
    /// The epoch of the target assignment.
    pub assignment_epoch: Epoch,
    /// Who makes the target assignment.
    pub assignor: Arc<str>,
    /// Its members.
    pub members: Vec<DescribedConsumerMember>,
}

/// A member as ConsumerGroupDescribe tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedConsumerMember {
    /// The member.
    pub member: Arc<Member>,
    /// What it is to own.
    pub target: Arc<PartitionSet>,
}

impl DescribedConsumerMember {
    /// What it said of itself.
    pub fn metadata(&self) -> &MemberMetadata {
        &self.member.metadata
    }
}
