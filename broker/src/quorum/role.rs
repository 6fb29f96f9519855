//! What a replica is at the moment, with what belongs to it.

use std::collections::{BTreeMap, BTreeSet};

use super::types::ReplicaKey;
use crate::ids::{NodeId, Offset};
use crate::machine::Monotonic;

/// See the module.
///
/// ```text
///              no leader is heard of            most would vote for it            most voted for it
///  Unattached ───────────────────▶ Prospective ────────────────────▶ Candidate ───────────────────▶ Leader
///      ▲  ▲                            │                                │                              │
///      │  └────── most would not ──────┴──────── most did not ──────────┘          no majority is heard of, or it
///      │                                                                              is asked to stop │
///      └──────────────────────────────────── Resigned ◀────────────────────────────────────────────────┘
///                            a leader is heard of, from any of them: Follower
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Knows of no leader.
    Unattached {
        /// When it asks whether it would be elected.
        election_at: Monotonic,
    },
    /// Asks whether it would be elected (KIP-996), so that who cannot win disturbs nobody.
    Prospective(Election),
    /// Stands for election.
    Candidate(Election),
    /// Takes records.
    Leader(Leading),
    /// Fetches from a leader.
    Follower(Following),
    /// Led in this epoch and does not any more. It must not vote for another in it, nor append.
    Resigned {
        /// When it asks whether it would be elected.
        election_at: Monotonic,
        /// Who has not confirmed to know it.
        untold: BTreeSet<ReplicaKey>,
        /// Whom it would have follow.
        successors: Vec<ReplicaKey>,
        /// When they are told again.
        tell_at: Monotonic,
    },
}

/// An election under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Who said yes, itself among them.
    pub granted: BTreeSet<ReplicaKey>,
    /// Who said no.
    pub rejected: BTreeSet<ReplicaKey>,
    /// When it is over without an outcome.
    pub ends_at: Monotonic,
    /// When those that have not answered are asked again.
    pub ask_at: Monotonic,
}

/// A leader's knowledge of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    /// Where its epoch begins. Nothing counts as replicated before something of the epoch itself is.
    pub epoch_start: Offset,
    /// Followers, voters or not, by what they asked for last.
    pub progress: BTreeMap<ReplicaKey, Progress>,
    /// Voters that do not know yet who leads.
    pub untold: BTreeSet<ReplicaKey>,
    /// When they are told again.
    pub tell_at: Monotonic,
    /// When it began.
    pub since: Monotonic,
}

/// How far a follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The end of its log, as far as that is durable and the leader's too.
    pub end: Offset,
    /// When it last asked.
    pub heard_at: Monotonic,
    /// Where the leader's log ended then.
    pub leader_end: Offset,
    /// When it asked first for what came after something that it has all of now: it was caught up then.
    pub caught_up_at: Option<Monotonic>,
}

/// A follower's view of its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// Whom it follows.
    pub leader: NodeId,
    /// Whether the leader has answered, and was there since.
    pub has_fetched: bool,
    /// When the leader counts as gone.
    pub leader_gone_at: Monotonic,
    /// How often in a row nobody listened where the leader was.
    pub refusals: u32,
    /// When it asks again.
    pub fetch_at: Monotonic,
    /// Whether it waits for its disk, or for a snapshot, before it asks again.
    pub is_busy: bool,
}
