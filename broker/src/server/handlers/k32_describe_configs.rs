//! DescribeConfigs (32): every config of a topic, of this broker or of a client metrics subscription, with value,
//! source, type and synonyms. Versions 1 to 4. Types and documentation (3) are KIP-569.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k32_describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::super::context::{BrokerConfig, Context};
use super::super::dispatch::Call;
use crate::controller::{
    ConfigLayer, ConfigSource, ConfigType, ConfigValue, ResourceType, client_metrics_configs,
    dynamic_broker_configs,
};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeConfigsRequest>,
) -> DescribeConfigsResponse {
    let synonyms = call.request.include_synonyms;
    let results = call.request.resources.into_iter().map(|resource| answer(&context, resource, synonyms));
    DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() }
}

fn answer(context: &Context, resource: DescribeConfigsResource, synonyms: bool) -> DescribeConfigsResult {
    let found = find(context, resource.resource_type, &resource.resource_name);
    let mut result = DescribeConfigsResult {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        ..DescribeConfigsResult::default()
    };
    let keys = resource.configuration_keys;
    let wanted =
        |config: &ConfigValue| keys.as_ref().is_none_or(|keys| keys.iter().any(|key| **key == *config.name));
    match found {
        Ok(configs) => {
            let configs = configs.into_iter().filter(wanted);
            result.configs = configs.map(|config| described(config, synonyms)).collect();
        }
        Err((code, message)) => {
            result.error_code = code.code();
            result.error_message = Some(message.into());
        }
    }
    result
}

fn find(
    context: &Context,
    resource_type: i8,
    name: &str,
) -> Result<Vec<ConfigValue>, (ErrorCode, &'static str)> {
    let (image, node_id) = (context.image(), context.node_id());
    match ResourceType::from_code(resource_type) {
        Some(ResourceType::Topic) => match image.topic(name) {
            Some(topic) => Ok(image.topic_configs(&topic.configs, node_id).all()),
            None => {
                Err((ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition."))
            }
        },
        Some(ResourceType::Broker) if *name == *node_id.to_string() => {
            let mut all = static_configs(&context.config);
            all.extend(dynamic_broker_configs(&image, Some(node_id)));
            all.sort_by_key(|config| config.name);
            Ok(all)
        }
        // The broker without a name stands for all of them.
        Some(ResourceType::Broker) if name.is_empty() => Ok(dynamic_broker_configs(&image, None)),
        Some(ResourceType::Broker) => Err((ErrorCode::InvalidRequest, "Unexpected broker id.")),
        Some(ResourceType::ClientMetrics) if !name.is_empty() => {
            Ok(client_metrics_configs(image.configs(ResourceType::ClientMetrics, name)))
        }
        Some(ResourceType::ClientMetrics) => {
            Err((ErrorCode::InvalidRequest, "The subscription name must not be empty."))
        }
        None => Err((ErrorCode::InvalidRequest, "Unsupported resource type.")),
    }
}

fn described(config: ConfigValue, synonyms: bool) -> DescribeConfigsResourceResult {
    let synonym = |layer: &ConfigLayer| DescribeConfigsSynonym {
        name: layer.name.into(),
        value: Some(layer.value.as_str().into()),
        source: layer.source.code(),
    };
    DescribeConfigsResourceResult {
        name: config.name.into(),
        value: Some(config.value().into()),
        // What a broker was started with stays so until it is started again.
        read_only: config.layers.iter().any(|layer| layer.source == ConfigSource::StaticBroker),
        config_source: config.source().code(),
        is_sensitive: false,
        synonyms: if synonyms { config.layers.iter().map(synonym).collect() } else { Vec::new() },
        config_type: config.config_type.code(),
        documentation: None,
    }
}

/// What the broker was started with.
fn static_configs(config: &BrokerConfig) -> Vec<ConfigValue> {
    let house = &config.housekeeping;
    let millis = |duration: std::time::Duration| duration.as_millis().to_string();
    let values = [
        ("auto.create.topics.enable", config.auto_create_topics.to_string(), ConfigType::Boolean),
        ("connections.max.idle.ms", config.connection_idle_ms_max.to_string(), ConfigType::Long),
        ("default.replication.factor", "1".to_owned(), ConfigType::Int),
        (
            "group.initial.rebalance.delay.ms",
            config.group_initial_rebalance_delay_ms.to_string(),
            ConfigType::Int,
        ),
        ("log.cleaner.backoff.ms", millis(house.cleaner_backoff), ConfigType::Long),
        ("log.dirs", config.data_dir.display().to_string(), ConfigType::List),
        ("log.retention.check.interval.ms", millis(house.retention_check_interval), ConfigType::Long),
        ("max.incremental.fetch.session.cache.slots", config.fetch_sessions_max.to_string(), ConfigType::Int),
        ("node.id", config.node_id.to_string(), ConfigType::Int),
        ("num.partitions", config.num_partitions.to_string(), ConfigType::Int),
        ("offsets.topic.num.partitions", config.offsets_topic_partitions.to_string(), ConfigType::Int),
        ("process.roles", "broker,controller".to_owned(), ConfigType::List),
        ("producer.id.expiration.ms", millis(house.producer_expiration), ConfigType::Int),
        ("queued.max.request.bytes", config.queued_request_bytes_max.to_string(), ConfigType::Long),
        ("socket.request.max.bytes", config.request_bytes_max.to_string(), ConfigType::Int),
    ];
    let config = |(name, value, config_type)| ConfigValue {
        name,
        config_type,
        layers: vec![ConfigLayer { name, value, source: ConfigSource::StaticBroker }],
    };
    values.into_iter().map(config).collect()
}
