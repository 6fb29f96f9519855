//! The disk of one simulated node: what is written and what of it is durable.

use uuid::Uuid;

use crate::ids::Offset;
use crate::quorum::{ElectionState, Epoch, EpochLog, LogEnd};

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
}

impl Disk {
    pub fn new(directory: Uuid) -> Disk {
        let election = ElectionState::default();
        Disk {
            directory,
            election,
            election_before: election,
            entries: Vec::new(),
            start: LogEnd::default(),
            durable: 0,
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
