//! Replication of a partition: pure. A replica leads ([`Leader`]) or follows ([`Follower`]), by what the controller has decided
//! ([`LeaderAndIsr`]); [`Replica`] is either and goes from one to the other.
//!
//! Followers fetch (`replication/`); the controller's side is in `controller/`.

mod bugs;
mod follower;
mod leader;
mod leader_and_isr;
#[cfg(test)]
mod simulation;

pub use follower::{FetchPosition, Follower};
pub use leader::{AckId, Effect, Fetched, FollowerPlace, Leader, LogState, Park, Proposal, diverging};
pub use leader_and_isr::{LeaderAndIsr, NodeRun};

use bugs::Bugs;

use crate::ids::Offset;
use crate::machine::Monotonic;

/// One replica of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replica {
    /// It leads.
    Leads(Leader),
    /// It follows, or nobody leads.
    Follows(Follower),
}

impl Replica {
    /// Begins with a log as it was found.
    pub fn new(
        assignment: LeaderAndIsr,
        log: LogState,
        min_isr: usize,
        now: Monotonic,
        effects: &mut Vec<Effect>,
    ) -> Replica {
        Replica::with_bugs(assignment, log, min_isr, now, Bugs::default(), effects)
    }

    fn with_bugs(
        assignment: LeaderAndIsr,
        log: LogState,
        min_isr: usize,
        now: Monotonic,
        bugs: Bugs,
        effects: &mut Vec<Effect>,
    ) -> Replica {
        match assignment.leads() {
            true => Replica::Leads(Leader::elected(assignment, log, min_isr, now, bugs, effects)),
            false => Replica::Follows(Follower::new(assignment, log, bugs)),
        }
    }

    fn bugs(&self) -> Bugs {
        match self {
            Replica::Leads(leader) => leader.bugs,
            Replica::Follows(follower) => follower.bugs,
        }
    }

    /// What was decided about the partition.
    pub fn leader_and_isr(&self) -> &LeaderAndIsr {
        match self {
            Replica::Leads(leader) => leader.leader_and_isr(),
            Replica::Follows(follower) => follower.leader_and_isr(),
        }
    }

    /// Where its log is.
    pub fn log(&self) -> LogState {
        match self {
            Replica::Leads(leader) => leader.log(),
            Replica::Follows(follower) => follower.log(),
        }
    }

    /// Takes what the controller has decided. Gives whose answers it cannot give any more: it does not lead.
    pub fn assign(
        &mut self,
        assignment: LeaderAndIsr,
        min_isr: usize,
        now: Monotonic,
        effects: &mut Vec<Effect>,
    ) -> Vec<AckId> {
        let known = self.leader_and_isr();
        if assignment.leader_epoch < known.leader_epoch {
            return Vec::new();
        }
        let is_same_epoch = assignment.leader_epoch == known.leader_epoch;
        let (log, bugs) = (self.log(), self.bugs());
        let follows = Replica::Follows(Follower::new(assignment.clone(), log, bugs));
        match (std::mem::replace(self, follows), assignment.leads()) {
            (Replica::Leads(mut leader), true) if is_same_epoch => {
                leader.decided(assignment, now, effects);
                *self = Replica::Leads(leader);
            }
            (Replica::Leads(leader), true) => {
                *self = Replica::Leads(leader.reelected(assignment, now, effects));
            }
            (Replica::Leads(leader), false) => return leader.resign(),
            (Replica::Follows(_), true) => {
                *self = Replica::with_bugs(assignment, log, min_isr, now, bugs, effects);
            }
            (Replica::Follows(_), false) => {}
        }
        Vec::new()
    }

    /// The disk has confirmed everything below this.
    pub fn durable(&mut self, end: Offset, effects: &mut Vec<Effect>) {
        match self {
            Replica::Leads(leader) => leader.durable(end, effects),
            Replica::Follows(follower) => follower.durable(end),
        }
    }
}
