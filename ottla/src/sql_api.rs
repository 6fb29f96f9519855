//! `POST /sql`: statements in, one JSON object a line out.
//!
//! A row is an object of its columns; a statement without rows gives `{"done": "…"}`. The changes of a query with EMIT come
//! as `{"weight": 1, "row": {…}}` until the client goes away. What is wrong with the text is answered with 400 and
//! `{"error", "line", "column"}`, whatever else fails with 500.

mod lines;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ottla_client::{Client, ClientConfig, Transport};
use ottla_streams::engine::{Engine, EngineError, Outcome};
use ottla_streams::history::HistoryError;
use serde_json::json;
use tokio::sync::OnceCell;

use lines::Shape;

/// The SQL of a server. Queries that were made before go on when it starts.
pub struct SqlApi {
    config: ClientConfig,
    transport: Arc<dyn Transport>,
    engine: OnceCell<Engine>,
    /// Why nothing is answered, if so.
    refusal: Option<&'static str>,
}

impl SqlApi {
    /// The SQL of the cluster that `transport` leads to. It works with the rights of the server itself, so where access is
    /// controlled, nobody is let in by HTTP.
    pub fn new(
        bootstrap_server: String,
        transport: Arc<dyn Transport>,
        is_access_controlled: bool,
    ) -> SqlApi {
        let config = ClientConfig {
            bootstrap_servers: vec![bootstrap_server],
            client_id: "ottla-sql".to_owned(),
            ..ClientConfig::default()
        };
        let refusal = is_access_controlled.then_some(
            "this server controls access, and HTTP does not tell who asks; use a pipeline or `ottla sql --command-config`",
        );
        SqlApi { config, transport, engine: OnceCell::new(), refusal }
    }

    /// Why nobody is let in by HTTP, if so.
    pub fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }

    /// Starts the queries that were made before, if any were.
    pub async fn resume(&self) {
        let outcome = async {
            let client = Client::connect_with(self.config.clone(), Arc::clone(&self.transport)).await?;
            match Engine::is_used(&client).await? {
                true => self.engine().await.map(|_| ()),
                false => Ok(()),
            }
        };
        if let Err(error) = outcome.await {
            tracing::error!(%error, "the SQL queries made before could not be started");
        }
    }

    /// Stops all queries after the epoch in hand.
    pub async fn stop(&self) {
        if let Some(engine) = self.engine.get() {
            engine.stop().await;
        }
    }

    /// The engine, opened by the first who asks.
    ///
    /// # Errors
    /// When the cluster cannot be reached.
    pub async fn engine(&self) -> Result<&Engine, EngineError> {
        let open = async || {
            let client = Client::connect_with(self.config.clone(), Arc::clone(&self.transport)).await?;
            Engine::open(client).await
        };
        self.engine.get_or_try_init(open).await
    }

    /// Runs statements. With `columns`, each result begins with a line that names its columns, and its rows are arrays.
    pub async fn execute(&self, text: &str, columns: bool) -> Response {
        let shape = if columns { Shape::Array } else { Shape::Object };
        if let Some(refusal) = self.refusal {
            return (StatusCode::FORBIDDEN, Json(json!({ "error": refusal }))).into_response();
        }
        let outcomes = match self.engine().await {
            Ok(engine) => engine.execute(text).await,
            Err(error) => Err(error),
        };
        let mut body = Vec::new();
        let mut push = None;
        for outcome in match outcomes {
            Ok(outcomes) => outcomes,
            Err(error) => return failed(&error),
        } {
            let written = match outcome {
                Outcome::Done(done) => {
                    lines::done(&done, &mut body);
                    Ok(())
                }
                Outcome::Rows { schema, batches } => {
                    if columns {
                        lines::columns(&schema, false, &mut body);
                    }
                    batches.iter().try_for_each(|batch| lines::rows(batch, shape, &mut body))
                }
                Outcome::Changes(query) => {
                    if columns {
                        lines::columns(query.schema(), true, &mut body);
                    }
                    push = Some(query);
                    Ok(())
                }
            };
            if let Err(error) = written {
                return failed(&EngineError::History(HistoryError::Run(error.to_string())));
            }
        }
        let body = match push {
            Some(query) => Body::from_stream(lines::Changes::after(body, shape, query).stream()),
            None => Body::from(body),
        };
        ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
    }
}

fn failed(error: &EngineError) -> Response {
    match error {
        EngineError::Sql(wrong) | EngineError::History(HistoryError::Sql(wrong)) => {
            let (line, column) = (wrong.position.line, wrong.position.column);
            let body = json!({ "error": wrong.to_string(), "line": line, "column": column });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
        EngineError::TooManyListeners => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error.to_string() }))).into_response()
        }
        other => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": other.to_string() }))).into_response()
        }
    }
}
