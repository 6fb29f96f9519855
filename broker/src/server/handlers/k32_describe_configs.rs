//! DescribeConfigs (32): every config of a topic, of this broker, of a client metrics subscription or of a group, with
//! value, source, type and synonyms. Versions 1 to 4. Types and documentation (3) are KIP-569.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k32_describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use ottla_protocol::wire::Str;

use super::super::access::{Access, denied};
use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{
    ConfigLayer, ConfigType, ConfigValue, ResourceType, client_metrics_configs, dynamic_broker_configs,
    group_configs,
};
use crate::security::{Operation, acl};

const TOPIC: i8 = 2;
const GROUP: i8 = 32;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeConfigsRequest>,
) -> DescribeConfigsResponse {
    let synonyms = call.request.include_synonyms;
    let access = &call.access;
    let results = call.request.resources.into_iter().map(|resource| {
        let denied = of_resource(
            &context,
            access,
            Operation::DescribeConfigs,
            resource.resource_type,
            &resource.resource_name,
        );
        answer(&context, resource, synonyms, denied.err())
    });
    DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() }
}

/// Whether the configs of a resource may be seen or changed.
pub(super) fn of_resource(
    context: &Context,
    access: &Access,
    operation: Operation,
    resource_type: i8,
    name: &str,
) -> Result<(), ErrorCode> {
    let (allowed, resource) = match resource_type {
        TOPIC => (access.topic(context, operation, name), acl::ResourceType::Topic),
        GROUP => (access.group(context, operation, name), acl::ResourceType::Group),
        _ => (access.cluster(context, operation), acl::ResourceType::Cluster),
    };
    if allowed { Ok(()) } else { Err(denied(resource)) }
}

fn answer(
    context: &Context,
    resource: DescribeConfigsResource,
    synonyms: bool,
    denied: Option<ErrorCode>,
) -> DescribeConfigsResult {
    let found = match denied {
        None => find(context, resource.resource_type, &resource.resource_name),
        Some(code) => Err((code, code.message())),
    };
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
        Some(ResourceType::Broker) if *name == *node_id.to_string() => Ok(context.config.described(&image)),
        // The broker without a name stands for all of them.
        Some(ResourceType::Broker) if name.is_empty() => Ok(dynamic_broker_configs(&image, None)),
        Some(ResourceType::Broker) => Err((ErrorCode::InvalidRequest, "Unexpected broker id.")),
        Some(ResourceType::ClientMetrics) if !name.is_empty() => {
            Ok(client_metrics_configs(image.configs(ResourceType::ClientMetrics, name)))
        }
        Some(ResourceType::ClientMetrics) => {
            Err((ErrorCode::InvalidRequest, "The subscription name must not be empty."))
        }
        Some(ResourceType::Group) if !name.is_empty() => {
            let set = image.configs(ResourceType::Group, name);
            Ok(group_configs(set, |name| context.config.set.get(name).cloned()))
        }
        Some(ResourceType::Group) => Err((ErrorCode::InvalidRequest, "The group name must not be empty.")),
        None => Err((ErrorCode::InvalidRequest, "Unsupported resource type.")),
    }
}

fn described(config: ConfigValue, synonyms: bool) -> DescribeConfigsResourceResult {
    // A secret is told to nobody, however it got here.
    let is_sensitive = config.config_type == ConfigType::Password;
    let synonym = |layer: &ConfigLayer| {
        let value = (!is_sensitive).then(|| layer.value.as_str().into());
        let source = layer.source.code();
        Some(DescribeConfigsSynonym { name: layer.name?.into(), value, source })
    };
    DescribeConfigsResourceResult {
        name: config.name.into(),
        value: config.value().filter(|_| !is_sensitive).map(Str::from),
        read_only: config.read_only,
        config_source: config.source().code(),
        is_sensitive,
        synonyms: if synonyms { config.layers.iter().filter_map(synonym).collect() } else { Vec::new() },
        config_type: config.config_type.code(),
        documentation: None,
    }
}
