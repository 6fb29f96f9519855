//! What a topic's config says about its logs.

use ottla_protocol::records::Compression;

/// The configs that the log acts on, by Kafka's names.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it grows past this.
    pub segment_bytes: u32,
    /// `segment.index.bytes`: a segment is rolled when one of its indexes has grown to this.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: bytes of log between two index entries.
    pub index_interval_bytes: u32,
    /// `file.delete.delay.ms`: how long the files of segments that retention let go stay under another name.
    pub file_delete_delay_ms: u64,
    /// `segment.ms`: a segment is rolled when its first record is older than this, milliseconds.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most so much earlier, so that not all partitions roll at once.
    pub segment_jitter_ms: i64,
    /// `flush.messages`: so many records of weaker promises than `acks=all` are synced at once. 1, the default, leaves
    /// them to a second's delay and makes `acks=all` wait for the disk.
    pub flush_messages: u64,
    /// `flush.ms`: records are synced within this time, milliseconds, and within a second anyway.
    pub flush_ms: u64,
    /// `min.insync.replicas`: with fewer, `acks=all` is refused.
    pub min_insync_replicas: usize,
    /// `max.message.bytes`: the largest batch taken.
    pub max_message_bytes: usize,
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`: how old a producer's timestamp may be.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead of the broker's clock it may be.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`: the codec in which batches are stored; `None` keeps the producer's.
    pub compression: Option<Compression>,
    /// `cleanup.policy` has `delete`.
    pub deleted: bool,
    /// `retention.ms`; `None` keeps records for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` is no bound.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy` has `compact`: records need keys, and only the last of each key is kept.
    pub compacted: bool,
    /// `delete.retention.ms`: how long a tombstone stays after it was first compacted.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: younger records are not compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: older records are compacted however few they are.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`: the share of not yet compacted bytes from which on it is worth it.
    pub min_cleanable_dirty_ratio: f64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            file_delete_delay_ms: 60_000,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            flush_messages: 1,
            flush_ms: i64::MAX as u64,
            min_insync_replicas: 1,
            max_message_bytes: 1_048_588,
            log_append_time: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: None,
            deleted: true,
            retention_ms: Some(604_800_000),
            retention_bytes: None,
            compacted: false,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
        }
    }
}
