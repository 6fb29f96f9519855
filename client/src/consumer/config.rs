//! How a consumer reads and how it takes part in a group. Names and defaults are Kafka's.

use std::time::Duration;

use crate::assignment::Assignor;
use crate::error::ClientError;
use crate::list_offsets::{OFFSET_EARLIEST, OFFSET_LATEST};

/// Where to begin when the group has no offset, or the offset is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffsetReset {
    Earliest,
    #[default]
    Latest,
    /// Fail instead.
    None,
}

impl OffsetReset {
    /// The timestamp that stands for the place.
    pub(crate) fn timestamp(self) -> Option<i64> {
        match self {
            OffsetReset::Earliest => Some(OFFSET_EARLIEST),
            OffsetReset::Latest => Some(OFFSET_LATEST),
            OffsetReset::None => None,
        }
    }
}

/// Which records of transactions are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    /// All of them.
    #[default]
    ReadUncommitted,
    /// Those of committed transactions.
    ReadCommitted,
}

/// How a consumer reads and how it takes part in a group.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Needed to subscribe and to commit.
    pub group_id: Option<String>,
    /// Makes the member a static one (KIP-345): it keeps its partitions through a restart.
    pub group_instance_id: Option<String>,
    pub auto_offset_reset: OffsetReset,
    /// Commits what earlier polls returned, every `auto_commit_interval`, before a rebalance, and on close.
    pub enable_auto_commit: bool,
    pub auto_commit_interval: Duration,
    /// What this member can divide partitions by, the best first. The group agrees on one.
    pub assignors: Vec<Assignor>,
    /// A member that is not heard of for so long is out of the group.
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    /// A member that does not poll for so long leaves the group. Also how long a rebalance waits for members.
    pub max_poll_interval: Duration,
    /// A fetch is answered when there are so many bytes, or after `fetch_max_wait`.
    pub fetch_min_bytes: i32,
    pub fetch_max_wait: Duration,
    /// Bytes of one fetch; one batch is always given, however large.
    pub fetch_max_bytes: i32,
    /// Bytes of one partition in a fetch; one batch is always given, however large.
    pub max_partition_fetch_bytes: i32,
    /// Bytes that one batch may decompress to.
    pub decompressed_batch_bytes_max: usize,
    /// Whether the CRC of each batch is checked.
    pub check_crcs: bool,
    pub isolation_level: IsolationLevel,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            group_id: None,
            group_instance_id: None,
            auto_offset_reset: OffsetReset::default(),
            enable_auto_commit: true,
            auto_commit_interval: Duration::from_secs(5),
            assignors: vec![Assignor::Range, Assignor::RoundRobin],
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 50 << 20,
            max_partition_fetch_bytes: 1 << 20,
            decompressed_batch_bytes_max: 128 << 20,
            check_crcs: true,
            isolation_level: IsolationLevel::default(),
        }
    }
}

impl ConsumerConfig {
    pub(crate) fn validate(&self) -> Result<(), ClientError> {
        let wrong = |reason: &str| Err(ClientError::InvalidConfig(reason.to_owned()));
        if self.group_id.as_deref() == Some("") {
            return wrong("group_id is empty");
        }
        if self.assignors.is_empty() {
            return wrong("assignors is empty");
        }
        if self.heartbeat_interval >= self.session_timeout {
            return wrong("heartbeat_interval must be shorter than session_timeout");
        }
        Ok(())
    }
}
