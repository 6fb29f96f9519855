//! The pipelines of a server by HTTP: what `ottla pipeline plan`, `apply`, `list`, `describe` and `delete` ask.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /pipelines/plan` | a document | the plan; 422 with `findings` when the file is wrong |
//! | `POST /pipelines/apply` | a plan | `{"pipeline", "revision"}`; 409 when it is out of date or refused |
//! | `GET /pipelines`, `/pipelines/NAME` | | reports |
//! | `DELETE /pipelines/NAME[?topics=true]` | | |
//!
//! What is wrong is `{"message": "…"}`.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ottla_client::{Client, ClientConfig, Transport};
use ottla_pipelines::service::{
    Document, PipelineReport, PipelineService, PipelineState, Plan, ServiceError, StageReport,
};
use ottla_streams::UserFunction;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::commands::pipeline::finding_json;
use crate::http::is_of_own_origin;

/// Larger bodies are refused: a record has to hold the file.
const BODY_BYTES_MAX: usize = 900_000;

/// The pipelines of a server.
pub struct PipelinesApi {
    config: ClientConfig,
    transport: Arc<dyn Transport>,
    service: watch::Sender<Option<Result<Arc<PipelineService>, String>>>,
    refusal: Option<&'static str>,
}

impl PipelinesApi {
    /// Those of the cluster that `transport` leads to. They work with the rights of the server itself, so where access is
    /// controlled, nobody is let in by HTTP.
    pub fn new(
        bootstrap_server: String,
        transport: Arc<dyn Transport>,
        is_access_controlled: bool,
    ) -> PipelinesApi {
        let config = ClientConfig {
            bootstrap_servers: vec![bootstrap_server],
            client_id: "ottla-pipelines".to_owned(),
            ..ClientConfig::default()
        };
        let refusal = is_access_controlled.then_some(
            "this server controls access, and HTTP does not tell who asks; use `ottla run` with clients' rights",
        );
        PipelinesApi { config, transport, service: watch::Sender::new(None), refusal }
    }

    /// Lets what was applied run.
    pub async fn open(&self) {
        let opening = async {
            let client = Client::connect_with(self.config.clone(), Arc::clone(&self.transport)).await?;
            PipelineService::open(client).await
        };
        let opened = opening.await.map(Arc::new).map_err(|error| {
            tracing::error!(%error, "the pipelines of this server cannot be read");
            error.to_string()
        });
        self.service.send_replace(Some(opened));
    }

    /// Stops all of them; they go on with the next start.
    pub async fn stop(&self) {
        let service = self.service.borrow().clone();
        if let Some(Ok(service)) = service {
            service.stop().await;
        }
    }

    /// Once what was applied has been read.
    pub async fn service(&self) -> Result<Arc<PipelineService>, Refusal> {
        let mut opened = self.service.subscribe();
        let found = opened.wait_for(Option::is_some).await.map(|found| found.clone());
        match found {
            Ok(Some(Ok(service))) => Ok(service),
            Ok(Some(Err(reason))) => Err(Refusal::of(StatusCode::INTERNAL_SERVER_ERROR, &reason)),
            Ok(None) | Err(_) => Err(Refusal::of(StatusCode::SERVICE_UNAVAILABLE, "the server is starting")),
        }
    }

    /// The routes.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/pipelines", get(list))
            .route("/pipelines/plan", post(plan))
            .route("/pipelines/apply", post(apply))
            .route("/pipelines/{name}", get(describe).delete(delete))
            .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn_with_state(Arc::clone(&self), guard))
            .with_state(self)
    }
}

/// Lets nobody in where access is controlled, and no page of another origin.
async fn guard(State(api): State<Arc<PipelinesApi>>, request: Request, next: Next) -> Response {
    if let Some(refusal) = api.refusal {
        return Refusal::of(StatusCode::FORBIDDEN, refusal).into_response();
    }
    if !is_of_own_origin(request.headers()) {
        return Refusal::of(StatusCode::FORBIDDEN, "a page of another origin may not do this")
            .into_response();
    }
    next.run(request).await
}

/// An answer that says why something is not done.
pub struct Refusal(StatusCode, Value);

impl Refusal {
    pub fn of(status: StatusCode, message: &str) -> Refusal {
        Refusal(status, json!({ "message": message }))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Refusal {
        let status = match &error {
            ServiceError::Wrong(findings) => {
                let told: Vec<Value> = findings.iter().map(finding_json).collect();
                let body = json!({ "message": error.to_string(), "findings": told });
                return Refusal(StatusCode::UNPROCESSABLE_ENTITY, body);
            }
            ServiceError::NotFound(_) => StatusCode::NOT_FOUND,
            ServiceError::Refused(_) | ServiceError::Stale { .. } => StatusCode::CONFLICT,
            ServiceError::Store { .. }
            | ServiceError::Client(_)
            | ServiceError::Plugins(_)
            | ServiceError::NotRunning { .. }
            | ServiceError::GoingAway => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal::of(status, &error.to_string())
    }
}

type Api = State<Arc<PipelinesApi>>;

async fn plan(State(api): Api, Json(document): Json<Document>) -> Result<Json<Plan>, Refusal> {
    Ok(Json(api.service().await?.plan(document).await?))
}

async fn apply(State(api): Api, Json(plan): Json<Plan>) -> Result<Json<Value>, Refusal> {
    let name = plan.pipeline.clone();
    let revision = api.service().await?.apply(plan).await?;
    Ok(Json(json!({ "pipeline": name, "revision": revision })))
}

async fn list(State(api): Api) -> Result<Json<Value>, Refusal> {
    let reports = api.service().await?.list().await;
    Ok(Json(reports.iter().map(report_json).collect()))
}

async fn describe(State(api): Api, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let (report, document) = api.service().await?.describe(&name).await?;
    let mut told = report_json(&report);
    told["text"] = json!(document.text);
    told["env"] = json!(document.env);
    Ok(Json(told))
}

async fn delete(State(api): Api, Path(name): Path<String>, uri: Uri) -> Result<Json<Value>, Refusal> {
    let with_topics = uri.query().unwrap_or_default().split('&').any(|word| word == "topics=true");
    api.service().await?.delete(&name, with_topics).await?;
    Ok(Json(json!({ "pipeline": name })))
}

fn report_json(report: &PipelineReport) -> Value {
    let reason = match &report.state {
        PipelineState::Failed(reason) => Some(reason),
        PipelineState::Running | PipelineState::Drained | PipelineState::Stopped => None,
    };
    let stage = |stage: &StageReport| {
        json!({ "stage": stage.name, "kind": stage.kind, "state": stage.state, "in": stage.records_in,
                "out": stage.records_out, "dead_lettered": stage.records_bad, "late": stage.records_late,
                "last_error": stage.last_error })
    };
    let function = |function: &UserFunction| json!({ "name": function.name(), "plugin": function.plugin(), "signature": function.signature().to_string() });
    json!({ "pipeline": report.name, "revision": report.revision, "state": report.state.word(), "reason": reason,
            "file": report.file, "stages": report.stages.iter().map(stage).collect::<Vec<_>>(),
            "functions": report.functions.iter().map(function).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path as FilePath;
    use std::time::Duration;

    use ottla_broker::{Broker, BrokerConfig};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn pipelines_are_told_of_while_one_that_is_applied_is_read() {
        let data = tempfile::tempdir().unwrap();
        let broker = Broker::start(BrokerConfig::new(data.path().join("data"))).await.unwrap();
        let config =
            ClientConfig { bootstrap_servers: vec![broker.address().to_string()], ..ClientConfig::default() };
        let client = Client::connect_with(config, Arc::new(broker.in_process())).await.unwrap();
        let service = Arc::new(PipelineService::open(client).await.unwrap());
        let plugin = data.path().join("split.wasm");
        let example = FilePath::new(env!("CARGO_MANIFEST_DIR"))
            .join("../plugins/examples/split-lines/split-lines.wasm");
        std::fs::copy(example, &plugin).unwrap();
        let text = "version: ottla/v1\nname: lines\ntopics: { raw: {} }\nplugins: { split: { path: split.wasm } }\n\
                    transforms: { words: { from: raw, wasm: { plugin: split } } }\n";
        let document = Document {
            file: data.path().join("pipeline.yaml"),
            text: text.to_owned(),
            env: BTreeMap::new(),
            working_dir: data.path().to_owned(),
        };
        let plan = service.plan(document).await.unwrap();

        // A file that takes as long to read as this test likes.
        std::fs::remove_file(&plugin).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&plugin).status().unwrap().success());
        let applying = Arc::clone(&service);
        let applying = tokio::spawn(async move { applying.apply(plan).await });
        let writer = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(plugin));
        let writer = writer.await.unwrap().unwrap();
        let listed = tokio::time::timeout(Duration::from_secs(60), service.list()).await;
        assert!(listed.expect("it waits for the file").is_empty());
        drop(writer);
        let refused = applying.await.unwrap().unwrap_err();
        assert!(matches!(refused, ServiceError::Wrong(_)), "{refused}");
        broker.shutdown().await.unwrap();
    }
}
