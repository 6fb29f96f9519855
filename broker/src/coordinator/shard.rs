//! One partition's coordinator without its tasks and timers: what it does on each event. The owner task in `task.rs`
//! feeds it events and does the reads and writes it asks for.
//!
//! ```text
//!   Loading ── the log is read ──▶ Active ── the log failed ──▶ Loading …
//! ```
//! On a failed append everything in memory is dropped and the log is read again: what became of the batch is unknown,
//! and the log alone can tell. Clients retry, members rejoin.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::CoordinatorConfig;
use super::log::{LogError, LogSlice};
use super::machine::{Decided, Machine, Unavailable};
use super::outbox::Outbox;
use super::parked::{Outcome, Parked};
use super::replay::Replay;
use crate::ids::LeaderEpoch;
use crate::machine::{Monotonic, Now, ReplyId};

/// After a failed read the log is tried again no sooner than this.
const LOAD_RETRY: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Shard<M: Machine> {
    config: CoordinatorConfig<M::Config>,
    phase: Phase<M>,
    outbox: Outbox,
    parked: Parked<M::Reply, M::Effect>,
    /// Who waits for a reply, whether it is parked here, in the machine, or behind the load.
    waiting: BTreeMap<ReplyId, oneshot::Sender<M::Reply>>,
    reply_last: u64,
    /// What is to be done outside now.
    effects: VecDeque<M::Effect>,
    /// In which its log was read.
    leader_epoch: LeaderEpoch,
}

enum Phase<M: Machine> {
    Loading(Loading<M>),
    Active(M),
}

struct Loading<M: Machine> {
    replay: Replay<M>,
    from_offset: i64,
    /// Set while a read is under way.
    reading: bool,
    /// After a failure: when to try again.
    retry_at: Option<Monotonic>,
    /// Requests that came while loading, until patience ends.
    held: Vec<(ReplyId, M::Request)>,
    /// When held requests are told to come back later.
    patience_ends: Monotonic,
    /// What they are told.
    error: Unavailable,
}

impl<M: Machine> Shard<M> {
    /// A shard that knows nothing yet; it asks for its log first.
    pub(super) fn new(config: CoordinatorConfig<M::Config>, now: Now) -> Shard<M> {
        Shard {
            phase: Phase::Loading(Loading::new(&config, now, Unavailable::Loading)),
            config,
            outbox: Outbox::default(),
            parked: Parked::default(),
            waiting: BTreeMap::new(),
            reply_last: 0,
            effects: VecDeque::new(),
            leader_epoch: LeaderEpoch::default(),
        }
    }

    /// The epoch in which what it decides may be appended.
    pub(super) fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// A client asks, or an effect's outcome is there, which nobody waits to hear about.
    pub(super) fn on_request(
        &mut self,
        now: Now,
        request: M::Request,
        reply: Option<oneshot::Sender<M::Reply>>,
    ) {
        self.reply_last += 1;
        let id = ReplyId(self.reply_last);
        self.waiting.extend(reply.map(|reply| (id, reply)));
        match &mut self.phase {
            Phase::Active(machine) => {
                let decision = machine.decide(now, id, &request);
                self.take(now, decision);
            }
            Phase::Loading(loading) if now.monotonic < loading.patience_ends => {
                loading.held.push((id, request))
            }
            Phase::Loading(loading) => {
                let refused = M::refuse(&request, loading.error);
                self.answer(id, refused);
            }
        }
    }

    /// A deadline has passed.
    pub(super) fn on_deadline(&mut self, now: Now) {
        match &mut self.phase {
            Phase::Active(machine) => {
                let decision = machine.on_deadline(now);
                self.take(now, decision);
            }
            Phase::Loading(loading) => {
                if loading.retry_at.is_some_and(|at| at <= now.monotonic) {
                    loading.retry_at = None;
                }
                if loading.patience_ends <= now.monotonic {
                    let error = loading.error;
                    for (id, request) in std::mem::take(&mut loading.held) {
                        self.answer(id, M::refuse(&request, error));
                    }
                }
            }
        }
    }

    /// The next moment for [`Shard::on_deadline`].
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        match &self.phase {
            Phase::Active(machine) => machine.next_deadline(),
            Phase::Loading(loading) => {
                let patience = (!loading.held.is_empty()).then_some(loading.patience_ends);
                [patience, loading.retry_at].into_iter().flatten().min()
            }
        }
    }

    /// From where to read the log on, if it is to be read now. Each answer MUST be followed by [`Shard::on_read`].
    pub(super) fn next_read(&mut self) -> Option<i64> {
        match &mut self.phase {
            Phase::Loading(loading) if !loading.reading && loading.retry_at.is_none() => {
                loading.reading = true;
                Some(loading.from_offset)
            }
            Phase::Loading(_) | Phase::Active(_) => None,
        }
    }

    /// A stretch of the log was read, or could not be.
    pub(super) fn on_read(&mut self, now: Now, slice: Result<LogSlice, LogError>) {
        let Phase::Loading(loading) = &mut self.phase else { return };
        loading.reading = false;
        let slice = match slice {
            Ok(slice) => slice,
            Err(error) => {
                tracing::warn!(%error, "cannot read the log of a coordinator partition, trying again");
                loading.error = error.to_unavailable();
                loading.retry_at = Some(now.monotonic + LOAD_RETRY);
                return;
            }
        };
        let is_end = slice.next_offset >= slice.end_offset;
        if !is_end && slice.next_offset <= loading.from_offset {
            tracing::error!(
                from = loading.from_offset,
                "the log of a coordinator partition gives no more, trying again"
            );
            loading.retry_at = Some(now.monotonic + LOAD_RETRY);
            return;
        }
        if let Err(error) = loading.replay.read(slice.batches, loading.from_offset) {
            // The partition stays unavailable: who has lost a part of its past would decide wrongly.
            tracing::error!(%error, from = loading.from_offset, "the log of a coordinator partition is damaged");
            loading.error = Unavailable::NotNow;
            loading.retry_at = Some(now.monotonic + LOAD_RETRY);
            // What was read of the slice counts again from the start.
            loading.restart(&self.config.machine);
            return;
        }
        loading.from_offset = slice.next_offset;
        if is_end {
            self.leader_epoch = slice.leader_epoch;
            self.finish_loading(now);
        }
    }

    /// The next batch to append. Each answer MUST be followed by [`Shard::on_appended`].
    pub(super) fn next_batch(&mut self) -> Option<Bytes> {
        self.outbox.next_batch(self.config.batch_bytes_max)
    }

    /// The batch is durable, or the log failed.
    pub(super) fn on_appended(&mut self, now: Now, result: Result<i64, LogError>) {
        match result {
            Ok(_) => {
                self.outbox.written();
                self.release();
            }
            Err(error) => {
                tracing::warn!(%error, "cannot append to the log of a coordinator partition, reading it again");
                self.fail(now, error.to_unavailable());
            }
        }
    }

    /// What is to be done outside, one after the other. Each outcome comes back with [`Shard::on_request`].
    pub(super) fn next_effect(&mut self) -> Option<M::Effect> {
        self.effects.pop_front()
    }

    /// Whether nothing is on its way to the log.
    pub(super) fn is_settled(&self) -> bool {
        self.outbox.is_settled()
    }

    /// How many wait for a reply.
    #[cfg(test)]
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    fn finish_loading(&mut self, now: Now) {
        let empty = Phase::Active(M::empty(&self.config.machine));
        let Phase::Loading(loading) = std::mem::replace(&mut self.phase, empty) else { return };
        let (machine, record_count) = loading.replay.finish();
        let restored = machine.on_loaded(now);
        if record_count > 0 {
            tracing::info!(record_count, "loaded a coordinator partition");
        }
        self.phase = Phase::Active(machine);
        self.take(now, restored);
        for (id, request) in loading.held {
            if let Phase::Active(machine) = &self.phase {
                let decision = machine.decide(now, id, &request);
                self.take(now, decision);
            }
        }
    }

    fn take(&mut self, now: Now, decision: Decided<M>) {
        let Phase::Active(machine) = &mut self.phase else { return };
        let mut unwritable = None;
        let mut entries = Vec::new();
        for change in &decision.changes {
            machine.apply(change);
            M::tell(change);
            match M::to_entry(change) {
                Ok(entry) => entries.extend(entry),
                Err(error) => unwritable = Some(error),
            }
        }
        self.outbox.push(entries, now.wall);
        for (id, reply) in decision.replies {
            self.parked.park(self.outbox.decided(), Outcome::Reply(id, reply));
        }
        if let Some(error) = unwritable {
            // The edge bounds every text; so this is a defect, but no reason to take the server down.
            tracing::error!(%error, "a record cannot be written in Kafka's format");
            return self.fail(now, Unavailable::NotNow);
        }
        for effect in decision.effects {
            self.parked.park(self.outbox.decided(), Outcome::Effect(effect));
        }
        self.release();
    }

    fn release(&mut self) {
        while let Some(outcome) = self.parked.release(self.outbox.durable()) {
            match outcome {
                Outcome::Reply(id, reply) => self.answer(id, reply),
                Outcome::Effect(effect) => self.effects.push_back(effect),
            }
        }
    }

    fn answer(&mut self, id: ReplyId, reply: M::Reply) {
        if let Some(waiting) = self.waiting.remove(&id) {
            // Nobody may be left to hear it; that is not the shard's concern.
            let _ = waiting.send(reply);
        }
    }

    /// Starts over from the log. Replies that are decided are turned into refusals; those still undecided are told by
    /// dropping their senders, which the handle turns into `NotCoordinator`. Effects that are not yet begun the log
    /// gives again.
    fn fail(&mut self, now: Now, error: Unavailable) {
        let parked: Vec<_> = self.parked.drain().collect();
        for outcome in parked {
            if let Outcome::Reply(id, reply) = outcome {
                self.answer(id, M::refuse_decided(&reply, error));
            }
        }
        self.waiting.clear();
        self.effects.clear();
        self.outbox.abandon();
        self.phase = Phase::Loading(Loading::new(&self.config, now, error));
    }
}

impl<M: Machine> Loading<M> {
    fn new(config: &CoordinatorConfig<M::Config>, now: Now, error: Unavailable) -> Loading<M> {
        Loading {
            replay: Replay::new(&config.machine),
            from_offset: 0,
            reading: false,
            retry_at: None,
            held: Vec::new(),
            patience_ends: now.monotonic + config.load_patience,
            error,
        }
    }

    fn restart(&mut self, config: &M::Config) {
        self.replay = Replay::new(config);
        self.from_offset = 0;
    }
}
