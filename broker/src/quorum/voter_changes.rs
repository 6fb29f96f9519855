//! Changing who votes (KIP-853): one voter at a time, so that a majority before and a majority after always share a voter; in force as
//! soon as it is in the log; and nothing else is changed before that is committed.
//!
//! What a leader demands of a change, each of which keeps a known mistake out:
//! - something of its own epoch is committed, so that no change of an earlier leader can come back that it does not know of;
//! - the change before is committed;
//! - who gets a vote has all that the log had a moment ago, so that the new majority is one that can commit;
//! - of the voters that there will be, most are heard of.

use super::bugs::Bug;
use super::machine::{Effect, PendingChange, Quorum, RequestId};
use super::role::{Leading, Role};
use super::types::{ChangeRefusal, ReplicaKey, VoterChange, Voters};
use crate::ids::Offset;
use crate::machine::Monotonic;

impl Quorum {
    /// Begins a change, which is answered when it is committed.
    pub(super) fn change_voters(
        &mut self,
        now: Monotonic,
        id: RequestId,
        change: &VoterChange,
        effects: &mut Vec<Effect>,
    ) {
        match self.changed_voters(now, change) {
            Ok(voters) if voters != self.voters => {
                self.change = Some(PendingChange { id, end: None });
                let epoch = self.election.epoch;
                effects.push(Effect::AppendVoters { epoch, voters, is_first: !self.history.is_recorded() });
            }
            same => effects.push(Effect::VotersChanged { id, outcome: same.map(drop) }),
        }
    }

    /// Who would vote, if that may be.
    fn changed_voters(&self, now: Monotonic, change: &VoterChange) -> Result<Voters, ChangeRefusal> {
        let Role::Leader(leading) = &self.role else { return Err(ChangeRefusal::NotLeader) };
        if self.history.is_fixed() {
            return Err(ChangeRefusal::Fixed);
        }
        let leads_surely = self.high_watermark > leading.epoch_start || self.has(Bug::ChangeBeforeOwnRecord);
        let is_settled = self.is_settled() || self.has(Bug::TwoChangesAtOnce);
        if !leads_surely || !is_settled {
            return Err(ChangeRefusal::UnderWay);
        }
        let voters = match change {
            VoterChange::Add(voter) => {
                if self.voters.get(voter.key.id).is_some() {
                    return Err(ChangeRefusal::Duplicate);
                }
                if !self.is_caught_up(now, leading, voter.key) && !self.has(Bug::AddBeforeCaughtUp) {
                    return Err(ChangeRefusal::NotCaughtUp);
                }
                self.voters.with(voter.clone())
            }
            VoterChange::Remove(replica) => {
                if !self.voters.contains(*replica) {
                    return Err(ChangeRefusal::NotFound);
                }
                if self.voters.len() == 1 {
                    return Err(ChangeRefusal::LastVoter);
                }
                self.voters.without(*replica)
            }
            VoterChange::Update(voter) => {
                if !self.voters.contains(voter.key) {
                    return Err(ChangeRefusal::NotFound);
                }
                return Ok(self.voters.with(voter.clone()));
            }
        };
        let is_heard = |voter: &ReplicaKey| *voter == self.config.me || self.is_heard(now, leading, *voter);
        match voters.iter().filter(is_heard).count() >= voters.majority() {
            true => Ok(voters),
            false => Err(ChangeRefusal::NoMajority),
        }
    }

    /// Whether the voters in force are committed.
    fn is_settled(&self) -> bool {
        self.change.is_none() && self.history.newest().is_none_or(|at| at < self.high_watermark)
    }

    fn is_heard(&self, now: Monotonic, leading: &Leading, replica: ReplicaKey) -> bool {
        let progress = leading.progress.get(&replica);
        progress.is_some_and(|progress| progress.heard_at + self.config.fetch_timeout >= now)
    }

    /// Whether a follower has, or had within the time that a follower may be silent, all of the log.
    fn is_caught_up(&self, now: Monotonic, leading: &Leading, replica: ReplicaKey) -> bool {
        let caught_up_at = leading.progress.get(&replica).and_then(|progress| progress.caught_up_at);
        caught_up_at.is_some_and(|at| at + self.config.fetch_timeout >= now)
    }

    /// The voters as they were formed come into the first leader's log, so that who joins later learns of them.
    pub(super) fn record_voters(&self, effects: &mut Vec<Effect>) {
        if self.is_leader() && !self.history.is_fixed() && !self.history.is_recorded() {
            let (epoch, voters) = (self.election.epoch, self.voters.clone());
            effects.push(Effect::AppendVoters { epoch, voters, is_first: true });
        }
    }

    pub(super) fn on_voters_appended(&mut self, voters: Voters, end: Offset) {
        self.log.append(self.election.epoch, end);
        self.history.append(Offset(end.0 - 1), voters);
        self.use_voters();
        if let Some(change) = &mut self.change {
            change.end = Some(end);
        }
    }

    /// The voters in force may be others now.
    pub(super) fn use_voters(&mut self) {
        if self.history.in_force() == &self.voters {
            return;
        }
        let before = std::mem::replace(&mut self.voters, self.history.in_force().clone());
        if let Role::Leader(leading) = &mut self.role {
            leading.untold.retain(|voter| self.voters.contains(*voter));
            let new = self.voters.iter().filter(|voter| !before.contains(*voter) && *voter != self.config.me);
            leading.untold.extend(new);
        }
    }

    /// Answers for a change that is committed. A leader that has no vote any more leaves then: until then nobody else may know of it.
    pub(super) fn settle_change(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        if !self.is_leader() {
            return;
        }
        if let Some(PendingChange { id, end: Some(end) }) = self.change
            && end <= self.high_watermark
        {
            self.change = None;
            effects.push(Effect::VotersChanged { id, outcome: Ok(()) });
        }
        if !self.is_voter() && self.is_settled() && !self.has(Bug::RemovedLeaderStays) {
            self.resign(now);
        }
    }

    /// Who leads no more cannot say what becomes of a change.
    pub(super) fn give_up_change(&mut self, effects: &mut Vec<Effect>) {
        if self.is_leader() {
            return;
        }
        if let Some(PendingChange { id, .. }) = self.change.take() {
            effects.push(Effect::VotersChanged { id, outcome: Err(ChangeRefusal::NotLeader) });
        }
    }
}
