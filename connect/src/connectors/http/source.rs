//! The HTTP source: the pages of an endpoint, one after the other, and the last one again after a pause.
//!
//! A task of its own asks, at most two pages ahead. Positions count the records (`numbering.rs`); the place in the pages is
//! the state of the offset.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LINK,
};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};

use super::config::{HttpSourceConfig, Pages};
use super::paging::{Page, Place, Turned};
use super::requests::{Answer, Requests};
use crate::connector::{Source, SourceBatch, SourceContext, SourceOffset};
use crate::connectors::json_rows::batch_of;
use crate::connectors::numbering::next_position;
use crate::connectors::reading_task::{Batches, ReadingTask};
use crate::error::ConnectorError;

/// An endpoint being read.
pub(crate) struct HttpSource {
    reading: ReadingTask,
}

/// What the task owns.
struct Reading {
    requests: Requests,
    pages: Pages,
    schema: Option<SchemaRef>,
    what: String,
    response_bytes_max: usize,
    poll_interval: Option<Duration>,
    position: u64,
    place: Place,
}

impl HttpSource {
    pub(crate) fn open(config: &HttpSourceConfig, context: SourceContext) -> Result<Self, ConnectorError> {
        let requests = Requests::new(config.endpoint()?)?;
        let what = format!("reading {}", requests.endpoint().place());
        let (position, place) = match context.offset {
            None => (0, Place::default()),
            Some(SourceOffset { position, state }) => {
                let place = serde_json::from_value(Value::Object(state)).map_err(|error| {
                    ConnectorError::fatal(&what, format!("the stored offset cannot be read: {error}"))
                        .remedy("reset the connector's offsets")
                })?;
                (position, place)
            }
        };
        let reading = Reading {
            requests,
            pages: config.pages(),
            schema: context.schema,
            what: what.clone(),
            response_bytes_max: config.response_bytes_max,
            poll_interval: config.poll_interval_ms.map(|millis| Duration::from_millis(millis.into())),
            position,
            place,
        };
        Ok(Self { reading: ReadingTask::start(&what, |batches| reading.run(batches)) })
    }
}

#[async_trait]
impl Source for HttpSource {
    async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        self.reading.poll().await
    }
}

impl Reading {
    async fn run(mut self, batches: Batches) -> Result<(), ConnectorError> {
        loop {
            let has_more = match self.next_page().await? {
                Some(turned) => {
                    let has_more = turned.has_more;
                    // A page that brought nothing and changed nothing is not worth an offset.
                    if (!turned.records.is_empty() || turned.place != self.place)
                        && batches.send(self.batch(turned).await?).await.is_err()
                    {
                        return Ok(());
                    }
                    has_more
                }
                None => false,
            };
            if has_more {
                continue;
            }
            match self.poll_interval {
                Some(interval) => tokio::time::sleep(interval).await,
                None => return Ok(()),
            }
        }
    }

    /// The page at the place where it is, unless it has not changed.
    async fn next_page(&mut self) -> Result<Option<Turned>, ConnectorError> {
        // What a server does wrong now it may do right later.
        let wrong = |what: &str, reason: String| ConnectorError::retriable(what, reason);
        let base = self.requests.endpoint().url.clone();
        let url = self.pages.url(&base, &self.place).map_err(|reason| wrong(&self.what, reason))?;
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        for (name, known) in
            [(IF_NONE_MATCH, &self.place.etag), (IF_MODIFIED_SINCE, &self.place.last_modified)]
        {
            if let Some(value) = known.as_ref().and_then(|known| HeaderValue::try_from(known.as_str()).ok()) {
                headers.insert(name, value);
            }
        }
        let sent = self.requests.send(
            &self.what,
            Method::GET,
            &url,
            &headers,
            Bytes::new(),
            self.response_bytes_max,
        );
        let (status, headers, body) = match sent.await? {
            Answer::Taken { status, headers, body } => (status, headers, body),
            Answer::Refused(reason) => {
                let remedy = "set `url` and how its pages are asked for to what the endpoint takes";
                return Err(ConnectorError::fatal(&self.what, reason).remedy(remedy));
            }
        };
        if status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let links: Vec<&str> = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).collect();
        let link = (!links.is_empty()).then(|| links.join(", "));
        let (pages, place) = (self.pages.clone(), self.place.clone());
        let (etag, last_modified) = (text(ETAG), text(LAST_MODIFIED));
        // Some megabytes take some milliseconds: too long for a thread that serves connections.
        let turned = tokio::task::spawn_blocking(move || {
            pages.turn(&base, &place, &Page { body: &body, etag, last_modified, link })
        });
        let turned = turned.await.map_err(|lost| ConnectorError::fatal(&self.what, lost))?;
        turned.map(Some).map_err(|reason| wrong(&self.what, reason))
    }

    async fn batch(&mut self, turned: Turned) -> Result<SourceBatch, ConnectorError> {
        let mut values = Vec::with_capacity(turned.records.len());
        for record in turned.records {
            self.position = next_position(self.position, &record);
            values.push((self.position, record));
        }
        self.place = turned.place;
        let state = match serde_json::to_value(&self.place) {
            Ok(Value::Object(state)) => state,
            _ => Map::new(),
        };
        let resume = SourceOffset { position: self.position, state };
        let schema = self.schema.clone();
        let batch = tokio::task::spawn_blocking(move || batch_of(values, schema.as_ref(), resume)).await;
        let batch = batch.map_err(|lost| ConnectorError::fatal(&self.what, lost))?;
        batch.map_err(|error| ConnectorError::fatal(&self.what, error))
    }
}
