//! The task that owns a partition's log: the only one that writes it. `housekeeping.rs` has what it does now and then,
//! `moving.rs` how the log comes into another log dir.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::committer::{Committer, SyncRequest};
use super::handle::{Append, AppendError, Appended, Command, OutOfRange, Relocate};
use super::housekeeping::HousekeepingConfig;
use super::points::Points;
use super::unverified::{Ticket, Unverified, Verify};
use crate::ids::{LeaderEpoch, Offset, Producer};
use crate::log::{AppendInfo, Checked, LeaderEpochs, LogConfig, LogError, PartitionLog};
use crate::replica::{AckId, Effect, Event, Leader};
use crate::transactions::TransactionError;

/// Batches taken from the queue for one write.
const BATCHES_PER_APPEND_MAX: usize = 256;
/// How long records that nobody waits for may stay in the page cache alone, unless they are many.
const LAZY_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes appended before the recovery point is moved, which bounds what is scanned after a crash.
const CHECKPOINT_BYTES: usize = 64 << 20;

type Parked = (oneshot::Sender<Result<Appended, AppendError>>, Appended, Instant);

/// Where a log is, as far as its owner must know.
pub(super) struct Place {
    /// Tells the partition from the others that share the committer.
    pub key: u64,
    pub committer: Committer,
    /// Hears what the next start must know.
    pub points: Points,
}

pub(super) struct Owner {
    pub(super) leader: Leader,
    /// `None` once closed or deleted.
    pub(super) log: Option<PartitionLog>,
    leader_epoch: LeaderEpoch,
    pub(super) place: Place,
    pub(super) housekeeping: HousekeepingConfig,
    /// A chore is under way; nothing else may take segments out of the log.
    pub(super) house_is_kept: bool,
    /// What waits for the chore to end.
    pub(super) after_housekeeping: Vec<Command>,
    /// How far the log is compacted.
    pub(super) cleaned_to: Offset,
    pub(super) own_commands: mpsc::WeakUnboundedSender<Command>,
    high_watermark: watch::Sender<Offset>,
    last_stable: watch::Sender<Offset>,
    unverified: Unverified,
    leader_epochs: Arc<ArcSwap<LeaderEpochs>>,
    parked: HashMap<AckId, Parked>,
    next_ack: u64,
    /// Appended since a sync was last asked for.
    bytes_unsynced: usize,
    /// As many records.
    records_unsynced: u64,
    /// A [`Command::Sync`] is on its way.
    sync_is_due: bool,
    bytes_since_checkpoint: usize,
    /// What this owner has made the recovery point.
    pub(super) point: Offset,
    /// A checkpoint whose records are not all durable yet.
    pub(super) saved_point: Option<Offset>,
}

struct Waiting {
    durable: bool,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Owner {
    pub fn new(
        place: Place,
        log: PartitionLog,
        leader_epoch: LeaderEpoch,
        housekeeping: HousekeepingConfig,
        own_commands: mpsc::WeakUnboundedSender<Command>,
        (high_watermark, last_stable): (watch::Sender<Offset>, watch::Sender<Offset>),
        leader_epochs: Arc<ArcSwap<LeaderEpochs>>,
    ) -> Owner {
        Owner {
            leader: Leader::new(log.log_end()),
            log: Some(log),
            leader_epoch,
            cleaned_to: place.points.known().cleaned_to,
            place,
            housekeeping,
            house_is_kept: false,
            after_housekeeping: Vec::new(),
            own_commands,
            high_watermark,
            last_stable,
            unverified: Unverified::default(),
            leader_epochs,
            parked: HashMap::new(),
            next_ack: 0,
            bytes_unsynced: 0,
            records_unsynced: 0,
            sync_is_due: false,
            bytes_since_checkpoint: 0,
            point: Offset::ZERO,
            saved_point: None,
        }
    }

    pub async fn run(mut self: Box<Self>, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let mut commands = Vec::new();
        while inbox.recv_many(&mut commands, BATCHES_PER_APPEND_MAX).await > 0 {
            let (mut batches, mut waiting) = (Vec::new(), Vec::new());
            for command in commands.drain(..) {
                match command {
                    Command::Append(append) => self.gather(*append, &mut batches, &mut waiting),
                    command => {
                        self.append(&mut batches, &mut waiting);
                        self.on_command(command);
                    }
                }
            }
            self.append(&mut batches, &mut waiting);
            if self.log.is_none() {
                return;
            }
        }
    }

    /// Puts a batch behind those of the next write, unless its transaction must be asked about first.
    fn gather(&mut self, append: Append, batches: &mut Vec<Checked>, waiting: &mut Vec<Waiting>) {
        let producer = append.producer();
        if append.verify.is_some() && append.batch.batch().header.is_transactional() {
            // What was gathered may begin or end the transaction.
            self.append(batches, waiting);
            let is_open = self.log.as_ref().is_none_or(|log| log.has_open_transaction(producer));
            if !is_open || self.unverified.holds(producer) {
                return self.hold(producer, append);
            }
        }
        if append.batch.end_of_transaction().is_some() {
            for late in self.unverified.overtaken(producer) {
                late.refuse(TransactionError::InvalidTxnState);
            }
        }
        let Append { batch, durable, reply, .. } = append;
        batches.push(batch);
        waiting.push(Waiting { durable, reply });
    }

    fn hold(&mut self, producer: Producer, mut append: Append) {
        let Some(Verify { bumps_epoch, ask }) = append.verify.take() else { return };
        let Some(ticket) = self.unverified.hold(producer, bumps_epoch, append) else { return };
        let own = self.own_commands.clone();
        tokio::spawn(async move {
            let result = ask().await;
            if let Some(own) = own.upgrade() {
                let _ = own.send(Command::Verified { producer, ticket, result });
            }
        });
    }

    fn on_verified(&mut self, producer: Producer, ticket: Ticket, result: Result<(), TransactionError>) {
        let (mut batches, mut waiting) = (Vec::new(), Vec::new());
        for held in self.unverified.answered(producer, ticket) {
            match result {
                Ok(()) => {
                    batches.push(held.batch);
                    waiting.push(Waiting { durable: held.durable, reply: held.reply });
                }
                Err(error) => held.refuse(error),
            }
        }
        self.append(&mut batches, &mut waiting);
    }

    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            // Files are being replaced: a folder that is closed or gone must stay as it is.
            Command::Close { .. } | Command::Delete { .. } | Command::Move(_) if self.house_is_kept => {
                self.after_housekeeping.push(command);
            }
            Command::Append(_) => unreachable!("appends are gathered"),
            Command::Verified { producer, ticket, result } => self.on_verified(producer, ticket, result),
            Command::Synced { end } => self.on_synced(end),
            Command::Sync => {
                self.sync_is_due = false;
                self.request_sync();
            }
            Command::Configure(config) => {
                if let Some(log) = &mut self.log {
                    log.set_config(config);
                }
            }
            Command::KeepHouse { now_ms } => self.keep_house(now_ms),
            Command::HouseKept(done) => self.on_house_kept(done),
            Command::Relocate(wanted) => {
                let Relocate { to, name, reply } = *wanted;
                let log = self.log.as_ref().ok_or(LogError::Abandoned);
                let _ = reply.send(log.and_then(|log| log.relocate(to.path(), name)));
            }
            Command::Move(to) => self.on_move(*to),
            Command::DeleteRecords { before, reply } => {
                let _ = reply.send(self.delete_records(before));
            }
            Command::Producers { reply } => {
                let _ = reply.send(self.log.as_ref().map(PartitionLog::active_producers).unwrap_or_default());
            }
            Command::Close { reply } => {
                let closed = self.log.take().map_or(Err(LogError::Abandoned), |mut log| {
                    log.close()?;
                    let end = log.log_end();
                    self.step(Event::Durable { end });
                    self.place.points.recovery(end);
                    self.place.points.log_start(log.log_start());
                    Ok(())
                });
                let _ = reply.send(closed);
            }
            Command::Delete { reply } => {
                let _ = reply.send(self.log.take().map_or(Ok(()), PartitionLog::delete));
            }
        }
    }

    /// Writes everything that was gathered with as few writes as can be, then asks for the shared sync.
    fn append(&mut self, batches: &mut Vec<Checked>, waiting: &mut Vec<Waiting>) {
        let Some(log) = self.log.as_mut().filter(|_| !batches.is_empty()) else {
            for Waiting { reply, .. } in waiting.drain(..) {
                let _ = reply.send(Err(AppendError::Closed));
            }
            batches.clear();
            return;
        };
        let answers = log.append(batches, self.leader_epoch);
        let (log_end, log_start) = (log.log_end(), log.log_start());
        let bytes = batches.iter().map(|batch| batch.batch().bytes.len()).sum::<usize>();
        let records = batches.iter().map(|batch| batch.batch().header.record_count as u64).sum::<u64>();
        let flush = Flush::of(log.config());
        self.bytes_since_checkpoint += bytes;
        self.bytes_unsynced += bytes;
        self.records_unsynced += records;
        batches.clear();
        if log.leader_epochs().latest() != self.leader_epochs.load().latest() {
            self.leader_epochs.store(Arc::new(log.leader_epochs().clone()));
        }
        let parked_before = self.next_ack;
        let mut replies = Vec::with_capacity(answers.len());
        for (Waiting { durable, reply }, answer) in waiting.drain(..).zip(answers) {
            match answer {
                Err(error) => replies.push((reply, Err(error.into()))),
                Ok(info) if durable => self.park(info, log_start, reply),
                Ok(info) => replies.push((reply, Ok(Appended::new(info, log_start)))),
            }
        }
        self.step(Event::Appended { log_end });
        // After the high watermark, so that who has an answer can read the record.
        for (reply, answer) in replies {
            // Whoever asked may have gone; the records stay.
            let _ = reply.send(answer);
        }
        let anybody_waits = self.next_ack > parked_before;
        if anybody_waits || flush.is_due(self.records_unsynced, self.bytes_unsynced) {
            self.request_sync();
        } else if !self.sync_is_due {
            self.sync_is_due = true;
            let own = self.own_commands.clone();
            tokio::spawn(async move {
                tokio::time::sleep(flush.within).await;
                if let Some(own) = own.upgrade() {
                    let _ = own.send(Command::Sync);
                }
            });
        }
    }

    /// Asks for everything appended so far to be made durable with the next group commit.
    fn request_sync(&mut self) {
        let Some(log) = &mut self.log else { return };
        let segments = log.take_dirty();
        (self.bytes_unsynced, self.records_unsynced) = (0, 0);
        if segments.is_empty() {
            return;
        }
        let own = self.own_commands.clone();
        self.place.committer.request(SyncRequest {
            partition: self.place.key,
            segments,
            end: log.log_end(),
            done: Box::new(move |end| {
                if let Some(own) = own.upgrade() {
                    let _ = own.send(Command::Synced { end });
                }
            }),
        });
    }

    /// Keeps an answer until its records are durable.
    fn park(
        &mut self,
        info: AppendInfo,
        log_start: Offset,
        reply: oneshot::Sender<Result<Appended, AppendError>>,
    ) {
        let ack = AckId(self.next_ack);
        self.next_ack += 1;
        self.parked.insert(ack, (reply, Appended::new(info, log_start), Instant::now()));
        let base = (!info.duplicate).then_some(info.base_offset);
        self.step(Event::Park { ack, base, end: info.end_offset });
    }

    /// Moves the log start; the offset is where it is then.
    fn delete_records(&mut self, before: Offset) -> Result<Offset, OutOfRange> {
        let committed = self.leader.high_watermark();
        let Some(log) = self.log.as_mut().filter(|_| (Offset::ZERO..=committed).contains(&before)) else {
            return Err(OutOfRange);
        };
        log.delete_before(before);
        let log_start = log.log_start();
        self.place.points.log_start(log_start);
        Ok(log_start)
    }

    pub(super) fn on_synced(&mut self, end: Offset) {
        self.step(Event::Durable { end });
        // While records keep coming the log end is always ahead of the disk, so a checkpoint waits for its own sync.
        if self.bytes_since_checkpoint >= CHECKPOINT_BYTES {
            self.checkpoint();
        }
        if let Some(point) = self.saved_point.take_if(|point| *point <= end) {
            self.point = point;
            self.place.points.recovery(point);
        }
    }

    /// Saves what recovery can begin from once everything before it is durable.
    pub(super) fn checkpoint(&mut self) {
        let Some(log) = self.log.as_mut().filter(|_| self.saved_point.is_none()) else { return };
        self.bytes_since_checkpoint = 0;
        match log.checkpoint(self.point) {
            Ok(point) => self.saved_point = Some(point),
            // The recovery point stays where it is: a crash scans more, nothing is lost.
            Err(error) => tracing::warn!(%error, "checkpoint failed"),
        }
        (self.bytes_unsynced, self.records_unsynced) = (0, 0);
        self.request_sync();
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.leader.step(event, &mut effects);
        for effect in effects {
            match effect {
                Effect::AdvanceHighWatermark(offset) => {
                    self.high_watermark.send_replace(offset);
                    self.publish_last_stable();
                }
                Effect::Answer(ack) => {
                    if let Some((reply, mut appended, since)) = self.parked.remove(&ack) {
                        appended.synced_in = Some(since.elapsed());
                        // Whoever asked may have gone; the records stay.
                        let _ = reply.send(Ok(appended));
                    }
                }
            }
        }
    }

    /// Tells readers how far everything is decided.
    fn publish_last_stable(&mut self) {
        let high_watermark = self.leader.high_watermark();
        let Some(log) = &mut self.log else { return };
        let last_stable = log.first_unstable(high_watermark).unwrap_or(high_watermark).min(high_watermark);
        log.forget_ended_transactions(high_watermark);
        self.last_stable.send_if_modified(|known| {
            let moved = *known != last_stable;
            *known = last_stable;
            moved
        });
    }
}

/// When records that nobody waits for are synced, by the topic's config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flush {
    records: u64,
    within: Duration,
}

impl Flush {
    fn of(config: &LogConfig) -> Flush {
        // After each record would be what `acks=all` is for; who asks for less gets no sync of his own.
        let records = if config.flush_messages > 1 { config.flush_messages } else { u64::MAX };
        Flush { records, within: LAZY_SYNC_INTERVAL.min(Duration::from_millis(config.flush_ms)) }
    }

    fn is_due(self, records: u64, bytes: usize) -> bool {
        records >= self.records || bytes >= CHECKPOINT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::records::{BatchBuilder, BatchOptions};

    use super::*;
    use crate::ids::TopicPartition;

    fn append(log: &mut PartitionLog) -> Offset {
        let mut builder = BatchBuilder::default();
        builder.push(1, None, Some(b"v"), &[]);
        let batch = builder.build(BatchOptions::default());
        let batch = LogConfig::default().check(&batch, 0).unwrap();
        log.append(&[batch], LeaderEpoch(0)).remove(0).unwrap().end_offset
    }

    #[test]
    fn what_nobody_waits_for_is_synced_after_so_many_records_or_so_long() {
        let flush = |flush_messages, flush_ms| {
            Flush::of(&LogConfig { flush_messages, flush_ms, ..LogConfig::default() })
        };
        let default = flush(1, i64::MAX as u64);
        assert_eq!(default.within, LAZY_SYNC_INTERVAL);
        assert!(!default.is_due(1_000_000, CHECKPOINT_BYTES - 1) && default.is_due(1, CHECKPOINT_BYTES));
        let often = flush(10, 20);
        assert_eq!(often.within, Duration::from_millis(20));
        assert!(!often.is_due(9, 1) && often.is_due(10, 1));
    }

    #[test]
    fn the_recovery_point_moves_although_appends_never_pause() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = PartitionLog::open(&dir.path().join("t-0"), LogConfig::default(), None).unwrap();
        append(&mut log);
        append(&mut log);
        let points = Points::of_test(dir.path(), TopicPartition::new("t", 0));
        let (commands, mut inbox) = mpsc::unbounded_channel();
        let place = Place {
            key: 0,
            committer: Committer::start(crate::metrics::Metrics::new().sync_seconds).unwrap(),
            points: points.clone(),
        };
        let mut owner = Owner::new(
            place,
            log,
            LeaderEpoch(0),
            HousekeepingConfig::default(),
            commands.downgrade(),
            (watch::channel(Offset::ZERO).0, watch::channel(Offset::ZERO).0),
            Arc::default(),
        );
        owner.bytes_since_checkpoint = CHECKPOINT_BYTES;
        owner.on_synced(Offset(1));
        let recovery_point = || points.known().trusted_to;
        assert_eq!(recovery_point(), Some(Offset::ZERO), "the second record is not durable");
        append(owner.log.as_mut().unwrap());
        owner.on_synced(Offset(2));
        assert_eq!(recovery_point(), Some(Offset(2)));
        // The folder must not go before the committer has synced it.
        assert!(matches!(inbox.blocking_recv(), Some(Command::Synced { .. })));
    }
}
