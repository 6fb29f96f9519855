//! Reading a coordinator partition's log back into the machine. Later records replace earlier ones, so reading all of
//! them in order gives what was there; records of a transaction count once its commit marker is read (KIP-98).

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::records::{Batch, BatchError, Batches, ControlType};

use crate::groups::records::{Decoded, decode};
use crate::groups::{Change, GroupConfig, Groups, Record};

/// A batch of these logs holds at most one segment's worth of records; a hostile one must not take more memory.
const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Replay {
    groups: Groups,
    /// Records of open transactions, by producer id.
    open: BTreeMap<i64, Vec<Record>>,
    record_count: u64,
}

impl Replay {
    pub(super) fn new(config: GroupConfig) -> Replay {
        Replay { groups: Groups::new(config), open: BTreeMap::new(), record_count: 0 }
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

    /// The groups read, and how many records they were read from.
    pub(super) fn finish(self) -> (Groups, u64) {
        (self.groups, self.record_count)
    }

    fn read_batch(&mut self, batch: &Batch, from_offset: i64) -> Result<(), BatchError> {
        let header = batch.header;
        for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
            let record = record?;
            if record.offset < from_offset {
                continue;
            }
            self.record_count += 1;
            if header.is_control() {
                self.end_transaction(header.producer_id, record.key.as_deref());
                continue;
            }
            match decode(record.key, record.value) {
                Ok(Decoded::Record(record)) if header.is_transactional() => {
                    self.open.entry(header.producer_id).or_default().push(record);
                }
                Ok(Decoded::Record(record)) => self.groups.apply(&Change::Record(record)),
                Ok(Decoded::Unknown { key_version }) => {
                    tracing::debug!(
                        offset = record.offset,
                        key_version,
                        "left a record of an unknown kind alone"
                    );
                }
                // One bad record must not keep all groups of the partition from working.
                Err(error) => tracing::warn!(offset = record.offset, %error, "left an unreadable record out"),
            }
        }
        Ok(())
    }

    fn end_transaction(&mut self, producer_id: i64, marker: Option<&[u8]>) {
        let records = self.open.remove(&producer_id).unwrap_or_default();
        if marker.and_then(ControlType::from_key) == Some(ControlType::Commit) {
            for record in records {
                self.groups.apply(&Change::Record(record));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::records::{BatchBuilder, BatchOptions};

    use super::*;
    use crate::groups::offsets::CommittedOffset;
    use crate::groups::{GroupId, TopicName, WallMs, records};

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
        let mut replay = Replay::new(GroupConfig::default());
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
        assert!(Replay::new(GroupConfig::default()).read(bytes.into(), 0).is_err());
    }
}
