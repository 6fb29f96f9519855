//! Leading: telling so, answering fetches, knowing what a majority has, and stepping down.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bugs::Bug;
use super::machine::{Effect, Quorum};
use super::role::{Leading, Progress, Role};
use super::types::{Answer, ElectionState, Epoch, LogEnd, Refusal, ReplicaKey, Request};
use crate::ids::Offset;
use crate::machine::Monotonic;

/// How long after its last fetch a replica that does not vote is forgotten, as in Kafka.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

impl Quorum {
    /// Most voted for it.
    pub(super) fn lead(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        self.set_election(ElectionState { leader: Some(self.config.me.id), ..self.election }, effects);
        self.role = Role::Leader(Leading {
            epoch_start: self.log.end().offset,
            progress: BTreeMap::new(),
            untold: self.voters.iter().filter(|voter| *voter != self.config.me).collect(),
            tell_at: now,
            since: now,
        });
        effects.push(Effect::AppendLeaderChange { epoch: self.election.epoch });
    }

    pub(super) fn on_fetch(
        &mut self,
        now: Monotonic,
        epoch: Epoch,
        replica: ReplicaKey,
        log_end: LogEnd,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        self.refuse_other_epochs(epoch)?;
        let takes_any_history = self.has(Bug::IgnoreDivergence);
        let takes_any_start = self.has(Bug::TakeAnyEpochAtTheStart);
        let Role::Leader(leading) = &mut self.role else { return Err(Refusal::NotLeader) };
        leading.untold.remove(&replica);
        let mut own = self.log.end_of(log_end.epoch);
        let start = self.log.start();
        if takes_any_start && own == start {
            own.epoch = own.epoch.min(log_end.epoch);
        }
        let is_behind = log_end.offset < start.offset;
        let is_other = (own.epoch != log_end.epoch || own.offset < log_end.offset)
            && !(takes_any_history && log_end.offset <= self.log.end().offset);
        // Replicas that are gone for good are forgotten.
        let is_remembered = |known: &ReplicaKey, progress: &Progress| {
            self.voters.contains(*known) || progress.heard_at + FORGOTTEN_AFTER > now
        };
        if !leading.progress.contains_key(&replica) {
            leading.progress.retain(|known, progress| is_remembered(known, progress));
        }
        let progress = leading.progress.entry(replica).or_insert(Progress {
            end: Offset::ZERO,
            heard_at: now,
            leader_end: Offset(i64::MAX),
            caught_up_at: None,
        });
        // Whatever it is answered: when it asked last, and where this log ended then.
        let before = std::mem::replace(&mut progress.heard_at, now);
        let end_before = std::mem::replace(&mut progress.leader_end, self.log.end().offset);
        if is_behind || (is_other && own.offset <= start.offset && start.offset > Offset::ZERO) {
            return Ok(Answer::Snapshot(start));
        }
        if is_other {
            return Ok(Answer::Diverging(own));
        }
        progress.end = log_end.offset;
        if progress.end >= self.log.end().offset {
            progress.caught_up_at = Some(now);
        } else if progress.end >= end_before {
            progress.caught_up_at = progress.caught_up_at.max(Some(before));
        }
        self.count_replicas(effects);
        Ok(Answer::Records { from: log_end.offset, high_watermark: self.high_watermark })
    }

    /// Raises the high watermark to what a majority of the voters has on its disks.
    pub(super) fn count_replicas(&mut self, effects: &mut Vec<Effect>) {
        let Role::Leader(leading) = &self.role else { return };
        let own = if self.has(Bug::CountBeforeTheDisk) { self.log.end().offset } else { self.flushed };
        let mut ends: Vec<Offset> = self
            .voters
            .iter()
            .map(|voter| match voter == self.config.me {
                true => own,
                false => leading.progress.get(&voter).map_or(Offset::ZERO, |progress| progress.end),
            })
            .collect();
        if self.has(Bug::RemovedLeaderCounts) && !self.is_voter() {
            ends.push(own);
        }
        if !self.has(Bug::CountUnsorted) {
            ends.sort_by_key(|end| Reverse(*end));
        }
        let Some(reached) = ends.get(self.voters.majority() - 1).copied() else { return };
        // Records of earlier epochs count once one of this epoch does: a later leader may not have them otherwise.
        if reached > leading.epoch_start || self.has(Bug::CountOtherEpochs) {
            self.raise_high_watermark(reached, effects);
        }
    }

    pub(super) fn on_leader_time(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        if self.lost_majority_at().is_some_and(|at| at <= now) && !self.has(Bug::LeadAlone) {
            self.resign(now);
            self.on_election_time(now, effects);
            return;
        }
        let retry = self.config.request_timeout;
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.tell_at <= now && !leading.untold.is_empty() {
            leading.tell_at = now + retry;
            for voter in &leading.untold {
                let (epoch, leader) = (self.election.epoch, self.config.me.id);
                effects.push(Effect::Send {
                    to: voter.id,
                    request: Request::BeginEpoch { epoch, leader, voter: *voter },
                });
            }
        }
    }

    pub(super) fn leader_deadline(&self, leading: &Leading) -> Option<Monotonic> {
        let tell = (!leading.untold.is_empty()).then_some(leading.tell_at);
        let resign = self.lost_majority_at().filter(|_| !self.has(Bug::LeadAlone));
        [tell, resign].into_iter().flatten().min()
    }

    /// When a leader that hears of nobody until then is to step down; `None` where it is a majority by itself.
    fn lost_majority_at(&self) -> Option<Monotonic> {
        let Role::Leader(leading) = &self.role else { return None };
        let needed = self.voters.majority() - usize::from(self.is_voter());
        let others = self.voters.iter().filter(|voter| *voter != self.config.me);
        let mut heard: Vec<Monotonic> = others
            .map(|voter| leading.progress.get(&voter).map_or(leading.since, |progress| progress.heard_at))
            .collect();
        heard.sort_by_key(|at| Reverse(*at));
        let last = heard.get(needed.checked_sub(1)?)?;
        Some(*last + self.quorum_timeout())
    }

    /// Longer than a follower waits for its leader, so that a leader is not the first to give up.
    fn quorum_timeout(&self) -> Duration {
        self.config.fetch_timeout + self.config.fetch_timeout / 2
    }

    /// Leads no more, and says so.
    pub(super) fn resign(&mut self, now: Monotonic) {
        let Role::Leader(leading) = &self.role else { return };
        let untold: BTreeSet<ReplicaKey> =
            self.voters.iter().filter(|voter| *voter != self.config.me).collect();
        let mut successors: Vec<ReplicaKey> = untold.iter().copied().collect();
        let end =
            |voter: &ReplicaKey| leading.progress.get(voter).map_or(Offset::ZERO, |progress| progress.end);
        successors.sort_by_key(|voter| Reverse(end(voter)));
        let election_at = now + self.random_timeout();
        self.role = Role::Resigned { election_at, untold, successors, tell_at: now };
    }

    pub(super) fn on_told(&mut self, epoch: Epoch, voter: ReplicaKey) {
        if let Role::Leader(leading) = &mut self.role
            && epoch == self.election.epoch
        {
            leading.untold.remove(&voter);
        }
    }
}
