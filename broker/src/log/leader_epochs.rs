//! Which leader epoch began at which offset (KIP-101), kept in `leader-epoch-checkpoint` in Kafka's text form.

use std::fs;
use std::path::{Path, PathBuf};

use super::LogError;
use super::checkpoint::write_file_durably;
use crate::ids::{LeaderEpoch, Offset};

/// Epochs with the offset of their first record, both growing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    fn path(dir: &Path) -> PathBuf {
        dir.join("leader-epoch-checkpoint")
    }

    /// Reads the file of a partition's folder; a missing or damaged one gives no entries, and the scan that follows
    /// a crash finds them again in the batches.
    pub fn load(dir: &Path) -> LeaderEpochs {
        fs::read_to_string(LeaderEpochs::path(dir))
            .ok()
            .and_then(|text| LeaderEpochs::parse(&text))
            .unwrap_or_default()
    }

    fn parse(text: &str) -> Option<LeaderEpochs> {
        let mut lines = text.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut epochs = LeaderEpochs::default();
        for line in lines {
            let (epoch, start) = line.split_once(' ')?;
            epochs.assign(LeaderEpoch(epoch.parse().ok()?), Offset(start.parse().ok()?));
        }
        (epochs.entries.len() == count).then_some(epochs)
    }

    fn render(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for (epoch, start) in &self.entries {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        text
    }

    /// Writes the file durably.
    pub fn save(&self, dir: &Path) -> Result<(), LogError> {
        write_file_durably(&LeaderEpochs::path(dir), self.render().as_bytes())
    }

    /// Notes that `epoch` has a record at `start`. True when the epoch is new, so that the file must be written.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0 || self.entries.last().is_some_and(|(last, _)| *last >= epoch) {
            return false;
        }
        self.entries.push((epoch, start));
        true
    }

    /// Notes that `epoch` begins at `start` unless it is known, on disk before in memory.
    pub fn begin(&mut self, dir: &Path, epoch: LeaderEpoch, start: Offset) -> Result<(), LogError> {
        if self.latest().is_some_and(|latest| latest >= epoch) {
            return Ok(());
        }
        let mut next = self.clone();
        if next.assign(epoch, start) {
            next.save(dir)?;
            *self = next;
        }
        Ok(())
    }

    /// The newest epoch that wrote a record.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The end of `epoch`: the largest epoch at or before it, and the offset at which the next one began.
    ///
    /// `None` when the log has no epoch that old (KIP-279).
    pub fn end_offset(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let after = self.entries.partition_point(|(entry, _)| *entry <= epoch);
        let (found, _) = self.entries.get(after.checked_sub(1)?)?;
        let end = self.entries.get(after).map_or(log_end, |(_, start)| *start);
        Some((*found, end))
    }

    /// Forgets epochs that ended before the log now begins.
    pub fn begin_at(&mut self, log_start: Offset) {
        let after = self.entries.partition_point(|(_, start)| *start <= log_start);
        self.entries.drain(..after.saturating_sub(1));
        if let Some((_, start)) = self.entries.first_mut() {
            *start = (*start).max(log_start);
        }
    }

    /// All of them, with where each begins.
    pub fn iter(&self) -> impl Iterator<Item = (LeaderEpoch, Offset)> + '_ {
        self.entries.iter().copied()
    }

    /// Forgets all epochs: no record is left.
    pub fn forget_all(&mut self) {
        self.entries.clear();
    }

    /// Forgets epochs that began at or after `end`.
    pub fn truncate(&mut self, end: Offset) {
        self.entries.retain(|(_, start)| *start < end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in entries {
            assert!(epochs.assign(LeaderEpoch(*epoch), Offset(*start)));
        }
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs(&[(1, 0), (3, 10), (5, 25)]);
        let end = |epoch| epochs.end_offset(LeaderEpoch(epoch), Offset(40));
        assert_eq!(end(0), None);
        assert_eq!(end(1), Some((LeaderEpoch(1), Offset(10))));
        assert_eq!(end(2), Some((LeaderEpoch(1), Offset(10))));
        assert_eq!(end(3), Some((LeaderEpoch(3), Offset(25))));
        assert_eq!(end(9), Some((LeaderEpoch(5), Offset(40))));
    }

    #[test]
    fn epochs_before_the_log_start_are_forgotten() {
        let mut epochs = epochs(&[(1, 0), (3, 10), (5, 25)]);
        epochs.begin_at(Offset(12));
        assert_eq!(epochs.entries, [(LeaderEpoch(3), Offset(12)), (LeaderEpoch(5), Offset(25))]);
        epochs.begin_at(Offset(25));
        assert_eq!(epochs.entries, [(LeaderEpoch(5), Offset(25))]);
    }

    #[test]
    fn files_round_trip_and_damage_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let epochs = epochs(&[(0, 0), (2, 7)]);
        epochs.save(dir.path()).unwrap();
        assert_eq!(LeaderEpochs::load(dir.path()), epochs);
        fs::write(LeaderEpochs::path(dir.path()), "0\n3\n0 0\n").unwrap();
        assert_eq!(LeaderEpochs::load(dir.path()), LeaderEpochs::default());
    }
}
