//! The log of one partition on disk, in Kafka's own layout.
//!
//! Owns files: segments, their indexes, producer snapshots and checkpoints; how to append to them, read them and
//! recover them after a crash. It is plain blocking code with one writer; it knows no tokio, no topics' configs
//! beyond [`LogConfig`], no replication. Offsets below are those of `broker/src/ids.rs`.
//!
//! ```text
//!  <topic>-<n>/
//!    00000000000000000000.log        record batches, one after the other, preallocated with zeros past the end
//!    00000000000000000000.index      sparse: relative offset -> position, 8 bytes an entry
//!    00000000000000000000.timeindex  sparse: timestamp -> relative offset, 12 bytes an entry
//!    00000000000000000000.txnindex   aborted transactions, 34 bytes each; only where there are any
//!    00000000000000000512.snapshot   producers' state just before offset 512
//!    leader-epoch-checkpoint         text: epoch -> its first offset
//!
//!  log start           recovery point               durable end      log end
//!     |---- trusted --------|--- scanned after a crash ---|--- may be lost ---|
//! ```

mod aborted;
mod check;
mod checkpoint;
mod compact;
mod config;
mod cut;
mod damage;
mod index;
mod leader_epochs;
mod locate;
mod open_files;
mod partition_log;
mod producer_state;
mod range;
mod read;
mod recover;
mod relocate;
mod retain;
mod segment;
mod swap;
#[cfg(test)]
mod tests;
mod verified;

use std::io;
use std::path::PathBuf;

use ottla_protocol::records::BatchError;
use thiserror::Error;

pub use aborted::{AbortedTransaction, AbortedTransactions};
pub use check::Checked;
pub use checkpoint::{OffsetCheckpoint, write_file_durably};
pub(crate) use checkpoint::{create_dir_durably, sync_dir};
pub use compact::Compaction;
pub use config::LogConfig;
pub use leader_epochs::LeaderEpochs;
pub(crate) use partition_log::path_aside;
pub use partition_log::{AppendInfo, DirtySegment, PartitionLog};
pub use producer_state::{ActiveProducer, ProducerStates, ProducerUndo, SequenceCheck, SequenceError};
pub use range::FileRange;
pub use read::{LogReader, ReadError, TimestampOffset};
pub use recover::{Known, file_extent};
pub use relocate::{CopyProgress, MovedName, Relocation, finish_move};
pub use retain::Removed;
pub use segment::DiskWait;

use crate::ids::Offset;

/// Why a log could not do what was asked.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, e.g. `write`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A producer's batch is not valid.
    #[error("invalid batch: {0}")]
    Batch(#[from] BatchError),
    /// A producer's timestamp is further from the broker's clock than the topic allows.
    #[error("timestamp {timestamp_ms} is outside {min_ms}..={max_ms}")]
    Timestamp {
        /// Of a record, milliseconds since the epoch.
        timestamp_ms: i64,
        /// The oldest that is taken.
        min_ms: i64,
        /// The newest that is taken.
        max_ms: i64,
    },
    /// A batch is larger than the topic allows.
    #[error("batch of {size} bytes is larger than max.message.bytes={max}")]
    TooLarge {
        /// Bytes of the batch.
        size: usize,
        /// The topic's bound.
        max: usize,
    },
    /// Some records of a producer's batch break a rule of the topic; the others are well.
    #[error("records have been rejected: {reason}")]
    Records {
        /// Which, counted within the batch.
        indexes: Vec<i32>,
        /// The rule.
        reason: &'static str,
    },
    /// A producer's batch breaks a rule that only the broker knows.
    #[error("invalid batch: {0}")]
    Invalid(&'static str),
    /// The batch's sequence is not the one that must follow.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A file of the log contradicts itself in a way that recovery must not paper over.
    #[error("{path} is corrupt at offset {offset}: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The offset at which reading stopped.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The task that owns the log has ended without closing it.
    #[error("the log was not closed: its owner has ended")]
    Abandoned,
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> LogError {
        let path = path.into();
        move |source| LogError::Io { action, path, source }
    }

    /// The same failure once more, for another batch of the same write.
    fn repeated(&self) -> LogError {
        match self {
            LogError::Io { action, path, source } => {
                LogError::Io { action, path: path.clone(), source: source.kind().into() }
            }
            other => LogError::Io {
                action: "write",
                path: PathBuf::new(),
                source: io::Error::other(other.to_string()),
            },
        }
    }
}
