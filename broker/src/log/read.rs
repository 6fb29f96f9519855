//! Reading a log while it is written: by offset, by time. Readers share segments with the writer and take no lock
//! for longer than a look-up.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use ottla_protocol::records::{Batch, BatchHeader};
use thiserror::Error;

use super::LogError;
use super::range::FileRange;
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
}

/// A handle for reading a log; cheap to clone.
#[derive(Debug, Clone)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

/// Where a batch lies.
struct Place {
    segment: Arc<Segment>,
    position: u32,
    header: BatchHeader,
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

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        unpoison(self.shared.segments.read()).iter().map(|segment| u64::from(segment.size())).sum()
    }

    fn segments_from(&self, offset: Offset) -> Vec<Arc<Segment>> {
        let segments = unpoison(self.shared.segments.read());
        let after = segments.partition_point(|segment| segment.base_offset <= offset);
        segments.get(after.saturating_sub(1)..).unwrap_or_default().to_vec()
    }

    /// Whole batches from the one that holds `from`, at most `bytes_max` of them but at least one where
    /// `at_least_one`, none at or past `up_to`. Blocks on the disk when the pages are not cached.
    ///
    /// The first batch may begin before `from`: consumers skip its earlier records.
    pub fn read(
        &self,
        from: Offset,
        up_to: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Bytes, ReadError> {
        match self.locate(from, up_to, bytes_max, at_least_one, DiskWait::Allowed)? {
            Some(range) => Ok(range.read()?),
            None => Ok(Bytes::new()),
        }
    }

    /// As [`read`](LogReader::read), but only finds where the batches lie.
    pub fn locate(
        &self,
        from: Offset,
        up_to: Offset,
        bytes_max: usize,
        at_least_one: bool,
        wait: DiskWait,
    ) -> Result<Option<FileRange>, ReadError> {
        let (start, end) = (self.log_start(), self.log_end());
        if from < start || from > end {
            return Err(ReadError::OutOfRange { offset: from, start, end });
        }
        if from >= up_to || (bytes_max == 0 && !at_least_one) {
            return Ok(None);
        }
        for segment in self.segments_from(from) {
            let Some(place) = place_of(&segment, from, wait)? else { continue };
            if place.header.base_offset >= up_to.0 {
                break;
            }
            return Ok(range_from(place, up_to, bytes_max, at_least_one, wait)?);
        }
        Ok(None)
    }

    /// The first record, below `up_to`, whose timestamp is at least `timestamp_ms`.
    pub fn offset_for_time(
        &self,
        timestamp_ms: i64,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, LogError> {
        for segment in self.segments_from(self.log_start()) {
            let (from, newest) = {
                let index = unpoison(segment.index.read());
                (index.offset_before_time(timestamp_ms), index.max_timestamp_ms())
            };
            if newest.is_none_or(|newest| newest < timestamp_ms) {
                continue;
            }
            let from = segment.base_offset.plus(i64::from(from));
            let Some(mut place) = place_of(&segment, from, DiskWait::Allowed)? else { continue };
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
            let mut place = place_of(&segment, segment.base_offset.max(self.log_start()), DiskWait::Allowed)?;
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

/// The first batch of the segment that ends at or after `offset`.
fn place_of(segment: &Arc<Segment>, offset: Offset, wait: DiskWait) -> Result<Option<Place>, LogError> {
    let mut position = unpoison(segment.index.read()).position_before(segment.relative(offset));
    let end = segment.size();
    while position < end {
        let Some(header) = segment.header(position, end, wait)? else {
            return Err(LogError::Corrupt {
                path: segment.path().to_owned(),
                offset,
                reason: format!("no batch at byte {position}"),
            });
        };
        if header.last_offset() >= offset.0 {
            return Ok(Some(Place { segment: segment.clone(), position, header }));
        }
        position += header.size() as u32;
    }
    Ok(None)
}

fn next_place(place: &Place) -> Result<Option<Place>, LogError> {
    let position = place.position + place.header.size() as u32;
    let header = place.segment.header_at(position, place.segment.size())?;
    Ok(header.map(|header| Place { segment: place.segment.clone(), position, header }))
}

/// The wanted amount from a place on, cut to whole batches below `up_to`.
fn range_from(
    place: Place,
    up_to: Offset,
    bytes_max: usize,
    at_least_one: bool,
    wait: DiskWait,
) -> Result<Option<FileRange>, LogError> {
    let Place { segment, position: start, header } = place;
    let first = header.size();
    if first > bytes_max {
        let range = FileRange::new(segment, start, first as u32)?;
        return Ok(at_least_one.then_some(range));
    }
    let size = segment.size();
    let limit = u32::try_from(start as usize + bytes_max).map_or(size, |limit| limit.min(size));
    let known = unpoison(segment.index.read()).last_batch_before(segment.relative(up_to), limit);
    let mut end = known.max(start);
    while let Some(header) = segment.header(end, limit, wait)? {
        if header.base_offset >= up_to.0 {
            break;
        }
        end += header.size() as u32;
    }
    Ok(Some(FileRange::new(segment, start, end - start)?))
}
