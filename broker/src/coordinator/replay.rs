//! Reading a coordinator partition's log back into the machine: later records replace earlier ones, so reading all of
//! them in order gives what was there. What a transaction's records are worth the machine knows.

use bytes::Bytes;
use ottla_protocol::records::{Batch, BatchError, Batches, EndTxnMarker};

use super::machine::{LogEntry, Machine};
use crate::ids::Producer;

/// A batch of these logs holds at most one segment's worth of records; a hostile one must not take more memory.
const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Replay<M> {
    machine: M,
    record_count: u64,
}

impl<M: Machine> Replay<M> {
    pub(super) fn new(config: &M::Config) -> Replay<M> {
        Replay { machine: M::empty(config), record_count: 0 }
    }

    /// Applies whole batches, leaving out what lies before `from_offset`.
    pub(super) fn read(&mut self, batches: Bytes, from_offset: i64) -> Result<(), BatchError> {
        for batch in Batches::new(batches) {
            let batch = batch?;
            batch.check_crc()?;
            self.read_batch(&batch, from_offset)?;
        }
        Ok(())
    }

    /// The machine, and how many records it was read from.
    pub(super) fn finish(self) -> (M, u64) {
        (self.machine, self.record_count)
    }

    fn read_batch(&mut self, batch: &Batch, from_offset: i64) -> Result<(), BatchError> {
        let header = batch.header;
        let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
        for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
            let record = record?;
            if record.offset < from_offset {
                continue;
            }
            self.record_count += 1;
            let entry = if header.is_control() {
                match EndTxnMarker::from_record(&record) {
                    Some(EndTxnMarker { commit, coordinator_epoch }) => {
                        LogEntry::Marker { producer, coordinator_epoch, commit }
                    }
                    None => continue,
                }
            } else {
                let producer = header.is_transactional().then_some(producer);
                LogEntry::Record { key: record.key, value: record.value, producer }
            };
            match M::to_change(entry) {
                Ok(Some(change)) => self.machine.apply(&change),
                Ok(None) => {}
                // One bad record must not keep everything else of the partition from working.
                Err(error) => tracing::warn!(offset = record.offset, %error, "left an unreadable record out"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::records::{BatchBuilder, BatchOptions, ControlType};

    use super::*;
    use crate::groups::offsets::CommittedOffset;
    use crate::groups::{GroupConfig, GroupId, Groups, Record, TopicName, WallMs, records};

    fn batch(offset: i64, options: BatchOptions) -> Bytes {
        let value = CommittedOffset {
            offset,
            leader_epoch: -1,
            metadata: "".into(),
            committed_at: WallMs(0),
            expires_at: None,
            topic_id: uuid::Uuid::nil(),
        };
        let (group, topic) = (GroupId::from("g"), TopicName::from("t"));
        let record = Record::Offset { group, topic, partition: 0, value: Some(value) };
        let (key, value) = records::encode(&record).unwrap();
        let mut builder = BatchBuilder::default();
        builder.push(0, Some(&key), value.as_deref(), &[]);
        builder.build(options)
    }

    fn marker(kind: ControlType) -> Bytes {
        let options = BatchOptions { producer_id: 7, transactional: true, ..BatchOptions::default() };
        BatchBuilder::control(0, kind, &[0; 6], options)
    }

    fn offset_after(batches: &[Bytes]) -> Option<i64> {
        let mut replay = Replay::<Groups>::new(&GroupConfig::default());
        for bytes in batches {
            replay.read(bytes.clone(), 0).unwrap();
        }
        let (groups, _) = replay.finish();
        groups.image().1.iter().map(|(_, _, _, committed)| committed.offset).next()
    }

    #[test]
    fn the_last_record_of_a_key_counts() {
        let plain = BatchOptions::default();
        assert_eq!(offset_after(&[batch(1, plain), batch(2, plain)]), Some(2));
    }

    #[test]
    fn records_of_a_transaction_count_from_its_commit_on() {
        let plain = BatchOptions::default();
        let open = BatchOptions { producer_id: 7, transactional: true, ..plain };
        assert_eq!(offset_after(&[batch(1, plain), batch(2, open)]), Some(1));
        assert_eq!(offset_after(&[batch(1, plain), batch(2, open), marker(ControlType::Abort)]), Some(1));
        assert_eq!(offset_after(&[batch(1, plain), batch(2, open), marker(ControlType::Commit)]), Some(2));
    }

    #[test]
    fn a_damaged_batch_is_an_error() {
        let mut bytes = batch(1, BatchOptions::default()).to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        assert!(Replay::<Groups>::new(&GroupConfig::default()).read(bytes.into(), 0).is_err());
    }
}
