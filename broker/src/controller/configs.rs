//! What all configs have in common, whatever they belong to: a name, a type, a default, a rule for values, and the
//! layers in which a value may be set.

use std::collections::BTreeMap;

use super::image::{ClusterImage, ResourceType};
use super::throttle_configs::check_replicas;
use crate::ids::NodeId;

/// What was set on one resource, by name.
pub type Configs = BTreeMap<String, String>;

/// The type of a config's value. The numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// 1.
    Boolean,
    /// 2.
    String,
    /// 3.
    Int,
    /// 4.
    Short,
    /// 5.
    Long,
    /// 6.
    Double,
    /// 7.
    List,
    /// 8.
    Class,
    /// 9.
    Password,
}

impl ConfigType {
    /// Kafka's name.
    fn name(self) -> &'static str {
        match self {
            ConfigType::Boolean => "BOOLEAN",
            ConfigType::String => "STRING",
            ConfigType::Int => "INT",
            ConfigType::Short => "SHORT",
            ConfigType::Long => "LONG",
            ConfigType::Double => "DOUBLE",
            ConfigType::List => "LIST",
            ConfigType::Class => "CLASS",
            ConfigType::Password => "PASSWORD",
        }
    }

    /// The protocol's number.
    pub fn code(self) -> i8 {
        match self {
            ConfigType::Boolean => 1,
            ConfigType::String => 2,
            ConfigType::Int => 3,
            ConfigType::Short => 4,
            ConfigType::Long => 5,
            ConfigType::Double => 6,
            ConfigType::List => 7,
            ConfigType::Class => 8,
            ConfigType::Password => 9,
        }
    }
}

/// Where a config's value comes from. The numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// 1: set on the topic.
    DynamicTopic,
    /// 2: set on this broker while it runs.
    DynamicBroker,
    /// 3: set on all brokers while they run.
    DynamicDefaultBroker,
    /// 4: given to the broker when it started.
    StaticBroker,
    /// 5: nobody set it.
    Default,
    /// 7: set on a client metrics subscription.
    ClientMetrics,
    /// 8: set on a group.
    Group,
}

impl ConfigSource {
    /// The protocol's number.
    pub fn code(self) -> i8 {
        match self {
            ConfigSource::DynamicTopic => 1,
            ConfigSource::DynamicBroker => 2,
            ConfigSource::DynamicDefaultBroker => 3,
            ConfigSource::StaticBroker => 4,
            ConfigSource::Default => 5,
            ConfigSource::ClientMetrics => 7,
            ConfigSource::Group => 8,
        }
    }
}

/// One place where a value is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigLayer {
    /// What it is called there: a topic's `retention.ms` is a broker's `log.retention.ms`. Nothing where the default is
    /// that of no config by itself.
    pub name: Option<&'static str>,
    /// As text.
    pub value: String,
    /// Where.
    pub source: ConfigSource,
}

/// A config with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Kafka's name.
    pub name: &'static str,
    /// Of the value.
    pub config_type: ConfigType,
    /// It stays so until the broker is started again.
    pub read_only: bool,
    /// Every place that sets it, the one that counts first; the last is the default. None where the default is no
    /// value.
    pub layers: Vec<ConfigLayer>,
}

impl ConfigValue {
    /// The value that counts.
    pub fn value(&self) -> Option<&str> {
        self.layers.first().map(|layer| &*layer.value)
    }

    /// Where it comes from.
    pub fn source(&self) -> ConfigSource {
        self.layers.first().map_or(ConfigSource::Default, |layer| layer.source)
    }
}

/// Where a config of brokers is set while they run: on one of them, and on all.
pub(super) fn set_on_brokers(
    image: &ClusterImage,
    node_id: Option<NodeId>,
    name: &'static str,
) -> Vec<ConfigLayer> {
    let layer = |configs: &Configs, source| {
        let value = configs.get(name)?.clone();
        Some(ConfigLayer { name: Some(name), value, source })
    };
    let own = node_id.and_then(|node_id| {
        layer(image.configs(ResourceType::Broker, &node_id.to_string()), ConfigSource::DynamicBroker)
    });
    let all = layer(image.configs(ResourceType::Broker, ""), ConfigSource::DynamicDefaultBroker);
    own.into_iter().chain(all).collect()
}

/// What values a config takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    Any,
    Boolean,
    Integer { min: i64, max: i64 },
    Ratio,
    OneOf(&'static [&'static str]),
    ListOf(&'static [&'static str]),
    ThrottledReplicas,
}

/// A config that exists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Definition {
    pub name: &'static str,
    pub config_type: ConfigType,
    pub default: &'static str,
    pub rule: Rule,
    /// The broker's config that is the default of a topic's.
    pub broker_name: Option<&'static str>,
}

pub(crate) const fn define(
    name: &'static str,
    config_type: ConfigType,
    default: &'static str,
    rule: Rule,
    broker_name: Option<&'static str>,
) -> Definition {
    Definition { name, config_type, default, rule, broker_name }
}

impl Definition {
    /// Checks a value as Kafka does, under the name that the client used; the error is the message for it.
    pub fn check(&self, name: &str, value: &str) -> Result<(), String> {
        let invalid = |why: String| Err(format!("Invalid value {value} for configuration {name}: {why}"));
        match self.rule {
            Rule::Any => Ok(()),
            Rule::Boolean if matches!(value, "true" | "false") => Ok(()),
            Rule::Boolean => invalid("Expected value to be either true or false".to_owned()),
            Rule::Integer { min, max } => match value.trim().parse::<i64>() {
                Err(_) => invalid(format!("Not a number of type {}", self.config_type.name())),
                Ok(number) if number < min => invalid(format!("Value must be at least {min}")),
                Ok(number) if number > max => invalid(format!("Value must be no more than {max}")),
                Ok(_) => Ok(()),
            },
            Rule::Ratio => match value.trim().parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
                _ => invalid("Expected a number between 0 and 1".to_owned()),
            },
            Rule::OneOf(words) if words.contains(&value) => Ok(()),
            Rule::OneOf(words) => invalid(format!("String must be one of: {}", words.join(", "))),
            Rule::ListOf(words) => match list(value).find(|word| !words.contains(word)) {
                None => Ok(()),
                Some(word) => invalid(format!("{word:?} must be one of: {}", words.join(", "))),
            },
            Rule::ThrottledReplicas => check_replicas(value).or_else(|why| invalid(why.to_owned())),
        }
    }
}

/// The elements of a list's value.
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}
