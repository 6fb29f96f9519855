//! SaslHandshake (17) and SaslAuthenticate (36): a client shows who it is (KIP-43, 152), again before its session ends
//! (KIP-368). Handshake versions 0 and 1, authenticate versions 0 to 2. After version 0 of the handshake, of clients before
//! 1.0, the frames that follow are the mechanism's messages and nothing else, and who is refused is told nothing.
//!
//! What a message changes is changed before the next request of the connection is looked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k17_sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use ottla_protocol::messages::k36_sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};

use super::super::context::Context;
use super::super::dispatch::{Call, ReplyFuture, Violation};
use super::super::peer::Peer;
use super::super::reply::Reply;
use crate::controller::ClusterImage;
use crate::partition::now_ms;
use crate::security::sasl::{Answer, Refused};

pub(in super::super) fn handshake(
    _: Arc<Context>,
    call: Call<SaslHandshakeRequest>,
) -> impl Future<Output = SaslHandshakeResponse> + Send + 'static {
    futures::future::ready(choose(&call.peer, call.version(), &call.request))
}

/// Chooses a peer's mechanism.
pub(in super::super) fn choose(
    peer: &Peer,
    version: i16,
    request: &SaslHandshakeRequest,
) -> SaslHandshakeResponse {
    let answer = |code: ErrorCode, mechanisms| SaslHandshakeResponse { error_code: code.code(), mechanisms };
    // The listener may not ask who somebody is.
    let (Some(session), Some(sasl)) = (&peer.session, &peer.endpoint.sasl) else {
        return answer(ErrorCode::IllegalSaslState, Vec::new());
    };
    let mut session = session.lock();
    let offered = &sasl.config.mechanisms;
    let names = offered.iter().map(|mechanism| mechanism.name().into()).collect();
    match offered.iter().find(|mechanism| mechanism.name() == &*request.mechanism) {
        None => {
            session.authentication.on_unknown_mechanism();
            answer(ErrorCode::UnsupportedSaslMechanism, names)
        }
        Some(mechanism) => {
            session.mechanism = Some(*mechanism);
            session.takes_tokens = version == 0;
            match session.authentication.on_handshake(*mechanism) {
                Ok(()) => answer(ErrorCode::None, names),
                Err(_) => answer(ErrorCode::IllegalSaslState, Vec::new()),
            }
        }
    }
}

pub(in super::super) fn authenticate(
    context: Arc<Context>,
    call: Call<SaslAuthenticateRequest>,
) -> impl Future<Output = SaslAuthenticateResponse> + Send + 'static {
    let (result, delay) = exchange(&call.peer, &context.image(), &call.request.auth_bytes);
    if let Some(session) = &call.peer.session {
        note(&context, &call.peer, &session.lock(), &result);
    }
    answer(result, delay)
}

/// Takes a message of a peer's mechanism; gives also how long a refusal is held back.
pub(in super::super) fn exchange(
    peer: &Peer,
    image: &ClusterImage,
    message: &Bytes,
) -> (Result<Answer, Refused>, Duration) {
    let (Some(session), Some(sasl)) = (&peer.session, &peer.endpoint.sasl) else {
        return (Err(Refused::IllegalState("this listener has no SASL")), Duration::ZERO);
    };
    let mut session = session.lock();
    let verifier = sasl.verifier(image, &session);
    let result = session.authentication.on_authenticate(&verifier, now_ms(), message);
    (result, sasl.config.failure_delay)
}

/// What the peer is told. Whoever guesses does so slowly.
pub(in super::super) async fn answer(
    result: Result<Answer, Refused>,
    delay: Duration,
) -> SaslAuthenticateResponse {
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
    tokio::time::sleep(delay).await;
    SaslAuthenticateResponse {
        error_code: code.code(),
        error_message: Some(message.into()),
        ..SaslAuthenticateResponse::default()
    }
}

/// Takes a frame for a message of the client's mechanism, where it is one: then the reply is the mechanism's answer.
pub(in super::super) fn token(context: &Arc<Context>, peer: &Peer, frame: &Bytes) -> Option<ReplyFuture> {
    let (session, sasl) = (peer.session.as_ref()?, peer.endpoint.sasl.as_ref()?);
    let mut session = session.lock();
    if !session.takes_tokens {
        return None;
    }
    let image = context.image();
    let verifier = sasl.verifier(&image, &session);
    let result = session.authentication.on_authenticate(&verifier, now_ms(), frame);
    note(context, peer, &session, &result);
    session.takes_tokens = result.is_ok() && !session.authentication.is_settled();
    let delay = sasl.config.failure_delay;
    let reply = async move {
        match result {
            Ok(answer) => Ok(Some(Reply::of_frame(&answer.bytes))),
            Err(_) => {
                tokio::time::sleep(delay).await;
                Err(Violation::Unwelcome("authentication failed"))
            }
        }
    };
    Some(reply.boxed())
}

/// Counts the end of an exchange, and writes a failed one to the audit log. The name that was tried is not written: it
/// may be a password that was typed in its place.
fn note(
    context: &Context,
    peer: &Peer,
    session: &super::super::endpoint::Session,
    result: &Result<Answer, Refused>,
) {
    let mechanism = session.mechanism.map_or("", |mechanism| mechanism.name());
    let (host, listener) = (&*peer.host, &*peer.endpoint.name);
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
