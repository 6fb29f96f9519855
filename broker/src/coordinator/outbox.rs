//! What is on its way to the log. While one batch is being written the next entries gather here, so the number of
//! commits that share an fsync grows with their rate.
//!
//! What was decided together lies in one batch, so that a crash leaves all of it or nothing. Entries of one transaction lie
//! in batches of their own, and a marker is a batch; neighbours that need more than one batch are written one batch after
//! the other.

use std::collections::VecDeque;

use bytes::Bytes;
use ottla_protocol::records::{BatchBuilder, BatchOptions, EndTxnMarker};

use super::machine::LogEntry;
use super::parked::EntryCount;
use crate::ids::Producer;
use crate::machine::WallMs;

/// A decision larger than this is divided all the same: only sweeps are, like that for expired offsets, of which a part may
/// be done.
const TOGETHER_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
struct Waiting {
    entry: LogEntry,
    at: WallMs,
    /// The next was decided together with this.
    has_more: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    decided: EntryCount,
    /// How many entries are in the batch that is being written.
    writing: u64,
    durable: EntryCount,
}

impl Outbox {
    /// Adds what was decided together behind the others.
    pub(super) fn push(&mut self, entries: Vec<LogEntry>, at: WallMs) {
        self.decided.0 += entries.len() as u64;
        let mut entries = entries.into_iter().peekable();
        while let Some(entry) = entries.next() {
            self.waiting.push_back(Waiting { entry, at, has_more: entries.peek().is_some() });
        }
    }

    /// How many entries there have been.
    pub(super) fn decided(&self) -> EntryCount {
        self.decided
    }

    /// How many of them are durable.
    pub(super) fn durable(&self) -> EntryCount {
        self.durable
    }

    /// Whether everything is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.durable == self.decided
    }

    /// The next batch, of at most `bytes_max` bytes unless its first decision alone is larger. `None` while one is being
    /// written, or when there is nothing to write.
    pub(super) fn next_batch(&mut self, bytes_max: usize) -> Option<Bytes> {
        if self.writing > 0 {
            return None;
        }
        let Waiting { entry, at, .. } = self.waiting.front()?;
        match entry {
            LogEntry::Marker { producer, coordinator_epoch, commit } => {
                let marker = EndTxnMarker { commit: *commit, coordinator_epoch: *coordinator_epoch };
                let batch = marker.to_batch(at.0, producer.id, producer.epoch);
                self.waiting.pop_front();
                self.writing = 1;
                Some(batch)
            }
            LogEntry::Record { producer, .. } => {
                let producer = *producer;
                Some(self.next_records(producer, bytes_max))
            }
        }
    }

    fn next_records(&mut self, of: Option<Producer>, bytes_max: usize) -> Bytes {
        let mut builder = BatchBuilder::default();
        loop {
            let (count, size) = self.next_together(of, bytes_max);
            if count == 0 || (!builder.is_empty() && builder.size() + size > bytes_max) {
                break;
            }
            for waiting in self.waiting.drain(..count) {
                if let LogEntry::Record { key, value, .. } = waiting.entry {
                    builder.push(waiting.at.0, key.as_deref(), value.as_deref(), &[]);
                    self.writing += 1;
                }
            }
        }
        builder.build(match of {
            None => BatchOptions::default(),
            // No sequence, as in Kafka: the coordinator's order is the order.
            Some(producer) => BatchOptions {
                producer_id: producer.id,
                producer_epoch: producer.epoch,
                transactional: true,
                ..BatchOptions::default()
            },
        })
    }

    /// How many of the next entries must be in one batch with records of a transaction, or of none, and their size.
    fn next_together(&self, of: Option<Producer>, bytes_max: usize) -> (usize, usize) {
        let (mut count, mut size) = (0, 0);
        let mut fitting = (0, 0);
        for Waiting { entry, has_more, .. } in &self.waiting {
            let LogEntry::Record { key, value, producer } = entry else { break };
            if *producer != of {
                break;
            }
            count += 1;
            size += BatchBuilder::size_of(key.as_deref(), value.as_deref(), &[]);
            if fitting.0 == 0 || size <= bytes_max {
                fitting = (count, size);
            }
            if size > TOGETHER_BYTES_MAX {
                return fitting;
            }
            if !has_more {
                break;
            }
        }
        (count, size)
    }

    /// The batch being written is durable.
    pub(super) fn written(&mut self) {
        self.durable.0 += self.writing;
        self.writing = 0;
    }

    /// Forgets everything that is not durable: the log has failed.
    pub(super) fn abandon(&mut self) {
        self.waiting.clear();
        self.writing = 0;
        self.durable = self.decided;
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::records::{Batch, Batches};

    use super::*;

    fn tombstone(partition: u8) -> LogEntry {
        LogEntry::Record { key: Some(vec![partition; 30].into()), value: None, producer: None }
    }

    fn count(batch: Bytes) -> i32 {
        Batches::new(batch).map(|batch| batch.unwrap().header.record_count).sum()
    }

    #[test]
    fn records_gather_while_a_batch_is_written() {
        let mut outbox = Outbox::default();
        outbox.push(vec![tombstone(0)], WallMs(1));
        assert_eq!(outbox.next_batch(1000).map(count), Some(1));
        for partition in 1..4 {
            outbox.push(vec![tombstone(partition)], WallMs(1));
        }
        assert_eq!(outbox.next_batch(1000), None);
        assert_eq!(outbox.durable(), EntryCount(0));
        outbox.written();
        assert_eq!(outbox.durable(), EntryCount(1));
        assert_eq!(outbox.next_batch(1000).map(count), Some(3));
        outbox.written();
        assert!(outbox.is_settled());
    }

    #[test]
    fn a_batch_is_no_larger_than_allowed_but_never_empty() {
        let mut outbox = Outbox::default();
        for partition in 0..10 {
            outbox.push(vec![tombstone(partition)], WallMs(1));
        }
        assert_eq!(outbox.next_batch(1).map(count), Some(1));
        outbox.written();
        let batch = outbox.next_batch(200).unwrap();
        assert!(batch.len() <= 200 && count(batch) > 1);
    }

    #[test]
    fn what_was_decided_together_is_in_one_batch() {
        let mut outbox = Outbox::default();
        outbox.push(vec![tombstone(0)], WallMs(1));
        outbox.push((1..5).map(tombstone).collect(), WallMs(1));
        outbox.push(vec![tombstone(5)], WallMs(1));
        let mut counts = Vec::new();
        while let Some(batch) = outbox.next_batch(120) {
            counts.push(count(batch));
            outbox.written();
        }
        assert_eq!(counts, [1, 4, 1], "four do not fit, and stay together");
        assert!(outbox.is_settled());
    }

    #[test]
    fn what_belongs_to_a_transaction_and_its_marker_are_batches_of_their_own() {
        let mut outbox = Outbox::default();
        let producer = Producer { id: 7, epoch: 2 };
        let in_transaction =
            LogEntry::Record { key: Some("k".into()), value: None, producer: Some(producer) };
        outbox.push(vec![tombstone(0)], WallMs(1));
        outbox.push(vec![in_transaction.clone(), in_transaction], WallMs(1));
        outbox.push(vec![LogEntry::Marker { producer, coordinator_epoch: 3, commit: true }], WallMs(1));
        let mut batches = Vec::new();
        while let Some(batch) = outbox.next_batch(1000) {
            batches.push(Batch::parse(&batch).unwrap());
            outbox.written();
        }
        let kinds: Vec<_> = batches
            .iter()
            .map(|batch| (batch.header.record_count, batch.header.producer_id, batch.header.is_control()))
            .collect();
        assert_eq!(kinds, vec![(1, -1, false), (2, 7, false), (1, 7, true)]);
        assert!(outbox.is_settled());
    }
}
