//! The pipelines of a server: planned, applied, kept in a topic, and going on after a restart.
//!
//! ```text
//! Document ─► Plan (against what was applied and what there is) ─► apply exactly that, or nothing
//!                                  1. keep the new revision ─► 2. stop ─► 3. delete what is replaced ─► 4. run
//! ```
//! What is kept is what shall run: a server that is killed after step 1 does the others when it starts again.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `document.rs` | a pipeline as it was handed in, and as it is kept | but for files |
//! | `plan.rs` | what would change | yes |
//! | `store.rs` | the topic of what was applied | |
//! | `cluster.rs` | what a plan asks of the cluster, and does to it | |
//! | `running.rs` | a pipeline that runs, and how it is | |
//! | `mod.rs` | the order of effects | |

mod cluster;
mod document;
mod plan;
mod running;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_client::{Client, ClientError};
use ottla_streams::UserFunction;
use ottla_streams::engine::{EngineError, installed_plugins};
use tokio::sync::{Mutex, MutexGuard};

use crate::check::plugins::InstalledPlugins;
use crate::diagnostic::Diagnostic;
use crate::load::{Pipeline, installed_plugins_named};
use crate::resolve::{ResolvedPipeline, Work};
use crate::run::ensure_topics;
use running::Running;
use store::Store;

pub use document::{Document, Kept};
pub use plan::{Action, Change, Plan, TopicFacts};
pub use running::{PipelineState, StageReport};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The file is wrong; every finding.
    #[error("the pipeline file has errors")]
    Wrong(Vec<Diagnostic>),
    /// There is no such pipeline.
    #[error("there is no pipeline `{0}`")]
    NotFound(String),
    /// A change of the plan is refused.
    #[error("the plan of `{0}` cannot be applied, since a change in it is refused; nothing was changed")]
    Refused(String),
    /// Something has changed since the plan was made.
    #[error("the plan of `{name}` is out of date ({reason}); nothing was changed: plan again")]
    Stale { name: String, reason: String },
    /// What was kept cannot be read, so nothing may be written over it.
    #[error("the topic {} holds a record of `{name}` that cannot be read: {reason}", store::TOPIC)]
    Store { name: String, reason: String },
    /// The cluster refused or could not be reached.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The plugins that are installed could not be read.
    #[error("{0}")]
    Plugins(#[from] EngineError),
    /// It was taken up, and something on the way failed; it is tried again when it is applied again or the server starts.
    #[error("`{name}` was applied, but does not run: {reason}")]
    NotRunning { name: String, reason: String },
    /// The work was torn down with the process.
    #[error("the server is going away")]
    GoingAway,
}

/// A pipeline of the server.
#[derive(Clone, Debug)]
pub struct PipelineReport {
    pub name: String,
    pub revision: u64,
    pub file: std::path::PathBuf,
    pub state: PipelineState,
    /// In the order in which rows flow.
    pub stages: Vec<StageReport>,
    /// The functions of plugins that its queries call.
    pub functions: Vec<UserFunction>,
}

/// The pipelines of a server.
pub struct PipelineService {
    client: Client,
    /// Installed plugins stay as they are while it is held, and who applies a pipeline holds it: what the file uses must not be
    /// uninstalled before it counts as used. It is taken before `state`, which others need while files are compiled.
    plugins: Mutex<()>,
    /// One change after the other.
    state: Mutex<State>,
}

/// Who uses which installed plugin, and the pipelines held as they are.
pub struct PluginUsers<'a> {
    by_plugin: BTreeMap<String, Vec<String>>,
    _pipelines: MutexGuard<'a, State>,
    _plugins: MutexGuard<'a, ()>,
}

impl PluginUsers<'_> {
    /// The pipelines whose files name the plugin of this name without a path.
    pub fn of(&self, plugin: &str) -> &[String] {
        self.by_plugin.get(plugin).map(Vec::as_slice).unwrap_or_default()
    }
}

struct State {
    store: Store,
    applied: BTreeMap<String, Applied>,
}

/// A pipeline that was applied.
struct Applied {
    kept: Kept,
    /// None where the document cannot be read any more, as when a file that it names is gone.
    resolved: Option<Arc<ResolvedPipeline>>,
    running: Running,
}

impl PipelineService {
    /// Reads what was applied and lets it run.
    ///
    /// # Errors
    /// When the topic of what was applied cannot be read. A pipeline that cannot start is [`PipelineState::Failed`] and keeps
    /// no other from running.
    pub async fn open(client: Client) -> Result<PipelineService, ServiceError> {
        let mut state = State { store: Store::new(client.clone()), applied: BTreeMap::new() };
        for (name, kept) in state.store.load().await? {
            tracing::info!(pipeline = name, revision = kept.revision, "the pipeline is back");
            match load(&client, &kept.document).await {
                Ok(pipeline) => {
                    if let Err(error) =
                        state.converge(&client, kept, Arc::new(pipeline.resolve().clone())).await
                    {
                        tracing::error!(pipeline = name, %error, "the pipeline does not run");
                    }
                }
                Err(ServiceError::GoingAway) => return Err(ServiceError::GoingAway),
                Err(error) => {
                    let reason = match &error {
                        ServiceError::Wrong(findings) => first_error(findings),
                        other => other.to_string(),
                    };
                    tracing::error!(pipeline = name, reason, "what was applied cannot be read any more");
                    let running = Running::failed(reason);
                    state.applied.insert(name, Applied { kept, resolved: None, running });
                }
            }
        }
        Ok(PipelineService { client, plugins: Mutex::new(()), state: Mutex::new(state) })
    }

    /// What applying the document would change.
    ///
    /// # Errors
    /// [`ServiceError::Wrong`], and when the cluster cannot be reached.
    pub async fn plan(&self, document: Document) -> Result<Plan, ServiceError> {
        let pipeline = load(&self.client, &document).await?;
        self.state.lock().await.plan(&self.client, &pipeline, document).await
    }

    /// Does what the plan says, and nothing else. With a plan without changes it does nothing. Gives the revision that is now.
    ///
    /// # Errors
    /// [`ServiceError::Stale`] and [`ServiceError::Refused`], and then nothing was changed; [`ServiceError::NotRunning`].
    pub async fn apply(self: &Arc<Self>, plan: Plan) -> Result<u64, ServiceError> {
        let service = Arc::clone(self);
        // A task of its own: whoever asked may go away in the middle.
        let applying = tokio::spawn(async move { service.apply_now(plan).await });
        applying.await.map_err(|_| ServiceError::GoingAway)?
    }

    async fn apply_now(&self, plan: Plan) -> Result<u64, ServiceError> {
        let _plugins = self.plugins.lock().await;
        let pipeline = load(&self.client, &plan.document).await?;
        let mut state = self.state.lock().await;
        let now = state.plan(&self.client, &pipeline, plan.document.clone()).await?;
        let name = now.pipeline.clone();
        if now.base_revision != plan.base_revision {
            let reason = match now.base_revision {
                Some(revision) => format!("revision {revision} was applied meanwhile"),
                None => "the pipeline was deleted meanwhile".to_owned(),
            };
            return Err(ServiceError::Stale { name, reason });
        }
        if now != plan {
            let reason = "what it would change is not what it says: files or topics have changed".to_owned();
            return Err(ServiceError::Stale { name, reason });
        }
        if plan.is_refused() {
            return Err(ServiceError::Refused(name));
        }
        if plan.changes.is_empty() {
            return Ok(plan.base_revision.unwrap_or_default());
        }
        let replaced = plan.changes.iter().filter(|change| change.action == Action::Replace);
        let revision = plan.base_revision.unwrap_or_default() + 1;
        let replacing = replaced.map(|change| change.name.clone()).collect();
        let kept = Kept { revision, replacing, document: plan.document };
        state.store.keep(&name, Some(&kept)).await?;
        tracing::info!(pipeline = name, revision, "the pipeline is applied");
        let resolved = Arc::new(pipeline.resolve().clone());
        let is_restarted = plan.changes.iter().any(Change::restarts);
        match state.applied.contains_key(&name) && !is_restarted {
            true => state.update(&self.client, kept, resolved).await?,
            false => state.converge(&self.client, kept, resolved).await?,
        }
        Ok(revision)
    }

    /// Stops a pipeline and forgets it. What it wrote and how far it was stays, so that the same file applied again goes on
    /// there; with `with_topics` its states and those of its topics that no other pipeline has are deleted.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], and when the cluster refuses.
    pub async fn delete(&self, name: &str, with_topics: bool) -> Result<(), ServiceError> {
        let mut state = self.state.lock().await;
        let Some(applied) = state.applied.get(name) else {
            return Err(ServiceError::NotFound(name.to_owned()));
        };
        applied.running.stop().await;
        if let (true, Some(resolved)) = (with_topics, &applied.resolved) {
            for stage in &resolved.stages {
                cluster::delete_work_of(&self.client, stage).await?;
            }
            let others = state.others(name);
            let is_of_others =
                |topic: &str| others.iter().any(|other| other.topics.iter().any(|known| known.name == topic));
            for topic in resolved.topics.iter().filter(|topic| !is_of_others(&topic.name)) {
                cluster::delete_topic(&self.client, &topic.name).await?;
            }
        }
        state.store.keep(name, None).await?;
        state.applied.remove(name);
        tracing::info!(pipeline = name, with_topics, "the pipeline is deleted");
        Ok(())
    }

    /// All pipelines, by name.
    pub async fn list(&self) -> Vec<PipelineReport> {
        self.state.lock().await.applied.iter().map(|(name, applied)| applied.report(name)).collect()
    }

    /// One pipeline, and the document that was applied.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn describe(&self, name: &str) -> Result<(PipelineReport, Document), ServiceError> {
        let state = self.state.lock().await;
        let applied = state.applied.get(name).ok_or_else(|| ServiceError::NotFound(name.to_owned()))?;
        Ok((applied.report(name), applied.kept.document.clone()))
    }

    /// Who uses which installed plugin. While the answer is held, no pipeline changes.
    pub async fn plugin_users(&self) -> PluginUsers<'_> {
        let plugins = self.plugins.lock().await;
        let pipelines = self.state.lock().await;
        let mut by_plugin: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, applied) in &pipelines.applied {
            for plugin in installed_plugins_named(&applied.kept.document.text) {
                by_plugin.entry(plugin).or_default().push(name.clone());
            }
        }
        PluginUsers { by_plugin, _pipelines: pipelines, _plugins: plugins }
    }

    /// Stops all of them, for the end of the process; they go on when the next begins.
    pub async fn stop(&self) {
        // What is being applied runs first, or it would after this.
        let _plugins = self.plugins.lock().await;
        let state = self.state.lock().await;
        futures::future::join_all(state.applied.values().map(|applied| applied.running.stop())).await;
    }
}

impl State {
    /// All but this one.
    fn others(&self, name: &str) -> Vec<&ResolvedPipeline> {
        let others = self.applied.iter().filter(|(other, _)| *other != name);
        others.filter_map(|(_, applied)| applied.resolved.as_deref()).collect()
    }

    async fn plan(
        &self,
        client: &Client,
        pipeline: &Pipeline,
        document: Document,
    ) -> Result<Plan, ServiceError> {
        let name = &pipeline.spec.name;
        let applied = self.applied.get(name);
        let resolved = applied.and_then(|applied| applied.resolved.as_deref());
        let topics = pipeline.resolve().topics.iter().chain(resolved.into_iter().flat_map(|old| &old.topics));
        let topics = cluster::facts(client, topics.map(|topic| topic.name.as_str())).await?;
        let failure = applied.and_then(|applied| applied.running.failure());
        let others = self.others(name);
        let present =
            plan::Present { applied: resolved, topics: &topics, others, failure: failure.as_deref() };
        let mut changes = plan::changes(pipeline, &present);
        let is_edited = applied.is_some_and(|applied| applied.kept.document != document);
        // What does not show in any stage, as the tests and descriptions of a file, is kept too, and changes nothing that runs.
        if changes.is_empty() && is_edited {
            changes.push(plan::edited(name));
        }
        let base_revision = applied.map(|applied| applied.kept.revision);
        Ok(Plan { pipeline: name.clone(), base_revision, changes, document })
    }

    /// Makes what runs be what is kept.
    async fn converge(
        &mut self,
        client: &Client,
        mut kept: Kept,
        resolved: Arc<ResolvedPipeline>,
    ) -> Result<(), ServiceError> {
        let name = resolved.name.clone();
        let before = self.applied.get(&name);
        let before_resolved = before.and_then(|before| before.resolved.clone());
        if let Some(before) = before {
            before.running.stop().await;
        }
        let prepared = self.prepare(client, &mut kept, &resolved, before_resolved.as_deref()).await;
        let running = match &prepared {
            Ok(()) => Running::start(client.clone(), Arc::clone(&resolved)),
            Err(error) => Running::failed(error.to_string()),
        };
        self.applied.insert(name.clone(), Applied { kept, resolved: Some(resolved), running });
        prepared.map_err(|error| ServiceError::NotRunning { name, reason: error.to_string() })
    }

    /// Takes over what changes no stage.
    async fn update(
        &mut self,
        client: &Client,
        kept: Kept,
        resolved: Arc<ResolvedPipeline>,
    ) -> Result<(), ServiceError> {
        let name = resolved.name.clone();
        let Some(applied) = self.applied.get_mut(&name) else { return Err(ServiceError::NotFound(name)) };
        let before = applied.resolved.replace(Arc::clone(&resolved));
        applied.kept = kept;
        let not_running = |reason: String| ServiceError::NotRunning { name: name.clone(), reason };
        ensure_topics(client, &resolved.topics).await.map_err(not_running)?;
        let set = cluster::set_configs(client, &resolved, before.as_deref()).await;
        set.map_err(|error| not_running(error.to_string()))
    }

    async fn prepare(
        &self,
        client: &Client,
        kept: &mut Kept,
        resolved: &ResolvedPipeline,
        before: Option<&ResolvedPipeline>,
    ) -> Result<(), ServiceError> {
        let replaced = resolved.stages.iter().filter(|stage| {
            kept.replacing.contains(&stage.name)
                && matches!(stage.work, Work::Query { .. } | Work::Plugin { .. })
        });
        for stage in replaced {
            cluster::delete_work_of(client, stage).await?;
        }
        if !kept.replacing.is_empty() {
            kept.replacing.clear();
            self.store.keep(&resolved.name, Some(kept)).await?;
        }
        Ok(cluster::set_configs(client, resolved, before).await?)
    }
}

impl Applied {
    fn report(&self, name: &str) -> PipelineReport {
        let (state, stages) = self.running.report();
        let functions = self.resolved.iter().flat_map(|resolved| resolved.functions().into_values());
        PipelineReport {
            name: name.to_owned(),
            revision: self.kept.revision,
            file: self.kept.document.file.clone(),
            state,
            stages,
            functions: functions.cloned().collect(),
        }
    }
}

/// Reads files and installed plugins, and may compile them, away from the threads that serve.
async fn load(client: &Client, document: &Document) -> Result<Pipeline, ServiceError> {
    let named = installed_plugins_named(&document.text);
    let mut installed = InstalledPlugins::default();
    if !named.is_empty() {
        let (all, components) = installed_plugins(client, &named).await?;
        installed = InstalledPlugins { names: all.into_keys().collect(), components };
    }
    let document = document.clone();
    let loaded = tokio::task::spawn_blocking(move || document.load(&installed)).await;
    loaded.map_err(|_| ServiceError::GoingAway)?.map_err(ServiceError::Wrong)
}

fn first_error(findings: &[Diagnostic]) -> String {
    let error = findings.iter().find(|finding| finding.severity == crate::Severity::Error);
    error.map_or_else(|| "it has errors".to_owned(), |finding| finding.message.clone())
}
