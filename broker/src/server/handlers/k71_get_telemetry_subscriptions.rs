//! GetTelemetrySubscriptions (71): which of its metrics a client shall push, and how often (KIP-714). Version 0. The
//! subscriptions are configs of resource type 16, as `kafka-client-metrics` sets them.

use std::sync::Arc;

use ottla_protocol::messages::k71_get_telemetry_subscriptions::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};
use ottla_protocol::records::Compression;
use uuid::Uuid;

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{ClientSubscription, ResourceType};

/// `telemetry.max.bytes`.
pub(super) const PUSH_BYTES_MAX: usize = 1 << 20;
/// The best first.
const ACCEPTED: [Compression; 4] =
    [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::Snappy];

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<GetTelemetrySubscriptionsRequest>,
) -> GetTelemetrySubscriptionsResponse {
    let instance = match call.request.client_instance_id {
        id if id.is_nil() => Uuid::new_v4(),
        id => id,
    };
    let wanted = subscription(&context, &call, instance);
    GetTelemetrySubscriptionsResponse {
        client_instance_id: instance,
        subscription_id: wanted.id,
        accepted_compression_types: ACCEPTED.map(|codec| codec.attribute_bits() as i8).to_vec(),
        push_interval_ms: wanted.interval_ms,
        telemetry_max_bytes: PUSH_BYTES_MAX as i32,
        delta_temporality: true,
        requested_metrics: wanted.metrics.into_iter().map(Into::into).collect(),
        ..GetTelemetrySubscriptionsResponse::default()
    }
}

/// What the client that calls is asked for now.
pub(super) fn subscription<R>(context: &Context, call: &Call<R>, instance: Uuid) -> ClientSubscription {
    let image = context.image();
    let software = call.peer.software.get();
    let attribute = |name: &str| match name {
        "client_instance_id" => instance.to_string(),
        "client_id" => call.header.client_id.as_deref().unwrap_or_default().to_owned(),
        "client_software_name" => software.map_or(String::new(), |software| software.name.to_string()),
        "client_software_version" => software.map_or(String::new(), |software| software.version.to_string()),
        "client_source_address" => call.peer.host.to_string(),
        "client_source_port" => call.peer.port.to_string(),
        _ => String::new(),
    };
    let all = image.configured(ResourceType::ClientMetrics).map(|(_, configs)| configs);
    ClientSubscription::of(all, attribute)
}
