//! Groups of the consumer protocol (KIP-848): a member says in its heartbeats what it wants and what it owns, and the
//! coordinator assigns and brings every member there step by step, without stopping the others.
//!
//! ```text
//!   group epoch    ── grows when members, subscriptions or topics change
//!   target epoch   ── the group epoch that the target assignment was made for
//!   member epoch   ── the target epoch that the member has reached
//! ```
//! Nearly all of a group is in the log, record by record; only deadlines live in memory. Owns the rules; knows no wire
//! version, no clock, no socket and nothing of offsets.

pub mod assignor;

mod change;
mod classic_member;
mod deadlines;
mod describe;
mod draft;
mod epoch;
mod group;
mod heartbeat;
mod invariants;
mod leave;
mod member;
mod member_checks;
mod partitions;
mod reconcile;
mod record;
mod request;
mod static_member;
mod subscription;
#[cfg(test)]
mod tests;

pub use change::ConsumerChange;
pub use epoch::Epoch;
pub use group::{ConsumerGroup, ConsumerGroupState};
pub use member::{ClassicMember, CurrentAssignment, Member, MemberMetadata, MemberState};
pub use partitions::PartitionSet;
pub use record::{ConsumerRecord, GroupEpoch, ResolvedRegex};
pub use request::{
    ConsumerHeartbeat, ConsumerRefused, DescribedConsumerGroup, DescribedConsumerMember, MemberAnswer,
};

pub(in crate::groups) use classic_member::{
    on_heartbeat as on_classic_heartbeat, on_join_group, on_leave_group, on_sync_group,
};
pub(in crate::groups) use deadlines::on_deadline;
pub(in crate::groups) use draft::ConsumerDraft;
pub(in crate::groups) use heartbeat::{on_heartbeat, on_steady_heartbeat};
