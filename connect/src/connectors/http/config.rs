//! The configs of the HTTP sink and the HTTP source.

use std::collections::BTreeMap;

use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::pointer;
use super::sink::HttpSink;
use super::source::HttpSource;
use crate::connector::{OffsetStore, Sink, SinkContext, Source, SourceContext, SourcePartition};
use crate::error::{ConnectorError, FieldError};
use crate::fingerprint::fingerprint;
use crate::registry::{CheckConfig, SinkConfig, SourceConfig};
use crate::secret::Secret;

/// Records of one request, at most.
const BATCH_SIZE_MAX: usize = 100_000;
/// Requests under way, at most.
const IN_FLIGHT_MAX: usize = 256;
/// Bytes of one request, at most.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// The method of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    /// The endpoint takes records.
    #[default]
    Post,
    /// The endpoint is what the records replace.
    Put,
    /// The endpoint is what the records change.
    Patch,
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> reqwest::Method {
        match method {
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
        }
    }
}

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Body {
    /// A JSON array of records.
    #[default]
    JsonArray,
    /// A line of JSON for each record.
    Ndjson,
    /// One record, as it is.
    Single,
}

/// Which order records keep when several requests are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// A record never overtakes one of its key; those without a key, none of their partition without one.
    #[default]
    PerKey,
    /// Any.
    None,
}

/// How an endpoint gives its records in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Paging {
    /// It does not: a document holds all of them.
    #[default]
    None,
    /// Each page names the cursor of the next.
    Cursor,
    /// What comes after a record is asked for by one of its fields.
    Since,
    /// The header `Link` has the next page.
    Link,
    /// Pages have numbers.
    Page,
    /// Records have numbers.
    Offset,
}

/// What is to know of an endpoint's pages.
#[derive(Debug, Clone)]
pub(super) struct Pages {
    pub(super) paging: Paging,
    pub(super) records: String,
    pub(super) id: Option<String>,
    pub(super) dedup_size: usize,
    pub(super) cursor: String,
    pub(super) cursor_param: String,
    pub(super) page_param: String,
    pub(super) first_page: u64,
    pub(super) offset_param: String,
    pub(super) limit_param: Option<String>,
    pub(super) page_size: Option<u32>,
}

/// What both connectors want to know of an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) url: Url,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) bearer_token: Option<Secret>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) requests_per_second: Option<f64>,
    pub(super) timeout_ms: u32,
    pub(super) retry_timeout_ms: u64,
    pub(super) retry_backoff_ms: u64,
    pub(super) retry_backoff_max_ms: u64,
}

/// Sends records to an HTTP endpoint, at least once each.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpSinkConfig {
    /// The endpoint, http or https.
    pub(crate) url: String,
    /// The method: POST, PUT or PATCH.
    #[serde(default)]
    pub(crate) method: Method,
    /// Headers of every request, by name. They are not shown, since a key may be among them.
    #[serde(default)]
    #[schemars(extend("format" = "password"))]
    pub(crate) headers: BTreeMap<String, String>,
    /// A token for the header `Authorization: Bearer`.
    #[serde(default)]
    pub(crate) bearer_token: Option<Secret>,
    /// The user for `Authorization: Basic`.
    #[serde(default)]
    pub(crate) username: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// What a request's body is: `json_array`, `ndjson`, or `single` for a request for each record.
    #[serde(default)]
    pub(crate) body: Body,
    /// Records of one request, at most.
    #[serde(default = "default_batch_size")]
    pub(crate) batch_size: usize,
    /// Bytes of records in one request, at most; a larger record goes alone.
    #[serde(default = "default_batch_bytes_max")]
    pub(crate) batch_bytes_max: usize,
    /// Requests under way at a time, at most: what the endpoint's latency costs is divided by it.
    #[serde(default = "default_max_in_flight_requests")]
    pub(crate) max_in_flight_requests: usize,
    /// Which order records keep when more than one request is under way: `per_key` (one of a key at a time) or `none`.
    #[serde(default)]
    pub(crate) order: Order,
    /// Requests a second, at most; without it as many as the endpoint answers.
    #[serde(default)]
    pub(crate) requests_per_second: Option<f64>,
    /// How long to wait for an answer, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u32,
    /// How long to send a request again that the endpoint cannot take now, in milliseconds; then the task starts again from its
    /// last committed offsets, as `errors.retry.timeout` has it.
    #[serde(default = "default_retry_timeout_ms")]
    pub(crate) retry_timeout_ms: u64,
    /// The first pause before a request is sent again, in milliseconds; it doubles each time.
    #[serde(default = "default_retry_backoff_ms")]
    pub(crate) retry_backoff_ms: u64,
    /// The longest pause before a request is sent again, in milliseconds, unless the endpoint names a longer one.
    #[serde(default = "default_retry_backoff_max_ms")]
    pub(crate) retry_backoff_max_ms: u64,
}

fn default_batch_size() -> usize {
    500
}

/// One: an endpoint gets the order of partitions, and more load, only where that is asked for.
fn default_max_in_flight_requests() -> usize {
    1
}

fn default_batch_bytes_max() -> usize {
    1 << 20
}

pub(super) fn default_timeout_ms() -> u32 {
    30_000
}

pub(super) fn default_retry_timeout_ms() -> u64 {
    60_000
}

pub(super) fn default_retry_backoff_ms() -> u64 {
    500
}

pub(super) fn default_retry_backoff_max_ms() -> u64 {
    30_000
}

/// The URL of an endpoint.
fn read_url(url: &str) -> Result<Url, String> {
    let parsed = Url::parse(url).map_err(|error| format!("is no URL: {error}"))?;
    if !["http", "https"].contains(&parsed.scheme()) || parsed.host_str().is_none() {
        return Err("must begin with http:// or https:// and name a host".to_owned());
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("must hold no user or password; set `username` and `password`".to_owned());
    }
    Ok(parsed)
}

impl Endpoint {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Err(reason) = self.header_map() {
            errors.push(FieldError::new("headers", reason));
        }
        if self.bearer_token.is_some() && self.username.is_some() {
            errors.push(FieldError::new("bearer_token", "is one way to say who asks, `username` is another"));
        }
        if self.password.is_some() && self.username.is_none() {
            errors.push(FieldError::new("username", "is missing, although there is a password"));
        }
        if self.requests_per_second.is_some_and(|rate| !(0.001..=1e6).contains(&rate)) {
            errors.push(FieldError::new("requests_per_second", "must be between 0.001 and 1000000"));
        }
        if self.timeout_ms == 0 {
            errors.push(FieldError::new("timeout_ms", "must be at least 1"));
        }
        if self.retry_backoff_ms == 0 || self.retry_backoff_ms > self.retry_backoff_max_ms {
            errors.push(FieldError::new(
                "retry_backoff_ms",
                "must be at least 1 and at most `retry_backoff_max_ms`",
            ));
        }
        errors
    }
}

impl HttpSinkConfig {
    fn read_endpoint(&self) -> Result<Endpoint, String> {
        Ok(Endpoint {
            url: read_url(&self.url)?,
            headers: self.headers.clone(),
            bearer_token: self.bearer_token.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            requests_per_second: self.requests_per_second,
            timeout_ms: self.timeout_ms,
            retry_timeout_ms: self.retry_timeout_ms,
            retry_backoff_ms: self.retry_backoff_ms,
            retry_backoff_max_ms: self.retry_backoff_max_ms,
        })
    }

    /// What the config says of the endpoint.
    pub(super) fn endpoint(&self) -> Result<Endpoint, ConnectorError> {
        self.read_endpoint().map_err(|reason| ConnectorError::fatal("reading `url`", reason))
    }
}

impl CheckConfig for HttpSinkConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = match self.read_endpoint() {
            Ok(endpoint) => endpoint.check(),
            Err(reason) => vec![FieldError::new("url", reason)],
        };
        if self.batch_size == 0 || self.batch_size > BATCH_SIZE_MAX {
            let message = format!("must be between 1 and {BATCH_SIZE_MAX} records");
            errors.push(FieldError::new("batch_size", message));
        }
        if self.batch_bytes_max == 0 || self.batch_bytes_max > BATCH_BYTES_MAX {
            let message = format!("must be between 1 and {BATCH_BYTES_MAX} bytes");
            errors.push(FieldError::new("batch_bytes_max", message));
        }
        if self.max_in_flight_requests == 0 || self.max_in_flight_requests > IN_FLIGHT_MAX {
            let message = format!("must be between 1 and {IN_FLIGHT_MAX} requests");
            errors.push(FieldError::new("max_in_flight_requests", message));
        }
        errors
    }
}

impl SinkConfig for HttpSinkConfig {
    fn offset_store(&self) -> OffsetStore {
        OffsetStore::Group
    }

    fn open(&self, _: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(HttpSink::open(self)?))
    }
}

/// Reads records from an HTTP endpoint, page by page.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpSourceConfig {
    /// The endpoint, http or https.
    pub(crate) url: String,
    /// Headers of every request, by name. They are not shown, since a key may be among them.
    #[serde(default)]
    #[schemars(extend("format" = "password"))]
    pub(crate) headers: BTreeMap<String, String>,
    /// A token for the header `Authorization: Bearer`.
    #[serde(default)]
    pub(crate) bearer_token: Option<Secret>,
    /// The user for `Authorization: Basic`.
    #[serde(default)]
    pub(crate) username: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// How often to ask for new records, in milliseconds; without it the source ends after the last page.
    #[serde(default)]
    pub(crate) poll_interval_ms: Option<u32>,
    /// The JSON pointer to the records in an answer, such as /data/items; the whole answer unless set. An array holds a record in
    /// each place, anything else is one record.
    #[serde(default)]
    pub(crate) records: String,
    /// The JSON pointer to a record's id: a record whose id was seen lately is left out.
    #[serde(default)]
    pub(crate) id: Option<String>,
    /// How many ids are remembered.
    #[serde(default = "default_dedup_size")]
    pub(crate) dedup_size: usize,
    /// How the endpoint gives pages: `none`, `cursor`, `since`, `link`, `page` or `offset`.
    #[serde(default)]
    pub(crate) paging: Paging,
    /// For `cursor`, the JSON pointer to the next cursor in an answer; for `since`, the one to the field of a record.
    #[serde(default)]
    pub(crate) cursor: Option<String>,
    /// The query parameter of the cursor.
    #[serde(default = "default_cursor_param")]
    pub(crate) cursor_param: String,
    /// The query parameter of the page's number.
    #[serde(default = "default_page_param")]
    pub(crate) page_param: String,
    /// The number of the first page.
    #[serde(default = "default_first_page")]
    pub(crate) first_page: u64,
    /// The query parameter of the number of records before the page.
    #[serde(default = "default_offset_param")]
    pub(crate) offset_param: String,
    /// The query parameter of the number of records wanted; without it none is asked for.
    #[serde(default)]
    pub(crate) limit_param: Option<String>,
    /// How many records a full page has.
    #[serde(default)]
    pub(crate) page_size: Option<u32>,
    /// Bytes of one answer, at most.
    #[serde(default = "default_response_bytes_max")]
    pub(crate) response_bytes_max: usize,
    /// Requests a second, at most; without it as many as the endpoint answers.
    #[serde(default)]
    pub(crate) requests_per_second: Option<f64>,
    /// How long to wait for an answer, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u32,
    /// How long to send a request again that the endpoint cannot answer now, in milliseconds; then the task starts again, as
    /// `errors.retry.timeout` has it.
    #[serde(default = "default_retry_timeout_ms")]
    pub(crate) retry_timeout_ms: u64,
    /// The first pause before a request is sent again, in milliseconds; it doubles each time.
    #[serde(default = "default_retry_backoff_ms")]
    pub(crate) retry_backoff_ms: u64,
    /// The longest pause before a request is sent again, in milliseconds, unless the endpoint names a longer one.
    #[serde(default = "default_retry_backoff_max_ms")]
    pub(crate) retry_backoff_max_ms: u64,
}

fn default_dedup_size() -> usize {
    1_000
}

fn default_cursor_param() -> String {
    "cursor".to_owned()
}

fn default_page_param() -> String {
    "page".to_owned()
}

fn default_first_page() -> u64 {
    1
}

fn default_offset_param() -> String {
    "offset".to_owned()
}

fn default_response_bytes_max() -> usize {
    16 << 20
}

/// Ids are stored with every offset.
const DEDUP_SIZE_MAX: usize = 20_000;

impl HttpSourceConfig {
    fn read_endpoint(&self) -> Result<Endpoint, String> {
        Ok(Endpoint {
            url: read_url(&self.url)?,
            headers: self.headers.clone(),
            bearer_token: self.bearer_token.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            requests_per_second: self.requests_per_second,
            timeout_ms: self.timeout_ms,
            retry_timeout_ms: self.retry_timeout_ms,
            retry_backoff_ms: self.retry_backoff_ms,
            retry_backoff_max_ms: self.retry_backoff_max_ms,
        })
    }

    /// What the config says of the endpoint.
    pub(super) fn endpoint(&self) -> Result<Endpoint, ConnectorError> {
        self.read_endpoint().map_err(|reason| ConnectorError::fatal("reading `url`", reason))
    }

    pub(super) fn pages(&self) -> Pages {
        Pages {
            paging: self.paging,
            records: self.records.clone(),
            id: self.id.clone(),
            dedup_size: self.dedup_size,
            cursor: self.cursor.clone().unwrap_or_default(),
            cursor_param: self.cursor_param.clone(),
            page_param: self.page_param.clone(),
            first_page: self.first_page,
            offset_param: self.offset_param.clone(),
            limit_param: self.limit_param.clone(),
            page_size: self.page_size,
        }
    }
}

impl CheckConfig for HttpSourceConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = match self.read_endpoint() {
            Ok(endpoint) => endpoint.check(),
            Err(reason) => vec![FieldError::new("url", reason)],
        };
        let pointers =
            [("records", Some(&self.records)), ("id", self.id.as_ref()), ("cursor", self.cursor.as_ref())];
        for (field, pointer) in pointers {
            if let Some(Err(reason)) = pointer.map(|pointer| pointer::check(pointer)) {
                errors.push(FieldError::new(field, reason));
            }
        }
        if matches!(self.paging, Paging::Cursor | Paging::Since) && self.cursor.is_none() {
            errors.push(FieldError::new(
                "cursor",
                "is needed by this `paging`: a JSON pointer such as /next_cursor",
            ));
        }
        if self.paging == Paging::Page && self.page_size.is_none() {
            let message = "is needed by `paging` page: only a full page will not get more records";
            errors.push(FieldError::new("page_size", message));
        }
        if self.page_size == Some(0) {
            errors.push(FieldError::new("page_size", "must be at least 1"));
        }
        if self.poll_interval_ms == Some(0) {
            errors.push(FieldError::new("poll_interval_ms", "must be at least 1"));
        }
        if self.dedup_size == 0 || self.dedup_size > DEDUP_SIZE_MAX {
            errors.push(FieldError::new("dedup_size", format!("must be between 1 and {DEDUP_SIZE_MAX} ids")));
        }
        if self.response_bytes_max == 0 || self.response_bytes_max > BATCH_BYTES_MAX {
            let message = format!("must be between 1 and {BATCH_BYTES_MAX} bytes");
            errors.push(FieldError::new("response_bytes_max", message));
        }
        errors
    }
}

impl SourceConfig for HttpSourceConfig {
    /// The URL; a key may stand in its query, so that is told apart from others without being shown.
    fn partition(&self) -> SourcePartition {
        let Ok(endpoint) = self.read_endpoint() else { return SourcePartition(BTreeMap::new()) };
        let mut partition = BTreeMap::from([("url".to_owned(), endpoint.place())]);
        if let Some(query) = endpoint.url.query() {
            partition.insert("query".to_owned(), fingerprint([query.as_bytes()]));
        }
        SourcePartition(partition)
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(HttpSource::open(self, context)?))
    }
}
