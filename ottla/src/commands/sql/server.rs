//! `POST /sql` of a server.

use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use super::print::Printer;
use crate::cli::Output;
use crate::failure::Failure;

/// A server that runs statements.
pub(super) struct Server {
    client: Client,
    url: String,
}

impl Server {
    pub(super) fn at(http: &str) -> Result<Server, Failure> {
        // Whoever has installed one has installed the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().build()?;
        Ok(Server { client, url: format!("{}/sql?columns=true", http.trim_end_matches('/')) })
    }

    /// Runs statements and prints what they give, as it comes.
    pub(super) async fn run(&self, place: &str, text: &str, output: Output) -> Result<(), Failure> {
        let mut printer = Printer::new(output);
        let mut lines = self.send(place, text).await?;
        while let Some(line) = lines.next().await? {
            printer.line(&line)?;
        }
        printer.end()
    }

    /// The rows that a statement gives, as text.
    pub(super) async fn rows(&self, text: &str) -> Result<Vec<Vec<String>>, Failure> {
        let mut lines = self.send("", text).await?;
        let mut rows = Vec::new();
        while let Some(line) = lines.next().await? {
            if let Value::Array(values) = line {
                rows.push(values.iter().map(super::print::text).collect());
            }
        }
        Ok(rows)
    }

    async fn send(&self, place: &str, text: &str) -> Result<Lines, Failure> {
        let sent = self.client.post(&self.url).body(text.to_owned()).send().await;
        let response = sent.map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Failure::failed(format!(
                "no server answers at {}: {cause}; start one with `ottla server`, name another with --http, or read a cluster's topics with --bootstrap-server",
                self.url.trim_end_matches("/sql?columns=true")
            ))
        })?;
        match response.status() {
            StatusCode::OK => Ok(Lines { response, buffer: Vec::new() }),
            status => Err(refusal(place, status, &response.text().await?)),
        }
    }
}

fn refusal(place: &str, status: StatusCode, body: &str) -> Failure {
    let answer: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let Some(error) = answer["error"].as_str() else {
        return Failure::failed(format!("the server answered {status}: {body}"));
    };
    match (answer["line"].as_u64(), answer["column"].as_u64()) {
        (Some(line), Some(column)) => Failure::wrong_words(format!("{place}:{line}:{column}: {error}")),
        _ => Failure::failed(error),
    }
}

/// The lines of an answer, as they come.
struct Lines {
    response: Response,
    buffer: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Value = serde_json::from_slice(&self.buffer[..end])?;
                self.buffer.drain(..=end);
                return Ok(Some(line));
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Failure::failed("the server's answer ends in the middle of a line")),
            }
        }
    }
}
