//! A partition as far as transactions go: epochs and sequences of producers, what waits for the coordinator, markers.

use std::collections::{BTreeMap, BTreeSet};

use super::producer::TransactionNumber;
use crate::ids::Producer;

/// One record that a producer sends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    pub from: usize,
    pub attempt: u64,
    pub producer: Producer,
    pub sequence: i32,
    pub transaction: TransactionNumber,
    pub v2: bool,
}

#[derive(Clone, Debug)]
enum Entry {
    Record(i64, TransactionNumber),
    Marker(i64, bool),
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Taken {
    Appended,
    Refused,
    /// Ask the coordinator, with this ticket.
    Held(u64),
}

#[derive(Default)]
struct State {
    epoch: i16,
    last_sequence: Option<i32>,
    is_open: bool,
}

#[derive(Default)]
pub(super) struct Partition {
    entries: Vec<Entry>,
    producers: BTreeMap<i64, State>,
    held: BTreeMap<u64, Batch>,
    tickets: u64,
}

impl Partition {
    pub(super) fn on_batch(&mut self, batch: Batch) -> Taken {
        let state = self.producers.entry(batch.producer.id).or_default();
        if batch.producer.epoch < state.epoch {
            return Taken::Refused;
        }
        let is_same_epoch = batch.producer.epoch == state.epoch;
        let last = state.last_sequence.filter(|_| is_same_epoch);
        if last.is_some_and(|last| batch.sequence <= last) {
            return Taken::Appended;
        }
        if batch.sequence != last.map_or(0, |last| last + 1) {
            return Taken::Refused;
        }
        if is_same_epoch && state.is_open {
            self.append(&batch);
            return Taken::Appended;
        }
        self.tickets += 1;
        self.held.insert(self.tickets, batch);
        Taken::Held(self.tickets)
    }

    /// What a coordinator writes for a producer has no sequence and is taken as it comes.
    pub(super) fn on_offsets(&mut self, producer: Producer, transaction: TransactionNumber) {
        let state = self.producers.entry(producer.id).or_default();
        state.epoch = producer.epoch;
        state.is_open = true;
        self.entries.push(Entry::Record(producer.id, transaction));
    }

    /// The coordinator has answered; gives the batch that it was about, and whether it was appended.
    pub(super) fn on_verified(&mut self, ticket: u64, may_begin: bool) -> Option<(Batch, bool)> {
        let batch = self.held.remove(&ticket)?;
        if !may_begin {
            return Some((batch, false));
        }
        // Another copy may have been faster.
        let state = self.producers.entry(batch.producer.id).or_default();
        let is_same_epoch = batch.producer.epoch == state.epoch;
        let last = state.last_sequence.filter(|_| is_same_epoch);
        if batch.producer.epoch < state.epoch || last.is_some_and(|last| batch.sequence <= last) {
            return Some((batch, false));
        }
        self.append(&batch);
        Some((batch, true))
    }

    /// False when the marker comes too late.
    pub(super) fn on_marker(&mut self, producer: Producer, commit: bool) -> bool {
        self.held.retain(|_, batch| batch.producer.id != producer.id);
        let state = self.producers.entry(producer.id).or_default();
        if producer.epoch < state.epoch {
            return false;
        }
        if producer.epoch > state.epoch {
            state.last_sequence = None;
        }
        state.epoch = producer.epoch;
        state.is_open = false;
        self.entries.push(Entry::Marker(producer.id, commit));
        true
    }

    /// What was held is in memory only.
    pub(super) fn on_crash(&mut self) {
        self.held.clear();
    }

    pub(super) fn has_open_transaction(&self) -> bool {
        self.producers.values().any(|state| state.is_open)
    }

    /// What a `read_committed` reader hands on once everything is decided.
    pub(super) fn visible(&self) -> BTreeSet<TransactionNumber> {
        let mut open: BTreeMap<i64, Vec<TransactionNumber>> = BTreeMap::new();
        let mut visible = BTreeSet::new();
        for entry in &self.entries {
            match entry {
                Entry::Record(producer, transaction) => open.entry(*producer).or_default().push(*transaction),
                Entry::Marker(producer, commit) => {
                    let decided = open.remove(producer).unwrap_or_default();
                    visible.extend(decided.into_iter().filter(|_| *commit));
                }
            }
        }
        visible
    }

    fn append(&mut self, batch: &Batch) {
        let state = self.producers.entry(batch.producer.id).or_default();
        state.epoch = batch.producer.epoch;
        state.last_sequence = Some(batch.sequence);
        state.is_open = true;
        self.entries.push(Entry::Record(batch.producer.id, batch.transaction));
    }
}
