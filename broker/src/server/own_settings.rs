//! The configs of the broker itself that are a value and nothing more: their types, defaults, rules, and the field of
//! [`BrokerConfig`] that each is. Setting and telling them is `settings.rs`'s.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::config::BrokerConfig;
use super::settings::SettingError;
use crate::controller::ConfigType::{Boolean, Int, List, Long, Short, String as Text};
use crate::controller::{ConfigType, Definition, Rule, define};
use crate::groups::MigrationPolicy;
use crate::groups::consumer::assignor::Assignor;

/// Checked beyond its rule.
pub(super) const OVERRIDES: &str = "max.connections.per.ip.overrides";

const CONNECTIONS: &str = "max.connections";
const CREATION_RATE: &str = "max.connection.creation.rate";

/// A limit that may be set for one listener too, as `listener.name.<name>.<limit>`.
pub(super) fn listener_limit(name: &str) -> Option<&'static Setting> {
    let (_, limit) = name.strip_prefix("listener.name.")?.split_once('.')?;
    let may_be_set = [CONNECTIONS, CREATION_RATE].contains(&limit);
    SETTINGS.iter().find(|setting| may_be_set && setting.definition.name == limit)
}

impl BrokerConfig {
    /// How many connections a listener may have, and how many may come in a second.
    pub(super) fn listener_limits(&self, listener: &str) -> (usize, u32) {
        let of = |limit: &str| {
            let name = format!("listener.name.{}.{limit}", listener.to_lowercase());
            self.set.get(&name).and_then(|value| value.parse::<u32>().ok()).unwrap_or(u32::MAX)
        };
        (of(CONNECTIONS) as usize, of(CREATION_RATE))
    }
}

/// A config of the broker itself.
pub(super) struct Setting {
    pub definition: Definition,
    /// Takes a value that passed the definition's check.
    pub apply: fn(&mut BrokerConfig, &str),
    pub read: fn(&BrokerConfig) -> String,
}

pub(super) const fn setting(
    name: &'static str,
    config_type: ConfigType,
    default: &'static str,
    rule: Rule,
    apply: fn(&mut BrokerConfig, &str),
    read: fn(&BrokerConfig) -> String,
) -> Setting {
    Setting { definition: define(name, config_type, default, rule, None), apply, read }
}

/// The value was checked.
pub(super) fn number<T: std::str::FromStr + Default>(value: &str) -> T {
    value.trim().parse().unwrap_or_default()
}

pub(super) fn millis(value: &str) -> std::time::Duration {
    std::time::Duration::from_millis(number(value))
}

pub(super) const fn from(min: i64) -> Rule {
    Rule::Integer { min, max: i32::MAX as i64 }
}

const LONG_FROM_0: Rule = Rule::Integer { min: 0, max: i64::MAX };
pub(super) const LONG_FROM_1: Rule = Rule::Integer { min: 1, max: i64::MAX };
pub(super) const INT_FROM_1: Rule = from(1);
const INT_MAX: &str = "2147483647";

/// Replicas of a topic. Where it is not set, three, or as many as there are brokers: a node by itself goes on working.
const REPLICAS: Rule = Rule::Integer { min: 1, max: i16::MAX as i64 };

/// By name. Three defaults differ from Kafka's: a new group waits 100 ms for more members, requests in memory are bounded, and
/// every topic has three replicas where there are three brokers.
pub(super) const SETTINGS: &[Setting] = &[
    setting(
        "auto.create.topics.enable",
        Boolean,
        "true",
        Rule::Boolean,
        |config, value| config.auto_create_topics = value == "true",
        |config| config.auto_create_topics.to_string(),
    ),
    setting(
        "connections.max.idle.ms",
        Long,
        "600000",
        LONG_FROM_1,
        |config, value| config.connection_idle_ms_max = number(value),
        |config| config.connection_idle_ms_max.to_string(),
    ),
    setting(
        "auto.leader.rebalance.enable",
        Boolean,
        "true",
        Rule::Boolean,
        |config, value| config.auto_leader_rebalance = value == "true",
        |config| config.auto_leader_rebalance.to_string(),
    ),
    setting(
        "broker.rack",
        Text,
        "",
        Rule::Any,
        |config, value| config.rack = Some(value.trim().to_owned()).filter(|rack| !rack.is_empty()),
        |config| config.rack.clone().unwrap_or_default(),
    ),
    setting(
        "default.replication.factor",
        Int,
        "3",
        REPLICAS,
        |config, value| config.default_replication_factor = Some(number(value)),
        |config| config.default_replication_factor.unwrap_or(3).to_string(),
    ),
    setting(
        "delete.topic.enable",
        Boolean,
        "true",
        Rule::Boolean,
        |config, value| config.delete_topics = value == "true",
        |config| config.delete_topics.to_string(),
    ),
    setting(
        "fetch.max.bytes",
        Int,
        "57671680",
        from(1024),
        |config, value| config.fetch_bytes_max = number(value),
        |config| config.fetch_bytes_max.to_string(),
    ),
    setting(
        "group.consumer.assignors",
        List,
        "uniform,range",
        Rule::ListOf(&["uniform", "range"]),
        |config, value| {
            config.consumer_groups.assignors =
                value.split(',').filter_map(|name| Assignor::from_name(name.trim())).collect();
        },
        |config| {
            let names = config.consumer_groups.assignors.iter().map(|assignor| assignor.as_str());
            names.collect::<Vec<_>>().join(",")
        },
    ),
    setting(
        "group.consumer.heartbeat.interval.ms",
        Int,
        "5000",
        from(1),
        |config, value| config.consumer_groups.heartbeat_interval_ms = number(value),
        |config| config.consumer_groups.heartbeat_interval_ms.to_string(),
    ),
    setting(
        "group.consumer.max.heartbeat.interval.ms",
        Int,
        "15000",
        from(1),
        |config, value| config.consumer_groups.heartbeat_interval_ms_range.1 = number(value),
        |config| config.consumer_groups.heartbeat_interval_ms_range.1.to_string(),
    ),
    setting(
        "group.consumer.max.session.timeout.ms",
        Int,
        "60000",
        from(1),
        |config, value| config.consumer_groups.session_timeout_ms_range.1 = number(value),
        |config| config.consumer_groups.session_timeout_ms_range.1.to_string(),
    ),
    setting(
        "group.consumer.max.size",
        Int,
        INT_MAX,
        from(1),
        |config, value| config.consumer_groups.size_max = number(value),
        |config| config.consumer_groups.size_max.to_string(),
    ),
    setting(
        "group.consumer.migration.policy",
        Text,
        "bidirectional",
        Rule::OneOf(&["disabled", "downgrade", "upgrade", "bidirectional"]),
        |config, value| {
            config.consumer_groups.migration_policy =
                MigrationPolicy::from_name(value).unwrap_or(MigrationPolicy::Bidirectional);
        },
        |config| config.consumer_groups.migration_policy.as_str().to_owned(),
    ),
    setting(
        "group.consumer.min.heartbeat.interval.ms",
        Int,
        "5000",
        from(1),
        |config, value| config.consumer_groups.heartbeat_interval_ms_range.0 = number(value),
        |config| config.consumer_groups.heartbeat_interval_ms_range.0.to_string(),
    ),
    setting(
        "group.consumer.min.session.timeout.ms",
        Int,
        "45000",
        from(1),
        |config, value| config.consumer_groups.session_timeout_ms_range.0 = number(value),
        |config| config.consumer_groups.session_timeout_ms_range.0.to_string(),
    ),
    setting(
        "group.consumer.session.timeout.ms",
        Int,
        "45000",
        from(1),
        |config, value| config.consumer_groups.session_timeout_ms = number(value),
        |config| config.consumer_groups.session_timeout_ms.to_string(),
    ),
    setting(
        "group.initial.rebalance.delay.ms",
        Int,
        "100",
        from(0),
        |config, value| config.group_initial_rebalance_delay_ms = number(value),
        |config| config.group_initial_rebalance_delay_ms.to_string(),
    ),
    setting(
        "group.max.session.timeout.ms",
        Int,
        "1800000",
        from(1),
        |config, value| config.group_session_timeout_ms_max = number(value),
        |config| config.group_session_timeout_ms_max.to_string(),
    ),
    setting(
        "group.max.size",
        Int,
        INT_MAX,
        from(1),
        |config, value| config.group_size_max = number(value),
        |config| config.group_size_max.to_string(),
    ),
    setting(
        "group.min.session.timeout.ms",
        Int,
        "6000",
        from(1),
        |config, value| config.group_session_timeout_ms_min = number(value),
        |config| config.group_session_timeout_ms_min.to_string(),
    ),
    setting(
        "log.cleaner.backoff.ms",
        Long,
        "15000",
        LONG_FROM_0,
        |config, value| config.housekeeping.cleaner_backoff = millis(value),
        |config| config.housekeeping.cleaner_backoff.as_millis().to_string(),
    ),
    setting(
        "log.retention.check.interval.ms",
        Long,
        "300000",
        LONG_FROM_1,
        |config, value| config.housekeeping.retention_check_interval = millis(value),
        |config| config.housekeeping.retention_check_interval.as_millis().to_string(),
    ),
    setting(
        CREATION_RATE,
        Int,
        INT_MAX,
        from(0),
        |config, value| config.connection_creation_rate_max = number(value),
        |config| config.connection_creation_rate_max.to_string(),
    ),
    setting(
        CONNECTIONS,
        Int,
        INT_MAX,
        from(1),
        |config, value| config.connections_max = number(value),
        |config| config.connections_max.to_string(),
    ),
    setting(
        "max.connections.per.ip",
        Int,
        INT_MAX,
        from(1),
        |config, value| config.connections_per_ip_max = number(value),
        |config| config.connections_per_ip_max.to_string(),
    ),
    setting(
        "max.connections.per.ip.overrides",
        Text,
        "",
        Rule::Any,
        |config, value| config.connections_per_ip_overrides = overrides(value).unwrap_or_default(),
        |config| {
            let all = &config.connections_per_ip_overrides;
            all.iter().map(|(ip, max)| format!("{ip}:{max}")).collect::<Vec<_>>().join(",")
        },
    ),
    setting(
        "max.incremental.fetch.session.cache.slots",
        Int,
        "1000",
        from(0),
        |config, value| config.fetch_sessions_max = number(value),
        |config| config.fetch_sessions_max.to_string(),
    ),
    setting(
        "leader.imbalance.check.interval.seconds",
        Long,
        "300",
        Rule::Integer { min: 1, max: 1 << 32 },
        |config, value| {
            config.leader_imbalance_check_interval = std::time::Duration::from_secs(number(value));
        },
        |config| config.leader_imbalance_check_interval.as_secs().to_string(),
    ),
    setting(
        "metadata.log.max.record.bytes.between.snapshots",
        Long,
        "20971520",
        LONG_FROM_1,
        |config, value| config.snapshots.record_bytes_max = number(value),
        |config| config.snapshots.record_bytes_max.to_string(),
    ),
    setting(
        "metadata.log.max.snapshot.interval.ms",
        Long,
        "3600000",
        LONG_FROM_0,
        |config, value| config.snapshots.interval = millis(value),
        |config| config.snapshots.interval.as_millis().to_string(),
    ),
    setting(
        "num.partitions",
        Int,
        "1",
        from(1),
        |config, value| config.num_partitions = number(value),
        |config| config.num_partitions.to_string(),
    ),
    setting(
        "offset.metadata.max.bytes",
        Int,
        "4096",
        from(0),
        |config, value| config.offset_metadata_bytes_max = number(value),
        |config| config.offset_metadata_bytes_max.to_string(),
    ),
    setting(
        "offsets.retention.check.interval.ms",
        Long,
        "600000",
        LONG_FROM_1,
        |config, value| config.offsets_retention_check_interval_ms = number(value),
        |config| config.offsets_retention_check_interval_ms.to_string(),
    ),
    setting(
        "offsets.retention.minutes",
        Int,
        "10080",
        from(1),
        |config, value| config.offsets_retention_minutes = number(value),
        |config| config.offsets_retention_minutes.to_string(),
    ),
    setting(
        "offsets.topic.num.partitions",
        Int,
        "50",
        from(1),
        |config, value| config.offsets_topic_partitions = number(value),
        |config| config.offsets_topic_partitions.to_string(),
    ),
    setting(
        "offsets.topic.replication.factor",
        Short,
        "3",
        REPLICAS,
        |config, value| config.offsets_topic_replication_factor = Some(number(value)),
        |config| config.offsets_topic_replication_factor.unwrap_or(3).to_string(),
    ),
    setting(
        "producer.id.expiration.ms",
        Int,
        "86400000",
        from(1),
        |config, value| config.housekeeping.producer_expiration = millis(value),
        |config| config.housekeeping.producer_expiration.as_millis().to_string(),
    ),
    setting(
        "queued.max.request.bytes",
        Long,
        "536870912",
        Rule::Integer { min: -1, max: i64::MAX },
        // As in Kafka, whose default is no limit.
        |config, value| {
            config.queued_request_bytes_max = match number::<i64>(value) {
                1.. => number(value),
                _ => usize::MAX,
            };
        },
        |config| match config.queued_request_bytes_max {
            usize::MAX => "-1".to_owned(),
            bytes => bytes.to_string(),
        },
    ),
    setting(
        "quota.window.num",
        Int,
        "11",
        from(1),
        |config, value| config.quota_windows.count = number(value),
        |config| config.quota_windows.count.to_string(),
    ),
    setting(
        "quota.window.size.seconds",
        Int,
        "1",
        from(1),
        |config, value| config.quota_windows.size = std::time::Duration::from_secs(number(value)),
        |config| config.quota_windows.size.as_secs().to_string(),
    ),
    setting(
        "socket.request.max.bytes",
        Int,
        "104857600",
        from(1),
        |config, value| config.request_bytes_max = number(value),
        |config| config.request_bytes_max.to_string(),
    ),
    setting(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        Int,
        "10000",
        from(1),
        |config, value| config.transactions.abort_interval = millis(value),
        |config| config.transactions.abort_interval.as_millis().to_string(),
    ),
    setting(
        "transaction.max.timeout.ms",
        Int,
        "900000",
        from(1),
        |config, value| config.transactions.timeout_max = millis(value),
        |config| config.transactions.timeout_max.as_millis().to_string(),
    ),
    setting(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        Int,
        "3600000",
        from(1),
        |config, value| config.transactions.expire_interval = millis(value),
        |config| config.transactions.expire_interval.as_millis().to_string(),
    ),
    setting(
        "transaction.state.log.min.isr",
        Int,
        "2",
        from(1),
        |config, value| config.transaction_topic_min_isr = Some(number(value)),
        |config| config.transaction_topic_min_isr.unwrap_or(2).to_string(),
    ),
    setting(
        "transaction.state.log.num.partitions",
        Int,
        "50",
        from(1),
        |config, value| config.transaction_topic_partitions = number(value),
        |config| config.transaction_topic_partitions.to_string(),
    ),
    setting(
        "transaction.state.log.replication.factor",
        Short,
        "3",
        REPLICAS,
        |config, value| config.transaction_topic_replication_factor = Some(number(value)),
        |config| config.transaction_topic_replication_factor.unwrap_or(3).to_string(),
    ),
    setting(
        "transactional.id.expiration.ms",
        Int,
        "604800000",
        from(1),
        |config, value| config.transactions.id_expiration = millis(value),
        |config| config.transactions.id_expiration.as_millis().to_string(),
    ),
];

/// Addresses with how many connections each may have: `10.0.0.1:5,::1:7`.
pub(super) fn overrides(value: &str) -> Result<BTreeMap<IpAddr, usize>, SettingError> {
    let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parse = |entry: &str| {
        let (address, max) = entry.rsplit_once(':')?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Some((address.parse().ok()?, max.parse().ok()?))
    };
    let wrong = |entry| {
        let why = format!("Invalid value {entry} for configuration {OVERRIDES}: should be ADDRESS:NUMBER");
        SettingError::Invalid(why)
    };
    entries.map(|entry| parse(entry).ok_or_else(|| wrong(entry))).collect()
}
