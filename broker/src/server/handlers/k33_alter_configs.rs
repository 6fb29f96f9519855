//! AlterConfigs (33): replaces all configs of a resource at once; old clients have nothing better. Versions 0 to 2.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k33_alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::k44_incremental_alter_configs::{alter, in_protocol};
use crate::controller::{AlterConfigs, ConfigEdit, Refusal};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<AlterConfigsRequest>,
) -> AlterConfigsResponse {
    let request = call.request;
    let changes = request.resources.iter().map(change).collect();
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
    AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() }
}

fn change(resource: &AlterConfigsResource) -> Result<AlterConfigs, Refusal> {
    let edits = resource.configs.iter().map(|config| match &config.value {
        Some(value) => Ok((config.name.to_string(), ConfigEdit::Set(value.to_string()))),
        None => {
            let message = format!("Null value not supported for : {}", &*config.name);
            Err(Refusal { code: ErrorCode::InvalidRequest, message })
        }
    });
    Ok(AlterConfigs {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.to_string(),
        edits: edits.collect::<Result<_, Refusal>>()?,
        replaces_all: true,
    })
}
