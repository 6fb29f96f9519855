//! Groups: who reads what, and how far. Pure: requests and time go in, records and replies come out.
//!
//! [`Groups`] is the machine of one partition of `__consumer_offsets`. It follows the contract of recorded machines:
//! `decide(&self, …) -> Decision` changes nothing, `apply(&mut self, change)` is the only mutator, and the records among
//! the changes, replayed, give the same image. Parked replies are [`ReplyId`]s in its state. `coordinator/` runs it.
//!
//! ```
//! use ottla_broker::groups::{GroupConfig, Groups, Now, Reply, ReplyId, Request};
//!
//! let mut groups = Groups::new(GroupConfig::default());
//! let decision = groups.decide(Now::default(), ReplyId(1), &Request::ListGroups);
//! groups.apply_all(&decision);
//! assert_eq!(decision.replies, vec![(ReplyId(1), Reply::ListGroups(Ok(vec![])))]);
//! ```

pub mod classic;
pub mod consumer;
pub mod offsets;
pub mod records;

mod admin;
mod config;
mod decision;
mod error;
mod machine;
mod migration;
mod names;
mod partition;
mod request;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod topics;

pub use config::{ConsumerGroupConfig, GroupConfig, MigrationPolicy, OffsetRetention};
pub use decision::{Change, Decision, Record};
pub use error::GroupError;
pub use machine::Groups;
pub use names::{GenerationId, GroupId, InstanceId, MemberId, Monotonic, Now, ReplyId, TopicName, WallMs};
pub use partition::partition_for;
pub use request::{GroupType, ListedGroup, Reply, Request};
pub use topics::{TopicCatalog, TopicInfo, Topics};
