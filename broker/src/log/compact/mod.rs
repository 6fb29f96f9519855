//! Compaction: of the records with the same key only the last one stays (`cleanup.policy=compact`).
//!
//! ```text
//!   log start        cleaned to                      limit          log end
//!       |-- compacted ---|------- dirty ----------------|-- not yet ----|
//!                        '- keys are gathered here ->
//!       '- records are dropped here, where a later one has their key -->
//! ```
//! A round gathers the last offset of every key in the dirty part, at most [`KEYS_MAX`] of them, and then rewrites the
//! segments from the log start on. Offsets never change, so gaps remain. A tombstone (a key without a value) stays for
//! `delete.retention.ms` after its first round, noted in its batch as the delete horizon (KIP-534), so that a reader who
//! is that far behind still learns of it. Planning is pure; [`Compaction::run`] is the doing part and blocks.
//!
//! Nothing is taken at or past the last stable offset, so every transaction in reach is decided: aborted records go,
//! markers once nothing is left that they decide about (`transactions.rs`).

mod batches;
mod keys;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transaction_tests;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::records::{Batch, BatchHeader, EndTxnMarker, RecordView};

use self::batches::SegmentBatches;
use self::keys::LatestOffsets;
use self::transactions::Transactions;
use super::LogError;
use super::aborted::AbortedTransaction;
use super::checkpoint::Durable;
use super::config::LogConfig;
use super::index::SegmentIndex;
use super::partition_log::PartitionLog;
use super::read::Shared;
use super::segment::{Segment, unpoison};
use super::swap;
use crate::ids::Offset;

/// Keys of one round; each takes some 40 bytes of memory.
const KEYS_MAX: usize = 2_000_000;
/// Decompression bound for a batch that is rewritten.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Whether a record stays. `gathered_to` is the offset up to which all keys are known.
fn stays(
    record: &RecordView,
    batch: &BatchHeader,
    latest: &LatestOffsets,
    gathered_to: Offset,
    now_ms: i64,
) -> bool {
    // A compacted topic takes no record without a key; one from before it was compacted has no last value to keep.
    let Some(key) = &record.key else { return false };
    if latest.get(key).is_some_and(|last| last > record.offset) {
        return false;
    }
    let expired = batch.has_delete_horizon() && batch.base_timestamp_ms <= now_ms;
    record.value.is_some() || !expired || record.offset >= gathered_to.0
}

/// What becomes of a batch.
enum Fate {
    Unchanged,
    Rewritten(Bytes),
    Gone,
}

/// A closed segment as the plan sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    end: Offset,
    bytes: u64,
    /// Of its first and its newest record, milliseconds since the epoch.
    first_ms: i64,
    newest_ms: i64,
}

/// How many of the closed segments, oldest first, a round should take; 0 when it is not worth it yet.
fn worthwhile(
    segments: &[Candidate],
    cleaned_to: Offset,
    limit: Offset,
    config: &LogConfig,
    now_ms: i64,
) -> usize {
    let old_enough = |segment: &Candidate| {
        segment.end <= cleaned_to || now_ms.saturating_sub(segment.newest_ms) >= config.min_compaction_lag_ms
    };
    let taken = segments.iter().take_while(|segment| segment.end <= limit && old_enough(segment)).count();
    let taken_segments = segments.get(..taken).unwrap_or_default();
    let dirty = taken_segments.iter().filter(|segment| segment.end > cleaned_to);
    let dirty_bytes: u64 = dirty.clone().map(|segment| segment.bytes).sum();
    let all_bytes: u64 = taken_segments.iter().map(|segment| segment.bytes).sum();
    let Some(first_dirty) = dirty.clone().next().filter(|_| dirty_bytes > 0) else { return 0 };
    let overdue = now_ms.saturating_sub(first_dirty.first_ms) > config.max_compaction_lag_ms;
    let dirty_ratio = dirty_bytes as f64 / all_bytes as f64;
    if overdue || dirty_ratio >= config.min_cleanable_dirty_ratio { taken } else { 0 }
}

/// One round, ready to run away from the log's writer.
#[derive(Debug)]
pub struct Compaction {
    dir: PathBuf,
    shared: Arc<Shared>,
    config: Arc<LogConfig>,
    /// Closed segments from the log start on.
    segments: Vec<Arc<Segment>>,
    cleaned_to: Offset,
    /// Where the last of the segments ends.
    end: Offset,
    /// Last offsets of batches that must stay, if only as empty ones: they are the last of their producer.
    producers_last: BTreeSet<Offset>,
    /// Epochs of producers that are known by a marker alone, which must stay.
    marked_epochs: BTreeMap<i64, i16>,
    now_ms: i64,
    keys_max: usize,
}

impl PartitionLog {
    /// A round of compaction, if one is due. It takes nothing at or past `limit`, which must be durable and committed, or
    /// that is undecided.
    pub fn compaction(&self, cleaned_to: Offset, limit: Offset, now_ms: i64) -> Option<Compaction> {
        if !self.config.compacted {
            return None;
        }
        let limit = self.first_unstable(limit).map_or(limit, |first| first.min(limit));
        let mut segments = unpoison(self.shared.segments.read()).clone();
        let candidates: Vec<Candidate> = segments
            .windows(2)
            .map(|pair| {
                let segment = &pair[0];
                let first = segment.header_at(0, segment.size()).ok().flatten();
                let newest = unpoison(segment.index.read()).max_timestamp_ms();
                Candidate {
                    end: pair[1].base_offset,
                    bytes: u64::from(segment.size()),
                    first_ms: first.map_or(i64::MAX, |header| header.max_timestamp_ms),
                    newest_ms: newest.unwrap_or_default(),
                }
            })
            .collect();
        let count = worthwhile(&candidates, cleaned_to, limit, &self.config, now_ms);
        let end = candidates.get(count.checked_sub(1)?)?.end;
        segments.truncate(count);
        Some(Compaction {
            dir: self.dir.clone(),
            shared: self.shared.clone(),
            config: self.config.clone(),
            segments,
            cleaned_to,
            end,
            producers_last: self.producers.last_offsets().collect(),
            marked_epochs: self.producers.marked_epochs().collect(),
            now_ms,
            keys_max: KEYS_MAX,
        })
    }
}

impl Compaction {
    /// Does the round; the log is compacted up to the offset returned. Blocking, and nobody else may take segments out
    /// of the log meanwhile. `before_swap` runs once before the first file is replaced.
    ///
    /// On error the log is as it was, but for groups of segments that were replaced before; nothing is lost.
    pub fn run(self, before_swap: impl FnOnce() -> Result<(), LogError>) -> Result<Offset, LogError> {
        let aborted = unpoison(self.shared.aborted.read()).clone();
        let mut transactions = Transactions::new(&aborted);
        let (latest, gathered_to) = self.gather(&transactions)?;
        let mut before_swap = Some(before_swap);
        for group in self.groups(gathered_to) {
            let Some(cleaned) = self.clean(group, &latest, gathered_to, &mut transactions)? else { continue };
            if let Some(before_swap) = before_swap.take() {
                before_swap()?;
            }
            self.install(group, cleaned, &transactions)?;
        }
        Ok(gathered_to)
    }

    /// The last offset of every key in the dirty part, and how far that part was read.
    fn gather(&self, transactions: &Transactions) -> Result<(LatestOffsets, Offset), LogError> {
        let mut latest = LatestOffsets::new();
        for segment in &self.segments {
            for batch in SegmentBatches::new(segment) {
                let batch = batch?;
                let header = &batch.header;
                let counts = !header.is_control() && !transactions.is_aborted(header);
                if header.next_offset() <= self.cleaned_to.0 || !counts {
                    continue;
                }
                if latest.len() >= self.keys_max {
                    return Ok((latest, Offset(batch.header.base_offset)));
                }
                for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
                    let record = record?;
                    if let Some(key) = &record.key {
                        latest.note(key, record.offset);
                    }
                }
            }
        }
        Ok((latest, self.end))
    }

    /// Neighbours that fit into one segment together, so that what shrinks is merged in time.
    fn groups(&self, gathered_to: Offset) -> Vec<&[Arc<Segment>]> {
        let mut groups = Vec::new();
        let mut rest = self.segments.as_slice();
        while let Some(first) = rest.first().filter(|first| first.base_offset < gathered_to) {
            let mut bytes = 0u64;
            let fits = |segment: &&Arc<Segment>| {
                bytes += u64::from(segment.size());
                bytes <= u64::from(self.config.segment_bytes)
                    && segment.base_offset < gathered_to
                    && self.end.0 - first.base_offset.0 <= i64::from(i32::MAX)
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (group, after) = rest.split_at(count);
            groups.push(group);
            rest = after;
        }
        groups
    }

    /// Writes what stays of a group beside the log, durably. `None` when nothing would change.
    fn clean(
        &self,
        group: &[Arc<Segment>],
        latest: &LatestOffsets,
        gathered_to: Offset,
        transactions: &mut Transactions,
    ) -> Result<Option<(SegmentIndex, u32)>, LogError> {
        let Some(first) = group.first() else { return Ok(None) };
        let path = swap::cleaned_path(&self.dir, first.base_offset);
        let file = File::create(&path).map_err(LogError::io("create", &path))?;
        let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        let mut index = SegmentIndex::default();
        let mut position = 0u32;
        let mut changed = group.len() > 1;
        for batch in group.iter().flat_map(|segment| SegmentBatches::new(segment)) {
            let batch = batch?;
            let bytes = match self.fate(&batch, latest, gathered_to, transactions)? {
                Fate::Unchanged => batch.bytes.clone(),
                Fate::Rewritten(bytes) => {
                    changed = true;
                    bytes
                }
                Fate::Gone => {
                    changed = true;
                    continue;
                }
            };
            out.write_all(&bytes).map_err(LogError::io("write", &path))?;
            let header = BatchHeader::parse(&bytes)?;
            index.note(first.noted(&header, position), self.config.index_interval_bytes);
            position += bytes.len() as u32;
        }
        if !changed {
            drop(out);
            fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
            return Ok(None);
        }
        index.note_time();
        let file = out.into_inner().map_err(|error| LogError::io("write", &path)(error.into_error()))?;
        file.sync_all().map_err(LogError::io("sync", &path))?;
        Ok(Some((index, position)))
    }

    fn fate(
        &self,
        batch: &Batch,
        latest: &LatestOffsets,
        gathered_to: Offset,
        transactions: &mut Transactions,
    ) -> Result<Fate, LogError> {
        let header = &batch.header;
        if header.is_control() {
            return self.fate_of_control(batch, transactions);
        }
        transactions.on_records(header);
        if transactions.is_aborted(header) {
            return match self.producers_last.contains(&Offset(header.last_offset())) {
                true if header.record_count == 0 => Ok(Fate::Unchanged),
                true => Ok(Fate::Rewritten(batch.retain(DECOMPRESSED_BYTES_MAX, None, |_| false)?)),
                false => Ok(Fate::Gone),
            };
        }
        let mut kept = Vec::with_capacity(header.record_count as usize);
        let mut has_tombstone = false;
        for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
            let record = record?;
            let keep = stays(&record, header, latest, gathered_to, self.now_ms);
            has_tombstone |= keep && record.value.is_none();
            kept.push(keep);
        }
        let needs_horizon =
            has_tombstone && !header.has_delete_horizon() && header.next_offset() <= gathered_to.0;
        if kept.iter().all(|kept| *kept) && !needs_horizon {
            let is_last_of_producer = || self.producers_last.contains(&Offset(header.last_offset()));
            let superfluous = kept.is_empty() && !is_last_of_producer();
            return Ok(if superfluous { Fate::Gone } else { Fate::Unchanged });
        }
        if !kept.contains(&true) && !self.producers_last.contains(&Offset(header.last_offset())) {
            return Ok(Fate::Gone);
        }
        let horizon = match (needs_horizon, header.has_delete_horizon()) {
            (true, _) => Some(self.now_ms.saturating_add(self.config.delete_retention_ms)),
            (false, true) => Some(header.base_timestamp_ms),
            (false, false) => None,
        };
        let mut decisions = kept.into_iter();
        let keep = |_: &RecordView| decisions.next().unwrap_or(true);
        Ok(Fate::Rewritten(batch.retain(DECOMPRESSED_BYTES_MAX, horizon, keep)?))
    }

    /// A marker goes once nothing is left of its transaction and its delete horizon has passed.
    fn fate_of_control(&self, batch: &Batch, transactions: &mut Transactions) -> Result<Fate, LogError> {
        let header = &batch.header;
        if EndTxnMarker::from_batch(batch).is_none() || transactions.on_marker(header) {
            return Ok(Fate::Unchanged);
        }
        if !header.has_delete_horizon() {
            let horizon = self.now_ms.saturating_add(self.config.delete_retention_ms);
            return Ok(Fate::Rewritten(batch.retain(DECOMPRESSED_BYTES_MAX, Some(horizon), |_| true)?));
        }
        let tells_epoch = self.marked_epochs.get(&header.producer_id) == Some(&header.producer_epoch);
        let goes = header.base_timestamp_ms <= self.now_ms && !tells_epoch;
        Ok(if goes { Fate::Gone } else { Fate::Unchanged })
    }

    /// Puts a cleaned file in the place of its group, on disk and for readers.
    fn install(
        &self,
        group: &[Arc<Segment>],
        (index, bytes): (SegmentIndex, u32),
        transactions: &Transactions,
    ) -> Result<(), LogError> {
        let Some(first) = group.first() else { return Ok(()) };
        let replaced: Vec<Offset> = group.iter().map(|segment| segment.base_offset).collect();
        let (begins_log, end) = {
            let segments = unpoison(self.shared.segments.read());
            let last = replaced.last().copied().unwrap_or(first.base_offset);
            let end = segments.iter().map(|segment| segment.base_offset).find(|base| *base > last);
            (segments.first().is_some_and(|segment| Arc::ptr_eq(segment, first)), end)
        };
        group.iter().try_for_each(|segment| segment.keep_open())?;
        // One file tells from now on what was aborted in the group. Where a crash comes first it says more than its
        // segment has, by which it is known to be wrong and made again.
        let up_to = end.unwrap_or(Offset(i64::MAX));
        let is_told = |entry: &AbortedTransaction| !transactions.is_forgotten(entry.last_offset);
        let mut aborted = unpoison(self.shared.aborted.read()).clone();
        aborted.retain_within(first.base_offset, up_to, is_told);
        aborted.save(&self.dir, first.base_offset, up_to)?;
        unpoison(self.shared.aborted.write()).retain_within(first.base_offset, up_to, is_told);
        // Where the log begins a segment stays although it is empty: its name says where that is.
        let successor = if bytes == 0 && !begins_log {
            let path = swap::cleaned_path(&self.dir, first.base_offset);
            fs::remove_file(&path).map_err(LogError::io("remove", path))?;
            swap::remove(&self.dir, &replaced)?;
            None
        } else {
            swap::replace(&self.dir, first.base_offset, &replaced)?;
            index.save(&self.dir, first.base_offset, Durable::Now)?;
            let segment = Segment::open(&self.dir, first.base_offset, false)?;
            *unpoison(segment.index.write()) = index;
            Some(Arc::new(segment))
        };
        let mut segments = unpoison(self.shared.segments.write());
        let at =
            segments.iter().position(|segment| Arc::ptr_eq(segment, first)).ok_or(LogError::Abandoned)?;
        segments.splice(at..at + group.len(), successor);
        tracing::debug!(dir = %self.dir.display(), base_offset = %first.base_offset, bytes, "compacted");
        Ok(())
    }
}
