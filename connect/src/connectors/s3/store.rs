//! Objects in a bucket or as files of a folder: put whole or not at all, and got.
//!
//! Requests are signed by `rusty-s3`, which knows no sockets. A request that the store cannot take now is sent again some
//! times; then the task starts again from its last commit.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, StatusCode, Url};
use rusty_s3::{S3Action as _, UrlStyle};

use crate::error::ConnectorError;

/// How long a signature is good for.
const SIGNED_FOR: Duration = Duration::from_secs(900);
/// Attempts of one request, with pauses that double.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// What an error repeats of the store's words, in bytes.
const EXCERPT_BYTES: usize = 500;
/// The largest object that is read back: it holds offsets.
const GOT_BYTES_MAX: usize = 16 << 20;

/// A key of an object store.
pub(super) struct Credentials(rusty_s3::Credentials);

impl Credentials {
    pub(super) fn new(id: &str, key: &str, token: Option<String>) -> Self {
        Self(match token {
            Some(token) => rusty_s3::Credentials::new_with_token(id, key, token),
            None => rusty_s3::Credentials::new(id, key),
        })
    }
}

/// Which bucket, and how it is reached.
pub(super) struct Bucket {
    pub(super) endpoint: Url,
    pub(super) name: String,
    pub(super) region: String,
    pub(super) is_path_style: bool,
}

/// Where objects are.
pub(super) enum Store {
    Folder(PathBuf),
    Bucket { client: Client, bucket: Box<rusty_s3::Bucket>, credentials: Credentials },
}

/// What one attempt came to.
enum Attempt {
    Done(Bytes),
    Missing,
    NotNow(String),
    Refused(String),
}

impl Store {
    pub(super) fn folder(path: PathBuf) -> Store {
        Store::Folder(path)
    }

    pub(super) fn bucket(
        bucket: Bucket,
        credentials: Credentials,
        timeout: Duration,
    ) -> Result<Store, String> {
        // An error says that the process has its TLS already, by an earlier call.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(timeout)
            // A signature is for the host that was named, and for no other.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ottla-connect/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        let style = if bucket.is_path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = rusty_s3::Bucket::new(bucket.endpoint, style, bucket.name, bucket.region)
            .map_err(|error| format!("the bucket: {error}"))?;
        Ok(Store::Bucket { client, bucket: Box::new(bucket), credentials })
    }

    /// Makes an object or replaces it; when this returns it is safe.
    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<(), ConnectorError> {
        let what = format!("writing {key}");
        match self {
            Store::Folder(folder) => {
                let path = folder.join(key);
                let written = tokio::task::spawn_blocking(move || write_file(&path, &bytes)).await;
                let written = written.map_err(|lost| ConnectorError::fatal(&what, lost))?;
                written.map_err(|error| ConnectorError::retriable(what, error))
            }
            Store::Bucket { client, bucket, credentials } => {
                let request = || {
                    let url = bucket.put_object(Some(&credentials.0), key).sign(SIGNED_FOR);
                    client.put(url).body(bytes.clone())
                };
                match send(&what, request).await? {
                    Some(_) => Ok(()),
                    None => Err(ConnectorError::fatal(what, "the store does not know the bucket")),
                }
            }
        }
    }

    /// An object's bytes; none where there is no such object.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, ConnectorError> {
        let what = format!("reading {key}");
        match self {
            Store::Folder(folder) => match tokio::fs::read(folder.join(key)).await {
                Ok(bytes) => Ok(Some(Bytes::from(bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(ConnectorError::retriable(what, error)),
            },
            Store::Bucket { client, bucket, credentials } => {
                let request = || client.get(bucket.get_object(Some(&credentials.0), key).sign(SIGNED_FOR));
                send(&what, request).await
            }
        }
    }
}

/// The answer's body; none when the store has no such object.
async fn send(
    what: &str,
    request: impl Fn() -> reqwest::RequestBuilder,
) -> Result<Option<Bytes>, ConnectorError> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let reason = match attempt_once(request()).await {
            Attempt::Done(body) => return Ok(Some(body)),
            Attempt::Missing => return Ok(None),
            Attempt::Refused(reason) => return Err(ConnectorError::fatal(what, reason)),
            Attempt::NotNow(reason) => reason,
        };
        if attempt == ATTEMPTS {
            return Err(ConnectorError::retriable(what, format!("{reason} ({attempt} attempts)")));
        }
        tracing::debug!(what, reason, attempt, ?pause, "a request is sent again");
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(None)
}

async fn attempt_once(request: reqwest::RequestBuilder) -> Attempt {
    // The address has the signature, which nobody needs to see.
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Attempt::NotNow(reason_of(error.without_url())),
    };
    let status = response.status();
    let most = if status.is_success() { GOT_BYTES_MAX } else { EXCERPT_BYTES };
    let mut body = Vec::new();
    while body.len() <= most {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Attempt::NotNow(reason_of(error.without_url())),
        }
    }
    if status.is_success() {
        return match body.len() <= most {
            true => Attempt::Done(Bytes::from(body)),
            false => Attempt::Refused(format!("the object has more than {GOT_BYTES_MAX} bytes")),
        };
    }
    body.truncate(EXCERPT_BYTES);
    let text = String::from_utf8_lossy(&body).into_owned();
    let is_missing = status == StatusCode::NOT_FOUND && !text.contains("NoSuchBucket");
    match status {
        _ if is_missing => Attempt::Missing,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Attempt::NotNow(format!("{status}: {text}"))
        }
        _ if status.is_server_error() => Attempt::NotNow(format!("{status}: {text}")),
        _ => Attempt::Refused(format!("{status}: {text}")),
    }
}

/// An error with what is behind it.
fn reason_of(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(behind) = cause {
        text = format!("{text}: {behind}");
        cause = behind.source();
    }
    text
}

/// Writes a file beside its place and moves it there, so that nobody ever sees a part of it.
fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut file = std::fs::File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    // The name is safe when the folder is.
    std::fs::File::open(folder)?.sync_all()
}
