//! Votes: giving them, asking for them, and asking beforehand whether asking has any use (KIP-996).

use std::collections::BTreeSet;
use std::time::Duration;

use super::bugs::Bug;
use super::machine::{Effect, Quorum};
use super::role::{Election, Role};
use super::types::{Answer, ElectionState, Epoch, LogEnd, Refusal, ReplicaKey, Request};
use crate::ids::NodeId;
use crate::machine::Monotonic;

impl Quorum {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn on_vote_request(
        &mut self,
        now: Monotonic,
        epoch: Epoch,
        candidate: ReplicaKey,
        voter: ReplicaKey,
        log_end: LogEnd,
        is_pre_vote: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        if epoch < self.election.epoch {
            return Err(Refusal::FencedEpoch);
        }
        if voter != self.config.me && !self.has(Bug::VoterWithoutDirectory) {
            return Err(Refusal::InvalidVoterKey);
        }
        if epoch > self.election.epoch {
            self.detach(now, epoch, effects);
        }
        let is_up_to_date = log_end >= self.log.end() || self.has(Bug::VoteWithoutComparingLogs);
        let is_granted = is_up_to_date
            && match (&self.role, is_pre_vote) {
                (Role::Leader(_) | Role::Resigned { .. }, _) => false,
                // Its leader is well, so who asks has lost touch.
                (Role::Follower(following), true) => !following.has_fetched,
                (_, true) => true,
                (Role::Follower(_), false) => self.election.voted == Some(candidate),
                // An epoch that has had a leader has had its vote.
                (Role::Unattached { .. } | Role::Prospective(_) | Role::Candidate(_), false) => {
                    let is_free = self.election.voted.is_none_or(|voted| voted == candidate);
                    (is_free || self.has(Bug::VoteTwiceInAnEpoch)) && self.election.leader.is_none()
                }
            };
        if is_granted && !is_pre_vote && self.election.voted != Some(candidate) {
            let election_at = now + self.random_timeout();
            self.set_election(ElectionState { voted: Some(candidate), ..self.election }, effects);
            self.role = Role::Unattached { election_at };
        }
        Ok(Answer::Vote { is_granted, is_pre_vote })
    }

    /// An answer came to a vote that was asked for.
    pub(super) fn on_vote(
        &mut self,
        now: Monotonic,
        asked_in: Epoch,
        voter: ReplicaKey,
        is_granted: bool,
        is_pre_vote: bool,
        effects: &mut Vec<Effect>,
    ) {
        if asked_in != self.election.epoch || is_pre_vote != matches!(self.role, Role::Prospective(_)) {
            return;
        }
        let (Role::Prospective(election) | Role::Candidate(election)) = &mut self.role else { return };
        if is_granted {
            election.granted.insert(voter);
        } else {
            election.rejected.insert(voter);
        }
        self.settle(now, effects);
    }

    /// Whether an election has its outcome.
    fn settle(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        let (is_asked_beforehand, election) = match &self.role {
            Role::Prospective(election) => (true, election),
            Role::Candidate(election) => (false, election),
            _ => return,
        };
        let may_win =
            |losses: &BTreeSet<ReplicaKey>| self.voters.len() - losses.len() >= self.voters.majority();
        if self.voters.is_majority(&election.granted) {
            match is_asked_beforehand {
                true => self.stand(now, effects),
                false => self.lead(now, effects),
            }
        } else if !may_win(&election.rejected) {
            let backoff = self.random_below(self.config.election_backoff_max);
            match self.election.leader {
                Some(leader) if leader != self.config.me.id => {
                    self.follow(now, self.election.epoch, leader, effects);
                }
                _ => self.role = Role::Unattached { election_at: now + backoff },
            }
        }
    }

    pub(super) fn on_election_time(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        match &mut self.role {
            Role::Unattached { election_at } if *election_at <= now => {
                // By turns: a leader that only others know of may be there as well.
                let stands = self.is_voter()
                    || (self.is_voter_until_committed()
                        && self.random_below(Duration::from_micros(2)).is_zero());
                match stands {
                    true => self.sound_out(now, effects),
                    false => self.look_for_leader(now, effects),
                }
            }
            Role::Prospective(Election { ends_at, .. }) | Role::Candidate(Election { ends_at, .. })
                if *ends_at <= now =>
            {
                match self.is_voter() {
                    true => self.sound_out(now, effects),
                    false => self.look_for_leader(now, effects),
                }
            }
            Role::Prospective(election) | Role::Candidate(election) if election.ask_at <= now => {
                election.ask_at = now + self.config.request_timeout;
                self.ask_voters(effects);
            }
            Role::Resigned { election_at, .. } if *election_at <= now => {
                // What is left of its own epoch is over.
                let epoch = self.election.epoch.next();
                self.detach(now, epoch, effects);
                if self.is_voter() {
                    self.sound_out(now, effects);
                }
            }
            Role::Resigned { untold, tell_at, successors, .. } if *tell_at <= now && !untold.is_empty() => {
                *tell_at = now + self.config.request_timeout;
                for voter in untold.iter() {
                    let request = Request::EndEpoch {
                        epoch: self.election.epoch,
                        leader: self.config.me.id,
                        successors: successors.clone(),
                    };
                    effects.push(Effect::Send { to: voter.id, request });
                }
            }
            _ => {}
        }
    }

    /// Whether its vote was taken by a record that is not known to be committed. Maybe only its log has that record, so that nobody else
    /// who goes by it can be elected, and it must stand once more to have it committed. It counts as nobody's vote.
    fn is_voter_until_committed(&self) -> bool {
        let is_open = self.history.newest().is_some_and(|at| at >= self.high_watermark);
        is_open && self.history.below(self.high_watermark).contains(self.config.me)
    }

    /// Who has no vote asks one voter, or whom else it was told of, after the other by chance who leads.
    fn look_for_leader(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        let chance = self.random_below(Duration::from_secs(1)).as_micros() as usize;
        let mut others: BTreeSet<NodeId> = self.voters.iter().map(|voter| voter.id).collect();
        others.extend(&self.config.bootstrap);
        others.remove(&self.config.me.id);
        if let Some(other) = others.iter().nth(chance % others.len().max(1)) {
            self.send_fetch(*other, effects);
        }
        self.role = Role::Unattached { election_at: now + self.config.request_timeout };
    }

    /// Asks the others whether they would vote for it.
    pub(super) fn sound_out(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        if self.has(Bug::StandUnasked) {
            return self.stand(now, effects);
        }
        self.role = Role::Prospective(self.new_election(now));
        self.ask_voters(effects);
        self.settle(now, effects);
    }

    /// Asks the others for their votes, in a new epoch in which it has its own.
    fn stand(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        let state =
            ElectionState { epoch: self.election.epoch.next(), leader: None, voted: Some(self.config.me) };
        self.set_election(state, effects);
        self.role = Role::Candidate(self.new_election(now));
        self.ask_voters(effects);
        self.settle(now, effects);
    }

    fn new_election(&mut self, now: Monotonic) -> Election {
        Election {
            granted: BTreeSet::from([self.config.me]),
            rejected: BTreeSet::new(),
            ends_at: now + self.random_timeout(),
            ask_at: now + self.config.request_timeout,
        }
    }

    fn ask_voters(&self, effects: &mut Vec<Effect>) {
        let (Role::Prospective(election) | Role::Candidate(election)) = &self.role else { return };
        let answered =
            |voter: &ReplicaKey| election.granted.contains(voter) || election.rejected.contains(voter);
        for voter in self.voters.iter().filter(|voter| *voter != self.config.me && !answered(voter)) {
            let request = Request::Vote {
                epoch: self.election.epoch,
                candidate: self.config.me,
                voter,
                log_end: self.log.end(),
                is_pre_vote: matches!(self.role, Role::Prospective(_)),
            };
            effects.push(Effect::Send { to: voter.id, request });
        }
    }

    pub(super) fn on_end_epoch(
        &mut self,
        now: Monotonic,
        epoch: Epoch,
        leader: NodeId,
        successors: &[ReplicaKey],
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        if epoch < self.election.epoch {
            return Err(Refusal::FencedEpoch);
        }
        if epoch > self.election.epoch {
            self.detach(now, epoch, effects);
        }
        if self.election.leader.is_some_and(|known| known != leader) {
            return Err(Refusal::OtherLeader);
        }
        let is_follower = matches!(&self.role, Role::Follower(following) if following.leader == leader);
        if is_follower && self.is_voter() {
            // The most up to date stands at once, the others one after the other behind it.
            let place = successors.iter().position(|replica| *replica == self.config.me);
            let backoff = match place {
                Some(0) => Default::default(),
                _ => self.random_below(self.config.election_backoff_max),
            };
            // In this epoch it still knows who led, so it votes for nobody in it.
            self.role = Role::Unattached { election_at: now + backoff };
        }
        Ok(Answer::EndEpoch)
    }
}
