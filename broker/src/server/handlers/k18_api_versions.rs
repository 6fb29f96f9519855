//! ApiVersions (18): what is served, at which versions. Versions 0 to 4; a later one is answered in version 0 with
//! UNSUPPORTED_VERSION (KIP-511). The reply's header is always version 0.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k18_api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

use super::super::context::Context;
use super::super::dispatch::{Call, SERVED};
use super::super::peer::Software;
use crate::controller::FEATURES;

/// Clients from before this version take a lowest level of 0 for an error (KAFKA-17011).
const LEVEL_0_VERSION_MIN: i16 = 4;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<ApiVersionsRequest>,
) -> ApiVersionsResponse {
    let request = &call.request;
    if call.version() >= 3
        && !(is_name(&request.client_software_name) && is_name(&request.client_software_version))
    {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..ApiVersionsResponse::default()
        };
    }
    if call.version() >= 3 {
        // A second request of the same connection says nothing new.
        let _ = call.peer.software.set(Software {
            name: request.client_software_name.detached(),
            version: request.client_software_version.detached(),
        });
    }
    let told =
        FEATURES.iter().filter(|feature| feature.level_min > 0 || call.version() >= LEVEL_0_VERSION_MIN);
    let supported = told.map(|feature| SupportedFeatureKey {
        name: feature.name.into(),
        min_version: feature.level_min,
        max_version: feature.level_max,
    });
    let image = context.controller.image();
    let levels = FEATURES.iter().map(|feature| (feature.name, image.feature_level(feature)));
    let finalized = levels.filter(|(_, level)| *level > 0).map(|(name, level)| FinalizedFeatureKey {
        name: name.into(),
        min_version_level: level,
        max_version_level: level,
    });
    ApiVersionsResponse {
        api_keys: advertised(),
        supported_features: supported.collect(),
        finalized_features_epoch: context.controller.log().high_watermark().0,
        finalized_features: finalized.collect(),
        ..ApiVersionsResponse::default()
    }
}

/// The list itself.
pub(in super::super) fn advertised() -> Vec<ApiVersion> {
    SERVED
        .iter()
        .map(|served| ApiVersion {
            api_key: served.key.code(),
            min_version: served.versions.0,
            max_version: served.versions.1,
        })
        .collect()
}

/// KIP-511: letters, digits, '.' and '-', beginning and ending with a letter or digit.
fn is_name(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    text.as_bytes().first().is_some_and(plain)
        && text.as_bytes().last().is_some_and(plain)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
}
