//! Requests about what only the active controller decides (KIP-590). A broker that is not it passes them on in an Envelope, with the
//! principal and the address of the client, and gives the client what the controller answers; the controller opens the envelope
//! and handles the request as if the client had come to it. So the same handlers judge, wherever the client asked.
//!
//! Where no controller can be found in time the request is handled here after all: its own handler says that nobody decides.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::FutureExt;
use ottla_protocol::frame::{RequestHeader, ResponseHeader};
use ottla_protocol::messages::{EnvelopeRequest, EnvelopeResponse};
use ottla_protocol::wire::{DecodeError, Reader};
use ottla_protocol::{ApiKey, ErrorCode};

use super::context::Context;
use super::dispatch::{ReplyFuture, SERVED, Served, Violation, start_here};
use super::meter::Meter;
use super::peer::Peer;
use super::reply::Reply;
use crate::metrics::Waits;
use crate::security::Principal;

/// What the active controller decides or knows best. The answer to each begins, in every version that is served, with how long the
/// client has to wait.
const DECIDED_BY_CONTROLLER: [ApiKey; 15] = [
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::AlterConfigs,
    ApiKey::CreatePartitions,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::AlterClientQuotas,
    ApiKey::AlterUserScramCredentials,
    ApiKey::UpdateFeatures,
    ApiKey::UnregisterBroker,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
];

/// What is decided by the controller, with the versions that are served.
pub(crate) fn decided_by_controller() -> impl Iterator<Item = &'static Served> {
    SERVED.iter().filter(|served| DECIDED_BY_CONTROLLER.contains(&served.key))
}

/// A client's request on its way into the dispatch.
pub(super) struct Arrived {
    pub header: RequestHeader,
    /// All of it, from the header on.
    pub frame: Bytes,
    /// What follows the header.
    pub reader: Reader,
    pub waits: Arc<Waits>,
    pub meter: Option<Meter>,
}

/// Whether a request that came to this node is for another.
pub(super) fn is_for_another_node(context: &Context, api: ApiKey) -> bool {
    DECIDED_BY_CONTROLLER.contains(&api) && !context.active_controller.is_here()
}

/// Passes a client's request on.
pub(super) fn pass_on(context: &Arc<Context>, peer: &Peer, arrived: Arrived) -> ReplyFuture {
    let (context, peer) = (context.clone(), peer.clone());
    async move {
        let envelope = EnvelopeRequest {
            request_data: arrived.frame.clone(),
            request_principal: Some(peer.principal().to_bytes()),
            client_host_address: address_bytes(&peer.host),
        };
        match context.active_controller.forward(&envelope).await {
            Some(answer) => {
                let (api, version) = (arrived.header.api_key, arrived.header.api_version);
                let own_wait = arrived.meter.map(Meter::charge_forwarded).unwrap_or_default();
                Ok(Some(throttled(answer, api, version, own_wait, &peer)?))
            }
            None => start_here(&context, &peer, arrived)?.await,
        }
    }
    .boxed()
}

/// The controller's answer as the client gets it, told to wait as long as the controller or this broker says, whichever is longer.
fn throttled(
    answer: Bytes,
    api: ApiKey,
    version: i16,
    own_wait_ms: i32,
    peer: &Peer,
) -> Result<Reply, DecodeError> {
    let mut reader = Reader::new(answer.clone());
    ResponseHeader::decode(&mut reader, api, version)?;
    let place = answer.len() - reader.remaining();
    let wait_ms = reader.i32()?.max(own_wait_ms);
    peer.mute_for(std::time::Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)));
    let mut answer = Vec::from(answer);
    if let Some(told) = answer.get_mut(place..place + size_of::<i32>()) {
        told.copy_from_slice(&wait_ms.to_be_bytes());
    }
    Ok(Reply::of_frame(&answer))
}

/// Handles what a broker has passed on, if this node is the active controller.
pub(crate) async fn open(context: &Arc<Context>, envelope: EnvelopeRequest) -> EnvelopeResponse {
    let refused = |code: ErrorCode| EnvelopeResponse { response_data: None, error_code: code.code() };
    let state = context.controller.log().state();
    if state.leads_from.is_none() {
        return refused(ErrorCode::NotController);
    }
    let Some(principal) = envelope.request_principal.and_then(Principal::from_bytes) else {
        return refused(ErrorCode::PrincipalDeserializationFailure);
    };
    let Some(host) = address_of(&envelope.client_host_address) else {
        return refused(ErrorCode::InvalidRequest);
    };
    // A leader that is removed leaves, and what it says of that holds.
    let key = envelope.request_data.first_chunk().map(|code| i16::from_be_bytes(*code));
    let is_about_voters =
        [ApiKey::AddRaftVoter, ApiKey::RemoveRaftVoter].iter().any(|api| key == Some(api.code()));
    let answer = handle(context, principal, &host.to_string(), envelope.request_data).await;
    // Whose office ended amid it may have said so inside.
    let now = context.controller.log().state();
    if (now.leads_from.is_none() || now.epoch != state.epoch) && !is_about_voters {
        return refused(ErrorCode::NotController);
    }
    match answer {
        Ok(frame) => EnvelopeResponse { response_data: Some(frame), error_code: 0 },
        Err(Violation::NotServed { .. }) => refused(ErrorCode::UnsupportedVersion),
        Err(_) => refused(ErrorCode::InvalidRequest),
    }
}

/// Handles a request about what the controller decides, whoever brought it here; gives the frame of the answer.
pub(crate) async fn handle(
    context: &Arc<Context>,
    principal: Principal,
    host: &str,
    frame: Bytes,
) -> Result<Bytes, Violation> {
    let mut reader = Reader::new(frame.clone());
    let header = RequestHeader::decode(&mut reader)?;
    let (key, version) = (header.api_key, header.api_version);
    let Some(endpoint) = context.endpoints.first().filter(|_| DECIDED_BY_CONTROLLER.contains(&key)) else {
        return Err(Violation::NotServed { key, version });
    };
    let peer = Peer::new(host, 0, endpoint.clone(), principal).without_session();
    // What the client takes of its quotas of bytes and time is measured where it came in.
    let arrived = Arrived { header, frame, reader, waits: Arc::default(), meter: None };
    let reply = start_here(context, &peer, arrived)?.await?;
    // None of these is without an answer, and none is in a file.
    let frame = reply.and_then(|reply| reply.into_frame().ok());
    frame.ok_or(Violation::NotServed { key, version })
}

/// Of a part of this process, which has none, the address of this machine.
fn address_bytes(host: &str) -> Bytes {
    match host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)) {
        IpAddr::V4(address) => address.octets().to_vec().into(),
        IpAddr::V6(address) => address.octets().to_vec().into(),
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use ottla_protocol::frame::encode_response;
    use ottla_protocol::wire::Request;

    use super::super::reply::LENGTH_BYTES;
    use super::*;

    /// The throttle time that a reader finds at the beginning of an answer that says 42.
    fn first_words<R: Request>(version: i16) -> i32
    where
        R::Response: Default,
    {
        let mut answer = R::Response::default();
        R::throttle(&mut answer, 42);
        let frame = encode_response(R::API_KEY, version, 7, &answer).unwrap();
        let mut reader = Reader::new(frame.slice(LENGTH_BYTES..));
        ResponseHeader::decode(&mut reader, R::API_KEY, version).unwrap();
        reader.i32().unwrap()
    }

    #[test]
    fn every_answer_of_the_controller_begins_with_the_throttle_time() {
        let mut seen = 0;
        macro_rules! check {
            ($($name:ident $request:ident $response:ident;)*) => {$(
                if let Some(served) = decided_by_controller().find(|served| served.key == ApiKey::$name) {
                    seen += 1;
                    for version in served.versions.0..=served.versions.1 {
                        assert_eq!(first_words::<ottla_protocol::messages::$request>(version), 42, "{version}");
                    }
                }
            )*};
        }
        ottla_protocol::for_each_api!(check);
        assert_eq!(seen, DECIDED_BY_CONTROLLER.len());
    }

    #[test]
    fn addresses_come_back_from_their_bytes() {
        for host in ["10.1.2.3", "fe80::1"] {
            assert_eq!(address_of(&address_bytes(host)).unwrap().to_string(), host);
        }
        assert_eq!(address_of(&address_bytes("in-process")).unwrap().to_string(), "127.0.0.1");
        assert_eq!(address_of(b"12345"), None);
    }
}
