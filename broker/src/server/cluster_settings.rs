//! The configs of the broker itself that say how the nodes of a cluster reach each other, and how long they wait. Alone, a node has
//! nobody to wait for. One default differs from Kafka's: a follower asks again 200 ms after a failure.

use super::own_settings::{INT_FROM_1, LONG_FROM_1, Setting, from, millis, number, setting};
use super::replica_selector::ReplicaSelector;
use crate::controller::ConfigType::{Int, Long, String as Text};
use crate::controller::Rule;

/// By name.
pub(super) const CLUSTER_SETTINGS: &[Setting] = &[
    setting(
        "broker.heartbeat.interval.ms",
        Int,
        "2000",
        INT_FROM_1,
        |config, value| config.broker_heartbeat_interval_ms = number(value),
        |config| config.broker_heartbeat_interval_ms.to_string(),
    ),
    setting(
        "broker.session.timeout.ms",
        Int,
        "9000",
        INT_FROM_1,
        |config, value| config.broker_session_timeout_ms = number(value),
        |config| config.broker_session_timeout_ms.to_string(),
    ),
    setting(
        "controller.quorum.election.backoff.max.ms",
        Int,
        "1000",
        INT_FROM_1,
        |config, value| config.quorum.election_backoff_max = millis(value),
        |config| config.quorum.election_backoff_max.as_millis().to_string(),
    ),
    setting(
        "controller.quorum.election.timeout.ms",
        Int,
        "1000",
        INT_FROM_1,
        |config, value| config.quorum.election = millis(value),
        |config| config.quorum.election.as_millis().to_string(),
    ),
    setting(
        "controller.quorum.fetch.timeout.ms",
        Int,
        "2000",
        INT_FROM_1,
        |config, value| config.quorum.fetch = millis(value),
        |config| config.quorum.fetch.as_millis().to_string(),
    ),
    setting(
        "controller.quorum.request.timeout.ms",
        Int,
        "2000",
        INT_FROM_1,
        |config, value| config.quorum.request = millis(value),
        |config| config.quorum.request.as_millis().to_string(),
    ),
    setting(
        "controller.quorum.retry.backoff.ms",
        Int,
        "20",
        INT_FROM_1,
        |config, value| config.quorum.retry_backoff = millis(value),
        |config| config.quorum.retry_backoff.as_millis().to_string(),
    ),
    setting(
        "inter.broker.listener.name",
        Text,
        "",
        Rule::Any,
        |config, value| {
            config.replication.listener = Some(value.trim().to_owned()).filter(|name| !name.is_empty());
        },
        |config| config.replication.listener.clone().unwrap_or_default(),
    ),
    setting(
        "replica.fetch.backoff.ms",
        Int,
        "200",
        from(0),
        |config, value| config.replication.fetch_backoff = millis(value),
        |config| config.replication.fetch_backoff.as_millis().to_string(),
    ),
    setting(
        "replica.fetch.max.bytes",
        Int,
        "1048576",
        from(0),
        |config, value| config.replication.fetch_partition_bytes_max = number(value),
        |config| config.replication.fetch_partition_bytes_max.to_string(),
    ),
    setting(
        "replica.fetch.response.max.bytes",
        Int,
        "10485760",
        from(0),
        |config, value| config.replication.fetch_bytes_max = number(value),
        |config| config.replication.fetch_bytes_max.to_string(),
    ),
    setting(
        "replica.fetch.wait.max.ms",
        Int,
        "500",
        from(0),
        |config, value| config.replication.fetch_wait_max = millis(value),
        |config| config.replication.fetch_wait_max.as_millis().to_string(),
    ),
    setting(
        "replica.lag.time.max.ms",
        Long,
        "30000",
        LONG_FROM_1,
        |config, value| config.replication.lag_time_max = millis(value),
        |config| config.replication.lag_time_max.as_millis().to_string(),
    ),
    setting(
        "replica.selector.class",
        Text,
        "",
        Rule::OneOf(&["", ReplicaSelector::Leader.class(), ReplicaSelector::RackAware.class()]),
        |config, value| config.replica_selector = ReplicaSelector::of_class(value),
        |config| config.replica_selector.map_or("", ReplicaSelector::class).to_owned(),
    ),
    setting(
        "request.timeout.ms",
        Int,
        "30000",
        INT_FROM_1,
        |config, value| config.request_timeout_ms = number(value),
        |config| config.request_timeout_ms.to_string(),
    ),
];
