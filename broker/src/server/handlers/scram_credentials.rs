//! DescribeUserScramCredentials (50) and AlterUserScramCredentials (51): which users can prove a password by SCRAM
//! (KIP-554). Version 0. Passwords never come here: clients send what SCRAM makes of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k50_describe_user_scram_credentials::{
    CredentialInfo, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};
use ottla_protocol::messages::k51_alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, AlterUserScramCredentialsResult,
};
use ottla_protocol::wire::Str;

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{AlterScram, ClusterImage, Refusal, ScramEdit};
use crate::security::scram::SaltedPassword;

pub(in super::super) async fn describe(
    context: Arc<Context>,
    call: Call<DescribeUserScramCredentialsRequest>,
) -> DescribeUserScramCredentialsResponse {
    let image = context.image();
    let asked: Vec<Str> = call.request.users.unwrap_or_default().into_iter().map(|user| user.name).collect();
    let results = match asked.as_slice() {
        [] => image.scram_credentials().keys().map(|user| described(&image, user)).collect(),
        asked => {
            let mut seen = BTreeSet::new();
            let twice: BTreeSet<&Str> = asked.iter().filter(|user| !seen.insert(*user)).collect();
            let describe = |user: &Str| match twice.contains(user) {
                true => refused_result(
                    user,
                    ErrorCode::DuplicateResource,
                    "Cannot describe SCRAM credentials for the same user twice in a single request",
                ),
                false => described(&image, user),
            };
            seen.iter().map(|user| describe(user)).collect()
        }
    };
    DescribeUserScramCredentialsResponse { results, ..DescribeUserScramCredentialsResponse::default() }
}

fn described(image: &ClusterImage, user: &str) -> DescribeUserScramCredentialsResult {
    let Some(credentials) = image.scram_credentials().get(user) else {
        let why = "Attempt to describe a user credential that does not exist";
        return refused_result(user, ErrorCode::ResourceNotFound, why);
    };
    let credential_infos = credentials.iter().map(|(mechanism, credential)| CredentialInfo {
        mechanism: mechanism.code(),
        iterations: credential.iterations,
    });
    DescribeUserScramCredentialsResult {
        user: user.into(),
        credential_infos: credential_infos.collect(),
        ..DescribeUserScramCredentialsResult::default()
    }
}

fn refused_result(user: &str, code: ErrorCode, why: &str) -> DescribeUserScramCredentialsResult {
    DescribeUserScramCredentialsResult {
        user: user.into(),
        error_code: code.code(),
        error_message: Some(format!("{why}: {user}").into()),
        ..DescribeUserScramCredentialsResult::default()
    }
}

pub(in super::super) fn describe_refused(
    _: &DescribeUserScramCredentialsRequest,
    code: ErrorCode,
) -> DescribeUserScramCredentialsResponse {
    DescribeUserScramCredentialsResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..DescribeUserScramCredentialsResponse::default()
    }
}

pub(in super::super) async fn alter(
    context: Arc<Context>,
    call: Call<AlterUserScramCredentialsRequest>,
) -> AlterUserScramCredentialsResponse {
    let request = call.request;
    let deletions = request.deletions.into_iter().map(|deletion| AlterScram {
        user: deletion.name.to_string(),
        mechanism: deletion.mechanism,
        edit: ScramEdit::Delete,
    });
    let upsertions = request.upsertions.into_iter().map(|upsertion| AlterScram {
        user: upsertion.name.to_string(),
        mechanism: upsertion.mechanism,
        edit: ScramEdit::Set {
            salt: upsertion.salt,
            salted_password: SaltedPassword::new(upsertion.salted_password),
            iterations: upsertion.iterations,
        },
    });
    let changes: Vec<AlterScram> = deletions.chain(upsertions).collect();
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<String> = changes
        .iter()
        .filter(|change| !seen.insert((change.user.clone(), change.mechanism)))
        .map(|change| change.user.clone())
        .collect();
    let (refused, changes): (Vec<AlterScram>, Vec<AlterScram>) =
        changes.into_iter().partition(|change| twice.contains(&change.user));
    // There is one answer for each user, and the first that is wrong is it.
    let users: Vec<String> = changes.iter().map(|change| change.user.clone()).collect();
    let mut results: Vec<(String, Result<(), Refusal>)> = Vec::new();
    for (user, answer) in users.into_iter().zip(context.controller.alter_scram_credentials(changes).await) {
        match results.iter_mut().find(|(known, _)| *known == user) {
            Some((_, earlier)) if earlier.is_ok() => *earlier = answer,
            Some(_) => {}
            None => results.push((user, answer)),
        }
    }
    let users: BTreeSet<String> = refused.into_iter().map(|change| change.user).collect();
    results.extend(users.into_iter().map(|user| {
        let message = "A user credential cannot be altered twice in the same request".to_owned();
        (user, Err(Refusal { code: ErrorCode::DuplicateResource, message }))
    }));
    let results = results.into_iter().map(|(user, answer)| {
        let (error_code, error_message) = super::k44_incremental_alter_configs::in_protocol(answer);
        AlterUserScramCredentialsResult { user: user.into(), error_code, error_message }
    });
    AlterUserScramCredentialsResponse {
        results: results.collect(),
        ..AlterUserScramCredentialsResponse::default()
    }
}

pub(in super::super) fn alter_refused(
    request: &AlterUserScramCredentialsRequest,
    code: ErrorCode,
) -> AlterUserScramCredentialsResponse {
    let deleted = request.deletions.iter().map(|deletion| &deletion.name);
    let users: BTreeSet<&Str> = deleted.chain(request.upsertions.iter().map(|set| &set.name)).collect();
    let results = users.into_iter().map(|user| AlterUserScramCredentialsResult {
        user: user.clone(),
        error_code: code.code(),
        error_message: Some(code.message().into()),
    });
    AlterUserScramCredentialsResponse {
        results: results.collect(),
        ..AlterUserScramCredentialsResponse::default()
    }
}
