//! A broker's disk: its log, how much of it a power cut leaves, and what it notes for the next start.

use uuid::Uuid;

use crate::ids::{LeaderEpoch, Offset};
use crate::log::LeaderEpochs;

/// A record: a batch of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub epoch: LeaderEpoch,
    pub value: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub entries: Vec<Entry>,
    /// So many a power cut leaves.
    pub durable: usize,
    pub epochs: LeaderEpochs,
    /// What was known to be committed, when that was last noted.
    pub high_watermark: Offset,
    pub directory: Uuid,
    /// Of the last registration, after a stop in good order.
    pub stopped_in: Option<Offset>,
}

impl Disk {
    pub fn new(directory: Uuid) -> Disk {
        Disk {
            entries: Vec::new(),
            durable: 0,
            epochs: LeaderEpochs::default(),
            high_watermark: Offset::ZERO,
            directory,
            stopped_in: None,
        }
    }

    pub fn end(&self) -> Offset {
        Offset(self.entries.len() as i64)
    }

    pub fn last_epoch(&self) -> LeaderEpoch {
        self.entries.last().map_or(LeaderEpoch(-1), |entry| entry.epoch)
    }

    pub fn append(&mut self, entry: Entry) {
        self.epochs.assign(entry.epoch, self.end());
        self.entries.push(entry);
    }

    pub fn cut(&mut self, end: Offset) {
        self.entries.truncate(end.0 as usize);
        self.epochs.truncate(end);
        self.durable = self.durable.min(self.entries.len());
    }

    /// The power is gone: of what was not synced only a part is there.
    pub fn lose(&mut self, kept: usize) {
        self.cut(Offset(self.durable.max(kept) as i64));
    }
}
