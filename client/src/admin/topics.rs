//! Topics: making, deleting, widening, listing, and their configs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::messages::k19_create_topics::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::messages::k20_delete_topics::DeleteTopicState;
use ottla_protocol::messages::k32_describe_configs::DescribeConfigsResource;
use ottla_protocol::messages::k37_create_partitions::CreatePartitionsTopic;
use ottla_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
};
use ottla_protocol::{ErrorCode, Str, Uuid};

use super::Admin;
use crate::error::{ClientError, check_with};
use crate::metadata::TopicDescription;

const RESOURCE_TOPIC: i8 = 2;
/// The last version of DeleteTopics that names topics by name alone.
const DELETE_NAMES_VERSION_MAX: i16 = 5;

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// -1 for the broker's default.
    pub partitions: i32,
    /// -1 for the broker's default.
    pub replication_factor: i16,
    /// Config keys that differ from the broker's defaults.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the broker's default replication and configs.
    pub fn new(name: impl Into<String>, partitions: i32) -> NewTopic {
        NewTopic { name: name.into(), partitions, replication_factor: -1, configs: BTreeMap::new() }
    }

    /// The same with one more config key.
    pub fn with_config(mut self, key: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.configs.insert(key.into(), value.into());
        self
    }
}

/// A topic that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    pub name: String,
    /// Nil from brokers before Kafka 2.8.
    pub topic_id: Uuid,
    /// -1 when the broker does not tell.
    pub partitions: i32,
    /// -1 when the broker does not tell.
    pub replication_factor: i16,
}

/// Where a config value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    Topic,
    DynamicBroker,
    DynamicDefaultBroker,
    StaticBroker,
    Default,
    Unknown(i8),
}

/// One config key of a topic, as it is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// None when it is sensitive, or unset.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub is_read_only: bool,
    pub is_sensitive: bool,
}

impl Admin {
    /// Makes topics. The broker makes each that it can; an error is that of the first it could not make.
    ///
    /// # Errors
    /// [`ErrorCode::TopicAlreadyExists`], [`ErrorCode::InvalidConfig`] and their like, by [`ClientError::code`].
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<Vec<CreatedTopic>, ClientError> {
        let request = CreateTopicsRequest {
            topics: topics
                .iter()
                .map(|topic| CreatableTopic {
                    name: topic.name.as_str().into(),
                    num_partitions: topic.partitions,
                    replication_factor: topic.replication_factor,
                    configs: topic
                        .configs
                        .iter()
                        .map(|(name, value)| CreatableTopicConfig {
                            name: name.as_str().into(),
                            value: Some(value.as_str().into()),
                        })
                        .collect(),
                    ..Default::default()
                })
                .collect(),
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let response = self.cluster.send_controller(&request).await?;
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        self.cluster.forget_topics(&names);
        let created = response.topics.iter().map(|topic| {
            check_with(topic.error_code, topic.error_message.as_deref(), || {
                format!("creating topic {}", topic.name)
            })?;
            Ok(CreatedTopic {
                name: topic.name.to_string(),
                topic_id: topic.topic_id,
                partitions: topic.num_partitions,
                replication_factor: topic.replication_factor,
            })
        });
        created.collect()
    }

    /// Deletes topics with all that is in them.
    ///
    /// # Errors
    /// That of the first topic that could not be deleted.
    pub async fn delete_topics(&self, names: &[&str]) -> Result<(), ClientError> {
        let timeout = self.cluster.config.request_timeout;
        let attempt = async || {
            let connection = self.cluster.any().await?;
            let version = connection.version_of::<DeleteTopicsRequest>(i16::MAX)?;
            let mut request = DeleteTopicsRequest { timeout_ms: self.timeout_ms(), ..Default::default() };
            if version <= DELETE_NAMES_VERSION_MAX {
                request.topic_names = names.iter().map(|name| Str::from(*name)).collect();
            } else {
                let by_name =
                    |name: &&str| DeleteTopicState { name: Some((*name).into()), ..Default::default() };
                request.topics = names.iter().map(by_name).collect();
            }
            connection.submit(&request, version, timeout)?.await
        };
        let response = self.cluster.retry(|| "deleting topics".to_owned(), attempt).await?;
        self.cluster.forget_topics(names);
        for topic in &response.responses {
            let name = topic.name.as_deref().unwrap_or_default();
            check_with(topic.error_code, topic.error_message.as_deref(), || {
                format!("deleting topic {name}")
            })?;
        }
        Ok(())
    }

    /// Raises a topic's partitions to `count`. Keys move to other partitions by this.
    ///
    /// # Errors
    /// What the broker answers, such as [`ErrorCode::InvalidPartitions`].
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: topic.into(), count, assignments: None }],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let response = self.cluster.send_controller(&request).await?;
        self.cluster.forget_topics(&[topic]);
        for result in &response.results {
            check_with(result.error_code, result.error_message.as_deref(), || {
                format!("raising the partitions of topic {} to {count}", result.name)
            })?;
        }
        Ok(())
    }

    /// All topics by name, internal ones too.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>, ClientError> {
        let (response, _) = self
            .cluster
            .retry(|| "listing topics".to_owned(), async || self.cluster.refresh(None, false).await)
            .await?;
        let metadata = self.cluster.metadata();
        let names = response.topics.iter().filter_map(|topic| topic.name.as_deref());
        let mut topics: Vec<TopicDescription> =
            names.filter_map(|name| metadata.topic_of_any_age(name).cloned()).collect();
        topics.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(topics)
    }

    /// One topic, as it is now; never creates it.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownTopicOrPartition`] when it does not exist.
    pub async fn describe_topic(&self, name: &str) -> Result<Arc<TopicDescription>, ClientError> {
        self.cluster.forget_topics(&[name]);
        self.cluster.topic_within(name, self.cluster.config.api_timeout, false).await
    }

    /// Whether the topic exists.
    ///
    /// # Errors
    /// As [`describe_topic`](Admin::describe_topic), but for the topic that does not exist.
    pub async fn topic_exists(&self, name: &str) -> Result<bool, ClientError> {
        match self.describe_topic(name).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The configs of a topic that are in effect.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn describe_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>, ClientError> {
        let resource = DescribeConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: topic.into(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let response = self.cluster.send_any(&request).await?;
        let mut entries = Vec::new();
        for result in &response.results {
            check_with(result.error_code, result.error_message.as_deref(), || {
                format!("describing the configs of topic {topic}")
            })?;
            entries.extend(result.configs.iter().map(|config| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.as_ref().map(|value| value.to_string()),
                source: ConfigSource::from_code(config.config_source),
                is_read_only: config.read_only,
                is_sensitive: config.is_sensitive,
            }));
        }
        Ok(entries)
    }
}

impl ConfigSource {
    fn from_code(code: i8) -> ConfigSource {
        match code {
            1 => ConfigSource::Topic,
            2 => ConfigSource::DynamicBroker,
            3 => ConfigSource::DynamicDefaultBroker,
            4 => ConfigSource::StaticBroker,
            5 => ConfigSource::Default,
            other => ConfigSource::Unknown(other),
        }
    }
}
