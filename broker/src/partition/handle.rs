//! The handle to a partition: what others ask its owner, and what they read without asking.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use ottla_protocol::records::EndTxnMarker;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::housekeeping::{Done, HousekeepingConfig};
use super::log_dir::LogDir;
use super::owner::{Owner, Place};
use super::unverified::{Ticket, Verify};
use crate::ids::{LeaderEpoch, Offset, Producer, TopicPartition};
use crate::log::{
    ActiveProducer, AppendInfo, Checked, LeaderEpochs, LogConfig, LogError, LogReader, MovedName,
    PartitionLog, Relocation,
};
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
    /// The partition was deleted or the broker stops.
    #[error("the partition is closed")]
    Closed,
}

/// A batch and who waits for its place.
pub(super) struct Append {
    pub batch: Checked,
    pub durable: bool,
    pub reply: oneshot::Sender<Result<Appended, AppendError>>,
    /// Set where the batch must be part of a transaction that is open.
    pub verify: Option<Verify>,
}

impl Append {
    pub fn producer(&self) -> Producer {
        let header = &self.batch.batch().header;
        Producer { id: header.producer_id, epoch: header.producer_epoch }
    }

    pub fn refuse(self, error: TransactionError) {
        // Whoever asked may have gone.
        let _ = self.reply.send(Err(AppendError::Transaction(error)));
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
    },
    /// Time to sync what nobody waits for.
    Sync,
    Configure(Arc<LogConfig>),
    /// Look for what is due, by this time in milliseconds since the epoch.
    KeepHouse {
        now_ms: i64,
    },
    HouseKept(Done),
    Producers {
        reply: oneshot::Sender<Vec<ActiveProducer>>,
    },
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

/// A handle to a partition; cheap to clone.
#[derive(Clone)]
pub struct Partition {
    name: Arc<TopicPartition>,
    commands: mpsc::UnboundedSender<Command>,
    reader: LogReader,
    config: Arc<ArcSwap<LogConfig>>,
    high_watermark: watch::Receiver<Offset>,
    last_stable: watch::Receiver<Offset>,
    leader_epochs: Arc<ArcSwap<LeaderEpochs>>,
}

impl Partition {
    /// Starts the owner of a log.
    pub(super) fn start(
        name: TopicPartition,
        place: Place,
        log: PartitionLog,
        leader_epoch: LeaderEpoch,
        housekeeping: HousekeepingConfig,
    ) -> Partition {
        let (commands, inbox) = mpsc::unbounded_channel();
        let log_end = log.log_end();
        let (high_watermark_tx, high_watermark) = watch::channel(log_end);
        let (last_stable_tx, last_stable) = watch::channel(log.first_unstable(log_end).unwrap_or(log_end));
        let leader_epochs = Arc::new(ArcSwap::from_pointee(log.leader_epochs().clone()));
        let reader = log.reader();
        let config = Arc::new(ArcSwap::new(log.config().clone()));
        let owner = Owner::new(
            place,
            log,
            leader_epoch,
            housekeeping,
            // A weak sender: an owner that nobody else can reach ends.
            commands.downgrade(),
            (high_watermark_tx, last_stable_tx),
            leader_epochs.clone(),
        );
        // In a box, since a future holds what it is given twice.
        tokio::spawn(Box::new(owner).run(inbox));
        Partition {
            name: Arc::new(name),
            commands,
            reader,
            config,
            high_watermark,
            last_stable,
            leader_epochs,
        }
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
        *self.high_watermark.borrow()
    }

    /// Changes of the high watermark, for long polls.
    pub fn watch_high_watermark(&self) -> watch::Receiver<Offset> {
        self.high_watermark.clone()
    }

    /// The records below this are decided: those of transactions committed or aborted, and no one else's in between.
    pub fn last_stable(&self) -> Offset {
        *self.last_stable.borrow()
    }

    /// Changes of the last stable offset, for long polls.
    pub fn watch_last_stable(&self) -> watch::Receiver<Offset> {
        self.last_stable.clone()
    }

    /// Reads the log; callers stay below the high watermark.
    pub fn log(&self) -> &LogReader {
        &self.reader
    }

    /// Where `epoch` ended (KIP-320): the largest epoch at or before it and the offset after its last record.
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.leader_epochs.load().end_offset(epoch, self.high_watermark())
    }

    /// The newest leader epoch that has written a record.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epochs.load().latest()
    }

    /// Queues a batch; the order of calls is the order in the log. The answer comes when the batch is in the page
    /// cache, or with `durable` when the disk has it.
    pub fn append(&self, batch: Bytes, durable: bool) -> oneshot::Receiver<Result<Appended, AppendError>> {
        self.queue(self.config.load().check(&batch, now_ms()), durable, None)
    }

    /// As [`append`](Partition::append), of a batch that belongs to a transaction: where none of its producer is open
    /// here yet, `verify` asks whether it may begin.
    pub fn append_in_transaction(
        &self,
        batch: Bytes,
        durable: bool,
        verify: Verify,
    ) -> oneshot::Receiver<Result<Appended, AppendError>> {
        self.queue(self.config.load().check(&batch, now_ms()), durable, Some(verify))
    }

    /// Appends what a coordinator of this broker has built for its own partition, durably.
    pub fn append_of_coordinator(&self, batch: &Bytes) -> oneshot::Receiver<Result<Appended, AppendError>> {
        self.queue(Checked::of_coordinator(batch), true, None)
    }

    /// Ends a producer's transaction here, durably.
    pub fn end_transaction(
        &self,
        producer: Producer,
        marker: EndTxnMarker,
    ) -> oneshot::Receiver<Result<Appended, AppendError>> {
        self.queue(Checked::marker(marker, producer, now_ms()), true, None)
    }

    fn queue(
        &self,
        batch: Result<Checked, LogError>,
        durable: bool,
        verify: Option<Verify>,
    ) -> oneshot::Receiver<Result<Appended, AppendError>> {
        let (reply, answer) = oneshot::channel();
        // A closed partition drops the sender, which the receiver sees.
        match batch {
            Ok(batch) => {
                let append = Box::new(Append { batch, durable, reply, verify });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_small_because_every_idle_partition_has_room_for_many() {
        assert!(size_of::<Command>() <= 32, "{}", size_of::<Command>());
    }
}
