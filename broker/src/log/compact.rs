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
//! Batches of transactions and control batches are left as they are.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::records::{Batch, BatchHeader, RecordView};

use super::LogError;
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

/// The last offset of every key that was seen, by a hash of 128 bits that nobody outside can aim at.
#[derive(Debug)]
struct LatestOffsets {
    hashers: [RandomState; 2],
    offsets: HashMap<u128, i64>,
}

impl LatestOffsets {
    fn new() -> LatestOffsets {
        LatestOffsets { hashers: [RandomState::new(), RandomState::new()], offsets: HashMap::new() }
    }

    fn hash(&self, key: &[u8]) -> u128 {
        let [high, low] = &self.hashers;
        u128::from(high.hash_one(key)) << 64 | u128::from(low.hash_one(key))
    }

    fn note(&mut self, key: &[u8], offset: i64) {
        let hash = self.hash(key);
        self.offsets.insert(hash, offset);
    }

    fn get(&self, key: &[u8]) -> Option<i64> {
        self.offsets.get(&self.hash(key)).copied()
    }
}

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
    now_ms: i64,
    keys_max: usize,
}

impl PartitionLog {
    /// A round of compaction, if one is due. It takes nothing at or past `limit`, which must be durable and committed.
    pub fn compaction(&self, cleaned_to: Offset, limit: Offset, now_ms: i64) -> Option<Compaction> {
        if !self.config.compacted {
            return None;
        }
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
        let (latest, gathered_to) = self.gather()?;
        let mut before_swap = Some(before_swap);
        for group in self.groups(gathered_to) {
            let Some(cleaned) = self.clean(group, &latest, gathered_to)? else { continue };
            if let Some(before_swap) = before_swap.take() {
                before_swap()?;
            }
            self.install(group, cleaned)?;
        }
        Ok(gathered_to)
    }

    /// The last offset of every key in the dirty part, and how far that part was read.
    fn gather(&self) -> Result<(LatestOffsets, Offset), LogError> {
        let mut latest = LatestOffsets::new();
        for segment in &self.segments {
            for batch in SegmentBatches::new(segment) {
                let batch = batch?;
                if batch.header.next_offset() <= self.cleaned_to.0 || is_left_alone(&batch.header) {
                    continue;
                }
                if latest.offsets.len() >= self.keys_max {
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
            let bytes = match self.fate(&batch, latest, gathered_to)? {
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
            index.note(first.noted(&header, position));
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

    fn fate(&self, batch: &Batch, latest: &LatestOffsets, gathered_to: Offset) -> Result<Fate, LogError> {
        let header = &batch.header;
        if is_left_alone(header) {
            return Ok(Fate::Unchanged);
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

    /// Puts a cleaned file in the place of its group, on disk and for readers.
    fn install(&self, group: &[Arc<Segment>], (index, bytes): (SegmentIndex, u32)) -> Result<(), LogError> {
        let Some(first) = group.first() else { return Ok(()) };
        let replaced: Vec<Offset> = group.iter().map(|segment| segment.base_offset).collect();
        let begins_log = {
            let segments = unpoison(self.shared.segments.read());
            segments.first().is_some_and(|segment| Arc::ptr_eq(segment, first))
        };
        group.iter().try_for_each(|segment| segment.keep_open())?;
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

/// Markers belong to the records of their transaction, and whether those count is not known here.
fn is_left_alone(header: &BatchHeader) -> bool {
    header.is_control() || header.is_transactional()
}

/// The batches of a closed segment, one after the other, checked against their CRC.
struct SegmentBatches<'a> {
    segment: &'a Segment,
    position: u32,
}

impl SegmentBatches<'_> {
    fn new(segment: &Segment) -> SegmentBatches<'_> {
        SegmentBatches { segment, position: 0 }
    }

    fn read(&mut self) -> Result<Option<Batch>, LogError> {
        let size = self.segment.size();
        if self.position >= size {
            return Ok(None);
        }
        let corrupt = |reason: String| LogError::Corrupt {
            path: self.segment.path().to_owned(),
            offset: self.segment.base_offset,
            reason,
        };
        let header = self.segment.header_at(self.position, size)?;
        let header = header.ok_or_else(|| corrupt(format!("no batch at byte {}", self.position)))?;
        let batch = Batch::parse(&self.segment.read(self.position, header.size())?)?;
        batch.check_crc().map_err(|error| corrupt(format!("batch at byte {}: {error}", self.position)))?;
        self.position += header.size() as u32;
        Ok(Some(batch))
    }
}

impl Iterator for SegmentBatches<'_> {
    type Item = Result<Batch, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().transpose();
        if read.as_ref().is_some_and(Result::is_err) {
            self.position = u32::MAX;
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches};
    use proptest::prelude::*;

    use super::super::Known;
    use super::*;
    use crate::ids::LeaderEpoch;

    type Record = (i64, u8, Option<u8>);

    fn config() -> LogConfig {
        LogConfig {
            segment_bytes: 400,
            compacted: true,
            deleted: false,
            delete_retention_ms: 100,
            min_cleanable_dirty_ratio: 0.0,
            ..LogConfig::default()
        }
    }

    fn open(dir: &Path, known: impl Into<Known>) -> PartitionLog {
        PartitionLog::open(dir, config(), known).unwrap()
    }

    fn append(log: &mut PartitionLog, records: &[(u8, Option<u8>)], producer: Option<i32>) {
        let mut builder = BatchBuilder::default();
        for (key, value) in records {
            let value = value.map(|value| vec![value; 20]);
            builder.push(0, Some(&[*key]), value.as_deref(), &[]);
        }
        let options = match producer {
            None => BatchOptions::default(),
            Some(base_sequence) => {
                BatchOptions { producer_id: 7, producer_epoch: 0, base_sequence, ..BatchOptions::default() }
            }
        };
        let batch = log.config.check(&builder.build(options), 0).unwrap();
        log.append(&[batch], LeaderEpoch(0)).remove(0).unwrap();
    }

    fn records(log: &PartitionLog) -> Vec<Record> {
        let reader = log.reader();
        let (mut next, end) = (reader.log_start(), reader.log_end());
        let mut records = Vec::new();
        while next < end {
            let bytes = reader.read(next, end, 300, true).unwrap();
            if bytes.is_empty() {
                break;
            }
            for batch in Batches::new(bytes) {
                let batch = batch.unwrap();
                batch.check_crc().unwrap();
                for record in batch.records(1 << 20).unwrap() {
                    let record = record.unwrap();
                    let value = record.value.map(|value| value[0]);
                    records.push((record.offset, record.key.unwrap()[0], value));
                }
                next = Offset(batch.header.next_offset());
            }
        }
        records
    }

    fn compact(log: &PartitionLog, cleaned_to: Offset, now_ms: i64, keys_max: usize) -> Option<Offset> {
        let mut round = log.compaction(cleaned_to, log.log_end(), now_ms)?;
        round.keys_max = keys_max;
        Some(round.run(|| Ok(())).unwrap())
    }

    /// What must be there, and what may be there besides: superseded records of the open segment.
    fn check(
        before: &[Record],
        after: &[Record],
        open_from: i64,
        tombstones_may_go: bool,
    ) -> Result<(), String> {
        let last: BTreeMap<u8, &Record> = before.iter().map(|record| (record.1, record)).collect();
        for (key, record) in &last {
            let may_go = tombstones_may_go && record.2.is_none();
            if !may_go && !after.contains(record) {
                return Err(format!("the last record of key {key} is gone"));
            }
        }
        let last_closed: BTreeMap<u8, i64> =
            before.iter().filter(|record| record.0 < open_from).map(|record| (record.1, record.0)).collect();
        for record in after {
            if !before.contains(record) {
                return Err(format!("{record:?} was never written"));
            }
            if record.0 < open_from && last_closed.get(&record.1) != Some(&record.0) {
                return Err(format!("{record:?} is superseded"));
            }
        }
        let in_order = after.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if in_order { Ok(()) } else { Err("out of order".to_owned()) }
    }

    fn open_from(log: &PartitionLog) -> i64 {
        log.active().base_offset.0
    }

    proptest! {
        #[test]
        fn the_last_value_of_every_key_stays_and_superseded_ones_go(
            history in proptest::collection::vec(
                proptest::collection::vec((0u8..6, proptest::option::weighted(0.8, any::<u8>())), 1..4), 1..60
            ),
            more in proptest::collection::vec((0u8..6, proptest::option::weighted(0.8, any::<u8>())), 1..40),
            crash: bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut log = open(dir.path(), None);
            history.iter().for_each(|records| append(&mut log, records, None));
            let before = records(&log);
            let cleaned_to = compact(&log, Offset(0), 1000, KEYS_MAX);
            let after = records(&log);
            if cleaned_to.is_some() {
                check(&before, &after, open_from(&log), false).map_err(TestCaseError::fail)?;
            }
            // Opened again, cleanly or after a crash, it is the same; and a second round takes what came since.
            let cleaned_to = cleaned_to.unwrap_or_default();
            let trusted_to = crash.then_some(cleaned_to);
            if !crash {
                log.close().unwrap();
            }
            drop(log);
            let mut log = open(dir.path(), Known { trusted_to, cleaned_to, ..Known::default() });
            prop_assert_eq!(records(&log), after.clone());
            more.iter().for_each(|record| append(&mut log, &[*record], None));
            let before = records(&log);
            if compact(&log, cleaned_to, 2000, KEYS_MAX).is_some() {
                check(&before, &records(&log), open_from(&log), true).map_err(TestCaseError::fail)?;
            }
        }

        #[test]
        fn rounds_of_few_keys_end_where_one_of_many_does(
            history in proptest::collection::vec((0u8..9, any::<u8>()), 20..120), keys_max in 1usize..5
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut log = open(dir.path(), None);
            for (key, value) in &history {
                append(&mut log, &[(*key, Some(*value))], None);
            }
            let before = records(&log);
            let mut cleaned_to = Offset(0);
            while let Some(next) = compact(&log, cleaned_to, 1000, keys_max) {
                prop_assert!(next > cleaned_to);
                cleaned_to = next;
            }
            check(&before, &records(&log), open_from(&log), false).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn a_tombstone_stays_until_its_horizon() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), None);
        append(&mut log, &[(1, Some(1))], None);
        append(&mut log, &[(1, None)], None);
        (0..20).for_each(|value| append(&mut log, &[(2, Some(value))], None));
        let tombstones = |log: &PartitionLog| records(log).iter().filter(|record| record.2.is_none()).count();
        let first = compact(&log, Offset(0), 1000, KEYS_MAX).unwrap();
        assert_eq!(tombstones(&log), 1);
        assert!(records(&log).iter().all(|record| record.0 != 0), "what it deletes is gone");
        let more = |log: &mut PartitionLog| (0..20).for_each(|value| append(log, &[(2, Some(value))], None));
        more(&mut log);
        let second = compact(&log, first, 1099, KEYS_MAX).unwrap();
        assert_eq!(tombstones(&log), 1);
        more(&mut log);
        compact(&log, second, 1100, KEYS_MAX).unwrap();
        assert_eq!(tombstones(&log), 0);
    }

    #[test]
    fn the_last_batch_of_a_producer_stays_if_only_as_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), None);
        append(&mut log, &[(1, Some(1))], Some(0));
        append(&mut log, &[(1, Some(2))], Some(1));
        (0..20).for_each(|value| append(&mut log, &[(1, Some(value))], None));
        let cleaned_to = compact(&log, Offset(0), 1000, KEYS_MAX).unwrap();
        log.close().unwrap();
        drop(log);
        // Without the snapshot the producer is known from the log alone.
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "snapshot") {
                fs::remove_file(path).unwrap();
            }
        }
        let log = open(dir.path(), Known { cleaned_to, ..Known::default() });
        let last: Vec<Offset> = log.producers.last_offsets().collect();
        assert_eq!(last, [Offset(1)]);
    }

    #[test]
    fn a_crash_at_any_moment_of_a_swap_leaves_a_whole_log() {
        let fill = |dir: &Path| {
            let mut log = open(dir, None);
            (0..40).for_each(|value| append(&mut log, &[(value % 3, Some(value))], None));
            log
        };
        // How the files look just before and just after the commit point of the first group.
        for committed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = fill(dir.path());
            let before = records(&log);
            let round = log.compaction(Offset(0), log.log_end(), 1000).unwrap();
            let (latest, gathered_to) = round.gather().unwrap();
            let group = round.groups(gathered_to)[0];
            round.clean(group, &latest, gathered_to).unwrap().unwrap();
            let base = group[0].base_offset;
            if committed {
                let cleaned = swap::cleaned_path(dir.path(), base);
                fs::rename(&cleaned, cleaned.with_extension("swap")).unwrap();
            }
            log.close().unwrap();
            let open_from = open_from(&log);
            drop((round, log));
            let log = open(dir.path(), Known { cleaned_to: gathered_to, ..Known::default() });
            let after = records(&log);
            if committed {
                assert!(after.len() < before.len());
                let first_group: Vec<Record> =
                    after.iter().copied().filter(|record| record.0 >= open_from).collect();
                assert!(before.ends_with(&first_group));
            } else {
                assert_eq!(after, before);
            }
            let names: Vec<String> = fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert!(
                names.iter().all(|name| !name.ends_with("swap") && !name.ends_with("cleaned")),
                "{names:?}"
            );
        }
    }

    #[test]
    fn a_round_waits_until_enough_is_dirty_or_too_old() {
        let segment = |end, bytes, ms| Candidate { end: Offset(end), bytes, first_ms: ms, newest_ms: ms };
        let segments = [segment(10, 100, 0), segment(20, 30, 500), segment(30, 30, 900)];
        let config = |ratio, min_lag, max_lag| LogConfig {
            min_cleanable_dirty_ratio: ratio,
            min_compaction_lag_ms: min_lag,
            max_compaction_lag_ms: max_lag,
            ..config()
        };
        let taken =
            |config: LogConfig, limit| worthwhile(&segments, Offset(10), Offset(limit), &config, 1000);
        assert_eq!(taken(config(0.3, 0, i64::MAX), 30), 3);
        assert_eq!(taken(config(0.3, 0, i64::MAX), 29), 0, "30 of 130 bytes are dirty");
        assert_eq!(taken(config(0.2, 0, i64::MAX), 29), 2);
        assert_eq!(taken(config(0.2, 200, i64::MAX), 30), 2, "the last is too young");
        assert_eq!(taken(config(0.9, 0, 400), 30), 3, "overdue");
        assert_eq!(taken(config(0.9, 0, 600), 30), 0);
    }
}
