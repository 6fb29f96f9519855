//! Which transactions were aborted, and where: what a `read_committed` fetch is told to leave out. Kept in Kafka's
//! `.txnindex` files, one for each segment that has an abort marker.
//!
//! ```text
//!   an entry, big-endian, 34 bytes
//!   | version 0 | producer id | first offset | last offset (the marker's) | last stable offset after it |
//!   | int16     | int64       | int64        | int64                      | int64                       |
//! ```
//! An index is a hint in that recovery can make it again: it walks from the newest producer snapshot that comes before
//! the first file it cannot read.

use std::fs;
use std::path::{Path, PathBuf};

use super::LogError;
use super::checkpoint::write_file_durably;
use crate::ids::Offset;

const VERSION: i16 = 0;
const ENTRY_LEN: usize = 34;

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Of its first record in the partition.
    pub first_offset: Offset,
    /// Of its marker.
    pub last_offset: Offset,
    /// Where the last stable offset was once the marker was written.
    pub last_stable_offset: Offset,
}

/// Those of one log, in the order of their markers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AbortedTransactions {
    entries: Vec<AbortedTransaction>,
}

pub(super) fn txn_index_path(dir: &Path, base_offset: Offset) -> PathBuf {
    dir.join(format!("{:020}.txnindex", base_offset.0))
}

impl AbortedTransactions {
    /// Adds the newest.
    pub fn push(&mut self, aborted: AbortedTransaction) {
        self.entries.push(aborted);
    }

    /// Those that have records in `from..up_to`, by first offset as clients expect it.
    pub fn within(&self, from: Offset, up_to: Offset) -> Vec<AbortedTransaction> {
        let after = self.entries.partition_point(|entry| entry.last_offset < from);
        let rest = self.entries.get(after..).unwrap_or_default();
        let mut found: Vec<_> = rest.iter().filter(|entry| entry.first_offset < up_to).copied().collect();
        found.sort_by_key(|entry| (entry.first_offset, entry.producer_id));
        found
    }

    /// Those whose markers are in `from..up_to`.
    pub fn ending_within(&self, from: Offset, up_to: Offset) -> &[AbortedTransaction] {
        let first = self.entries.partition_point(|entry| entry.last_offset < from);
        let last = self.entries.partition_point(|entry| entry.last_offset < up_to);
        self.entries.get(first..last).unwrap_or_default()
    }

    /// Forgets those whose markers are below an offset.
    pub fn forget_before(&mut self, offset: Offset) {
        let after = self.entries.partition_point(|entry| entry.last_offset < offset);
        self.entries.drain(..after);
    }

    /// Forgets those whose markers are at or past an offset.
    pub fn truncate(&mut self, offset: Offset) {
        let before = self.entries.partition_point(|entry| entry.last_offset < offset);
        self.entries.truncate(before);
    }

    /// Keeps, of those whose markers are in `from..up_to`, the ones that are wanted.
    pub fn retain_within(&mut self, from: Offset, up_to: Offset, keep: impl Fn(&AbortedTransaction) -> bool) {
        self.entries.retain(|entry| !(from..up_to).contains(&entry.last_offset) || keep(entry));
    }

    /// Writes the file of the segment `from..up_to`; there is none where nothing was aborted.
    pub(super) fn save(&self, dir: &Path, from: Offset, up_to: Offset) -> Result<(), LogError> {
        let entries = self.ending_within(from, up_to);
        let path = txn_index_path(dir, from);
        if entries.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(LogError::io("remove", path)(error))
                }
                _ => Ok(()),
            };
        }
        write_file_durably(&path, &encode(entries))
    }

    /// Reads the files of segments, oldest first. The offset is that of the first segment whose file is damaged: what
    /// it and those after it held is missing.
    pub(super) fn load(dir: &Path, bases: &[Offset]) -> (AbortedTransactions, Option<Offset>) {
        let mut all = AbortedTransactions::default();
        for (i, base) in bases.iter().enumerate() {
            let Ok(bytes) = fs::read(txn_index_path(dir, *base)) else { continue };
            let end = bases.get(i + 1).copied().unwrap_or(Offset(i64::MAX));
            let newest = all.entries.last().map_or(*base, |entry| entry.last_offset);
            let is_sound = |entries: &[AbortedTransaction]| {
                entries.iter().all(|entry| (*base..end).contains(&entry.last_offset))
                    && entries.first().is_none_or(|first| first.last_offset >= newest)
                    && entries.is_sorted_by_key(|entry| entry.last_offset)
            };
            match decode(&bytes).filter(|entries| is_sound(entries)) {
                Some(entries) => all.entries.extend(entries),
                None => {
                    tracing::warn!(dir = %dir.display(), base_offset = %base, "a transaction index is damaged and made again");
                    return (all, Some(*base));
                }
            }
        }
        (all, None)
    }
}

fn encode(entries: &[AbortedTransaction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_LEN);
    for entry in entries {
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&entry.producer_id.to_be_bytes());
        for offset in [entry.first_offset, entry.last_offset, entry.last_stable_offset] {
            bytes.extend_from_slice(&offset.0.to_be_bytes());
        }
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<AbortedTransaction>> {
    let entries = bytes.chunks(ENTRY_LEN).map(|entry| {
        let (version, rest) = entry.split_first_chunk::<2>()?;
        let int64 = |at: usize| Some(i64::from_be_bytes(*rest.get(at..)?.first_chunk::<8>()?));
        let entry = AbortedTransaction {
            producer_id: int64(0)?,
            first_offset: Offset(int64(8)?),
            last_offset: Offset(int64(16)?),
            last_stable_offset: Offset(int64(24)?),
        };
        (i16::from_be_bytes(*version) == VERSION && entry.first_offset <= entry.last_offset).then_some(entry)
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn aborted(first: i64, last: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: first,
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable_offset: Offset(last + 1),
        }
    }

    #[test]
    fn a_reader_is_told_of_what_reaches_into_its_range_by_first_offset() {
        let mut all = AbortedTransactions::default();
        [aborted(5, 6), aborted(2, 8), aborted(12, 13)].into_iter().for_each(|entry| all.push(entry));
        let first_offsets = |from, up_to| -> Vec<i64> {
            all.within(Offset(from), Offset(up_to)).iter().map(|entry| entry.first_offset.0).collect()
        };
        assert_eq!(first_offsets(0, 20), vec![2, 5, 12]);
        assert_eq!(first_offsets(7, 12), vec![2]);
        assert_eq!(first_offsets(9, 12), Vec::<i64>::new());
    }

    proptest! {
        #[test]
        fn files_of_segments_round_trip(
            lengths in proptest::collection::vec((0i64..50, 1i64..50), 0..20), base in 1i64..500
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut all = AbortedTransactions::default();
            let mut last = 0;
            for (back, forward) in lengths {
                last += forward;
                all.push(aborted((last - back).max(0), last));
            }
            let (first, second) = (Offset::ZERO, Offset(base));
            all.save(dir.path(), first, second).unwrap();
            all.save(dir.path(), second, Offset(i64::MAX)).unwrap();
            prop_assert_eq!(AbortedTransactions::load(dir.path(), &[first, second]), (all, None));
        }

        #[test]
        fn damaged_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let dir = tempfile::tempdir().unwrap();
            fs::write(txn_index_path(dir.path(), Offset(7)), &bytes).unwrap();
            let (_, damaged) = AbortedTransactions::load(dir.path(), &[Offset(7)]);
            prop_assert!(bytes.len() % ENTRY_LEN == 0 || damaged == Some(Offset(7)));
        }
    }
}
