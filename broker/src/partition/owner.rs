//! The task that owns a partition's log: the only one that writes it. `appending.rs` has how what producers send comes into it,
//! `following.rs` how a follower's log comes to be its leader's, `housekeeping.rs` what is done now and then, `moving.rs` how the log comes
//! into another log dir.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::committer::{Committer, SyncRequest};
use super::following::PositionReply;
use super::handle::{AppendError, Appended, Command, Leadership, OutOfRange, Relocate, monotonic};
use super::housekeeping::HousekeepingConfig;
use super::points::Points;
use super::published::{Published, Publisher};
use super::refusals::Refusals;
use super::unverified::Unverified;
use super::{IsrWanted, Opening};
use crate::ids::Offset;
use crate::log::{LogConfig, LogError, PartitionLog};
use crate::replica::{AckId, Effect, LeaderAndIsr, LogState, Replica};

/// Batches taken from the queue for one write.
const BATCHES_PER_APPEND_MAX: usize = 256;
/// How long records that nobody waits for may stay in the page cache alone, unless they are many.
const LAZY_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is noted what is committed, for the next start.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
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
    pub(super) replica: Replica,
    /// `None` once closed or deleted.
    pub(super) log: Option<PartitionLog>,
    pub(super) opening: Opening,
    pub(super) place: Place,
    pub(super) housekeeping: HousekeepingConfig,
    /// A chore is under way; nothing else may take segments out of the log.
    pub(super) house_is_kept: bool,
    /// What waits for the chore to end.
    pub(super) after_housekeeping: Vec<Command>,
    /// How far the log is compacted.
    pub(super) cleaned_to: Offset,
    pub(super) own_commands: mpsc::WeakUnboundedSender<Command>,
    pub(super) published: Publisher,
    pub(super) unverified: Unverified,
    pub(super) refusals: Refusals,
    /// Who waits until this follower may fetch on.
    pub(super) position_wanted: Option<PositionReply>,
    /// Counts the cuts of the log: what a sync before one has confirmed is not what is there now.
    pub(super) cuts: u32,
    /// When it was last noted what is committed.
    noted_at: Option<Instant>,
    pub(super) parked: HashMap<AckId, Parked>,
    pub(super) next_ack: u64,
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

impl Owner {
    pub fn new(
        place: Place,
        mut log: PartitionLog,
        opening: Opening,
        housekeeping: HousekeepingConfig,
        own_commands: mpsc::WeakUnboundedSender<Command>,
        published: Arc<Published>,
    ) -> Owner {
        let known = place.points.known();
        let state = LogState::recovered(log.log_end(), known.high_watermark);
        let mut effects = Vec::new();
        let min_isr = log.config().min_insync_replicas;
        let assignment = LeaderAndIsr::clone(&opening.assignment);
        let replica = Replica::new(assignment, state, min_isr, monotonic(), &mut effects);
        let high_watermark = replica.log().high_watermark;
        log.forget_ended_transactions(high_watermark);
        published.set_log_start(log.log_start());
        published.set_high_watermark(high_watermark);
        let last_stable = log.first_unstable(high_watermark).unwrap_or(high_watermark).min(high_watermark);
        published.set_last_stable(last_stable);
        published.leadership.store(leadership(&replica));
        Owner {
            replica,
            log: Some(log),
            opening,
            cleaned_to: known.cleaned_to,
            place,
            housekeeping,
            house_is_kept: false,
            after_housekeeping: Vec::new(),
            own_commands,
            published: Publisher::new(published),
            unverified: Unverified::default(),
            refusals: Refusals::default(),
            position_wanted: None,
            cuts: 0,
            noted_at: None,
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

    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            // Files are being replaced: a folder that is closed or gone must stay as it is.
            Command::Close { .. } | Command::Delete { .. } | Command::Move(_) if self.house_is_kept => {
                self.after_housekeeping.push(command);
            }
            Command::Replicate(wanted) if self.house_is_kept && wanted.cuts() => {
                self.after_housekeeping.push(Command::Replicate(wanted));
            }
            Command::Append(_) => unreachable!("appends are gathered"),
            Command::Verified { producer, ticket, result } => self.on_verified(producer, ticket, result),
            Command::Synced { end, cuts } if cuts == self.cuts => self.on_synced(end),
            Command::Synced { .. } => {}
            Command::Assign(assignment) => self.on_assign(LeaderAndIsr::clone(&assignment)),
            Command::Fetched(fetched) => self.tell_replica(|replica, effects| {
                if let Replica::Leads(leader) = replica {
                    leader.fetched(*fetched, effects);
                }
            }),
            Command::CheckLag { lag_max } => self.tell_replica(|replica, effects| {
                if let Replica::Leads(leader) = replica {
                    leader.check_lag(monotonic(), lag_max, effects);
                }
            }),
            Command::IsrRefused { partition_epoch } => self.tell_replica(|replica, effects| {
                if let Replica::Leads(leader) = replica {
                    leader.refused(partition_epoch, monotonic(), effects);
                }
            }),
            Command::Replicate(wanted) => self.on_replicate(*wanted),
            Command::Sync => {
                self.sync_is_due = false;
                self.request_sync();
            }
            Command::Configure(config) => {
                let min_isr = config.min_insync_replicas;
                if let Some(log) = &mut self.log {
                    log.set_config(config);
                }
                self.tell_replica(|replica, effects| {
                    if let Replica::Leads(leader) = replica {
                        leader.configure(min_isr, effects);
                    }
                });
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
            Command::FollowerPlaces { reply } => {
                let _ = reply.send(match &self.replica {
                    Replica::Leads(leader) => leader.follower_places(),
                    Replica::Follows(_) => Vec::new(),
                });
            }
            Command::Producers { reply } => {
                let _ = reply.send(self.log.as_ref().map(PartitionLog::active_producers).unwrap_or_default());
            }
            Command::ReplicaLags(wanted) => self.on_tell_lags(&wanted),
            Command::Close { reply } => {
                let closed = self.log.take().map_or(Err(LogError::Abandoned), |mut log| {
                    log.close()?;
                    let end = log.log_end();
                    self.durable(end);
                    self.place.points.recovery(end);
                    self.place.points.log_start(log.log_start());
                    self.note_high_watermark();
                    Ok(())
                });
                let _ = reply.send(closed);
            }
            Command::Delete { reply } => {
                let _ = reply.send(self.log.take().map_or(Ok(()), PartitionLog::delete));
            }
        }
    }

    /// Notes records that were appended and are not durable.
    pub(super) fn note_appended(&mut self, bytes: usize, records: u64) {
        self.bytes_since_checkpoint += bytes;
        self.bytes_unsynced += bytes;
        self.records_unsynced += records;
    }

    /// Asks for a sync now, or sees that there is one soon.
    pub(super) fn sync_in_time(&mut self, anybody_waits: bool, flush: Flush) {
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
    pub(super) fn request_sync(&mut self) {
        let Some(log) = &mut self.log else { return };
        let segments = log.take_dirty();
        (self.bytes_unsynced, self.records_unsynced) = (0, 0);
        if segments.is_empty() {
            return;
        }
        let (own, cuts) = (self.own_commands.clone(), self.cuts);
        self.place.committer.request(SyncRequest {
            partition: self.place.key,
            segments,
            end: log.log_end(),
            done: Box::new(move |end| {
                if let Some(own) = own.upgrade() {
                    let _ = own.send(Command::Synced { end, cuts });
                }
            }),
        });
    }

    /// Moves the log start; the offset is where it is then.
    fn delete_records(&mut self, before: Offset) -> Result<Offset, OutOfRange> {
        let committed = self.replica.log().high_watermark;
        let Some(log) = self.log.as_mut().filter(|_| (Offset::ZERO..=committed).contains(&before)) else {
            return Err(OutOfRange);
        };
        log.delete_before(before);
        let log_start = log.log_start();
        self.publish_log_start(log_start);
        Ok(log_start)
    }

    pub(super) fn on_synced(&mut self, end: Offset) {
        self.durable(end);
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

    /// The disk has confirmed everything below this.
    pub(super) fn durable(&mut self, end: Offset) {
        self.tell_replica(|replica, effects| replica.durable(end, effects));
        self.tell_position();
    }

    /// The cluster has decided about the partition.
    fn on_assign(&mut self, assignment: LeaderAndIsr) {
        let Some(log) = &self.log else { return };
        let (min_isr, before) = (log.config().min_insync_replicas, self.replica.leader_and_isr().clone());
        let mut resigned = Vec::new();
        self.tell_replica(|replica, effects| {
            resigned = replica.assign(assignment, min_isr, monotonic(), effects);
        });
        self.published.leadership.store(leadership(&self.replica));
        for ack in resigned {
            if let Some((reply, ..)) = self.parked.remove(&ack) {
                let _ = reply.send(Err(AppendError::NotLeader));
            }
        }
        let now = self.replica.leader_and_isr();
        if (now.leader, now.leader_epoch) != (before.leader, before.leader_epoch) {
            tracing::debug!(
                partition = %self.place.points.name(), leader = ?now.leader, leader_epoch = %now.leader_epoch,
                leads = now.leads(), "a partition's leader has changed"
            );
            // Until now producers were told to ask elsewhere.
            self.refusals.note();
            // Who wants to know fetches from another leader, or none any more.
            self.position_wanted = None;
            // What a new leader began with is committed once its own disk has it too.
            self.request_sync();
        }
    }

    pub(super) fn tell_replica(&mut self, tell: impl FnOnce(&mut Replica, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        tell(&mut self.replica, &mut effects);
        for effect in effects {
            match effect {
                Effect::AdvanceHighWatermark(_) => self.publish_high_watermark(),
                Effect::Answer(ack) => {
                    if let Some((reply, mut appended, since)) = self.parked.remove(&ack) {
                        appended.synced_in = Some(since.elapsed());
                        // Whoever asked may have gone; the records stay.
                        let _ = reply.send(Ok(appended));
                    }
                }
                Effect::Propose(proposal) => {
                    let name = self.place.points.name().clone();
                    let wanted = IsrWanted { name, topic_id: self.opening.topic_id, proposal };
                    let _ = self.opening.proposals.send(wanted);
                }
            }
        }
    }

    /// Tells readers what is committed.
    pub(super) fn publish_high_watermark(&mut self) {
        self.published.set_high_watermark(self.replica.log().high_watermark);
        self.publish_last_stable();
        let is_due = self.noted_at.is_none_or(|at| at.elapsed() >= NOTE_INTERVAL);
        if is_due && !self.replica.leader_and_isr().is_alone() {
            self.noted_at = Some(Instant::now());
            self.note_high_watermark();
        }
    }

    /// For the next start. Of the only replica everything is committed.
    fn note_high_watermark(&self) {
        if !self.replica.leader_and_isr().is_alone() {
            self.place.points.high_watermark(self.replica.log().high_watermark);
        }
    }

    /// The log begins elsewhere: for the next start, and for readers.
    pub(super) fn publish_log_start(&self, log_start: Offset) {
        self.place.points.log_start(log_start);
        self.published.set_log_start(log_start);
    }

    /// Tells readers how far everything is decided.
    fn publish_last_stable(&mut self) {
        let high_watermark = self.replica.log().high_watermark;
        let Some(log) = &mut self.log else { return };
        let last_stable = log.first_unstable(high_watermark).unwrap_or(high_watermark).min(high_watermark);
        log.forget_ended_transactions(high_watermark);
        self.published.set_last_stable(last_stable);
    }
}

fn leadership(replica: &Replica) -> Option<Arc<Leadership>> {
    let Replica::Leads(leader) = replica else { return None };
    let (epoch, begins_at) = (leader.leader_and_isr().leader_epoch, leader.begins_at());
    Some(Arc::new(Leadership { epoch, begins_at }))
}

/// When records that nobody waits for are synced, by the topic's config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flush {
    records: u64,
    within: Duration,
}

impl Flush {
    pub fn of(config: &LogConfig) -> Flush {
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
    use crate::ids::{LeaderEpoch, TopicPartition};

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
            Opening::of_test(),
            HousekeepingConfig::default(),
            commands.downgrade(),
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
