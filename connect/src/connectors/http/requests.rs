//! Requests to one endpoint: with its credentials, at its pace, and again while it cannot answer.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx, 304 | taken |
//! | 408, 425, 429, 5xx, none at all | not now: again after a pause, or after what `Retry-After` says |
//! | 3xx, 401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 421, 426, 431, 451 | the endpoint is not what the config says |
//! | every other 4xx | what was sent is refused |

use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rand::Rng as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, Url, redirect};

use super::config::Endpoint;
use crate::error::ConnectorError;

/// No server makes a connector wait longer than that before it asks again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// How much of an answer is told when it is no success.
const EXCERPT_BYTES: usize = 300;

/// An endpoint, and what is the same in every request.
pub(super) struct Requests {
    client: Client,
    endpoint: Endpoint,
    headers: HeaderMap,
    /// When the next request may be sent, whoever sends it.
    next_at: Mutex<Option<Instant>>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// With its headers and, no more than was allowed, its body.
    Taken { status: StatusCode, headers: HeaderMap, body: Bytes },
    /// What was sent is refused, in the server's words.
    Refused(String),
}

/// What one attempt came to.
enum Attempt {
    Answer(Answer),
    /// Why not now, and how long the server wants to be left alone.
    NotNow(String, Option<Duration>),
    Wrong(ConnectorError),
}

impl Requests {
    pub(super) fn new(endpoint: Endpoint) -> Result<Self, ConnectorError> {
        let what = || format!("preparing requests to {}", endpoint.place());
        // An error says that the process has its TLS already, by an earlier call.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(Duration::from_millis(endpoint.timeout_ms.into()))
            // Credentials go to the endpoint that was named, and to no other.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("ottla-connect/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ConnectorError::fatal(what(), error))?;
        let headers = endpoint.header_map().map_err(|error| ConnectorError::fatal(what(), error))?;
        Ok(Self { client, endpoint, headers, next_at: Mutex::new(None) })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request until it is answered, or has not been for too long. Cancel safe, but for the request that may be on
    /// its way.
    ///
    /// # Errors
    /// Retriable ones when the server could not answer for too long; others when the endpoint is not what the config says.
    pub(super) async fn send(
        &self,
        what: &str,
        method: Method,
        url: &Url,
        own_headers: &HeaderMap,
        body: Bytes,
        answer_bytes_max: usize,
    ) -> Result<Answer, ConnectorError> {
        let mut headers = own_headers.clone();
        headers.extend(self.headers.clone());
        let until = Instant::now() + Duration::from_millis(self.endpoint.retry_timeout_ms);
        let mut attempts = 0_u32;
        loop {
            self.keep_pace().await;
            let request =
                self.client.request(method.clone(), url.clone()).headers(headers.clone()).body(body.clone());
            let (reason, server_wants) = match self.attempt(what, request, answer_bytes_max).await {
                Attempt::Answer(answer) => return Ok(answer),
                Attempt::Wrong(error) => return Err(error),
                Attempt::NotNow(reason, server_wants) => (reason, server_wants),
            };
            let pause = server_wants.unwrap_or_default().min(RETRY_AFTER_MAX).max(self.backoff(attempts));
            attempts += 1;
            // A server that names a time is waited for, however long everything has taken.
            if server_wants.is_none() && Instant::now() + pause > until {
                let tried = format!("{reason} ({attempts} attempts)");
                return Err(ConnectorError::retriable(what, tried));
            }
            tracing::debug!(what, reason, attempts, ?pause, "a request is sent again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Half of the time is chance, so that those who failed together do not come back together.
    fn backoff(&self, attempts: u32) -> Duration {
        let first = Duration::from_millis(self.endpoint.retry_backoff_ms);
        let longest = Duration::from_millis(self.endpoint.retry_backoff_max_ms);
        let full = first.saturating_mul(1 << attempts.min(16)).min(longest);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    async fn keep_pace(&self) {
        let Some(rate) = self.endpoint.requests_per_second else { return };
        let at = {
            let mut next_at = self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let at = next_at.unwrap_or(now).max(now);
            *next_at = Some(at + Duration::from_secs_f64(1.0 / rate));
            at
        };
        tokio::time::sleep_until(at.into()).await;
    }

    async fn attempt(
        &self,
        what: &str,
        request: reqwest::RequestBuilder,
        answer_bytes_max: usize,
    ) -> Attempt {
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Attempt::NotNow(reason_of(error), None),
        };
        let status = response.status();
        let is_taken = status.is_success() || status == StatusCode::NOT_MODIFIED;
        let bytes_max = if is_taken { answer_bytes_max } else { EXCERPT_BYTES };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= bytes_max => body.extend_from_slice(&chunk),
                Ok(Some(_)) if is_taken && answer_bytes_max > 0 => {
                    let reason = format!("the answer has more than {answer_bytes_max} bytes");
                    let remedy = "ask for smaller pages, or set `response_bytes_max` higher";
                    return Attempt::Wrong(ConnectorError::fatal(what, reason).remedy(remedy));
                }
                // What nobody reads needs not be whole.
                Ok(Some(chunk)) => {
                    body.extend_from_slice(chunk.get(..bytes_max - body.len()).unwrap_or(&[]));
                    break;
                }
                Ok(None) => break,
                Err(error) if is_taken && answer_bytes_max > 0 => {
                    return Attempt::NotNow(reason_of(error), None);
                }
                Err(_) => break,
            }
        }
        if is_taken {
            let headers = response.headers().clone();
            return Attempt::Answer(Answer::Taken { status, headers, body: body.into() });
        }
        let reason = described(status, &body);
        match meaning(status) {
            Meaning::NotNow => Attempt::NotNow(reason, retry_after(response.headers())),
            Meaning::Refused => Attempt::Answer(Answer::Refused(reason)),
            Meaning::Wrong(remedy) => Attempt::Wrong(ConnectorError::fatal(what, reason).remedy(remedy)),
        }
    }
}

enum Meaning {
    NotNow,
    Refused,
    /// With what a person can do.
    Wrong(&'static str),
}

fn meaning(status: StatusCode) -> Meaning {
    match status.as_u16() {
        408 | 425 | 429 | 500.. => Meaning::NotNow,
        300..=399 => Meaning::Wrong("set `url` to where the endpoint is now; redirects are not followed"),
        401 | 403 | 407 => Meaning::Wrong("set `bearer_token`, or `username` and `password`, or `headers`"),
        404 | 410 | 421 => Meaning::Wrong("set `url` to an endpoint that exists"),
        402 | 405 | 406 | 411 | 415 | 426 | 431 | 451 => {
            Meaning::Wrong("set `url`, `method`, `body` and `headers` to what the endpoint takes")
        }
        _ => Meaning::Refused,
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Status and the beginning of the body, on one line.
fn described(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: Vec<&str> = text.split_whitespace().collect();
    if text.is_empty() {
        format!("the answer is {status}")
    } else {
        format!("the answer is {status}: {}", text.join(" "))
    }
}

/// An error with its causes and without the URL, in which there may be a key.
fn reason_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        reason.push_str(&format!(": {deeper}"));
        cause = deeper.source();
    }
    reason
}

impl Endpoint {
    /// The headers of every request: those of the config, and the credentials, which no log shows.
    pub(super) fn header_map(&self) -> Result<HeaderMap, String> {
        let mut all = HeaderMap::new();
        for (name, value) in &self.headers {
            let wrong = || format!("{name} is no name of a header, or its value cannot be sent");
            let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            all.insert(name, value);
        }
        let credentials = match (&self.bearer_token, &self.username) {
            (Some(token), _) => Some(format!("Bearer {}", token.expose())),
            (None, Some(username)) => {
                use base64::Engine as _;
                let password = self.password.as_ref().map_or("", |password| password.expose());
                let pair = format!("{username}:{password}");
                Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
            }
            (None, None) => None,
        };
        if let Some(credentials) = credentials {
            let value = HeaderValue::try_from(credentials);
            let mut value = value.map_err(|_| "the credentials cannot be sent in a header".to_owned())?;
            value.set_sensitive(true);
            all.insert(AUTHORIZATION, value);
        }
        Ok(all)
    }

    /// The endpoint without what a query may hide.
    pub(super) fn place(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_say_when_in_seconds_or_by_a_date() {
        let after = |text: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::try_from(text).unwrap())]))
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
        assert!(after(&later).unwrap() > Duration::from_secs(1800));
        for wrong in ["-1", "soon", ""] {
            assert_eq!(after(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_server_says_is_told_on_one_line() {
        assert_eq!(described(StatusCode::BAD_REQUEST, b""), "the answer is 400 Bad Request");
        assert_eq!(
            described(StatusCode::BAD_REQUEST, b" no\n id\xff"),
            "the answer is 400 Bad Request: no id\u{fffd}"
        );
    }
}
