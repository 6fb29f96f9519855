//! The configs of topics: Kafka's names, types and defaults, checked before they are stored.

use std::collections::BTreeMap;

use ottla_protocol::records::Compression;

use crate::log::LogConfig;

/// The type of a config's value. The numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// 1.
    Boolean,
    /// 2.
    String,
    /// 3.
    Int,
    /// 5.
    Long,
    /// 6.
    Double,
    /// 7.
    List,
}

impl ConfigType {
    /// The protocol's number.
    pub fn code(self) -> i8 {
        match self {
            ConfigType::Boolean => 1,
            ConfigType::String => 2,
            ConfigType::Int => 3,
            ConfigType::Long => 5,
            ConfigType::Double => 6,
            ConfigType::List => 7,
        }
    }
}

/// Where a config's value comes from. The numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// 1: set on the topic.
    DynamicTopic,
    /// 5: nobody set it.
    Default,
}

impl ConfigSource {
    /// The protocol's number.
    pub fn code(self) -> i8 {
        match self {
            ConfigSource::DynamicTopic => 1,
            ConfigSource::Default => 5,
        }
    }
}

/// A config with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Kafka's name.
    pub name: &'static str,
    /// As text.
    pub value: String,
    /// Nobody or the topic.
    pub source: ConfigSource,
    /// Of the value.
    pub config_type: ConfigType,
    /// What it is without being set.
    pub default: &'static str,
}

/// What values a config takes.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Any,
    Boolean,
    Integer { min: i64, max: i64 },
    Ratio,
    OneOf(&'static [&'static str]),
    ListOf(&'static [&'static str]),
}

struct Definition(&'static str, ConfigType, &'static str, Rule);

const INT: Rule = Rule::Integer { min: 0, max: i32::MAX as i64 };
const LONG: Rule = Rule::Integer { min: 0, max: i64::MAX };
const FROM_MINUS_1: Rule = Rule::Integer { min: -1, max: i64::MAX };
const FROM_MINUS_2: Rule = Rule::Integer { min: -2, max: i64::MAX };
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const LONG_MAX: &str = "9223372036854775807";

/// Kafka 4's topic configs, by name. Two defaults differ: `flush.messages=1` makes `acks=all` mean on disk, and logs
/// are always preallocated.
const DEFINITIONS: &[Definition] = &[
    Definition("cleanup.policy", ConfigType::List, "delete", Rule::ListOf(&["compact", "delete"])),
    Definition("compression.gzip.level", ConfigType::Int, "-1", Rule::Integer { min: -1, max: 9 }),
    Definition("compression.lz4.level", ConfigType::Int, "9", Rule::Integer { min: 1, max: 17 }),
    Definition("compression.type", ConfigType::String, "producer", Rule::OneOf(CODECS)),
    Definition("compression.zstd.level", ConfigType::Int, "3", Rule::Integer { min: -131_072, max: 22 }),
    Definition("delete.retention.ms", ConfigType::Long, "86400000", LONG),
    Definition("file.delete.delay.ms", ConfigType::Long, "60000", LONG),
    Definition("flush.messages", ConfigType::Long, "1", Rule::Integer { min: 1, max: i64::MAX }),
    Definition("flush.ms", ConfigType::Long, LONG_MAX, LONG),
    Definition("follower.replication.throttled.replicas", ConfigType::List, "", Rule::Any),
    Definition("index.interval.bytes", ConfigType::Int, "4096", INT),
    Definition("leader.replication.throttled.replicas", ConfigType::List, "", Rule::Any),
    Definition("local.retention.bytes", ConfigType::Long, "-2", FROM_MINUS_2),
    Definition("local.retention.ms", ConfigType::Long, "-2", FROM_MINUS_2),
    Definition("max.compaction.lag.ms", ConfigType::Long, LONG_MAX, Rule::Integer { min: 1, max: i64::MAX }),
    Definition("max.message.bytes", ConfigType::Int, "1048588", INT),
    Definition("message.timestamp.after.max.ms", ConfigType::Long, "3600000", LONG),
    Definition("message.timestamp.before.max.ms", ConfigType::Long, LONG_MAX, LONG),
    Definition(
        "message.timestamp.type",
        ConfigType::String,
        "CreateTime",
        Rule::OneOf(&["CreateTime", "LogAppendTime"]),
    ),
    Definition("min.cleanable.dirty.ratio", ConfigType::Double, "0.5", Rule::Ratio),
    Definition("min.compaction.lag.ms", ConfigType::Long, "0", LONG),
    Definition("min.insync.replicas", ConfigType::Int, "1", Rule::Integer { min: 1, max: i32::MAX as i64 }),
    Definition("preallocate", ConfigType::Boolean, "true", Rule::Boolean),
    Definition("remote.log.copy.disable", ConfigType::Boolean, "false", Rule::Boolean),
    Definition("remote.log.delete.on.disable", ConfigType::Boolean, "false", Rule::Boolean),
    Definition("remote.storage.enable", ConfigType::Boolean, "false", Rule::Boolean),
    Definition("retention.bytes", ConfigType::Long, "-1", FROM_MINUS_1),
    Definition("retention.ms", ConfigType::Long, "604800000", FROM_MINUS_1),
    Definition(
        "segment.bytes",
        ConfigType::Int,
        "1073741824",
        Rule::Integer { min: 1024, max: i32::MAX as i64 },
    ),
    Definition(
        "segment.index.bytes",
        ConfigType::Int,
        "10485760",
        Rule::Integer { min: 4, max: i32::MAX as i64 },
    ),
    Definition("segment.jitter.ms", ConfigType::Long, "0", LONG),
    Definition("segment.ms", ConfigType::Long, "604800000", Rule::Integer { min: 1, max: i64::MAX }),
    Definition("unclean.leader.election.enable", ConfigType::Boolean, "false", Rule::Boolean),
];

fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.0 == name)
}

/// Checks one config as Kafka does; the error is the message for the client.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    let Some(Definition(_, _, _, rule)) = definition(name) else {
        return Err(format!("Unknown topic config name: {name}"));
    };
    let invalid = |why: String| Err(format!("Invalid value {value} for configuration {name}: {why}"));
    match rule {
        Rule::Any => Ok(()),
        Rule::Boolean if matches!(value, "true" | "false") => Ok(()),
        Rule::Boolean => invalid("Expected value to be either true or false".to_owned()),
        Rule::Integer { min, max } => match value.trim().parse::<i64>() {
            Err(_) => invalid("Not a number".to_owned()),
            Ok(number) if number < *min => invalid(format!("Value must be at least {min}")),
            Ok(number) if number > *max => invalid(format!("Value must be no more than {max}")),
            Ok(_) => Ok(()),
        },
        Rule::Ratio => match value.trim().parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
            _ => invalid("Expected a number between 0 and 1".to_owned()),
        },
        Rule::OneOf(words) if words.contains(&value) => Ok(()),
        Rule::OneOf(words) => invalid(format!("String must be one of: {}", words.join(", "))),
        Rule::ListOf(words) => {
            let wrong = value.split(',').map(str::trim).find(|word| !words.contains(word));
            match wrong {
                None => Ok(()),
                Some(word) => invalid(format!("{word:?} must be one of: {}", words.join(", "))),
            }
        }
    }
}

/// The configs that were set on a topic, read with their defaults.
#[derive(Debug, Clone, Copy)]
pub struct TopicConfigs<'a>(pub &'a BTreeMap<String, String>);

impl TopicConfigs<'_> {
    fn value(&self, name: &'static str) -> &str {
        let set = self.0.get(name).map(String::as_str);
        set.or_else(|| definition(name).map(|definition| definition.2)).unwrap_or_default()
    }

    fn number(&self, name: &'static str) -> i64 {
        // Values were checked before they were stored.
        self.value(name).trim().parse().unwrap_or_default()
    }

    /// What the log needs to know.
    pub fn log_config(&self) -> LogConfig {
        let has_policy =
            |wanted| self.value("cleanup.policy").split(',').any(|policy| policy.trim() == wanted);
        LogConfig {
            segment_bytes: self.number("segment.bytes") as u32,
            segment_ms: self.number("segment.ms"),
            segment_jitter_ms: self.number("segment.jitter.ms"),
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
        DEFINITIONS
            .iter()
            .map(|Definition(name, config_type, default, _)| {
                let set = self.0.get(*name);
                ConfigValue {
                    name,
                    value: set.map_or_else(|| (*default).to_owned(), Clone::clone),
                    source: if set.is_some() { ConfigSource::DynamicTopic } else { ConfigSource::Default },
                    config_type: *config_type,
                    default,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_check() {
        for Definition(name, _, default, _) in DEFINITIONS {
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
            ("segment.bytes", "10"),
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
        let set = BTreeMap::from([
            ("cleanup.policy".to_owned(), "delete,compact".to_owned()),
            ("message.timestamp.type".to_owned(), "LogAppendTime".to_owned()),
            ("max.message.bytes".to_owned(), "99".to_owned()),
        ]);
        let config = TopicConfigs(&set).log_config();
        assert!(config.compacted && config.log_append_time);
        assert_eq!(config.max_message_bytes, 99);
        assert_eq!(TopicConfigs(&BTreeMap::new()).log_config(), LogConfig::default());
    }
}
