//! The configs of topics: Kafka's names, types and defaults, and what a broker's configs say where a topic's do not.

use ottla_protocol::records::Compression;

use super::configs::{
    ConfigLayer, ConfigSource, ConfigType, ConfigValue, Configs, Definition, Rule, define, list,
    set_on_brokers,
};
use super::image::ClusterImage;
use super::throttle_configs::{FOLLOWER_REPLICAS, LEADER_REPLICAS, rates_that_are_set};
use crate::ids::NodeId;
use crate::log::LogConfig;

const INT: Rule = Rule::Integer { min: 0, max: i32::MAX as i64 };
const LONG: Rule = Rule::Integer { min: 0, max: i64::MAX };
const FROM_MINUS_1: Rule = Rule::Integer { min: -1, max: i64::MAX };
const FROM_MINUS_2: Rule = Rule::Integer { min: -2, max: i64::MAX };
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
/// Segments too small for anything but tests; not told to clients.
const SMALL_SEGMENTS: &str = "internal.segment.bytes";
const LONG_MAX: &str = "9223372036854775807";

/// Kafka 4's topic configs, by name. Two defaults differ: `flush.messages=1` makes `acks=all` mean on disk, and logs
/// are always preallocated.
pub(super) const DEFINITIONS: &[Definition] = &[
    define(
        "cleanup.policy",
        ConfigType::List,
        "delete",
        Rule::ListOf(&["compact", "delete"]),
        Some("log.cleanup.policy"),
    ),
    define(
        "compression.gzip.level",
        ConfigType::Int,
        "-1",
        Rule::Integer { min: -1, max: 9 },
        Some("compression.gzip.level"),
    ),
    define(
        "compression.lz4.level",
        ConfigType::Int,
        "9",
        Rule::Integer { min: 1, max: 17 },
        Some("compression.lz4.level"),
    ),
    define("compression.type", ConfigType::String, "producer", Rule::OneOf(CODECS), Some("compression.type")),
    define(
        "compression.zstd.level",
        ConfigType::Int,
        "3",
        Rule::Integer { min: -131_072, max: 22 },
        Some("compression.zstd.level"),
    ),
    define(
        "delete.retention.ms",
        ConfigType::Long,
        "86400000",
        LONG,
        Some("log.cleaner.delete.retention.ms"),
    ),
    define("file.delete.delay.ms", ConfigType::Long, "60000", LONG, Some("log.segment.delete.delay.ms")),
    define(
        "flush.messages",
        ConfigType::Long,
        "1",
        Rule::Integer { min: 1, max: i64::MAX },
        Some("log.flush.interval.messages"),
    ),
    define("flush.ms", ConfigType::Long, LONG_MAX, LONG, Some("log.flush.interval.ms")),
    define(FOLLOWER_REPLICAS, ConfigType::List, "", Rule::ThrottledReplicas, None),
    define("index.interval.bytes", ConfigType::Int, "4096", INT, Some("log.index.interval.bytes")),
    define(LEADER_REPLICAS, ConfigType::List, "", Rule::ThrottledReplicas, None),
    define(SMALL_SEGMENTS, ConfigType::Int, "0", INT, None),
    define("local.retention.bytes", ConfigType::Long, "-2", FROM_MINUS_2, Some("log.local.retention.bytes")),
    define("local.retention.ms", ConfigType::Long, "-2", FROM_MINUS_2, Some("log.local.retention.ms")),
    define(
        "max.compaction.lag.ms",
        ConfigType::Long,
        LONG_MAX,
        Rule::Integer { min: 1, max: i64::MAX },
        Some("log.cleaner.max.compaction.lag.ms"),
    ),
    define("max.message.bytes", ConfigType::Int, "1048588", INT, Some("message.max.bytes")),
    define(
        "message.timestamp.after.max.ms",
        ConfigType::Long,
        "3600000",
        LONG,
        Some("log.message.timestamp.after.max.ms"),
    ),
    define(
        "message.timestamp.before.max.ms",
        ConfigType::Long,
        LONG_MAX,
        LONG,
        Some("log.message.timestamp.before.max.ms"),
    ),
    define(
        "message.timestamp.type",
        ConfigType::String,
        "CreateTime",
        Rule::OneOf(&["CreateTime", "LogAppendTime"]),
        Some("log.message.timestamp.type"),
    ),
    define(
        "min.cleanable.dirty.ratio",
        ConfigType::Double,
        "0.5",
        Rule::Ratio,
        Some("log.cleaner.min.cleanable.ratio"),
    ),
    define("min.compaction.lag.ms", ConfigType::Long, "0", LONG, Some("log.cleaner.min.compaction.lag.ms")),
    define(
        "min.insync.replicas",
        ConfigType::Int,
        "1",
        Rule::Integer { min: 1, max: i32::MAX as i64 },
        Some("min.insync.replicas"),
    ),
    define("preallocate", ConfigType::Boolean, "true", Rule::Boolean, Some("log.preallocate")),
    define("remote.log.copy.disable", ConfigType::Boolean, "false", Rule::Boolean, None),
    define("remote.log.delete.on.disable", ConfigType::Boolean, "false", Rule::Boolean, None),
    define("remote.storage.enable", ConfigType::Boolean, "false", Rule::Boolean, None),
    define("retention.bytes", ConfigType::Long, "-1", FROM_MINUS_1, Some("log.retention.bytes")),
    define("retention.ms", ConfigType::Long, "604800000", FROM_MINUS_1, Some("log.retention.ms")),
    define(
        "segment.bytes",
        ConfigType::Int,
        "1073741824",
        Rule::Integer { min: 1 << 20, max: i32::MAX as i64 },
        Some("log.segment.bytes"),
    ),
    define(
        "segment.index.bytes",
        ConfigType::Int,
        "10485760",
        Rule::Integer { min: 4, max: i32::MAX as i64 },
        Some("log.index.size.max.bytes"),
    ),
    define("segment.jitter.ms", ConfigType::Long, "0", LONG, Some("log.roll.jitter.ms")),
    define(
        "segment.ms",
        ConfigType::Long,
        "604800000",
        Rule::Integer { min: 1, max: i64::MAX },
        Some("log.roll.ms"),
    ),
    define(
        "unclean.leader.election.enable",
        ConfigType::Boolean,
        "false",
        Rule::Boolean,
        Some("unclean.leader.election.enable"),
    ),
];

pub(super) fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

/// The definition of a topic config under the name that brokers have for it.
pub(crate) fn definition_of_broker(broker_name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.broker_name == Some(broker_name))
}

/// The names that brokers have for the defaults of topics.
pub(crate) fn broker_names_of_topic_configs() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.iter().filter_map(|definition| definition.broker_name)
}

/// Checks one config as Kafka does; the error is the message for the client.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    let definition = definition(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    definition.check(name, value)
}

/// The configs of a topic, read through all layers.
#[derive(Debug, Clone, Copy)]
pub struct TopicConfigs<'a> {
    /// Set on the topic.
    pub topic: &'a Configs,
    /// Set on the broker that asks.
    pub broker: &'a Configs,
    /// Set on all brokers.
    pub all_brokers: &'a Configs,
    /// What the broker that asks was started with, under the names of brokers.
    pub started_with: &'a Configs,
}

impl TopicConfigs<'_> {
    /// Everywhere that a config is set.
    fn layers(&self, definition: &'static Definition) -> Vec<ConfigLayer> {
        let topic = self.topic.get(definition.name);
        let topic = topic.map(|value| (definition.name, value.as_str(), ConfigSource::DynamicTopic));
        let of_brokers = definition.broker_name.into_iter().flat_map(|name| {
            let broker =
                self.broker.get(name).map(|value| (name, value.as_str(), ConfigSource::DynamicBroker));
            let all = self.all_brokers.get(name);
            let all = all.map(|value| (name, value.as_str(), ConfigSource::DynamicDefaultBroker));
            let started = self.started_with.get(name);
            let started = started.map(|value| (name, value.as_str(), ConfigSource::StaticBroker));
            broker.into_iter().chain(all).chain(started)
        });
        let default = ConfigLayer {
            name: definition.broker_name.filter(|name| !WITHOUT_DEFAULT.contains(name)),
            value: definition.default.to_owned(),
            source: ConfigSource::Default,
        };
        let set = topic.into_iter().chain(of_brokers);
        let set = set.map(|(name, value, source)| ConfigLayer {
            name: Some(name),
            value: value.to_owned(),
            source,
        });
        set.chain([default]).collect()
    }

    /// The value that counts.
    pub(super) fn value(&self, name: &str) -> &str {
        let Some(definition) = definition(name) else { return "" };
        let of_brokers = |configs| definition.broker_name.and_then(|name| Configs::get(configs, name));
        let set = self.topic.get(name);
        let set = set.or_else(|| of_brokers(self.broker)).or_else(|| of_brokers(self.all_brokers));
        set.or_else(|| of_brokers(self.started_with)).map_or(definition.default, String::as_str)
    }

    fn number(&self, name: &str) -> i64 {
        // Values were checked before they were stored.
        self.value(name).trim().parse().unwrap_or_default()
    }

    /// What no single value can be blamed for; the error is the message for the client.
    pub(super) fn check_together(&self) -> Result<(), String> {
        let (min, max) = (self.number("min.compaction.lag.ms"), self.number("max.compaction.lag.ms"));
        if min > max {
            return Err(format!(
                "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
            ));
        }
        Ok(())
    }

    /// What the log needs to know.
    pub fn log_config(&self) -> LogConfig {
        let has_policy = |wanted| list(self.value("cleanup.policy")).any(|policy| policy == wanted);
        LogConfig {
            segment_bytes: match self.number(SMALL_SEGMENTS) {
                0 => self.number("segment.bytes") as u32,
                small => small as u32,
            },
            segment_index_bytes: self.number("segment.index.bytes") as u32,
            index_interval_bytes: self.number("index.interval.bytes") as u32,
            file_delete_delay_ms: self.number("file.delete.delay.ms") as u64,
            segment_ms: self.number("segment.ms"),
            segment_jitter_ms: self.number("segment.jitter.ms"),
            flush_messages: self.number("flush.messages") as u64,
            flush_ms: self.number("flush.ms") as u64,
            min_insync_replicas: self.number("min.insync.replicas") as usize,
            max_message_bytes: self.number("max.message.bytes") as usize,
            log_append_time: self.value("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: self.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: self.number("message.timestamp.after.max.ms"),
            compression: match self.value("compression.type") {
                "uncompressed" => Some(Compression::None),
                "gzip" => Some(Compression::Gzip),
                "snappy" => Some(Compression::Snappy),
                "lz4" => Some(Compression::Lz4),
                "zstd" => Some(Compression::Zstd),
                _ => None,
            },
            deleted: has_policy("delete"),
            retention_ms: Some(self.number("retention.ms")).filter(|retention| *retention >= 0),
            retention_bytes: u64::try_from(self.number("retention.bytes")).ok(),
            compacted: has_policy("compact"),
            delete_retention_ms: self.number("delete.retention.ms"),
            min_compaction_lag_ms: self.number("min.compaction.lag.ms"),
            max_compaction_lag_ms: self.number("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: self.value("min.cleanable.dirty.ratio").trim().parse().unwrap_or(0.5),
        }
    }

    /// Whether `acks=all` waits for the disk: `flush.messages=1`, the default.
    pub fn acks_all_is_durable(&self) -> bool {
        self.number("flush.messages") == 1
    }

    /// Every config, set or not, by name.
    pub fn all(&self) -> Vec<ConfigValue> {
        let value = |definition: &'static Definition| ConfigValue {
            name: definition.name,
            config_type: definition.config_type,
            read_only: false,
            layers: self.layers(definition),
        };
        DEFINITIONS.iter().filter(|definition| definition.name != SMALL_SEGMENTS).map(value).collect()
    }
}

/// The configs of a broker that can be set while it runs: the defaults of its topics, and what holds its replication back where that is
/// set. Without a number, those that were set on all brokers.
pub fn dynamic_broker_configs(image: &ClusterImage, node_id: Option<NodeId>) -> Vec<ConfigValue> {
    let value = |definition: &'static Definition| {
        let name = definition.broker_name?;
        let mut layers = set_on_brokers(image, node_id, name);
        if node_id.is_some() {
            let started = image.started_with().get(name).cloned();
            let started = started.map(|value| (value, ConfigSource::StaticBroker));
            let default = (definition.default.to_owned(), ConfigSource::Default);
            let default = (!WITHOUT_DEFAULT.contains(&name)).then_some(default);
            let layer = |(value, source)| ConfigLayer { name: Some(name), value, source };
            layers.extend(started.into_iter().chain(default).map(layer));
        } else if layers.is_empty() {
            return None;
        }
        Some(ConfigValue { name, config_type: definition.config_type, read_only: false, layers })
    };
    DEFINITIONS.iter().filter_map(value).chain(rates_that_are_set(image, node_id)).collect()
}

/// Broker configs that have no default, because others say the same in a coarser unit and have one.
const WITHOUT_DEFAULT: &[&str] =
    &["log.flush.interval.ms", "log.retention.ms", "log.roll.jitter.ms", "log.roll.ms"];

/// Broker configs that say the same in a coarser unit, the finer first: the name, the one in milliseconds, and how many
/// milliseconds its unit has.
pub(crate) const COARSER: &[(&str, &str, i64)] = &[
    ("log.retention.minutes", "log.retention.ms", 60_000),
    ("log.retention.hours", "log.retention.ms", 3_600_000),
    ("log.roll.hours", "log.roll.ms", 3_600_000),
    ("log.roll.jitter.hours", "log.roll.jitter.ms", 3_600_000),
];

/// The defaults of topics in what a broker was started with, under one name each. Values were checked before.
pub(crate) fn topic_defaults(set: &Configs) -> Configs {
    let of_topics = set.iter().filter(|(name, _)| definition_of_broker(name).is_some());
    let mut defaults: Configs = of_topics.map(|(name, value)| (name.clone(), value.clone())).collect();
    for (name, finest, unit_ms) in COARSER {
        let Some(value) = set.get(*name).and_then(|value| value.trim().parse::<i64>().ok()) else { continue };
        // -1 is no bound, whatever the unit.
        let ms = if value < 0 { -1 } else { value.saturating_mul(*unit_ms) };
        defaults.entry((*finest).to_owned()).or_insert_with(|| ms.to_string());
    }
    defaults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_check() {
        for Definition { name, default, .. } in DEFINITIONS {
            assert_eq!(check(name, default), Ok(()), "{name}");
        }
    }

    #[test]
    fn refuses_unknown_names_and_wrong_values() {
        for (name, value) in [
            ("retention.m", "1"),
            ("retention.ms", "a day"),
            ("retention.ms", "-2"),
            ("cleanup.policy", "compact,shrink"),
            ("segment.bytes", "1048575"),
            ("segment.bytes", "2147483648"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("preallocate", "yes"),
            ("compression.type", "lzma"),
        ] {
            assert!(check(name, value).is_err(), "{name}={value}");
        }
        assert_eq!(check("cleanup.policy", "compact, delete"), Ok(()));
    }

    #[test]
    fn what_the_log_needs_follows_the_configs() {
        let set = Configs::from([
            ("cleanup.policy".to_owned(), "delete,compact".to_owned()),
            ("message.timestamp.type".to_owned(), "LogAppendTime".to_owned()),
            ("max.message.bytes".to_owned(), "99".to_owned()),
        ]);
        let nothing = Configs::new();
        let unset =
            TopicConfigs { topic: &nothing, broker: &nothing, all_brokers: &nothing, started_with: &nothing };
        let config = TopicConfigs { topic: &set, ..unset }.log_config();
        assert!(config.compacted && config.log_append_time);
        assert_eq!(config.max_message_bytes, 99);
        assert_eq!(unset.log_config(), LogConfig::default());
    }

    #[test]
    fn a_coarser_unit_counts_where_no_finer_one_is_set() {
        let started_with = |set: &[(&str, &str)]| {
            let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let defaults = topic_defaults(&set.collect());
            defaults.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(started_with(&[("log.retention.hours", "2")]), "log.retention.ms=7200000");
        let both = [("log.retention.hours", "2"), ("log.retention.minutes", "1")];
        assert_eq!(started_with(&both), "log.retention.ms=60000");
        let all = [("log.retention.hours", "2"), ("log.retention.ms", "9"), ("log.roll.hours", "-1")];
        assert_eq!(started_with(&all), "log.retention.ms=9 log.roll.ms=-1");
        assert_eq!(
            started_with(&[("num.partitions", "2"), ("message.max.bytes", "5")]),
            "message.max.bytes=5"
        );
    }

    #[test]
    fn a_topic_goes_by_its_own_config_then_by_its_brokers_then_by_all_brokers_then_by_the_start() {
        let (name, broker_name) = ("retention.ms", "log.retention.ms");
        let set = |name: &str, value: &str| Configs::from([(name.to_owned(), value.to_owned())]);
        let (topic, broker) = (set(name, "1"), set(broker_name, "2"));
        let (all_brokers, started_with) = (set(broker_name, "3"), set(broker_name, "4"));
        let nothing = Configs::new();
        let mut configs = TopicConfigs {
            topic: &topic,
            broker: &broker,
            all_brokers: &all_brokers,
            started_with: &started_with,
        };
        let layers = configs.layers(definition(name).unwrap());
        let seen: Vec<_> =
            layers.iter().map(|layer| (layer.name, &*layer.value, layer.source.code())).collect();
        let of_brokers = [("2", 2), ("3", 3), ("4", 4)];
        let of_brokers = of_brokers.map(|(value, source)| (Some(broker_name), value, source));
        let default = (None, "604800000", 5);
        assert_eq!(seen, [&[(Some(name), "1", 1)][..], &of_brokers, &[default]].concat());
        assert_eq!(configs.value(name), "1");
        configs.topic = &nothing;
        assert_eq!(configs.value(name), "2");
        configs.broker = &nothing;
        assert_eq!(configs.value(name), "3");
        configs.all_brokers = &nothing;
        assert_eq!(configs.value(name), "4");
        configs.started_with = &nothing;
        assert_eq!(configs.value(name), "604800000");
    }
}
