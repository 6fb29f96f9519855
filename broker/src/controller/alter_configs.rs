//! Changing the configs of topics, brokers and client metrics subscriptions: pure decisions.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::metadata_records::ConfigRecord;

use super::configs::{ConfigType, Configs, Definition, list};
use super::image::{ClusterImage, ResourceType};
use super::records::MetadataRecord;
use super::topics::{Refusal, TopicRules, refuse};
use super::{client_metrics, group_configs, throttle_configs, topic_configs};
use crate::ids::NodeId;

/// What to do with one config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigEdit {
    /// Give it this value.
    Set(String),
    /// Back to its default.
    Delete,
    /// Add these elements to a list.
    Append(String),
    /// Take these elements out of a list.
    Subtract(String),
}

/// A change of one resource's configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterConfigs {
    /// The protocol's number of the resource's type.
    pub resource_type: i8,
    /// Of the resource; empty stands for all brokers.
    pub resource_name: String,
    /// Config by config.
    pub edits: Vec<(String, ConfigEdit)>,
    /// What is not named goes back to its default.
    pub replaces_all: bool,
}

/// Whether a resource with that name may have configs.
pub(super) fn check_resource(
    image: &ClusterImage,
    node_id: NodeId,
    resource_type: i8,
    name: &str,
) -> Result<ResourceType, Refusal> {
    match ResourceType::from_code(resource_type) {
        Some(ResourceType::Topic) if image.topic(name).is_some() => Ok(ResourceType::Topic),
        Some(ResourceType::Topic) => {
            refuse(ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."))
        }
        Some(ResourceType::Broker) if name.is_empty() || is_broker(image, node_id, name) => {
            Ok(ResourceType::Broker)
        }
        Some(ResourceType::Broker) => refuse(
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected {node_id} or empty string, but received {name}"),
        ),
        Some(ResourceType::ClientMetrics) if !name.is_empty() => Ok(ResourceType::ClientMetrics),
        Some(ResourceType::ClientMetrics) => {
            refuse(ErrorCode::InvalidRequest, "The subscription name must not be empty")
        }
        Some(ResourceType::Group) if !name.is_empty() => Ok(ResourceType::Group),
        Some(ResourceType::Group) => refuse(ErrorCode::InvalidRequest, "The group id must not be empty"),
        None => {
            refuse(ErrorCode::InvalidRequest, format!("Unsupported config resource type: {resource_type}"))
        }
    }
}

/// Whether it is the id of this node, or of one that has registered.
fn is_broker(image: &ClusterImage, node_id: NodeId, name: &str) -> bool {
    let named = || name.parse().map(NodeId).ok().filter(|id| id.to_string() == name);
    name == node_id.to_string() || named().is_some_and(|id| image.brokers().contains_key(&id))
}

fn definition_for(resource_type: ResourceType, name: &str) -> Result<&'static Definition, Refusal> {
    let (found, unknown) = match resource_type {
        ResourceType::Topic => {
            (topic_configs::definition(name), format!("Unknown topic config name: {name}"))
        }
        ResourceType::Broker => (
            topic_configs::definition_of_broker(name).or_else(|| throttle_configs::rate_definition(name)),
            format!("Cannot update these configs dynamically: Set({name})"),
        ),
        ResourceType::ClientMetrics => {
            (client_metrics::definition(name), format!("Unknown client metrics configuration: {name}"))
        }
        ResourceType::Group => {
            (group_configs::definition(name), format!("Unknown group config name: {name}"))
        }
    };
    found.ok_or(Refusal { code: wrong_value_code(resource_type), message: unknown })
}

/// Kafka's brokers call a wrong config of their own a wrong request.
fn wrong_value_code(resource_type: ResourceType) -> ErrorCode {
    match resource_type {
        ResourceType::Broker => ErrorCode::InvalidRequest,
        ResourceType::Topic | ResourceType::ClientMetrics | ResourceType::Group => ErrorCode::InvalidConfig,
    }
}

/// Decides about a change.
pub(super) fn decide_alter(
    image: &ClusterImage,
    rules: &TopicRules,
    wanted: &AlterConfigs,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let name = wanted.resource_name.as_str();
    let resource_type = check_resource(image, rules.node_id, wanted.resource_type, name)?;
    let before = match resource_type {
        ResourceType::Topic => image.topic(name).map(|topic| &topic.configs),
        other => Some(image.configs(other, name)),
    };
    let before = before.cloned().unwrap_or_default();
    let mut after = if wanted.replaces_all { Configs::new() } else { before.clone() };
    let mut seen = std::collections::BTreeSet::new();
    for (config, edit) in &wanted.edits {
        if !seen.insert(config) {
            return refuse(
                ErrorCode::InvalidRequest,
                format!("Error due to duplicate config keys: {config}"),
            );
        }
        match (edited(resource_type, config, edit, &after)?, definition_for(resource_type, config)) {
            // What this release does not know may still be taken away.
            (None, _) => after.remove(config),
            (Some(_), Err(refusal)) => return Err(refusal),
            (Some(value), Ok(definition)) => {
                let code = wrong_value_code(resource_type);
                definition.check(config, &value).map_err(|message| Refusal { code, message })?;
                after.insert(config.clone(), value)
            }
        };
    }
    match resource_type {
        ResourceType::Topic => image.topic_configs(&after, rules.node_id).check_together(),
        ResourceType::Broker => Ok(()),
        ResourceType::ClientMetrics => client_metrics::check_together(&after),
        ResourceType::Group => group_configs::check_together(&after, &rules.group_limits),
    }
    .map_err(|message| Refusal { code: ErrorCode::InvalidConfig, message })?;
    let gone = before.keys().filter(|config| !after.contains_key(*config)).map(|config| (config, None));
    let set = after.iter().filter(|(config, value)| before.get(*config) != Some(value));
    let changes = gone.chain(set.map(|(config, value)| (config, Some(value))));
    let record = |(config, value): (&String, Option<&String>)| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: resource_type.code(),
            resource_name: name.into(),
            name: config.as_str().into(),
            value: value.map(|value| value.as_str().into()),
        })
    };
    Ok(changes.map(record).collect())
}

/// The config's new value; `None` takes it away.
fn edited(
    resource_type: ResourceType,
    config: &str,
    edit: &ConfigEdit,
    configs: &Configs,
) -> Result<Option<String>, Refusal> {
    let (verb, more) = match edit {
        ConfigEdit::Set(value) => return Ok(Some(value.clone())),
        ConfigEdit::Delete => return Ok(None),
        ConfigEdit::Append(more) => ("append to", more),
        ConfigEdit::Subtract(less) => ("subtract from", less),
    };
    let definition = definition_for(resource_type, config)?;
    if definition.config_type != ConfigType::List {
        return refuse(
            ErrorCode::InvalidConfig,
            format!("Can't {verb} key {config} because its type is not LIST."),
        );
    }
    let now = configs.get(config).map_or(definition.default, String::as_str);
    let mut words: Vec<&str> = list(now).collect();
    for word in list(more) {
        match edit {
            ConfigEdit::Append(_) if !words.contains(&word) => words.push(word),
            ConfigEdit::Subtract(_) => words.retain(|have| *have != word),
            _ => {}
        }
    }
    Ok(Some(words.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::{CreateTopic, GroupLimits, SnapshotRules, ThrottleRates};
    use crate::quotas::UNLIMITED;
    use uuid::Uuid;

    fn rules() -> TopicRules {
        TopicRules {
            node_id: NodeId(1),
            is_alone: true,
            default_partitions: 1,
            default_replication_factor: None,
            directories: vec![Uuid::from_u128(7)],
            group_limits: GroupLimits::default(),
            topic_defaults: Configs::new(),
            snapshots: SnapshotRules::default(),
        }
    }

    fn image() -> ClusterImage {
        let mut image = ClusterImage::default();
        let topic =
            CreateTopic { name: "t".into(), partitions: 1, replication_factor: 1, ..CreateTopic::default() };
        let (records, _) =
            super::super::topics::decide_create(&image, &rules(), &topic, Uuid::from_u128(1)).unwrap();
        records.iter().for_each(|record| image.apply(record));
        image
    }

    fn alter(
        resource_type: i8,
        name: &str,
        edits: &[(&str, ConfigEdit)],
        replaces_all: bool,
    ) -> AlterConfigs {
        let edits = edits.iter().map(|(name, edit)| ((*name).to_owned(), edit.clone())).collect();
        AlterConfigs { resource_type, resource_name: name.to_owned(), edits, replaces_all }
    }

    fn change(image: &mut ClusterImage, wanted: &AlterConfigs) -> Result<usize, ErrorCode> {
        let records = decide_alter(image, &rules(), wanted).map_err(|refusal| refusal.code)?;
        records.iter().for_each(|record| image.apply(record));
        Ok(records.len())
    }

    fn set(value: &str) -> ConfigEdit {
        ConfigEdit::Set(value.to_owned())
    }

    #[test]
    fn single_configs_are_set_extended_and_taken_away() {
        let mut image = image();
        let policy = |image: &ClusterImage| {
            image
                .topic_configs(&image.topic("t").unwrap().configs, NodeId(1))
                .value("cleanup.policy")
                .to_owned()
        };
        let edits = [("cleanup.policy", ConfigEdit::Append("compact".into())), ("retention.ms", set("5"))];
        assert_eq!(change(&mut image, &alter(2, "t", &edits, false)), Ok(2));
        assert_eq!(policy(&image), "delete,compact");
        assert_eq!(change(&mut image, &alter(2, "t", &edits, false)), Ok(0), "nothing is new");
        let edits = [("cleanup.policy", ConfigEdit::Subtract("delete".into()))];
        assert_eq!(change(&mut image, &alter(2, "t", &edits, false)), Ok(1));
        assert_eq!(policy(&image), "compact");
        assert_eq!(
            change(&mut image, &alter(2, "t", &[("cleanup.policy", ConfigEdit::Delete)], false)),
            Ok(1)
        );
        assert_eq!(policy(&image), "delete");
        let left: Vec<_> = image.topic("t").unwrap().configs.keys().cloned().collect();
        assert_eq!(left, ["retention.ms"]);
        assert_eq!(change(&mut image, &alter(2, "t", &[("segment.ms", set("9"))], true)), Ok(2));
        let left: Vec<_> = image.topic("t").unwrap().configs.keys().cloned().collect();
        assert_eq!(left, ["segment.ms"]);
    }

    #[test]
    fn a_brokers_config_is_the_default_of_its_topics() {
        let mut image = image();
        assert_eq!(change(&mut image, &alter(4, "", &[("log.retention.ms", set("77"))], false)), Ok(1));
        assert_eq!(change(&mut image, &alter(4, "1", &[("message.max.bytes", set("99"))], false)), Ok(1));
        let config = image.topic_configs(&image.topic("t").unwrap().configs, NodeId(1)).log_config();
        assert_eq!((config.retention_ms, config.max_message_bytes), (Some(77), 99));
        let elsewhere = image.topic_configs(&image.topic("t").unwrap().configs, NodeId(2)).log_config();
        assert_eq!((elsewhere.retention_ms, elsewhere.max_message_bytes), (Some(77), 1_048_588));
    }

    #[test]
    fn a_brokers_throttle_is_its_own_else_that_of_all_brokers() {
        let mut image = image();
        let rates = |image: &ClusterImage, id| {
            let rates = ThrottleRates::of(image, NodeId(id));
            (rates.leader, rates.follower, rates.log_dirs)
        };
        assert_eq!(rates(&image, 1), (UNLIMITED, UNLIMITED, UNLIMITED));
        let (leader, follower) = ("leader.replication.throttled.rate", "follower.replication.throttled.rate");
        let log_dirs = "replica.alter.log.dirs.io.max.bytes.per.second";
        let all = [(leader, set("70")), (follower, set("7")), (log_dirs, set("8"))];
        assert_eq!(change(&mut image, &alter(4, "", &all, false)), Ok(3));
        assert_eq!(change(&mut image, &alter(4, "1", &[(leader, set("9"))], false)), Ok(1));
        assert_eq!((rates(&image, 1), rates(&image, 2)), ((9, 7, 8), (70, 7, 8)));
        let told: Vec<_> = topic_configs::dynamic_broker_configs(&image, Some(NodeId(1)))
            .into_iter()
            .filter(|config| config.name == leader)
            .map(|config| (config.value().map(str::to_owned), config.layers.len()))
            .collect();
        assert_eq!(told, [(Some("9".to_owned()), 2)]);
        let gone = [(leader, ConfigEdit::Delete), (follower, ConfigEdit::Delete)];
        assert_eq!(change(&mut image, &alter(4, "", &gone, false)), Ok(2));
        assert_eq!(rates(&image, 2), (UNLIMITED, UNLIMITED, 8));
    }

    #[test]
    fn refuses_as_kafka_does() {
        let mut image = image();
        let code = |image: &mut ClusterImage, wanted| change(image, &wanted).unwrap_err();
        let one = |kind, name, config, edit| alter(kind, name, &[(config, edit)], false);
        assert_eq!(
            code(&mut image, one(2, "u", "retention.ms", set("1"))),
            ErrorCode::UnknownTopicOrPartition
        );
        assert_eq!(code(&mut image, one(2, "t", "retention", set("1"))), ErrorCode::InvalidConfig);
        assert_eq!(code(&mut image, one(2, "t", "retention.ms", set("x"))), ErrorCode::InvalidConfig);
        let append = ConfigEdit::Append("1".into());
        assert_eq!(code(&mut image, one(2, "t", "retention.ms", append)), ErrorCode::InvalidConfig);
        assert_eq!(code(&mut image, one(4, "2", "log.retention.ms", set("1"))), ErrorCode::InvalidRequest);
        assert_eq!(code(&mut image, one(4, "1", "node.id", set("1"))), ErrorCode::InvalidRequest);
        assert_eq!(code(&mut image, one(99, "t", "x", set("1"))), ErrorCode::InvalidRequest);
        let both = [("min.compaction.lag.ms", set("9")), ("max.compaction.lag.ms", set("8"))];
        assert_eq!(code(&mut image, alter(2, "t", &both, false)), ErrorCode::InvalidConfig);
        let wrong_list = one(2, "t", "leader.replication.throttled.replicas", set("0-1"));
        assert_eq!(code(&mut image, wrong_list), ErrorCode::InvalidConfig);
        let wrong_rate = one(4, "1", "leader.replication.throttled.rate", set("-1"));
        assert_eq!(code(&mut image, wrong_rate), ErrorCode::InvalidRequest);
        let twice = [("retention.ms", set("9")), ("retention.ms", set("8"))];
        assert_eq!(code(&mut image, alter(2, "t", &twice, false)), ErrorCode::InvalidRequest);
        assert_eq!(change(&mut image, &one(2, "t", "long.gone", ConfigEdit::Delete)), Ok(0));
    }
}
