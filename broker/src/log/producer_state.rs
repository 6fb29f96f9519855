//! What the log knows of idempotent and transactional producers (KIP-98): pure, and kept in Kafka's `.snapshot` files.
//!
//! A producer numbers its records per partition. The last five batches of each producer are remembered, because a
//! client may have five requests in flight: a batch among them is a duplicate and is answered with its first offset,
//! the next sequence is appended, anything else is refused.
//!
//! A producer's transaction is open from its first record to its marker. What a `read_committed` reader may see ends
//! before the first record that is undecided, and a marker decides once it is itself below the high watermark:
//!
//! ```text
//!   first of A     first of B   marker of A     high watermark
//!       |--------------|------------|----------------|
//!       ^ last stable offset while A is open
//!                      ^ afterwards, for as long as B is
//! ```

use std::collections::{BTreeMap, VecDeque};

use ottla_protocol::records::{BatchHeader, EndTxnMarker, NO_SEQUENCE};
use thiserror::Error;

use super::aborted::AbortedTransaction;
use crate::ids::Offset;

/// Batches remembered of each producer, and so the most that a client may have in flight.
const BATCHES_REMEMBERED: usize = 5;
const SNAPSHOT_VERSION: i16 = 1;
const SNAPSHOT_ENTRY_LEN: usize = 46;
const SNAPSHOT_HEADER_LEN: usize = 10;

/// What to do with a batch whose sequence was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceCheck {
    /// It follows: append it.
    Append,
    /// It is in the log already, at this offset.
    Duplicate {
        /// Offset of its first record.
        base_offset: Offset,
        /// The offset after its last record: the first copy is durable once everything below this is.
        end_offset: Offset,
        /// The timestamp it was stored with, milliseconds since the epoch.
        timestamp_ms: i64,
    },
}

/// Why a batch of an idempotent producer is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SequenceError {
    /// A newer instance of the producer has written.
    #[error("producer {producer_id} has epoch {current}, the batch has {epoch}")]
    StaleEpoch {
        /// Whose.
        producer_id: i64,
        /// Of the batch.
        epoch: i16,
        /// Of the log.
        current: i16,
    },
    /// A sequence is missing before this one.
    #[error("producer {producer_id} sent sequence {sequence}, expected {expected}")]
    OutOfOrder {
        /// Whose.
        producer_id: i64,
        /// Of the batch.
        sequence: i32,
        /// What should have come.
        expected: i32,
    },
    /// A marker comes from a transaction coordinator that was replaced.
    #[error("coordinator epoch {epoch} is older than {current}")]
    CoordinatorFenced {
        /// Of the marker.
        epoch: i32,
        /// Of the log.
        current: i32,
    },
    /// A record outside a transaction comes from a producer that has one open.
    #[error("producer {producer_id} has a transaction open, the batch is not part of it")]
    NotTransactional {
        /// Whose.
        producer_id: i64,
    },
}

/// Most of them come again within milliseconds, or never.
const REFUSED_REMEMBERED: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BatchMetadata {
    base_sequence: i32,
    last_sequence: i32,
    last_offset: Offset,
    offset_delta: i32,
    timestamp_ms: i64,
}

impl BatchMetadata {
    /// As Kafka writes it for a producer of which it knows no batch.
    const NONE: BatchMetadata = BatchMetadata {
        base_sequence: NO_SEQUENCE,
        last_sequence: NO_SEQUENCE,
        last_offset: Offset(-1),
        offset_delta: 0,
        timestamp_ms: -1,
    };
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ProducerState {
    epoch: i16,
    batches: VecDeque<BatchMetadata>,
    /// Of the coordinator that wrote the last marker; -1 if there was none.
    coordinator_epoch: i32,
    /// Of the last batch or marker, milliseconds since the epoch; -1 if there was none.
    last_timestamp_ms: i64,
    /// The first offset of its open transaction.
    open_from: Option<Offset>,
}

impl ProducerState {
    fn new(epoch: i16) -> ProducerState {
        ProducerState {
            epoch,
            batches: VecDeque::new(),
            coordinator_epoch: -1,
            last_timestamp_ms: -1,
            open_from: None,
        }
    }

    /// A new epoch forgets the batches of the old one.
    fn remember(&mut self, epoch: i16, batch: BatchMetadata) {
        self.begin_epoch(epoch);
        if self.batches.len() == BATCHES_REMEMBERED {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    fn begin_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// A producer that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Which.
    pub producer_id: i64,
    /// Of its newest instance.
    pub epoch: i16,
    /// Of its last record; -1 if it has none.
    pub last_sequence: i32,
    /// Of its last batch, milliseconds since the epoch; -1 if it has none.
    pub last_timestamp_ms: i64,
    /// Of the transaction coordinator that wrote its last marker; -1 if there was none.
    pub coordinator_epoch: i32,
    /// Of its open transaction; -1 if it has none.
    pub transaction_start: i64,
}

/// What a producer's state was before a batch. Dropping it keeps the batch.
#[derive(Debug)]
pub struct ProducerUndo(Option<Before>);

#[derive(Debug)]
struct Before {
    batch: BatchHeader,
    state: Option<ProducerState>,
    /// The first offset of the transaction that it ended.
    ended: Option<Offset>,
}

/// The producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: BTreeMap<i64, ProducerState>,
    /// Epoch and sequence of the first batch of producers that are unknown because it could not be written. What they
    /// sent behind it must not get before it.
    refused: BTreeMap<i64, (i16, i32)>,
    /// Open transactions, by their first offset; follows from `producers`.
    open: BTreeMap<Offset, i64>,
    /// Transactions by their first offset, with that of their marker, which may not be below the high watermark yet.
    ended: BTreeMap<Offset, Offset>,
}

fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

impl ProducerStates {
    /// All that are remembered, by id.
    pub fn active(&self) -> Vec<ActiveProducer> {
        let active = self.producers.iter().map(|(producer_id, state)| ActiveProducer {
            producer_id: *producer_id,
            epoch: state.epoch,
            last_sequence: state.batches.back().map_or(-1, |batch| batch.last_sequence),
            last_timestamp_ms: state.last_timestamp_ms,
            coordinator_epoch: state.coordinator_epoch,
            transaction_start: state.open_from.map_or(-1, |offset| offset.0),
        });
        active.collect()
    }

    /// Decides about a batch, which may be a marker; changes nothing.
    pub fn check(
        &self,
        batch: &BatchHeader,
        marker: Option<&EndTxnMarker>,
    ) -> Result<SequenceCheck, SequenceError> {
        if !batch.has_producer_id() {
            return Ok(SequenceCheck::Append);
        }
        if let Some(marker) = marker {
            return self.check_marker(batch, marker);
        }
        if batch.is_control() {
            return Ok(SequenceCheck::Append);
        }
        let producer_id = batch.producer_id;
        let out_of_order =
            |expected| SequenceError::OutOfOrder { producer_id, sequence: batch.base_sequence, expected };
        let Some(state) = self.producers.get(&producer_id) else {
            // An unknown producer may begin anywhere: its earlier records may have been deleted by retention.
            return match self.refused.get(&producer_id) {
                Some((epoch, first)) if batch.producer_epoch == *epoch && batch.base_sequence != *first => {
                    Err(out_of_order(*first))
                }
                _ => Ok(SequenceCheck::Append),
            };
        };
        if batch.producer_epoch < state.epoch {
            return Err(SequenceError::StaleEpoch {
                producer_id,
                epoch: batch.producer_epoch,
                current: state.epoch,
            });
        }
        if state.open_from.is_some() && !batch.is_transactional() {
            return Err(SequenceError::NotTransactional { producer_id });
        }
        // What a coordinator writes for a producer is in its own order.
        if batch.base_sequence == NO_SEQUENCE {
            return Ok(SequenceCheck::Append);
        }
        if batch.producer_epoch > state.epoch {
            return if batch.base_sequence == 0 { Ok(SequenceCheck::Append) } else { Err(out_of_order(0)) };
        }
        let duplicate = state.batches.iter().find(|known| {
            known.base_sequence == batch.base_sequence && known.last_sequence == batch.last_sequence()
        });
        if let Some(known) = duplicate {
            return Ok(SequenceCheck::Duplicate {
                base_offset: known.last_offset.plus(-i64::from(known.offset_delta)),
                end_offset: known.last_offset.plus(1),
                timestamp_ms: known.timestamp_ms,
            });
        }
        match state.batches.back() {
            Some(last) if batch.base_sequence != next_sequence(last.last_sequence) => {
                Err(out_of_order(next_sequence(last.last_sequence)))
            }
            // A marker has begun this epoch, and nothing of it was written yet (KIP-890).
            None if batch.base_sequence != 0 => Err(out_of_order(0)),
            _ => Ok(SequenceCheck::Append),
        }
    }

    fn check_marker(
        &self,
        batch: &BatchHeader,
        marker: &EndTxnMarker,
    ) -> Result<SequenceCheck, SequenceError> {
        let Some(state) = self.producers.get(&batch.producer_id) else { return Ok(SequenceCheck::Append) };
        if batch.producer_epoch < state.epoch {
            return Err(SequenceError::StaleEpoch {
                producer_id: batch.producer_id,
                epoch: batch.producer_epoch,
                current: state.epoch,
            });
        }
        if marker.coordinator_epoch < state.coordinator_epoch {
            return Err(SequenceError::CoordinatorFenced {
                epoch: marker.coordinator_epoch,
                current: state.coordinator_epoch,
            });
        }
        Ok(SequenceCheck::Append)
    }

    /// Whether this instance of a producer has a transaction open.
    pub fn has_open_transaction(&self, producer_id: i64, epoch: i16) -> bool {
        self.producers
            .get(&producer_id)
            .is_some_and(|state| state.epoch == epoch && state.open_from.is_some())
    }

    /// The transaction that a marker, which was not applied yet, aborts.
    pub fn aborted_by(&self, batch: &BatchHeader, marker: &EndTxnMarker) -> Option<AbortedTransaction> {
        let first_offset = self.producers.get(&batch.producer_id)?.open_from.filter(|_| !marker.commit)?;
        let last_offset = Offset(batch.last_offset());
        let next_open = self.open.keys().find(|first| **first != first_offset).copied();
        let producer_id = batch.producer_id;
        let last_stable_offset = next_open.unwrap_or(last_offset.plus(1));
        Some(AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset })
    }

    /// The first offset that is undecided for a reader who sees what is below the high watermark.
    pub fn first_unstable(&self, high_watermark: Offset) -> Option<Offset> {
        let ended = self.ended.iter().find(|(_, marker)| **marker >= high_watermark).map(|(first, _)| *first);
        self.open.keys().next().copied().into_iter().chain(ended).min()
    }

    /// Ends what began before an offset below which everything is known to be decided: compaction has removed the marker
    /// with all that it decided about, which an older snapshot does not know.
    pub fn end_decided_before(&mut self, offset: Offset) {
        let decided: Vec<i64> = self.open.range(..offset).map(|(_, producer_id)| *producer_id).collect();
        for producer_id in decided {
            let state = self.producers.get(&producer_id).cloned();
            self.replace(producer_id, state.map(|state| ProducerState { open_from: None, ..state }));
        }
    }

    /// Forgets the markers below the high watermark, which decide for everybody.
    pub fn forget_ended(&mut self, high_watermark: Offset) {
        self.ended.retain(|_, marker| *marker >= high_watermark);
    }

    /// Notes a batch that goes into the log, and gives what it takes to forget it again.
    pub fn apply(&mut self, batch: &BatchHeader, marker: Option<&EndTxnMarker>) -> ProducerUndo {
        if !batch.has_producer_id() || (batch.is_control() && marker.is_none()) {
            return ProducerUndo(None);
        }
        let before = self.producers.get(&batch.producer_id).cloned();
        let mut state = before.clone().unwrap_or_else(|| ProducerState::new(batch.producer_epoch));
        state.last_timestamp_ms = batch.max_timestamp_ms;
        let ended = match marker {
            Some(marker) => {
                state.begin_epoch(batch.producer_epoch);
                state.coordinator_epoch = marker.coordinator_epoch;
                state.open_from.take()
            }
            None => {
                self.note_records(&mut state, batch);
                None
            }
        };
        self.ended.extend(ended.map(|first| (first, Offset(batch.last_offset()))));
        self.replace(batch.producer_id, Some(state));
        self.refused.remove(&batch.producer_id);
        ProducerUndo(Some(Before { batch: *batch, state: before, ended }))
    }

    fn note_records(&self, state: &mut ProducerState, batch: &BatchHeader) {
        if batch.is_transactional() {
            state.open_from.get_or_insert(Offset(batch.base_offset));
        }
        if batch.base_sequence == NO_SEQUENCE {
            return state.begin_epoch(batch.producer_epoch);
        }
        let metadata = BatchMetadata {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            last_offset: Offset(batch.last_offset()),
            offset_delta: batch.last_offset_delta,
            timestamp_ms: batch.max_timestamp_ms,
        };
        state.remember(batch.producer_epoch, metadata);
    }

    /// The one place where a producer's state changes.
    fn replace(&mut self, producer_id: i64, state: Option<ProducerState>) {
        if let Some(first) = self.producers.get(&producer_id).and_then(|state| state.open_from) {
            self.open.remove(&first);
        }
        match state {
            Some(state) => {
                self.open.extend(state.open_from.map(|first| (first, producer_id)));
                self.producers.insert(producer_id, state);
            }
            None => {
                self.producers.remove(&producer_id);
            }
        }
    }

    /// Takes back an [`apply`](ProducerStates::apply); of several, the last one first.
    pub fn undo(&mut self, undo: ProducerUndo) {
        let Some(Before { batch, state, ended }) = undo.0 else { return };
        if let Some(first) = ended {
            self.ended.remove(&first);
        }
        let was_unknown = state.is_none();
        self.replace(batch.producer_id, state);
        if was_unknown && batch.base_sequence != NO_SEQUENCE {
            if self.refused.len() == REFUSED_REMEMBERED {
                self.refused.pop_first();
            }
            self.refused.insert(batch.producer_id, (batch.producer_epoch, batch.base_sequence));
        }
    }

    /// The last offset of each producer.
    pub fn last_offsets(&self) -> impl Iterator<Item = Offset> {
        self.producers.values().filter_map(|state| state.batches.back()).map(|batch| batch.last_offset)
    }

    /// Producers of which no batch is known, with the epoch that their last marker has given them.
    pub fn marked_epochs(&self) -> impl Iterator<Item = (i64, i16)> {
        let marked = self.producers.iter().filter(|(_, state)| state.batches.is_empty());
        marked.map(|(producer_id, state)| (*producer_id, state.epoch))
    }

    /// Forgets producers whose last batch is older than a time, milliseconds since the epoch
    /// (`producer.id.expiration.ms`).
    pub fn forget_before(&mut self, time_ms: i64) {
        // One whose transaction is open is still awaited.
        self.producers.retain(|_, state| {
            state.open_from.is_some()
                || state.last_timestamp_ms >= time_ms
                || (state.last_timestamp_ms < 0 && !state.batches.is_empty())
        });
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Kafka's snapshot file: version, CRC-32C of what follows, then the batches of each producer, oldest first. Kafka
    /// writes only the newest; it reads ours, because of several entries of a producer it keeps the last.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let count: usize = self.producers.values().map(|state| state.batches.len().max(1)).sum();
        let mut entries = Vec::with_capacity(4 + count * SNAPSHOT_ENTRY_LEN);
        entries.extend_from_slice(&(count as i32).to_be_bytes());
        for (producer_id, state) in &self.producers {
            let none = state
                .batches
                .is_empty()
                .then_some(BatchMetadata { timestamp_ms: state.last_timestamp_ms, ..BatchMetadata::NONE });
            for batch in state.batches.iter().chain(&none) {
                entries.extend_from_slice(&producer_id.to_be_bytes());
                entries.extend_from_slice(&state.epoch.to_be_bytes());
                entries.extend_from_slice(&batch.last_sequence.to_be_bytes());
                entries.extend_from_slice(&batch.last_offset.0.to_be_bytes());
                entries.extend_from_slice(&batch.offset_delta.to_be_bytes());
                entries.extend_from_slice(&batch.timestamp_ms.to_be_bytes());
                entries.extend_from_slice(&state.coordinator_epoch.to_be_bytes());
                entries.extend_from_slice(&state.open_from.map_or(-1, |first| first.0).to_be_bytes());
            }
        }
        let mut snapshot = Vec::with_capacity(SNAPSHOT_HEADER_LEN + entries.len());
        snapshot.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
        snapshot.extend_from_slice(&crc32c::crc32c(&entries).to_be_bytes());
        snapshot.extend_from_slice(&entries);
        snapshot
    }

    /// Reads a snapshot; `None` when it is damaged, and the log is scanned instead.
    pub fn from_snapshot(bytes: &[u8]) -> Option<ProducerStates> {
        fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (head, rest) = bytes.split_first_chunk::<N>()?;
            *bytes = rest;
            Some(*head)
        }
        let mut rest = bytes;
        if i16::from_be_bytes(take(&mut rest)?) != SNAPSHOT_VERSION {
            return None;
        }
        if u32::from_be_bytes(take(&mut rest)?) != crc32c::crc32c(rest) {
            return None;
        }
        let count = i32::from_be_bytes(take(&mut rest)?);
        let mut states = ProducerStates::default();
        for _ in 0..count {
            let producer_id = i64::from_be_bytes(take(&mut rest)?);
            let epoch = i16::from_be_bytes(take(&mut rest)?);
            let last_sequence = i32::from_be_bytes(take(&mut rest)?);
            let last_offset = Offset(i64::from_be_bytes(take(&mut rest)?));
            let offset_delta = i32::from_be_bytes(take(&mut rest)?);
            let timestamp_ms = i64::from_be_bytes(take(&mut rest)?);
            let coordinator_epoch = i32::from_be_bytes(take(&mut rest)?);
            let open_from = i64::from_be_bytes(take(&mut rest)?);
            let known = states.producers.get(&producer_id).cloned();
            let mut state = known.unwrap_or_else(|| ProducerState::new(epoch));
            state.coordinator_epoch = coordinator_epoch;
            state.last_timestamp_ms = timestamp_ms;
            state.open_from = (open_from >= 0).then_some(Offset(open_from));
            // Kafka writes -1 for a producer of which it knows the epoch alone.
            if last_sequence >= 0 {
                let base_sequence = last_sequence.wrapping_sub(offset_delta) & i32::MAX;
                let batch =
                    BatchMetadata { base_sequence, last_sequence, last_offset, offset_delta, timestamp_ms };
                state.remember(epoch, batch);
            }
            states.replace(producer_id, Some(state));
        }
        rest.is_empty().then_some(states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::records::{Batch, BatchBuilder, BatchOptions};
    use proptest::prelude::*;

    fn batch(offset: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
        let mut builder = BatchBuilder::default();
        for _ in 0..count {
            builder.push(5, None, Some(b"v"), &[]);
        }
        let options = BatchOptions {
            base_offset: offset,
            producer_id: 9,
            producer_epoch: epoch,
            base_sequence: sequence,
            ..BatchOptions::default()
        };
        Batch::parse(&builder.build(options)).unwrap().header
    }

    #[test]
    fn a_duplicate_among_the_last_five_is_answered_with_its_first_offset() {
        let mut states = ProducerStates::default();
        for i in 0..6 {
            let next = batch(i * 2, 0, i as i32 * 2, 2);
            assert_eq!(states.check(&next, None), Ok(SequenceCheck::Append));
            states.apply(&next, None);
        }
        let again = states.check(&batch(0, 0, 2, 2), None);
        assert_eq!(
            again,
            Ok(SequenceCheck::Duplicate { base_offset: Offset(2), end_offset: Offset(4), timestamp_ms: 5 })
        );
        let forgotten = states.check(&batch(0, 0, 0, 2), None);
        assert!(matches!(forgotten, Err(SequenceError::OutOfOrder { expected: 12, .. })));
    }

    #[test]
    fn refuses_a_gap_and_a_stale_epoch_and_lets_a_new_epoch_begin_at_zero() {
        let mut states = ProducerStates::default();
        states.apply(&batch(0, 3, 0, 1), None);
        assert!(matches!(
            states.check(&batch(1, 3, 2, 1), None),
            Err(SequenceError::OutOfOrder { expected: 1, .. })
        ));
        assert!(matches!(
            states.check(&batch(1, 2, 1, 1), None),
            Err(SequenceError::StaleEpoch { current: 3, .. })
        ));
        assert!(matches!(
            states.check(&batch(1, 4, 1, 1), None),
            Err(SequenceError::OutOfOrder { expected: 0, .. })
        ));
        assert_eq!(states.check(&batch(1, 4, 0, 1), None), Ok(SequenceCheck::Append));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut states = ProducerStates::default();
        states.apply(&batch(0, 0, i32::MAX - 1, 2), None);
        assert_eq!(states.check(&batch(2, 0, 0, 1), None), Ok(SequenceCheck::Append));
    }

    proptest! {
        #[test]
        fn snapshots_round_trip_every_batch_that_is_remembered(
            sequence in 0i32..i32::MAX, count in 1i32..20, offset in 0i64..1 << 40, batches in 1i32..8
        ) {
            let mut states = ProducerStates::default();
            for i in 0..batches {
                let sequence = (i64::from(sequence) + i64::from(i * count)) & i64::from(i32::MAX);
                states.apply(&batch(offset + i64::from(i * count), 1, sequence as i32, count), None);
            }
            let read = ProducerStates::from_snapshot(&states.to_snapshot()).unwrap();
            prop_assert_eq!(read, states);
        }

        #[test]
        fn damaged_snapshots_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ProducerStates::from_snapshot(&bytes);
        }
    }
}
