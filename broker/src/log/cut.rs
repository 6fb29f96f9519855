//! Taking the end of a log back: what a follower does with records that its leader does not have (KIP-101, KIP-595), and with
//! all of them where a snapshot takes their place (KIP-630).
//!
//! A crash in between leaves a log that is longer than was asked for and as whole as before: files go from the newest to the
//! oldest. The recovery point must be at or below the new end before either is called, durably, or the next opening would
//! miss what was cut.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::LogError;
use super::aborted::AbortedTransactions;
use super::checkpoint::sync_dir;
use super::partition_log::PartitionLog;
use super::producer_state::ProducerStates;
use super::recover::{marker_in, newest_snapshot, remove_snapshots_past};
use super::segment::{Segment, unpoison};
use crate::ids::Offset;

impl PartitionLog {
    /// Cuts the records from `end` on, durably. A batch that `end` is within goes as a whole: gives where the log ends now.
    /// Blocking.
    pub fn truncate_to(&mut self, end: Offset) -> Result<Offset, LogError> {
        if end >= self.log_end() {
            return Ok(self.log_end());
        }
        let end = end.max(self.log_start());
        let segments = unpoison(self.shared.segments.read()).clone();
        let kept = segments.partition_point(|segment| segment.base_offset <= end).max(1);
        let Some(last) = segments.get(kept - 1).cloned() else { return Ok(self.log_end()) };
        let (position, end) = place_of_cut(&last, end)?;
        self.shared.log_end.store(end.0, Ordering::Release);
        self.take_out(&segments, kept)?;
        unpoison(last.index.write()).truncate(position, last.relative(end));
        last.cut(position)?;
        last.file()?.sync_all().map_err(LogError::io("sync", last.path()))?;
        self.leader_epochs.truncate(end);
        self.publish_epochs();
        self.leader_epochs.save(&self.dir)?;
        self.end_was_moved(end)?;
        self.recall_producers(end)?;
        tracing::info!(dir = %self.dir.display(), %end, "the end of a log was cut");
        Ok(end)
    }

    /// Removes all records: the log goes on at `start`, durably. Blocking.
    pub fn start_anew_at(&mut self, start: Offset) -> Result<(), LogError> {
        let segments = unpoison(self.shared.segments.read()).clone();
        self.shared.log_end.store(start.0, Ordering::Release);
        self.shared.log_start.store(start.0, Ordering::Release);
        self.take_out(&segments, 0)?;
        let first = Segment::open(&self.dir, start, true)?;
        unpoison(self.shared.segments.write()).push(Arc::new(first));
        self.leader_epochs.forget_all();
        self.publish_epochs();
        self.leader_epochs.save(&self.dir)?;
        self.producers = ProducerStates::default();
        *unpoison(self.shared.aborted.write()) = AbortedTransactions::default();
        remove_snapshots_past(&self.dir, Offset(-1));
        self.end_was_moved(start)?;
        tracing::info!(dir = %self.dir.display(), %start, "a log goes on behind a snapshot");
        Ok(())
    }

    /// Brings what is known of producers back to where the log ends now: from the newest snapshot that is left, and the
    /// batches behind it.
    fn recall_producers(&mut self, end: Offset) -> Result<(), LogError> {
        unpoison(self.shared.aborted.write()).truncate(end);
        if self.producers.is_empty() {
            return Ok(());
        }
        let (producers, from) = newest_snapshot(&self.dir, end).unwrap_or_default();
        self.producers = producers;
        for segment in self.reader().segments_from(from) {
            let mut position =
                unpoison(segment.index.read()).last_batch_before(segment.relative(from), segment.size());
            while let Some(header) = segment.header_at(position, segment.size())? {
                if Offset(header.base_offset) >= from {
                    let marker = marker_in(&segment, position, &header)?;
                    self.producers.apply(&header, marker.as_ref());
                }
                position += header.size() as u32;
            }
        }
        Ok(())
    }

    /// Removes the segments from number `kept` on with their files, the newest first.
    fn take_out(&mut self, segments: &[Arc<Segment>], kept: usize) -> Result<(), LogError> {
        unpoison(self.shared.segments.write()).truncate(kept);
        let removed = segments.get(kept..).unwrap_or_default();
        self.dirty.retain(|dirty| !removed.iter().any(|segment| dirty.is_of(segment)));
        for segment in removed.iter().rev() {
            PartitionLog::remove_segment_files(&self.dir, segment.base_offset)?;
        }
        Ok(())
    }

    fn end_was_moved(&mut self, end: Offset) -> Result<(), LogError> {
        self.first_timestamp_ms = None;
        self.changed = true;
        remove_snapshots_past(&self.dir, end);
        sync_dir(&self.dir)
    }
}

/// The byte position of the batch that holds `end` or begins there, and the offset where it begins.
fn place_of_cut(segment: &Segment, end: Offset) -> Result<(u32, Offset), LogError> {
    let start = unpoison(segment.index.read()).last_batch_before(segment.relative(end), segment.size());
    let mut position = start;
    let mut next = segment.base_offset;
    while let Some(header) = segment.header_at(position, segment.size())? {
        if Offset(header.next_offset()) > end {
            return Ok((position, Offset(header.base_offset)));
        }
        next = Offset(header.next_offset());
        position += header.size() as u32;
    }
    Ok((position, next))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches, EndTxnMarker};
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{LeaderEpoch, Producer};
    use crate::log::{Checked, LogConfig};

    fn batch(records: usize, producer_id: i64) -> Checked {
        let mut builder = BatchBuilder::default();
        for number in 0..records {
            builder.push(number as i64, None, Some(b"a value"), &[]);
        }
        let (producer_epoch, base_sequence) = if producer_id < 0 { (-1, -1) } else { (0, 0) };
        let options = BatchOptions { producer_id, producer_epoch, base_sequence, ..BatchOptions::default() };
        Checked::of_coordinator(&builder.build(options)).unwrap()
    }

    /// Records of a transaction.
    fn produced(records: usize, producer_id: i64, base_sequence: i32) -> Checked {
        let mut builder = BatchBuilder::default();
        for _ in 0..records {
            // Snapshots know the time of a producer's last record, not of its last marker.
            builder.push(0, None, Some(b"a value"), &[]);
        }
        let options = BatchOptions {
            producer_id,
            producer_epoch: 0,
            base_sequence,
            transactional: true,
            ..BatchOptions::default()
        };
        Checked::of_coordinator(&builder.build(options)).unwrap()
    }

    fn open(dir: &Path, trusted_to: Option<Offset>) -> PartitionLog {
        // Small, so that cuts meet segments' borders.
        let config = LogConfig { segment_bytes: 400, index_interval_bytes: 100, ..LogConfig::default() };
        PartitionLog::open(dir, config, trusted_to).unwrap()
    }

    /// Base offset, epoch and end of all batches.
    fn batches(log: &PartitionLog) -> Vec<(i64, i32, i64)> {
        let (mut found, mut next) = (Vec::new(), log.log_start());
        while next < log.log_end() {
            let bytes: Bytes = log.reader().read(next, log.log_end(), 1 << 20, true).unwrap();
            for batch in Batches::new(bytes) {
                let header = batch.unwrap().header;
                found.push((header.base_offset, header.leader_epoch, header.next_offset()));
                next = Offset(header.next_offset());
            }
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn what_is_known_of_producers_after_a_cut_is_what_a_log_that_ended_there_knows(
            writes in proptest::collection::vec((0i64..3, 1usize..4, 0u8..5), 1..25), kept in 0usize..25, checkpoint_at in 0usize..25,
        ) {
            let (cut, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let (mut log, mut expected) = (open(cut.path(), None), open(whole.path(), None));
            let mut sequences = [0i32; 3];
            let mut kept_end = Offset::ZERO;
            for (number, (producer, size, kind)) in writes.iter().enumerate() {
                let batch = match kind {
                    0 | 1 => {
                        let marker = EndTxnMarker { commit: *kind == 0, coordinator_epoch: 0 };
                        Checked::marker(marker, Producer { id: *producer, epoch: 0 }, 0).unwrap()
                    }
                    _ => {
                        let base_sequence = sequences[*producer as usize];
                        sequences[*producer as usize] += *size as i32;
                        produced(*size, *producer, base_sequence)
                    }
                };
                log.append(std::slice::from_ref(&batch), LeaderEpoch(0)).remove(0).unwrap();
                if number < kept {
                    expected.append(&[batch], LeaderEpoch(0)).remove(0).unwrap();
                    kept_end = expected.log_end();
                }
                if number == checkpoint_at {
                    log.checkpoint(Offset::ZERO).unwrap();
                }
            }
            log.truncate_to(kept_end).unwrap();
            // A snapshot does not know of transactions that have ended.
            log.forget_ended_transactions(kept_end);
            expected.forget_ended_transactions(kept_end);
            prop_assert_eq!(log.active_producers(), expected.active_producers());
            prop_assert_eq!(log.first_unstable(kept_end), expected.first_unstable(kept_end));
            let aborted = |log: &PartitionLog| log.reader().aborted_within(Offset::ZERO, Offset(i64::MAX));
            prop_assert_eq!(aborted(&log), aborted(&expected));
        }

        #[test]
        fn a_cut_log_has_what_was_before_the_cut_and_goes_on_from_there(
            sizes in proptest::collection::vec(1usize..5, 1..20), at in 0.0f64..1.2, is_reopened: bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut log = open(dir.path(), None);
            for (number, size) in sizes.iter().enumerate() {
                log.append(&[batch(*size, -1)], LeaderEpoch(number as i32 / 3)).remove(0).unwrap();
            }
            let end = Offset((log.log_end().0 as f64 * at) as i64);
            let mut expected = batches(&log);
            expected.retain(|(_, _, next)| *next <= end.0);
            let cut_at = log.truncate_to(end).unwrap();
            prop_assert_eq!(cut_at.0, expected.last().map_or(0, |(_, _, next)| *next));
            if is_reopened {
                drop(log);
                log = open(dir.path(), Some(Offset::ZERO));
            }
            prop_assert_eq!(batches(&log), expected.clone());
            prop_assert_eq!(log.leader_epochs().latest().map(|epoch| epoch.0), expected.last().map(|(_, epoch, _)| *epoch));
            log.append(&[batch(2, -1)], LeaderEpoch(77)).remove(0).unwrap();
            expected.push((cut_at.0, 77, cut_at.0 + 2));
            prop_assert_eq!(batches(&log), expected.clone());
            drop(log);
            prop_assert_eq!(batches(&open(dir.path(), Some(Offset::ZERO))), expected);
        }
    }

    #[test]
    fn a_log_begins_anew_behind_a_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), None);
        for _ in 0..20 {
            log.append(&[batch(3, -1)], LeaderEpoch(1)).remove(0).unwrap();
        }
        log.start_anew_at(Offset(500)).unwrap();
        assert_eq!((log.log_start(), log.log_end()), (Offset(500), Offset(500)));
        assert_eq!(log.leader_epochs().latest(), None);
        log.append(&[batch(3, -1)], LeaderEpoch(2)).remove(0).unwrap();
        drop(log);
        let log = open(dir.path(), Some(Offset(500)));
        assert_eq!(batches(&log), [(500, 2, 503)]);
        assert_eq!(log.log_start(), Offset(500));
    }
}
