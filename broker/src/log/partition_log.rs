//! The writer of one partition's log: checks batches, places them, rolls segments. Exactly one exists per log.

use std::fs::{self, File};
use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_protocol::records::BatchHeader;

use super::LogError;
use super::aborted::{AbortedTransaction, txn_index_path};
use super::check::Checked;
use super::checkpoint::{Durable, replace_file, sync_dir, write_file_durably};
use super::config::LogConfig;
use super::index::{index_path, log_path, time_index_path};
use super::leader_epochs::LeaderEpochs;
use super::producer_state::{ActiveProducer, ProducerStates, ProducerUndo, SequenceCheck};
use super::read::{LogReader, Shared};
use super::relocate::{MovedName, Relocation};
use super::segment::{Segment, unpoison};
use crate::ids::{LeaderEpoch, Offset, Producer};

/// Bytes of a batch that are patched on append: base offset, length, leader epoch.
const PATCHED_LEN: usize = 16;

/// Half of what one vectored write may take (`IOV_MAX` is 1024; a batch is two slices).
const BATCHES_PER_WRITE: usize = 512;

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// The offset that must be durable before the batch is.
    pub end_offset: Offset,
    /// The broker's time that it was stamped with, when the topic says so; milliseconds since the epoch.
    pub log_append_time_ms: Option<i64>,
    /// It was in the log already.
    pub duplicate: bool,
}

/// The log of one partition.
#[derive(Debug)]
pub struct PartitionLog {
    pub(super) dir: PathBuf,
    pub(super) config: Arc<LogConfig>,
    pub(super) shared: Arc<Shared>,
    pub(super) producers: ProducerStates,
    pub(super) leader_epochs: LeaderEpochs,
    /// Segments with bytes that were not synced since they were last taken.
    pub(super) dirty: Vec<DirtySegment>,
    /// Folders whose new entries were not synced yet: a new file is only as durable as its folder.
    pub(super) dirty_dirs: Vec<PathBuf>,
    /// The files do not hold what a clean start expects: a close has something to do.
    pub(super) changed: bool,
    /// Of the first batch of the active segment that this writer appended or saw, milliseconds since the epoch.
    pub(super) first_timestamp_ms: Option<i64>,
    /// Of `segment.jitter.ms`, drawn once for this log.
    pub(super) jitter_ms: i64,
}

/// A batch that passed its checks and waits for its bytes to be written.
struct Placed {
    header: BatchHeader,
    patched: [u8; PATCHED_LEN],
    bytes: Bytes,
    /// The producer's state from before the batch, should the write fail.
    undo: ProducerUndo,
    /// The transaction that the batch aborts.
    aborted: Option<AbortedTransaction>,
}

/// The batches that one write will take, and the offset after them.
struct Pending {
    placed: Vec<Placed>,
    bytes: usize,
    next: Offset,
}

impl Pending {
    fn at(next: Offset) -> Pending {
        Pending { placed: Vec::new(), bytes: 0, next }
    }
}

pub(super) fn drawn_jitter(config: &LogConfig) -> i64 {
    match config.segment_jitter_ms.min(config.segment_ms) {
        jitter @ 1.. => rand::random_range(0..=jitter),
        _ => 0,
    }
}

/// A sibling of a partition's folder that no other has, for what is to be deleted or set aside. Its name, which ends
/// with `-<why>`, stays below the 255 bytes of file systems however long the topic's is.
pub(crate) fn path_aside(dir: &Path, why: &str) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!("{name:.200}.{}-{why}", uuid::Uuid::new_v4().simple()))
}

/// Something that can be made durable, away from the writer.
#[derive(Debug, Clone)]
pub struct DirtySegment {
    segment: Arc<Segment>,
    /// Held since the first write, see `open_files.rs`.
    file: Arc<File>,
    dirs: Vec<PathBuf>,
}

impl DirtySegment {
    /// Waits for the disk: the file, and the folders that list it.
    pub fn sync(&self) -> Result<(), LogError> {
        self.sync_dirs()?;
        self.sync_file()
    }

    /// Only the folders. One that is gone, because the partition was deleted or moved, has nothing to lose.
    pub fn sync_dirs(&self) -> Result<(), LogError> {
        let is_gone = |error: &LogError| matches!(error, LogError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
        self.dirs.iter().try_for_each(|dir| match sync_dir(dir) {
            Err(error) if is_gone(&error) => Ok(()),
            synced => synced,
        })
    }

    /// Only the file.
    pub fn sync_file(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(LogError::io("sync", self.segment.path()))
    }

    pub(super) fn is_of(&self, segment: &Arc<Segment>) -> bool {
        Arc::ptr_eq(&self.segment, segment)
    }

    /// Whether both are the same file.
    pub fn is_same_file(&self, other: &DirtySegment) -> bool {
        self.is_of(&other.segment)
    }
}

impl PartitionLog {
    /// A handle for readers.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    /// The folder of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The offset of the next record.
    pub fn log_end(&self) -> Offset {
        Offset(self.shared.log_end.load(Ordering::Relaxed))
    }

    /// The first offset that can be read.
    pub fn log_start(&self) -> Offset {
        Offset(self.shared.log_start.load(Ordering::Relaxed))
    }

    /// The history of leaders.
    pub fn leader_epochs(&self) -> &LeaderEpochs {
        &self.leader_epochs
    }

    /// What the topic's config says.
    pub fn config(&self) -> &Arc<LogConfig> {
        &self.config
    }

    /// Replaces the config; it holds from the next append.
    pub fn set_config(&mut self, config: impl Into<Arc<LogConfig>>) {
        let config = config.into();
        if config.compacted {
            self.shared.may_have_gaps.store(true, Ordering::Release);
        }
        self.jitter_ms = drawn_jitter(&config);
        self.config = config;
    }

    /// Where the segment that is written begins, where older ones are to be compacted.
    pub fn compactable_to(&self) -> Option<Offset> {
        self.config.compacted.then(|| self.active().base_offset)
    }

    /// The idempotent producers that are remembered.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.producers.active()
    }

    /// The first offset that a `read_committed` reader may not see yet, if it is below the high watermark.
    pub fn first_unstable(&self, high_watermark: Offset) -> Option<Offset> {
        let first = self.producers.first_unstable(high_watermark)?;
        Some(first.max(self.log_start()))
    }

    /// Markers below the high watermark decide for everybody.
    pub fn forget_ended_transactions(&mut self, high_watermark: Offset) {
        self.producers.forget_ended(high_watermark);
    }

    /// Whether this instance of a producer has a transaction open here.
    pub fn has_open_transaction(&self, producer: Producer) -> bool {
        self.producers.has_open_transaction(producer.id, producer.epoch)
    }

    /// Whether a batch is a producer's second try of what is in the log.
    pub fn has(&self, batch: &Checked) -> bool {
        let checked = self.producers.check(&batch.batch().header, batch.end_of_transaction());
        matches!(checked, Ok(SequenceCheck::Duplicate { .. }))
    }

    /// Forgets idempotent producers that wrote nothing since a time, milliseconds since the epoch.
    pub fn forget_producers_before(&mut self, time_ms: i64) {
        self.producers.forget_before(time_ms);
    }

    /// Appends batches in order and with one write per segment. Each gets its own answer: a refused batch does not keep
    /// the others out.
    ///
    /// Blocking, but only into the page cache: what must survive a power cut waits for [`PartitionLog::take_dirty`].
    pub fn append(
        &mut self,
        batches: &[Checked],
        leader_epoch: LeaderEpoch,
    ) -> Vec<Result<AppendInfo, LogError>> {
        let mut answers = Vec::with_capacity(batches.len());
        let mut pending = Pending::at(self.log_end());
        for batch in batches {
            let answer = match self.producers.check(&batch.batch().header, batch.end_of_transaction()) {
                Ok(SequenceCheck::Append) => {
                    let at = pending.next;
                    let placed = self.place(batch, at, leader_epoch, &mut pending);
                    if let Err(error) = &placed {
                        self.give_up(error, &mut pending, &mut answers);
                    }
                    placed
                }
                Ok(SequenceCheck::Duplicate { base_offset, end_offset, timestamp_ms }) => Ok(AppendInfo {
                    base_offset,
                    end_offset,
                    log_append_time_ms: self.config.log_append_time.then_some(timestamp_ms),
                    duplicate: true,
                }),
                Err(error) => Err(error.into()),
            };
            answers.push(answer);
        }
        if let Err(error) = self.write(&mut pending) {
            self.give_up(&error, &mut pending, &mut answers);
        }
        answers
    }

    /// Appends batches as a leader has sent them: with its offsets, between which compaction may have left gaps, and its
    /// epochs. Whatever the leader took is taken; gives the new log end.
    ///
    /// Blocking, as [`append`](PartitionLog::append) is.
    ///
    /// # Errors
    /// Where a batch is before the end of the log, or the disk refuses; what was written before stays.
    pub fn append_fetched(&mut self, batches: &[Checked]) -> Result<Offset, LogError> {
        for run in batches.chunk_by(|a, b| a.batch().header.leader_epoch == b.batch().header.leader_epoch) {
            let mut pending = Pending::at(self.log_end());
            let placed = run.iter().try_for_each(|batch| {
                let header = &batch.batch().header;
                let at = Offset(header.base_offset);
                if at < pending.next || header.last_offset_delta < 0 {
                    return Err(LogError::Invalid("a fetched batch does not follow the log's end"));
                }
                if at > pending.next {
                    self.shared.may_have_gaps.store(true, Ordering::Release);
                }
                self.place(batch, at, LeaderEpoch(header.leader_epoch), &mut pending).map(drop)
            });
            if let Err(error) = placed.and_then(|()| self.write(&mut pending)) {
                self.give_up(&error, &mut pending, &mut []);
                return Err(error);
            }
        }
        Ok(self.log_end())
    }

    /// Gives a checked batch its place in `pending`; rolls the segment first when it is full, which writes what
    /// waits. Only the file system can refuse.
    fn place(
        &mut self,
        checked: &Checked,
        at: Offset,
        leader_epoch: LeaderEpoch,
        pending: &mut Pending,
    ) -> Result<AppendInfo, LogError> {
        let batch = checked.batch();
        let size = batch.bytes.len();
        if self.must_roll(size, at, pending, &batch.header)? {
            self.write(pending)?;
            self.roll(at)?;
        }
        self.first_timestamp_ms.get_or_insert(batch.header.max_timestamp_ms);
        let mut header = batch.header;
        header.base_offset = at.0;
        header.leader_epoch = leader_epoch.0;
        let mut patched = [0u8; PATCHED_LEN];
        patched[..8].copy_from_slice(&header.base_offset.to_be_bytes());
        patched[8..12].copy_from_slice(&header.batch_length.to_be_bytes());
        patched[12..].copy_from_slice(&leader_epoch.0.to_be_bytes());
        let marker = checked.end_of_transaction();
        let aborted = marker.and_then(|marker| self.producers.aborted_by(&header, marker));
        let undo = self.producers.apply(&header, marker);
        pending.next = Offset(header.next_offset());
        pending.bytes += size;
        pending.placed.push(Placed { header, patched, bytes: batch.bytes.clone(), undo, aborted });
        Ok(AppendInfo {
            base_offset: Offset(header.base_offset),
            end_offset: pending.next,
            log_append_time_ms: self.config.log_append_time.then_some(header.max_timestamp_ms),
            duplicate: false,
        })
    }

    /// After a failed write: forgets the batches that were not written, and refuses every answer that names them,
    /// be it for the batch itself or for a second copy of it.
    fn give_up(
        &mut self,
        error: &LogError,
        pending: &mut Pending,
        answers: &mut [Result<AppendInfo, LogError>],
    ) {
        tracing::error!(dir = %self.dir.display(), %error, "append failed");
        while let Some(placed) = pending.placed.pop() {
            self.producers.undo(placed.undo);
        }
        let written = self.log_end();
        *pending = Pending::at(written);
        for answer in answers {
            if answer.as_ref().is_ok_and(|info| info.end_offset > written) {
                *answer = Err(error.repeated());
            }
        }
        // A short write may have left whole batches behind, which a crash would bring back. Where even this fails
        // the next write goes over them.
        let active = self.active();
        let _ = active.cut(active.size());
    }

    pub(super) fn active(&self) -> Arc<Segment> {
        let segments = unpoison(self.shared.segments.read());
        segments.last().cloned().unwrap_or_else(|| unreachable!("a log always has an active segment"))
    }

    /// Whether a batch of `size` bytes must not come into the active segment behind what waits.
    fn must_roll(
        &mut self,
        size: usize,
        next: Offset,
        pending: &Pending,
        header: &BatchHeader,
    ) -> Result<bool, LogError> {
        let bytes_more = size + pending.bytes;
        let active = self.active();
        if self.first_timestamp_ms.is_none()
            && let Some(first) = active.header_at(0, active.size())?
        {
            self.first_timestamp_ms = Some(first.max_timestamp_ms);
        }
        let is_old = self
            .first_timestamp_ms
            .is_some_and(|first| header.max_timestamp_ms.saturating_sub(first) > self.segment_age_max_ms());
        let last = next.0 + i64::from(header.last_offset_delta);
        let full = active.size() as usize + bytes_more > self.config.segment_bytes as usize;
        let interval = self.config.index_interval_bytes as usize;
        let entries_more = pending.placed.len().min(pending.bytes / interval.max(1));
        let index_is_full =
            unpoison(active.index.read()).is_full(self.config.segment_index_bytes, entries_more);
        let offset_overflows = last - active.base_offset.0 > i64::from(i32::MAX);
        Ok(((full || is_old || index_is_full) && next > active.base_offset) || offset_overflows)
    }

    /// How old the first record of a segment may get before the segment is closed, milliseconds.
    fn segment_age_max_ms(&self) -> i64 {
        let config = &self.config;
        let age = if config.compacted {
            config.segment_ms.min(config.max_compaction_lag_ms)
        } else {
            config.segment_ms
        };
        age.saturating_sub(self.jitter_ms)
    }

    /// Writes what waits to the active segment and publishes it. On error nothing is published.
    fn write(&mut self, pending: &mut Pending) -> Result<(), LogError> {
        let (Some(first), Some(last)) = (pending.placed.first(), pending.placed.last()) else {
            return Ok(());
        };
        // The epoch is on disk before its first record, so that no record is of an unknown one.
        let epoch = LeaderEpoch(first.header.leader_epoch);
        self.leader_epochs.begin(&self.dir, epoch, Offset(first.header.base_offset))?;
        self.publish_epochs();
        let active = self.active();
        let file = active.file()?;
        let mut position = active.size();
        for chunk in pending.placed.chunks(BATCHES_PER_WRITE) {
            let mut slices: Vec<IoSlice<'_>> = chunk
                .iter()
                .flat_map(|batch| [IoSlice::new(&batch.patched), IoSlice::new(&batch.bytes[PATCHED_LEN..])])
                .collect();
            position += active.write_at(&mut slices, position)? as u32;
        }
        let mut position = active.size();
        {
            let mut index = unpoison(active.index.write());
            for batch in &pending.placed {
                index.note(active.noted(&batch.header, position), self.config.index_interval_bytes);
                position += batch.bytes.len() as u32;
            }
        }
        active.set_size(position);
        // Before readers get at the marker.
        for aborted in pending.placed.iter().filter_map(|placed| placed.aborted) {
            unpoison(self.shared.aborted.write()).push(aborted);
        }
        self.shared.log_end.store(last.header.next_offset(), Ordering::Release);
        self.mark_dirty(active, file);
        pending.placed.clear();
        pending.bytes = 0;
        Ok(())
    }

    /// Tells readers which epochs the log has, where they have changed.
    pub(super) fn publish_epochs(&self) {
        if self.leader_epochs != **self.shared.leader_epochs.load() {
            self.shared.leader_epochs.store(Arc::new(self.leader_epochs.clone()));
        }
    }

    fn mark_dirty(&mut self, segment: Arc<Segment>, file: Arc<File>) {
        self.changed = true;
        if !self.dirty.iter().any(|dirty| dirty.is_of(&segment)) {
            self.dirty.push(DirtySegment { segment, file, dirs: Vec::new() });
        }
    }

    /// Closes the active segment and opens the next at `base_offset`.
    pub(super) fn roll(&mut self, base_offset: Offset) -> Result<(), LogError> {
        let active = self.active();
        let file = active.file()?;
        active.cut(active.size())?;
        // The cut must be durable before a record of the next segment is: a crash must not find room between them.
        self.mark_dirty(active.clone(), file);
        {
            let mut index = unpoison(active.index.write());
            index.note_time();
            index.save(&self.dir, active.base_offset, Durable::Now)?;
        }
        self.save_aborted(&active)?;
        self.save_snapshot(base_offset)?;
        let next = Segment::open(&self.dir, base_offset, true)?;
        self.dirty_dirs.push(self.dir.clone());
        unpoison(self.shared.segments.write()).push(Arc::new(next));
        self.first_timestamp_ms = None;
        tracing::debug!(dir = %self.dir.display(), %base_offset, "rolled a segment");
        Ok(())
    }

    pub(super) fn snapshot_path(dir: &Path, offset: Offset) -> PathBuf {
        dir.join(format!("{:020}.snapshot", offset.0))
    }

    /// Comes before the producers' snapshot: recovery makes the index again from the snapshot on only.
    fn save_aborted(&self, active: &Segment) -> Result<(), LogError> {
        unpoison(self.shared.aborted.read()).save(&self.dir, active.base_offset, Offset(i64::MAX))
    }

    fn save_snapshot(&self, offset: Offset) -> Result<(), LogError> {
        let path = PartitionLog::snapshot_path(&self.dir, offset);
        write_file_durably(&path, &self.producers.to_snapshot())
    }

    /// What must be synced for everything appended so far to be durable.
    pub fn take_dirty(&mut self) -> Vec<DirtySegment> {
        let mut dirty = std::mem::take(&mut self.dirty);
        if let Some(first) = dirty.first_mut() {
            first.dirs = std::mem::take(&mut self.dirty_dirs);
        }
        dirty
    }

    /// Saves what makes recovery short: the producers' state at the log end and the active segment's index. The
    /// recovery point may move to the offset returned once the log is durable up to there; `recovery_point` is where
    /// it is until then, and what a recovery from there needs is kept.
    pub fn checkpoint(&mut self, recovery_point: Offset) -> Result<Offset, LogError> {
        let end = self.log_end();
        let active = self.active();
        unpoison(active.index.read()).save(&self.dir, active.base_offset, Durable::Now)?;
        self.save_aborted(&active)?;
        if !self.producers.is_empty() {
            self.save_snapshot(end)?;
        }
        self.remove_old_snapshots(recovery_point);
        Ok(end)
    }

    /// Keeps the snapshots at segment borders and those from an offset on.
    fn remove_old_snapshots(&self, from: Offset) {
        let borders: Vec<Offset> =
            unpoison(self.shared.segments.read()).iter().map(|segment| segment.base_offset).collect();
        for offset in super::recover::snapshot_offsets(&self.dir) {
            if offset < from && !borders.contains(&offset) {
                // Left behind it would only take room, so a failure needs no answer.
                let _ = fs::remove_file(PartitionLog::snapshot_path(&self.dir, offset));
            }
        }
    }

    /// Syncs the records, gives preallocated room back and saves what the next start trusts. A log that nobody wrote to
    /// since it was opened clean has all of that on disk.
    ///
    /// Of what is saved nothing is synced, which for thousands of logs would take as long as thousands of syncs: whoever
    /// says that the stop was clean must sync the file system first.
    pub fn close(&mut self) -> Result<(), LogError> {
        if !self.changed {
            return Ok(());
        }
        for segment in self.take_dirty() {
            segment.sync()?;
        }
        let active = self.active();
        active.cut(active.size())?;
        self.save_for_next_start()
    }

    /// Saves what makes the next start short, not durably: the active segment's index and the producers at the log end.
    pub(super) fn save_for_next_start(&self) -> Result<(), LogError> {
        let active = self.active();
        {
            let mut index = unpoison(active.index.write());
            index.note_time();
            index.save(&self.dir, active.base_offset, Durable::Later)?;
        }
        self.save_aborted(&active)?;
        let path = PartitionLog::snapshot_path(&self.dir, self.log_end());
        replace_file(&path, &self.producers.to_snapshot(), Durable::Later)
    }

    /// Begins a copy of this log within another log dir.
    pub fn relocate(&self, log_dir: &Path, name: MovedName) -> Result<Relocation, LogError> {
        Relocation::begin(self.dir.clone(), self.shared.clone(), log_dir, name)
    }

    /// Removes the log's folder.
    pub fn delete(self) -> Result<(), LogError> {
        PartitionLog::delete_dir(&self.dir)
    }

    /// Removes the folder of a log that is not open: it is renamed first, so that a crash in between leaves something
    /// that the next start recognises and removes.
    pub fn delete_dir(dir: &Path) -> Result<(), LogError> {
        let aside = path_aside(dir, "delete");
        fs::rename(dir, &aside).map_err(LogError::io("rename", dir))?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
        fs::remove_dir_all(&aside).map_err(LogError::io("remove", &aside))
    }

    /// Removes a segment's files; used by recovery for what lies past a torn batch.
    pub(super) fn remove_segment_files(dir: &Path, base_offset: Offset) -> Result<(), LogError> {
        let path = log_path(dir, base_offset);
        fs::remove_file(&path).map_err(LogError::io("remove", path))?;
        for path in [
            index_path(dir, base_offset),
            time_index_path(dir, base_offset),
            txn_index_path(dir, base_offset),
        ] {
            // An index may never have been written.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}
