//! DescribeConfigs (32): every config of a topic or of this broker, with value, source, type and synonyms. Versions 1
//! to 4. Types and documentation (3) are KIP-569.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k32_describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use ottla_protocol::wire::Str;

use super::super::context::{BrokerConfig, Context};
use super::super::dispatch::Call;
use crate::controller::{ConfigSource, ConfigType, ConfigValue, ResourceType, TopicConfigs};

const STATIC_BROKER_SOURCE: i8 = 4;
const DEFAULT_SOURCE: i8 = 5;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeConfigsRequest>,
) -> DescribeConfigsResponse {
    let synonyms = call.request.include_synonyms;
    let results = call.request.resources.into_iter().map(|resource| answer(&context, resource, synonyms));
    DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() }
}

fn answer(context: &Context, resource: DescribeConfigsResource, synonyms: bool) -> DescribeConfigsResult {
    let found = match ResourceType::from_code(resource.resource_type) {
        Some(ResourceType::Topic) => match context.image().topic(&resource.resource_name) {
            Some(topic) => {
                let all = TopicConfigs(&topic.configs).all().into_iter();
                Ok(all.map(|config| topic_config(config, synonyms)).collect())
            }
            None => {
                Err((ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition."))
            }
        },
        Some(ResourceType::Broker) if *resource.resource_name == *context.node_id().to_string() => {
            Ok(broker_configs(&context.config))
        }
        // The empty name stands for the default of all brokers, which nobody can set yet.
        Some(ResourceType::Broker) if resource.resource_name.is_empty() => Ok(Vec::new()),
        Some(ResourceType::Broker) => Err((ErrorCode::InvalidRequest, "Unexpected broker id.")),
        None => Err((ErrorCode::InvalidRequest, "Unsupported resource type.")),
    };
    let mut result = DescribeConfigsResult {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        ..DescribeConfigsResult::default()
    };
    match found {
        Ok(mut configs) => {
            if let Some(keys) = resource.configuration_keys {
                configs.retain(|config: &DescribeConfigsResourceResult| keys.contains(&config.name));
            }
            result.configs = configs;
        }
        Err((code, message)) => {
            result.error_code = code.code();
            result.error_message = Some(message.into());
        }
    }
    result
}

fn topic_config(config: ConfigValue, synonyms: bool) -> DescribeConfigsResourceResult {
    let mut same = Vec::new();
    if synonyms {
        if config.source == ConfigSource::DynamicTopic {
            same.push(synonym(config.name, &config.value, ConfigSource::DynamicTopic.code()));
        }
        same.push(synonym(config.name, config.default, DEFAULT_SOURCE));
    }
    DescribeConfigsResourceResult {
        name: config.name.into(),
        value: Some(config.value.into()),
        read_only: false,
        config_source: config.source.code(),
        is_sensitive: false,
        synonyms: same,
        config_type: config.config_type.code(),
        documentation: None,
    }
}

fn synonym(name: &str, value: &str, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym { name: name.into(), value: Some(value.into()), source }
}

fn broker_configs(config: &BrokerConfig) -> Vec<DescribeConfigsResourceResult> {
    let values: [(&str, String, ConfigType); 9] = [
        ("auto.create.topics.enable", config.auto_create_topics.to_string(), ConfigType::Boolean),
        ("connections.max.idle.ms", config.connection_idle_ms_max.to_string(), ConfigType::Long),
        ("default.replication.factor", "1".to_owned(), ConfigType::Int),
        (
            "group.initial.rebalance.delay.ms",
            config.group_initial_rebalance_delay_ms.to_string(),
            ConfigType::Int,
        ),
        ("log.dirs", config.data_dir.display().to_string(), ConfigType::List),
        ("node.id", config.node_id.to_string(), ConfigType::Int),
        ("num.partitions", config.num_partitions.to_string(), ConfigType::Int),
        ("offsets.topic.num.partitions", config.offsets_topic_partitions.to_string(), ConfigType::Int),
        ("socket.request.max.bytes", config.request_bytes_max.to_string(), ConfigType::Int),
    ];
    values
        .into_iter()
        .map(|(name, value, config_type)| DescribeConfigsResourceResult {
            name: Str::from(name),
            value: Some(value.into()),
            read_only: true,
            config_source: STATIC_BROKER_SOURCE,
            is_sensitive: false,
            synonyms: Vec::new(),
            config_type: config_type.code(),
            documentation: None,
        })
        .collect()
}
