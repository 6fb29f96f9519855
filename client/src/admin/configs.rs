//! Configs of topics and brokers: what is in effect and where it comes from, and changing them.

use std::fmt;

use ottla_protocol::messages::k32_describe_configs::DescribeConfigsResource;
use ottla_protocol::messages::k44_incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use ottla_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use ottla_protocol::{Request, Str};

use super::Admin;
use crate::error::{ClientError, check_with};

const TYPE_TOPIC: i8 = 2;
const TYPE_BROKER: i8 = 4;
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;

/// What configs belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigResource {
    Topic(String),
    Broker(i32),
    /// What is set for all brokers while they run.
    AllBrokers,
}

impl ConfigResource {
    fn resource_type(&self) -> i8 {
        match self {
            ConfigResource::Topic(_) => TYPE_TOPIC,
            ConfigResource::Broker(_) | ConfigResource::AllBrokers => TYPE_BROKER,
        }
    }

    fn name(&self) -> Str {
        match self {
            ConfigResource::Topic(name) => name.as_str().into(),
            ConfigResource::Broker(id) => id.to_string().into(),
            ConfigResource::AllBrokers => "".into(),
        }
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigResource::Topic(name) => write!(formatter, "topic {name}"),
            ConfigResource::Broker(id) => write!(formatter, "broker {id}"),
            ConfigResource::AllBrokers => formatter.write_str("all brokers"),
        }
    }
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

/// One config key, as it is in effect.
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
    /// The configs of a topic or broker that are in effect; of all brokers together those that are set.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>, ClientError> {
        let wanted = DescribeConfigsResource {
            resource_type: resource.resource_type(),
            resource_name: resource.name(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest { resources: vec![wanted], ..Default::default() };
        let response = self.send_to(resource, &request).await?;
        let mut entries = Vec::new();
        for result in &response.results {
            check_with(result.error_code, result.error_message.as_deref(), || {
                format!("describing the configs of {resource}")
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

    /// Sets single configs, or with no value gives them back to their defaults; the others stay as they are.
    ///
    /// # Errors
    /// What the broker answers, such as [`ErrorCode::InvalidConfig`](crate::ErrorCode::InvalidConfig); then nothing
    /// was changed.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        edits: &[(String, Option<String>)],
    ) -> Result<(), ClientError> {
        let configs = edits.iter().map(|(name, value)| AlterableConfig {
            name: name.as_str().into(),
            config_operation: if value.is_some() { OPERATION_SET } else { OPERATION_DELETE },
            value: value.as_deref().map(Str::from),
        });
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: resource.resource_type(),
                resource_name: resource.name(),
                configs: configs.collect(),
            }],
            validate_only: false,
        };
        let response = self.send_to(resource, &request).await?;
        for result in &response.responses {
            check_with(result.error_code, result.error_message.as_deref(), || {
                format!("changing the configs of {resource}")
            })?;
        }
        Ok(())
    }

    /// Only a broker itself knows what it was started with.
    async fn send_to<R: Request>(
        &self,
        resource: &ConfigResource,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        match resource {
            ConfigResource::Broker(id) => self.cluster.send_broker(*id, request).await,
            ConfigResource::Topic(_) | ConfigResource::AllBrokers => self.cluster.send_any(request).await,
        }
    }
}
