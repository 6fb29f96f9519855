//! ListConfigResources (74): what has configs of its own (KIP-1142). Versions 0, for client metrics subscriptions
//! alone, and 1.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k74_list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::ResourceType;

/// Topics, brokers, broker loggers, client metrics subscriptions and groups.
const LISTED: [i8; 5] = [2, 4, 8, 16, 32];

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<ListConfigResourcesRequest>,
) -> ListConfigResourcesResponse {
    let wanted = match (call.version(), call.request.resource_types.as_slice()) {
        (0, _) => vec![ResourceType::ClientMetrics.code()],
        (_, []) => LISTED.to_vec(),
        (_, some) => some.to_vec(),
    };
    if !wanted.iter().all(|kind| LISTED.contains(kind)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..ListConfigResourcesResponse::default()
        };
    }
    let image = context.image();
    let mut config_resources = Vec::new();
    for kind in wanted {
        let names: Vec<String> = match ResourceType::from_code(kind) {
            Some(ResourceType::Topic) => image.topics().map(|topic| topic.name.clone()).collect(),
            Some(ResourceType::Broker) => vec![context.node_id().to_string()],
            Some(ResourceType::ClientMetrics) => {
                image.configured(ResourceType::ClientMetrics).map(|(name, _)| name.to_owned()).collect()
            }
            Some(ResourceType::Group) => {
                image.configured(ResourceType::Group).map(|(name, _)| name.to_owned()).collect()
            }
            None => Vec::new(),
        };
        config_resources.extend(
            names.into_iter().map(|name| ConfigResource { resource_name: name.into(), resource_type: kind }),
        );
    }
    ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }
}

pub(in super::super) fn refused(
    _: &ListConfigResourcesRequest,
    code: ErrorCode,
) -> ListConfigResourcesResponse {
    ListConfigResourcesResponse { error_code: code.code(), ..ListConfigResourcesResponse::default() }
}
