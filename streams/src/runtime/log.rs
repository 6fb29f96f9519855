//! The topics of one query, as the driver needs them. `kafka.rs` is the real one; tests have one in memory that dies.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::epoch::OutputRecord;
use super::error::QueryError;
use super::input::FetchedInput;
use crate::operators::Rows;
use crate::state::changelog::{Epoch, InputOffsets, Offsets};

/// Where an epoch's records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sink {
    /// The output topic.
    Output,
    /// The dead-letter topic.
    DeadLetters,
}

/// A record of the changelog as it was read.
#[derive(Debug, Clone)]
pub struct RawChangelogRecord {
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
}

/// The effects a query has and the things it reads.
///
/// Implementations MUST keep the order of records within a partition, MUST return from a write only when all of its
/// records are durable, and MUST NOT leave holes: if a record of a write is in a partition, so are all before it.
#[async_trait]
pub trait QueryLog: Send + Sync {
    /// The changelog's records from `from` on, some at a time; none when its end is reached.
    async fn read_changelog(&self, from: i64) -> Result<Vec<RawChangelogRecord>, QueryError>;

    /// Appends records to the changelog, in order; gives the offset of the first.
    async fn append_changelog(&self, records: Vec<(Bytes, Option<Bytes>)>) -> Result<i64, QueryError>;

    /// Reads input from these offsets on; partitions without one from their beginning.
    async fn seek_input(&self, positions: &InputOffsets) -> Result<(), QueryError>;

    /// The next input records, waiting up to `timeout` for the first. Gives the partitions' ends also when they have no
    /// new record.
    async fn poll_input(&self, timeout: Duration) -> Result<Vec<FetchedInput>, QueryError>;

    /// The offsets after the last record of every input partition now.
    async fn input_ends(&self) -> Result<InputOffsets, QueryError>;

    /// Writes records in their order within each partition; gives for every partition written to an offset after its
    /// last record.
    async fn write(&self, sink: Sink, records: Vec<OutputRecord>) -> Result<Offsets, QueryError>;

    /// Gives the changes of an epoch to the listener of a query that has one instead of an output topic; waits while the
    /// listener is behind.
    async fn tell_changes(&self, changes: Vec<Rows>) -> Result<(), QueryError> {
        debug_assert!(changes.is_empty(), "only a query with a listener gives changes");
        Ok(())
    }

    /// The offsets after the last record of every partition of a sink now.
    async fn sink_ends(&self, sink: Sink) -> Result<Offsets, QueryError>;

    /// The sequence numbers of `epoch` in a sink's records from `from` on; partitions without an offset are read from
    /// their beginning.
    async fn written(&self, sink: Sink, from: &Offsets, epoch: Epoch) -> Result<BTreeSet<usize>, QueryError>;

    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;
}
