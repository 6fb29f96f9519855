//! Input that has been fetched and not yet been given to an epoch. Pure.
//!
//! ```text
//!  committed          taken by the pending epoch        fetched                end of the log
//! ────┼──────────────────────────┼─────────────────────────┼──────────────────────────┼──▶ offset
//!                                └──────── buffered ────────┘
//! ```

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ottla_client::Header;

use crate::state::changelog::{InputOffsets, InputPartition};

/// A record of the input topic.
#[derive(Debug, Clone)]
pub struct InputRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<Header>,
}

impl InputRecord {
    fn size_bytes(&self) -> usize {
        let held = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        held(&self.key) + held(&self.value)
    }
}

/// Records of one partition as a poll gives them, in order and following the last ones given.
#[derive(Debug)]
pub struct FetchedInput {
    /// The partition.
    pub partition: InputPartition,
    /// The records; may be none, when only the end of the log is news.
    pub records: Vec<InputRecord>,
    /// The offset up to which everything has been given: after the last record, or after what is no record, as the end of
    /// a transaction.
    pub position: i64,
    /// The offset after the last record of the partition, as the broker last said; 0 where that is no news.
    pub log_end: i64,
}

/// How much one epoch may take. Whichever comes first ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochLimits {
    /// Records.
    pub records_max: usize,
    /// Bytes of keys and values.
    pub bytes_max: usize,
}

impl Default for EpochLimits {
    fn default() -> Self {
        EpochLimits { records_max: 100_000, bytes_max: 64 << 20 }
    }
}

/// The records of an epoch, per partition in the order of their offsets.
pub type EpochInput = BTreeMap<InputPartition, Vec<InputRecord>>;

/// Fetched records that wait for an epoch.
#[derive(Debug, Default)]
pub struct InputBuffer {
    partitions: BTreeMap<InputPartition, PartitionBuffer>,
    records: usize,
    size_bytes: usize,
}

#[derive(Debug, Default)]
struct PartitionBuffer {
    records: VecDeque<InputRecord>,
    /// The offset after the last record fetched.
    fetched: i64,
    log_end: i64,
}

impl InputBuffer {
    /// A buffer that goes on from the committed offsets.
    pub fn new(committed: &InputOffsets) -> Self {
        let partitions = committed
            .iter()
            .map(|(partition, offset)| {
                (*partition, PartitionBuffer { fetched: *offset, ..PartitionBuffer::default() })
            })
            .collect();
        InputBuffer { partitions, ..InputBuffer::default() }
    }

    /// Takes in what a poll gave.
    pub fn add(&mut self, fetched: FetchedInput) {
        let partition = self.partitions.entry(fetched.partition).or_default();
        for record in fetched.records {
            // A fetch may begin in the middle of a batch, before the position asked for.
            if record.offset < partition.fetched {
                continue;
            }
            partition.fetched = record.offset + 1;
            self.records += 1;
            self.size_bytes += record.size_bytes();
            partition.records.push_back(record);
        }
        partition.fetched = partition.fetched.max(fetched.position);
        partition.log_end = partition.log_end.max(fetched.log_end).max(partition.fetched);
    }

    /// The number of records waiting.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether one epoch could not take more.
    pub fn is_full(&self, limits: EpochLimits) -> bool {
        self.records >= limits.records_max || self.size_bytes >= limits.bytes_max
    }

    /// Whether everything that the broker told of has been fetched.
    pub fn is_caught_up(&self) -> bool {
        self.partitions.values().all(|partition| partition.fetched >= partition.log_end)
    }

    /// Where an epoch ends that takes as much as it may: partitions share the limits by turns, lowest first.
    pub fn cut(&self, limits: EpochLimits) -> InputOffsets {
        let mut ends = InputOffsets::new();
        let (mut records, mut bytes): (usize, usize) = (0, 0);
        let count = self.partitions.values().filter(|partition| !partition.records.is_empty()).count().max(1);
        for (number, partition) in &self.partitions {
            let records_share =
                records.saturating_add(limits.records_max.div_ceil(count)).min(limits.records_max);
            let bytes_share = bytes.saturating_add(limits.bytes_max / count);
            let mut taken = 0;
            let mut end = partition.records.front().map_or(partition.fetched, |record| record.offset);
            for record in &partition.records {
                let is_first = records == 0;
                if !is_first && (records >= records_share || bytes >= bytes_share) {
                    break;
                }
                records += 1;
                bytes += record.size_bytes();
                end = record.offset + 1;
                taken += 1;
            }
            // With the last record goes what follows it and is none.
            ends.insert(*number, if taken == partition.records.len() { partition.fetched } else { end });
        }
        ends
    }

    /// Partitions that hold records at or after these offsets, fetched or not.
    pub fn unread_after(&self, ends: &InputOffsets) -> Vec<InputPartition> {
        let is_unread = |(number, partition): &(&InputPartition, &PartitionBuffer)| {
            partition.log_end > ends.get(number).copied().unwrap_or_default()
        };
        self.partitions.iter().filter(is_unread).map(|(number, _)| *number).collect()
    }

    /// Whether everything before these offsets has been fetched.
    pub fn holds(&self, ends: &InputOffsets) -> bool {
        ends.iter().all(|(number, end)| {
            *end == 0 || self.partitions.get(number).is_some_and(|partition| partition.fetched >= *end)
        })
    }

    /// Takes out everything before these offsets.
    pub fn take(&mut self, ends: &InputOffsets) -> EpochInput {
        let mut taken = EpochInput::new();
        for (number, end) in ends {
            let Some(partition) = self.partitions.get_mut(number) else { continue };
            let mut records = Vec::new();
            while let Some(record) = partition.records.pop_front_if(|record| record.offset < *end) {
                self.records -= 1;
                self.size_bytes -= record.size_bytes();
                records.push(record);
            }
            if !records.is_empty() {
                taken.insert(*number, records);
            }
        }
        taken
    }

    /// The ends of the logs as last heard, per partition.
    pub fn log_ends(&self) -> InputOffsets {
        self.partitions.iter().map(|(number, partition)| (*number, partition.log_end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> InputPartition {
        InputPartition { source: 0, partition }
    }

    fn ends<const N: usize>(ends: [(i32, i64); N]) -> InputOffsets {
        ends.into_iter().map(|(partition, end)| (at(partition), end)).collect()
    }

    fn fetched(partition: i32, offsets: std::ops::Range<i64>, log_end: i64) -> FetchedInput {
        let record = |offset| InputRecord {
            offset,
            timestamp_ms: 0,
            key: None,
            value: Some(Bytes::from_static(b"1234567890")),
            headers: Vec::new(),
        };
        let position = offsets.end;
        FetchedInput { partition: at(partition), records: offsets.map(record).collect(), position, log_end }
    }

    fn limits(records_max: usize, bytes_max: usize) -> EpochLimits {
        EpochLimits { records_max, bytes_max }
    }

    #[test]
    fn partitions_share_an_epoch() {
        let mut buffer = InputBuffer::default();
        buffer.add(fetched(0, 0..100, 100));
        buffer.add(fetched(1, 50..60, 60));
        assert_eq!(buffer.cut(limits(20, 1 << 20)), ends([(0, 10), (1, 60)]));
        assert_eq!(buffer.cut(limits(1000, 1 << 20)), ends([(0, 100), (1, 60)]));
        let taken = buffer.take(&ends([(0, 10), (1, 60)]));
        assert_eq!((taken[&at(0)].len(), taken[&at(1)].len(), buffer.len()), (10, 10, 90));
        assert_eq!(buffer.unread_after(&ends([(0, 10), (1, 60)])), [at(0)]);
    }

    #[test]
    fn an_epoch_takes_one_record_even_when_it_is_larger_than_all_may_be() {
        let mut buffer = InputBuffer::default();
        buffer.add(fetched(0, 0..3, 3));
        assert_eq!(buffer.cut(limits(10, 1)), ends([(0, 1)]));
    }

    #[test]
    fn records_before_the_position_are_not_taken_twice() {
        let mut buffer = InputBuffer::new(&ends([(0, 5)]));
        buffer.add(fetched(0, 3..8, 9));
        assert_eq!(buffer.len(), 3);
        assert!(!buffer.is_caught_up());
        assert!(buffer.holds(&ends([(0, 8), (1, 0)])));
        assert!(!buffer.holds(&ends([(0, 9)])));
    }

    #[test]
    fn what_follows_the_last_record_and_is_none_goes_with_it() {
        let mut buffer = InputBuffer::default();
        buffer.add(fetched(0, 0..3, 4));
        assert!(!buffer.is_caught_up());
        buffer.add(FetchedInput { partition: at(0), records: Vec::new(), position: 4, log_end: 0 });
        assert!(buffer.is_caught_up() && buffer.holds(&ends([(0, 4)])));
        assert_eq!(buffer.cut(limits(2, 1 << 20)), ends([(0, 2)]));
        let all = buffer.cut(limits(3, 1 << 20));
        assert_eq!(
            (all.clone(), buffer.take(&all).len(), buffer.unread_after(&all).len()),
            (ends([(0, 4)]), 1, 0)
        );
    }
}
