//! Records as callers give and get them. Keys and values are shared slices, never copied.

use bytes::Bytes;
use ottla_protocol::records::Header;

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Keys may repeat; their order is kept.
    pub headers: Vec<Header>,
    /// Milliseconds since the epoch; the time of `send` if left out.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// A record with key and value.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Record {
        Record { key: Some(key.into()), value: Some(value.into()), ..Record::default() }
    }

    /// A record without a key.
    pub fn of_value(value: impl Into<Bytes>) -> Record {
        Record { value: Some(value.into()), ..Record::default() }
    }
}

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata {
    pub partition: i32,
    /// -1 when it is not known: without acknowledgement, or for a duplicate of a batch too old to be remembered.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Keys may repeat; in the producer's order.
    pub headers: Vec<Header>,
    /// Epoch of the leader that appended it; -1 when not known.
    pub leader_epoch: i32,
}
