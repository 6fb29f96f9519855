//! Kafka Connect's REST API: paths, statuses and bodies as its workers have them.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::definition::Properties;
use super::describe;
use super::herder::{Herder, HerderError};
use super::offsets::WantedOffset;
use super::records::TargetState;

type Answer = Result<Response, HerderError>;

impl IntoResponse for HerderError {
    fn into_response(self) -> Response {
        let status = match &self {
            HerderError::NotFound(_) => StatusCode::NOT_FOUND,
            HerderError::Conflict(_) => StatusCode::CONFLICT,
            HerderError::BadRequest(_) => StatusCode::BAD_REQUEST,
            HerderError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            HerderError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let body = json!({ "error_code": status.as_u16(), "message": self.to_string() });
        (status, Json(body)).into_response()
    }
}

#[derive(Clone)]
struct Worker {
    herder: Herder,
    cluster_id: String,
}

impl Herder {
    /// Kafka Connect's REST API over these connectors. `cluster_id` is of the Kafka cluster.
    pub fn router(self, cluster_id: String) -> Router {
        Router::new()
            .route("/", get(root))
            .route("/health", get(health))
            .route("/connectors", get(list).post(create))
            .route("/connectors/{name}", get(info).delete(delete))
            .route("/connectors/{name}/config", get(config).put(put_config).patch(patch_config))
            .route("/connectors/{name}/status", get(status))
            .route("/connectors/{name}/restart", post(restart))
            .route("/connectors/{name}/pause", put(pause))
            .route("/connectors/{name}/resume", put(resume))
            .route("/connectors/{name}/stop", put(stop))
            .route("/connectors/{name}/tasks", get(tasks))
            .route("/connectors/{name}/tasks/{task}/status", get(task_status))
            .route("/connectors/{name}/tasks/{task}/restart", post(restart_task))
            .route("/connectors/{name}/topics", get(topics))
            .route("/connectors/{name}/offsets", get(offsets).patch(alter_offsets).delete(reset_offsets))
            .route("/connector-plugins", get(plugins))
            .route("/connector-plugins/{class}/config", get(plugin_config))
            .route("/connector-plugins/{class}/config/validate", put(validate))
            .fallback(no_such_path)
            .with_state(Worker { herder: self, cluster_id })
    }
}

async fn no_such_path() -> HerderError {
    HerderError::NotFound("HTTP 404 Not Found".to_owned())
}

async fn root(State(worker): State<Worker>) -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({ "version": version, "commit": "unknown", "kafka_cluster_id": worker.cluster_id }))
}

async fn health(State(worker): State<Worker>) -> Response {
    if worker.herder.is_loaded() {
        let message = "Worker has completed startup and is ready to handle requests.";
        return Json(json!({ "status": "healthy", "message": message })).into_response();
    }
    let body = json!({ "status": "starting", "message": "Worker is still starting up." });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// Whether a query of an address has this pair.
fn has(uri: &Uri, pair: &str) -> bool {
    uri.query().unwrap_or_default().split('&').any(|found| found == pair)
}

async fn list(State(Worker { herder, .. }): State<Worker>, uri: Uri) -> Answer {
    herder.loaded().await?;
    let names = herder.names();
    let (status, info) = (has(&uri, "expand=status"), has(&uri, "expand=info"));
    if !status && !info {
        return Ok(Json(names).into_response());
    }
    let mut all = Map::new();
    for name in names {
        let mut one = Map::new();
        // One that was deleted meanwhile is left out.
        if status && let Ok(status) = herder.status(&name) {
            one.insert("status".to_owned(), json!(status));
        }
        if info && let Ok(info) = info_of(&herder, &name) {
            one.insert("info".to_owned(), info);
        }
        all.insert(name, Value::Object(one));
    }
    Ok(Json(all).into_response())
}

fn info_of(herder: &Herder, name: &str) -> Result<Value, HerderError> {
    let (config, kind, count) = herder.info(name)?;
    let task = |number| json!({ "connector": name, "task": number });
    let tasks: Vec<Value> = (0..count).map(task).collect();
    Ok(json!({ "name": name, "config": config, "tasks": tasks, "type": kind }))
}

/// A body that must be JSON, whatever its content type says.
fn body<T: serde::de::DeserializeOwned>(bytes: &Bytes) -> Result<T, HerderError> {
    serde_json::from_slice(bytes).map_err(|error| HerderError::BadRequest(format!("the body: {error}")))
}

/// Properties as text; numbers and booleans are taken as they are written.
fn texts(config: Map<String, Value>) -> Result<Properties, HerderError> {
    let text = |(name, value): (String, Value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Bool(_) | Value::Number(_) => Ok((name, value.to_string())),
        _ => Err(HerderError::BadRequest(format!("the property {name} must be text"))),
    };
    config.into_iter().map(text).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    config: Map<String, Value>,
    initial_state: Option<TargetState>,
}

async fn create(State(Worker { herder, .. }): State<Worker>, headers: HeaderMap, bytes: Bytes) -> Answer {
    // What a page of another site can have a browser send has another type.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|found| found.trim().to_ascii_lowercase().starts_with("application/json")) {
        let body = json!({ "error_code": 415, "message": "HTTP 415 Unsupported Media Type" });
        return Ok((StatusCode::UNSUPPORTED_MEDIA_TYPE, Json(body)).into_response());
    }
    let Create { name, config, initial_state } = body(&bytes)?;
    let properties = texts(config)?;
    if properties.get("name").is_some_and(|named| *named != name) {
        let why = "Connector name configuration does not match the name of the request".to_owned();
        return Err(HerderError::BadRequest(why));
    }
    herder.put(&name, properties, initial_state, false).await?;
    let place = [("Location", format!("/connectors/{name}"))];
    Ok((StatusCode::CREATED, place, Json(info_of(&herder, &name)?)).into_response())
}

async fn info(State(Worker { herder, .. }): State<Worker>, Path(name): Path<String>) -> Answer {
    herder.loaded().await?;
    Ok(Json(info_of(&herder, &name)?).into_response())
}

async fn config(State(Worker { herder, .. }): State<Worker>, Path(name): Path<String>) -> Answer {
    herder.loaded().await?;
    Ok(Json(herder.info(&name)?.0).into_response())
}

async fn put_config(
    State(Worker { herder, .. }): State<Worker>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer {
    put_properties(&herder, &name, texts(body(&bytes)?)?).await
}

/// Some properties are changed, and with null taken away (KIP-477).
async fn patch_config(
    State(Worker { herder, .. }): State<Worker>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer {
    herder.loaded().await?;
    let (mut properties, ..) = herder.info(&name)?;
    let patch: BTreeMap<String, Option<Value>> = body(&bytes)?;
    let mut set = Map::new();
    for (name, value) in patch {
        match value {
            Some(value) => drop(set.insert(name, value)),
            None => drop(properties.remove(&name)),
        }
    }
    properties.extend(texts(set)?);
    put_properties(&herder, &name, properties).await
}

async fn put_properties(herder: &Herder, name: &str, properties: Properties) -> Answer {
    if properties.get("name").is_some_and(|named| named != name) {
        let named = &properties["name"];
        let why = format!(
            "Connector name configuration ({named}) doesn't match connector name in the URL ({name})"
        );
        return Err(HerderError::BadRequest(why));
    }
    let is_new = herder.put(name, properties, None, true).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(info_of(herder, name)?)).into_response())
}

async fn delete(State(Worker { herder, .. }): State<Worker>, Path(name): Path<String>) -> Answer {
    herder.delete(&name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn status(State(Worker { herder, .. }): State<Worker>, Path(name): Path<String>) -> Answer {
    herder.loaded().await?;
    Ok(Json(herder.status(&name)?).into_response())
}

async fn restart(State(Worker { herder, .. }): State<Worker>, Path(name): Path<String>, uri: Uri) -> Answer {
    let (tasks, only_failed) = (has(&uri, "includeTasks=true"), has(&uri, "onlyFailed=true"));
    herder.restart(&name, tasks, only_failed).await?;
    match tasks || only_failed {
        true => Ok((StatusCode::ACCEPTED, Json(herder.status(&name)?)).into_response()),
        false => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

async fn pause(State(worker): State<Worker>, Path(name): Path<String>) -> Answer {
    worker.herder.set_target(&name, TargetState::Paused).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn resume(State(worker): State<Worker>, Path(name): Path<String>) -> Answer {
    worker.herder.set_target(&name, TargetState::Started).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn stop(State(worker): State<Worker>, Path(name): Path<String>) -> Answer {
    worker.herder.set_target(&name, TargetState::Stopped).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn tasks(State(Worker { herder, .. }): State<Worker>, Path(name): Path<String>) -> Answer {
    herder.loaded().await?;
    let (config, _, count) = herder.info(&name)?;
    let task = |number| json!({ "id": { "connector": name, "task": number }, "config": config });
    Ok(Json((0..count).map(task).collect::<Vec<_>>()).into_response())
}

async fn task_status(
    State(Worker { herder, .. }): State<Worker>,
    Path((name, task)): Path<(String, usize)>,
) -> Answer {
    herder.loaded().await?;
    let status = herder.status(&name)?;
    let found = status.tasks.into_iter().find(|report| report.id == Some(task));
    let found =
        found.ok_or_else(|| HerderError::NotFound(format!("No status found for task {name}-{task}")))?;
    Ok(Json(found).into_response())
}

async fn restart_task(
    State(Worker { herder, .. }): State<Worker>,
    Path((name, task)): Path<(String, usize)>,
) -> Answer {
    herder.restart_task(&name, task).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn topics(State(Worker { herder, .. }): State<Worker>, Path(name): Path<String>) -> Answer {
    herder.loaded().await?;
    let topics = herder.topics(&name)?;
    let mut all = Map::new();
    all.insert(name, json!({ "topics": topics }));
    Ok(Json(all).into_response())
}

async fn offsets(State(Worker { herder, .. }): State<Worker>, Path(name): Path<String>) -> Answer {
    let known = herder.offsets(&name).await?;
    let one = |(partition, offset)| json!({ "partition": partition, "offset": offset });
    Ok(Json(json!({ "offsets": known.into_iter().map(one).collect::<Vec<_>>() })).into_response())
}

#[derive(Deserialize)]
struct AlterOffsets {
    offsets: Vec<WantedOffset>,
}

async fn alter_offsets(
    State(Worker { herder, .. }): State<Worker>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer {
    let AlterOffsets { offsets } = body(&bytes)?;
    if offsets.is_empty() {
        let why = "Partitions / offsets need to be provided for an alter offsets request".to_owned();
        return Err(HerderError::BadRequest(why));
    }
    herder.set_offsets(&name, Some(offsets)).await?;
    let message = "The offsets for this connector have been altered successfully";
    Ok(Json(json!({ "message": message })).into_response())
}

async fn reset_offsets(State(Worker { herder, .. }): State<Worker>, Path(name): Path<String>) -> Answer {
    herder.set_offsets(&name, None).await?;
    let message = "The offsets for this connector have been reset successfully";
    Ok(Json(json!({ "message": message })).into_response())
}

async fn plugins(uri: Uri) -> Json<Value> {
    Json(describe::plugins(!has(&uri, "connectorsOnly=false")))
}

async fn plugin_config(Path(class): Path<String>) -> Answer {
    let keys = describe::config_keys(&class);
    let unknown = || HerderError::NotFound(format!("Unknown plugin {class}"));
    Ok(Json(keys.ok_or_else(unknown)?).into_response())
}

async fn validate(
    State(Worker { herder, .. }): State<Worker>,
    Path(class): Path<String>,
    bytes: Bytes,
) -> Answer {
    let properties = texts(body(&bytes)?)?;
    let wrong_plugins = herder.wrong_plugins(&properties).await?;
    let told = describe::validate(&class, &properties, wrong_plugins);
    Ok(Json(told.map_err(HerderError::BadRequest)?).into_response())
}
