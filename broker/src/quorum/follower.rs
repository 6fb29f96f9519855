//! Following: fetching, giving up what the leader does not have, and noticing that it is gone.

use super::bugs::Bug;
use super::machine::{Came, Effect, Quorum};
use super::role::Role;
use super::types::{Answer, Epoch, LogEnd, Refusal, ReplicaKey, Request};
use crate::ids::{NodeId, Offset};
use crate::machine::Monotonic;

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
