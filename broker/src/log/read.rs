//! Reading a log while it is written: by offset, by time. Readers share segments with the writer and take no lock
//! for longer than a look-up.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;
use ottla_protocol::records::Batch;
use thiserror::Error;

use super::LogError;
use super::aborted::{AbortedTransaction, AbortedTransactions};
use super::damage::{Gaps, corrupt};
use super::leader_epochs::LeaderEpochs;
use super::locate::{Place, has_time, next_place, place_of};
use super::segment::{DiskWait, Segment, unpoison};
use crate::ids::{LeaderEpoch, Offset};

/// Decompression bound for the one batch that a look-up by time opens.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// Why nothing can be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The offset is not in the log.
    #[error("offset {offset} is outside {start}..={end}")]
    OutOfRange {
        /// Asked for.
        offset: Offset,
        /// The first that is there.
        start: Offset,
        /// One past the last.
        end: Offset,
    },
    /// The disk must be waited for, and the caller may not.
    #[error("the records are not cached")]
    WouldWait,
    /// The files could not be read.
    #[error(transparent)]
    Log(LogError),
}

impl From<LogError> for ReadError {
    fn from(error: LogError) -> ReadError {
        match error {
            LogError::Io { source, .. } if source.kind() == std::io::ErrorKind::WouldBlock => {
                ReadError::WouldWait
            }
            error => ReadError::Log(error),
        }
    }
}

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Of the record.
    pub offset: Offset,
    /// Under which it was written.
    pub leader_epoch: LeaderEpoch,
}

/// What the writer and the readers of a log share.
#[derive(Debug)]
pub(super) struct Shared {
    /// By base offset; never empty.
    pub segments: RwLock<Vec<Arc<Segment>>>,
    pub log_start: AtomicI64,
    pub log_end: AtomicI64,
    /// Compaction has taken batches out, or may do so at any time.
    pub may_have_gaps: AtomicBool,
    pub aborted: RwLock<AbortedTransactions>,
    /// Stored before the log end under which they have a record.
    pub leader_epochs: ArcSwap<LeaderEpochs>,
}

/// A handle for reading a log; cheap to clone.
#[derive(Debug, Clone)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

impl LogReader {
    /// The first offset that can be read.
    pub fn log_start(&self) -> Offset {
        Offset(self.shared.log_start.load(Ordering::Acquire))
    }

    /// The offset of the next record to be appended, durable or not.
    pub fn log_end(&self) -> Offset {
        Offset(self.shared.log_end.load(Ordering::Acquire))
    }

    /// The history of leaders. It knows the epochs of all records below a log end that was asked for before, so in this order nobody
    /// takes records of a newer epoch for those of an older one.
    pub fn leader_epochs(&self) -> Arc<LeaderEpochs> {
        self.shared.leader_epochs.load_full()
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        unpoison(self.shared.segments.read()).iter().map(|segment| u64::from(segment.size())).sum()
    }

    /// The aborted transactions that have records in `from..up_to`, by first offset.
    pub fn aborted_within(&self, from: Offset, up_to: Offset) -> Vec<AbortedTransaction> {
        unpoison(self.shared.aborted.read()).within(from, up_to)
    }

    pub(super) fn gaps(&self) -> Gaps {
        match self.shared.may_have_gaps.load(Ordering::Acquire) {
            true => Gaps::Allowed,
            false => Gaps::None,
        }
    }

    pub(super) fn segments_from(&self, offset: Offset) -> Vec<Arc<Segment>> {
        let segments = unpoison(self.shared.segments.read());
        let after = segments.partition_point(|segment| segment.base_offset <= offset);
        segments.get(after.saturating_sub(1)..).unwrap_or_default().to_vec()
    }

    /// The first record, below `up_to`, whose timestamp is at least `timestamp_ms`.
    pub fn offset_for_time(
        &self,
        timestamp_ms: i64,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, LogError> {
        for segment in self.segments_from(self.log_start()) {
            let (entry, start, newest) = {
                let index = unpoison(segment.index.read());
                let entry = index.time_before(timestamp_ms);
                let start = index.start_before(entry.map_or(0, |(_, offset)| offset));
                (entry, start, index.max_timestamp_ms())
            };
            if newest.is_none_or(|newest| newest < timestamp_ms) {
                continue;
            }
            // An entry that the log does not bear out, which a disk may have changed, is no reason to skip records.
            let entry = entry.filter(|entry| has_time(&segment, start, *entry));
            let from = entry.map_or(0, |(_, offset)| offset);
            let from = segment.base_offset.plus(i64::from(from));
            let Some(mut place) = place_of(&segment, from, self.gaps(), DiskWait::Allowed)? else { continue };
            loop {
                if place.header.max_timestamp_ms >= timestamp_ms
                    && let Some(found) = self.first_in_batch(&place, |timestamp| timestamp >= timestamp_ms)?
                {
                    return Ok((found.offset < up_to).then_some(found));
                }
                match next_place(&place)? {
                    Some(next) => place = next,
                    None => break,
                }
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp below `up_to`, the first of them where several have it (KIP-734).
    pub fn max_timestamp(&self, up_to: Offset) -> Result<Option<TimestampOffset>, LogError> {
        let mut newest: Option<Place> = None;
        for segment in self.segments_from(self.log_start()) {
            let from = segment.base_offset.max(self.log_start());
            let mut place = place_of(&segment, from, self.gaps(), DiskWait::Allowed)?;
            while let Some(here) = place {
                if here.header.base_offset >= up_to.0 {
                    break;
                }
                let next = next_place(&here)?;
                if newest
                    .as_ref()
                    .is_none_or(|place| place.header.max_timestamp_ms < here.header.max_timestamp_ms)
                {
                    newest = Some(here);
                }
                place = next;
            }
        }
        let Some(place) = newest else { return Ok(None) };
        let wanted = place.header.max_timestamp_ms;
        self.first_in_batch(&place, |timestamp| timestamp == wanted)
    }

    fn first_in_batch(
        &self,
        place: &Place,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<Option<TimestampOffset>, LogError> {
        let bytes = place.segment.read(place.position, place.header.size())?;
        let batch = Batch::parse(&bytes)?;
        let offset = Offset(place.header.base_offset);
        batch.check_crc().map_err(|error| corrupt(&place.segment, offset, &error.to_string()))?;
        let start = self.log_start();
        for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
            let record = record?;
            if wanted(record.timestamp_ms) && Offset(record.offset) >= start {
                return Ok(Some(TimestampOffset {
                    timestamp_ms: record.timestamp_ms,
                    offset: Offset(record.offset),
                    leader_epoch: LeaderEpoch(batch.header.leader_epoch),
                }));
            }
        }
        Ok(None)
    }
}
