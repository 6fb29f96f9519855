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

/// A member must have time for a heartbeat; the error is the message for the client.
pub(super) fn check_together(configs: &Configs) -> Result<(), String> {
    let value = |name: &str| configs.get(name).and_then(|value| value.trim().parse::<i64>().ok());
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
            let default = layer(*name, (*default).to_owned(), ConfigSource::Default);
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
    fn a_session_is_longer_than_the_interval_of_heartbeats() {
        let configs = |interval: &str, session: &str| {
            Configs::from([
                (HEARTBEAT_INTERVAL_MS.to_owned(), interval.to_owned()),
                (SESSION_TIMEOUT_MS.to_owned(), session.to_owned()),
            ])
        };
        assert_eq!(check_together(&configs("5000", "45000")), Ok(()));
        assert!(check_together(&configs("45000", "45000")).is_err());
    }
}
