//! The configs of the broker itself that say how long the nodes of a cluster wait for each other. Alone, a node has nobody to
//! wait for.

use super::own_settings::{INT_FROM_1, Setting, millis, number, setting};
use crate::controller::ConfigType::Int;

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
        "request.timeout.ms",
        Int,
        "30000",
        INT_FROM_1,
        |config, value| config.request_timeout_ms = number(value),
        |config| config.request_timeout_ms.to_string(),
    ),
];
