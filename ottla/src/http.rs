//! The HTTP API: `/health` for load balancers and scripts, `/metrics` for Prometheus, `POST /sql` for statements,
//! `/pipelines` for pipelines, `/plugins` for plugins.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use ottla_broker::Monitor;
use ottla_broker::metrics::PartitionSeries;
use serde_json::json;
use tokio::net::TcpListener;

use crate::connectors::Connectors;
use crate::failure::Failure;
use crate::pipelines_api::PipelinesApi;
use crate::plugins_api::PluginsApi;
use crate::sql_api::SqlApi;

/// A bound HTTP server.
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

impl Http {
    /// Binds the address.
    pub async fn bind(address: SocketAddr) -> Result<Http, Failure> {
        let refused = |error: std::io::Error| {
            Failure::failed(format!(
                "cannot listen on {address}: {error}; stop what uses it, or choose another with --http-listen (port 0 takes a free one)"
            ))
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Http { listener, address })
    }

    /// With the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process ends. What the node's roles leave to other nodes is refused with the reason.
    pub async fn run(
        self,
        monitor: Monitor,
        sql: Option<Arc<SqlApi>>,
        pipelines: Option<Arc<PipelinesApi>>,
        connectors: Option<Connectors>,
    ) {
        let router = Router::new().route("/health", get(health)).route("/metrics", get(metrics));
        let of_sql = match sql {
            Some(sql) => {
                let plugins = PluginsApi::new(Arc::clone(&sql), pipelines.clone(), connectors);
                Router::new().route("/sql", post(run_sql)).with_state(sql).merge(plugins.router())
            }
            None => {
                let refuse = || any(async || without_role("streams"));
                let paths = ["/sql", "/plugins", "/plugins/{*rest}"];
                paths.into_iter().fold(Router::new(), |router, path| router.route(path, refuse()))
            }
        };
        let of_pipelines = match pipelines {
            Some(pipelines) => pipelines.router(),
            None => {
                let refuse = || any(async || without_role("connect and streams"));
                Router::new().route("/pipelines", refuse()).route("/pipelines/{*rest}", refuse())
            }
        };
        let router = router.with_state(monitor).merge(of_sql).merge(of_pipelines);
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "the HTTP API stopped");
        }
    }
}

fn without_role(role: &str) -> Response {
    let why = format!("this node does not have the role {role}; ask one that was started with it in --roles");
    (StatusCode::MISDIRECTED_REQUEST, Json(json!({ "error": why, "message": why }))).into_response()
}

async fn run_sql(
    State(sql): State<Arc<SqlApi>>,
    uri: Uri,
    headers: HeaderMap,
    statements: String,
) -> Response {
    if !is_of_own_origin(&headers) {
        let refusal = json!({ "error": "a page of another origin may not run statements here" });
        return (StatusCode::FORBIDDEN, Json(refusal)).into_response();
    }
    let columns = uri.query().unwrap_or_default().split('&').any(|word| word == "columns=true");
    sql.execute(&statements, columns).await
}

/// Whether a request is from no page in a browser, or from one that this server has served: any page can have a browser
/// send a request here, but not without its own origin.
pub fn is_of_own_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match (headers.contains_key(header::ORIGIN), text(header::ORIGIN), text(header::HOST)) {
        (false, ..) => true,
        (true, Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host))
        }
        _ => false,
    }
}

/// 200 while the broker can do its work, else 503 with the reasons.
async fn health(State(monitor): State<Monitor>) -> Response {
    let problems: Vec<String> = monitor.problems().await.iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        return Json(json!({ "status": "ok" })).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "failing", "problems": problems })))
        .into_response()
}

/// The text format that Prometheus asks for first.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is measured; `?partitions=all|none` says which partitions have series of their own.
async fn metrics(State(monitor): State<Monitor>, uri: Uri) -> Response {
    let asked = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("partitions="));
    let series = match asked {
        None | Some("auto") => PartitionSeries::Auto,
        Some("all") => PartitionSeries::All,
        Some("none") => PartitionSeries::None,
        Some(other) => {
            let wrong = format!("partitions={other}: should be auto, all or none\n");
            return (StatusCode::BAD_REQUEST, wrong).into_response();
        }
    };
    ([(header::CONTENT_TYPE, OPEN_METRICS)], monitor.metrics(series).await).into_response()
}
