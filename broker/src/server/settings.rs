//! A broker's configs under Kafka's names: which there are, what values they take, and setting them from text.
//!
//! There are four kinds: those of the broker itself, in `own_settings.rs`; the defaults of topics, which the controller
//! defines and which may change while the broker runs; those that say where a broker lives, which are given when it is
//! started; and Kafka's others, which are told with Kafka's defaults and mean nothing here.

use thiserror::Error;

use super::cluster_settings::CLUSTER_SETTINGS;
use super::config::BrokerConfig;
use super::data_settings::DATA_SETTINGS;
use super::own_settings::{OVERRIDES, SETTINGS, Setting, listener_limit, overrides};
use super::security_settings::{SECURITY, security_setting};
use crate::controller::ConfigType::{Boolean, Int, List, String as Text};
use crate::controller::{
    COARSER, ClusterImage, ConfigLayer, ConfigSource, ConfigType, ConfigValue, Rule, WITHOUT_MEANING, define,
    definition_of_broker, dynamic_broker_configs, rate_definition, why_without_meaning,
};
use crate::quorum::PeerAddress;

/// Why a config was not set. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingError {
    /// Kafka has no such config either.
    #[error("is not known")]
    Unknown,
    /// Kafka has it, and nothing here would change with it.
    #[error("is a config of Kafka that has no meaning here: {0}; leave it out")]
    WithoutMeaning(&'static str),
    /// It is told in another way.
    #[error("is given by {0}")]
    GivenBy(&'static str),
    /// The value is not one that it takes.
    #[error("{0}")]
    Invalid(String),
}

/// Where a broker lives, and how that is told.
struct Given {
    name: &'static str,
    config_type: ConfigType,
    by: &'static str,
    read: fn(&BrokerConfig) -> String,
}

const GIVEN: &[Given] = &[
    Given {
        name: "node.id",
        config_type: Int,
        by: "--node-id, or node-id in the file",
        read: |config| config.node_id.to_string(),
    },
    Given {
        name: "process.roles",
        config_type: List,
        by: "--roles, or roles in the file",
        read: |config| {
            let roles = [(config.roles.broker, "broker"), (config.roles.controller, "controller")];
            roles.iter().filter(|(has, _)| *has).map(|(_, role)| *role).collect::<Vec<_>>().join(",")
        },
    },
    Given {
        name: "controller.quorum.voters",
        config_type: List,
        by: "--controllers, or controllers in the file",
        read: |config| {
            let voter = |at: &PeerAddress| format!("{}@{}:{}", at.id, at.host, at.port);
            config.controllers.iter().map(voter).collect::<Vec<_>>().join(",")
        },
    },
];

/// Kafka has no such config, so clients that ask for a broker's are not told of it.
const SKIP_DAMAGED_RECORDS: &str = "ottla.coordinator.skip.damaged.records";
const ADVERTISED_LISTENERS: &str = "advertised.listeners";
const LISTENERS: &str = "listeners";
const HOURS_A_WEEK: &str = "168";

/// The configs that are a value and nothing more.
fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(CLUSTER_SETTINGS)
}

/// Defaults of configs that say the same as another in a coarser unit.
fn coarser_default(name: &str) -> Option<&'static str> {
    match name {
        "log.retention.hours" | "log.roll.hours" => Some(HOURS_A_WEEK),
        "log.roll.jitter.hours" => Some("0"),
        _ => None,
    }
}

impl BrokerConfig {
    /// Sets a config by Kafka's name, as a file of settings does.
    ///
    /// # Errors
    /// What is wrong with name or value; then nothing is changed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let value = value.trim();
        if name == ADVERTISED_LISTENERS {
            for entry in value.split(',').map(str::trim) {
                advertised(entry)?;
            }
        } else if name == LISTENERS {
            // What it means depends on others, so it is looked at when the broker starts.
        } else if let Some(setting) = security_setting(name) {
            let of_secret = |error| match setting.definition.config_type {
                ConfigType::Password => SettingError::Invalid(format!("{name}: the value is not right")),
                _ => SettingError::Invalid(error),
            };
            setting.definition.check(name, value).map_err(of_secret)?;
        } else if let Some(setting) = listener_limit(name) {
            setting.definition.check(name, value).map_err(SettingError::Invalid)?;
        } else if name == SKIP_DAMAGED_RECORDS {
            define("", Boolean, "", Rule::Boolean, None).check(name, value).map_err(SettingError::Invalid)?;
            self.skip_damaged_records = value == "true";
        } else if self.set_data(name, value)? {
            // Done.
        } else if let Some(setting) = settings().find(|setting| setting.definition.name == name) {
            setting.definition.check(name, value).map_err(SettingError::Invalid)?;
            if name == OVERRIDES {
                overrides(value)?;
            }
            (setting.apply)(self, value);
        } else if let Some(definition) = definition_of_broker(name) {
            definition.check(name, value).map_err(SettingError::Invalid)?;
        } else if COARSER.iter().any(|(coarser, ..)| *coarser == name) {
            let rule = Rule::Integer { min: -1, max: i64::from(i32::MAX) };
            define("", Int, "", rule, None).check(name, value).map_err(SettingError::Invalid)?;
        } else if rate_definition(name).is_some() {
            return Err(SettingError::GivenBy("AlterConfigs (kafka-configs --alter), while the broker runs"));
        } else if let Some(given) = GIVEN.iter().find(|given| given.name == name) {
            return Err(SettingError::GivenBy(given.by));
        } else if WITHOUT_MEANING.iter().any(|(known, ..)| *known == name) {
            return Err(SettingError::WithoutMeaning(why_without_meaning(name)));
        } else {
            return Err(SettingError::Unknown);
        }
        self.set.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// The names that [`set`](BrokerConfig::set) takes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let own = settings().map(|setting| setting.definition.name);
        let of_topics = crate::controller::broker_names_of_topic_configs();
        let of_data = DATA_SETTINGS.iter().map(|(name, _)| *name);
        let of_security = SECURITY.iter().map(|setting| setting.definition.name);
        let own = own.chain(of_data).chain(of_topics).chain(of_security);
        own.chain(COARSER.iter().map(|(name, ..)| *name)).chain([ADVERTISED_LISTENERS, LISTENERS])
    }

    /// Every config that Kafka's brokers have, by name, with its value here and where that comes from.
    pub(super) fn described(&self, image: &ClusterImage) -> Vec<ConfigValue> {
        let mut all = dynamic_broker_configs(image, Some(self.node_id));
        for Setting { definition, read, .. } in settings() {
            let now = (definition.name, Some(read(self)));
            all.push(self.read_only(now, definition.config_type, Some(definition.default)));
        }
        for Given { name, config_type, read, .. } in GIVEN {
            let (value, source) = (read(self), ConfigSource::StaticBroker);
            let layer = ConfigLayer { name: Some(name), value, source };
            all.push(ConfigValue { name, config_type: *config_type, read_only: true, layers: vec![layer] });
        }
        for (name, ..) in COARSER {
            all.push(self.read_only((name, self.set.get(*name).cloned()), Int, coarser_default(name)));
        }
        for (name, config_type) in DATA_SETTINGS {
            all.push(self.read_only((name, self.data_setting(name)), config_type, None));
        }
        let advertised = self.set.get(ADVERTISED_LISTENERS).cloned();
        all.push(self.read_only((ADVERTISED_LISTENERS, advertised), Text, None));
        let listeners =
            self.set.get(LISTENERS).cloned().unwrap_or_else(|| format!("PLAINTEXT://{}", self.listen));
        all.push(self.read_only((LISTENERS, Some(listeners)), Text, None));
        for setting in SECURITY {
            let (name, value) = (setting.definition.name, self.set.get(setting.definition.name).cloned());
            if value.is_some() || !setting.listed_when_set {
                all.push(self.read_only((name, value), setting.definition.config_type, setting.default));
            }
        }
        for (name, config_type, default) in WITHOUT_MEANING {
            all.push(self.read_only((name, None), *config_type, *default));
        }
        all.sort_by_key(|config| config.name);
        all
    }

    fn read_only(
        &self,
        (name, now): (&'static str, Option<String>),
        config_type: ConfigType,
        default: Option<&'static str>,
    ) -> ConfigValue {
        // A value that differs without having been set was put there by a program that embeds the broker.
        let was_set = self.set.contains_key(name) || now.as_deref().is_some_and(|now| Some(now) != default);
        let now = now.filter(|_| was_set);
        let source = ConfigSource::StaticBroker;
        let now = now.map(|value| ConfigLayer { name: Some(name), value, source });
        let default = default.map(|value| ConfigLayer {
            name: Some(name),
            value: value.to_owned(),
            source: ConfigSource::Default,
        });
        ConfigValue { name, config_type, read_only: true, layers: now.into_iter().chain(default).collect() }
    }
}

/// Name, host and port of `NAME://HOST:PORT`, where name and port may be left out.
pub(super) fn advertised(value: &str) -> Result<(Option<&str>, String, Option<u16>), SettingError> {
    let wrong = || {
        let why = "should be listeners, NAME://HOST:PORT";
        SettingError::Invalid(format!(
            "Invalid value {value} for configuration {ADVERTISED_LISTENERS}: {why}"
        ))
    };
    let (name, address) = match value.split_once("://") {
        Some((name, address)) => (Some(name), address),
        None => (None, value),
    };
    let (host, port) = match address.rsplit_once(':') {
        // The colons of an IPv6 address are inside its brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().map_err(|_| wrong())?)),
        _ => (address, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains('/') || name == Some("") {
        return Err(wrong());
    }
    Ok((name, host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::controller::Definition;

    #[test]
    fn every_default_is_the_one_a_broker_starts_with_and_passes_its_own_check() {
        let config = BrokerConfig::new("data");
        for Setting { definition, read, apply } in settings() {
            let Definition { name, default, .. } = *definition;
            assert_eq!(read(&config), default, "{name}");
            assert_eq!(definition.check(name, default), Ok(()), "{name}");
            let mut again = BrokerConfig::new("data");
            apply(&mut again, default);
            assert_eq!(read(&again), default, "{name}");
        }
    }

    #[test]
    fn no_config_is_of_two_kinds() {
        let mut seen = BTreeSet::new();
        let given = GIVEN.iter().map(|given| given.name);
        let without_meaning = WITHOUT_MEANING.iter().map(|(name, ..)| *name);
        for name in BrokerConfig::names().chain(given).chain(without_meaning) {
            assert!(seen.insert(name), "{name}");
        }
        for setting in SECURITY.iter().filter(|setting| setting.listed_when_set) {
            seen.remove(setting.definition.name);
        }
        let described = BrokerConfig::new("data").described(&ClusterImage::default());
        assert_eq!(described.iter().map(|config| config.name).collect::<BTreeSet<_>>(), seen);
    }

    #[test]
    fn what_was_set_is_told_with_its_source() {
        let mut config = BrokerConfig::new("data");
        config.set("num.partitions", " 3 ").unwrap();
        config.set("log.retention.hours", "1").unwrap();
        config.set("message.max.bytes", "77").unwrap();
        let described = config.described(&ClusterImage::starting_with(config.topic_defaults()));
        let found = |name: &str| {
            let config = described.iter().find(|config| config.name == name).unwrap();
            (config.value().map(str::to_owned), config.source(), config.read_only)
        };
        let value = |value: &str| Some(value.to_owned());
        assert_eq!(found("num.partitions"), (value("3"), ConfigSource::StaticBroker, true));
        assert_eq!(found("message.max.bytes"), (value("77"), ConfigSource::StaticBroker, false));
        assert_eq!(found("log.retention.hours"), (value("1"), ConfigSource::StaticBroker, true));
        assert_eq!(found("log.retention.ms"), (value("3600000"), ConfigSource::StaticBroker, false));
        assert_eq!(found("log.retention.minutes"), (None, ConfigSource::Default, true));
        assert_eq!(found("node.id"), (value("1"), ConfigSource::StaticBroker, true));
        assert_eq!(found("num.io.threads"), (value("8"), ConfigSource::Default, true));
        assert_eq!(found("ssl.keystore.location"), (None, ConfigSource::Default, true));
    }

    #[test]
    fn wrong_names_and_values_are_refused_with_the_reason() {
        let mut config = BrokerConfig::new("data");
        for (name, value, expected) in [
            ("num.partition", "3", "is not known"),
            ("num.partitions", "0", "Value must be at least 1"),
            ("max.connections.per.ip.overrides", "localhost:1", "should be ADDRESS:NUMBER"),
            ("num.partitions", "many", "Not a number of type INT"),
            ("log.segment.bytes", "5", "Value must be at least 1048576"),
            ("default.replication.factor", "0", "Value must be at least 1"),
            ("num.io.threads", "8", "no meaning here: nothing here works by it; leave it out"),
            ("ssl.keystore.password", "x", "no meaning here: keys and certificates are PEM text"),
            ("node.id", "4", "is given by --node-id"),
            ("leader.replication.throttled.rate", "4", "is given by AlterConfigs"),
            ("advertised.listeners", "PLAINTEXT://a:1,://b:2", "should be listeners"),
            ("ssl.keystore.type", "JKS", "must be one of: PEM"),
            ("listener.name.a.sasl.enabled.mechanisms", "GSSAPI", "must be one of: PLAIN"),
        ] {
            let error = config.set(name, value).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}={value}: {error}");
        }
        assert!(config.set.is_empty());
    }

    #[test]
    fn memory_for_requests_has_no_limit_where_kafkas_default_is_set() {
        let mut config = BrokerConfig::new("data");
        for value in ["0", "-1"] {
            config.set("queued.max.request.bytes", value).unwrap();
            assert_eq!(config.queued_request_bytes_max, usize::MAX);
        }
        let described = config.described(&ClusterImage::default());
        let told = described.iter().find(|config| config.name == "queued.max.request.bytes").unwrap();
        assert_eq!(told.value(), Some("-1"));
    }

    #[test]
    fn clients_are_told_the_advertised_listener() {
        for (value, host, port) in [
            ("PLAINTEXT://kafka.example:19092", "kafka.example", Some(19092)),
            ("kafka.example", "kafka.example", None),
            ("[::1]:9", "::1", Some(9)),
            ("[::1]", "::1", None),
        ] {
            let name = value.split_once("://").map(|(name, _)| name);
            assert_eq!(advertised(value), Ok((name, host.to_owned(), port)), "{value}");
        }
    }
}
