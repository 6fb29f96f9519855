//! Records on their way to the log. While one batch is being written the next ones gather here, so the number of
//! commits that share an fsync grows with their rate.

use std::collections::VecDeque;

use bytes::Bytes;
use ottla_protocol::EncodeError;
use ottla_protocol::records::{BatchBuilder, BatchOptions};

use super::parked::RecordCount;
use crate::groups::{Record, WallMs, records};

#[derive(Debug)]
struct Encoded {
    key: Bytes,
    value: Option<Bytes>,
    at: WallMs,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Encoded>,
    decided: RecordCount,
    /// How many records are in the batch that is being written.
    writing: u64,
    durable: RecordCount,
}

impl Outbox {
    /// Adds a record behind the others.
    pub(super) fn push(&mut self, record: &Record, at: WallMs) -> Result<(), EncodeError> {
        let (key, value) = records::encode(record)?;
        self.waiting.push_back(Encoded { key, value, at });
        self.decided.0 += 1;
        Ok(())
    }

    /// How many records there have been.
    pub(super) fn decided(&self) -> RecordCount {
        self.decided
    }

    /// How many of them are durable.
    pub(super) fn durable(&self) -> RecordCount {
        self.durable
    }

    /// Whether everything is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.durable == self.decided
    }

    /// The next batch, of at most `bytes_max` bytes unless its first record alone is larger. `None` while one is being
    /// written, or when there is nothing to write.
    pub(super) fn next_batch(&mut self, bytes_max: usize) -> Option<Bytes> {
        if self.writing > 0 {
            return None;
        }
        let mut builder = BatchBuilder::default();
        while let Some(record) = self.waiting.front() {
            let size = BatchBuilder::size_of(Some(&record.key), record.value.as_deref(), &[]);
            if !builder.is_empty() && builder.size() + size > bytes_max {
                break;
            }
            builder.push(record.at.0, Some(&record.key), record.value.as_deref(), &[]);
            self.waiting.pop_front();
            self.writing += 1;
        }
        (!builder.is_empty()).then(|| builder.build(BatchOptions::default()))
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
    use ottla_protocol::records::Batches;

    use super::*;
    use crate::groups::{GroupId, TopicName};

    fn tombstone(partition: i32) -> Record {
        Record::Offset { group: GroupId::from("g"), topic: TopicName::from("t"), partition, value: None }
    }

    fn count(batch: Bytes) -> i32 {
        Batches::new(batch).map(|batch| batch.unwrap().header.record_count).sum()
    }

    #[test]
    fn records_gather_while_a_batch_is_written() {
        let mut outbox = Outbox::default();
        outbox.push(&tombstone(0), WallMs(1)).unwrap();
        assert_eq!(outbox.next_batch(1000).map(count), Some(1));
        for partition in 1..4 {
            outbox.push(&tombstone(partition), WallMs(1)).unwrap();
        }
        assert_eq!(outbox.next_batch(1000), None);
        assert_eq!(outbox.durable(), RecordCount(0));
        outbox.written();
        assert_eq!(outbox.durable(), RecordCount(1));
        assert_eq!(outbox.next_batch(1000).map(count), Some(3));
        outbox.written();
        assert!(outbox.is_settled());
    }

    #[test]
    fn a_batch_is_no_larger_than_allowed_but_never_empty() {
        let mut outbox = Outbox::default();
        for partition in 0..10 {
            outbox.push(&tombstone(partition), WallMs(1)).unwrap();
        }
        assert_eq!(outbox.next_batch(1).map(count), Some(1));
        outbox.written();
        let batch = outbox.next_batch(200).unwrap();
        assert!(batch.len() <= 200 && count(batch) > 1);
    }
}
