//! UpdateFeatures (57): finalises feature levels (KIP-584). Versions 0 to 2: 1 knows the type of upgrade and validation
//! (KIP-778), from 2 on there is one answer for all features, of which all are updated or none.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k57_update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{UpdateFeature, UpgradeType};

const UPGRADE_TYPE_VERSION_MIN: i16 = 1;
const ONE_ANSWER_VERSION_MIN: i16 = 2;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<UpdateFeaturesRequest>,
) -> UpdateFeaturesResponse {
    let version = call.version();
    let request = &call.request;
    let updates: Vec<UpdateFeature> =
        request.feature_updates.iter().map(|update| to_update(version, update)).collect();
    let answers = if version >= ONE_ANSWER_VERSION_MIN && !request.validate_only {
        // Where one is refused none may be done.
        let judged = context.controller.update_features(updates.clone(), true).await;
        match judged.iter().all(Result::is_ok) {
            true => context.controller.update_features(updates, false).await,
            false => judged,
        }
    } else {
        context.controller.update_features(updates, request.validate_only).await
    };
    if version >= ONE_ANSWER_VERSION_MIN {
        let refused = answers.into_iter().find_map(Result::err);
        return UpdateFeaturesResponse {
            error_code: refused.as_ref().map_or(ErrorCode::None, |refusal| refusal.code).code(),
            error_message: refused.map(|refusal| {
                let why = "The update failed for all features since the following feature had an error:";
                format!("{why} {}", refusal.message).into()
            }),
            ..UpdateFeaturesResponse::default()
        };
    }
    let answers = request.feature_updates.iter().zip(answers);
    let results = answers.map(|(update, answer)| UpdatableFeatureResult {
        feature: update.feature.clone(),
        error_code: answer.as_ref().map_or_else(|refusal| refusal.code, |()| ErrorCode::None).code(),
        error_message: answer.err().map(|refusal| refusal.message.into()),
    });
    UpdateFeaturesResponse { results: results.collect(), ..UpdateFeaturesResponse::default() }
}

fn to_update(version: i16, update: &FeatureUpdateKey) -> UpdateFeature {
    let upgrade_type = match (version >= UPGRADE_TYPE_VERSION_MIN, update.upgrade_type) {
        (true, 1) => UpgradeType::Upgrade,
        (true, 2 | 3) => UpgradeType::Downgrade,
        (true, _) => UpgradeType::Unknown,
        (false, _) if update.allow_downgrade => UpgradeType::Downgrade,
        (false, _) => UpgradeType::Upgrade,
    };
    UpdateFeature { name: update.feature.to_string(), level: update.max_version_level, upgrade_type }
}

pub(in super::super) fn refused(_: &UpdateFeaturesRequest, code: ErrorCode) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..UpdateFeaturesResponse::default()
    }
}
