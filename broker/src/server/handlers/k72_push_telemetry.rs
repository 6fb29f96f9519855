//! PushTelemetry (72): metrics of a client, as OTLP (KIP-714). Version 0. They are kept as records of a topic, keyed
//! by the client's instance, for whoever wants to read or query them.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k72_push_telemetry::{PushTelemetryRequest, PushTelemetryResponse};
use ottla_protocol::records::{BatchBuilder, BatchOptions, Compression};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::k71_get_telemetry_subscriptions::{PUSH_BYTES_MAX, subscription};
use crate::controller::{CLIENT_METRICS_TOPIC, CreateTopic};
use crate::partition::{Acks, now_ms};

/// Metrics are text and numbers: what grows beyond this when it is decompressed is an attack.
const METRICS_BYTES_MAX: usize = 16 * PUSH_BYTES_MAX;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<PushTelemetryRequest>,
) -> PushTelemetryResponse {
    let code = take(&context, &call).await.err().unwrap_or(ErrorCode::None);
    PushTelemetryResponse { error_code: code.code(), ..PushTelemetryResponse::default() }
}

async fn take(context: &Context, call: &Call<PushTelemetryRequest>) -> Result<(), ErrorCode> {
    let request = &call.request;
    if request.client_instance_id.is_nil() {
        return Err(ErrorCode::InvalidRequest);
    }
    let wanted = subscription(context, call, request.client_instance_id);
    // A client that ends says what it has, whatever is asked for by now.
    if wanted.id != request.subscription_id && !request.terminating {
        return Err(ErrorCode::UnknownSubscriptionId);
    }
    if request.metrics.len() > PUSH_BYTES_MAX {
        return Err(ErrorCode::TelemetryTooLarge);
    }
    let codec = Compression::from_attributes(i16::from(request.compression_type))
        .map_err(|_| ErrorCode::UnsupportedCompressionType)?;
    let metrics =
        codec.decompress(request.metrics.clone(), METRICS_BYTES_MAX).map_err(|_| ErrorCode::InvalidRecord)?;
    if wanted.metrics.is_empty() || metrics.is_empty() {
        return Ok(());
    }
    let mut builder = BatchBuilder::default();
    let key = request.client_instance_id.to_string();
    builder.push(now_ms(), Some(key.as_bytes()), Some(&metrics), &[]);
    keep(context, builder.build(BatchOptions::default())).await
}

async fn keep(context: &Context, batch: Bytes) -> Result<(), ErrorCode> {
    if context.image().topic(CLIENT_METRICS_TOPIC).is_none() {
        let topic = CreateTopic {
            name: CLIENT_METRICS_TOPIC.to_owned(),
            partitions: 1,
            replication_factor: -1,
            ..CreateTopic::default()
        };
        // Another client may have been first; whether it is there shows next.
        let _ = context.controller.create_topics(vec![topic], false).await;
    }
    let open = super::open_partition(context, CLIENT_METRICS_TOPIC, 0)?;
    match open.partition.append(batch, Acks::Leader).await {
        Ok(appended) => appended.map(drop).map_err(|error| super::append_error_code(&error)),
        Err(_) => Err(ErrorCode::NotLeaderOrFollower),
    }
}
