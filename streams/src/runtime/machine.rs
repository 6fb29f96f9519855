//! What a query has done and remembers, given what its changelog holds. Pure.
//!
//! ```text
//!             cut_after      run the epoch         decide_commit
//! committed ───────────▶ cut ─────────▶ outputs ─────────────▶ Deltas, Commit
//!     ▲                                                               │ in one transaction with the outputs
//!     └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! `apply` is the only mutator; the driver applies the records of an epoch when its transaction is committed, and recovery
//! is `apply` of all that the changelog has. Epochs that were not committed have left nothing.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::epoch::EpochOutputs;
use super::error::QueryError;
use crate::state::changelog::{ChangelogRecord, Commit, Cut, Header, InputOffsets, InputPartition, Totals};
use crate::state::{OperatorDelta, States};

/// The progress and state of one query.
#[derive(Debug)]
pub struct Machine {
    header: Header,
    has_header: bool,
    commit: Commit,
    /// Deltas whose commit has not come yet.
    staged: Vec<OperatorDelta>,
    states: States,
}

impl Machine {
    /// A machine before the first record, with the states of a query that remembers nothing yet.
    pub fn new(header: Header, states: States) -> Self {
        Machine { header, has_header: false, commit: Commit::default(), staged: Vec::new(), states }
    }

    /// The last committed epoch.
    pub fn committed(&self) -> &Commit {
        &self.commit
    }

    /// The state as of the last commit.
    pub fn states(&self) -> &States {
        &self.states
    }

    /// The epoch after `commit`: input up to `input_ends`, which names the partitions that have news.
    pub fn cut_after(
        commit: &Commit,
        input_ends: InputOffsets,
        unread: Vec<InputPartition>,
        now_ms: i64,
        is_last: bool,
    ) -> Cut {
        let input_ends = merged(&commit.input_ends, &input_ends);
        Cut { epoch: commit.epoch.next(), input_ends, unread, now_ms, is_last }
    }

    /// What the changelog gets of an epoch, the commit last; before all else whose changelog it is, if it does not say yet.
    pub fn decide_commit(&self, cut: &Cut, outputs: &EpochOutputs) -> Vec<ChangelogRecord> {
        let header = (!self.has_header).then(|| ChangelogRecord::Header(self.header.clone()));
        let deltas = outputs.deltas.iter().cloned().map(ChangelogRecord::Delta);
        let mut records: Vec<ChangelogRecord> = header.into_iter().chain(deltas).collect();
        let totals = &self.commit.totals;
        records.push(ChangelogRecord::Commit(Commit {
            epoch: cut.epoch,
            input_ends: cut.input_ends.clone(),
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

    /// Takes in a record of the changelog.
    ///
    /// # Errors
    /// When it cannot follow what came before; the changelog is then not this query's, or damaged.
    pub fn apply(&mut self, record: ChangelogRecord) -> Result<(), QueryError> {
        match record {
            ChangelogRecord::Header(header) => self.apply_header(header)?,
            ChangelogRecord::Delta(delta) => self.staged.push(delta),
            ChangelogRecord::Commit(commit) => {
                // Epochs between may have gone: the topic is compacted.
                if commit.epoch <= self.commit.epoch {
                    return Err(QueryError::ChangelogOrder {
                        query: self.header.query.clone(),
                        epoch: commit.epoch,
                        after: self.commit.epoch,
                    });
                }
                for delta in self.staged.drain(..) {
                    self.states.apply(delta);
                }
                self.commit = commit;
            }
        }
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
        self.apply(record)
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

    /// What must hold between any two calls; for tests and the simulator.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        self.states.invariants();
        assert!(self.staged.is_empty(), "deltas come with their commit");
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
        Machine::new(Header { query: "q".to_owned(), fingerprint: Some("f".to_owned()) }, States::default())
    }

    fn delta(value: u8) -> ChangelogRecord {
        let delta =
            StateDelta { key: Bytes::from_static(b"k"), value: Some(Bytes::copy_from_slice(&[value])) };
        ChangelogRecord::Delta(OperatorDelta { operator: 0, delta })
    }

    fn commit(epoch: u64) -> ChangelogRecord {
        let input_ends = InputOffsets::from([(FIRST, 5)]);
        ChangelogRecord::Commit(Commit { epoch: Epoch(epoch), input_ends, ..Commit::default() })
    }

    #[test]
    fn deltas_count_when_their_commit_comes() {
        let mut machine = machine();
        machine.apply(delta(1)).unwrap();
        assert!(machine.states().is_empty());
        machine.apply(commit(1)).unwrap();
        assert_eq!((machine.states().len(), machine.committed().epoch), (1, Epoch(1)));
        machine.invariants();
    }

    #[test]
    fn a_new_changelog_begins_with_whose_it_is() {
        let mut machine = machine();
        let cut =
            Machine::cut_after(machine.committed(), InputOffsets::from([(FIRST, 5)]), Vec::new(), 1, false);
        let records = machine.decide_commit(&cut, &EpochOutputs::default());
        assert!(matches!(records.as_slice(), [ChangelogRecord::Header(_), ChangelogRecord::Commit(_)]));
        records.into_iter().for_each(|record| machine.apply(record).unwrap());
        let next = Machine::cut_after(machine.committed(), InputOffsets::new(), Vec::new(), 1, false);
        assert_eq!((next.epoch, next.input_ends.get(&FIRST)), (Epoch(2), Some(&5)));
        let records = machine.decide_commit(&next, &EpochOutputs::default());
        assert!(matches!(records.as_slice(), [ChangelogRecord::Commit(_)]));
    }

    #[test]
    fn refuses_a_changelog_of_another_query() {
        let mut machine = machine();
        let header = Header { query: "q".to_owned(), fingerprint: Some("other".to_owned()) };
        let error = machine.apply(ChangelogRecord::Header(header)).unwrap_err();
        assert!(error.to_string().contains("its state was made by another query (other)"), "{error}");
    }

    #[test]
    fn refuses_an_epoch_out_of_order() {
        let mut machine = machine();
        machine.apply(commit(3)).unwrap();
        for earlier in [3, 2] {
            let error = machine.apply(commit(earlier)).unwrap_err();
            assert!(matches!(error, QueryError::ChangelogOrder { .. }), "{error}");
        }
    }
}
