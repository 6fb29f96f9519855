//! Opening a log: what a clean shutdown left is trusted, what came after the recovery point is scanned, and a torn
//! tail is cut at its last whole batch.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, RwLock};

use ottla_protocol::records::BatchHeader;

use super::LogError;
use super::checkpoint::sync_dir;
use super::index::SegmentIndex;
use super::leader_epochs::LeaderEpochs;
use super::partition_log::{LogConfig, PartitionLog};
use super::producer_state::ProducerStates;
use super::read::Shared;
use super::segment::{Segment, unpoison};
use crate::ids::{LeaderEpoch, Offset};

impl PartitionLog {
    /// Opens the log in `dir`, creating it when it is not there.
    ///
    /// `trusted_to` is the offset up to which the files are known to be whole: `None` after a clean shutdown
    /// (everything), else the recovery point. The batches at and past it are checked by length, order and CRC; the
    /// log ends at the first that fails.
    pub fn open(dir: &Path, config: LogConfig, trusted_to: Option<Offset>) -> Result<PartitionLog, LogError> {
        let mut dirty_dirs = Vec::new();
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(LogError::io("create", dir))?;
            dirty_dirs.extend(dir.parent().map(Path::to_owned));
        }
        let mut bases = base_offsets(dir)?;
        if bases.is_empty() {
            Segment::open(dir, Offset::ZERO, true)?;
            dirty_dirs.push(dir.to_owned());
            bases.push(Offset::ZERO);
        }
        let log_start = bases.first().copied().unwrap_or_default();
        let mut recovery = Recovery {
            dir,
            producers: ProducerStates::default(),
            // Producers are known up to here; batches before it need no walk for their sake.
            producers_from: log_start,
            leader_epochs: LeaderEpochs::load(dir),
            next: log_start,
        };
        recovery.load_snapshot(trusted_to);
        let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(bases.len());
        let mut torn = false;
        for (i, base) in bases.iter().enumerate() {
            if torn {
                tracing::warn!(dir = %dir.display(), base_offset = %base, "removing a segment past a torn batch");
                PartitionLog::remove_segment_files(dir, *base)?;
                continue;
            }
            let sealed_before = bases.get(i + 1).copied();
            let segment = Segment::open(dir, *base, false)?;
            torn = recovery.open_segment(&segment, sealed_before, trusted_to)?;
            segments.push(Arc::new(segment));
        }
        if torn {
            sync_dir(dir)?;
        }
        recovery.leader_epochs.truncate(recovery.next);
        remove_snapshots_past(dir, recovery.next);
        // What was scanned may be in the page cache only: the first sync makes sure of it.
        let dirty = match trusted_to {
            Some(point) if recovery.next > point => segments.last().cloned().into_iter().collect(),
            _ => Vec::new(),
        };
        let shared = Shared {
            log_start: AtomicI64::new(log_start.0),
            log_end: AtomicI64::new(recovery.next.0),
            segments: RwLock::new(segments),
        };
        Ok(PartitionLog {
            dir: dir.to_owned(),
            config,
            shared: Arc::new(shared),
            producers: recovery.producers,
            leader_epochs: recovery.leader_epochs,
            dirty,
            dirty_dirs,
        })
    }
}

struct Recovery<'a> {
    dir: &'a Path,
    producers: ProducerStates,
    producers_from: Offset,
    leader_epochs: LeaderEpochs,
    next: Offset,
}

impl Recovery<'_> {
    /// Starts from the newest whole snapshot that does not lie past what is trusted.
    fn load_snapshot(&mut self, trusted_to: Option<Offset>) {
        let mut offsets = snapshot_offsets(self.dir);
        offsets.sort();
        for offset in offsets.into_iter().rev() {
            if trusted_to.is_some_and(|trusted| offset > trusted) {
                continue;
            }
            let read = fs::read(PartitionLog::snapshot_path(self.dir, offset)).ok();
            if let Some(producers) = read.and_then(|bytes| ProducerStates::from_snapshot(&bytes)) {
                self.producers = producers;
                self.producers_from = offset;
                return;
            }
            tracing::warn!(dir = %self.dir.display(), %offset, "a producer snapshot is damaged and left out");
        }
    }

    /// Brings one segment into a usable state. True when it was cut, so that nothing past it may stay.
    fn open_segment(
        &mut self,
        segment: &Segment,
        next_base: Option<Offset>,
        trusted_to: Option<Offset>,
    ) -> Result<bool, LogError> {
        let size = segment.size();
        let loaded = SegmentIndex::load(self.dir, segment.base_offset, size);
        let trusted = next_base.is_some_and(|next| trusted_to.is_none_or(|point| next <= point));
        if trusted
            && let (Some(next), Some(index)) = (next_base, loaded)
            && next <= self.producers_from
        {
            *unpoison(segment.index.write()) = index;
            self.next = next;
            return Ok(false);
        }
        let loaded = SegmentIndex::load(self.dir, segment.base_offset, size);
        // Jump as far as the index, the trust and the producers' snapshot allow.
        let mut from = (0, segment.base_offset);
        if let Some(index) = loaded {
            let known = trusted_to.map_or(self.producers_from, |point| point.min(self.producers_from));
            let position = index.position_before(segment.relative(known.max(segment.base_offset)));
            if let Some(header) = segment.header_at(position, size)?
                && header.base_offset >= segment.base_offset.0
                && header.base_offset <= known.0
            {
                from = (position, Offset(header.base_offset));
                let mut index = index;
                index.truncate(position, segment.relative(from.1));
                *unpoison(segment.index.write()) = index;
            }
        }
        self.next = from.1;
        let end = self.walk(segment, from.0, trusted_to)?;
        let torn = end < size;
        if torn {
            let rest = (size - end) as usize;
            if is_preallocated(segment, end, rest)? {
                tracing::debug!(path = %segment.path.display(), "gave preallocated room back");
            } else {
                tracing::warn!(path = %segment.path.display(), bytes = rest, end_offset = %self.next, "cut a torn tail");
            }
            segment.cut(end)?;
        }
        // A sealed segment that ends early leaves a hole before the next one, which then cannot stay.
        Ok(torn && next_base.is_some())
    }

    /// Walks batches from `position`, noting each; gives the position after the last good one.
    fn walk(
        &mut self,
        segment: &Segment,
        mut position: u32,
        trusted_to: Option<Offset>,
    ) -> Result<u32, LogError> {
        let size = segment.size();
        let mut buffer = Vec::new();
        while let Some(header) = segment.header_at(position, size)? {
            if header.base_offset < self.next.0
                || header.base_offset - segment.base_offset.0 > i64::from(i32::MAX)
            {
                break;
            }
            let must_check = trusted_to.is_some_and(|point| header.next_offset() > point.0);
            if must_check && !crc_holds(segment, position, &header, &mut buffer)? {
                break;
            }
            let base = Offset(header.base_offset);
            let last = Offset(header.last_offset());
            let length = header.size() as u32;
            unpoison(segment.index.write()).note(
                segment.relative(base),
                position,
                length,
                header.max_timestamp_ms,
                segment.relative(last),
            );
            self.leader_epochs.assign(LeaderEpoch(header.leader_epoch), base);
            if base >= self.producers_from {
                self.producers.apply(&header);
            }
            self.next = Offset(header.next_offset());
            position += length;
        }
        Ok(position)
    }
}

fn crc_holds(
    segment: &Segment,
    position: u32,
    header: &BatchHeader,
    buffer: &mut Vec<u8>,
) -> Result<bool, LogError> {
    buffer.resize(header.size(), 0);
    segment.file.read_exact_at(buffer, u64::from(position)).map_err(LogError::io("read", &segment.path))?;
    Ok(crc32c::crc32c(buffer.get(21..).unwrap_or_default()) == header.crc)
}

/// Whether the bytes after the last batch are the zeros of preallocation, looking at the first 64 KiB of them.
fn is_preallocated(segment: &Segment, position: u32, length: usize) -> Result<bool, LogError> {
    let bytes = segment.read(position, length.min(64 << 10))?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

fn base_offsets(dir: &Path) -> Result<Vec<Offset>, LogError> {
    let mut offsets = offsets_of_files(dir, "log")?;
    offsets.sort();
    Ok(offsets)
}

/// The offsets of the producer snapshots in a folder, in no order.
pub(super) fn snapshot_offsets(dir: &Path) -> Vec<Offset> {
    offsets_of_files(dir, "snapshot").unwrap_or_default()
}

fn offsets_of_files(dir: &Path, extension: &str) -> Result<Vec<Offset>, LogError> {
    let mut offsets = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if path.extension().is_some_and(|found| found == extension)
            && let Some(offset) = stem.and_then(|stem| stem.parse().ok())
        {
            offsets.push(Offset(offset));
        }
    }
    Ok(offsets)
}

fn remove_snapshots_past(dir: &Path, end: Offset) {
    for offset in snapshot_offsets(dir) {
        if offset > end {
            // One that stays would be left out by its offset at the next start too.
            let _ = fs::remove_file(PartitionLog::snapshot_path(dir, offset));
        }
    }
}

#[cfg(test)]
pub(super) fn tests_base_offsets(dir: &Path) -> Vec<Offset> {
    base_offsets(dir).unwrap_or_default()
}
