//! The batch header, read and patched in place, and the walk over the batches of a buffer.

use bytes::Bytes;
use thiserror::Error;

use super::compression::{Compression, CompressionError};
use super::record::{ControlType, RecordIter};

/// Bytes of a batch before its first record.
pub const HEADER_LEN: usize = 61;
/// Bytes that the batch length does not count: base offset and the length itself.
pub const LOG_OVERHEAD: usize = 12;
/// The producer id of a batch that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// The producer epoch of a batch that is not idempotent.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// The base sequence of a batch that is not idempotent.
pub const NO_SEQUENCE: i32 = -1;

const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
/// Control records are a few bytes; more of them are no control records.
const CONTROL_BYTES_MAX: usize = 1024;
pub(super) const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;
pub(super) const COMPRESSION_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
pub(super) const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// Why bytes are not a valid batch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The buffer ends before the batch does: a torn tail, or a lying length.
    #[error("batch needs {needed} bytes, {available} are there")]
    Incomplete { needed: usize, available: usize },
    /// The length field is smaller than a header or negative.
    #[error("batch length {0} is impossible")]
    BadLength(i32),
    /// Only magic 2 is supported, as in Kafka 4 (KIP-724).
    #[error("record format version {0} is not supported, only 2")]
    BadMagic(i8),
    /// The stored CRC-32C is not that of the bytes.
    #[error("CRC-32C is {computed:#010x}, the header says {stored:#010x}")]
    BadCrc { stored: u32, computed: u32 },
    /// The header contradicts itself.
    #[error("batch header: {0}")]
    BadHeader(&'static str),
    /// A record body contradicts its lengths.
    #[error("record {index}: {reason}")]
    BadRecord { index: i32, reason: &'static str },
    /// The record bytes do not decompress.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// Who set the timestamps of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer (`CreateTime`).
    #[default]
    CreateTime,
    /// The broker, on append (`LogAppendTime`): all records have the batch's max timestamp.
    LogAppendTime,
}

/// The 61 fixed bytes of a batch, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after the length field.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; -1 in a producer's batch.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type and flags.
    pub attributes: i16,
    /// Offset of the last record minus `base_offset`.
    pub last_offset_delta: i32,
    /// Milliseconds since the epoch; records hold deltas to it.
    pub base_timestamp_ms: i64,
    /// The largest timestamp of the batch, milliseconds since the epoch.
    pub max_timestamp_ms: i64,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// Sequence of the first record; -1 without idempotence.
    pub base_sequence: i32,
    /// Records in the batch. Compaction may leave fewer than `last_offset_delta + 1`.
    pub record_count: i32,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl BatchHeader {
    /// Decodes the header at the start of `bytes`, which may hold less than the whole batch.
    ///
    /// Checks magic, length and counts for sense, but not the CRC.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let short = || BatchError::Incomplete { needed: HEADER_LEN, available: bytes.len() };
        let batch_length = i32::from_be_bytes(array(bytes, LENGTH_AT).ok_or_else(short)?);
        let magic = *bytes.get(MAGIC_AT).ok_or_else(short)? as i8;
        if magic != 2 {
            return Err(BatchError::BadMagic(magic));
        }
        if batch_length < (HEADER_LEN - LOG_OVERHEAD) as i32 {
            return Err(BatchError::BadLength(batch_length));
        }
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(array(bytes, 0).ok_or_else(short)?),
            batch_length,
            leader_epoch: i32::from_be_bytes(array(bytes, LEADER_EPOCH_AT).ok_or_else(short)?),
            crc: u32::from_be_bytes(array(bytes, CRC_AT).ok_or_else(short)?),
            attributes: i16::from_be_bytes(array(bytes, ATTRIBUTES_AT).ok_or_else(short)?),
            last_offset_delta: i32::from_be_bytes(array(bytes, 23).ok_or_else(short)?),
            base_timestamp_ms: i64::from_be_bytes(array(bytes, 27).ok_or_else(short)?),
            max_timestamp_ms: i64::from_be_bytes(array(bytes, MAX_TIMESTAMP_AT).ok_or_else(short)?),
            producer_id: i64::from_be_bytes(array(bytes, 43).ok_or_else(short)?),
            producer_epoch: i16::from_be_bytes(array(bytes, 51).ok_or_else(short)?),
            base_sequence: i32::from_be_bytes(array(bytes, 53).ok_or_else(short)?),
            record_count: i32::from_be_bytes(array(bytes, 57).ok_or_else(short)?),
        };
        if header.last_offset_delta < 0 {
            return Err(BatchError::BadHeader("negative last offset delta"));
        }
        if header.record_count < 0 {
            return Err(BatchError::BadHeader("negative record count"));
        }
        if header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
            return Err(BatchError::BadHeader("offsets overflow"));
        }
        Ok(header)
    }

    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        LOG_OVERHEAD + self.batch_length as usize
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset that follows the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Sequence of the last record; sequences wrap from `i32::MAX` to 0 (KIP-98).
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        ((i64::from(self.base_sequence) + i64::from(self.last_offset_delta)) & i64::from(i32::MAX)) as i32
    }

    /// The codec of the records.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Ok(Compression::from_attributes(self.attributes)?)
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & LOG_APPEND_TIME_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Holds control records (transaction markers, quorum records), which consumers skip.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// The base timestamp is a delete horizon (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// Written by an idempotent producer.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }
}

/// One whole batch: its header beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The decoded header.
    pub header: BatchHeader,
    /// All bytes of the batch, header included.
    pub bytes: Bytes,
}

impl Batch {
    /// Takes the batch at the start of `bytes`; what follows it is left out.
    pub fn parse(bytes: &Bytes) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let size = header.size();
        if size > bytes.len() {
            return Err(BatchError::Incomplete { needed: size, available: bytes.len() });
        }
        Ok(Batch { header, bytes: bytes.slice(..size) })
    }

    /// Compares the stored CRC with that of the bytes.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc_of(&self.bytes);
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(BatchError::BadCrc { stored: self.header.crc, computed })
        }
    }

    /// Walks the records, decompressing at most `decompressed_bytes_max` bytes.
    pub fn records(&self, decompressed_bytes_max: usize) -> Result<RecordIter, BatchError> {
        let body = self.bytes.slice(HEADER_LEN..);
        let body = self.header.compression()?.decompress(body, decompressed_bytes_max)?;
        RecordIter::new(self.header, body)
    }

    /// What a control batch of one record says; `None` of any other batch, and of one that compaction has emptied.
    pub fn control_type(&self) -> Option<ControlType> {
        if !self.header.is_control() {
            return None;
        }
        let record = self.records(CONTROL_BYTES_MAX).ok()?.next()?.ok()?;
        ControlType::from_key(record.key.as_deref()?)
    }
}

/// Walks the whole batches in a buffer. A batch cut off at the end (as a fetch answer may have) ends the walk; any
/// other fault is given once and ends it too.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
    failed: bool,
}

impl Batches {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: Bytes) -> Batches {
        Batches { rest: bytes, failed: false }
    }

    /// The bytes after the last whole batch.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        match Batch::parse(&self.rest) {
            Ok(batch) => {
                self.rest = self.rest.slice(batch.bytes.len()..);
                Some(Ok(batch))
            }
            Err(BatchError::Incomplete { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

/// CRC-32C of the part of a batch that the CRC covers.
pub(super) fn crc_of(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(ATTRIBUTES_AT..).unwrap_or_default())
}

pub(super) fn write_crc(batch: &mut [u8]) {
    let crc = crc_of(batch);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Gives the batch the offset it is stored at. The CRC does not cover this field.
pub fn patch_base_offset(batch: &mut [u8], base_offset: i64) {
    batch[..LENGTH_AT].copy_from_slice(&base_offset.to_be_bytes());
}

/// Gives the batch the epoch of the leader that stores it. The CRC does not cover this field.
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: i32) {
    batch[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Stamps the batch with the broker's time (`message.timestamp.type=LogAppendTime`) and renews the CRC.
pub fn patch_log_append_time(batch: &mut [u8], now_ms: i64) {
    if let Some(attributes) = array::<2>(batch, ATTRIBUTES_AT).map(i16::from_be_bytes) {
        let stamped = attributes | LOG_APPEND_TIME_BIT;
        batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&stamped.to_be_bytes());
        batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now_ms.to_be_bytes());
        write_crc(batch);
    }
}
