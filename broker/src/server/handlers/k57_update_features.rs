//! UpdateFeatures (57): finalises feature levels (KIP-584). Versions 0 to 2. What this release writes fits one level of
//! each feature, so that staying there is all that can be asked for.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k57_update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::k18_api_versions::FEATURES;
use crate::ids::NodeId;

/// What Kafka says before the reason.
const ALL_FAILED: &str = "The update failed for all features since the following feature had an error: ";

/// From here on there is one error for all features.
const ONE_ERROR_VERSION_MIN: i16 = 2;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<UpdateFeaturesRequest>,
) -> UpdateFeaturesResponse {
    let answers: Vec<(&FeatureUpdateKey, Result<(), String>)> = call
        .request
        .feature_updates
        .iter()
        .map(|update| (update, decide(update, context.node_id())))
        .collect();
    if call.version() >= ONE_ERROR_VERSION_MIN {
        let refused = answers.into_iter().find_map(|(_, answer)| answer.err());
        return UpdateFeaturesResponse {
            error_code: refused.as_ref().map_or(ErrorCode::None, |_| ErrorCode::InvalidUpdateVersion).code(),
            error_message: refused.map(|why| format!("{ALL_FAILED}{why}").into()),
            ..UpdateFeaturesResponse::default()
        };
    }
    let results = answers.into_iter().map(|(update, answer)| UpdatableFeatureResult {
        feature: update.feature.clone(),
        error_code: answer.as_ref().map_or(ErrorCode::InvalidUpdateVersion, |()| ErrorCode::None).code(),
        error_message: answer.err().map(Into::into),
    });
    UpdateFeaturesResponse { results: results.collect(), ..UpdateFeaturesResponse::default() }
}

fn decide(update: &FeatureUpdateKey, node_id: NodeId) -> Result<(), String> {
    let (name, wanted) = (&*update.feature, update.max_version_level);
    let invalid = |why: &str| Err(format!("Invalid update version {wanted} for feature {name}. {why}"));
    match FEATURES.iter().find(|feature| feature.name == name) {
        None if wanted == 0 => Ok(()),
        None => invalid(&format!("Local controller {node_id} does not support this feature.")),
        Some(feature) if feature.level == wanted => Ok(()),
        Some(feature) => {
            let level = feature.level;
            invalid(&format!("Local controller {node_id} only supports versions {level}-{level}"))
        }
    }
}

pub(in super::super) fn refused(_: &UpdateFeaturesRequest, code: ErrorCode) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..UpdateFeaturesResponse::default()
    }
}
