//! The leader's side: how far the partition is appended, durable and readable, which produce answers wait, and which
//! followers are in sync.
//!
//! ```text
//!   log start     high watermark      durable end            log end
//!       |-- readable --|                   |                    |
//!                      ^ the first batch of an acks=all producer that the disk has not confirmed,
//!                        or the end of the in-sync follower that has least
//! ```
//! `acks=all` means on disk: such a batch is neither answered nor readable before. What was produced with a weaker
//! promise is readable as soon as every in-sync replica has it, unless it stands behind one that waits: its producer chose
//! speed (`docs/decisions/0005-when-records-are-readable.md`). A follower says how far its log is durable by where it
//! fetches.
//!
//! Who is in sync is decided by the controller; the leader proposes. Until there is a new decision it counts on the *maximal* set:
//! whoever is in it by the last decision, or by anything that was proposed since, must have a record before it is committed, for
//! each may turn out to be the truth from which the next leader is chosen (KIP-497). That a proposal was refused is no
//! decision: an earlier copy of it may be under way still. So the leader then proposes what there is, which is a decision of its
//! own, and behind which no earlier proposal counts. While fewer are in sync than
//! `min.insync.replicas` nothing is committed (KIP-966).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::bugs::{Bug, Bugs};
use super::leader_and_isr::LeaderAndIsr;
use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::log::LeaderEpochs;
use crate::machine::Monotonic;

/// Names a produce answer that waits; the caller maps it to whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckId(pub u64);

/// A produce answer that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Park {
    /// Whose.
    pub ack: AckId,
    /// The offset of its first record; `None` for a duplicate of what was appended before.
    pub base: Option<Offset>,
    /// The offset after its last record.
    pub end: Offset,
    /// It waits for this node's disk, and is not readable before.
    pub durable: bool,
}

/// What a follower says when it fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Who.
    pub from: NodeId,
    /// Of its registration; it tells one run of a broker from the next (KIP-903).
    pub broker_epoch: Offset,
    /// Where its log ends, durably.
    pub end: Offset,
    /// Where it begins.
    pub log_start: Offset,
    /// When it came.
    pub at: Monotonic,
}

/// How far a follower is, as it has told its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerPlace {
    /// Who.
    pub id: NodeId,
    /// Its first offset.
    pub log_start: Offset,
    /// The offset of its next record.
    pub log_end: Offset,
    /// When it last had all that there was.
    pub caught_up_at: Monotonic,
}

/// What a leader wants of the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// In which epoch it leads.
    pub leader_epoch: LeaderEpoch,
    /// The decision that it goes on from.
    pub partition_epoch: i32,
    /// Who shall be in sync, each with the epoch of its registration as the leader knows it; -1 for the leader itself and for
    /// those that have not fetched yet.
    pub isr: Vec<(NodeId, Offset)>,
}

/// What the caller must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell readers: they may see records below this now.
    AdvanceHighWatermark(Offset),
    /// Give this answer, its records are committed.
    Answer(AckId),
    /// Ask the controller, and tell with [`Leader::refused`] when it will not.
    Propose(Proposal),
}

/// How far a follower is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Follower {
    /// Where its log ends; `None` until it has fetched in this epoch.
    end: Option<Offset>,
    log_start: Offset,
    broker_epoch: Offset,
    /// When it last had all that there was.
    caught_up_at: Monotonic,
    /// Where the log ended when it last fetched, and when that was.
    last: Option<(Offset, Monotonic)>,
}

/// The leader of one partition, from its election to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    assignment: LeaderAndIsr,
    /// Where the log ended when it was elected: what is before may be of earlier leaders.
    begins_at: Offset,
    log_end: Offset,
    durable_end: Offset,
    high_watermark: Offset,
    /// `min.insync.replicas`.
    min_isr: usize,
    followers: BTreeMap<NodeId, Follower>,
    /// A proposal is not decided about.
    is_proposing: bool,
    /// Who is in sync by what is decided, or by whatever was proposed since.
    maximal_isr: BTreeSet<NodeId>,
    /// No other proposal before this: the last one was refused.
    rests_until: Monotonic,
    /// Batches, by base and end, that may not be read before they are durable; in the order of the log.
    held: VecDeque<(Offset, Offset)>,
    /// By the offset they wait for; more than one may wait for the same. With whether they wait for this disk.
    parked: BTreeMap<(Offset, AckId), bool>,
    pub(super) bugs: Bugs,
}

/// How long after a refusal the next proposal is made.
const REST: Duration = Duration::from_millis(200);

/// Where a log is when its leader is elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogState {
    /// The offset of the next record.
    pub log_end: Offset,
    /// What is below is on disk.
    pub durable_end: Offset,
    /// What is below was known to be committed.
    pub high_watermark: Offset,
}

impl LogState {
    /// Of a log that was recovered, all of it durable, with what was known to be committed.
    pub fn recovered(log_end: Offset, high_watermark: Offset) -> LogState {
        LogState { log_end, durable_end: log_end, high_watermark: high_watermark.min(log_end) }
    }
}

/// Where a follower's log and the leader's part, if they do: its last record, before `from`, is of an epoch that ended earlier in the
/// leader's log, which has these epochs and this end. Gives the newest epoch of the leader's that is not past it, with where that
/// ends.
pub fn diverging(
    epochs: &LeaderEpochs,
    last_epoch: LeaderEpoch,
    from: Offset,
    log_end: Offset,
) -> Option<(LeaderEpoch, Offset)> {
    if last_epoch.0 < 0 {
        return None;
    }
    // Of an epoch before all of the leader's nothing is in its log.
    let first = || epochs.iter().next().map_or(log_end, |(_, start)| start);
    let (epoch, end) = epochs.end_offset(last_epoch, log_end).unwrap_or_else(|| (last_epoch, first()));
    (epoch < last_epoch || end < from).then_some((epoch, end))
}

impl Leader {
    /// Takes office. What the disk has not confirmed of the log is held until it has.
    pub fn elected(
        assignment: LeaderAndIsr,
        log: LogState,
        min_isr: usize,
        now: Monotonic,
        bugs: Bugs,
        effects: &mut Vec<Effect>,
    ) -> Leader {
        let mut leader = Leader {
            begins_at: log.log_end,
            log_end: log.log_end,
            durable_end: log.durable_end,
            high_watermark: log.high_watermark,
            min_isr,
            followers: BTreeMap::new(),
            is_proposing: false,
            maximal_isr: BTreeSet::new(),
            rests_until: now,
            held: VecDeque::new(),
            parked: BTreeMap::new(),
            bugs,
            assignment,
        };
        let undecided = log.durable_end.max(log.high_watermark);
        if undecided < log.log_end && !leader.bugs.has(Bug::TakeOverUnsynced) {
            leader.held.push_back((undecided, log.log_end));
        }
        leader.know_followers(now);
        leader.maximal_isr = leader.isr();
        leader.advance(effects);
        leader
    }

    /// What was decided about the partition.
    pub fn leader_and_isr(&self) -> &LeaderAndIsr {
        &self.assignment
    }

    /// Where the log ended when it was elected.
    pub fn begins_at(&self) -> Offset {
        self.begins_at
    }

    /// Where it is.
    pub fn log(&self) -> LogState {
        LogState { log_end: self.log_end, durable_end: self.durable_end, high_watermark: self.high_watermark }
    }

    /// Where a follower's log ends, as far as it has said in this epoch.
    pub fn follower_end(&self, id: NodeId) -> Option<Offset> {
        self.followers.get(&id)?.end
    }

    /// How far the followers are that have fetched in this epoch.
    pub fn follower_places(&self) -> Vec<FollowerPlace> {
        let place = |(id, follower): (&NodeId, &Follower)| {
            Some(FollowerPlace {
                id: *id,
                log_start: follower.log_start,
                log_end: follower.end?,
                caught_up_at: follower.caught_up_at,
            })
        };
        self.followers.iter().filter_map(place).collect()
    }

    /// How many records each follower is behind; `None` of one that has not said in this epoch where its log ends.
    pub fn lags(&self) -> impl Iterator<Item = (NodeId, Option<i64>)> {
        self.followers
            .iter()
            .map(|(id, follower)| (*id, follower.end.map(|end| (self.log_end.0 - end.0).max(0))))
    }

    /// How many answers wait.
    pub fn parked_len(&self) -> usize {
        self.parked.len()
    }

    /// An answer may be given once its records are committed. Comes before the [`appended`](Leader::appended) of its batch, so
    /// that nobody reads the batch in between.
    pub fn park(&mut self, park: Park, effects: &mut Vec<Effect>) {
        let Park { ack, base, end, durable } = park;
        if end <= self.high_watermark && (!durable || end <= self.durable_end) {
            return effects.push(Effect::Answer(ack));
        }
        self.parked.insert((end, ack), durable);
        if durable && !self.bugs.has(Bug::AnswerBeforeTheDisk) {
            self.held.extend(base.map(|base| (base, end)));
        }
    }

    /// Batches were written, up to this log end.
    pub fn appended(&mut self, log_end: Offset, now: Monotonic, effects: &mut Vec<Effect>) {
        // Who had everything until now did so without saying it again.
        let had_all = self.followers.values_mut().filter(|follower| follower.end == Some(self.log_end));
        had_all.for_each(|follower| follower.caught_up_at = follower.caught_up_at.max(now));
        self.log_end = self.log_end.max(log_end);
        self.advance(effects);
    }

    /// The disk has confirmed everything below this.
    pub fn durable(&mut self, end: Offset, effects: &mut Vec<Effect>) {
        // A sync confirms what was written before it began, so a late confirmation may be behind.
        self.durable_end = self.durable_end.max(end.min(self.log_end));
        while self.held.front().is_some_and(|(_, end)| *end <= self.durable_end) {
            self.held.pop_front();
        }
        self.advance(effects);
    }

    /// A follower has fetched, from where its log and this one are the same.
    pub fn fetched(&mut self, fetched: Fetched, effects: &mut Vec<Effect>) {
        let Fetched { from, broker_epoch, end, log_start, at } = fetched;
        let (log_end, begins_at) = (self.log_end, self.begins_at);
        let Some(follower) = self.followers.get_mut(&from) else { return };
        // An old request may come late, from the run of a broker that is over.
        if end > log_end || broker_epoch < follower.broker_epoch {
            return;
        }
        if end >= log_end {
            follower.caught_up_at = at;
        } else if let Some((then_end, then)) = follower.last
            && end >= then_end
        {
            follower.caught_up_at = follower.caught_up_at.max(then);
        }
        follower.last = Some((log_end, at));
        follower.broker_epoch = broker_epoch;
        follower.end = Some(end);
        follower.log_start = log_start;
        let is_missing = !self.maximal_isr.contains(&from);
        let has_all = (end >= self.high_watermark && end >= begins_at) || self.bugs.has(Bug::JoinBehind);
        if is_missing && has_all && at >= self.rests_until && !self.is_proposing {
            let mut isr = self.isr();
            isr.insert(from);
            self.propose(isr, effects);
        }
        self.advance(effects);
    }

    /// Whoever has not had everything for so long is not in sync any more.
    pub fn check_lag(&mut self, now: Monotonic, lag_max: Duration, effects: &mut Vec<Effect>) {
        if self.is_proposing || now < self.rests_until {
            return;
        }
        // One that has everything and says nothing more holds nobody up; whether it is alive is the controller's concern.
        let lags = |id: &NodeId| {
            self.followers.get(id).is_some_and(|follower| {
                follower.end != Some(self.log_end) && follower.caught_up_at + lag_max < now
            })
        };
        let isr = self.isr();
        let left: BTreeSet<NodeId> = isr.iter().copied().filter(|id| !lags(id)).collect();
        if left.len() < isr.len() {
            self.propose(left, effects);
        }
    }

    /// What is decided about the partition has changed; it leads on in the same epoch.
    pub fn decided(&mut self, assignment: LeaderAndIsr, now: Monotonic, effects: &mut Vec<Effect>) {
        if assignment.partition_epoch > self.assignment.partition_epoch {
            self.is_proposing = false;
            self.maximal_isr = assignment.isr.iter().copied().collect();
        }
        self.assignment = assignment;
        self.know_followers(now);
        self.advance(effects);
    }

    /// The controller will not have what was proposed from this decision on. Asks it to decide that all stays as it is.
    pub fn refused(&mut self, partition_epoch: i32, now: Monotonic, effects: &mut Vec<Effect>) {
        if partition_epoch != self.assignment.partition_epoch || !self.is_proposing || now < self.rests_until
        {
            return;
        }
        self.rests_until = now + REST;
        if self.bugs.has(Bug::BelieveRefusals) {
            self.is_proposing = false;
            self.maximal_isr = self.isr();
            return self.advance(effects);
        }
        self.propose(self.isr(), effects);
    }

    /// `min.insync.replicas` has changed.
    pub fn configure(&mut self, min_isr: usize, effects: &mut Vec<Effect>) {
        self.min_isr = min_isr;
        self.advance(effects);
    }

    /// Goes on in a later epoch that is its own as well: nobody else has written in between.
    pub fn reelected(self, assignment: LeaderAndIsr, now: Monotonic, effects: &mut Vec<Effect>) -> Leader {
        let mut leader = Leader {
            begins_at: self.log_end,
            followers: BTreeMap::new(),
            is_proposing: false,
            maximal_isr: assignment.isr.iter().copied().collect(),
            rests_until: now,
            assignment,
            ..self
        };
        leader.know_followers(now);
        leader.advance(effects);
        leader
    }

    /// Whose answers wait, when it leads no more.
    pub fn resign(self) -> Vec<AckId> {
        self.parked.into_keys().map(|(_, ack)| ack).collect()
    }

    fn isr(&self) -> BTreeSet<NodeId> {
        self.assignment.isr.iter().copied().collect()
    }

    fn know_followers(&mut self, now: Monotonic) {
        let LeaderAndIsr { me, replicas, .. } = &self.assignment;
        self.followers.retain(|id, _| replicas.contains(id));
        for id in replicas.iter().filter(|id| *id != me) {
            self.followers.entry(*id).or_insert(Follower {
                log_start: Offset::ZERO,
                end: None,
                broker_epoch: Offset(-1),
                caught_up_at: now,
                last: None,
            });
        }
    }

    fn propose(&mut self, isr: BTreeSet<NodeId>, effects: &mut Vec<Effect>) {
        let with_epoch = |id: &NodeId| {
            let known = self.followers.get(id).map(|follower| follower.broker_epoch);
            (*id, known.unwrap_or(Offset(-1)))
        };
        effects.push(Effect::Propose(Proposal {
            leader_epoch: self.assignment.leader_epoch,
            partition_epoch: self.assignment.partition_epoch,
            isr: isr.iter().map(with_epoch).collect(),
        }));
        self.is_proposing = true;
        if !self.bugs.has(Bug::CountOnDecidedIsr) {
            self.maximal_isr.extend(isr);
        }
    }

    fn advance(&mut self, effects: &mut Vec<Effect>) {
        let readable = self.held.front().map_or(self.log_end, |(base, _)| *base);
        let committed = match self.assignment.is_alone() {
            true => Some(readable),
            false => self.committed_by_all(readable),
        };
        if let Some(committed) = committed.filter(|committed| *committed > self.high_watermark) {
            self.high_watermark = committed;
            effects.push(Effect::AdvanceHighWatermark(committed));
        }
        self.answer(effects);
        debug_assert!(self.invariants().is_ok(), "{:?}", self.invariants());
    }

    /// How far everybody has it who must; `None` while too few are in sync.
    fn committed_by_all(&self, readable: Offset) -> Option<Offset> {
        let LeaderAndIsr { me, replicas, isr, .. } = &self.assignment;
        let needed = self.min_isr.min(replicas.len());
        if isr.len() < needed && !self.bugs.has(Bug::CommitBelowMinIsr) {
            return None;
        }
        let mut others = self.maximal_isr.iter().filter(|id| *id != me);
        others.try_fold(readable, |least, id| Some(least.min(self.follower_end(*id)?)))
    }

    fn answer(&mut self, effects: &mut Vec<Effect>) {
        while let Some(entry) = self.parked.first_entry() {
            let ((end, ack), durable) = (*entry.key(), *entry.get());
            if end > self.high_watermark || (durable && end > self.durable_end) {
                break;
            }
            entry.remove();
            effects.push(Effect::Answer(ack));
        }
    }

    /// What must always hold.
    pub fn invariants(&self) -> Result<(), &'static str> {
        if self.high_watermark > self.log_end {
            return Err("the high watermark passed the log end");
        }
        if self.durable_end > self.log_end {
            return Err("the durable end passed the log end");
        }
        if self.held.front().is_some_and(|(base, _)| *base < self.high_watermark) {
            return Err("a batch is readable that must be durable first");
        }
        let first = self.parked.first_key_value();
        if first.is_some_and(|((end, _), durable)| {
            *end <= self.high_watermark && (!durable || *end <= self.durable_end)
        }) {
            return Err("an answer waits for what is committed");
        }
        if self.followers.values().any(|follower| follower.end.is_some_and(|end| end > self.log_end)) {
            return Err("a follower has more than the leader");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
