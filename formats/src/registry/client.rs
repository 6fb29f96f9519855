//! A registry as formats use it: schemas by their ids, and ids for schemas, each asked for once.
//!
//! Formats are called from threads that compute, so these calls block; a registry is asked once per schema, not per value.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::parsed::AVRO;
use super::rest::CONTENT_TYPE;
use crate::FormatError;
use crate::avro::AvroSchema;

/// Schemas that are kept, before all are asked for anew.
const SCHEMAS_MAX: usize = 4096;
/// How long it is believed that there is no schema of an id.
const MISSING_FOR: Duration = Duration::from_secs(10);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Tries of a call that was not answered, with pauses that double.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Schemas that one schema may refer to.
const REFERENCES_MAX: usize = 200;

/// Where the registry is that nobody has named: the one of this process, if it has one.
static DEFAULT_URL: OnceLock<String> = OnceLock::new();

/// A schema, or why values that name it are bad.
pub type Found = Result<Arc<AvroSchema>, String>;

/// A schema registry at an address. Its schemas never change, so what was asked once is kept.
pub struct RegistryClient {
    url: String,
    schemas: Mutex<HashMap<i32, (Found, Instant)>>,
}

impl RegistryClient {
    /// A registry at `http://HOST:PORT`.
    #[must_use]
    pub fn new(url: &str) -> RegistryClient {
        RegistryClient { url: url.trim_end_matches('/').to_owned(), schemas: Mutex::default() }
    }

    /// The registry of this process, or the one at port 8081 of this machine.
    #[must_use]
    pub fn of_process() -> RegistryClient {
        RegistryClient::new(DEFAULT_URL.get().map_or("http://127.0.0.1:8081", String::as_str))
    }

    /// Says where the registry of this process is; only the first word counts.
    pub fn set_url_of_process(url: String) {
        let _ = DEFAULT_URL.set(url);
    }

    fn schemas(&self) -> MutexGuard<'_, HashMap<i32, (Found, Instant)>> {
        self.schemas.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The Avro schema of an id; the inner error says why values with this id are bad.
    ///
    /// # Errors
    /// [`FormatError::Registry`] when it cannot be known now.
    pub fn schema(&self, id: i32) -> Result<Found, FormatError> {
        if let Some((found, at)) = self.schemas().get(&id)
            && (found.is_ok() || at.elapsed() < MISSING_FOR)
        {
            return Ok(found.clone());
        }
        let found = self.fetch(id)?;
        let mut schemas = self.schemas();
        if schemas.len() >= SCHEMAS_MAX {
            schemas.clear();
        }
        schemas.insert(id, (found.clone(), Instant::now()));
        Ok(found)
    }

    fn fetch(&self, id: i32) -> Result<Found, FormatError> {
        let answer = match self.get(&format!("/schemas/ids/{id}"))? {
            Ok(answer) => answer,
            Err(reason) => return Ok(Err(format!("the schema with id {id}: {reason}"))),
        };
        let schema_type = answer["schemaType"].as_str().unwrap_or(AVRO);
        if schema_type != AVRO {
            return Ok(Err(format!("the schema with id {id} is of type {schema_type}, not AVRO")));
        }
        let (mut others, mut seen) = (Vec::new(), Vec::new());
        if let Err(reason) = self.fetch_references(&answer, &mut seen, &mut others, 0)? {
            return Ok(Err(format!("the schema with id {id}: {reason}")));
        }
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let text = answer["schema"].as_str().unwrap_or_default();
        let parsed = AvroSchema::parse_with(text, &others);
        Ok(parsed.map(Arc::new).map_err(|error| format!("the schema with id {id}: {error}")))
    }

    /// The texts of the schemas that one refers to, each after those that it refers to itself.
    fn fetch_references(
        &self,
        schema: &Value,
        seen: &mut Vec<String>,
        texts: &mut Vec<String>,
        depth: usize,
    ) -> Result<Result<(), String>, FormatError> {
        for reference in schema["references"].as_array().into_iter().flatten() {
            let subject = encoded(reference["subject"].as_str().unwrap_or_default());
            let path = format!("/subjects/{subject}/versions/{}?deleted=true", reference["version"]);
            if seen.contains(&path) {
                continue;
            }
            seen.push(path.clone());
            if seen.len() > REFERENCES_MAX || depth > REFERENCES_MAX {
                return Ok(Err(format!("it refers to more than {REFERENCES_MAX} schemas")));
            }
            let answer = match self.get(&path)? {
                Ok(answer) => answer,
                Err(reason) => return Ok(Err(reason)),
            };
            if let Err(reason) = self.fetch_references(&answer, seen, texts, depth + 1)? {
                return Ok(Err(reason));
            }
            texts.push(answer["schema"].as_str().unwrap_or_default().to_owned());
        }
        Ok(Ok(()))
    }

    /// Makes a schema a version of a subject, unless it is one; gives its id.
    ///
    /// # Errors
    /// [`FormatError::SchemaRefused`], e.g. because it is not compatible with the last version; [`FormatError::Registry`].
    pub fn register(&self, subject: &str, text: &str) -> Result<i32, FormatError> {
        let path = format!("/subjects/{}/versions", encoded(subject));
        let answer = self.call(&path, Some(json!({ "schema": text }).to_string()))?;
        let id = answer.and_then(|answer| {
            let id = answer["id"].as_i64().and_then(|id| i32::try_from(id).ok());
            id.ok_or_else(|| format!("no id in {answer}"))
        });
        let (url, subject) = (self.url.clone(), subject.to_owned());
        id.map_err(|reason| FormatError::SchemaRefused { url, subject, reason })
    }

    fn get(&self, path: &str) -> Result<Result<Value, String>, FormatError> {
        self.call(path, None)
    }

    fn unanswered(&self, reason: String) -> FormatError {
        FormatError::Registry { url: self.url.clone(), reason }
    }

    /// The answer, or what the registry says against it; an error when there is no answer that can be believed.
    fn call(&self, path: &str, body: Option<String>) -> Result<Result<Value, String>, FormatError> {
        let url = format!("{}{path}", self.url);
        let exchanged = blocking(|| {
            let thread = std::thread::Builder::new().name("schema-registry".to_owned());
            let running = thread.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(|error| error.to_string())?.block_on(exchange(&url, body))
            });
            let finished = running.map_err(|error| error.to_string())?.join();
            finished.unwrap_or_else(|_| Err("the call panicked".to_owned()))
        });
        let (status, text) = exchanged.map_err(|reason| self.unanswered(reason))?;
        let answer: Value = serde_json::from_str(&text).map_err(|_| {
            self.unanswered(format!("it answers {status} without JSON; is it a schema registry?"))
        })?;
        match status {
            200..300 => Ok(Ok(answer)),
            status => Ok(Err(answer["message"].as_str().map_or_else(|| format!("{status}"), str::to_owned))),
        }
    }
}

/// Runs something that blocks without keeping a runtime's other tasks from their thread.
fn blocking<T>(run: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(run)
        }
        _ => run(),
    }
}

async fn exchange(url: &str, body: Option<String>) -> Result<(u16, String), String> {
    // The first one counts, whoever else has chosen one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(ANSWER_TIME_MAX).build().map_err(told)?;
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let request = match &body {
            Some(body) => client.post(url).header("Content-Type", CONTENT_TYPE).body(body.clone()),
            None => client.get(url),
        };
        let answered = async {
            let answer = request.header("Accept", CONTENT_TYPE).send().await?;
            let status = answer.status().as_u16();
            Ok((status, answer.text().await?))
        };
        match answered.await {
            Ok((status, text)) if status < 500 => return Ok((status, text)),
            Ok((status, text)) if attempt == TRIES => return Err(format!("it answers {status}: {text}")),
            Err(error) if attempt == TRIES => return Err(told(error)),
            _ => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
    Err("it was not asked".to_owned())
}

/// An error with what is behind it.
fn told(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(behind) = cause {
        text = format!("{text}: {behind}");
        cause = behind.source();
    }
    text
}

/// A subject as a part of a path.
fn encoded(subject: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    subject.bytes().map(byte).collect()
}
