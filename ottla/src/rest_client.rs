//! A REST API that commands ask: of Connect or of the schema registry, Ottla's or another's.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::failure::Failure;

/// A Connect worker may wait for tasks to stop.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// What is asked, and what to say where it does not answer.
pub struct RestClient {
    client: reqwest::Client,
    url: String,
    /// `Connect worker`.
    what: &'static str,
    /// The flag that names another.
    flag: &'static str,
}

impl RestClient {
    pub fn at(url: &str, what: &'static str, flag: &'static str) -> Result<RestClient, Failure> {
        // An error says that the process has its TLS already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(ANSWER_TIME_MAX).build()?;
        Ok(RestClient { client, url: url.trim_end_matches('/').to_owned(), what, flag })
    }

    /// The answer's body; what the other side says is wrong becomes the failure.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let mut request = self.client.request(method, format!("{}/{path}", self.url));
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| {
            Failure::failed(format!(
                "no {} answers at {}: {error}; `ottla server` is one, or name another with {}",
                self.what, self.url, self.flag
            ))
        })?;
        let status = answer.status();
        let text = answer.text().await?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(body);
        }
        let said = body["message"].as_str().map_or_else(|| format!("{status} {text}"), str::to_owned);
        Err(Failure::failed(said))
    }

    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }
}

/// A name as part of a path.
pub fn encoded(name: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes()
        .map(|byte| if kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A JSON value for a cell of a table.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
