//! One partition's coordinator without its tasks and timers: what it does on each event. The owner task in `task.rs`
//! feeds it events and does the reads and writes it asks for.
//!
//! ```text
//!   Loading ── the log is read ──▶ Active ── the log failed ──▶ Loading …
//! ```
//! On a failed append everything in memory is dropped and the log is read again: what became of the batch is unknown,
//! and the log alone can tell. Clients retry, members rejoin.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::CoordinatorConfig;
use super::log::{LogError, LogSlice};
use super::outbox::Outbox;
use super::parked::Parked;
use super::replay::Replay;
use crate::groups::classic::GroupChange;
use crate::groups::{Change, Decision, GroupError, Groups, Monotonic, Now, Reply, ReplyId, Request};

/// After a failed read the log is tried again no sooner than this.
const LOAD_RETRY: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Shard {
    config: CoordinatorConfig,
    phase: Phase,
    outbox: Outbox,
    parked: Parked,
    /// Who waits for a reply, whether it is parked here, in the machine, or behind the load.
    waiting: BTreeMap<ReplyId, oneshot::Sender<Reply>>,
    reply_last: u64,
}

enum Phase {
    Loading(Loading),
    Active(Groups),
}

struct Loading {
    replay: Replay,
    from_offset: i64,
    /// Set while a read is under way.
    reading: bool,
    /// After a failure: when to try again.
    retry_at: Option<Monotonic>,
    /// Requests that came while loading, until patience ends.
    held: Vec<(ReplyId, Request)>,
    /// When held requests are told to come back later.
    patience_ends: Monotonic,
    /// What they are told.
    error: GroupError,
}

impl Shard {
    /// A shard that knows nothing yet; it asks for its log first.
    pub(super) fn new(config: CoordinatorConfig, now: Now) -> Shard {
        Shard {
            phase: Phase::Loading(Loading::new(&config, now, GroupError::CoordinatorLoadInProgress)),
            config,
            outbox: Outbox::default(),
            parked: Parked::default(),
            waiting: BTreeMap::new(),
            reply_last: 0,
        }
    }

    /// A client asks.
    pub(super) fn on_request(&mut self, now: Now, request: Request, reply: oneshot::Sender<Reply>) {
        self.reply_last += 1;
        let id = ReplyId(self.reply_last);
        self.waiting.insert(id, reply);
        match &mut self.phase {
            Phase::Active(groups) => {
                let decision = groups.decide(now, id, &request);
                self.take(now, decision);
            }
            Phase::Loading(loading) if now.monotonic < loading.patience_ends => {
                loading.held.push((id, request))
            }
            Phase::Loading(loading) => {
                let refused = request.refused(loading.error);
                self.answer(id, refused);
            }
        }
    }

    /// A deadline has passed.
    pub(super) fn on_deadline(&mut self, now: Now) {
        match &mut self.phase {
            Phase::Active(groups) => {
                let decision = groups.on_deadline(now);
                self.take(now, decision);
            }
            Phase::Loading(loading) => {
                if loading.retry_at.is_some_and(|at| at <= now.monotonic) {
                    loading.retry_at = None;
                }
                if loading.patience_ends <= now.monotonic {
                    let error = loading.error;
                    for (id, request) in std::mem::take(&mut loading.held) {
                        self.answer(id, request.refused(error));
                    }
                }
            }
        }
    }

    /// The next moment for [`Shard::on_deadline`].
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        match &self.phase {
            Phase::Active(groups) => groups.next_deadline(),
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
                loading.error = to_group_error(&error);
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
            // The partition stays unavailable: groups that lost a part of their past would read records twice.
            tracing::error!(%error, from = loading.from_offset, "the log of a coordinator partition is damaged");
            loading.error = GroupError::CoordinatorNotAvailable;
            loading.retry_at = Some(now.monotonic + LOAD_RETRY);
            // What was read of the slice counts again from the start.
            loading.restart(&self.config);
            return;
        }
        loading.from_offset = slice.next_offset;
        if is_end {
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
                self.fail(now, to_group_error(&error));
            }
        }
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
        let empty = Phase::Active(Groups::new(self.config.groups.clone()));
        let Phase::Loading(loading) = std::mem::replace(&mut self.phase, empty) else { return };
        let (groups, record_count) = loading.replay.finish();
        let restored = groups.on_loaded(now);
        if record_count > 0 {
            tracing::info!(
                record_count,
                group_count = restored.changes.len(),
                "loaded a coordinator partition"
            );
        }
        self.phase = Phase::Active(groups);
        self.take(now, restored);
        for (id, request) in loading.held {
            if let Phase::Active(groups) = &self.phase {
                let decision = groups.decide(now, id, &request);
                self.take(now, decision);
            }
        }
    }

    fn take(&mut self, now: Now, decision: Decision) {
        let Phase::Active(groups) = &mut self.phase else { return };
        groups.apply_all(&decision);
        for change in &decision.changes {
            match change {
                Change::Live { group, change } => log_change(group, change),
                Change::Record(record) => {
                    if let Err(error) = self.outbox.push(record, now.wall) {
                        // The edge bounds every text; so this is a defect, but no reason to take the server down.
                        tracing::error!(%error, "a record cannot be written in Kafka's format");
                        for (id, reply) in &decision.replies {
                            self.parked.park(self.outbox.decided(), *id, reply.clone());
                        }
                        return self.fail(now, GroupError::CoordinatorNotAvailable);
                    }
                }
            }
        }
        for (id, reply) in decision.replies {
            self.parked.park(self.outbox.decided(), id, reply);
        }
        self.release();
    }

    fn release(&mut self) {
        while let Some((id, reply)) = self.parked.release(self.outbox.durable()) {
            self.answer(id, reply);
        }
    }

    fn answer(&mut self, id: ReplyId, reply: Reply) {
        if let Some(waiting) = self.waiting.remove(&id) {
            // Nobody may be left to hear it; that is not the shard's concern.
            let _ = waiting.send(reply);
        }
    }

    /// Starts over from the log. Replies that are decided are turned into refusals; those still undecided are told by
    /// dropping their senders, which the handle turns into `NotCoordinator`.
    fn fail(&mut self, now: Now, error: GroupError) {
        let parked: Vec<(ReplyId, Reply)> = self.parked.drain().collect();
        for (id, reply) in parked {
            self.answer(id, reply.refused(error));
        }
        self.waiting.clear();
        self.outbox.abandon();
        self.phase = Phase::Loading(Loading::new(&self.config, now, error));
    }
}

impl Loading {
    fn new(config: &CoordinatorConfig, now: Now, error: GroupError) -> Loading {
        Loading {
            replay: Replay::new(config.groups.clone()),
            from_offset: 0,
            reading: false,
            retry_at: None,
            held: Vec::new(),
            patience_ends: now.monotonic + config.load_patience,
            error,
        }
    }

    fn restart(&mut self, config: &CoordinatorConfig) {
        self.replay = Replay::new(config.groups.clone());
        self.from_offset = 0;
    }
}

fn to_group_error(error: &LogError) -> GroupError {
    match error {
        LogError::NotLeader => GroupError::NotCoordinator,
        LogError::Unavailable(_) => GroupError::CoordinatorNotAvailable,
    }
}

/// What an operator wants to know of a group's life is at INFO; the rest at TRACE.
fn log_change(group: &crate::groups::GroupId, change: &GroupChange) {
    match change {
        GroupChange::GenerationStarted { generation, protocol_name, .. } => {
            tracing::info!(%group, %generation, %protocol_name, "a generation started");
        }
        GroupChange::Emptied { generation } => tracing::info!(%group, %generation, "the group is empty"),
        GroupChange::MemberRemoved { member_id } => {
            tracing::info!(%group, member = %member_id, "a member is out")
        }
        GroupChange::StaticMemberReplaced { instance_id, new, .. } => {
            tracing::info!(%group, %instance_id, member = %new, "a static member came back");
        }
        GroupChange::Deleted => tracing::info!(%group, "the group was deleted"),
        change => tracing::trace!(%group, ?change, "changed"),
    }
}
