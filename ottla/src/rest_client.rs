//! A REST API that commands ask: of Connect or of the schema registry, Ottla's or another's.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
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
        match self.send(method, path, body).await? {
            (status, body) if status.is_success() => Ok(body),
            (status, body) => Err(RestClient::failure(status, &body)),
        }
    }

    /// What an answer that is no success says.
    pub fn failure(status: StatusCode, body: &Value) -> Failure {
        match (body["message"].as_str(), body) {
            (Some(message), _) => Failure::failed(message),
            (None, Value::String(text)) => Failure::failed(format!("{status} {text}")),
            (None, body) => Failure::failed(format!("{status} {body}")),
        }
    }

    /// The answer's status and body; a body that is no JSON is a text.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(StatusCode, Value), Failure> {
        let request = self.client.request(method, format!("{}/{path}", self.url));
        let (status, text) = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json").body(body.to_string());
                self.answer(request).await?
            }
            None => self.answer(request).await?,
        };
        Ok((status, json_of(text)))
    }

    /// The same with bytes.
    pub async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Value), Failure> {
        let request = self.client.request(method, format!("{}/{path}", self.url)).body(body);
        let (status, text) = self.answer(request).await?;
        Ok((status, json_of(text)))
    }

    /// An answer that is bytes.
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, Failure> {
        let answer = self.reached(self.client.get(format!("{}/{path}", self.url))).await?;
        match answer.status() {
            status if status.is_success() => Ok(answer.bytes().await?),
            status => Err(RestClient::failure(status, &json_of(answer.text().await?))),
        }
    }

    /// The same with a text, and an answer that is one.
    pub async fn send_text(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<(StatusCode, String), Failure> {
        self.answer(self.client.request(method, format!("{}/{path}", self.url)).body(body.to_owned())).await
    }

    async fn answer(&self, request: RequestBuilder) -> Result<(StatusCode, String), Failure> {
        let answer = self.reached(request).await?;
        Ok((answer.status(), answer.text().await?))
    }

    async fn reached(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| {
            Failure::failed(format!(
                "no {} answers at {}: {error}; `ottla server` is one, or name another with {}",
                self.what, self.url, self.flag
            ))
        })
    }

    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }
}

/// A body; one that is no JSON is a text.
fn json_of(body: String) -> Value {
    match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_str(&body).unwrap_or(Value::String(body)),
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
