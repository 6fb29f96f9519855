//! What an operator may set about groups. Names are Kafka's broker configs in snake_case.

use std::time::Duration;

/// Limits and delays of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members after the first one joined.
    ///
    /// Kafka's default is 3 s (and 0 in the file it ships), chosen for fleets that start over many seconds. Ours is
    /// 100 ms: members started together (threads of one process, tasks of one pipeline) join within that time and are
    /// spared a rebalance each, and a lone consumer hardly notices it before its first record.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.max.size`: members a group may have.
    pub size_max: usize,
    /// How long a member that has never been answered may wait in a rebalance. Such a member has no id to heartbeat
    /// with, so its session says nothing of whether it is still there. Kafka's constant is 5 minutes.
    pub new_member_join_timeout: Duration,
    /// `offset.metadata.max.bytes`: the longest metadata text of a committed offset, in bytes.
    pub offset_metadata_bytes_max: usize,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            initial_rebalance_delay: Duration::from_millis(100),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            size_max: i32::MAX as usize,
            new_member_join_timeout: Duration::from_secs(5 * 60),
            offset_metadata_bytes_max: 4096,
        }
    }
}
