//! The plugins of a server by HTTP: what `ottla plugin install`, `list` and `uninstall` ask.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /plugins` | | `[{"name", "world", "functions", "bytes", "sha256", "used_by"}]` |
//! | `PUT /plugins/NAME` | a component | the same of it; 422 when no server can use it, 409 while another of the name is used |
//! | `GET /plugins/NAME/component` | | the component |
//! | `DELETE /plugins/NAME` | | 409 while it is used |
//!
//! What is wrong is `{"message": "…"}`.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use bytes::Bytes;
use ottla_connect::Herder;
use ottla_pipelines::service::PipelineService;
use ottla_plugins::{Limits, PluginError, PluginFault};
use ottla_streams::engine::{CheckedPlugin, Engine, EngineError, InstalledPlugin};
use serde_json::{Value, json};

use crate::connectors::Connectors;
use crate::http::is_of_own_origin;
use crate::pipelines_api::{PipelinesApi, Refusal};
use crate::sql_api::SqlApi;

/// The plugins of a server: kept by its SQL, used by that, by its pipelines and by its connectors.
pub struct PluginsApi {
    sql: Arc<SqlApi>,
    /// None on a node that runs no pipelines.
    pipelines: Option<Arc<PipelinesApi>>,
    /// None on a node that runs no connectors.
    connectors: Option<Connectors>,
}

/// What may use plugins besides functions.
struct Users {
    pipelines: Option<Arc<PipelineService>>,
    connectors: Option<Herder>,
}

/// Who uses which plugin; while this is held, nobody begins to use one.
struct Held<'a> {
    pipelines: Option<ottla_pipelines::service::PluginUsers<'a>>,
    connectors: Option<ottla_connect::PluginUsers<'a>>,
}

impl Users {
    async fn held(&self) -> Result<Held<'_>, Refusal> {
        let pipelines = match &self.pipelines {
            Some(pipelines) => Some(pipelines.plugin_users().await),
            None => None,
        };
        let connectors = match &self.connectors {
            Some(herder) => Some(herder.plugin_users().await?),
            None => None,
        };
        Ok(Held { pipelines, connectors })
    }
}

impl Held<'_> {
    /// Kinds and names of those that use a plugin.
    fn of(&self, plugin: &str) -> Vec<(&'static str, String)> {
        let pipelines = self.pipelines.as_ref().map(|users| users.of(plugin)).unwrap_or_default();
        let connectors = self.connectors.as_ref().map(|users| users.of(plugin)).unwrap_or_default();
        let pipelines = pipelines.iter().map(|name| ("pipeline", name.clone()));
        pipelines.chain(connectors.into_iter().map(|name| ("connector", name))).collect()
    }

    /// The same in words.
    fn told(&self, plugin: &str) -> Vec<String> {
        self.of(plugin).into_iter().map(|(kind, name)| format!("{kind} {name}")).collect()
    }
}

impl PluginsApi {
    pub fn new(
        sql: Arc<SqlApi>,
        pipelines: Option<Arc<PipelinesApi>>,
        connectors: Option<Connectors>,
    ) -> PluginsApi {
        PluginsApi { sql, pipelines, connectors }
    }

    /// The routes.
    pub fn router(self) -> Router {
        let bytes_max = usize::try_from(Limits::default().component_bytes_max).unwrap_or(usize::MAX);
        let api = Arc::new(self);
        Router::new()
            .route("/plugins", get(list))
            .route("/plugins/{name}", put(install).delete(uninstall))
            .route("/plugins/{name}/component", get(component))
            .layer(DefaultBodyLimit::max(bytes_max))
            .layer(from_fn_with_state(Arc::clone(&api), guard))
            .with_state(api)
    }

    async fn engine(&self) -> Result<&Engine, Refusal> {
        Ok(self.sql.engine().await?)
    }

    async fn users(&self) -> Result<Users, Refusal> {
        let pipelines = match &self.pipelines {
            Some(pipelines) => Some(pipelines.service().await?),
            None => None,
        };
        let connectors = match &self.connectors {
            Some(connectors) => Some(connectors.herder().await?),
            None => None,
        };
        Ok(Users { pipelines, connectors })
    }
}

/// Lets nobody in where access is controlled, and no page of another origin.
async fn guard(State(api): State<Arc<PluginsApi>>, request: Request, next: Next) -> Response {
    if let Some(refusal) = api.sql.refusal() {
        return Refusal::of(StatusCode::FORBIDDEN, refusal).into_response();
    }
    if !is_of_own_origin(request.headers()) {
        return Refusal::of(StatusCode::FORBIDDEN, "a page of another origin may not do this")
            .into_response();
    }
    next.run(request).await
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Refusal {
        let status = match &error {
            // Nothing is wrong with the component.
            EngineError::Plugin(PluginError { fault: PluginFault::Host(_), .. }) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            EngineError::Plugin(_) | EngineError::PluginName(_) => StatusCode::UNPROCESSABLE_ENTITY,
            EngineError::NoPlugin { .. } => StatusCode::NOT_FOUND,
            EngineError::PluginInUse { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal::of(status, &error.to_string())
    }
}

type Api = State<Arc<PluginsApi>>;

async fn list(State(api): Api) -> Result<Json<Value>, Refusal> {
    let (users, plugins) = (api.users().await?, api.engine().await?.plugins().await);
    let users = users.held().await?;
    let told = plugins.into_iter().map(|(name, plugin, functions)| {
        let functions = functions.into_iter().map(|name| json!({ "kind": "function", "name": name }));
        let others = users.of(&name).into_iter().map(|(kind, name)| json!({ "kind": kind, "name": name }));
        let mut told = plugin_json(&name, &plugin);
        told["used_by"] = functions.chain(others).collect();
        told
    });
    Ok(Json(told.collect()))
}

async fn install(
    State(api): Api,
    Path(name): Path<String>,
    component: Bytes,
) -> Result<Json<Value>, Refusal> {
    // A task of its own: whoever asked may go away in the middle.
    let installing = tokio::spawn(async move {
        // Before anything is held, as compiling takes long.
        let checked = CheckedPlugin::new(&name, component).await?;
        let (users, engine) = (api.users().await?, api.engine().await?);
        let users = users.held().await?;
        let plugin = engine.install_plugin(checked, &users.told(&name)).await?;
        Ok(Json(plugin_json(&name, &plugin)))
    });
    installing.await.unwrap_or_else(|_| Err(going_away()))
}

async fn uninstall(State(api): Api, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let uninstalling = tokio::spawn(async move {
        let (users, engine) = (api.users().await?, api.engine().await?);
        let users = users.held().await?;
        engine.uninstall_plugin(&name, &users.told(&name)).await?;
        Ok(Json(json!({ "name": name })))
    });
    uninstalling.await.unwrap_or_else(|_| Err(going_away()))
}

async fn component(State(api): Api, Path(name): Path<String>) -> Result<Response, Refusal> {
    let component = api.engine().await?.plugin_component(&name).await?;
    Ok(([(header::CONTENT_TYPE, "application/wasm")], component).into_response())
}

fn plugin_json(name: &str, plugin: &InstalledPlugin) -> Value {
    json!({ "name": name, "world": plugin.world, "functions": plugin.functions, "bytes": plugin.bytes,
            "sha256": plugin.sha256 })
}

fn going_away() -> Refusal {
    Refusal::of(StatusCode::SERVICE_UNAVAILABLE, "the server is going away")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ottla_broker::{Broker, BrokerConfig};

    use super::*;

    /// Long enough for a component to be looked at on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread")]
    async fn a_component_is_checked_while_pipelines_are_busy() {
        let data = tempfile::tempdir().unwrap();
        let broker = Broker::start(BrokerConfig::new(data.path())).await.unwrap();
        let (address, transport) = (broker.address().to_string(), Arc::new(broker.in_process()));
        let pipelines = Arc::new(PipelinesApi::new(address.clone(), Arc::clone(&transport) as _, false));
        pipelines.open().await;
        let sql = Arc::new(SqlApi::new(address, transport, false));
        let api = Arc::new(PluginsApi::new(sql, Some(Arc::clone(&pipelines)), None));
        let put = |component: &'static [u8]| {
            install(State(Arc::clone(&api)), Path("upper".to_owned()), Bytes::from_static(component))
        };
        let held = pipelines.service().await.unwrap_or_else(|_| panic!("it is open"));
        let held = held.plugin_users().await;
        let refused =
            tokio::time::timeout(PATIENCE, put(b"no component")).await.expect("it waits for pipelines");
        assert_eq!(refused.unwrap_err().into_response().status(), StatusCode::UNPROCESSABLE_ENTITY);
        // Whether something uses the name is asked of pipelines that do not change.
        let component = include_bytes!("../../plugins/examples/split-lines/split-lines.wasm");
        let mut installing = std::pin::pin!(put(component));
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut installing).await.is_err());
        drop(held);
        let installed = tokio::time::timeout(PATIENCE, installing).await.unwrap();
        assert_eq!(installed.unwrap_or_else(|_| panic!("it is refused"))["world"], "transform");
        broker.shutdown().await.unwrap();
    }

    #[test]
    fn what_a_server_cannot_do_is_not_the_components_fault() {
        let of = |fault: PluginFault| {
            Refusal::from(EngineError::Plugin(PluginError { plugin: "upper".to_owned(), fault }))
                .into_response()
                .status()
        };
        assert_eq!(of(PluginFault::Host("no memory".to_owned())), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(of(PluginFault::NotAComponent("it".to_owned())), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
