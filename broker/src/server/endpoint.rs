//! A listener as its connections see it: what clients are told of it, and how they show who they are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ottla_client::security::SecurityProtocol;
use ottla_protocol::wire::Str;

use super::security_settings::{ListenerConfig, SaslConfig};
use crate::controller::ClusterImage;
use crate::security::jwks::JwksSource;
use crate::security::sasl::{Authentication, Mechanism, PlainUsers, TokenValidator, Verifier};
use crate::security::scram::{ScramCredential, ScramMechanism};
use crate::security::tls::{TlsError, TlsServer};

/// A listener that serves.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name.
    pub name: Str,
    /// What is spoken there.
    pub protocol: SecurityProtocol,
    /// What clients are told to connect to.
    pub host: Str,
    /// What clients are told to connect to.
    pub port: i32,
    /// Where the protocol has TLS.
    pub tls: Option<TlsServer>,
    /// Where the protocol has SASL.
    pub(super) sasl: Option<SaslServer>,
}

impl Endpoint {
    /// Of a listener that is bound to `port`.
    pub(crate) fn new(config: &ListenerConfig, port: u16) -> Result<Endpoint, TlsError> {
        let host = config.advertised_host.clone().unwrap_or_else(|| config.address.ip().to_string());
        Ok(Endpoint {
            name: config.name.as_str().into(),
            protocol: config.protocol,
            host: host.into(),
            port: i32::from(config.advertised_port.unwrap_or(port)),
            tls: config.tls.clone().map(TlsServer::new).transpose()?,
            sasl: config.sasl.clone().map(SaslServer::new),
        })
    }

    /// What reads the keys that sign tokens, where there are any: from where, for whom, and how often.
    pub(crate) fn tokens(&self) -> Option<(JwksSource, Arc<TokenValidator>, Duration)> {
        let sasl = self.sasl.as_ref()?;
        let config = sasl.config.tokens.as_ref()?;
        Some((config.jwks.clone(), sasl.tokens.clone()?, config.refresh))
    }
}

/// How clients of a listener show who they are.
#[derive(Debug)]
pub(super) struct SaslServer {
    pub config: SaslConfig,
    tokens: Option<Arc<TokenValidator>>,
    /// Makes up salts for users that do not exist.
    secret: [u8; 32],
}

impl SaslServer {
    fn new(config: SaslConfig) -> SaslServer {
        let tokens = config.tokens.as_ref().map(|tokens| TokenValidator::new(tokens.rules.clone()));
        SaslServer { config, tokens, secret: rand::random() }
    }

    /// What a mechanism's credentials are checked against.
    pub fn verifier<'a>(&'a self, image: &'a ClusterImage, session: &Session) -> impl Verifier + 'a {
        let place = self.config.mechanisms.iter().position(|mechanism| Some(*mechanism) == session.mechanism);
        let session_ms_max = place.and_then(|place| self.config.session_ms_max.get(place)).copied();
        CheckedBy { sasl: self, image, session_ms_max: session_ms_max.unwrap_or_default() }
    }
}

struct CheckedBy<'a> {
    sasl: &'a SaslServer,
    image: &'a ClusterImage,
    session_ms_max: i64,
}

impl Verifier for CheckedBy<'_> {
    fn plain_users(&self) -> &PlainUsers {
        &self.sasl.config.plain_users
    }

    fn scram_credential(&self, user: &str, mechanism: ScramMechanism) -> Option<ScramCredential> {
        self.image.scram_credential(user, mechanism).cloned()
    }

    fn secret(&self) -> &[u8] {
        &self.sasl.secret
    }

    fn tokens(&self) -> Option<&TokenValidator> {
        self.sasl.tokens.as_deref()
    }

    fn nonce(&self) -> String {
        STANDARD_NO_PAD.encode(rand::random::<[u8; 24]>())
    }

    fn session_ms_max(&self) -> i64 {
        self.session_ms_max
    }
}

/// What one connection of an endpoint with SASL has shown, with the mechanism it uses.
#[derive(Default)]
pub(super) struct Session {
    pub authentication: Authentication,
    pub mechanism: Option<Mechanism>,
    /// The next frame is a message of the mechanism's, without a header.
    pub takes_tokens: bool,
}

/// A session that the reader and the writer of a connection look at.
#[derive(Clone, Default)]
pub(super) struct SharedSession(Arc<Mutex<Session>>);

impl SharedSession {
    /// Held for a few lines that cannot leave it half changed.
    pub fn lock(&self) -> MutexGuard<'_, Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SharedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSession")
    }
}
