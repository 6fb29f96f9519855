//! What is checked of a producer's batch before it is its partition's turn: everything that needs no state of the log.
//! It runs where the bytes have just arrived, for all connections at once; the partition's owner only places.

use bytes::{Bytes, BytesMut};
use ottla_protocol::records::{Batch, EndTxnMarker, patch_log_append_time};

use super::LogError;
use super::config::LogConfig;
use crate::ids::Producer;

/// Decompression bound for batches that must be opened to be checked.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// A batch that may be appended.
#[derive(Debug, Clone)]
pub struct Checked {
    batch: Batch,
    marker: Option<EndTxnMarker>,
}

impl Checked {
    /// The end of a producer's transaction.
    pub fn marker(marker: EndTxnMarker, producer: Producer, now_ms: i64) -> Result<Checked, LogError> {
        let batch = Batch::parse(&marker.to_batch(now_ms, producer.id, producer.epoch))?;
        Ok(Checked { batch, marker: Some(marker) })
    }

    /// A batch that a coordinator of this broker has built for its own partition.
    pub fn of_coordinator(records: &Bytes) -> Result<Checked, LogError> {
        let batch = Batch::parse(records)?;
        let marker = EndTxnMarker::from_batch(&batch);
        Ok(Checked { batch, marker })
    }

    /// A whole batch that a leader has sent.
    pub fn fetched(batch: Batch) -> Checked {
        let marker = EndTxnMarker::from_batch(&batch);
        Checked { batch, marker }
    }

    /// The batch.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Set when it is the end of a producer's transaction.
    pub fn end_of_transaction(&self) -> Option<&EndTxnMarker> {
        self.marker.as_ref()
    }
}

impl LogConfig {
    /// Checks the `records` of a produce request and makes of them what is stored: one whole batch with the right CRC
    /// and a sane header (Kafka's `LogValidator`), in the topic's codec, with the topic's kind of timestamps.
    pub fn check(&self, records: &Bytes, now_ms: i64) -> Result<Checked, LogError> {
        let mut batch = Batch::parse(records)?;
        if batch.bytes.len() != records.len() {
            return Err(LogError::Invalid("a request must hold exactly one batch per partition"));
        }
        if records.len() > self.max_message_bytes {
            return Err(LogError::TooLarge { size: records.len(), max: self.max_message_bytes });
        }
        batch.check_crc()?;
        let header = &batch.header;
        if header.record_count == 0 || header.record_count - 1 != header.last_offset_delta {
            return Err(LogError::Invalid("record count and last offset delta disagree"));
        }
        if header.is_control() {
            return Err(LogError::Invalid("clients may not write control batches"));
        }
        if header.is_transactional() && !header.has_producer_id() {
            return Err(LogError::Invalid("a transactional batch needs a producer id"));
        }
        if header.has_producer_id() && (header.base_sequence < 0 || header.producer_epoch < 0) {
            return Err(LogError::Invalid("an idempotent batch needs an epoch and a sequence"));
        }
        header.compression()?;
        self.check_timestamps(&batch, now_ms)?;
        if self.compacted {
            self.check_keys(&batch)?;
        }
        if let Some(codec) = self.compression.filter(|codec| batch.header.compression() != Ok(*codec)) {
            let bytes = batch.recompress(codec, DECOMPRESSED_BYTES_MAX)?;
            if bytes.len() > self.max_message_bytes {
                return Err(LogError::TooLarge { size: bytes.len(), max: self.max_message_bytes });
            }
            batch = Batch::parse(&bytes)?;
        }
        if self.log_append_time {
            let mut stamped = BytesMut::from(&batch.bytes[..]);
            patch_log_append_time(&mut stamped, now_ms);
            batch = Batch::parse(&stamped.freeze())?;
        }
        Ok(Checked { batch, marker: None })
    }

    /// What is compacted is kept by key. Producers hear which records lack one (KIP-467).
    fn check_keys(&self, batch: &Batch) -> Result<(), LogError> {
        let mut indexes = Vec::new();
        for (record, index) in batch.records(DECOMPRESSED_BYTES_MAX)?.zip(0..) {
            if record?.key.is_none() {
                indexes.push(index);
            }
        }
        let reason = "a compacted topic takes no record without a key";
        if indexes.is_empty() { Ok(()) } else { Err(LogError::Records { indexes, reason }) }
    }

    /// A producer's clock may differ from ours only so far. The newest timestamp stands in the header; for the oldest
    /// the records are read, where the topic has a bound for it.
    fn check_timestamps(&self, batch: &Batch, now_ms: i64) -> Result<(), LogError> {
        if self.log_append_time {
            return Ok(());
        }
        let min_ms = now_ms.saturating_sub(self.timestamp_before_max_ms);
        let max_ms = now_ms.saturating_add(self.timestamp_after_max_ms);
        let check = |timestamp_ms: i64| match timestamp_ms >= 0 && !(min_ms..=max_ms).contains(&timestamp_ms)
        {
            true => Err(LogError::Timestamp { timestamp_ms, min_ms, max_ms }),
            false => Ok(()),
        };
        check(batch.header.max_timestamp_ms)?;
        if self.timestamp_before_max_ms < i64::MAX {
            for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
                check(record?.timestamp_ms)?;
            }
        }
        Ok(())
    }
}
