//! Batches where they lie in a segment's file, so that they can be sent without passing through memory.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::LogError;
use super::segment::{DiskWait, Segment};

/// Read ahead of a send, so that the send itself finds the pages cached.
const PREFETCH_BYTES: usize = 256 << 10;

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

    /// Whether sending will hardly wait for the disk: both ends are in the page cache.
    pub fn is_cached(&self) -> bool {
        let last = self.position + self.length.saturating_sub(1);
        self.segment.is_cached(self.position) && self.segment.is_cached(last)
    }

    /// Brings all bytes into the page cache. Blocking.
    pub fn prefetch(&self) -> Result<(), LogError> {
        let mut position = self.position;
        let end = self.position + self.length;
        while position < end {
            let length = PREFETCH_BYTES.min((end - position) as usize);
            self.segment.read(position, length)?;
            position += length as u32;
        }
        Ok(())
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
