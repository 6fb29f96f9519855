//! A member of a consumer group: what it said of itself, what it owns and how far it has come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::epoch::Epoch;
use super::partitions::PartitionSet;
use crate::groups::names::{InstanceId, MemberId, TopicName};

/// A member.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// As it said.
    pub metadata: Arc<MemberMetadata>,
    /// As it was told.
    pub current: CurrentAssignment,
}

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemberMetadata {
    /// Set for static members.
    pub instance_id: Option<InstanceId>,
    /// Where it runs.
    pub rack_id: Option<Arc<str>>,
    /// As in its requests.
    pub client_id: Arc<str>,
    /// Where it connected from.
    pub client_host: Arc<str>,
    /// Topics it names.
    pub topic_names: BTreeSet<TopicName>,
    /// A pattern of further topics.
    pub topic_regex: Option<Arc<str>>,
    /// How long it may take to give partitions up. `None` only in logs that others wrote.
    pub rebalance_timeout: Option<Duration>,
    /// The assignor it prefers.
    pub server_assignor: Option<Arc<str>>,
    /// Set while the member still speaks the classic protocol.
    pub classic: Option<ClassicMember>,
}

/// What a member of the classic protocol brought along.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassicMember {
    /// How long it may be silent.
    pub session_timeout: Duration,
    /// Its protocols with their subscriptions, in its order of preference.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

/// What a member owns, and the epoch it is in.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrentAssignment {
    /// The target epoch it has reached.
    pub epoch: Epoch,
    /// The one before, which a lost answer makes it repeat.
    pub previous_epoch: Epoch,
    /// On the way where.
    pub state: MemberState,
    /// What it may read.
    pub assigned: PartitionSet,
    /// What it must give up before it goes on.
    pub pending_revocation: PartitionSet,
}

impl Default for CurrentAssignment {
    fn default() -> CurrentAssignment {
        CurrentAssignment {
            epoch: Epoch::JOIN,
            previous_epoch: Epoch::LEAVE,
            state: MemberState::Stable,
            assigned: PartitionSet::default(),
            pending_revocation: PartitionSet::default(),
        }
    }
}

/// Where a member is on its way to the target assignment.
///
/// ```text
///   Stable ──▶ UnrevokedPartitions ──▶ UnreleasedPartitions ──▶ Stable
///      gives up what it loses    waits for what others still own
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It has what the target epoch it is in gives it.
    Stable,
    /// It must give partitions up.
    UnrevokedPartitions,
    /// Others have not given up yet what it is to get.
    UnreleasedPartitions,
    /// Written by a newer version; the member is brought back in order at its next heartbeat.
    Unknown,
}

impl CurrentAssignment {
    /// The member has nothing left to do for the target of this epoch.
    pub fn is_reconciled_to(&self, target_epoch: Epoch) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// Everything that nobody else may have.
    pub fn held(&self) -> impl Iterator<Item = (uuid::Uuid, i32)> + '_ {
        self.assigned.iter().chain(self.pending_revocation.iter())
    }
}
