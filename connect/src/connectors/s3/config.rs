//! The config of the S3 sink.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::objects::{Compression, Layout, ObjectFormat};
use super::sink::{FlushAt, S3Sink};
use super::store::{Bucket, Credentials, Store};
use crate::connector::{Sink, SinkContext};
use crate::error::{ConnectorError, FieldError};
use crate::registry::{CheckConfig, SinkConfig};
use crate::secret::Secret;

/// What may be in memory at once, in bytes.
const FLUSH_BYTES_MAX: usize = 1 << 30;

/// Writes records as objects of a bucket or files of a folder, each record once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3SinkConfig {
    /// Where objects go: `s3://BUCKET/PREFIX`, or `file:///FOLDER`; a folder may also be written as `/FOLDER` or `./FOLDER`.
    pub(crate) url: String,
    /// Where the object store is, `http` or `https`; Amazon's for the region unless set.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// The region of the bucket.
    #[serde(default = "default_region")]
    pub(crate) region: String,
    /// Whether the bucket is named in the path of addresses and not in their host; with `endpoint` it is, unless set.
    #[serde(default)]
    pub(crate) path_style: Option<bool>,
    /// The id of the access key; `AWS_ACCESS_KEY_ID` of the environment unless set.
    #[serde(default)]
    pub(crate) access_key_id: Option<String>,
    /// The secret access key; `AWS_SECRET_ACCESS_KEY` unless set.
    #[serde(default)]
    pub(crate) secret_access_key: Option<Secret>,
    /// The token of a temporary key; `AWS_SESSION_TOKEN` unless set.
    #[serde(default)]
    pub(crate) session_token: Option<Secret>,
    /// What an object is: `parquet`, which needs `value.schema`, or `json_lines`.
    #[serde(default)]
    pub(crate) format: ObjectFormat,
    /// How Parquet is compressed: `zstd`, `snappy` or `none`.
    #[serde(default)]
    pub(crate) compression: Compression,
    /// Objects are written when so many records have come …
    #[serde(default = "default_flush_rows")]
    pub(crate) flush_rows: usize,
    /// … or so many bytes of them, which are in memory until then, …
    #[serde(default = "default_flush_bytes")]
    pub(crate) flush_bytes: usize,
    /// … or when the first of them has waited for so many milliseconds.
    #[serde(default = "default_flush_ms")]
    pub(crate) flush_ms: u64,
    /// How long one request may take, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u64,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_flush_rows() -> usize {
    1_000_000
}

fn default_flush_bytes() -> usize {
    64 << 20
}

fn default_flush_ms() -> u64 {
    60_000
}

fn default_timeout_ms() -> u64 {
    60_000
}

/// What a `url` names.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Bucket { bucket: String, prefix: String },
    Folder(PathBuf),
}

impl S3SinkConfig {
    fn place(&self) -> Result<Place, String> {
        // Without such a beginning a bucket may be meant.
        if ["/", "./", "../"].iter().any(|begin| self.url.starts_with(begin)) {
            return Ok(Place::Folder(PathBuf::from(&self.url)));
        }
        let url = Url::parse(&self.url)
            .map_err(|error| format!("{error}; expected s3://BUCKET/PREFIX, file:///FOLDER or ./FOLDER"))?;
        match url.scheme() {
            "s3" => {
                let bucket = url.host_str().filter(|host| !host.is_empty());
                let bucket = bucket.ok_or("names no bucket; expected s3://BUCKET/PREFIX")?.to_owned();
                Ok(Place::Bucket { bucket, prefix: url.path().trim_matches('/').to_owned() })
            }
            "file" => url.to_file_path().map(Place::Folder).map_err(|()| {
                "is no folder of this machine; expected file:///FOLDER with three slashes".to_owned()
            }),
            other => {
                Err(format!("{other}: is not known; expected s3://BUCKET/PREFIX, file:///FOLDER or ./FOLDER"))
            }
        }
    }

    fn credentials(&self) -> Result<Credentials, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let secret = |given: &Option<Secret>, name: &str| {
            given.as_ref().map(|secret| secret.expose().to_owned()).or_else(|| variable(name))
        };
        let id = self.access_key_id.clone().or_else(|| variable("AWS_ACCESS_KEY_ID"));
        let key = secret(&self.secret_access_key, "AWS_SECRET_ACCESS_KEY");
        match (id, key) {
            (Some(id), Some(key)) => {
                Ok(Credentials::new(&id, &key, secret(&self.session_token, "AWS_SESSION_TOKEN")))
            }
            _ => Err("no access key: set access_key_id and secret_access_key, or AWS_ACCESS_KEY_ID and \
                      AWS_SECRET_ACCESS_KEY in the environment"
                .to_owned()),
        }
    }

    /// The store and the prefix of all keys in it.
    fn store(&self) -> Result<(Store, String), String> {
        match self.place()? {
            Place::Folder(folder) => Ok((Store::folder(folder), String::new())),
            Place::Bucket { bucket, prefix } => {
                let endpoint = match &self.endpoint {
                    Some(endpoint) => endpoint.clone(),
                    None => format!("https://s3.{}.amazonaws.com", self.region),
                };
                let endpoint = Url::parse(&endpoint).map_err(|error| format!("endpoint: {error}"))?;
                let is_path_style = self.path_style.unwrap_or(self.endpoint.is_some());
                let bucket = Bucket { endpoint, name: bucket, region: self.region.clone(), is_path_style };
                let timeout = Duration::from_millis(self.timeout_ms);
                Ok((Store::bucket(bucket, self.credentials()?, timeout)?, prefix))
            }
        }
    }
}

impl CheckConfig for S3SinkConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut told = |field: &str, what: String| errors.push(FieldError::new(field, what));
        if let Err(what) = self.place() {
            told("url", what);
        }
        if let Some(endpoint) = &self.endpoint {
            match Url::parse(endpoint) {
                Ok(url) if ["http", "https"].contains(&url.scheme()) => {}
                Ok(_) => told("endpoint", "must begin with http:// or https://".to_owned()),
                Err(error) => told("endpoint", error.to_string()),
            }
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            told(
                "secret_access_key",
                "access_key_id and secret_access_key are set together or not at all".to_owned(),
            );
        }
        if self.flush_rows == 0 {
            told("flush_rows", "must be at least 1".to_owned());
        }
        if self.flush_bytes == 0 || self.flush_bytes > FLUSH_BYTES_MAX {
            told("flush_bytes", format!("must be 1 to {FLUSH_BYTES_MAX}: so much is in memory"));
        }
        errors
    }
}

impl SinkConfig for S3SinkConfig {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        self.open_for(context, "")
    }

    fn open_for(&self, context: SinkContext, topic: &str) -> Result<Box<dyn Sink>, ConnectorError> {
        let unusable = |why: String| ConnectorError::fatal(format!("opening {}", self.url), why);
        if self.format == ObjectFormat::Parquet && context.schema.is_none() {
            let why =
                "Parquet has columns: give the sink a schema (value.schema), or set format to json_lines";
            return Err(unusable(why.to_owned()));
        }
        let (store, prefix) = self.store().map_err(unusable)?;
        let layout = Layout { prefix, connector: context.name, topic: topic.to_owned(), format: self.format };
        let flush_at = FlushAt {
            rows: self.flush_rows,
            bytes: self.flush_bytes,
            age: Duration::from_millis(self.flush_ms),
        };
        Ok(Box::new(S3Sink::new(store, layout, context.schema, self.compression, flush_at)))
    }
}
