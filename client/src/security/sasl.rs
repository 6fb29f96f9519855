//! SASL on the client's side: what is sent to show who the client is (KIP-43, 152, 368).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest, SaslHandshakeResponse};
use ottla_protocol::{ErrorCode, Request};
use rand::Rng;

use super::scram::{ScramClient, ScramMechanism};
use super::secret::Secret;
use crate::error::ClientError;

/// In version 0 tokens follow without the frames of requests; every broker since Kafka 1.0 knows version 1.
const HANDSHAKE_VERSION: i16 = 1;
/// A token file is not read beyond this.
const TOKEN_BYTES_MAX: usize = 256 << 10;
/// Asks for the end of an exchange that the broker has refused already (RFC 7628, section 3.2.3).
const OAUTH_ACKNOWLEDGED: &[u8] = b"\x01";
/// A session is not renewed more often.
const RENEWAL_PAUSE_MIN: Duration = Duration::from_millis(100);

/// How the client shows who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslSettings {
    /// The password itself is sent: only over TLS is it safe.
    Plain { user: String, password: Secret },
    /// The password stays here, and the broker shows that it knows it too.
    Scram { mechanism: ScramMechanism, user: String, password: Secret },
    /// A signed token that somebody gave out (KIP-255); extensions go with it (KIP-342).
    OauthBearer { token: TokenSource, extensions: BTreeMap<String, String> },
}

/// Where a token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// It is always the same.
    Text(Secret),
    /// In a file, which is read for every authentication, so that a renewed token is used as soon as it is there.
    File(PathBuf),
}

impl SaslSettings {
    /// SASL's name of the mechanism.
    pub fn mechanism(&self) -> &'static str {
        match self {
            SaslSettings::Plain { .. } => "PLAIN",
            SaslSettings::Scram { mechanism, .. } => mechanism.name(),
            SaslSettings::OauthBearer { .. } => "OAUTHBEARER",
        }
    }
}

/// What an exchange goes over: one connection, on which nothing else happens meanwhile.
pub(crate) trait SaslChannel: Send {
    /// The broker's, for errors.
    fn address(&self) -> &str;

    /// Asks in the newest version up to `version_max` that both sides speak; gives that with the answer.
    fn call<R: Request<Response: Send> + Send>(
        &mut self,
        version_max: i16,
        request: R,
    ) -> impl Future<Output = Result<(i16, R::Response), ClientError>> + Send;
}

/// Shows the broker who the client is. Gives after how long it must be shown again, if it must.
pub(crate) async fn authenticate(
    channel: impl SaslChannel,
    settings: &SaslSettings,
) -> Result<Option<Duration>, ClientError> {
    let mut exchange = Exchange { channel, mechanism: settings.mechanism() };
    exchange.handshake().await?;
    let answer = match settings {
        SaslSettings::Plain { user, password } => {
            exchange.step(format!("\0{user}\0{}", password.expose()).into()).await?
        }
        SaslSettings::Scram { mechanism, user, password } => {
            exchange.scram(*mechanism, user, password).await?
        }
        SaslSettings::OauthBearer { token, extensions } => exchange.token(token, extensions).await?,
    };
    Ok(u64::try_from(answer.session_lifetime_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis))
}

/// When in a session's life it is renewed: late, but with time for the exchange; not all connections at once.
pub(crate) fn renewal_pause(lifetime: Duration) -> Duration {
    lifetime.mul_f64(rand::rng().random_range(0.85..0.95)).max(RENEWAL_PAUSE_MIN)
}

struct Answer {
    bytes: Bytes,
    session_lifetime_ms: i64,
}

struct Exchange<C> {
    channel: C,
    mechanism: &'static str,
}

impl<C: SaslChannel> Exchange<C> {
    fn refused(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Authentication {
            address: self.channel.address().to_owned(),
            mechanism: self.mechanism,
            reason: reason.into(),
        }
    }

    async fn handshake(&mut self) -> Result<(), ClientError> {
        let request = SaslHandshakeRequest { mechanism: self.mechanism.into() };
        let (version, answer) = self.channel.call(HANDSHAKE_VERSION, request).await?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None if version == HANDSHAKE_VERSION => Ok(()),
            ErrorCode::None => Err(self.refused("the broker knows SaslHandshake in version 0 only")),
            ErrorCode::UnsupportedSaslMechanism => Err(self.refused(unsupported(&answer))),
            ErrorCode::IllegalSaslState => Err(self.refused("the listener has no SASL, or not here")),
            code => Err(self.refused(code.message())),
        }
    }

    async fn step(&mut self, message: Bytes) -> Result<Answer, ClientError> {
        let request = SaslAuthenticateRequest { auth_bytes: message };
        let (_, answer) = self.channel.call(i16::MAX, request).await?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                Ok(Answer { bytes: answer.auth_bytes, session_lifetime_ms: answer.session_lifetime_ms })
            }
            code => {
                let message = answer.error_message.filter(|message| !message.is_empty());
                Err(self.refused(message.as_deref().unwrap_or(code.message())))
            }
        }
    }

    async fn scram(
        &mut self,
        mechanism: ScramMechanism,
        user: &str,
        password: &Secret,
    ) -> Result<Answer, ClientError> {
        let nonce = format!("{:032x}", rand::random::<u128>());
        let client = ScramClient::new(mechanism, user, password.clone(), nonce);
        let first = self.step(client.first()).await?;
        // Thousands of hashes: milliseconds in which the other tasks of this thread would wait.
        let last = tokio::task::spawn_blocking(move || client.last(&first.bytes)).await.ok().flatten();
        let (last, expected) =
            last.ok_or_else(|| self.refused("the broker's SCRAM challenge cannot be answered"))?;
        let answer = self.step(last).await?;
        if answer.bytes != expected {
            return Err(self.refused("the broker did not show that it knows the user"));
        }
        Ok(answer)
    }

    async fn token(
        &mut self,
        source: &TokenSource,
        extensions: &BTreeMap<String, String>,
    ) -> Result<Answer, ClientError> {
        let token = match source {
            TokenSource::Text(token) => token.clone(),
            TokenSource::File(path) => {
                let read = tokio::fs::read(path).await;
                let bytes = read.map_err(|error| self.refused(format!("{}: {error}", path.display())))?;
                let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= TOKEN_BYTES_MAX);
                let text = text.ok_or_else(|| self.refused(format!("{} has no token", path.display())))?;
                Secret::new(text.trim())
            }
        };
        let mut message = format!("n,,\x01auth=Bearer {}", token.expose());
        for (name, value) in extensions {
            message.push_str(&format!("\x01{name}={value}"));
        }
        message.push_str("\x01\x01");
        let answer = self.step(message.into()).await?;
        if answer.bytes.is_empty() {
            return Ok(answer);
        }
        // What came says why the token is refused; the broker ends the exchange when it hears that this was read.
        let reason = String::from_utf8_lossy(&answer.bytes).into_owned();
        match self.step(Bytes::from_static(OAUTH_ACKNOWLEDGED)).await {
            Err(error @ ClientError::Authentication { .. }) => Err(error),
            _ => Err(self.refused(reason)),
        }
    }
}

fn unsupported(answer: &SaslHandshakeResponse) -> String {
    let mechanisms: Vec<&str> = answer.mechanisms.iter().map(|mechanism| mechanism.as_str()).collect();
    format!("the broker serves {} here", mechanisms.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_renewed_before_it_ends() {
        for _ in 0..100 {
            let pause = renewal_pause(Duration::from_secs(100));
            assert!(pause >= Duration::from_secs(85) && pause < Duration::from_secs(95), "{pause:?}");
        }
        assert_eq!(renewal_pause(Duration::from_millis(1)), RENEWAL_PAUSE_MIN);
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = SaslSettings::Plain { user: "u".to_owned(), password: Secret::new("p4ss") };
        let token = SaslSettings::OauthBearer {
            token: TokenSource::Text(Secret::new("p4ss")),
            extensions: BTreeMap::new(),
        };
        assert!(!format!("{settings:?} {token:?}").contains("p4ss"));
    }
}
