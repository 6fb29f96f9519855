//! Topics: making, deleting, widening, listing.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::messages::k19_create_topics::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::messages::k20_delete_topics::DeleteTopicState;
use ottla_protocol::messages::k37_create_partitions::CreatePartitionsTopic;
use ottla_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};
use ottla_protocol::{ErrorCode, Str, Uuid};

use super::Admin;
use crate::error::{ClientError, check_with};
use crate::metadata::TopicDescription;

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
}
