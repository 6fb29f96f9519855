//! The quorum that keeps the metadata log: KRaft (KIP-595) with directory ids of voters (KIP-853) and votes asked for beforehand
//! (KIP-996), as a pure machine. [`Quorum::step`] takes one event and gives effects; whoever drives it owns clock, disk and
//! sockets.
//!
//! Followers fetch, so the log, its format and its way over the network are those of every partition. The machine knows of the
//! log only where it ends and which epoch each part is of ([`EpochLog`]).
//!
//! What the driver must keep to: the effects of a step are carried out in their order, and what an effect writes to the disk is
//! durable before the next is carried out, [`Effect::Append`] excepted, whose durability is an [`Event::Flushed`].

mod bugs;
mod election;
mod epochs;
mod follower;
mod leader;
mod machine;
mod role;
#[cfg(test)]
mod simulation;
mod types;

pub use epochs::EpochLog;
pub use machine::{Config, Effect, Event, Quorum, RequestId};
pub use role::{Election, Following, Leading, Progress, Role};
pub use types::{Answer, ElectionState, Epoch, LogEnd, Refusal, ReplicaKey, Request, Response, Voters};
