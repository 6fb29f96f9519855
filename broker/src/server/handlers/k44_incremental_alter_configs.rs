//! IncrementalAlterConfigs (44): changes single configs of topics, brokers and client metrics subscriptions (KIP-339).
//! Versions 0 and 1.

use std::collections::HashSet;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k44_incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::super::access::Access;
use super::super::context::Context;
use super::super::dispatch::Call;
use super::k32_describe_configs::of_resource;
use crate::controller::{AlterConfigs, ConfigEdit, Refusal};
use crate::security::Operation;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<IncrementalAlterConfigsRequest>,
) -> IncrementalAlterConfigsResponse {
    let request = call.request;
    let changes: Vec<Result<AlterConfigs, Refusal>> = request.resources.iter().map(change).collect();
    let named: Vec<_> =
        request.resources.iter().map(|named| (named.resource_type, &*named.resource_name)).collect();
    let answers = alter(&context, &call.access, &named, changes, request.validate_only).await;
    let responses = request.resources.iter().zip(answers).map(|(resource, answer)| {
        let (error_code, error_message) = in_protocol(answer);
        AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        }
    });
    IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..IncrementalAlterConfigsResponse::default()
    }
}

fn change(resource: &AlterConfigsResource) -> Result<AlterConfigs, Refusal> {
    let edits = resource.configs.iter().map(|config| Ok((config.name.to_string(), edit(config)?)));
    Ok(AlterConfigs {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.to_string(),
        edits: edits.collect::<Result<_, Refusal>>()?,
        replaces_all: false,
    })
}

fn edit(config: &AlterableConfig) -> Result<ConfigEdit, Refusal> {
    let refuse = |message| Err(Refusal { code: ErrorCode::InvalidRequest, message });
    let value = config.value.as_ref().map(|value| value.to_string());
    match (config.config_operation, value) {
        (0, Some(value)) => Ok(ConfigEdit::Set(value)),
        (1, _) => Ok(ConfigEdit::Delete),
        (2, Some(value)) => Ok(ConfigEdit::Append(value)),
        (3, Some(value)) => Ok(ConfigEdit::Subtract(value)),
        (0 | 2 | 3, None) => refuse(format!("Null value not supported for : {}", &*config.name)),
        (unknown, _) => refuse(format!("Unknown operation {unknown} for {}", &*config.name)),
    }
}

/// Has the controller make those changes that can be understood; a resource that is named twice is not changed at all.
pub(super) async fn alter(
    context: &Context,
    access: &Access,
    named: &[(i8, &str)],
    changes: Vec<Result<AlterConfigs, Refusal>>,
    validate_only: bool,
) -> Vec<Result<(), Refusal>> {
    let mut seen = HashSet::new();
    let twice: HashSet<_> = named.iter().filter(|resource| !seen.insert(**resource)).collect();
    let changes = changes.into_iter().zip(named).map(|(change, resource)| match twice.contains(resource) {
        true => {
            let message = "Each resource must appear at most once.".to_owned();
            Err(Refusal { code: ErrorCode::InvalidRequest, message })
        }
        false => of_resource(context, access, Operation::AlterConfigs, resource.0, resource.1)
            .map_err(|code| Refusal { code, message: code.message().to_owned() })
            .and(change),
    });
    let mut wanted = Vec::new();
    let placed: Vec<Result<usize, Refusal>> = changes
        .map(|change| {
            change.map(|change| {
                wanted.push(change);
                wanted.len() - 1
            })
        })
        .collect();
    let answers = context.controller.alter_configs(wanted, validate_only).await;
    placed.into_iter().map(|place| place.and_then(|place| answers[place].clone())).collect()
}

/// Error code and message of an answer.
pub(super) fn in_protocol(answer: Result<(), Refusal>) -> (i16, Option<ottla_protocol::wire::Str>) {
    match answer {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(refusal) => (refusal.code.code(), Some(refusal.message.into())),
    }
}
