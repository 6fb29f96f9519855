//! All connectors of a worker. Each has one change after the other; a change that takes long goes on although whoever
//! asked for it has stopped waiting.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use ottla_client::{Client, ClientError};
use thiserror::Error;
use tokio::sync::watch;

use super::connector::{Connector, ConnectorStatus};
use super::definition::{Definition, Properties, hidden, revealed};
use super::plugin_uses::PluginUses;
use super::records::{ConfigRecord, TargetState};
use super::status;
use super::store::Store;
use crate::plugins::InstalledPlugins;
use crate::worker::cluster::{Cluster, KafkaCluster};

/// As long as Kafka Connect's REST API waits.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the end of the process waits for tasks.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How soon a state that has changed is in `connect-status`.
const STATUS_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });
/// How long the end of the process waits for that.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts to read what shall run.
const LOAD_PAUSE: Duration = Duration::from_secs(1);
/// Longer names fit in no file or header.
const NAME_BYTES_MAX: usize = 200;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HerderError {
    /// There is no such connector or task.
    #[error("{0}")]
    NotFound(String),
    /// The connector is not in a state for it.
    #[error("{0}")]
    Conflict(String),
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// The worker is not ready, or the change takes long and goes on.
    #[error("{0}")]
    Unavailable(String),
    /// The cluster refused.
    #[error("{0}")]
    Failed(String),
}

impl From<ClientError> for HerderError {
    fn from(error: ClientError) -> HerderError {
        HerderError::Failed(error.to_string())
    }
}

/// A worker's connectors; cheap to clone.
#[derive(Clone)]
pub struct Herder {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) plugins: Arc<dyn InstalledPlugins>,
    pub(super) plugin_uses: PluginUses,
    worker_id: String,
    connectors: Mutex<BTreeMap<String, Arc<Connector>>>,
    is_loaded: watch::Sender<bool>,
    is_leaving: watch::Sender<bool>,
    /// What `connect-status` holds; held by whoever changes it.
    status: tokio::sync::Mutex<status::Records>,
}

impl Herder {
    /// Starts every connector that the cluster's `connect-configs` says shall run. `worker_id` is where its REST API is,
    /// `plugins` what its transforms may call.
    #[must_use]
    pub fn start(client: Client, worker_id: String, plugins: Arc<dyn InstalledPlugins>) -> Herder {
        Herder::start_on(Arc::new(KafkaCluster::new(client)), worker_id, plugins)
    }

    pub(crate) fn start_on(
        cluster: Arc<dyn Cluster>,
        worker_id: String,
        plugins: Arc<dyn InstalledPlugins>,
    ) -> Herder {
        let inner = Inner {
            store: Store::new(cluster),
            plugins,
            plugin_uses: PluginUses::default(),
            worker_id,
            connectors: Mutex::default(),
            is_loaded: watch::Sender::new(false),
            is_leaving: watch::Sender::new(false),
            status: tokio::sync::Mutex::default(),
        };
        let herder = Herder { inner: Arc::new(inner) };
        tokio::spawn(herder.clone().load());
        herder
    }

    async fn load(self) {
        let known = loop {
            match self.inner.store.load().await {
                Ok(known) => break known,
                Err(error) => tracing::warn!(%error, "what connectors there are cannot be read yet"),
            }
            tokio::time::sleep(LOAD_PAUSE).await;
        };
        for (name, (properties, target)) in known {
            if properties.is_none() {
                continue;
            }
            let connector = self.connector(&name);
            connector.become_(properties, target);
            self.start_tasks(&connector);
            tracing::info!(connector = name, ?target, "connector is back");
        }
        self.inner.is_loaded.send_replace(true);
        self.keep_status().await;
    }

    /// Keeps `connect-status` in line with what is, until the worker leaves.
    async fn keep_status(self) {
        let mut is_leaving = self.inner.is_leaving.subscribe();
        let mut is_known = false;
        while !*is_leaving.borrow() {
            let kept = match is_known {
                true => self.write_status().await,
                false => self.read_status().await,
            };
            match kept {
                Ok(()) => is_known = true,
                Err(error) => {
                    tracing::warn!(%error, "the state of connectors cannot be kept in {}", status::TOPIC)
                }
            }
            tokio::select! {
                () = tokio::time::sleep(STATUS_PAUSE) => {}
                _ = is_leaving.wait_for(|leaving| *leaving) => {}
            }
        }
    }

    async fn read_status(&self) -> Result<(), ClientError> {
        *self.inner.status.lock().await = self.inner.store.load_status().await?;
        Ok(())
    }

    async fn write_status(&self) -> Result<(), ClientError> {
        let mut known = self.inner.status.lock().await;
        let statuses: Vec<ConnectorStatus> =
            self.names().iter().filter_map(|name| self.status(name).ok()).collect();
        let wanted = status::records(&statuses, *self.inner.is_leaving.borrow());
        let changes = status::changes(&known, &wanted);
        if !changes.is_empty() {
            self.inner.store.append_status(changes).await?;
            *known = wanted;
        }
        Ok(())
    }

    /// Waits until it is known which connectors there are.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn loaded(&self) -> Result<(), HerderError> {
        let mut is_loaded = self.inner.is_loaded.subscribe();
        let waiting = tokio::time::timeout(PATIENCE, is_loaded.wait_for(|loaded| *loaded));
        match waiting.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(HerderError::Unavailable("the worker is still reading its configs".to_owned())),
        }
    }

    /// Whether it is known which connectors there are.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        *self.inner.is_loaded.borrow()
    }

    /// Stops every task, for the end of the process; what they shall do stays as it is. A task that hangs is left: what it
    /// has not committed comes again after the next start, as after a crash.
    pub async fn stop(&self) {
        let all: Vec<Arc<Connector>> = self.connectors().values().cloned().collect();
        let stopping = join_all(all.iter().map(async |connector| {
            let _turn = connector.change.lock().await;
            connector.stop().await;
        }));
        if tokio::time::timeout(STOP_PATIENCE, stopping).await.is_err() {
            tracing::warn!("a connector does not stop and is left");
        }
        self.inner.is_leaving.send_replace(true);
        if self.is_loaded() && tokio::time::timeout(STATUS_PATIENCE, self.write_status()).await.is_err() {
            tracing::warn!("that the connectors are left cannot be written to {}", status::TOPIC);
        }
    }

    fn start_tasks(&self, connector: &Connector) {
        connector.start(self.inner.store.cluster(), &self.inner.plugins);
    }

    fn connectors(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Connector>>> {
        self.inner.connectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connector(&self, name: &str) -> Arc<Connector> {
        let mut connectors = self.connectors();
        connectors.entry(name.to_owned()).or_insert_with(|| Arc::new(Connector::new(name))).clone()
    }

    pub(super) fn existing(&self, name: &str) -> Result<Arc<Connector>, HerderError> {
        let found = self.connectors().get(name).cloned();
        let exists = found.filter(|connector| connector.properties().is_some());
        exists.ok_or_else(|| HerderError::NotFound(format!("Connector {name} not found")))
    }

    /// The names of all connectors, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let connectors = self.connectors();
        let existing = connectors.iter().filter(|(_, connector)| connector.properties().is_some());
        existing.map(|(name, _)| name.clone()).collect()
    }

    /// A connector's properties without what is secret, `source` or `sink`, and how many tasks it has.
    ///
    /// # Errors
    /// [`HerderError::NotFound`].
    pub fn info(&self, name: &str) -> Result<(Properties, &'static str, usize), HerderError> {
        let connector = self.existing(name)?;
        let properties = hidden(&connector.properties().unwrap_or_default());
        Ok((properties, connector.kind(), connector.task_count()))
    }

    /// A connector's state.
    ///
    /// # Errors
    /// [`HerderError::NotFound`].
    pub fn status(&self, name: &str) -> Result<ConnectorStatus, HerderError> {
        Ok(self.existing(name)?.status(&self.inner.worker_id))
    }

    /// The topics that a connector reads or writes.
    ///
    /// # Errors
    /// [`HerderError::NotFound`].
    pub fn topics(&self, name: &str) -> Result<Vec<String>, HerderError> {
        let definition = self.existing(name)?.definition();
        Ok(definition.map(|definition| definition.topics.clone()).unwrap_or_default())
    }

    /// Makes a connector, or with `may_exist` gives it other properties, of which those that are hidden stay as they are. True
    /// when it was made.
    ///
    /// # Errors
    /// [`HerderError::BadRequest`] with everything that is wrong, [`HerderError::Conflict`] when it must not exist.
    pub async fn put(
        &self,
        name: &str,
        mut properties: Properties,
        state: Option<TargetState>,
        may_exist: bool,
    ) -> Result<bool, HerderError> {
        if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['/', '\0']) {
            let why = format!("a connector's name has 1 to {NAME_BYTES_MAX} bytes and no slash");
            return Err(HerderError::BadRequest(why));
        }
        properties.insert("name".to_owned(), name.to_owned());
        let known = self.connectors().get(name).and_then(|connector| connector.properties());
        let properties = revealed(properties, &known.unwrap_or_default());
        let (coming_use, wrong_plugins) = self.use_plugins(name, &properties).await?;
        let mut errors = Definition::read(&properties).err().unwrap_or_default();
        errors.extend(wrong_plugins);
        if !errors.is_empty() {
            let listed: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let count = errors.len();
            let why = format!(
                "Connector configuration is invalid and contains the following {count} error(s):\n{}\nYou can also find the above list of errors at the endpoint `/connector-plugins/{{connectorType}}/config/validate`",
                listed.join("\n")
            );
            return Err(HerderError::BadRequest(why));
        }
        self.loaded().await?;
        let (herder, connector, name) = (self.clone(), self.connector(name), name.to_owned());
        self.change(connector.clone(), async move {
            let _used_from_here = coming_use;
            let exists = connector.properties().is_some();
            if exists && !may_exist {
                return Err(HerderError::Conflict(format!("Connector {name} already exists")));
            }
            let store = &herder.inner.store;
            if let Some(state) = state.filter(|_| !exists) {
                store.append(&ConfigRecord::TargetState { name: name.clone(), state: Some(state) }).await?;
            }
            let stored = Some(properties.clone());
            store.append(&ConfigRecord::Connector { name: name.clone(), properties: stored }).await?;
            connector.stop().await;
            let target = if exists { connector.target() } else { state.unwrap_or_default() };
            connector.become_(Some(properties), target);
            herder.start_tasks(&connector);
            tracing::info!(connector = name, exists, "connector has its properties");
            Ok(!exists)
        })
        .await
    }

    /// Removes a connector. The offsets of a source stay, as in Kafka Connect: made again, it goes on.
    ///
    /// # Errors
    /// [`HerderError::NotFound`].
    pub async fn delete(&self, name: &str) -> Result<(), HerderError> {
        self.loaded().await?;
        let (herder, connector, name) = (self.clone(), self.existing(name)?, name.to_owned());
        self.change(connector.clone(), async move {
            herder.existing(&name)?;
            let store = &herder.inner.store;
            store.append(&ConfigRecord::Connector { name: name.clone(), properties: None }).await?;
            store.append(&ConfigRecord::TargetState { name: name.clone(), state: None }).await?;
            connector.stop().await;
            connector.become_(None, TargetState::default());
            tracing::info!(connector = name, "connector is deleted");
            Ok(())
        })
        .await
    }

    /// Says what a connector shall do from now on.
    ///
    /// # Errors
    /// [`HerderError::NotFound`].
    pub async fn set_target(&self, name: &str, target: TargetState) -> Result<(), HerderError> {
        self.loaded().await?;
        let (herder, connector, name) = (self.clone(), self.existing(name)?, name.to_owned());
        self.change(connector.clone(), async move {
            herder.existing(&name)?;
            if connector.target() == target {
                return Ok(());
            }
            let record = ConfigRecord::TargetState { name: name.clone(), state: Some(target) };
            herder.inner.store.append(&record).await?;
            connector.stop().await;
            connector.become_(connector.properties(), target);
            herder.start_tasks(&connector);
            tracing::info!(connector = name, ?target, "connector shall do otherwise");
            Ok(())
        })
        .await
    }

    /// Starts a connector anew; with `tasks` also its tasks, of these with `only_failed` those that have failed.
    ///
    /// # Errors
    /// [`HerderError::NotFound`].
    pub async fn restart(&self, name: &str, tasks: bool, only_failed: bool) -> Result<(), HerderError> {
        self.loaded().await?;
        let (herder, connector, name) = (self.clone(), self.existing(name)?, name.to_owned());
        self.change(connector.clone(), async move {
            herder.existing(&name)?;
            let cluster = herder.inner.store.cluster();
            let numbers = match only_failed {
                true => connector.failed_tasks(),
                false => (0..connector.task_count()).collect(),
            };
            if tasks {
                for number in numbers {
                    connector.restart_task(cluster, &herder.inner.plugins, number).await;
                }
            }
            // What could not be started has no tasks yet.
            if connector.status("").connector.state == "FAILED" {
                connector.become_(connector.properties(), connector.target());
                herder.start_tasks(&connector);
            }
            Ok(())
        })
        .await
    }

    /// Starts one task anew.
    ///
    /// # Errors
    /// [`HerderError::NotFound`].
    pub async fn restart_task(&self, name: &str, number: usize) -> Result<(), HerderError> {
        self.loaded().await?;
        let (herder, connector) = (self.clone(), self.existing(name)?);
        if number >= connector.task_count() {
            return Err(HerderError::NotFound(format!("Unknown task: {name}-{number}")));
        }
        self.change(connector.clone(), async move {
            let inner = &herder.inner;
            connector.restart_task(inner.store.cluster(), &inner.plugins, number).await;
            Ok(())
        })
        .await
    }

    /// Makes a change when it is its turn.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        connector: Arc<Connector>,
        work: impl Future<Output = Result<T, HerderError>> + Send + 'static,
    ) -> Result<T, HerderError> {
        let turn = connector.change.clone();
        let changing = tokio::spawn(async move {
            let _turn = turn.lock_owned().await;
            work.await
        });
        match tokio::time::timeout(PATIENCE, changing).await {
            Ok(Ok(result)) => result,
            Ok(Err(lost)) => Err(HerderError::Failed(lost.to_string())),
            Err(_) => Err(HerderError::Unavailable(
                "Request timed out; the change goes on when the connector's tasks have stopped".to_owned(),
            )),
        }
    }
}
