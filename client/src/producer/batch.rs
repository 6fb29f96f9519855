//! A batch on its way through the producer: filled, closed, given a sequence, sealed into bytes, perhaps stamped anew.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_protocol::records::{BatchBuilder, BatchOptions, Compression, Header};
use tokio::time::Instant;

use super::delivery::{Completion, Outcome};
use super::stamp::patch_producer;

/// Who the broker takes this producer for (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerIdentity {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
}

/// The place of a batch in its partition's order, as the broker checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) identity: ProducerIdentity,
    /// Sequence of the first record.
    pub(crate) base: i32,
}

/// The sequence after `count` more records; it wraps from `i32::MAX` to 0.
pub(crate) fn sequence_after(base: i32, count: i32) -> i32 {
    ((i64::from(base) + i64::from(count)) & i64::from(i32::MAX)) as i32
}

#[derive(Debug)]
enum Body {
    /// Not compressed yet.
    Building(BatchBuilder),
    /// As it was sent, with the sequence that is in it.
    Sealed(Bytes, Option<Sequence>),
}

/// Records of one partition that are acknowledged together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Rises with every batch of a partition: the order in which they must be written.
    pub(crate) order: u64,
    pub(crate) created_at: Instant,
    pub(crate) record_count: i32,
    /// Bytes counted against `buffer_memory`.
    pub(crate) memory: usize,
    /// Set when the batch is first sent.
    pub(crate) sequence: Option<Sequence>,
    pub(crate) completion: Arc<Completion>,
    body: Body,
}

impl Batch {
    pub(crate) fn new(order: u64, now: Instant) -> Batch {
        Batch {
            order,
            created_at: now,
            record_count: 0,
            memory: 0,
            sequence: None,
            completion: Arc::default(),
            body: Body::Building(BatchBuilder::default()),
        }
    }

    /// Bytes so far; of a sealed batch, the bytes that go on the wire.
    pub(crate) fn size(&self) -> usize {
        match &self.body {
            Body::Building(builder) => builder.size(),
            Body::Sealed(bytes, _) => bytes.len(),
        }
    }

    /// Adds a record and gives its place. Only for a batch that was never sent.
    pub(crate) fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
        memory: usize,
    ) -> u32 {
        let index = self.record_count as u32;
        match &mut self.body {
            Body::Building(builder) => builder.push(timestamp_ms, key, value, headers),
            Body::Sealed(..) => unreachable!("an open batch was never sent"),
        }
        self.record_count += 1;
        self.memory += memory;
        index
    }

    /// The bytes to send, compressed once and stamped with the current sequence.
    pub(crate) fn seal(&mut self, compression: Compression, transactional: bool) -> Bytes {
        let (bytes, stamped) = match std::mem::replace(&mut self.body, Body::Sealed(Bytes::new(), None)) {
            Body::Building(builder) => {
                let mut options = BatchOptions { compression, transactional, ..BatchOptions::default() };
                if let Some(sequence) = self.sequence {
                    options.producer_id = sequence.identity.producer_id;
                    options.producer_epoch = sequence.identity.producer_epoch;
                    options.base_sequence = sequence.base;
                }
                (builder.build(options), self.sequence)
            }
            Body::Sealed(bytes, stamped) => (bytes, stamped),
        };
        let bytes = match self.sequence {
            Some(sequence) if stamped != self.sequence => {
                let mut copy = BytesMut::from(&bytes[..]);
                let identity = sequence.identity;
                patch_producer(&mut copy, identity.producer_id, identity.producer_epoch, sequence.base);
                copy.freeze()
            }
            _ => bytes,
        };
        self.body = Body::Sealed(bytes.clone(), self.sequence);
        bytes
    }

    /// Tells the waiters, and gives the memory that becomes free.
    pub(crate) fn complete(self, outcome: Outcome) -> usize {
        self.completion.complete(outcome);
        self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::records;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(sequence_after(0, 5), 5);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 4), 2);
    }

    #[test]
    fn a_renumbered_batch_is_stamped_anew_and_stays_whole() {
        let mut batch = Batch::new(0, Instant::now());
        batch.push(5, None, Some(b"value"), &[], 10);
        let sequence = |producer_id, base| {
            Some(Sequence { identity: ProducerIdentity { producer_id, producer_epoch: 3 }, base })
        };
        batch.sequence = sequence(7, 11);
        let first = batch.seal(Compression::Gzip, false);
        assert_eq!(first, batch.seal(Compression::Gzip, false));
        batch.sequence = sequence(8, 0);
        let second = records::Batch::parse(&batch.seal(Compression::Gzip, false)).unwrap();
        second.check_crc().unwrap();
        assert_eq!((second.header.producer_id, second.header.base_sequence), (8, 0));
        assert_eq!(second.records(1 << 20).unwrap().count(), 1);
    }
}
