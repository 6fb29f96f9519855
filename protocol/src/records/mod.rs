//! Record batches, version 2 (magic 2): the unit in which records travel and are stored.
//!
//! Owns the layout of a batch and of the records in it: reading the header in place, checking the CRC, walking
//! records, building batches, compression. It knows nothing of messages, logs or partitions.
//!
//! ```text
//!  0         8        12       16     17    21     23       27         35         43        51     53      57     61
//!  | base    | batch  | leader | magic| crc | attr | last   | base     | max      | producer|prod. | base  | record|
//!  | offset  | length | epoch  |  =2  | 32C |      | delta  | timestamp| timestamp| id      |epoch | seq.  | count | records…
//!            '----------------------------------------------- batch length counts from byte 12 ------------------->
//!                                         '------------------- the CRC covers from byte 21 to the end ------------>
//! ```
//! So a broker may patch the base offset and the leader epoch without touching the CRC.
//! Source: Kafka's protocol guide, "Record Batch"; KIP-98.

mod batch;
mod builder;
mod compression;
mod marker;
mod record;
mod rewrite;
mod varint;

pub use batch::{
    Batch, BatchError, BatchHeader, Batches, HEADER_LEN, LOG_OVERHEAD, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, TimestampType, patch_base_offset, patch_leader_epoch, patch_log_append_time,
};
pub use builder::{BatchBuilder, BatchOptions};
pub use compression::{Compression, CompressionError};
pub use marker::EndTxnMarker;
pub use record::{ControlType, Header, RecordIter, RecordView};
