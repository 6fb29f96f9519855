//! Who is at the other end of a connection.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ottla_protocol::ApiKey;
use ottla_protocol::wire::Str;

use super::endpoint::{Endpoint, SharedSession};
use crate::partition::now_ms;
use crate::security::Principal;

/// Who sent a request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// An address, or `in-process`.
    pub host: Arc<str>,
    /// Of the address.
    pub port: u16,
    /// Where it came in.
    pub endpoint: Arc<Endpoint>,
    /// For whom it speaks where nothing else is shown by SASL.
    principal: Principal,
    /// What it has shown by SASL; none where it does not have to.
    pub(super) session: Option<SharedSession>,
    /// What its ApiVersions request said.
    pub(super) software: Arc<OnceLock<Software>>,
    /// Until when nothing is read from it, because it took more than its quota.
    muted_until: Arc<Mutex<Option<Instant>>>,
}

/// What a client says that it is (KIP-511).
#[derive(Debug)]
pub(super) struct Software {
    pub name: Str,
    pub version: Str,
}

/// Why a connection may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwelcome {
    /// It has to show who it is first.
    Unknown,
    /// It was wrong about that.
    Failed,
    /// It has to show it again by now (KIP-368).
    Expired,
}

impl Peer {
    /// A client at this address, whom its certificate or nothing made the principal.
    pub fn new(host: &str, port: u16, endpoint: Arc<Endpoint>, principal: Principal) -> Peer {
        let session = endpoint.sasl.is_some().then(SharedSession::default);
        Peer {
            host: host.into(),
            port,
            endpoint,
            principal,
            session,
            software: Arc::default(),
            muted_until: Arc::default(),
        }
    }

    /// The same, whose principal is known although its endpoint would have to ask.
    pub(super) fn without_session(self) -> Peer {
        Peer { session: None, ..self }
    }

    /// A part of this process, which is told what clients of the endpoint are told.
    pub fn in_process(endpoint: Arc<Endpoint>) -> Peer {
        let principal = Principal::internal();
        Peer {
            host: "in-process".into(),
            port: 0,
            endpoint,
            principal,
            session: None,
            software: Arc::default(),
            muted_until: Arc::default(),
        }
    }

    /// For whom it speaks.
    pub fn principal(&self) -> Principal {
        let shown =
            self.session.as_ref().and_then(|session| session.lock().authentication.principal().cloned());
        shown.unwrap_or_else(|| self.principal.clone())
    }

    /// Whether a request may be looked at.
    pub(super) fn admits(&self, api: ApiKey) -> Result<(), Unwelcome> {
        let Some(session) = &self.session else { return Ok(()) };
        let session = session.lock();
        let authentication = &session.authentication;
        if authentication.has_failed() {
            return Err(Unwelcome::Failed);
        }
        if matches!(api, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate) {
            return Ok(());
        }
        match authentication.principal() {
            None => Err(Unwelcome::Unknown),
            Some(_) if authentication.is_expired(now_ms()) => Err(Unwelcome::Expired),
            Some(_) => Ok(()),
        }
    }

    /// Reads nothing from it for so long, and gives that in milliseconds for its answer.
    pub(super) fn mute_for(&self, wait: Duration) -> i32 {
        if !wait.is_zero() {
            self.mute_until(Instant::now() + wait);
        }
        i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
    }

    /// Reads nothing from it for a while.
    pub(super) fn mute_until(&self, until: Instant) {
        let mut muted = self.muted();
        *muted = Some(muted.map_or(until, |before| before.max(until)));
    }

    /// Waits until it may be read from.
    pub(super) async fn unmuted(&self) {
        loop {
            let until = self.muted().filter(|until| *until > Instant::now());
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => return,
            }
        }
    }

    fn muted(&self) -> MutexGuard<'_, Option<Instant>> {
        self.muted_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was wrong about who it is, so that the connection must be closed.
    pub(super) fn has_failed(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.lock().authentication.has_failed())
    }

    /// How large a request may be: small until it is known whose it is.
    pub(super) fn request_bytes_max(&self, known: usize) -> usize {
        let unknown = match (&self.session, &self.endpoint.sasl) {
            (Some(session), Some(sasl)) if session.lock().authentication.principal().is_none() => {
                Some(sasl.config.request_bytes_max)
            }
            _ => None,
        };
        unknown.map_or(known, |unknown| unknown.min(known))
    }
}
