//! Where the keys that sign tokens are read from: a file or a URL, again and again, so that keys can be changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::sasl::TokenValidator;

/// No JWKS is larger; one that is, is not read to its end.
const JWKS_BYTES_MAX: usize = 1 << 20;
/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// After a failure it is tried again no later than this.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// `sasl.oauthbearer.jwks.endpoint.url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// `file:`.
    File(PathBuf),
    /// `https:` or `http:`.
    Url(String),
}

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum JwksError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The server does not answer as it should.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// It is too large.
    #[error("has more than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
    /// It is no JWKS.
    #[error("is no JWKS: {0}")]
    Json(#[from] serde_json::Error),
}

impl JwksSource {
    /// Reads the config's value.
    ///
    /// # Errors
    /// What it should be.
    pub fn parse(url: &str) -> Result<JwksSource, String> {
        if let Some(path) = url.strip_prefix("file:") {
            // `file:///path` and `file:/path` are the same.
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(JwksSource::File(path.into()));
        }
        match reqwest::Url::parse(url) {
            Ok(parsed) if ["https", "http"].contains(&parsed.scheme()) => Ok(JwksSource::Url(url.to_owned())),
            _ => Err(format!("{url:?} should be a file:, https: or http: URL")),
        }
    }

    async fn read(&self) -> Result<Vec<u8>, JwksError> {
        match self {
            JwksSource::File(path) => {
                tokio::fs::read(path).await.map_err(|error| JwksError::File { path: path.clone(), error })
            }
            JwksSource::Url(url) => {
                // An error says that the process has its TLS already, by an earlier call.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let client = reqwest::Client::builder().timeout(ANSWER_TIME_MAX).build()?;
                let mut answer = client.get(url).send().await?.error_for_status()?;
                let mut bytes = Vec::new();
                while let Some(chunk) = answer.chunk().await? {
                    if bytes.len() + chunk.len() > JWKS_BYTES_MAX {
                        return Err(JwksError::TooLarge);
                    }
                    bytes.extend_from_slice(&chunk);
                }
                Ok(bytes)
            }
        }
    }
}

/// Reads the keys once.
pub async fn refresh(source: &JwksSource, validator: &TokenValidator) -> Result<usize, JwksError> {
    Ok(validator.set_keys(&source.read().await?)?)
}

/// Reads the keys every `interval` (`sasl.oauthbearer.jwks.endpoint.refresh.ms`). What was read last stays in use while they
/// cannot be had.
pub async fn keep_fresh(source: JwksSource, validator: Arc<TokenValidator>, interval: Duration) {
    let mut failed = false;
    loop {
        match refresh(&source, &validator).await {
            Ok(keys) => {
                tracing::debug!(keys, "read the keys that sign tokens");
                failed = false;
                tokio::time::sleep(interval).await;
            }
            Err(error) => {
                // Once: an issuer that is away would fill the log.
                if !std::mem::replace(&mut failed, true) {
                    tracing::warn!(%error, ?source, "the keys that sign tokens cannot be read");
                }
                tokio::time::sleep(interval.min(RETRY_MAX)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Serves one answer; gives its address.
    async fn serve(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
        });
        format!("http://{address}/keys")
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn keys_are_read_from_a_url_within_bounds() {
        let url = serve(answer("200 OK", "{\"keys\": []}")).await;
        assert_eq!(JwksSource::parse(&url).unwrap().read().await.unwrap(), b"{\"keys\": []}");
        let url = serve(answer("404 Not Found", "")).await;
        assert!(matches!(JwksSource::parse(&url).unwrap().read().await, Err(JwksError::Http(_))));
        let url = serve(answer("200 OK", &"x".repeat(JWKS_BYTES_MAX + 1))).await;
        assert!(matches!(JwksSource::parse(&url).unwrap().read().await, Err(JwksError::TooLarge)));
    }
}
