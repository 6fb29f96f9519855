//! Classic groups: members join, one of them assigns the work, all fetch their share, and whoever is silent for too
//! long is out. The protocol of JoinGroup, SyncGroup, Heartbeat and LeaveGroup (KIP-62, 345, 394, 559, 814).
//!
//! Owns the rules; knows no wire version, no clock, no socket and nothing of offsets. `Group::apply` makes a change;
//! the files named after requests decide which.

mod change;
mod deadlines;
mod describe;
mod draft;
mod group;
mod heartbeat;
mod invariants;
mod join;
mod leave;
mod member;
mod member_checks;
mod protocols;
mod rebalance;
mod request;
mod sessions;
mod stored;
mod sync;

pub use change::GroupChange;
pub use group::{AwaitedSyncs, Group, InitialDelay, Phase};
pub use member::Member;
pub use request::{
    DescribedGroup, DescribedMember, GroupState, Heartbeat, JoinGroup, JoinRefused, Joined, JoinedMember,
    LeaveGroup, LeavingMember, Protocol, SyncGroup, Synced,
};
pub use sessions::Sessions;
pub use stored::{GroupMetadata, StoredMember};

pub(in crate::groups) use deadlines::on_deadline;
pub(in crate::groups) use describe::describe_without_members;
pub(in crate::groups) use draft::Draft;
pub(in crate::groups) use heartbeat::{extend_session, on_heartbeat};
pub(in crate::groups) use join::{check_join, on_join_group};
pub(in crate::groups) use leave::on_leave_group;
pub(in crate::groups) use sync::on_sync_group;
