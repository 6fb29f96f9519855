//! The disk of one simulated node: what is written and what of it is durable.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::ids::Offset;
use crate::quorum::{ElectionState, Epoch, EpochLog, LogEnd, VoterHistory, Voters};

/// A record: who wrote it in which epoch tells it apart from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub epoch: Epoch,
    pub value: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Disk {
    /// Another one is another replica.
    pub directory: Uuid,
    pub election: ElectionState,
    /// The election state before the last change of it, for a disk that forgets it.
    pub election_before: ElectionState,
    /// From offset 0 on, also what is in the snapshot.
    pub entries: Vec<Entry>,
    /// Where the log begins and the snapshot ends.
    pub start: LogEnd,
    /// How many of the entries are durable.
    pub durable: usize,
    /// Who votes as the quorum was formed; nobody where the node has joined it, or its disk was replaced, since.
    pub formed: Voters,
}

impl Disk {
    pub fn new(directory: Uuid, formed: Voters) -> Disk {
        let election = ElectionState::default();
        Disk {
            directory,
            election,
            election_before: election,
            entries: Vec::new(),
            start: LogEnd::default(),
            durable: 0,
            formed,
        }
    }

    pub fn end(&self) -> Offset {
        Offset(self.entries.len() as i64)
    }

    /// What a machine is told of it.
    pub fn log(&self) -> EpochLog {
        let mut log = EpochLog::starting_at(self.start);
        for (at, entry) in self.entries.iter().enumerate().skip(self.start.offset.0 as usize) {
            log.append(entry.epoch, Offset(at as i64 + 1));
        }
        log
    }

    /// Who votes, where `sets` has what records of voters say.
    pub fn voters(&self, sets: &BTreeMap<u64, Voters>) -> VoterHistory {
        let recorded = |entries: &[Entry], at: usize| sets.get(&entries[at].value).cloned();
        let start = self.start.offset.0 as usize;
        let base = (0..start).rev().find_map(|at| recorded(&self.entries, at));
        let mut history =
            base.map_or_else(|| VoterHistory::formed(self.formed.clone()), VoterHistory::of_snapshot);
        for at in start..self.entries.len() {
            if let Some(voters) = recorded(&self.entries, at) {
                history.append(Offset(at as i64), voters);
            }
        }
        history
    }

    /// Where the log ends if it ends at `offset`.
    pub fn end_at(&self, offset: usize) -> LogEnd {
        let epoch = offset.checked_sub(1).map_or(Epoch(0), |at| self.entries[at].epoch);
        LogEnd { epoch, offset: Offset(offset as i64) }
    }

    /// The power goes: of what is not durable, a part is there all the same.
    pub fn crash(&mut self, kept: usize) {
        self.entries.truncate(self.durable.max(kept));
        self.durable = self.entries.len();
    }
}
