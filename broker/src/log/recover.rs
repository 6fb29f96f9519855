//! Opening a log: what a clean shutdown left is trusted, what came after the recovery point is scanned, and a torn
//! tail is cut at its last whole batch.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;

use ottla_protocol::records::{Batch, BatchHeader, EndTxnMarker};

use super::LogError;
use super::aborted::AbortedTransactions;
use super::checkpoint::sync_dir;
use super::config::LogConfig;
use super::damage::{next_whole_batch, whole_batch};
use super::index::{SegmentIndex, log_path};
use super::leader_epochs::LeaderEpochs;
use super::locate::has_time;
use super::partition_log::{PartitionLog, drawn_jitter};
use super::producer_state::ProducerStates;
use super::read::Shared;
use super::segment::{Segment, unpoison};
use super::swap;
use crate::ids::{LeaderEpoch, Offset};

/// What is known of a log's files before they are opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// The offset up to which the files are known to be whole: `None` after a clean shutdown (everything), else the
    /// recovery point.
    pub trusted_to: Option<Offset>,
    /// Records below this were deleted, though the segment that holds them may still be there.
    pub log_start: Offset,
    /// Compaction may have left gaps below this.
    pub cleaned_to: Offset,
    /// Records below this were committed, where other nodes keep them as well.
    pub high_watermark: Offset,
}

impl From<Option<Offset>> for Known {
    fn from(trusted_to: Option<Offset>) -> Known {
        Known { trusted_to, ..Known::default() }
    }
}

impl PartitionLog {
    /// Opens the log in `dir`, creating it when it is not there.
    ///
    /// The batches past what is trusted are checked by length, order and CRC; the log ends at the first that fails.
    /// Where a batch is missing before it the disk has lost what it had confirmed: that is an error, and nothing is
    /// cut. Only compaction leaves gaps between batches, and only in what is trusted.
    ///
    /// What the files hold must be on disk already, see `LogDir::open`.
    pub fn open(
        dir: &Path,
        config: impl Into<Arc<LogConfig>>,
        known: impl Into<Known>,
    ) -> Result<PartitionLog, LogError> {
        let (config, known) = (config.into(), known.into());
        let trusted_to = known.trusted_to;
        let mut dirty_dirs = Vec::new();
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(LogError::io("create", dir))?;
            dirty_dirs.extend(dir.parent().map(Path::to_owned));
        }
        swap::finish(dir)?;
        let mut bases = base_offsets(dir)?;
        if bases.is_empty() {
            Segment::open(dir, Offset::ZERO, true)?;
            dirty_dirs.push(dir.to_owned());
            bases.push(Offset::ZERO);
        }
        let first = bases.first().copied().unwrap_or_default();
        let (aborted, damaged_from) = AbortedTransactions::load(dir, &bases);
        let mut recovery = Recovery {
            dir,
            index_interval_bytes: config.index_interval_bytes,
            aborted,
            producers: ProducerStates::default(),
            // Producers are known up to here; batches before it need no walk for their sake.
            producers_from: first,
            leader_epochs: LeaderEpochs::load(dir),
            next: first,
            trusted_to,
            gaps_below: if config.compacted { Offset(i64::MAX) } else { known.cleaned_to },
        };
        let may_have_gaps = recovery.gaps_below > first;
        recovery.load_snapshot(damaged_from);
        recovery.aborted.truncate(recovery.producers_from);
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
            torn = recovery.open_segment(&segment, sealed_before)?;
            segments.push(Arc::new(segment));
        }
        recovery.leader_epochs.truncate(recovery.next);
        recovery.producers.end_decided_before(known.cleaned_to);
        // A removed file must stay removed: its name may mean something else by the next crash.
        if remove_snapshots_past(dir, recovery.next) || torn {
            sync_dir(dir)?;
        }
        let log_start = first.max(known.log_start.min(recovery.next));
        let shared = Shared {
            log_start: AtomicI64::new(log_start.0),
            log_end: AtomicI64::new(recovery.next.0),
            may_have_gaps: AtomicBool::new(may_have_gaps),
            aborted: RwLock::new(recovery.aborted),
            leader_epochs: ArcSwap::from_pointee(recovery.leader_epochs.clone()),
            segments: RwLock::new(segments),
        };
        let jitter_ms = drawn_jitter(&config);
        Ok(PartitionLog {
            dir: dir.to_owned(),
            config,
            shared: Arc::new(shared),
            producers: recovery.producers,
            leader_epochs: recovery.leader_epochs,
            dirty: Vec::new(),
            dirty_dirs,
            changed: trusted_to.is_some() && recovery.next > first,
            first_timestamp_ms: None,
            jitter_ms,
        })
    }
}

struct Recovery<'a> {
    dir: &'a Path,
    index_interval_bytes: u32,
    /// Of the segments' files up to where the producers are known, then as the markers say.
    aborted: AbortedTransactions,
    producers: ProducerStates,
    producers_from: Offset,
    leader_epochs: LeaderEpochs,
    next: Offset,
    /// As in [`Known`].
    trusted_to: Option<Offset>,
    /// Compaction may have left gaps below this, as far as the files are trusted.
    gaps_below: Offset,
}

impl Recovery<'_> {
    /// Starts from the newest whole snapshot that does not lie past what is trusted, nor past `at_most`.
    fn load_snapshot(&mut self, at_most: Option<Offset>) {
        let at_most = self.trusted_to.into_iter().chain(at_most).min();
        if let Some(found) = newest_snapshot(self.dir, at_most.unwrap_or(Offset(i64::MAX))) {
            (self.producers, self.producers_from) = found;
        }
    }

    /// Brings the producers, and what they aborted, past a batch.
    fn note_producer(
        &mut self,
        segment: &Segment,
        position: u32,
        header: &BatchHeader,
    ) -> Result<(), LogError> {
        let marker = marker_in(segment, position, header)?;
        if let Some(aborted) = marker.and_then(|marker| self.producers.aborted_by(header, &marker)) {
            self.aborted.push(aborted);
        }
        self.producers.apply(header, marker.as_ref());
        Ok(())
    }

    /// Brings one segment into a usable state; `next_base` is where the one after it begins. True when records are
    /// missing at its end, so that nothing past it may stay.
    fn open_segment(&mut self, segment: &Segment, next_base: Option<Offset>) -> Result<bool, LogError> {
        let size = segment.size();
        let loaded = SegmentIndex::load(self.dir, segment.base_offset, size)
            .filter(|index| last_time_holds(segment, index));
        if let (Some(next), Some(index)) = (next_base, &loaded)
            && self.trusted_to.is_none_or(|point| next <= point)
            && next <= self.producers_from
        {
            *unpoison(segment.index.write()) = index.clone();
            self.next = next;
            return Ok(false);
        }
        if self.trusted_to.is_some() {
            // After a failed sync the page cache may hold what the disk never got: read the disk.
            let _ = rustix::fs::fadvise(&*segment.file()?, 0, None, rustix::fs::Advice::DontNeed);
        }
        let from = self.jump(segment, loaded)?;
        let whole_to = match next_base {
            Some(next) => self.trusted_to.map_or(next, |point| next.min(point)),
            None => self.trusted_to.unwrap_or(self.producers_from),
        };
        let chain_holds = self.chain_holds(segment, from, whole_to, next_base)?;
        let end = self.walk(segment, from, !chain_holds)?;
        let rest = size - end;
        let preallocated = is_preallocated(segment, end, rest as usize)?;
        if let Some(next) = next_base.filter(|next| self.may_have_gap_before(*next) && rest == 0) {
            self.next = next;
            return Ok(false);
        }
        // A closed segment that was whole once: what it lacks is refused, and later segments stay. A last batch whose damaged
        // header says that it is shorter than it is leaves bytes behind it.
        let is_damaged = next_base != Some(self.next) || (rest > 0 && !preallocated);
        if let Some(next) = next_base.filter(|next| is_damaged && *next == whole_to) {
            tracing::error!(
                path = %segment.path().display(), from = %self.next, to = %next, bytes_left = rest,
                "records at the end of a segment are damaged on disk and are refused"
            );
            self.next = next;
            return Ok(false);
        }
        if self.next < whole_to || (self.trusted_to.is_none() && !preallocated) {
            return Err(LogError::Corrupt {
                path: segment.path().to_owned(),
                offset: self.next,
                reason: format!(
                    "no whole batch at byte {end}, although the log was durable up to {whole_to} by {}",
                    if self.trusted_to.is_some() {
                        "recovery-point-offset-checkpoint"
                    } else {
                        "its snapshot"
                    }
                ),
            });
        }
        if rest > 0 {
            if preallocated {
                tracing::debug!(path = %segment.path().display(), "gave preallocated room back");
            } else {
                tracing::warn!(path = %segment.path().display(), bytes = rest, end_offset = %self.next, "cut a torn tail");
            }
            segment.cut(end)?;
        }
        // Offsets have no gaps, so a segment that ends before the next begins has lost batches.
        Ok(next_base.is_some_and(|next| self.next != next))
    }

    /// Skips as much of a segment as its index, the trust and the producers' snapshot allow; gives the byte position
    /// to walk from.
    fn jump(&mut self, segment: &Segment, index: Option<SegmentIndex>) -> Result<u32, LogError> {
        self.next = segment.base_offset;
        let Some(mut index) = index else { return Ok(0) };
        let known = self.trusted_to.map_or(self.producers_from, |point| point.min(self.producers_from));
        let start = index.start_before(segment.relative(known.max(segment.base_offset)));
        let position = start.position;
        if let Some(header) = segment.header_at(position, segment.size())?
            && segment.is_noted(&header, start)
            && header.base_offset <= known.0
        {
            self.next = Offset(header.base_offset);
            index.truncate(position, segment.relative(self.next));
            *unpoison(segment.index.write()) = index;
            return Ok(position);
        }
        Ok(0)
    }

    /// Whether the batch that begins at or ends before `offset` may follow a gap.
    fn may_have_gap_before(&self, offset: Offset) -> bool {
        offset <= self.gaps_below && self.trusted_to.is_none_or(|point| offset <= point)
    }

    /// Whether each header leads to the next, up to where the batches were durable once.
    fn chain_holds(
        &self,
        segment: &Segment,
        mut position: u32,
        whole_to: Offset,
        next_base: Option<Offset>,
    ) -> Result<bool, LogError> {
        let mut next = self.next;
        while next < whole_to {
            match segment.header_at(position, segment.size())? {
                Some(header) if self.may_follow(segment, &header, next) => {
                    next = Offset(header.next_offset());
                    position += header.size() as u32;
                }
                _ => return Ok(false),
            }
        }
        // The last of them may claim more than it has: then the next one contradicts it.
        let after = segment.header_at(position, segment.size())?;
        if after.is_some_and(|after| after.base_offset < next.0) {
            return Ok(false);
        }
        // What was closed ends where it was closed. Past a recovery point everything is checked anyway.
        let was_closed = self.trusted_to.is_none() || next_base == Some(whole_to);
        Ok(next == whole_to || !was_closed || whole_to == segment.base_offset)
    }

    fn may_follow(&self, segment: &Segment, header: &BatchHeader, next: Offset) -> bool {
        let follows = header.base_offset == next.0
            || (header.base_offset > next.0 && self.may_have_gap_before(Offset(header.next_offset())));
        follows && header.base_offset - segment.base_offset.0 <= i64::from(i32::MAX)
    }

    /// Where the next whole batch is and begins, when what lies at `position` was durable once: then it is damaged, no
    /// torn tail, and what follows it must stay. Reads of the damaged records are refused.
    fn around_damage(&self, segment: &Segment, position: u32) -> Result<Option<(u32, Offset)>, LogError> {
        if self.trusted_to.is_some_and(|point| self.next >= point) {
            return Ok(None);
        }
        let found = match whole_batch(segment, position)? {
            // Its base offset is damaged, which no CRC is over; how many records it has is known.
            Some(header) => {
                let next = self.next.plus(i64::from(header.last_offset_delta) + 1);
                Some((position + header.size() as u32, next))
            }
            None => next_whole_batch(segment, (position, segment.size()), self.next.0 + 1)?
                .map(|(at, header)| (at, Offset(header.base_offset))),
        };
        if let Some((_, next)) = found {
            tracing::error!(
                path = %segment.path().display(), from = %self.next, to = %next,
                "records are damaged on disk and are refused; those after them can be read"
            );
        }
        Ok(found)
    }

    /// Walks batches from `position`, noting each; gives the position after the last good one. What is trusted is only
    /// checked by its CRC where that is asked for.
    fn walk(&mut self, segment: &Segment, mut position: u32, check_all: bool) -> Result<u32, LogError> {
        let size = segment.size();
        let mut buffer = Vec::new();
        loop {
            let mut header = segment.header_at(position, size)?;
            header = header.filter(|header| self.may_follow(segment, header, self.next));
            if let Some(found) = &header {
                let must_check =
                    check_all || self.trusted_to.is_some_and(|point| found.next_offset() > point.0);
                if must_check && !crc_holds(segment, position, found, &mut buffer)? {
                    header = None;
                }
            }
            let Some(header) = header else {
                let Some((at, next)) = self.around_damage(segment, position)? else { break };
                (position, self.next) = (at, next);
                continue;
            };
            let base = Offset(header.base_offset);
            let length = header.size() as u32;
            unpoison(segment.index.write()).note(segment.noted(&header, position), self.index_interval_bytes);
            self.leader_epochs.assign(LeaderEpoch(header.leader_epoch), base);
            if base >= self.producers_from {
                self.note_producer(segment, position, &header)?;
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
    segment
        .file()?
        .read_exact_at(buffer, u64::from(position))
        .map_err(LogError::io("read", segment.path()))?;
    Ok(crc32c::crc32c(buffer.get(21..).unwrap_or_default()) == header.crc)
}

/// Whether the bytes after the last batch are the zeros of preallocation.
fn is_preallocated(segment: &Segment, position: u32, mut length: usize) -> Result<bool, LogError> {
    let mut position = position;
    while length > 0 {
        let bytes = segment.read(position, length.min(64 << 10))?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        position += bytes.len() as u32;
        length -= bytes.len();
    }
    Ok(true)
}

fn base_offsets(dir: &Path) -> Result<Vec<Offset>, LogError> {
    let mut offsets = offsets_of_files(dir, "log")?;
    offsets.sort();
    Ok(offsets)
}

/// The end of a transaction, where the batch at a place is one.
pub(super) fn marker_in(
    segment: &Segment,
    position: u32,
    header: &BatchHeader,
) -> Result<Option<EndTxnMarker>, LogError> {
    if !header.is_control() || !header.has_producer_id() {
        return Ok(None);
    }
    let batch = Batch::parse(&segment.read(position, header.size())?);
    Ok(batch.ok().and_then(|batch| EndTxnMarker::from_batch(&batch)))
}

/// What the newest whole snapshot at or before `at_most` says of producers, and where it was made.
pub(super) fn newest_snapshot(dir: &Path, at_most: Offset) -> Option<(ProducerStates, Offset)> {
    let mut offsets = snapshot_offsets(dir);
    offsets.sort();
    for offset in offsets.into_iter().rev().filter(|offset| *offset <= at_most) {
        let read = fs::read(PartitionLog::snapshot_path(dir, offset)).ok();
        if let Some(producers) = read.and_then(|bytes| ProducerStates::from_snapshot(&bytes)) {
            return Some((producers, offset));
        }
        tracing::warn!(dir = %dir.display(), %offset, "a producer snapshot is damaged and left out");
    }
    None
}

/// Bytes of all segments in a folder, and the offset at which the first of them begins.
pub fn file_extent(dir: &Path) -> Result<(u64, Offset), LogError> {
    let bases = base_offsets(dir)?;
    let mut bytes = 0;
    for base in &bases {
        let path = log_path(dir, *base);
        bytes += fs::metadata(&path).map_err(LogError::io("stat", &path))?.len();
    }
    Ok((bytes, bases.first().copied().unwrap_or_default()))
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
            && let Some(stem) =
                stem.filter(|stem| stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit()))
            && let Ok(offset) = stem.parse()
        {
            offsets.push(Offset(offset));
        }
    }
    Ok(offsets)
}

/// True when there were any.
pub(super) fn remove_snapshots_past(dir: &Path, end: Offset) -> bool {
    let past: Vec<Offset> = snapshot_offsets(dir).into_iter().filter(|offset| *offset > end).collect();
    for offset in &past {
        // One that stays is left out by its offset at the next start too.
        let _ = fs::remove_file(PartitionLog::snapshot_path(dir, *offset));
    }
    !past.is_empty()
}

/// Whether an index that was read names the batch with the newest timestamp: retention goes by it, and look-ups skip the
/// segment by it.
fn last_time_holds(segment: &Segment, index: &SegmentIndex) -> bool {
    let Some((timestamp_ms, offset)) = index.last_time() else { return true };
    let holds = has_time(segment, index.start_before(offset), (timestamp_ms, offset));
    if !holds {
        tracing::warn!(path = %segment.path().display(), "the time index contradicts the log and is made again");
    }
    holds
}

#[cfg(test)]
pub(super) fn tests_base_offsets(dir: &Path) -> Vec<Offset> {
    base_offsets(dir).unwrap_or_default()
}
