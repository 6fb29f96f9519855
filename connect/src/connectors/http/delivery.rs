//! Delivering the records of one request, and finding those that the endpoint refuses: what is refused is sent again in
//! halves.
//!
//! ```text
//!   [a b c d]  400   ─►  [a b]  200,  [c d]  400   ─►  [c]  200,  [d]  400: rejected
//! ```

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::bodies::join;
use super::config::Body;
use super::requests::{Answer, Requests};
use crate::connector::Rejected;
use crate::error::ConnectorError;

/// How records are sent.
pub(super) struct Delivery {
    requests: Requests,
    method: reqwest::Method,
    body: Body,
    what: String,
}

impl Delivery {
    pub(super) fn new(requests: Requests, method: reqwest::Method, body: Body) -> Self {
        let what = format!("sending records to {}", requests.endpoint().place());
        Self { requests, method, body, what }
    }

    /// What is done, naming the endpoint.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// Sends values, at most as many as go in one request; says which are refused, in their order.
    ///
    /// # Errors
    /// As [`Requests::send`].
    pub(super) async fn deliver(
        &self,
        values: &[Bytes],
        is_json: bool,
    ) -> Result<Vec<Rejected>, ConnectorError> {
        let content_type = match self.body {
            Body::Ndjson => "application/x-ndjson",
            Body::Single if !is_json => "application/octet-stream",
            Body::Single | Body::JsonArray => "application/json",
        };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let url = &self.requests.endpoint().url;
        let mut rejected = Vec::new();
        // The next to send is the last: what is split keeps its order.
        let mut open = Vec::from_iter(std::iter::once(0..values.len()));
        while let Some(run) = open.pop() {
            let body = join(self.body, values.get(run.clone()).unwrap_or(&[]));
            let sent = self.requests.send(&self.what, self.method.clone(), url, &headers, body, 0).await?;
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
