//! What members ask of a classic group and what they are answered, free of wire versions: where a version changes the
//! behaviour, the request carries the behaviour as a flag.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::groups::error::GroupError;
use crate::groups::names::{GenerationId, GroupId, InstanceId, MemberId};
use crate::groups::topics::Topics;

/// One way a member can be assigned work (for consumers: an assignor), with what it says to the leader under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Such as `range` or `cooperative-sticky`.
    pub name: Arc<str>,
    /// Passed to the leader unread (for consumers: the subscription).
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinGroup {
    /// The group to join.
    pub group: GroupId,
    /// `None` before the coordinator has named the member.
    pub member_id: Option<MemberId>,
    /// Set by static members.
    pub instance_id: Option<InstanceId>,
    /// Told by DescribeGroups.
    pub client_id: Arc<str>,
    /// Told by DescribeGroups.
    pub client_host: Arc<str>,
    /// Such as `consumer` or `connect`.
    pub protocol_type: Arc<str>,
    /// In the member's order of preference.
    pub protocols: Arc<[Protocol]>,
    /// How long the member may be silent.
    pub session_timeout: Duration,
    /// How long the member needs to rejoin when a rebalance begins.
    pub rebalance_timeout: Duration,
    /// The id to give to the member if it has none. Comes with the request because the machine has no randomness.
    pub fresh_member_id: MemberId,
    /// The member can come back with the id it is given (v4, KIP-394).
    pub knows_member_id_required: bool,
    /// The member understands `skip_assignment` (v9, KIP-814).
    pub knows_skip_assignment: bool,
    /// The cluster's topics now; needed only where the group has gone over to the consumer protocol.
    pub topics: Option<Topics>,
}

/// JoinGroup, granted: the member is in this generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation formed.
    pub generation: GenerationId,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol all members voted for.
    pub protocol_name: Option<Arc<str>>,
    /// Who assigns.
    pub leader: Option<MemberId>,
    /// The leader need not assign: the assignments stand (KIP-814).
    pub skip_assignment: bool,
    /// The member's own id.
    pub member_id: MemberId,
    /// All members, for the leader only.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: MemberId,
    /// Set for static members.
    pub instance_id: Option<InstanceId>,
    /// What it said under the chosen protocol.
    pub metadata: Bytes,
}

/// JoinGroup, refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The id to go on with: a new one with `MemberIdRequired`, the sender's own with most errors, none to start over.
    pub member_id: Option<MemberId>,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncGroup {
    /// The group.
    pub group: GroupId,
    /// As given by JoinGroup.
    pub generation: GenerationId,
    /// As given by JoinGroup.
    pub member_id: MemberId,
    /// Set by static members.
    pub instance_id: Option<InstanceId>,
    /// What the member believes (v5, KIP-559).
    pub protocol_type: Option<Arc<str>>,
    /// What the member believes (v5, KIP-559).
    pub protocol_name: Option<Arc<str>>,
    /// From the leader only.
    pub assignments: Vec<(MemberId, Bytes)>,
    /// The cluster's topics now; needed only where the group has gone over to the consumer protocol.
    pub topics: Option<Topics>,
}

/// SyncGroup, granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The group's protocol.
    pub protocol_name: Option<Arc<str>>,
    /// The member's share of the work, as the leader wrote it.
    pub assignment: Bytes,
}

/// Heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// The group.
    pub group: GroupId,
    /// As given by JoinGroup.
    pub generation: GenerationId,
    /// As given by JoinGroup.
    pub member_id: MemberId,
    /// Set by static members.
    pub instance_id: Option<InstanceId>,
}

/// LeaveGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaveGroup {
    /// The group.
    pub group: GroupId,
    /// Who goes. An administrator removes a static member by its instance id alone.
    pub members: Vec<LeavingMember>,
}

/// One member that goes, or is sent away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// `None` when it is named by its instance id alone.
    pub member_id: Option<MemberId>,
    /// Set for static members.
    pub instance_id: Option<InstanceId>,
}

/// DescribeGroups' answer for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedGroup {
    /// The group.
    pub group: GroupId,
    /// Its state; `Dead` for a group that does not exist.
    pub state: GroupState,
    /// Empty when no member ever joined.
    pub protocol_type: Arc<str>,
    /// The chosen protocol, once the group is stable.
    pub protocol_name: Arc<str>,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups tells it. Metadata and assignment are empty unless the group is stable.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: MemberId,
    /// Set for static members.
    pub instance_id: Option<InstanceId>,
    /// As in its requests.
    pub client_id: Arc<str>,
    /// Where it connected from.
    pub client_host: Arc<str>,
    /// What it said under the chosen protocol.
    pub metadata: Bytes,
    /// Its share of the work.
    pub assignment: Bytes,
}

/// The states of a classic group.
///
/// ```text
///            first join                    all rejoined, or time is up          leader syncs
///   Empty ───────────────▶ PreparingRebalance ─────────────▶ CompletingRebalance ───────────▶ Stable
///     ▲                        │        ▲                            │                          │
///     └──── nobody rejoined ───┘        └── a member joins, leaves or is silent for too long ───┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    /// No members; offsets may remain.
    Empty,
    /// Members are being gathered.
    PreparingRebalance,
    /// A generation was formed and waits for its leader's assignments.
    CompletingRebalance,
    /// Every member has, or can ask for, its assignment.
    Stable,
    /// No such group.
    Dead,
}

impl GroupState {
    /// Kafka's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}
