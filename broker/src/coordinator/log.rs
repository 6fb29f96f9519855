//! What a coordinator needs of the log of its internal topic. The broker implements it over its own partitions.

use bytes::Bytes;
use futures::future::BoxFuture;

use super::machine::Unavailable;
use crate::ids::LeaderEpoch;

/// The partitions of one internal topic (`__consumer_offsets` or `__transaction_state`).
pub trait CoordinatorLog: Send + Sync {
    /// Appends one record batch (version 2, base offset 0) and answers with the offset it got.
    ///
    /// MUST answer only when the batch is as durable as `acks=all` promises. MUST NOT reorder: the next append to a
    /// partition begins after the last one's answer. MUST refuse where this broker does not lead the partition in that epoch,
    /// in which what was read is all there is. SHOULD make the partition if it is not there.
    fn append(
        &self,
        partition: i32,
        leader_epoch: LeaderEpoch,
        batch: Bytes,
    ) -> BoxFuture<'static, Result<i64, LogError>>;

    /// Reads whole record batches, the first of which may begin before `from_offset`, up to about `bytes_max` bytes but
    /// always one batch if there is one.
    ///
    /// MUST give only what is committed, and an end only once that is all that earlier leaders have written. A `from_offset` before the log's start means its start; a partition of
    /// which it is certain that it is not there yet is an empty one.
    fn read(
        &self,
        partition: i32,
        from_offset: i64,
        bytes_max: usize,
    ) -> BoxFuture<'static, Result<LogSlice, LogError>>;
}

/// A stretch of a log.
///
/// ```text
///   from_offset ── batches ──▶ next_offset ── more to read ──▶ end_offset
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSlice {
    /// Whole batches, back to back; empty at the end of the log.
    pub batches: Bytes,
    /// Where to read on.
    pub next_offset: i64,
    /// The end of what is committed. The log is read when `next_offset` reaches it.
    pub end_offset: i64,
    /// The epoch in which this broker leads.
    pub leader_epoch: LeaderEpoch,
}

/// Why the log did not do it. Whether an append took place is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Another broker leads the partition.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// Not now: the disk is full, say, or replicas are missing.
    #[error("the partition cannot be used now: {0}")]
    Unavailable(String),
}

impl LogError {
    pub(super) fn to_unavailable(&self) -> Unavailable {
        match self {
            LogError::NotLeader => Unavailable::NotHere,
            LogError::Unavailable(_) => Unavailable::NotNow,
        }
    }
}
