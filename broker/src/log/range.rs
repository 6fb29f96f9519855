//! Batches where they lie in a segment's file, so that they can be sent without passing through memory.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::LogError;
use super::damage::{Gaps, whole_batches};
use super::segment::{DiskWait, Segment};
use crate::ids::Offset;

/// Whole batches of one segment. The file stays readable while the range lives, even when the segment is deleted.
#[derive(Debug, Clone)]
pub struct FileRange {
    segment: Arc<Segment>,
    file: Arc<File>,
    position: u32,
    length: u32,
}

impl FileRange {
    pub(super) fn new(segment: Arc<Segment>, position: u32, length: u32) -> Result<FileRange, LogError> {
        let file = segment.file()?;
        Ok(FileRange { segment, file, position, length })
    }

    /// The file that holds the bytes.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The byte of the file at which they begin.
    pub fn position(&self) -> u64 {
        u64::from(self.position)
    }

    /// How many bytes there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// The same bytes in pieces of at most `bytes_max`, for whoever has to take them through memory.
    pub fn pieces(&self, bytes_max: u32) -> impl Iterator<Item = FileRange> + use<> {
        let (range, step) = (self.clone(), bytes_max.max(1));
        (0..self.length).step_by(step as usize).map(move |from| {
            let length = step.min(range.length - from);
            FileRange { position: range.position + from, length, ..range.clone() }
        })
    }

    /// Whether all of it was found whole already.
    pub(super) fn is_verified(&self) -> bool {
        self.segment.verified.covers(self.position, self.position + self.length)
    }

    /// Whether sending will hardly wait for the disk: both ends are in the page cache.
    pub fn is_cached(&self) -> bool {
        let last = self.position + self.length.saturating_sub(1);
        self.segment.is_cached(self.position) && self.segment.is_cached(last)
    }

    /// Brings the batches into the page cache and checks them; those from the first damaged one on are left out. `None`
    /// when that is the first. Blocking. The first batch holds the offset `from`, or follows it where there may be gaps.
    pub(super) fn verify(self, from: Offset, gaps: Gaps) -> Result<Option<FileRange>, LogError> {
        let (segment, begin) = (&self.segment, self.position);
        if !self.is_cached() {
            segment.verified.forget(segment.size());
        }
        let bytes = (begin, begin + self.length);
        let whole = whole_batches(segment, bytes, (from, Offset(i64::MAX)), gaps)?;
        segment.verified.add(begin, whole.end);
        Ok((whole.end > begin).then(|| FileRange { length: whole.end - begin, ..self.clone() }))
    }

    /// The bytes. Blocking.
    pub fn read(&self) -> Result<Bytes, LogError> {
        self.segment.read(self.position, self.len())
    }

    /// The bytes; where waiting is not allowed and they are not cached, the error is of the kind `WouldBlock`.
    pub fn read_within(&self, wait: DiskWait) -> Result<Bytes, LogError> {
        self.segment.read_within(self.position, self.len(), wait)
    }
}
