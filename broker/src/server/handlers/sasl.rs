//! SaslHandshake (17) and SaslAuthenticate (36): a client shows who it is (KIP-43, 152), again before its session ends
//! (KIP-368). Handshake version 1 and authenticate versions 0 to 2; version 0 of the handshake, after which messages come
//! without headers, is of clients before 1.0 and not served.
//!
//! What a message changes is changed before the next request of the connection is looked at.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k17_sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use ottla_protocol::messages::k36_sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::partition::now_ms;
use crate::security::sasl::{Answer, Refused};

pub(in super::super) fn handshake(
    _: Arc<Context>,
    call: Call<SaslHandshakeRequest>,
) -> impl Future<Output = SaslHandshakeResponse> + Send + 'static {
    let answer = |code: ErrorCode, mechanisms| SaslHandshakeResponse { error_code: code.code(), mechanisms };
    let response = match (&call.peer.session, &call.peer.endpoint.sasl) {
        (Some(session), Some(sasl)) => {
            let mut session = session.lock();
            let offered = &sasl.config.mechanisms;
            let names = offered.iter().map(|mechanism| mechanism.name().into()).collect();
            match offered.iter().find(|mechanism| mechanism.name() == &*call.request.mechanism) {
                None => {
                    session.authentication.on_unknown_mechanism();
                    answer(ErrorCode::UnsupportedSaslMechanism, names)
                }
                Some(mechanism) => {
                    session.mechanism = Some(*mechanism);
                    match session.authentication.on_handshake(*mechanism) {
                        Ok(()) => answer(ErrorCode::None, names),
                        Err(_) => answer(ErrorCode::IllegalSaslState, Vec::new()),
                    }
                }
            }
        }
        // The listener does not ask who somebody is.
        _ => answer(ErrorCode::IllegalSaslState, Vec::new()),
    };
    futures::future::ready(response)
}

pub(in super::super) fn authenticate(
    context: Arc<Context>,
    call: Call<SaslAuthenticateRequest>,
) -> impl Future<Output = SaslAuthenticateResponse> + Send + 'static {
    let illegal = Refused::IllegalState("this listener has no SASL");
    let (result, delay) = match (&call.peer.session, &call.peer.endpoint.sasl) {
        (Some(session), Some(sasl)) => {
            let image = context.image();
            let mut session = session.lock();
            let verifier = sasl.verifier(&image, &session);
            let result =
                session.authentication.on_authenticate(&verifier, now_ms(), &call.request.auth_bytes);
            note(&context, &call, &session, &result);
            (result, sasl.config.failure_delay)
        }
        _ => (Err(illegal), Default::default()),
    };
    async move {
        let (code, message) = match result {
            Ok(answer) => {
                return SaslAuthenticateResponse {
                    auth_bytes: answer.bytes,
                    session_lifetime_ms: answer.session_ms,
                    ..SaslAuthenticateResponse::default()
                };
            }
            Err(Refused::IllegalState(message)) => (ErrorCode::IllegalSaslState, message.to_owned()),
            Err(Refused::Failed(message)) => (ErrorCode::SaslAuthenticationFailed, message),
        };
        // Whoever guesses does so slowly.
        tokio::time::sleep(delay).await;
        SaslAuthenticateResponse {
            error_code: code.code(),
            error_message: Some(message.into()),
            ..SaslAuthenticateResponse::default()
        }
    }
}

/// Counts the end of an exchange, and writes a failed one to the audit log. The name that was tried is not written: it
/// may be a password that was typed in its place.
fn note(
    context: &Context,
    call: &Call<SaslAuthenticateRequest>,
    session: &super::super::endpoint::Session,
    result: &Result<Answer, Refused>,
) {
    let mechanism = session.mechanism.map_or("", |mechanism| mechanism.name());
    let (host, listener) = (&*call.peer.host, &*call.peer.endpoint.name);
    match result {
        Err(_) => {
            context.metrics.authentications_failed.inc();
            tracing::info!(target: "audit", host, listener, mechanism, "authentication failed");
        }
        Ok(_) if session.authentication.is_settled() => {
            context.metrics.authentications.inc();
            tracing::debug!(target: "audit", host, listener, mechanism, "authenticated");
        }
        Ok(_) => {}
    }
}
