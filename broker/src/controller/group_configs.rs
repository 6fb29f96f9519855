//! The configs of groups of the consumer protocol (KIP-848): what a group has of its own instead of the broker's.

use super::configs::{ConfigLayer, ConfigSource, ConfigType, ConfigValue, Configs, Definition, Rule, define};

/// `consumer.heartbeat.interval.ms`: how often members are to come.
pub const HEARTBEAT_INTERVAL_MS: &str = "consumer.heartbeat.interval.ms";
/// `consumer.session.timeout.ms`: how long a member may be silent.
pub const SESSION_TIMEOUT_MS: &str = "consumer.session.timeout.ms";

const POSITIVE: Rule = Rule::Integer { min: 1, max: i32::MAX as i64 };

const DEFINITIONS: &[Definition] = &[
    define(
        HEARTBEAT_INTERVAL_MS,
        ConfigType::Int,
        "5000",
        POSITIVE,
        Some("group.consumer.heartbeat.interval.ms"),
    ),
    define(SESSION_TIMEOUT_MS, ConfigType::Int, "45000", POSITIVE, Some("group.consumer.session.timeout.ms")),
];

pub(super) fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

/// What the broker lets groups set, as least and most, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLimits {
    /// `group.consumer.min.heartbeat.interval.ms` and `max`.
    pub heartbeat_interval_ms: (u64, u64),
    /// `group.consumer.min.session.timeout.ms` and `max`.
    pub session_timeout_ms: (u64, u64),
}

impl Default for GroupLimits {
    fn default() -> GroupLimits {
        GroupLimits { heartbeat_interval_ms: (5_000, 15_000), session_timeout_ms: (45_000, 60_000) }
    }
}

/// Values within the broker's limits, and time for a heartbeat; the error is the message for the client.
pub(super) fn check_together(configs: &Configs, limits: &GroupLimits) -> Result<(), String> {
    let value = |name: &str| configs.get(name).and_then(|value| value.trim().parse::<u64>().ok());
    for (name, (least, most)) in [
        (HEARTBEAT_INTERVAL_MS, limits.heartbeat_interval_ms),
        (SESSION_TIMEOUT_MS, limits.session_timeout_ms),
    ] {
        let of_broker = |bound: &str| name.replacen("consumer.", &format!("group.consumer.{bound}."), 1);
        match value(name) {
            Some(value) if value < least => {
                return Err(format!("{name} must be greater than or equal to {}", of_broker("min")));
            }
            Some(value) if value > most => {
                return Err(format!("{name} must be less than or equal to {}", of_broker("max")));
            }
            _ => {}
        }
    }
    match (value(HEARTBEAT_INTERVAL_MS), value(SESSION_TIMEOUT_MS)) {
        (Some(interval), Some(session)) if session <= interval => {
            Err(format!("{SESSION_TIMEOUT_MS} must be greater than {HEARTBEAT_INTERVAL_MS}"))
        }
        _ => Ok(()),
    }
}

/// Every config of a group, set or not. `started_with` gives what the broker has under its own name for one.
pub fn group_configs(set: &Configs, started_with: impl Fn(&str) -> Option<String>) -> Vec<ConfigValue> {
    DEFINITIONS
        .iter()
        .map(|Definition { name, config_type, default, broker_name, .. }| {
            let layer = |name, value, source| ConfigLayer { name: Some(name), value, source };
            let own = set.get(*name).map(|value| layer(*name, value.clone(), ConfigSource::Group));
            let brokers = broker_name.and_then(|of_broker| {
                Some(layer(of_broker, started_with(of_broker)?, ConfigSource::StaticBroker))
            });
            let default =
                ConfigLayer { name: None, value: (*default).to_owned(), source: ConfigSource::Default };
            let layers = own.into_iter().chain(brokers).chain([default]).collect();
            ConfigValue { name, config_type: *config_type, read_only: false, layers }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_own_config_comes_before_the_brokers() {
        let set = Configs::from([(SESSION_TIMEOUT_MS.to_owned(), "50000".to_owned())]);
        let found = group_configs(&set, |name| name.contains("heartbeat").then(|| "7000".to_owned()));
        let values: Vec<_> =
            found.iter().map(|config| (config.name, config.value(), config.source())).collect();
        assert_eq!(
            values,
            [
                (HEARTBEAT_INTERVAL_MS, Some("7000"), ConfigSource::StaticBroker),
                (SESSION_TIMEOUT_MS, Some("50000"), ConfigSource::Group),
            ]
        );
    }

    #[test]
    fn values_are_held_within_the_brokers_limits() {
        let check = |name: &str, value: &str| {
            let configs = Configs::from([(name.to_owned(), value.to_owned())]);
            check_together(&configs, &GroupLimits::default())
        };
        assert_eq!(check(SESSION_TIMEOUT_MS, "45000"), Ok(()));
        let refused = check(SESSION_TIMEOUT_MS, "44999").unwrap_err();
        let expected = "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms";
        assert_eq!(refused, expected);
        assert!(check(HEARTBEAT_INTERVAL_MS, "15001").unwrap_err().ends_with("max.heartbeat.interval.ms"));
    }
}
