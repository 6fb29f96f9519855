//! What one connection has shown of itself (KIP-43, 152, 368).
//!
//! ```text
//!              SaslHandshake           SaslAuthenticate …          again, before the session ends
//!   Unknown ────────────────▶ Exchange ──────────────▶ Authenticated ────────────────▶ Exchange …
//!                                 │ wrong
//!                                 ▼
//!                              Failed: the connection is closed
//! ```

use bytes::Bytes;

use super::oauthbearer::TokenValidator;
use super::plain::PlainUsers;
use crate::security::Principal;
use crate::security::scram::{ScramCredential, ScramExchange, ScramMechanism};

/// How a client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// By name and password.
    Plain,
    /// By proving that it knows the password.
    Scram(ScramMechanism),
    /// By a signed token.
    OauthBearer,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Mechanism; 4] = [
        Mechanism::Plain,
        Mechanism::Scram(ScramMechanism::Sha256),
        Mechanism::Scram(ScramMechanism::Sha512),
        Mechanism::OauthBearer,
    ];

    /// The name under which SASL knows it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(mechanism) => mechanism.name(),
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// What credentials are checked against.
pub trait Verifier {
    /// Names and passwords for PLAIN.
    fn plain_users(&self) -> &PlainUsers;
    /// A user's SCRAM credential.
    fn scram_credential(&self, user: &str, mechanism: ScramMechanism) -> Option<ScramCredential>;
    /// Makes up salts for users without a credential; never told.
    fn secret(&self) -> &[u8];
    /// Checks tokens.
    fn tokens(&self) -> Option<&TokenValidator>;
    /// Text that was never used before.
    fn nonce(&self) -> String;
    /// `connections.max.reauth.ms`: how long a session lasts at most; 0 is for ever.
    fn session_ms_max(&self) -> i64;
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For its side of the exchange.
    pub bytes: Bytes,
    /// Until when it need not authenticate again, from now; 0 is for ever. Only at the end of an exchange.
    pub session_ms: i64,
}

/// Why a client was not believed. The text is for it, and has nothing that it did not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The request does not belong here.
    IllegalState(&'static str),
    /// The credentials are not right.
    Failed(String),
}

/// See the module.
pub struct Authentication {
    state: State,
    /// Whom the connection was found to be, and in milliseconds since 1970 until when.
    authenticated: Option<(Principal, Option<i64>)>,
}

enum State {
    /// Nothing is going on.
    Rest,
    /// A mechanism was agreed on.
    Begun(Mechanism),
    /// The client proves its password.
    Scram(ScramMechanism, ScramExchange),
    /// The token was refused; the client still has to say that it heard.
    RefusedToken,
    /// Nothing more is taken.
    Failed,
}

impl Default for Authentication {
    fn default() -> Authentication {
        Authentication { state: State::Rest, authenticated: None }
    }
}

impl Authentication {
    /// For whom the connection speaks, if it has shown it.
    pub fn principal(&self) -> Option<&Principal> {
        self.authenticated.as_ref().map(|(principal, _)| principal)
    }

    /// Whether the session has ended and the client did not authenticate again.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        matches!(&self.authenticated, Some((_, Some(until_ms))) if *until_ms <= now_ms)
    }

    /// Whether the connection must be closed.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// Whether the client has shown who it is, and no exchange is going on.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, State::Rest) && self.authenticated.is_some()
    }

    /// The client wants to use a mechanism.
    pub fn on_handshake(&mut self, mechanism: Mechanism) -> Result<(), Refused> {
        match self.state {
            State::Rest => {
                self.state = State::Begun(mechanism);
                Ok(())
            }
            _ => {
                self.state = State::Failed;
                Err(Refused::IllegalState("SaslHandshake comes once, before SaslAuthenticate"))
            }
        }
    }

    /// The client wants to use a mechanism that is not offered.
    pub fn on_unknown_mechanism(&mut self) {
        self.state = State::Failed;
    }

    /// A message of the client's.
    pub fn on_authenticate(
        &mut self,
        verifier: &impl Verifier,
        now_ms: i64,
        message: &Bytes,
    ) -> Result<Answer, Refused> {
        let going_on = |bytes| Ok(Answer { bytes, session_ms: 0 });
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Begun(Mechanism::Plain) => match verifier.plain_users().check(message) {
                Some(user) => self.done(verifier, &user, None, now_ms, Bytes::new()),
                None => {
                    Err(Refused::Failed("Authentication failed: Invalid username or password".to_owned()))
                }
            },
            State::Begun(Mechanism::Scram(mechanism)) => {
                let find = |user: &str| verifier.scram_credential(user, mechanism);
                let begun =
                    ScramExchange::begin(mechanism, message, &verifier.nonce(), verifier.secret(), find);
                let (exchange, answer) = begun.ok_or_else(|| invalid_credentials(mechanism.name()))?;
                self.state = State::Scram(mechanism, exchange);
                going_on(answer)
            }
            State::Scram(mechanism, exchange) => match exchange.finish(message) {
                Some((user, answer)) => self.done(verifier, &user, None, now_ms, answer),
                None => Err(invalid_credentials(mechanism.name())),
            },
            State::Begun(Mechanism::OauthBearer) => {
                match verifier.tokens().and_then(|tokens| tokens.check(message, now_ms)) {
                    Some(token) if token.authorization.as_ref().is_some_and(|name| *name != token.name) => {
                        let why = "Authentication failed: Client requested an authorization id that is different from the token's principal name";
                        Err(Refused::Failed(why.to_owned()))
                    }
                    Some(token) => {
                        self.done(verifier, &token.name, Some(token.expires_at_ms), now_ms, Bytes::new())
                    }
                    // The client learns of it within the exchange and has to answer (RFC 7628).
                    None => {
                        self.state = State::RefusedToken;
                        going_on(Bytes::from_static(b"{\"status\":\"invalid_token\"}"))
                    }
                }
            }
            State::RefusedToken => Err(invalid_credentials(Mechanism::OauthBearer.name())),
            State::Rest | State::Failed => {
                Err(Refused::IllegalState("SaslAuthenticate comes after SaslHandshake"))
            }
        }
    }

    fn done(
        &mut self,
        verifier: &impl Verifier,
        user: &str,
        credential_until_ms: Option<i64>,
        now_ms: i64,
        bytes: Bytes,
    ) -> Result<Answer, Refused> {
        let principal = Principal::user(user);
        if self.principal().is_some_and(|before| *before != principal) {
            let why = "Cannot change principals during re-authentication";
            return Err(Refused::Failed(why.to_owned()));
        }
        let most =
            Some(verifier.session_ms_max()).filter(|most| *most > 0).map(|most| now_ms.saturating_add(most));
        let until_ms = [most, credential_until_ms].into_iter().flatten().min();
        self.authenticated = Some((principal, until_ms));
        self.state = State::Rest;
        Ok(Answer { bytes, session_ms: until_ms.map_or(0, |until_ms| (until_ms - now_ms).max(1)) })
    }
}

fn invalid_credentials(mechanism: &str) -> Refused {
    Refused::Failed(format!(
        "Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known {
        users: PlainUsers,
        session_ms_max: i64,
    }

    impl Verifier for Known {
        fn plain_users(&self) -> &PlainUsers {
            &self.users
        }
        fn scram_credential(&self, _: &str, _: ScramMechanism) -> Option<ScramCredential> {
            None
        }
        fn secret(&self) -> &[u8] {
            b"secret"
        }
        fn tokens(&self) -> Option<&TokenValidator> {
            None
        }
        fn nonce(&self) -> String {
            "nonce".to_owned()
        }
        fn session_ms_max(&self) -> i64 {
            self.session_ms_max
        }
    }

    fn known(session_ms_max: i64) -> Known {
        Known { users: PlainUsers::new([("alice", "a"), ("bob", "b")]), session_ms_max }
    }

    fn log_in(
        authentication: &mut Authentication,
        known: &Known,
        message: &'static [u8],
    ) -> Result<Answer, Refused> {
        authentication.on_handshake(Mechanism::Plain)?;
        authentication.on_authenticate(known, 1000, &Bytes::from_static(message))
    }

    #[test]
    fn a_client_is_nobody_until_it_has_shown_who_it_is() {
        let mut authentication = Authentication::default();
        assert_eq!(authentication.principal(), None);
        let answer = log_in(&mut authentication, &known(0), b"\0alice\0a").unwrap();
        assert_eq!(answer, Answer { bytes: Bytes::new(), session_ms: 0 });
        assert_eq!(authentication.principal(), Some(&Principal::user("alice")));
        assert!(!authentication.is_expired(i64::MAX));
    }

    #[test]
    fn whoever_fails_once_has_failed() {
        let mut authentication = Authentication::default();
        assert!(matches!(log_in(&mut authentication, &known(0), b"\0alice\0b"), Err(Refused::Failed(_))));
        assert!(authentication.has_failed());
        assert!(matches!(
            log_in(&mut authentication, &known(0), b"\0alice\0a"),
            Err(Refused::IllegalState(_))
        ));
        assert_eq!(authentication.principal(), None);
    }

    #[test]
    fn a_session_ends_unless_the_same_principal_authenticates_again() {
        let mut authentication = Authentication::default();
        assert_eq!(log_in(&mut authentication, &known(500), b"\0alice\0a").unwrap().session_ms, 500);
        assert!(!authentication.is_expired(1499));
        assert!(authentication.is_expired(1500));
        authentication.on_handshake(Mechanism::Plain).unwrap();
        authentication.on_authenticate(&known(500), 1400, &Bytes::from_static(b"\0alice\0a")).unwrap();
        assert!(!authentication.is_expired(1899));
        assert!(matches!(log_in(&mut authentication, &known(500), b"\0bob\0b"), Err(Refused::Failed(_))));
        assert!(authentication.has_failed());
    }

    #[test]
    fn messages_out_of_order_end_the_exchange() {
        let mut authentication = Authentication::default();
        let early = authentication.on_authenticate(&known(0), 0, &Bytes::from_static(b"\0alice\0a"));
        assert!(matches!(early, Err(Refused::IllegalState(_))));
        let mut authentication = Authentication::default();
        authentication.on_handshake(Mechanism::Plain).unwrap();
        assert!(authentication.on_handshake(Mechanism::Plain).is_err());
        assert!(authentication.has_failed());
    }

    #[test]
    fn a_refused_token_is_told_twice() {
        let mut authentication = Authentication::default();
        authentication.on_handshake(Mechanism::OauthBearer).unwrap();
        let first = authentication.on_authenticate(&known(0), 0, &Bytes::from_static(b"n,,")).unwrap();
        assert!(first.bytes.starts_with(b"{\"status\""));
        assert!(authentication.on_authenticate(&known(0), 0, &Bytes::from_static(b"\x01")).is_err());
    }
}
