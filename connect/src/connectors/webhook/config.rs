//! The config of the webhook source.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::source::WebhookSource;
use crate::connector::{Source, SourceContext, SourcePartition};
use crate::error::{ConnectorError, FieldError};
use crate::registry::{CheckConfig, SourceConfig};
use crate::secret::Secret;

/// Bytes of one body, at most.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Requests at the same time, at most.
const REQUESTS_MAX: usize = 10_000;

/// What a request's body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BodyFormat {
    /// JSON: a record in each place of an array, or one record.
    #[default]
    Json,
    /// A record in each line of JSON.
    Ndjson,
    /// One record, whatever it is.
    Raw,
}

/// Takes records that others send by HTTP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookSourceConfig {
    /// The address and port to listen at, such as 127.0.0.1:8090.
    pub(crate) listen: String,
    /// The path of the requests; others are answered with 404.
    #[serde(default = "default_path")]
    pub(crate) path: String,
    /// What a body holds: `json`, `ndjson` or `raw`.
    #[serde(default)]
    pub(crate) format: BodyFormat,
    /// The token that a request must have in `Authorization: Bearer`.
    #[serde(default)]
    pub(crate) bearer_token: Option<Secret>,
    /// The secret with which the sender signs a body by HMAC with SHA-256.
    #[serde(default)]
    pub(crate) hmac_secret: Option<Secret>,
    /// The header of the signature, in hexadecimal, with or without `sha256=` before it.
    #[serde(default = "default_hmac_header")]
    pub(crate) hmac_header: String,
    /// Whether everyone may send who reaches an address beyond this machine.
    #[serde(default)]
    pub(crate) anonymous: bool,
    /// Bytes of one body, at most; a larger one is answered with 413.
    #[serde(default = "default_body_bytes_max")]
    pub(crate) body_bytes_max: usize,
    /// Requests whose records may be on their way at the same time; others are answered with 503.
    #[serde(default = "default_requests_max")]
    pub(crate) requests_max: usize,
    /// How long a body may take to come, and then its records to be written, in milliseconds; after that the answer is 408 or 503.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u32,
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_hmac_header() -> String {
    "X-Hub-Signature-256".to_owned()
}

fn default_body_bytes_max() -> usize {
    1 << 20
}

fn default_requests_max() -> usize {
    64
}

fn default_timeout_ms() -> u32 {
    30_000
}

impl CheckConfig for WebhookSourceConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        match self.listen.parse::<SocketAddr>() {
            Err(_) => errors
                .push(FieldError::new("listen", "must be an address and a port, such as 127.0.0.1:8090")),
            Ok(address) => {
                let is_guarded = self.bearer_token.is_some() || self.hmac_secret.is_some();
                if !address.ip().is_loopback() && !is_guarded && !self.anonymous {
                    let message = "others than this machine reach this address: set `bearer_token` or `hmac_secret`, or `anonymous` to true";
                    errors.push(FieldError::new("listen", message));
                }
            }
        }
        if !self.path.starts_with('/') {
            errors.push(FieldError::new("path", "must begin with a slash"));
        }
        for (field, secret) in [("bearer_token", &self.bearer_token), ("hmac_secret", &self.hmac_secret)] {
            if secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
                errors.push(FieldError::new(field, "must not be empty"));
            }
        }
        if axum::http::HeaderName::try_from(self.hmac_header.as_str()).is_err() {
            errors.push(FieldError::new("hmac_header", "must be the name of a header"));
        }
        if self.body_bytes_max == 0 || self.body_bytes_max > BODY_BYTES_MAX {
            let message = format!("must be between 1 and {BODY_BYTES_MAX} bytes");
            errors.push(FieldError::new("body_bytes_max", message));
        }
        if self.requests_max == 0 || self.requests_max > REQUESTS_MAX {
            errors.push(FieldError::new("requests_max", format!("must be between 1 and {REQUESTS_MAX}")));
        }
        if self.timeout_ms == 0 {
            errors.push(FieldError::new("timeout_ms", "must be at least 1"));
        }
        errors
    }
}

impl SourceConfig for WebhookSourceConfig {
    fn partition(&self) -> SourcePartition {
        SourcePartition([("path".to_owned(), self.path.clone())].into())
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(WebhookSource::open(self, context)?))
    }
}
