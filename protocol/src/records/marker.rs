//! The marker that ends a producer's transaction in a partition (KIP-98): a control batch of one record.
//!
//! ```text
//!  key:   version 0 | type: 0 abort, 1 commit        value: version 0 | coordinator epoch
//!         int16     | int16                                 int16     | int32
//! ```

use bytes::Bytes;

use super::batch::Batch;
use super::builder::{BatchBuilder, BatchOptions};
use super::record::{ControlType, RecordView};

/// Markers are never compressed; this is more than one can have.
const BYTES_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Or abort.
    pub commit: bool,
    /// Of the transaction coordinator that had it written; an older one's is refused.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// Reads a control record; `None` when it is of another kind.
    pub fn from_record(record: &RecordView) -> Option<EndTxnMarker> {
        let commit = match ControlType::from_key(record.key.as_deref()?)? {
            ControlType::Commit => true,
            ControlType::Abort => false,
            _ => return None,
        };
        let epoch = record.value.as_deref()?.get(2..6)?;
        Some(EndTxnMarker { commit, coordinator_epoch: i32::from_be_bytes(epoch.try_into().ok()?) })
    }

    /// Reads a control batch; `None` when it is of another kind, or compaction has emptied it.
    pub fn from_batch(batch: &Batch) -> Option<EndTxnMarker> {
        if !batch.header.is_control() {
            return None;
        }
        let record = batch.records(BYTES_MAX).ok()?.next()?.ok()?;
        EndTxnMarker::from_record(&record)
    }

    /// The batch that is written.
    pub fn to_batch(self, timestamp_ms: i64, producer_id: i64, producer_epoch: i16) -> Bytes {
        let kind = if self.commit { ControlType::Commit } else { ControlType::Abort };
        let mut value = [0u8; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        let options =
            BatchOptions { producer_id, producer_epoch, transactional: true, ..BatchOptions::default() };
        BatchBuilder::control(timestamp_ms, kind, &value, options)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn markers_round_trip(commit: bool, coordinator_epoch: i32, id in 0i64.., epoch in 0i16..) {
            let marker = EndTxnMarker { commit, coordinator_epoch };
            let batch = Batch::parse(&marker.to_batch(5, id, epoch)).unwrap();
            prop_assert_eq!(EndTxnMarker::from_batch(&batch), Some(marker));
            prop_assert!(batch.header.is_transactional() && batch.header.is_control());
            prop_assert_eq!((batch.header.producer_id, batch.header.producer_epoch), (id, epoch));
        }
    }

    #[test]
    fn other_control_records_are_no_markers() {
        let leader_change =
            BatchBuilder::control(0, ControlType::LeaderChange, &[0; 6], BatchOptions::default());
        assert_eq!(EndTxnMarker::from_batch(&Batch::parse(&leader_change).unwrap()), None);
    }
}
