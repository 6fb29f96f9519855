//! Who comes in at the controller listener: the TLS handshake, SASL, and whether somebody may take part in the cluster as its
//! nodes do. The quorum's listener asks; it must not know how somebody shows who they are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::ApiKey;
use ottla_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::endpoint::Endpoint;
use super::handlers::sasl;
use super::peer::{Peer, Unwelcome};
use crate::controller::ClusterImage;
use crate::security::acl::CLUSTER_NAME;
use crate::security::{Authorizer, Operation, Principal, ResourceType};

/// How long a TLS handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
const AUDIT: &str = "audit";

/// A connection, over TLS or not.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// What controllers are reached by, and who may do there what nodes do.
#[derive(Clone)]
pub(crate) struct Entrance {
    /// What is spoken.
    pub endpoint: Arc<Endpoint>,
    /// Without it everybody who may come in may do everything.
    pub authorizer: Option<Authorizer>,
}

/// Who is at the other end of a connection.
pub(crate) struct Visitor {
    peer: Peer,
    authorizer: Option<Authorizer>,
}

impl Entrance {
    /// Takes a connection in.
    ///
    /// # Errors
    /// When the TLS handshake fails or takes too long.
    pub async fn welcome(&self, stream: TcpStream) -> io::Result<(BufReader<Box<dyn Duplex>>, Visitor)> {
        stream.set_nodelay(true)?;
        let address = stream.peer_addr()?;
        let host = address.ip().to_string();
        let (stream, principal): (Box<dyn Duplex>, Principal) = match &self.endpoint.tls {
            None => (Box::new(stream), Principal::anonymous()),
            Some(tls) => {
                let accepting = TlsAcceptor::from(tls.server()).accept(stream);
                let accepted = timeout(HANDSHAKE_TIME_MAX, accepting).await?;
                let stream = accepted.inspect_err(|error| {
                    let listener = &*self.endpoint.name;
                    tracing::info!(target: AUDIT, host, listener, %error, "TLS handshake failed");
                })?;
                let certificates = stream.get_ref().1.peer_certificates();
                let principal = tls.principal(certificates.and_then(<[_]>::first));
                (Box::new(stream), principal)
            }
        };
        let peer = Peer::new(&host, address.port(), self.endpoint.clone(), principal);
        Ok((BufReader::new(stream), Visitor { peer, authorizer: self.authorizer.clone() }))
    }
}

impl Visitor {
    /// Its address.
    pub fn host(&self) -> &str {
        &self.peer.host
    }

    /// For whom it speaks.
    pub fn principal(&self) -> Principal {
        self.peer.principal()
    }

    /// How large a request of it may be.
    pub fn request_bytes_max(&self, known: usize) -> usize {
        self.peer.request_bytes_max(known)
    }

    /// Whether a request may be looked at; why not.
    pub fn admits(&self, api: ApiKey) -> Result<(), &'static str> {
        self.peer.admits(api).map_err(|why| match why {
            Unwelcome::Unknown => "a request came before authentication",
            Unwelcome::Failed => "a request came after a failed authentication",
            Unwelcome::Expired => "the session has ended and was not renewed",
        })
    }

    /// Whether it may ask that: one of the operations with the cluster is enough.
    pub fn may(&self, image: &ClusterImage, api: ApiKey, operations: &[Operation]) -> bool {
        let Some(authorizer) = &self.authorizer else { return true };
        let (principal, host) = (self.peer.principal(), &*self.peer.host);
        let resource = (ResourceType::Cluster, CLUSTER_NAME);
        let has =
            |operation: &Operation| authorizer.allows(image.acls(), &principal, host, *operation, resource);
        let allowed = operations.iter().any(has);
        if !allowed {
            let operation = operations.first().map_or("", |operation| operation.name());
            let (listener, api) = (&*self.peer.endpoint.name, api.name());
            tracing::info!(target: AUDIT, %principal, host, listener, api, operation, "denied");
        }
        allowed
    }

    /// Chooses a mechanism.
    pub fn handshake(&self, version: i16, request: &SaslHandshakeRequest) -> SaslHandshakeResponse {
        sasl::choose(&self.peer, version, request)
    }

    /// Takes a message of the mechanism; users of SCRAM are the image's.
    pub async fn authenticate(
        &self,
        image: &ClusterImage,
        request: &SaslAuthenticateRequest,
    ) -> SaslAuthenticateResponse {
        let (result, delay) = sasl::exchange(&self.peer, image, &request.auth_bytes);
        if result.is_err() {
            let (host, listener) = (&*self.peer.host, &*self.peer.endpoint.name);
            tracing::info!(target: AUDIT, host, listener, "authentication failed");
        }
        sasl::answer(result, delay).await
    }

    /// Whether it was wrong about who it is, so that the connection must be closed.
    pub fn has_failed(&self) -> bool {
        self.peer.has_failed()
    }
}
