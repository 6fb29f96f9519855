//! What a query does next, given what its changelog holds. Pure.
//!
//! ```text
//!            intent_after         run the epoch         decide_commit
//! committed ───────────────▶ pending ─────────▶ outputs ─────────────▶ committed
//!     ▲      Intent e appended        written, skipping   Deltas, Commit e │ appended
//!     └───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! `apply` is the only mutator; the driver applies a record when the changelog has it, and recovery is `apply` of all
//! of them. *Invariant:* at most one epoch is pending, and it is the one after the last commit; so whatever a crash
//! left half done is exactly the pending epoch, and running it again gives the same records with the same numbers.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::epoch::EpochOutputs;
use super::error::QueryError;
use crate::state::changelog::{
    ChangelogRecord, Commit, Header, InputOffsets, InputPartition, Intent, Offsets, Totals,
};
use crate::state::{OperatorDelta, States};

/// The progress and state of one query.
#[derive(Debug)]
pub struct Machine {
    header: Header,
    has_header: bool,
    commit: Commit,
    pending: Option<Intent>,
    /// Deltas of the pending epoch, which count when its commit comes.
    staged: Vec<OperatorDelta>,
    states: States,
    next_offset: i64,
}

impl Machine {
    /// A machine before the first record.
    pub fn new(header: Header) -> Self {
        Machine {
            header,
            has_header: false,
            commit: Commit::default(),
            pending: None,
            staged: Vec::new(),
            states: States::default(),
            next_offset: 0,
        }
    }

    /// The last committed epoch.
    pub fn committed(&self) -> &Commit {
        &self.commit
    }

    /// The epoch that has been decided and not committed.
    pub fn pending(&self) -> Option<&Intent> {
        self.pending.as_ref()
    }

    /// The state as of the last commit.
    pub fn states(&self) -> &States {
        &self.states
    }

    /// The offset that the next changelog record will have.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The record that a new changelog begins with, if this one has none yet.
    pub fn decide_header(&self) -> Option<ChangelogRecord> {
        (!self.has_header).then(|| ChangelogRecord::Header(self.header.clone()))
    }

    /// The epoch after `commit`: input up to `input_ends`, which names the partitions that have news.
    pub fn intent_after(
        commit: &Commit,
        input_ends: InputOffsets,
        unread: Vec<InputPartition>,
        now_ms: i64,
        is_last: bool,
    ) -> Intent {
        let input_ends = merged(&commit.input_ends, &input_ends);
        Intent { epoch: commit.epoch.next(), input_ends, unread, now_ms, is_last }
    }

    /// The records that end the pending epoch, the commit last.
    pub fn decide_commit(
        &self,
        intent: &Intent,
        outputs: &EpochOutputs,
        output_ends: &Offsets,
        dead_letter_ends: &Offsets,
    ) -> Vec<ChangelogRecord> {
        let mut records: Vec<ChangelogRecord> =
            outputs.deltas.iter().cloned().map(ChangelogRecord::Delta).collect();
        let totals = &self.commit.totals;
        records.push(ChangelogRecord::Commit(Commit {
            epoch: intent.epoch,
            input_ends: intent.input_ends.clone(),
            output_ends: merged(&self.commit.output_ends, output_ends),
            dead_letter_ends: merged(&self.commit.dead_letter_ends, dead_letter_ends),
            event_times: outputs.event_times.clone(),
            watermark: outputs.watermark,
            totals: Totals {
                rows_in: totals.rows_in + outputs.counts.rows_in,
                rows_out: totals.rows_out + outputs.counts.rows_out,
                rows_bad: totals.rows_bad + outputs.counts.rows_bad,
                rows_late: totals.rows_late + outputs.counts.rows_late,
            },
        }));
        records
    }

    /// Takes in the record at `offset` of the changelog.
    ///
    /// # Errors
    /// When it cannot follow what came before; the changelog is then not this query's, or damaged.
    pub fn apply(&mut self, offset: i64, record: ChangelogRecord) -> Result<(), QueryError> {
        match record {
            ChangelogRecord::Header(header) => self.apply_header(header)?,
            ChangelogRecord::Intent(intent) => {
                let expected = self.commit.epoch.next();
                if intent.epoch != expected {
                    return Err(self.order(
                        offset,
                        format!("an intent for epoch {}, expected {expected}", intent.epoch),
                    ));
                }
                if self.pending.as_ref().is_some_and(|pending| *pending != intent) {
                    return Err(self.order(offset, format!("a second intent for epoch {expected}")));
                }
                self.staged.clear();
                self.pending = Some(intent);
            }
            ChangelogRecord::Delta(delta) => {
                if self.pending.is_none() {
                    let reason = format!("state of operator {} outside of an epoch", delta.operator);
                    return Err(self.order(offset, reason));
                }
                self.staged.push(delta);
            }
            ChangelogRecord::Commit(commit) => {
                if self.pending.as_ref().map(|pending| pending.epoch) != Some(commit.epoch) {
                    return Err(
                        self.order(offset, format!("a commit of epoch {} without its intent", commit.epoch))
                    );
                }
                for delta in self.staged.drain(..) {
                    self.states.apply(delta);
                }
                self.pending = None;
                self.commit = commit;
            }
        }
        self.next_offset = offset + 1;
        Ok(())
    }

    /// Takes in a record of the changelog topic as it was read.
    ///
    /// # Errors
    /// As [`Machine::apply`], and when it is no changelog record.
    pub fn apply_bytes(
        &mut self,
        offset: i64,
        key: Option<&Bytes>,
        value: Option<&Bytes>,
    ) -> Result<(), QueryError> {
        let record = ChangelogRecord::decode(key, value).map_err(|source| QueryError::Changelog {
            query: self.header.query.clone(),
            offset,
            source,
        })?;
        self.apply(offset, record)
    }

    fn apply_header(&mut self, header: Header) -> Result<(), QueryError> {
        if header != self.header {
            let made_by = match header.query == self.header.query {
                true => header.fingerprint.unwrap_or_else(|| "a query without state".to_owned()),
                false => header.query,
            };
            return Err(QueryError::StateOfAnotherQuery { query: self.header.query.clone(), made_by });
        }
        self.has_header = true;
        Ok(())
    }

    fn order(&self, offset: i64, reason: String) -> QueryError {
        QueryError::ChangelogOrder { query: self.header.query.clone(), offset, reason }
    }

    /// What must hold between any two calls; for tests and the simulator.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        self.states.invariants();
        assert!(self.pending.is_some() || self.staged.is_empty(), "deltas are staged only inside an epoch");
        if let Some(pending) = &self.pending {
            assert_eq!(pending.epoch, self.commit.epoch.next(), "the pending epoch follows the last commit");
            for (partition, end) in &self.commit.input_ends {
                assert!(
                    pending.input_ends.get(partition).is_some_and(|next| next >= end),
                    "input never goes back"
                );
            }
        }
    }
}

fn merged<P: Ord + Copy>(old: &BTreeMap<P, i64>, new: &BTreeMap<P, i64>) -> BTreeMap<P, i64> {
    let mut offsets = old.clone();
    offsets.extend(new);
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateDelta;
    use crate::state::changelog::Epoch;

    const FIRST: InputPartition = InputPartition { source: 0, partition: 0 };

    fn machine() -> Machine {
        Machine::new(Header { query: "q".to_owned(), fingerprint: Some("f".to_owned()) })
    }

    fn delta(value: u8) -> ChangelogRecord {
        let delta =
            StateDelta { key: Bytes::from_static(b"k"), value: Some(Bytes::copy_from_slice(&[value])) };
        ChangelogRecord::Delta(OperatorDelta { operator: 0, delta })
    }

    #[test]
    fn deltas_count_only_when_their_commit_comes() {
        let mut machine = machine();
        let intent = Machine::intent_after(
            machine.committed(),
            InputOffsets::from([(FIRST, 5)]),
            Vec::new(),
            1,
            false,
        );
        machine.apply(0, machine.decide_header().unwrap()).unwrap();
        machine.apply(1, ChangelogRecord::Intent(intent.clone())).unwrap();
        machine.apply(2, delta(1)).unwrap();
        assert!(machine.states().is_empty());
        machine.invariants();
        // The process dies here and runs the epoch again.
        machine.apply(3, delta(1)).unwrap();
        let commit = Commit { epoch: Epoch(1), input_ends: intent.input_ends, ..Commit::default() };
        machine.apply(4, ChangelogRecord::Commit(commit)).unwrap();
        assert_eq!(machine.states().len(), 1);
        assert_eq!((machine.pending(), machine.next_offset()), (None, 5));
        machine.invariants();
    }

    #[test]
    fn refuses_a_changelog_of_another_query() {
        let mut machine = machine();
        let header = Header { query: "q".to_owned(), fingerprint: Some("other".to_owned()) };
        let error = machine.apply(0, ChangelogRecord::Header(header)).unwrap_err();
        assert!(error.to_string().contains("its state was made by another query (other)"), "{error}");
    }

    #[test]
    fn refuses_an_epoch_out_of_order() {
        let mut machine = machine();
        let commit = Commit { epoch: Epoch(1), ..Commit::default() };
        assert!(machine.apply(0, ChangelogRecord::Commit(commit)).is_err());
        let mut intent =
            Machine::intent_after(machine.committed(), InputOffsets::new(), Vec::new(), 0, false);
        intent.epoch = Epoch(2);
        assert!(machine.apply(0, ChangelogRecord::Intent(intent)).is_err());
    }
}
