//! One connector: its tasks, kept in line with what it shall do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::definition::{Definition, Properties};
use super::records::TargetState;
use crate::error::ConnectError;
use crate::plugins::InstalledPlugins;
use crate::registry::ConnectorKind;
use crate::worker::cluster::Cluster;
use crate::worker::{
    SinkTask, SinkTaskConfig, SourceTask, SourceTaskConfig, TaskHandle, TaskState, group_of,
};

/// A connector's state, as Kafka Connect's REST API tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectorStatus {
    /// Its name.
    pub name: String,
    /// Of itself.
    pub connector: TaskReport,
    /// Of each of its tasks, by their numbers.
    pub tasks: Vec<TaskReport>,
    /// `source` or `sink`; `unknown` when its properties make no connector.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// The state of a connector or a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskReport {
    /// The task's number; the connector itself has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<usize>,
    /// `RUNNING`, `RESTARTING` (after an error that may pass), `PAUSED`, `STOPPED` or `FAILED`.
    pub state: &'static str,
    /// Where it runs.
    pub worker_id: String,
    /// Why it failed or starts again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// A connector that exists, did, or is about to.
pub(super) struct Connector {
    name: String,
    /// Held by whoever changes it: one change after the other.
    pub change: Arc<tokio::sync::Mutex<()>>,
    view: Mutex<View>,
}

#[derive(Default)]
struct View {
    /// None when it does not exist.
    properties: Option<Properties>,
    target: TargetState,
    /// Of the properties, or what is wrong with them.
    definition: Option<Result<Arc<Definition>, String>>,
    /// None of them runs unless it is started.
    tasks: Vec<TaskHandle>,
}

impl Connector {
    pub fn new(name: &str) -> Connector {
        Connector { name: name.to_owned(), change: Arc::default(), view: Mutex::default() }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn properties(&self) -> Option<Properties> {
        self.view().properties.clone()
    }

    pub fn target(&self) -> TargetState {
        self.view().target
    }

    /// What its properties mean, if they mean anything.
    pub fn definition(&self) -> Option<Arc<Definition>> {
        self.view().definition.as_ref().and_then(|definition| definition.as_ref().ok().cloned())
    }

    /// The numbers of its tasks are those below this.
    pub fn task_count(&self) -> usize {
        let view = self.view();
        match (&view.definition, view.target) {
            (Some(Ok(definition)), TargetState::Started | TargetState::Paused) => definition.topics.len(),
            _ => 0,
        }
    }

    pub fn kind(&self) -> &'static str {
        self.definition().map_or("unknown", |definition| definition.class.kind().word())
    }

    /// Stops the tasks that run; when this returns, what they took is written and committed, or they have failed.
    pub async fn stop(&self) {
        let tasks = self.view().tasks.clone();
        for task in &tasks {
            // An error is told by the task's state.
            let _ = task.stop().await;
        }
        self.view().tasks.clear();
    }

    /// Takes over what it is from now on; its tasks must not run.
    pub fn become_(&self, properties: Option<Properties>, target: TargetState) {
        let definition = properties.as_ref().map(|properties| {
            let read = Definition::read(properties).map(Arc::new);
            read.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        });
        let mut view = self.view();
        (view.properties, view.target, view.definition) = (properties, target, definition);
    }

    /// Starts the tasks when they shall run. They must not run.
    pub fn start(&self, cluster: &Arc<dyn Cluster>, plugins: &Arc<dyn InstalledPlugins>) {
        let Some(definition) = self.definition().filter(|_| self.target() == TargetState::Started) else {
            return;
        };
        let tasks: Result<Vec<TaskHandle>, ConnectError> = (0..definition.topics.len())
            .map(|number| start_task(cluster, plugins, &self.name, &definition, number))
            .collect();
        let mut view = self.view();
        match tasks {
            Ok(tasks) => view.tasks = tasks,
            Err(error) => view.definition = Some(Err(error.to_string())),
        }
    }

    /// Starts a task anew; one that runs is stopped before.
    pub async fn restart_task(
        &self,
        cluster: &Arc<dyn Cluster>,
        plugins: &Arc<dyn InstalledPlugins>,
        number: usize,
    ) {
        let old = self.view().tasks.get(number).cloned();
        let (Some(old), Some(definition)) = (old, self.definition()) else { return };
        let _ = old.stop().await;
        match start_task(cluster, plugins, &self.name, &definition, number) {
            Ok(new) => {
                if let Some(place) = self.view().tasks.get_mut(number) {
                    *place = new;
                }
            }
            Err(error) => tracing::error!(connector = self.name, number, %error, "a task cannot be started"),
        }
    }

    /// The numbers of the tasks that have failed.
    pub fn failed_tasks(&self) -> Vec<usize> {
        let view = self.view();
        let failed = |(_, task): &(usize, &TaskHandle)| task.status().state == TaskState::Failed;
        view.tasks.iter().enumerate().filter(failed).map(|(number, _)| number).collect()
    }

    pub fn status(&self, worker_id: &str) -> ConnectorStatus {
        let (tasks, kind) = (self.task_count(), self.kind());
        let view = self.view();
        let report = |id, state, trace| TaskReport { id, state, worker_id: worker_id.to_owned(), trace };
        let (state, trace) = match (&view.definition, view.target) {
            (Some(Err(reason)), _) => ("FAILED", Some(reason.clone())),
            (_, TargetState::Started) => ("RUNNING", None),
            (_, TargetState::Paused) => ("PAUSED", None),
            (_, TargetState::Stopped) => ("STOPPED", None),
        };
        let of_task = |number: usize| {
            let status = view.tasks.get(number).map(TaskHandle::status);
            match status.map(|status| (status.state, status.last_error)) {
                Some((TaskState::Failed, error)) => report(Some(number), "FAILED", error),
                // It starts again by itself, until then and what for is in the trace.
                Some((TaskState::Retrying, error)) => report(Some(number), "RESTARTING", error),
                _ => report(Some(number), state, None),
            }
        };
        ConnectorStatus {
            name: self.name.clone(),
            tasks: (0..tasks).map(of_task).collect(),
            connector: report(None, state, trace),
            kind,
        }
    }
}

/// Starts the task of a source, or that of one of a sink's topics. The first of a sink has the connector's own name, so that
/// a topic added later leaves its offsets alone.
fn start_task(
    cluster: &Arc<dyn Cluster>,
    plugins: &Arc<dyn InstalledPlugins>,
    name: &str,
    definition: &Definition,
    number: usize,
) -> Result<TaskHandle, ConnectError> {
    let topic = definition.topics.get(number).map(String::as_str).unwrap_or_default();
    let transforms = definition.transforms.get(number).cloned().unwrap_or_default();
    let (class, config) = (definition.class, definition.config.clone());
    match class.kind() {
        ConnectorKind::Source => {
            let config = SourceTaskConfig {
                key: definition.key.clone(),
                format: definition.format.clone(),
                schema: definition.schema.clone(),
                transforms,
                plugins: Arc::clone(plugins),
                on_error: definition.on_error.clone(),
                retry: definition.retry,
                transaction_boundary: definition.transaction_boundary,
                ..SourceTaskConfig::new(name, class.name, config, topic)
            };
            SourceTask::start_on(cluster.clone(), config)
        }
        ConnectorKind::Sink => {
            let group = group_of(name);
            let name = if number == 0 { name.to_owned() } else { format!("{name}.{topic}") };
            let config = SinkTaskConfig {
                format: definition.format.clone(),
                schema: definition.schema.clone(),
                transforms,
                plugins: Arc::clone(plugins),
                on_error: definition.on_error.clone(),
                group,
                retry: definition.retry,
                ..SinkTaskConfig::new(&name, class.name, config, topic)
            };
            SinkTask::start_on(cluster.clone(), config)
        }
    }
}
