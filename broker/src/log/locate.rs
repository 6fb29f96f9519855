//! Finding the bytes that answer a fetch: by the index and the headers, which costs next to nothing; and where those lead to
//! damage, by looking for whole batches around it.
//!
//! Nothing is given that was not found whole since it came off the disk, see [`super::verified`]: a read that may not
//! wait leaves the rest to one that may.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::records::BatchHeader;

use super::LogError;
use super::damage::{Gaps, corrupt, find_around, whole_batches};
use super::index::Start;
use super::range::FileRange;
use super::read::{LogReader, ReadError};
use super::segment::{DiskWait, Segment, unpoison};
use crate::ids::Offset;

/// Where a batch lies.
pub(super) struct Place {
    pub segment: Arc<Segment>,
    pub position: u32,
    pub header: BatchHeader,
}

/// What a read asks of a segment.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    from: Offset,
    up_to: Offset,
    bytes_max: usize,
    at_least_one: bool,
    gaps: Gaps,
}

/// What a segment has of it.
enum Found {
    Range(FileRange),
    /// Something, but nothing that may be given.
    Nothing,
    /// All of it lies in later segments.
    Later,
}

impl LogReader {
    /// Whole batches from the one that holds `from`, at most `bytes_max` of them but at least one where
    /// `at_least_one`, none at or past `up_to`, and none that is damaged. Blocks on the disk when the pages are not
    /// cached.
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

    /// As [`read`](LogReader::read), but only finds where the batches lie. Where waiting is allowed they are in the page
    /// cache afterwards.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] where the record at `from` is damaged.
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
        let wanted = Wanted { from, up_to, bytes_max, at_least_one, gaps: self.gaps() };
        let segments = self.segments_from(from);
        // Retention has taken the segment out a moment ago.
        if let Some(first) = segments.first().filter(|first| first.base_offset > from) {
            return Err(ReadError::OutOfRange { offset: from, start: first.base_offset, end });
        }
        for segment in segments {
            match find(&segment, wanted, wait)? {
                Found::Range(range) => return Ok(Some(range)),
                Found::Nothing => return Ok(None),
                Found::Later => {}
            }
        }
        Ok(None)
    }
}

fn find(segment: &Arc<Segment>, wanted: Wanted, wait: DiskWait) -> Result<Found, ReadError> {
    match (find_by_headers(segment, wanted, wait), wait) {
        (Ok(Found::Range(range)), DiskWait::Refused) if range.is_verified() => Ok(Found::Range(range)),
        (Ok(Found::Range(range)), DiskWait::Allowed) if range.is_verified() && range.is_cached() => {
            Ok(Found::Range(range))
        }
        (Ok(Found::Range(_)) | Err(LogError::Corrupt { .. }), DiskWait::Refused) => Err(ReadError::WouldWait),
        (Ok(Found::Range(range)), DiskWait::Allowed) => match range.verify(wanted.from, wanted.gaps)? {
            Some(range) => Ok(Found::Range(range)),
            None => Ok(find_around_damage(segment, wanted)?),
        },
        (Err(LogError::Corrupt { .. }), DiskWait::Allowed) => Ok(find_around_damage(segment, wanted)?),
        (found, _) => Ok(found?),
    }
}

fn find_by_headers(segment: &Arc<Segment>, wanted: Wanted, wait: DiskWait) -> Result<Found, LogError> {
    let Some(place) = place_of(segment, wanted.from, wanted.gaps, wait)? else {
        return match wanted.gaps {
            Gaps::Allowed => Ok(Found::Later),
            Gaps::None => Err(corrupt(segment, wanted.from, "the segment ends before it")),
        };
    };
    if place.header.base_offset > wanted.from.0 && wanted.gaps == Gaps::None {
        return Err(corrupt(segment, wanted.from, "the batch that follows comes later"));
    }
    if place.header.base_offset >= wanted.up_to.0 {
        return Ok(Found::Nothing);
    }
    let range = range_from(place, wanted.up_to, wanted.bytes_max, wanted.at_least_one, wait)?;
    Ok(range.map_or(Found::Nothing, Found::Range))
}

/// Slow, and only needed where the index or a header is damaged.
fn find_around_damage(segment: &Arc<Segment>, wanted: Wanted) -> Result<Found, LogError> {
    let Wanted { from, up_to, bytes_max, at_least_one, gaps } = wanted;
    let found = find_around(segment, from, gaps);
    if let Err(error @ LogError::Corrupt { .. }) = &found
        && segment.verified.is_news(segment.relative(from))
    {
        tracing::error!(%error, "a record is damaged on disk and is refused; those around it can be read");
    }
    let Some(position) = found? else { return Ok(Found::Later) };
    let size = segment.size();
    let Some(header) = segment.header_at(position, size)? else {
        return Err(corrupt(segment, from, "its batch is damaged"));
    };
    if header.base_offset >= up_to.0 || (header.size() > bytes_max && !at_least_one) {
        return Ok(Found::Nothing);
    }
    let length = u32::try_from(bytes_max.max(header.size())).unwrap_or(u32::MAX);
    let end = position.saturating_add(length).min(size);
    let whole = whole_batches(segment, (position, end), (from, up_to), gaps)?;
    segment.verified.add(position, whole.end);
    Ok(Found::Range(FileRange::new(segment.clone(), position, whole.end - position)?))
}

/// The first batch of the segment that ends at or after `offset`.
///
/// # Errors
/// [`LogError::Corrupt`] where the way there does not lead from batch to batch.
pub(super) fn place_of(
    segment: &Arc<Segment>,
    offset: Offset,
    gaps: Gaps,
    wait: DiskWait,
) -> Result<Option<Place>, LogError> {
    let start = unpoison(segment.index.read()).start_before(segment.relative(offset));
    let mut position = start.position;
    let mut expected = None;
    let end = segment.size();
    while position < end {
        let Some(header) = segment.header(position, end, wait)? else {
            return Err(corrupt(segment, offset, &format!("no batch at byte {position}")));
        };
        let follows = match expected {
            Some(expected) => header.base_offset == expected,
            None => segment.is_noted(&header, start),
        };
        if !follows && gaps == Gaps::None {
            return Err(corrupt(segment, offset, &format!("the batch at byte {position} does not follow")));
        }
        if header.last_offset() >= offset.0 {
            return Ok(Some(Place { segment: segment.clone(), position, header }));
        }
        expected = Some(header.next_offset());
        position += header.size() as u32;
    }
    Ok(None)
}

/// Whether the batch with a relative offset, to be looked for from `start` on, has this timestamp as its newest, as an entry
/// of the time index says.
pub(super) fn has_time(segment: &Segment, start: Start, (timestamp_ms, offset): (i64, u32)) -> bool {
    let mut position = start.position;
    while let Ok(Some(header)) = segment.header_at(position, segment.size()) {
        if segment.relative(Offset(header.last_offset())) >= offset {
            return header.max_timestamp_ms == timestamp_ms
                && segment.relative(Offset(header.base_offset)) <= offset;
        }
        position += header.size() as u32;
    }
    false
}

pub(super) fn next_place(place: &Place) -> Result<Option<Place>, LogError> {
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
