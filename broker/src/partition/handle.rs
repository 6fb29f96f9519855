//! The handle to a partition: what others ask its owner, and what they read without asking.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use ottla_protocol::records::EndTxnMarker;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::Opening;
use super::following::{FetchAnswer, NotFollowing, Replicate};
use super::housekeeping::{Done, HousekeepingConfig};
use super::log_dir::LogDir;
use super::owner::{Owner, Place};
use super::published::Published;
use super::readers::{News, UpTo};
use super::replica_lag::TellLags;
use super::unverified::{Ticket, Verify};
use crate::ids::{LeaderEpoch, NodeId, Offset, Producer, TopicPartition};
use crate::log::{
    ActiveProducer, AppendInfo, Checked, LogConfig, LogError, LogReader, MovedName, PartitionLog, Relocation,
};
use crate::machine::Monotonic;
use crate::replica::{FetchPosition, Fetched, FollowerPlace, LeaderAndIsr, diverging};
use crate::transactions::TransactionError;

/// Where a batch went, once that is as safe as was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Set when the topic's timestamps are the broker's; milliseconds since the epoch.
    pub log_append_time_ms: Option<i64>,
    /// The first offset of the partition at that time.
    pub log_start: Offset,
    /// From the append until the disk had it, where that was waited for.
    pub synced_in: Option<Duration>,
}

impl Appended {
    pub(super) fn new(info: AppendInfo, log_start: Offset) -> Appended {
        Appended {
            base_offset: info.base_offset,
            log_append_time_ms: info.log_append_time_ms,
            log_start,
            synced_in: None,
        }
    }
}

/// The offset is not between the log start and the high watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the offset is out of range")]
pub struct OutOfRange;

/// Why a batch was not appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The log refused it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its transaction's coordinator knows better.
    #[error("{0}")]
    Transaction(TransactionError),
    /// Another node leads the partition, or nobody. Whether the batch was appended is unknown.
    #[error("this node does not lead the partition")]
    NotLeader,
    /// It was to wait for all replicas in sync, and those are fewer than `min.insync.replicas`. It was not appended.
    #[error("fewer replicas are in sync than min.insync.replicas")]
    NotEnoughReplicas,
    /// A batch of its producer that comes before it was refused a moment ago, and has not come again. It was not appended.
    #[error("a batch before it was refused a moment ago")]
    Overtakes,
    /// The partition was deleted or the broker stops.
    #[error("the partition is closed")]
    Closed,
}

/// What whoever appends waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// The record is in the page cache of this node.
    Leader,
    /// Every replica in sync has it: on its disk where that is `durable`, else in its page cache.
    All {
        /// On disk.
        durable: bool,
    },
}

/// A batch and who waits for its place.
pub(super) struct Append {
    pub batch: Checked,
    pub acks: Acks,
    /// Set where it may only be appended in this epoch.
    pub leader_epoch: Option<LeaderEpoch>,
    pub reply: oneshot::Sender<Result<Appended, AppendError>>,
    /// Set where the batch must be part of a transaction that is open.
    pub verify: Option<Verify>,
}

impl Append {
    pub fn producer(&self) -> Producer {
        let header = &self.batch.batch().header;
        Producer { id: header.producer_id, epoch: header.producer_epoch }
    }

    /// Whether a client has sent it and waits for all replicas in sync.
    pub fn is_of_client_for_all(&self) -> bool {
        let is_of_coordinator = self.leader_epoch.is_some() || self.batch.end_of_transaction().is_some();
        matches!(self.acks, Acks::All { .. }) && !is_of_coordinator
    }

    pub fn refuse(self, error: AppendError) {
        // Whoever asked may have gone.
        let _ = self.reply.send(Err(error));
    }
}

/// Kept small: a queue has room for many from the start, in every idle partition.
pub(super) enum Command {
    Append(Box<Append>),
    /// A transaction's coordinator has said whether this partition is part of it.
    Verified {
        producer: Producer,
        ticket: Ticket,
        result: Result<(), TransactionError>,
    },
    Synced {
        end: Offset,
        /// How often the log had been cut when it was asked for.
        cuts: u32,
    },
    /// The cluster has decided about the partition.
    Assign(Arc<LeaderAndIsr>),
    /// A follower has fetched.
    Fetched(Box<Fetched>),
    /// See which followers are too slow.
    CheckLag {
        lag_max: Duration,
    },
    /// The controller will not have what was proposed.
    IsrRefused {
        partition_epoch: i32,
    },
    /// What the leader has answered to this follower.
    Replicate(Box<Replicate>),
    /// Time to sync what nobody waits for.
    Sync,
    Configure(Arc<LogConfig>),
    /// Look for what is due, by this time in milliseconds since the epoch.
    KeepHouse {
        now_ms: i64,
    },
    HouseKept(Done),
    FollowerPlaces {
        reply: oneshot::Sender<Vec<FollowerPlace>>,
    },
    Producers {
        reply: oneshot::Sender<Vec<ActiveProducer>>,
    },
    /// Say how far the followers are behind.
    ReplicaLags(Box<TellLags>),
    /// Begin a copy of the log in another log dir.
    Relocate(Box<Relocate>),
    /// Put the copy in the place of the log.
    Move(Box<MoveTo>),
    DeleteRecords {
        before: Offset,
        reply: oneshot::Sender<Result<Offset, OutOfRange>>,
    },
    Close {
        reply: oneshot::Sender<Result<(), LogError>>,
    },
    Delete {
        reply: oneshot::Sender<Result<(), LogError>>,
    },
}

/// A copy that is wanted.
pub(super) struct Relocate {
    pub to: Arc<LogDir>,
    pub name: MovedName,
    pub reply: oneshot::Sender<Result<Relocation, LogError>>,
}

/// A copy that has caught up.
pub(super) struct MoveTo {
    pub copy: Relocation,
    pub dir: Arc<LogDir>,
    /// The folder that is superfluous then, or the copy that is.
    pub reply: oneshot::Sender<Result<PathBuf, (LogError, Relocation)>>,
}

/// This node's office as the leader of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// In which it leads.
    pub epoch: LeaderEpoch,
    /// Where the log ended when it was elected: until that is committed, more may be than is known to be.
    pub begins_at: Offset,
}

/// A handle to a partition; cheap to clone.
#[derive(Clone)]
pub struct Partition {
    name: Arc<TopicPartition>,
    commands: mpsc::UnboundedSender<Command>,
    reader: LogReader,
    config: Arc<ArcSwap<LogConfig>>,
    published: Arc<Published>,
}

impl Partition {
    /// Starts the owner of a log.
    pub(super) fn start(
        name: TopicPartition,
        place: Place,
        log: PartitionLog,
        opening: Opening,
        housekeeping: HousekeepingConfig,
    ) -> Partition {
        let (commands, inbox) = mpsc::unbounded_channel();
        let published = Arc::<Published>::default();
        let reader = log.reader();
        let config = Arc::new(ArcSwap::new(log.config().clone()));
        let owner = Owner::new(
            place,
            log,
            opening,
            housekeeping,
            // A weak sender: an owner that nobody else can reach ends.
            commands.downgrade(),
            published.clone(),
        );
        // In a box, since a future holds what it is given twice.
        tokio::spawn(Box::new(owner).run(inbox));
        Partition { name: Arc::new(name), commands, reader, config, published }
    }

    /// The partition's name.
    pub fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// What the topic's config says about the log now.
    pub fn config(&self) -> Arc<LogConfig> {
        self.config.load_full()
    }

    /// Whether the owner has ended: closed, deleted, or by a fault of ours.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// The records below this are committed, and only they may be read.
    pub fn high_watermark(&self) -> Offset {
        self.published.high_watermark()
    }

    /// The records below this are decided: those of transactions committed or aborted, and no one else's in between.
    pub fn last_stable(&self) -> Offset {
        self.published.last_stable()
    }

    /// The office of this node, while it leads.
    pub fn leadership(&self) -> Option<Leadership> {
        self.published.leadership.load().as_deref().copied()
    }

    /// From now on a reader hears what there is to read up to there, and of everything else that it would be told, by the number
    /// that it has given the partition.
    pub fn tell_news(&self, to: &Arc<News>, number: u64, up_to: UpTo) {
        self.published.readers.add(to, number, up_to);
    }

    /// It hears no more of the partition.
    pub fn tell_no_news(&self, to: &Arc<News>) {
        self.published.readers.remove(to);
    }

    /// Has the owner go by what the cluster has decided.
    pub(super) fn assign(&self, assignment: Arc<LeaderAndIsr>) {
        let _ = self.commands.send(Command::Assign(assignment));
    }

    /// Notes that a follower has fetched, whose log begins and ends there.
    pub fn fetched(&self, from: NodeId, broker_epoch: Offset, end: Offset, log_start: Offset) {
        let fetched = Fetched { from, broker_epoch, end, log_start, at: monotonic() };
        let _ = self.commands.send(Command::Fetched(Box::new(fetched)));
    }

    /// Has the leader see which followers had not everything for so long.
    pub fn check_lag(&self, lag_max: Duration) {
        let _ = self.commands.send(Command::CheckLag { lag_max });
    }

    /// Tells the leader that the controller will not have what it proposed from a decision on.
    pub fn isr_refused(&self, partition_epoch: i32) {
        let _ = self.commands.send(Command::IsrRefused { partition_epoch });
    }

    /// Takes what a leader has answered; gives from where to fetch on, once that may be.
    pub async fn replicate(
        &self,
        leader_epoch: LeaderEpoch,
        answer: FetchAnswer,
    ) -> Result<FetchPosition, NotFollowing> {
        let (reply, position) = oneshot::channel();
        let _ = self.commands.send(Command::Replicate(Box::new(Replicate { leader_epoch, answer, reply })));
        position.await.unwrap_or(Err(NotFollowing::Elsewhere))
    }

    /// Reads the log; callers stay below the high watermark.
    pub fn log(&self) -> &LogReader {
        &self.reader
    }

    /// Where `epoch` ended (KIP-320): the largest epoch at or before it and the offset after its last record. A new leader may know
    /// less to be committed than readers were given by the one before, so the newest epoch ends where the log does.
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let end = self.reader.log_end();
        self.reader.leader_epochs().end_offset(epoch, end)
    }

    /// Where a reader's log and this one part (KIP-320); see [`diverging`].
    pub fn diverging(&self, last_epoch: LeaderEpoch, from: Offset) -> Option<(LeaderEpoch, Offset)> {
        let end = self.reader.log_end();
        diverging(&self.reader.leader_epochs(), last_epoch, from, end)
    }

    /// The newest leader epoch that has written a record.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.reader.leader_epochs().latest()
    }

    /// Queues a batch; the order of calls is the order in the log. The answer comes when it is as safe as was asked for.
    pub fn append(&self, batch: Bytes, acks: Acks) -> oneshot::Receiver<Result<Appended, AppendError>> {
        self.queue(self.config.load().check(&batch, now_ms()), acks, None, None)
    }

    /// As [`append`](Partition::append), of a batch that belongs to a transaction: where none of its producer is open
    /// here yet, `verify` asks whether it may begin.
    pub fn append_in_transaction(
        &self,
        batch: Bytes,
        acks: Acks,
        verify: Verify,
    ) -> oneshot::Receiver<Result<Appended, AppendError>> {
        self.queue(self.config.load().check(&batch, now_ms()), acks, None, Some(verify))
    }

    /// Appends what a coordinator of this broker has built for its own partition, durably, if this node still leads in the
    /// epoch in which the coordinator has read it.
    pub fn append_of_coordinator(
        &self,
        batch: &Bytes,
        leader_epoch: LeaderEpoch,
    ) -> oneshot::Receiver<Result<Appended, AppendError>> {
        self.queue(Checked::of_coordinator(batch), Acks::All { durable: true }, Some(leader_epoch), None)
    }

    /// Ends a producer's transaction here, durably.
    pub fn end_transaction(
        &self,
        producer: Producer,
        marker: EndTxnMarker,
    ) -> oneshot::Receiver<Result<Appended, AppendError>> {
        self.queue(Checked::marker(marker, producer, now_ms()), Acks::All { durable: true }, None, None)
    }

    fn queue(
        &self,
        batch: Result<Checked, LogError>,
        acks: Acks,
        leader_epoch: Option<LeaderEpoch>,
        verify: Option<Verify>,
    ) -> oneshot::Receiver<Result<Appended, AppendError>> {
        let (reply, answer) = oneshot::channel();
        // A closed partition drops the sender, which the receiver sees.
        match batch {
            Ok(batch) => {
                let append = Box::new(Append { batch, acks, leader_epoch, reply, verify });
                drop(self.commands.send(Command::Append(append)));
            }
            Err(error) => drop(reply.send(Err(error.into()))),
        }
        answer
    }

    /// Deletes the records below an offset, which must be committed; gives the new log start.
    pub async fn delete_records(&self, before: Offset) -> Result<Offset, OutOfRange> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::DeleteRecords { before, reply });
        answer.await.unwrap_or(Err(OutOfRange))
    }

    /// The idempotent producers that are remembered; `None` once it is closed.
    pub async fn producers(&self) -> Option<Vec<ActiveProducer>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Producers { reply });
        answer.await.ok()
    }

    /// How far the followers are, where this node leads.
    pub async fn follower_places(&self) -> Vec<FollowerPlace> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::FollowerPlaces { reply });
        answer.await.unwrap_or_default()
    }

    /// Has the leader say how far each follower is behind.
    pub(super) fn tell_lags(&self, wanted: TellLags) {
        let _ = self.commands.send(Command::ReplicaLags(Box::new(wanted)));
    }

    /// Begins a copy of the log in another log dir.
    pub(super) async fn relocate(&self, to: Arc<LogDir>, name: MovedName) -> Result<Relocation, LogError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Relocate(Box::new(Relocate { to, name, reply })));
        answer.await.unwrap_or(Err(LogError::Abandoned))
    }

    /// Puts a copy in the place of the log; gives the folder that is superfluous then. `None` when the partition has
    /// been closed: the copy is left where it is.
    pub(super) async fn move_to(
        &self,
        copy: Relocation,
        dir: Arc<LogDir>,
    ) -> Option<Result<PathBuf, (LogError, Relocation)>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Move(Box::new(MoveTo { copy, dir, reply })));
        answer.await.ok()
    }

    /// Has the owner look for what retention and compaction have to do, by a clock in milliseconds since the epoch.
    pub fn keep_house(&self, now_ms: i64) {
        let _ = self.commands.send(Command::KeepHouse { now_ms });
    }

    /// Replaces what the topic's config says about the log.
    pub fn configure(&self, config: Arc<LogConfig>) {
        self.config.store(config.clone());
        let _ = self.commands.send(Command::Configure(config));
    }

    /// Makes everything durable and closes the log. An owner that has ended without doing so is an error: its files
    /// are as a crash would have left them.
    pub async fn close(&self) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Close { reply });
        answer.await.unwrap_or(Err(LogError::Abandoned))
    }

    /// Closes the log and removes its files.
    pub async fn delete(&self) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Delete { reply });
        answer.await.unwrap_or(Ok(()))
    }
}

/// The wall clock, milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}

/// The clock of everything that is measured between replicas, from the first call on.
pub(crate) fn monotonic() -> Monotonic {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Monotonic(BEGIN.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_small_because_every_idle_partition_has_room_for_many() {
        assert!(size_of::<Command>() <= 32, "{}", size_of::<Command>());
    }
}
