//! Following: fetching, giving up what the leader does not have, and noticing that it is gone.

use super::bugs::Bug;
use super::machine::{Came, Effect, Quorum};
use super::role::Role;
use super::types::{Answer, Epoch, LogEnd, Refusal, ReplicaKey, Request};
use crate::ids::{NodeId, Offset};
use crate::machine::Monotonic;

/// So often in a row nobody listens where a leader was before it is given up.
const REFUSALS: u32 = 2;
/// Retry backoffs over which those spread who give it up, so that two seldom stand at the same time.
const HURRY_SPREAD: u32 = 5;

impl Quorum {
    pub(super) fn on_begin_epoch(
        &mut self,
        now: Monotonic,
        epoch: Epoch,
        leader: NodeId,
        voter: ReplicaKey,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        if epoch < self.election.epoch {
            return Err(Refusal::FencedEpoch);
        }
        if voter != self.config.me {
            return Err(Refusal::InvalidVoterKey);
        }
        if epoch == self.election.epoch && self.election.leader.is_some_and(|known| known != leader) {
            return Err(Refusal::OtherLeader);
        }
        let follows_it = matches!(&self.role, Role::Follower(following) if following.leader == leader);
        if leader != self.config.me.id && (epoch > self.election.epoch || !follows_it) {
            self.follow(now, epoch, leader, effects);
        }
        Ok(Answer::BeginEpoch)
    }

    pub(super) fn on_follower_time(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        let Role::Follower(following) = &self.role else { return };
        if following.leader_gone_at <= now {
            match self.is_voter() {
                true => self.sound_out(now, effects),
                false => self.detach(now, self.election.epoch, effects),
            }
            return;
        }
        if following.fetch_at <= now && !following.is_busy {
            let leader = following.leader;
            self.send_fetch(leader, effects);
            let retry_at = now + self.config.request_timeout;
            if let Role::Follower(following) = &mut self.role {
                following.fetch_at = retry_at;
            }
        }
    }

    pub(super) fn send_fetch(&self, to: NodeId, effects: &mut Vec<Effect>) {
        let request =
            Request::Fetch { epoch: self.election.epoch, replica: self.config.me, log_end: self.log.end() };
        effects.push(Effect::Send { to, request });
    }

    /// An answer to a fetch came. One that was asked for with another log end, or in another epoch, comes too late.
    pub(super) fn on_fetched(
        &mut self,
        now: Monotonic,
        from: NodeId,
        (asked_in, asked_with): (Epoch, LogEnd),
        answer: &Answer,
        Came { records, voters }: Came,
        effects: &mut Vec<Effect>,
    ) {
        let (log_end, gone_at) = (self.log.end(), now + self.config.fetch_timeout);
        let retry_at = now + self.config.retry_backoff;
        let takes_stale = self.has(Bug::TakeStaleAnswers);
        let believes_all = self.has(Bug::HighWatermarkPastTheEnd);
        let waits_for_disk = !self.has(Bug::FetchBeforeTheDisk);
        let Role::Follower(following) = &mut self.role else { return };
        if following.leader != from || asked_in != self.election.epoch {
            return;
        }
        following.leader_gone_at = gone_at;
        following.has_fetched = true;
        following.refusals = 0;
        if (asked_with != log_end && !takes_stale) || (following.is_busy && waits_for_disk) {
            return;
        }
        match answer {
            Answer::Records { high_watermark, .. } => {
                following.fetch_at = if records.is_empty() { retry_at } else { now };
                following.is_busy = !records.is_empty() && waits_for_disk;
                if !records.is_empty() {
                    for (epoch, end) in records {
                        self.log.append(epoch, end);
                    }
                    for (at, voters) in voters {
                        self.history.append(at, voters);
                    }
                    self.use_voters();
                    effects.push(Effect::Append);
                }
                let known =
                    if believes_all { *high_watermark } else { (*high_watermark).min(self.log.end().offset) };
                self.raise_high_watermark(known, effects);
            }
            Answer::Diverging(leaders) => {
                following.fetch_at = now;
                let end = leaders.offset.min(self.log.end_of(leaders.epoch).offset);
                self.truncate(end, effects);
            }
            Answer::Snapshot(end) => {
                following.is_busy = true;
                effects.push(Effect::FetchSnapshot { from, end: *end });
            }
            Answer::Vote { .. } | Answer::BeginEpoch | Answer::EndEpoch => {}
        }
    }

    /// A fetch came to nothing. Where nobody listens any more the leader's process has ended, and with it its office: there is nothing
    /// to wait for. A firewall may refuse as well, so the others, who then still hear of the leader, are asked beforehand as always.
    pub(super) fn on_failed(&mut self, now: Monotonic, to: NodeId, request: &Request, is_refused: bool) {
        let epoch = self.election.epoch;
        let soon = now + self.random_below(self.config.retry_backoff * HURRY_SPREAD);
        let (Role::Follower(following), Request::Fetch { .. }) = (&mut self.role, request) else { return };
        if following.leader != to {
            return;
        }
        following.fetch_at = following.fetch_at.min(now + self.config.retry_backoff);
        following.refusals = if is_refused { following.refusals + 1 } else { 0 };
        following.has_fetched &= !is_refused;
        if following.refusals == REFUSALS && self.hurried_in != Some(epoch) {
            self.hurried_in = Some(epoch);
            following.leader_gone_at = following.leader_gone_at.min(soon);
        }
    }

    pub(super) fn truncate(&mut self, end: Offset, effects: &mut Vec<Effect>) {
        // A leader has all that was committed; one that has not is none of this quorum's, and nothing is given up for it.
        if end < self.high_watermark {
            return;
        }
        self.log.truncate(end);
        if !self.has(Bug::KeepVotersAtTruncation) {
            self.history.truncate(end);
            self.use_voters();
        }
        self.flushed = self.flushed.min(end);
        effects.push(Effect::Truncate { end });
    }

    /// More of the log is on the disk.
    pub(super) fn on_flushed(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        let is_all = self.flushed >= self.log.end().offset;
        match &mut self.role {
            Role::Leader(_) => self.count_replicas(effects),
            Role::Follower(following) if is_all && following.is_busy => {
                following.is_busy = false;
                following.fetch_at = now;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::quorum::machine::Event;
    use crate::quorum::types::ElectionState;
    use crate::quorum::voter_history::VoterHistory;
    use crate::quorum::{EpochLog, QuorumTimeouts};

    const EPOCH: Epoch = Epoch(3);
    const LEADER: NodeId = NodeId(1);

    fn key(id: i32) -> ReplicaKey {
        ReplicaKey { id: NodeId(id), directory: Uuid::from_u128(id as u128) }
    }

    /// One of three, which has heard of its leader at the time of zero.
    fn follower() -> Quorum {
        let election = ElectionState { epoch: EPOCH, leader: Some(LEADER), voted: None };
        let voters = VoterHistory::fixed((1..=3).map(key).collect());
        let config = QuorumTimeouts::default().config(key(2), 1);
        let now = Monotonic::default();
        let mut quorum = Quorum::new(config, voters, election, EpochLog::default(), now);
        let answer = Answer::Records { from: Offset::ZERO, high_watermark: Offset::ZERO };
        let came = Came { records: Vec::new(), voters: Vec::new() };
        quorum.on_fetched(now, LEADER, (EPOCH, LogEnd::default()), &answer, came, &mut Vec::new());
        quorum
    }

    fn fails(quorum: &mut Quorum, at: u64, is_refused: bool) -> Vec<Effect> {
        let request = Request::Fetch { epoch: EPOCH, replica: key(2), log_end: LogEnd::default() };
        quorum.step(Monotonic::from_millis(at), Event::Failed { to: LEADER, request, is_refused })
    }

    fn grants_pre_vote(quorum: &mut Quorum, at: u64) -> bool {
        let mut effects = Vec::new();
        let (now, end) = (Monotonic::from_millis(at), LogEnd::default());
        let answer = quorum.on_vote_request(now, EPOCH, key(3), key(2), end, true, &mut effects);
        answer == Ok(Answer::Vote { is_granted: true, is_pre_vote: true })
    }

    #[test]
    fn a_leader_that_nobody_listens_for_is_given_up_at_once() {
        let mut quorum = follower();
        fails(&mut quorum, 1, false);
        assert!(!grants_pre_vote(&mut quorum, 2), "a connection may break");
        fails(&mut quorum, 21, true);
        assert!(grants_pre_vote(&mut quorum, 22), "another has found out before");
        fails(&mut quorum, 41, true);
        quorum.step(Monotonic::from_millis(141), Event::Tick);
        assert!(matches!(quorum.role(), Role::Prospective(_)), "{:?}", quorum.role());
    }

    #[test]
    fn one_that_only_this_follower_cannot_reach_is_given_up_before_its_time_once() {
        let mut quorum = follower();
        for at in [1, 21] {
            fails(&mut quorum, at, true);
        }
        quorum.step(Monotonic::from_millis(130), Event::Tick);
        let now = Monotonic::from_millis(140);
        for voter in [key(1), key(3)] {
            quorum.on_vote(now, EPOCH, voter, false, true, &mut Vec::new());
        }
        let Role::Follower(following) = quorum.role() else { panic!("{:?}", quorum.role()) };
        let given_up_at = following.leader_gone_at;
        assert_eq!(given_up_at, now + Duration::from_secs(2));
        for at in [160, 180, 200, 220] {
            fails(&mut quorum, at, true);
        }
        let Role::Follower(following) = quorum.role() else { panic!("{:?}", quorum.role()) };
        assert_eq!(following.leader_gone_at, given_up_at, "it asks no more often than it did before");
    }
}
