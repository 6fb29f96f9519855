//! The two sparse indexes of a segment, held in memory and written to disk as Kafka lays them out.
//!
//! An index is a hint that recovery can rebuild: a lookup gives a place at or before the wanted one, and the reader
//! walks batch headers from there.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use super::LogError;
use super::checkpoint::{Durable, replace_file};
use crate::ids::Offset;

/// Batches written last whose places are known exactly: most readers are at the tail.
const RECENT_BATCHES: usize = 64;

const OFFSET_ENTRY_LEN: usize = 8;
const TIME_ENTRY_LEN: usize = 12;

/// Both indexes of one segment.
#[derive(Debug, Default, Clone)]
pub(super) struct SegmentIndex {
    /// (last offset of a batch relative to the segment's base, byte position of the batch), growing in both.
    offsets: Vec<(u32, u32)>,
    /// (timestamp in ms, relative offset of the end of its batch): no record up to there is newer. Growing in both.
    times: Vec<(i64, u32)>,
    /// The batches that were noted last, by first offset; never on disk.
    recent: VecDeque<(u32, u32)>,
    bytes_since_entry: u32,
    /// As `times` would hold it.
    newest: Option<(i64, u32)>,
}

/// A batch as its segment's index sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted {
    /// Its first offset, relative to the segment's base.
    pub first: u32,
    /// Its last.
    pub last: u32,
    /// Where it begins in the file.
    pub position: u32,
    /// Bytes.
    pub size: u32,
    /// Of its newest record.
    pub max_timestamp_ms: i64,
}

/// A place that the index names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub position: u32,
    /// The first offset of the batch there, relative to the segment's base; where no batch was taken out before it.
    pub first: Option<u32>,
    /// Its last offset, or that of a later one: Kafka's followers noted several batches at once.
    pub last: Option<u32>,
}

impl Start {
    /// Whether a batch with these first and last relative offsets may be the one that was noted.
    pub fn fits(&self, first: u32, last: u32) -> bool {
        self.first.is_none_or(|noted| noted == first) && self.last.is_none_or(|noted| noted >= last)
    }
}

impl SegmentIndex {
    /// Notes a batch that was written; it gets an entry where more than `interval_bytes` have come since the last one. The
    /// first batch of a segment needs none.
    pub fn note(&mut self, batch: Noted, interval_bytes: u32) {
        if self.bytes_since_entry > interval_bytes {
            self.offsets.push((batch.last, batch.position));
            self.bytes_since_entry = 0;
            // For what came before this batch: whoever trusts the offset entry knows the times up to it too.
            self.note_time();
        }
        if self.recent.len() == RECENT_BATCHES {
            self.recent.pop_front();
        }
        self.recent.push_back((batch.first, batch.position));
        if self.newest.is_none_or(|(newest, _)| newest < batch.max_timestamp_ms) {
            self.newest = Some((batch.max_timestamp_ms, batch.last));
        }
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(batch.size);
    }

    /// Adds a time entry for everything so far. It also closes a segment, so that its largest timestamp survives on
    /// disk.
    pub fn note_time(&mut self) {
        if let Some(newest) = self.newest.filter(|(timestamp, _)| *timestamp >= 0)
            && self.times.last().is_none_or(|(timestamp, _)| *timestamp < newest.0)
        {
            self.times.push(newest);
        }
    }

    /// Where to begin to look for a relative offset, and what is known of the batch there.
    pub fn start_before(&self, relative_offset: u32) -> Start {
        let recent = self.recent.partition_point(|(offset, _)| *offset <= relative_offset);
        if let Some((first, position)) = recent.checked_sub(1).and_then(|at| self.recent.get(at)) {
            return Start { position: *position, first: Some(*first), last: None };
        }
        let after = self.offsets.partition_point(|(offset, _)| *offset <= relative_offset);
        let entry = after.checked_sub(1).and_then(|at| self.offsets.get(at));
        entry.map_or(Start { position: 0, first: Some(0), last: None }, |(last, position)| Start {
            position: *position,
            first: None,
            last: Some(*last),
        })
    }

    /// The byte position of a batch that begins below the relative offset and at or before `position_max`, as late as
    /// is known; the first batch where none is.
    pub fn last_batch_before(&self, relative_offset: u32, position_max: u32) -> u32 {
        let fits = |(offset, position): &(u32, u32)| *offset < relative_offset && *position <= position_max;
        let recent = self.recent.partition_point(fits).checked_sub(1).and_then(|at| self.recent.get(at));
        let sparse = || self.offsets.partition_point(fits).checked_sub(1).and_then(|at| self.offsets.get(at));
        recent.or_else(sparse).map_or(0, |(_, position)| *position)
    }

    /// The largest timestamp of the segment, milliseconds since the epoch.
    pub fn max_timestamp_ms(&self) -> Option<i64> {
        self.newest.map(|(timestamp, _)| timestamp)
    }

    /// Whether one of the files would be as large as it may be, with so many entries more.
    pub fn is_full(&self, bytes_max: u32, entries_more: usize) -> bool {
        let bytes_max = bytes_max as usize;
        let offsets = self.offsets.len() + entries_more;
        // The last time entry is the one that closes the segment.
        let times = self.times.len() + entries_more + 1;
        offsets >= bytes_max / OFFSET_ENTRY_LEN || times >= bytes_max / TIME_ENTRY_LEN
    }

    /// The last time entry: a timestamp, and a relative offset in the batch that has it.
    pub fn last_time(&self) -> Option<(i64, u32)> {
        self.times.last().copied()
    }

    /// The last time entry older than `timestamp_ms`: every record before its relative offset is older too.
    pub fn time_before(&self, timestamp_ms: i64) -> Option<(i64, u32)> {
        let after = self.times.partition_point(|(timestamp, _)| *timestamp < timestamp_ms);
        after.checked_sub(1).and_then(|at| self.times.get(at)).copied()
    }

    /// Forgets everything at or past a byte position, which truncation cuts.
    pub fn truncate(&mut self, position: u32, end_relative: u32) {
        self.offsets.retain(|(_, at)| *at < position);
        self.recent.retain(|(_, at)| *at < position);
        self.times.retain(|(_, offset)| *offset < end_relative);
        self.newest = self.times.last().copied();
        self.bytes_since_entry = 0;
    }

    /// Replaces both files. The times come first: after a crash in between they reach further than the offsets, and
    /// [`truncate`](SegmentIndex::truncate) cuts them. The folder is left to the caller to sync.
    pub fn save(&self, dir: &Path, base_offset: Offset, durable: Durable) -> Result<(), LogError> {
        let mut bytes = Vec::with_capacity(self.times.len() * TIME_ENTRY_LEN);
        for (timestamp, offset) in &self.times {
            bytes.extend_from_slice(&timestamp.to_be_bytes());
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        replace_file(&time_index_path(dir, base_offset), &bytes, durable)?;
        let mut bytes = Vec::with_capacity(self.offsets.len() * OFFSET_ENTRY_LEN);
        for (offset, position) in &self.offsets {
            bytes.extend_from_slice(&offset.to_be_bytes());
            bytes.extend_from_slice(&position.to_be_bytes());
        }
        replace_file(&index_path(dir, base_offset), &bytes, durable)
    }

    /// Reads both files of a segment of `log_size` bytes. `None` when one is missing or contradicts itself: the
    /// caller then rebuilds them from the log. Zero entries at the end, as Kafka's preallocated files have, are cut.
    pub fn load(dir: &Path, base_offset: Offset, log_size: u32) -> Option<SegmentIndex> {
        let bytes = fs::read(index_path(dir, base_offset)).ok()?;
        let mut offsets = Vec::with_capacity(bytes.len() / OFFSET_ENTRY_LEN);
        for entry in bytes.chunks_exact(OFFSET_ENTRY_LEN) {
            let offset = u32::from_be_bytes(entry.get(..4)?.try_into().ok()?);
            let position = u32::from_be_bytes(entry.get(4..)?.try_into().ok()?);
            if (offset, position) == (0, 0) {
                break;
            }
            let grows = offsets.last().is_none_or(|(o, p)| *o < offset && *p < position);
            if !grows || position >= log_size {
                return None;
            }
            offsets.push((offset, position));
        }
        let bytes = fs::read(time_index_path(dir, base_offset)).ok()?;
        let mut times: Vec<(i64, u32)> = Vec::with_capacity(bytes.len() / TIME_ENTRY_LEN);
        for entry in bytes.chunks_exact(TIME_ENTRY_LEN) {
            let timestamp = i64::from_be_bytes(entry.get(..8)?.try_into().ok()?);
            let offset = u32::from_be_bytes(entry.get(8..)?.try_into().ok()?);
            if (timestamp, offset) == (0, 0) {
                break;
            }
            if times.last().is_some_and(|(t, o)| *t > timestamp || *o > offset) {
                return None;
            }
            times.push((timestamp, offset));
        }
        let newest = times.last().copied();
        Some(SegmentIndex { offsets, times, newest, ..SegmentIndex::default() })
    }
}

pub(super) fn log_path(dir: &Path, base_offset: Offset) -> PathBuf {
    dir.join(format!("{:020}.log", base_offset.0))
}

pub(super) fn index_path(dir: &Path, base_offset: Offset) -> PathBuf {
    dir.join(format!("{:020}.index", base_offset.0))
}

pub(super) fn time_index_path(dir: &Path, base_offset: Offset) -> PathBuf {
    dir.join(format!("{:020}.timeindex", base_offset.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL_BYTES: u32 = 4096;

    fn filled(sizes: &[u32]) -> (SegmentIndex, Vec<(u32, u32)>) {
        let mut index = SegmentIndex::default();
        let mut position = 0;
        let mut placed = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            let first = i as u32 * 3;
            let max_timestamp_ms = 1000 + i as i64;
            index.note(
                Noted { first, last: first + 2, position, size: *size, max_timestamp_ms },
                INTERVAL_BYTES,
            );
            placed.push((i as u32 * 3, position));
            position += size;
        }
        (index, placed)
    }

    proptest! {
        #[test]
        fn a_lookup_is_never_past_its_batch(sizes in proptest::collection::vec(61u32..9000, 1..60)) {
            let (index, placed) = filled(&sizes);
            for (offset, position) in placed {
                prop_assert!(index.start_before(offset).position <= position);
                prop_assert!(index.start_before(offset + 2).position <= position);
            }
        }

        #[test]
        fn the_last_batch_before_is_a_batch_and_as_late_as_the_index_allows(
            sizes in proptest::collection::vec(61u32..9000, 1..200), offset in 0u32..700, position in 0u32..900_000
        ) {
            let (index, placed) = filled(&sizes);
            let found = index.last_batch_before(offset, position);
            prop_assert!(placed.iter().any(|(_, at)| *at == found));
            let latest = placed.iter().rfind(|(o, p)| *o < offset && *p <= position).map_or(0, |(_, at)| *at);
            prop_assert!(found <= latest);
            prop_assert!(latest - found <= INTERVAL_BYTES + 9000);
        }

        #[test]
        fn files_round_trip(sizes in proptest::collection::vec(61u32..9000, 1..60)) {
            let dir = tempfile::tempdir().unwrap();
            let (mut index, _) = filled(&sizes);
            index.note_time();
            index.save(dir.path(), Offset(42), Durable::Now).unwrap();
            let read = SegmentIndex::load(dir.path(), Offset(42), sizes.iter().sum()).unwrap();
            prop_assert_eq!(&read.offsets, &index.offsets);
            prop_assert_eq!(&read.times, &index.times);
            prop_assert_eq!(read.newest, index.newest);
        }

        #[test]
        fn damaged_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            fs::write(index_path(dir.path(), Offset(0)), &bytes).unwrap();
            fs::write(time_index_path(dir.path(), Offset(0)), &bytes).unwrap();
            let _ = SegmentIndex::load(dir.path(), Offset(0), 1 << 20);
        }
    }
}
