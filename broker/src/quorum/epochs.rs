//! Which epoch each part of a log is of: what a replica must know of its log to compare it with another's.

use super::types::{Epoch, LogEnd};
use crate::ids::Offset;

/// The epochs of a log and where each begins. Its records are elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochLog {
    /// Where the log begins: records before are in a snapshot, whose end this is.
    start: LogEnd,
    /// Epoch and first offset, both rising.
    epochs: Vec<(Epoch, Offset)>,
    end: Offset,
}

impl EpochLog {
    /// A log that goes on where a snapshot ends, or an empty one from the beginning.
    pub fn starting_at(start: LogEnd) -> EpochLog {
        EpochLog { start, epochs: Vec::new(), end: start.offset }
    }

    /// Where it ends.
    pub fn end(&self) -> LogEnd {
        LogEnd { epoch: self.epochs.last().map_or(self.start.epoch, |(epoch, _)| *epoch), offset: self.end }
    }

    /// Where it begins.
    pub fn start(&self) -> LogEnd {
        self.start
    }

    /// Records of an epoch come to its end, up to `end`.
    pub fn append(&mut self, epoch: Epoch, end: Offset) {
        debug_assert!(epoch >= self.end().epoch && end >= self.end, "{self:?} then {epoch} to {end}");
        if end > self.end && (self.epochs.is_empty() || epoch > self.end().epoch) {
            self.epochs.push((epoch, self.end));
        }
        self.end = end;
    }

    /// Records from `end` on go.
    pub fn truncate(&mut self, end: Offset) {
        self.end = self.end.min(end);
        self.epochs.retain(|(_, from)| *from < end);
    }

    /// Records before `start` are in a snapshot now.
    pub fn trim(&mut self, start: LogEnd) {
        if start.offset >= self.end {
            *self = EpochLog::starting_at(start);
            return;
        }
        self.start = start;
        let passed = self.epochs.partition_point(|(_, from)| *from <= start.offset);
        if let Some((_, from)) = passed.checked_sub(1).and_then(|at| self.epochs.get_mut(at)) {
            *from = start.offset;
        }
        self.epochs.drain(..passed.saturating_sub(1));
    }

    /// Where the log ends in `epoch`, or in the newest epoch before it that it has; its start, and so perhaps a newer epoch,
    /// where it has none that is as old.
    pub fn end_of(&self, epoch: Epoch) -> LogEnd {
        let after = self.epochs.partition_point(|(known, _)| *known <= epoch);
        let end = self.epochs.get(after).map_or(self.end, |(_, from)| *from);
        match after.checked_sub(1).and_then(|at| self.epochs.get(at)) {
            Some((known, _)) => LogEnd { epoch: *known, offset: end },
            None => self.start,
        }
    }

    /// Of the record before `offset`; `None` where that is not known any more.
    pub fn epoch_before(&self, offset: Offset) -> Option<Epoch> {
        if offset < self.start.offset || offset > self.end {
            return None;
        }
        let at = self.epochs.partition_point(|(_, from)| *from < offset);
        Some(at.checked_sub(1).map_or(self.start.epoch, |at| self.epochs[at].0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(epoch: i32, offset: i64) -> LogEnd {
        LogEnd { epoch: Epoch(epoch), offset: Offset(offset) }
    }

    #[test]
    fn it_knows_where_each_epoch_ends() {
        let mut log = EpochLog::default();
        log.append(Epoch(1), Offset(3));
        log.append(Epoch(1), Offset(5));
        log.append(Epoch(4), Offset(9));
        assert_eq!(log.end(), end(4, 9));
        for (epoch, expected) in
            [(0, end(0, 0)), (1, end(1, 5)), (3, end(1, 5)), (4, end(4, 9)), (7, end(4, 9))]
        {
            assert_eq!(log.end_of(Epoch(epoch)), expected, "epoch {epoch}");
        }
        for (offset, epoch) in [(0, 0), (1, 1), (5, 1), (6, 4), (9, 4)] {
            assert_eq!(log.epoch_before(Offset(offset)), Some(Epoch(epoch)), "offset {offset}");
        }
        assert_eq!(log.epoch_before(Offset(10)), None);
        log.truncate(Offset(5));
        assert_eq!(log.end(), end(1, 5));
    }

    #[test]
    fn what_a_snapshot_holds_is_known_by_its_end_only() {
        let mut log = EpochLog::default();
        log.append(Epoch(1), Offset(5));
        log.append(Epoch(4), Offset(9));
        log.trim(end(4, 7));
        assert_eq!((log.start(), log.end()), (end(4, 7), end(4, 9)));
        assert_eq!(log.epoch_before(Offset(6)), None);
        assert_eq!(log.epoch_before(Offset(7)), Some(Epoch(4)));
        assert_eq!(log.end_of(Epoch(2)), end(4, 7), "nothing that old is known");
        log.trim(end(6, 20));
        assert_eq!((log.start(), log.end()), (end(6, 20), end(6, 20)));
    }
}
