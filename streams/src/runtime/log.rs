//! The topics of one query, as the driver needs them. `kafka.rs` is the real one; tests have one in memory that dies.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::epoch::OutputRecord;
use super::error::QueryError;
use super::input::FetchedInput;
use crate::operators::Rows;
use crate::state::changelog::InputOffsets;

/// All that an epoch leaves behind.
#[derive(Debug, Default)]
pub struct EpochRecords {
    /// For the output topic.
    pub outputs: Vec<OutputRecord>,
    /// For the dead-letter topic.
    pub dead_letters: Vec<OutputRecord>,
    /// Keys and values for the changelog.
    pub changelog: Vec<(Bytes, Option<Bytes>)>,
    /// For the listener of a query that has one instead of an output topic.
    pub changes: Vec<Rows>,
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
#[async_trait]
pub trait QueryLog: Send + Sync {
    /// The changelog's next records, from its beginning on, some at a time; none when its end is reached. Only what was
    /// committed is there, and whoever has begun later has all of it.
    async fn read_changelog(&self) -> Result<Vec<RawChangelogRecord>, QueryError>;

    /// Writes an epoch, all of it or nothing, each topic's records in their order within a partition. Returns when it is
    /// durable; after an error it may be there or not.
    ///
    /// With a listener it waits while that is behind.
    async fn commit(&self, records: EpochRecords) -> Result<(), QueryError>;

    /// Reads input from these offsets on; partitions without one from their beginning.
    async fn seek_input(&self, positions: &InputOffsets) -> Result<(), QueryError>;

    /// The next input records, waiting up to `timeout` for the first. Gives the partitions' ends also when they have no
    /// new record.
    async fn poll_input(&self, timeout: Duration) -> Result<Vec<FetchedInput>, QueryError>;

    /// The offsets after the last record of every input partition now.
    async fn input_ends(&self) -> Result<InputOffsets, QueryError>;

    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;
}
