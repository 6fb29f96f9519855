//! One segment: a `.log` file, how far it is written and its indexes. Shared by the writer and by readers.

use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::UNIX_EPOCH;

use bytes::{Bytes, BytesMut};
use ottla_protocol::records::{BatchHeader, HEADER_LEN};

use super::LogError;
use super::index::{Noted, SegmentIndex, Start, log_path};
use super::open_files::SegmentFile;
use super::verified::Verified;
use crate::ids::Offset;

/// A segment is preallocated in steps that double with its size between these two: appends to unallocated files cost
/// many times more, and thousands of partitions with little data must not take much disk.
const PREALLOCATE_BYTES_MIN: u64 = 16 << 10;
const PREALLOCATE_BYTES_MAX: u64 = 64 << 20;

/// Whether a read may wait for the disk. Async threads may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskWait {
    /// It may.
    Allowed,
    /// What is not in the page cache is left for another thread.
    Refused,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub base_offset: Offset,
    file: Arc<SegmentFile>,
    /// Bytes written; what lies past it in the file is preallocated zeros.
    size: AtomicU32,
    allocated: AtomicU64,
    pub index: RwLock<SegmentIndex>,
    /// Which of its bytes were found whole since they came off the disk.
    pub verified: Verified,
}

/// A lock whose holder panicked guards plain data that is still whole.
pub(super) fn unpoison<T>(result: Result<T, std::sync::PoisonError<T>>) -> T {
    result.unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Segment {
    /// Opens or creates the file; `index` describes what it holds.
    pub fn open(dir: &Path, base_offset: Offset, create: bool) -> Result<Segment, LogError> {
        Segment::at(&log_path(dir, base_offset), base_offset, create)
    }

    /// As [`open`](Segment::open), of a file by any name.
    pub fn at(path: &Path, base_offset: Offset, create: bool) -> Result<Segment, LogError> {
        let file = SegmentFile::new(path.to_owned(), create)?;
        let len = file.get()?.metadata().map_err(LogError::io("stat", path))?.len();
        let size = u32::try_from(len).map_err(|_| LogError::Corrupt {
            path: path.to_owned(),
            offset: base_offset,
            reason: format!("{len} bytes are more than a segment can have"),
        })?;
        Ok(Segment {
            base_offset,
            file,
            size: AtomicU32::new(size),
            allocated: AtomicU64::new(len),
            index: RwLock::new(SegmentIndex::default()),
            verified: Verified::new(size),
        })
    }

    /// The copy of a segment that is whole in the folder `now`, which will be called `later`. It stays open until it
    /// [may close](Segment::may_close).
    pub fn moved(of: &Segment, now: &Path, later: &Path) -> Result<Segment, LogError> {
        let base_offset = of.base_offset;
        let file = SegmentFile::renamed(&log_path(now, base_offset), log_path(later, base_offset))?;
        let size = of.size();
        Ok(Segment {
            base_offset,
            file,
            size: AtomicU32::new(size),
            allocated: AtomicU64::new(u64::from(size)),
            index: RwLock::new(unpoison(of.index.read()).clone()),
            verified: Verified::new(size),
        })
    }

    /// The file is where its path says.
    pub fn may_close(&self) {
        self.file.may_close();
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file, opened if it is not.
    pub fn file(&self) -> Result<Arc<File>, LogError> {
        self.file.get()
    }

    /// Keeps the file open for readers that may still come when its path is gone.
    pub fn keep_open(&self) -> Result<(), LogError> {
        self.file.keep_open()
    }

    pub fn size(&self) -> u32 {
        self.size.load(Ordering::Acquire)
    }

    /// Makes `size` the end of the segment for readers.
    pub fn set_size(&self, size: u32) {
        self.size.store(size, Ordering::Release);
    }

    /// Writes all slices at `position`, which must be the current size, growing the allocation first. The size does
    /// not move: the caller publishes it once the batches are noted. On error nothing is published, so the next write
    /// goes over what a short write left.
    pub fn write_at(&self, mut slices: &mut [IoSlice<'_>], position: u32) -> Result<u64, LogError> {
        let length: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let mut at = u64::from(position);
        let file = self.file()?;
        self.preallocate(&file, at + length)?;
        while !slices.is_empty() {
            let written = match rustix::io::pwritev(&*file, slices, at) {
                Ok(0) => return Err(LogError::io("write", self.path())(io::ErrorKind::WriteZero.into())),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(LogError::io("write", self.path())(errno.into())),
            };
            at += written as u64;
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(length)
    }

    fn preallocate(&self, file: &File, needed: u64) -> Result<(), LogError> {
        let allocated = self.allocated.load(Ordering::Relaxed);
        if needed <= allocated {
            return Ok(());
        }
        let step = allocated.clamp(PREALLOCATE_BYTES_MIN, PREALLOCATE_BYTES_MAX);
        let target = needed.max(allocated + step);
        let flags = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(file, flags, allocated, target - allocated) {
            Ok(()) => self.allocated.store(target, Ordering::Relaxed),
            // A file system without fallocate only loses speed.
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            // Close to a full disk the step may not fit where the batch still does.
            Err(rustix::io::Errno::NOSPC) if target > needed => {}
            Err(errno) => return Err(LogError::io("allocate", self.path())(errno.into())),
        }
        Ok(())
    }

    /// Cuts the file at `size`, giving preallocated room back.
    pub fn cut(&self, size: u32) -> Result<(), LogError> {
        self.file()?.set_len(u64::from(size)).map_err(LogError::io("truncate", self.path()))?;
        self.allocated.store(u64::from(size), Ordering::Relaxed);
        self.verified.cut(size);
        self.set_size(size);
        Ok(())
    }

    /// When the file was last written, milliseconds since the epoch.
    pub fn modified_ms(&self) -> i64 {
        let modified = self.file().ok().and_then(|file| file.metadata().ok()?.modified().ok());
        let since = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        since.map_or(i64::MAX, |since| since.as_millis() as i64)
    }

    /// The batch header at `position`, or `None` where no whole header fits before `end`.
    pub fn header_at(&self, position: u32, end: u32) -> Result<Option<BatchHeader>, LogError> {
        self.header(position, end, DiskWait::Allowed)
    }

    /// As [`header_at`](Segment::header_at); where waiting is not allowed and the pages are not cached, the error is of
    /// the kind `WouldBlock`.
    pub fn header(&self, position: u32, end: u32, wait: DiskWait) -> Result<Option<BatchHeader>, LogError> {
        if (end as usize) < position as usize + HEADER_LEN {
            return Ok(None);
        }
        let mut bytes = [0u8; HEADER_LEN];
        read_exact(&*self.file()?, &mut bytes, position, wait)
            .map_err(|error| LogError::io("read", self.path())(error))?;
        Ok(BatchHeader::parse(&bytes).ok().filter(|header| header.size() <= (end - position) as usize))
    }

    /// Whether a byte is in the page cache.
    pub fn is_cached(&self, position: u32) -> bool {
        self.file().is_ok_and(|file| read_cached(&file, &mut [0], u64::from(position)).is_ok())
    }

    /// `length` bytes from `position`. Blocking.
    pub fn read(&self, position: u32, length: usize) -> Result<Bytes, LogError> {
        self.read_within(position, length, DiskWait::Allowed)
    }

    /// As [`read`](Segment::read); where waiting is not allowed and the pages are not cached, the error is of the kind
    /// `WouldBlock`.
    pub fn read_within(&self, position: u32, length: usize, wait: DiskWait) -> Result<Bytes, LogError> {
        let mut bytes = BytesMut::zeroed(length);
        read_exact(&*self.file()?, &mut bytes, position, wait)
            .map_err(|error| LogError::io("read", self.path())(error))?;
        Ok(bytes.freeze())
    }

    /// A batch at `position`, as the index notes it.
    pub fn noted(&self, header: &BatchHeader, position: u32) -> Noted {
        Noted {
            first: self.relative(Offset(header.base_offset)),
            last: self.relative(Offset(header.last_offset())),
            position,
            size: u32::try_from(header.size()).unwrap_or(u32::MAX),
            max_timestamp_ms: header.max_timestamp_ms,
        }
    }

    /// Whether a batch at the place that the index names may be the one it means.
    pub fn is_noted(&self, header: &BatchHeader, start: Start) -> bool {
        let (first, last) = (Offset(header.base_offset), Offset(header.last_offset()));
        first >= self.base_offset && start.fits(self.relative(first), self.relative(last))
    }

    /// An offset of this segment relative to its base, as the indexes hold it.
    pub fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.0 - self.base_offset.0).unwrap_or(if offset < self.base_offset {
            0
        } else {
            u32::MAX
        })
    }
}

fn read_exact(file: &File, bytes: &mut [u8], position: u32, wait: DiskWait) -> io::Result<()> {
    match wait {
        DiskWait::Allowed => file.read_exact_at(bytes, u64::from(position)),
        DiskWait::Refused => read_cached(file, bytes, u64::from(position)),
    }
}

/// Reads from the page cache, or fails with `WouldBlock`.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, bytes: &mut [u8], position: u64) -> io::Result<()> {
    let length = bytes.len();
    let mut slices = [io::IoSliceMut::new(bytes)];
    let read = rustix::io::preadv2(file, &mut slices, position, rustix::io::ReadWriteFlags::NOWAIT);
    match read {
        Ok(read) if read == length => Ok(()),
        // A part is cached, as at the border of two pages.
        Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
        // A file system that cannot tell is asked as if waiting were allowed.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
            file.read_exact_at(bytes, position)
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn read_cached(file: &File, bytes: &mut [u8], position: u64) -> io::Result<()> {
    file.read_exact_at(bytes, position)
}
