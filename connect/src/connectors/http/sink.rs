//! The HTTP sink: records in requests, in their order, one request after the other.
//!
//! The target keeps no offsets, so they are in the connector's group and a record that was sent just before a crash is sent
//! again. A batch that the server refuses is sent again in halves until the record is found that it does not take.
//!
//! ```text
//!   [a b c d]  400   ─►  [a b]  200,  [c d]  400   ─►  [c]  200,  [d]  400: rejected
//! ```

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use ottla_formats::{Format as _, JsonFormat};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::bodies::{Limits, fits, join, split};
use super::config::{Body, HttpSinkConfig};
use super::requests::{Answer, Requests};
use crate::connector::{ConsumedOffset, Rejected, Rows, Sink, SinkBatch};
use crate::error::ConnectorError;

/// An endpoint being sent to.
pub(crate) struct HttpSink {
    requests: Requests,
    method: reqwest::Method,
    body: Body,
    limits: Limits,
    what: String,
}

impl HttpSink {
    pub(crate) fn open(config: &HttpSinkConfig) -> Result<Self, ConnectorError> {
        let requests = Requests::new(config.endpoint()?)?;
        let records_max = if config.body == Body::Single { 1 } else { config.batch_size };
        Ok(Self {
            method: config.method.into(),
            body: config.body,
            limits: Limits { records_max, bytes_max: config.batch_bytes_max },
            what: format!("sending records to {}", requests.endpoint().place()),
            requests,
        })
    }

    /// Sends values, at most as many as go in one request; says which are refused.
    async fn deliver(
        &mut self,
        values: &[Bytes],
        run: Range<usize>,
        is_json: bool,
    ) -> Result<Vec<Rejected>, ConnectorError> {
        let content_type = match self.body {
            Body::Ndjson => "application/x-ndjson",
            Body::Single if !is_json => "application/octet-stream",
            Body::Single | Body::JsonArray => "application/json",
        };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let url = self.requests.endpoint().url.clone();
        let mut rejected = Vec::new();
        // The next to send is the last: what is split keeps its order.
        let mut open = vec![run];
        while let Some(run) = open.pop() {
            let body = join(self.body, values.get(run.clone()).unwrap_or(&[]));
            let sent = self.requests.send(&self.what, self.method.clone(), &url, &headers, body, 0).await?;
            match sent {
                Answer::Taken { .. } => {}
                Answer::Refused(reason) if run.len() == 1 => {
                    rejected.push(Rejected { row: run.start, reason })
                }
                Answer::Refused(_) => {
                    let middle = run.start + run.len() / 2;
                    open.extend([middle..run.end, run.start..middle]);
                }
            }
        }
        Ok(rejected)
    }
}

#[async_trait]
impl Sink for HttpSink {
    async fn committed(&mut self) -> Result<Vec<ConsumedOffset>, ConnectorError> {
        Ok(Vec::new())
    }

    async fn write(&mut self, batch: SinkBatch) -> Result<Vec<Rejected>, ConnectorError> {
        let mut rejected = Vec::new();
        let (values, is_json) = match batch.rows {
            Rows::Arrow(rows) => {
                // Some megabytes take some milliseconds: too long for a thread that serves connections.
                let encoded = tokio::task::spawn_blocking(move || JsonFormat.encode(&rows)).await;
                let encoded = encoded.map_err(|lost| ConnectorError::fatal(&self.what, lost))?;
                (encoded.map_err(|error| ConnectorError::fatal(&self.what, error))?, true)
            }
            Rows::Raw(values) => (values, false),
        };
        let mut rows: Vec<usize> = (0..values.len()).collect();
        let mut kept = values;
        if !is_json {
            rows.retain(|row| match fits(self.body, kept.get(*row).map_or(&[], |value| value)) {
                Ok(()) => true,
                Err(reason) => {
                    rejected.push(Rejected { row: *row, reason });
                    false
                }
            });
            kept = rows.iter().filter_map(|row| kept.get(*row).cloned()).collect();
        }
        for run in split(&kept, self.limits) {
            let refused = self.deliver(&kept, run, is_json).await?;
            rejected.extend(refused.into_iter().filter_map(|refused| {
                Some(Rejected { row: *rows.get(refused.row)?, reason: refused.reason })
            }));
        }
        rejected.sort_by_key(|rejected| rejected.row);
        Ok(rejected)
    }

    /// Everything was delivered when it was written.
    async fn commit(&mut self, _: &[ConsumedOffset]) -> Result<(), ConnectorError> {
        Ok(())
    }
}
