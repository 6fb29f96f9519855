//! The quorum that keeps the metadata log: KRaft (KIP-595) with directory ids of voters (KIP-853) and votes asked for beforehand
//! (KIP-996), as a pure machine. [`Quorum::step`] takes one event and gives effects; whoever drives it owns clock, disk and
//! sockets.
//!
//! Followers fetch, so the log, its format and its way over the network are those of every partition. The machine knows of the
//! log only where it ends and which epoch each part is of ([`EpochLog`]).
//!
//! What the driver must keep to: the effects of a step are carried out in their order, and what an effect writes to the disk is
//! durable before the next is carried out, [`Effect::Append`] excepted, whose durability is an [`Event::Flushed`].

mod addresses;
mod bugs;
pub(crate) mod describe;
mod election;
mod epochs;
mod follower;
mod formation;
mod from_brokers;
mod handle;
mod leader;
mod listener;
mod machine;
mod peers;
pub(crate) mod raft_voters;
mod role;
mod runtime;
#[cfg(test)]
mod simulation;
mod state_file;
mod types;
mod voter_changes;
mod voter_history;
mod voters_file;
mod voters_record;
mod wire;

pub use epochs::EpochLog;
pub use formation::FormationError;
pub(crate) use formation::{join as join_cluster, voters_alone};
pub use handle::{
    Answered, Description, Membership, ProposeError, QuorumHandle, QuorumState, QuorumTimeouts,
    ReplicaProgress,
};
pub(crate) use listener::{Face, QuorumListener};
pub use machine::{Config, Effect, Event, Quorum, RequestId};
pub(crate) use peers::PeerConnection;
pub use peers::{NodeTransport, PeerAddress};
pub use role::{Election, Following, Leading, Progress, Role};
pub(crate) use runtime::start;
pub use state_file::{StateFileError, load as load_election_state};
pub use types::{
    Answer, ChangeRefusal, ElectionState, Epoch, LogEnd, Refusal, ReplicaKey, Request, Response, Voter,
    VoterChange, VoterEndpoint, Voters,
};
pub use voter_history::VoterHistory;
pub(crate) use voters_record::{version_value, voters_in, voters_value};
