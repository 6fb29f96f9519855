//! What the server said and showed, and what must follow from it. Pure: it is told of answers and records, and refuses
//! what contradicts them.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use super::stamp::Stamp;

/// All partitions.
pub struct Ledger {
    partitions: Vec<PartitionLedger>,
}

#[derive(Default)]
struct PartitionLedger {
    /// Every record that was read, by offset: it must read the same for ever.
    read: Vec<Stamp>,
    /// Per producer, the number of its next record in the log.
    next: BTreeMap<u32, u64>,
    /// Records that were acknowledged and not read since.
    acknowledged: BTreeMap<i64, Stamp>,
    /// One past the largest offset that was acknowledged.
    acknowledged_to: i64,
    /// Per producer, how many of its records were sent, and how many of them acknowledged.
    sent: BTreeMap<u32, u64>,
    delivered: BTreeMap<u32, u64>,
}

impl Ledger {
    pub fn new(partitions: i32) -> Ledger {
        Ledger { partitions: (0..partitions).map(|_| PartitionLedger::default()).collect() }
    }

    fn partition(&mut self, partition: i32) -> Result<&mut PartitionLedger> {
        let found = usize::try_from(partition).ok().and_then(|index| self.partitions.get_mut(index));
        found.ok_or_else(|| anyhow::anyhow!("there is no partition {partition}"))
    }

    /// A producer has handed a record to its client.
    pub fn on_sent(&mut self, stamp: Stamp) -> Result<()> {
        self.partition(stamp.partition)?.sent.insert(stamp.producer, stamp.number + 1);
        Ok(())
    }

    /// The server has acknowledged a record; the offset is negative where it no longer knew it.
    pub fn on_acknowledged(&mut self, stamp: Stamp, offset: i64) -> Result<()> {
        let partition = self.partition(stamp.partition)?;
        let delivered = partition.delivered.entry(stamp.producer).or_default();
        *delivered = (*delivered).max(stamp.number + 1);
        let Ok(index) = usize::try_from(offset) else { return Ok(()) };
        partition.acknowledged_to = partition.acknowledged_to.max(offset + 1);
        if let Some(read) = partition.read.get(index) {
            ensure!(*read == stamp, "{stamp:?} was acknowledged at {offset}, where {read:?} was read");
            return Ok(());
        }
        if let Some(other) = partition.acknowledged.insert(offset, stamp) {
            ensure!(other == stamp, "{stamp:?} and {other:?} were both acknowledged at {offset}");
        }
        Ok(())
    }

    /// The log begins and ends at these offsets, as the server says after a start; it had acknowledged records up to
    /// another before it was asked.
    pub fn on_bounds(&mut self, number: i32, start: i64, end: i64, acknowledged_to: i64) -> Result<()> {
        let partition = self.partition(number)?;
        ensure!(start == 0, "partition {number} begins at {start}, and nothing was ever deleted");
        let read_to = partition.read.len() as i64;
        ensure!(end >= read_to, "partition {number} ends at {end}, and was read up to {read_to}");
        ensure!(
            end >= acknowledged_to,
            "partition {number} ends at {end}, and was acknowledged up to {acknowledged_to}"
        );
        Ok(())
    }

    /// A record was read.
    pub fn on_read(&mut self, number: i32, offset: i64, value: &[u8]) -> Result<()> {
        let Some(stamp) = Stamp::of(value) else {
            bail!("the record at {number}:{offset} is not one of ours")
        };
        ensure!(stamp.partition == number, "{stamp:?} was read in partition {number}");
        let partition = self.partition(number)?;
        let known = partition.read.len() as i64;
        if let Some(before) = usize::try_from(offset).ok().and_then(|index| partition.read.get(index)) {
            ensure!(*before == stamp, "{stamp:?} was read at {offset}, where {before:?} was");
            return Ok(());
        }
        ensure!(offset == known, "offset {offset} was read after {known} records of partition {number}");
        let next = partition.next.entry(stamp.producer).or_default();
        ensure!(stamp.number == *next, "{stamp:?} was read at {offset}, and number {next} must be next");
        *next += 1;
        partition.read.push(stamp);
        if let Some(acknowledged) = partition.acknowledged.remove(&offset) {
            ensure!(
                acknowledged == stamp,
                "{stamp:?} was read at {offset}, where {acknowledged:?} was acknowledged"
            );
        }
        Ok(())
    }

    /// One past the last record of a partition that was acknowledged.
    pub fn acknowledged_to(&self, partition: usize) -> i64 {
        self.partitions.get(partition).map_or(0, |partition| partition.acknowledged_to)
    }

    /// How far a partition was read.
    pub fn read_to(&self, partition: usize) -> i64 {
        self.partitions.get(partition).map_or(0, |partition| partition.read.len() as i64)
    }

    /// Everything was read to the end: what was acknowledged must have been among it.
    pub fn check_acknowledged(&self) -> Result<()> {
        for (number, partition) in self.partitions.iter().enumerate() {
            let read_to = partition.read.len() as i64;
            if let Some((offset, stamp)) = partition.acknowledged.range(..read_to).next() {
                bail!("{stamp:?} was acknowledged at {number}:{offset} and never read there");
            }
        }
        Ok(())
    }

    /// Nobody sends any more and everything was read: each record that was ever sent must be there.
    pub fn check_complete(&self) -> Result<()> {
        self.check_acknowledged()?;
        for (number, partition) in self.partitions.iter().enumerate() {
            ensure!(
                partition.acknowledged.is_empty(),
                "records of partition {number} are missing at the end"
            );
            ensure!(partition.sent == partition.delivered, "partition {number} has unanswered records");
            ensure!(partition.sent == partition.next, "partition {number}: sent and read differ");
        }
        let records: usize = self.partitions.iter().map(|partition| partition.read.len()).sum();
        ensure!(records > 0, "nothing was ever written");
        Ok(())
    }

    /// What the run amounted to.
    pub fn report(&self) -> String {
        let records: usize = self.partitions.iter().map(|partition| partition.read.len()).sum();
        format!("{records} records acknowledged, each there once and in order")
    }
}
