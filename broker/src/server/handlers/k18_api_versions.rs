//! ApiVersions (18): what is served, at which versions. Versions 0 to 4; a later one is answered in version 0 with
//! UNSUPPORTED_VERSION (KIP-511). The reply's header is always version 0.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k18_api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};

use super::super::context::Context;
use super::super::dispatch::{Call, SERVED};

pub(in super::super) async fn handle(
    _context: Arc<Context>,
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
    ApiVersionsResponse {
        api_keys: advertised(),
        finalized_features_epoch: 0,
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
