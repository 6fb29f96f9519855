//! What an operator may set about groups. Names are Kafka's broker configs in snake_case.

use std::time::Duration;

use super::consumer::assignor::Assignor;

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
    /// Of groups of the consumer protocol.
    pub consumer: ConsumerGroupConfig,
    /// When committed offsets are forgotten.
    pub offset_retention: OffsetRetention,
}

/// Of groups of the consumer protocol (KIP-848). Timeouts come with each request, as a group may have its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`: what members have after a restart of the coordinator.
    pub session_timeout: Duration,
    /// `group.consumer.max.size`.
    pub size_max: usize,
    /// `group.consumer.assignors`: the first is taken where members have no preference.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
}

impl ConsumerGroupConfig {
    /// The assignor of this name, if groups may use it.
    pub fn assignor(&self, name: &str) -> Option<Assignor> {
        self.assignors.iter().copied().find(|assignor| assignor.as_str() == name)
    }
}

impl Default for ConsumerGroupConfig {
    fn default() -> ConsumerGroupConfig {
        ConsumerGroupConfig {
            session_timeout: Duration::from_secs(45),
            size_max: i32::MAX as usize,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration_policy: MigrationPolicy::Bidirectional,
        }
    }
}

/// Which groups with members may go over to the other protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// None.
    Disabled,
    /// Classic groups, when a member of the consumer protocol joins.
    Upgrade,
    /// Consumer groups, when the last member of the consumer protocol leaves.
    Downgrade,
    /// Both.
    Bidirectional,
}

impl MigrationPolicy {
    /// The policy of this name, in any case.
    pub fn from_name(name: &str) -> Option<MigrationPolicy> {
        match name.to_ascii_lowercase().as_str() {
            "disabled" => Some(MigrationPolicy::Disabled),
            "upgrade" => Some(MigrationPolicy::Upgrade),
            "downgrade" => Some(MigrationPolicy::Downgrade),
            "bidirectional" => Some(MigrationPolicy::Bidirectional),
            _ => None,
        }
    }

    /// Kafka's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            MigrationPolicy::Disabled => "disabled",
            MigrationPolicy::Upgrade => "upgrade",
            MigrationPolicy::Downgrade => "downgrade",
            MigrationPolicy::Bidirectional => "bidirectional",
        }
    }

    /// Whether a classic group with members may become one of the consumer protocol.
    pub fn allows_upgrade(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    /// Whether a group of the consumer protocol may become a classic one with members.
    pub fn allows_downgrade(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

/// When committed offsets are forgotten (KIP-211).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRetention {
    /// `offsets.retention.minutes`: since the group was last in use.
    pub retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub check_interval: Duration,
}

impl Default for OffsetRetention {
    fn default() -> OffsetRetention {
        OffsetRetention {
            retention: Duration::from_secs(7 * 24 * 3600),
            check_interval: Duration::from_secs(600),
        }
    }
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
            consumer: ConsumerGroupConfig::default(),
            offset_retention: OffsetRetention::default(),
        }
    }
}
