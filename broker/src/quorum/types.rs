//! What the members of a quorum say to each other, free of wire versions, and what they write down.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use uuid::Uuid;

use crate::ids::{NodeId, Offset};

/// Counts the leaders that a quorum has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i32);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node and the log directory that it has now (KIP-853): a node whose disk was replaced is another replica, so that it cannot
/// vote in an epoch in which it has voted already and forgotten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    /// `node.id`.
    pub id: NodeId,
    /// From `meta.properties` of the metadata log's directory.
    pub directory: Uuid,
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.directory)
    }
}

/// Where a voter listens for the other controllers, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoterEndpoint {
    /// Of the listener.
    pub listener: String,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// A voter, and where the others find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Who.
    pub key: ReplicaKey,
    /// Where; the first is the one that is used. None where that is told otherwise.
    pub endpoints: Vec<VoterEndpoint>,
}

/// Who votes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters(BTreeMap<NodeId, Voter>);

impl Voters {
    /// Whether the replica, with the directory that it has, is a voter.
    pub fn contains(&self, replica: ReplicaKey) -> bool {
        self.0.get(&replica.id).is_some_and(|voter| voter.key == replica)
    }

    /// What is recorded of the voter with this id, whatever its directory.
    pub fn get(&self, id: NodeId) -> Option<&Voter> {
        self.0.get(&id)
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = ReplicaKey> + '_ {
        self.0.values().map(|voter| voter.key)
    }

    /// All of them with their endpoints, in the order of their ids.
    pub fn recorded(&self) -> impl Iterator<Item = &Voter> {
        self.0.values()
    }

    /// With this one too, or with what is known of it now.
    pub fn with(&self, voter: Voter) -> Voters {
        let mut voters = self.clone();
        voters.0.insert(voter.key.id, voter);
        voters
    }

    /// Without this one.
    pub fn without(&self, replica: ReplicaKey) -> Voters {
        let mut voters = self.clone();
        voters.0.retain(|_, voter| voter.key != replica);
        voters
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody votes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are more than half.
    pub fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// Whether so many of them are more than half. Replicas that are no voters do not count.
    pub fn is_majority(&self, replicas: &BTreeSet<ReplicaKey>) -> bool {
        replicas.iter().filter(|replica| self.contains(**replica)).count() >= self.majority()
    }
}

impl FromIterator<Voter> for Voters {
    fn from_iter<I: IntoIterator<Item = Voter>>(voters: I) -> Voters {
        Voters(voters.into_iter().map(|voter| (voter.key.id, voter)).collect())
    }
}

impl FromIterator<ReplicaKey> for Voters {
    fn from_iter<I: IntoIterator<Item = ReplicaKey>>(replicas: I) -> Voters {
        replicas.into_iter().map(|key| Voter { key, endpoints: Vec::new() }).collect()
    }
}

/// A change of who votes (KIP-853).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoterChange {
    /// A replica that follows the log gets a vote.
    Add(Voter),
    /// A voter's vote is taken.
    Remove(ReplicaKey),
    /// A voter listens elsewhere.
    Update(Voter),
}

/// Where a log ends, or ends in an epoch: the offset of the record to come, and the epoch of the one before it.
///
/// Ordered as logs are by how up to date they are: by epoch first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogEnd {
    /// Of the last record; 0 for an empty log.
    pub epoch: Epoch,
    /// Of the record to come.
    pub offset: Offset,
}

/// The election state that must not be forgotten (the file `quorum-state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ElectionState {
    /// The newest epoch heard of.
    pub epoch: Epoch,
    /// Its leader, if known.
    pub leader: Option<NodeId>,
    /// Whom this replica voted for in it.
    pub voted: Option<ReplicaKey>,
}

/// Why a request was refused. The answer's epoch and leader say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sender is behind: FENCED_LEADER_EPOCH.
    FencedEpoch,
    /// The sender is ahead: UNKNOWN_LEADER_EPOCH.
    UnknownEpoch,
    /// The request is for the leader: NOT_LEADER_OR_FOLLOWER.
    NotLeader,
    /// The request is for a voter with another directory: INVALID_VOTER_KEY.
    InvalidVoterKey,
    /// The leader named is another than the one known: INVALID_REQUEST.
    OtherLeader,
}

/// Why who votes is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// Another leads, or nobody; or this node leads no more, and what becomes of the change it cannot say.
    NotLeader,
    /// They cannot be changed here.
    Fixed,
    /// Another change, or the begin of the leader's epoch, is not committed yet.
    UnderWay,
    /// The replica to be added does not fetch, or is behind.
    NotCaughtUp,
    /// Of the voters that there would be, too few are heard of to commit anything.
    NoMajority,
    /// A voter has that id.
    Duplicate,
    /// There is no such voter, with that directory.
    NotFound,
    /// Nobody would be left to vote.
    LastVoter,
}

impl ChangeRefusal {
    /// What whoever asked is told.
    pub fn message(self) -> &'static str {
        match self {
            ChangeRefusal::NotLeader => "this node does not lead the metadata quorum, or leads it no more",
            ChangeRefusal::Fixed => {
                "this node was started without --controllers, so the quorum is itself alone; start it with --controllers that names \
                 itself"
            }
            ChangeRefusal::UnderWay => {
                "an earlier change of the voters, or the begin of the leader's epoch, is not committed yet; try again"
            }
            ChangeRefusal::NotCaughtUp => {
                "the node does not follow the metadata log with this directory, or has not caught up; start it with --controllers and \
                 the role controller, and try again"
            }
            ChangeRefusal::NoMajority => {
                "of the voters that there would be, too few are heard of to commit anything"
            }
            ChangeRefusal::Duplicate => "a voter has this id; remove it first, if its directory is lost",
            ChangeRefusal::NotFound => "there is no voter with this id and directory",
            ChangeRefusal::LastVoter => "the only voter cannot be removed",
        }
    }
}

/// What one member asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// For a vote, or whether one would be given (KIP-996).
    Vote {
        /// In which the candidate wants to lead; the one it is in if only asked beforehand.
        epoch: Epoch,
        /// Who asks.
        candidate: ReplicaKey,
        /// Who is asked, with the directory that the asker believes it has.
        voter: ReplicaKey,
        /// Where the asker's log ends.
        log_end: LogEnd,
        /// Asked beforehand: binds nobody.
        is_pre_vote: bool,
    },
    /// A leader tells that it leads.
    BeginEpoch {
        /// Which.
        epoch: Epoch,
        /// Who.
        leader: NodeId,
        /// Who is told.
        voter: ReplicaKey,
    },
    /// A leader tells that it leads no more.
    EndEpoch {
        /// Which.
        epoch: Epoch,
        /// Who.
        leader: NodeId,
        /// Who should follow it, the most up to date first.
        successors: Vec<ReplicaKey>,
    },
    /// For what comes after the log that the follower has on its disk.
    Fetch {
        /// As the follower knows it.
        epoch: Epoch,
        /// Who asks.
        replica: ReplicaKey,
        /// Where its log ends, all of it durable.
        log_end: LogEnd,
    },
}

/// The answer to the [`Request`] of the same name, with what the answerer knows of epoch and leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The newest that the answerer has heard of.
    pub epoch: Epoch,
    /// Its leader, if known.
    pub leader: Option<NodeId>,
    /// What was asked for, or why not.
    pub outcome: Result<Answer, Refusal>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whether the vote is given.
    Vote {
        /// It is.
        is_granted: bool,
        /// As asked.
        is_pre_vote: bool,
    },
    /// Noted.
    BeginEpoch,
    /// Noted.
    EndEpoch,
    /// The follower's log holds, and these come next.
    Records {
        /// Where they begin: the follower's log end.
        from: Offset,
        /// How far consumers of the log may read.
        high_watermark: Offset,
    },
    /// The follower's log has another history: the leader's ends here in the follower's last epoch or before it.
    Diverging(LogEnd),
    /// The leader's log begins past the follower's end: a snapshot leads there.
    Snapshot(LogEnd),
}
