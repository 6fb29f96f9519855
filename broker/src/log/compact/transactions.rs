//! What a round of compaction knows of transactions (KIP-534): which records were aborted, and which markers have nothing
//! left to decide about.
//!
//! ```text
//!   round 1:  records ── marker          the aborted ones go, of the committed ones those that are superseded
//!   round 2:             marker          nothing is left of the transaction: the marker gets a delete horizon
//!   later:                               past the horizon it goes as well
//! ```
//! A marker outlives its records, and what the index says of an aborted transaction goes no later than its marker: a
//! reader told of an aborted transaction leaves its producer's records out until he sees the marker.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::records::BatchHeader;

use super::super::aborted::AbortedTransactions;
use crate::ids::Offset;

/// See the module. Batches must be shown in the order of the log, from its start on.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// By producer: from its first record to its marker.
    aborted: BTreeMap<i64, Vec<(Offset, Offset)>>,
    /// Producers of which records were seen since their last marker.
    with_records: BTreeSet<i64>,
    /// Markers of aborted transactions of which no record was seen.
    forgotten: BTreeSet<Offset>,
}

impl Transactions {
    pub fn new(index: &AbortedTransactions) -> Transactions {
        let mut aborted: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for entry in index.ending_within(Offset::ZERO, Offset(i64::MAX)) {
            aborted.entry(entry.producer_id).or_default().push((entry.first_offset, entry.last_offset));
        }
        Transactions { aborted, ..Transactions::default() }
    }

    /// Whether the batch is part of a transaction that was aborted.
    pub fn is_aborted(&self, header: &BatchHeader) -> bool {
        let base = Offset(header.base_offset);
        let of_producer = self.aborted.get(&header.producer_id).filter(|_| header.is_transactional());
        of_producer.is_some_and(|ranges| {
            // Those of one producer follow each other, in the order of their markers.
            let at = ranges.partition_point(|(_, last)| *last < base);
            ranges.get(at).is_some_and(|(first, _)| *first <= base)
        })
    }

    /// A batch with records of a transaction, whatever becomes of them.
    pub fn on_records(&mut self, header: &BatchHeader) {
        if header.is_transactional() {
            self.with_records.insert(header.producer_id);
        }
    }

    /// A marker: whether any batch of its transaction was still there.
    pub fn on_marker(&mut self, header: &BatchHeader) -> bool {
        let had_records = self.with_records.remove(&header.producer_id);
        if !had_records {
            self.forgotten.insert(Offset(header.last_offset()));
        }
        had_records
    }

    /// Whether the index need not tell of the transaction with this marker any more.
    pub fn is_forgotten(&self, marker: Offset) -> bool {
        self.forgotten.contains(&marker)
    }
}
