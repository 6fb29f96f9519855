//! Client metrics subscriptions (KIP-714): which clients are asked for which of their metrics, and how often.

use regex::{Regex, RegexBuilder};

use super::configs::{
    ConfigLayer, ConfigSource, ConfigType, ConfigValue, Configs, Definition, Rule, define, list,
};

const INTERVAL_MS: &str = "interval.ms";
const METRICS: &str = "metrics";
const MATCH: &str = "match";

const INTERVAL_MS_DEFAULT: i32 = 300_000;
const PATTERN_BYTES_MAX: usize = 1 << 16;

const DEFINITIONS: &[Definition] = &[
    define(INTERVAL_MS, ConfigType::Int, "300000", Rule::Integer { min: 100, max: 3_600_000 }, None),
    define(MATCH, ConfigType::List, "", Rule::Any, None),
    define(METRICS, ConfigType::List, "", Rule::Any, None),
];

/// What a client says of itself, and a subscription may ask for by name.
const SELECTORS: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

pub(super) fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

/// Checks the selectors; the error is the message for the client.
pub(super) fn check_together(configs: &Configs) -> Result<(), String> {
    selectors(configs).map(drop)
}

/// The selectors with the pattern that the whole of the value must match.
fn selectors(configs: &Configs) -> Result<Vec<(&str, Regex)>, String> {
    let selector = |text: &'_ str| -> Option<(usize, Regex)> {
        let (name, pattern) = text.split_once('=')?;
        let place = SELECTORS.iter().position(|known| *known == name.trim())?;
        let whole = format!("^(?:{})$", pattern.trim());
        Some((place, RegexBuilder::new(&whole).size_limit(PATTERN_BYTES_MAX).build().ok()?))
    };
    let illegal = |text: &str| format!("Illegal client matching pattern: {text}");
    list(configs.get(MATCH).map_or("", String::as_str))
        .map(|text| {
            selector(text).map(|(place, regex)| (SELECTORS[place], regex)).ok_or_else(|| illegal(text))
        })
        .collect()
}

/// What a client is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSubscription {
    /// Changes with what is asked for.
    pub id: i32,
    /// Prefixes of names; none asks for nothing, an empty one for everything.
    pub metrics: Vec<String>,
    /// How often, milliseconds.
    pub interval_ms: i32,
}

impl ClientSubscription {
    /// What all subscriptions together ask of a client, whose attributes are found by the name of the selector.
    pub fn of<'a>(
        subscriptions: impl Iterator<Item = &'a Configs>,
        attribute: impl Fn(&str) -> String,
    ) -> ClientSubscription {
        let matches = |configs: &&Configs| {
            let all = |selectors: Vec<(&str, Regex)>| {
                selectors.iter().all(|(name, pattern)| pattern.is_match(&attribute(name)))
            };
            selectors(configs).is_ok_and(all)
        };
        let mut wanted = ClientSubscription { id: 0, metrics: Vec::new(), interval_ms: INTERVAL_MS_DEFAULT };
        for configs in subscriptions.filter(matches) {
            let interval = configs.get(INTERVAL_MS).and_then(|value| value.trim().parse().ok());
            wanted.interval_ms = wanted.interval_ms.min(interval.unwrap_or(INTERVAL_MS_DEFAULT));
            wanted.metrics.extend(list(configs.get(METRICS).map_or("", String::as_str)).map(str::to_owned));
        }
        if wanted.metrics.iter().any(|metric| metric == "*") {
            wanted.metrics = vec![String::new()];
        }
        wanted.metrics.sort();
        wanted.metrics.dedup();
        let text = format!("{} {}", wanted.metrics.join(","), wanted.interval_ms);
        wanted.id = i32::from_be_bytes(crc32c::crc32c(text.as_bytes()).to_be_bytes());
        wanted
    }
}

/// Every config of a subscription, set or not.
pub fn client_metrics_configs(set: &Configs) -> Vec<ConfigValue> {
    let layer = |name, value: &str, source| ConfigLayer { name: Some(name), value: value.to_owned(), source };
    DEFINITIONS
        .iter()
        .map(|Definition { name, config_type, default, .. }| {
            let value = set.get(*name).map(|value| layer(*name, value, ConfigSource::ClientMetrics));
            let layers = value.into_iter().chain([layer(*name, default, ConfigSource::Default)]).collect();
            ConfigValue { name, config_type: *config_type, read_only: false, layers }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(metrics: &str, selectors: &str, interval: &str) -> Configs {
        let set = [(METRICS, metrics), (MATCH, selectors), (INTERVAL_MS, interval)];
        set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_client_is_asked_for_what_every_subscription_that_matches_it_names() {
        let all = [
            configs("org.apache.kafka.producer.", "client_id=ap.*", "60000"),
            configs("org.apache.kafka.consumer.", "", "90000"),
            configs("*", "client_id=app,client_software_name=librdkafka", "1000"),
        ];
        let client = |name: &str| if name == "client_id" { "app".to_owned() } else { "x".to_owned() };
        let asked = ClientSubscription::of(all.iter(), client);
        assert_eq!(asked.metrics, ["org.apache.kafka.consumer.", "org.apache.kafka.producer."]);
        assert_eq!(asked.interval_ms, 60_000);
        let other = ClientSubscription::of(all.iter(), |_| "none".to_owned());
        assert_eq!(other.metrics, ["org.apache.kafka.consumer."]);
        assert_ne!(other.id, asked.id);
    }

    #[test]
    fn selectors_that_cannot_match_are_refused() {
        for selectors in ["client_id", "nobody=x", "client_id=("] {
            assert!(check_together(&configs("", selectors, "1000")).is_err(), "{selectors}");
        }
        assert_eq!(check_together(&configs("", "client_id=a.*, client_source_port=9", "1000")), Ok(()));
    }
}
