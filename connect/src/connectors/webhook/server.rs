//! Connections, limits and answers.
//!
//! ```text
//!   token ─► a place among `requests_max` ─► body ─► signature ─► records ─► queue ─► written ─► 200
//!     401            503                     408, 413   401         400                 503, when it takes too long
//! ```
//! A place is held from before the body is read until the answer, so what all requests together hold is bounded.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::config::{BodyFormat, WebhookSourceConfig};
use super::request::{Guard, records};
use crate::connector::Rows;

/// When a sender that is sent away should come again, in seconds.
const RETRY_AFTER: &str = "1";

/// The records of one request.
pub(super) struct Incoming {
    pub(super) rows: Rows,
    /// Told when they are written.
    pub(super) written: oneshot::Sender<()>,
}

struct Server {
    guard: Guard,
    path: String,
    format: BodyFormat,
    schema: Option<SchemaRef>,
    body_bytes_max: usize,
    timeout: Duration,
    places: Arc<Semaphore>,
    incoming: mpsc::Sender<Incoming>,
}

/// What answers requests, and hands their records on.
pub(super) fn router(
    config: &WebhookSourceConfig,
    schema: Option<SchemaRef>,
    incoming: mpsc::Sender<Incoming>,
) -> Router {
    let server = Server {
        guard: Guard::new(config),
        path: config.path.clone(),
        format: config.format,
        schema,
        body_bytes_max: config.body_bytes_max,
        timeout: Duration::from_millis(config.timeout_ms.into()),
        places: Arc::new(Semaphore::new(config.requests_max)),
        incoming,
    };
    Router::new().fallback(answer).with_state(Arc::new(server))
}

/// Why records are not taken.
struct NotTaken(StatusCode, String);

impl IntoResponse for NotTaken {
    fn into_response(self) -> Response {
        let NotTaken(status, reason) = self;
        let mut response = (status, Json(json!({ "error": reason }))).into_response();
        let headers = response.headers_mut();
        // What of the body was not read would be taken for the next request.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Result<Response, NotTaken> {
    let not_now = |reason: &str| NotTaken(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned());
    let not_known = || {
        let reason = "the token or the signature is missing or wrong".to_owned();
        NotTaken(StatusCode::UNAUTHORIZED, reason)
    };
    if request.uri().path() != server.path {
        return Err(NotTaken(StatusCode::NOT_FOUND, format!("records are taken at {}", server.path)));
    }
    if request.method() != Method::POST && request.method() != Method::PUT {
        return Err(NotTaken(StatusCode::METHOD_NOT_ALLOWED, "records come by POST or PUT".to_owned()));
    }
    if !server.guard.knows(request.headers()) {
        return Err(not_known());
    }
    let place = Arc::clone(&server.places).try_acquire_owned();
    let _place = place.map_err(|_| not_now("too many records are on their way"))?;

    let (parts, body) = request.into_parts();
    let reading = tokio::time::timeout(server.timeout, read(body, server.body_bytes_max)).await;
    let slow = |_| NotTaken(StatusCode::REQUEST_TIMEOUT, "the body takes too long to come".to_owned());
    let body = reading.map_err(slow)??;
    if !server.guard.has_signed(&parts.headers, &body) {
        return Err(not_known());
    }
    let reader = Arc::clone(&server);
    // Some megabytes take some milliseconds: too long for a thread that serves connections.
    let read =
        tokio::task::spawn_blocking(move || records(reader.format, reader.schema.as_ref(), &body)).await;
    let read = read.map_err(|_| not_now("the records could not be read"))?;
    let rows = read.map_err(|reason| NotTaken(StatusCode::BAD_REQUEST, reason))?;

    let count = rows.len();
    if count > 0 {
        let (written, is_written) = oneshot::channel();
        let stopping = "the connector is stopping";
        server.incoming.send(Incoming { rows, written }).await.map_err(|_| not_now(stopping))?;
        match tokio::time::timeout(server.timeout, is_written).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(not_now(stopping)),
            // They may be written yet: who sends them again writes them twice.
            Err(_) => return Err(not_now("the records take too long to be written")),
        }
    }
    Ok(Json(json!({ "records": count })).into_response())
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, NotTaken> {
    let too_large =
        || NotTaken(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {bytes_max} bytes"));
    // Nothing is read of what says itself that it is too large.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| NotTaken(StatusCode::BAD_REQUEST, error.to_string()))?;
        if whole.len() + chunk.len() > bytes_max {
            return Err(too_large());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}
