//! A running stage of any kind behind one face: state, counters, finish and stop.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ottla_connect::{TaskHandle, TaskState, TaskStatus};
use ottla_streams::runtime::{QueryHandle, QueryPhase};
use ottla_streams::state::changelog::Totals;

use crate::transform_stage::{StageHandle, StageState as PluginState};

use super::summary::rate;

/// Where a stage is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageState {
    /// Finding its place.
    Starting,
    Running,
    /// Waiting to start again after an error that may pass.
    Retrying,
    /// Told to take what is there and end.
    Finishing,
    Done,
    Stopped,
    Failed,
}

impl StageState {
    fn is_ended(self) -> bool {
        matches!(self, StageState::Done | StageState::Stopped | StageState::Failed)
    }
}

/// A stage at one moment.
#[derive(Clone, Debug)]
pub struct StageProgress {
    pub name: String,
    /// `source`, `query`, `plugin` or `sink`.
    pub kind: &'static str,
    pub state: StageState,
    pub records_in: u64,
    pub records_out: u64,
    pub records_bad: u64,
    pub records_late: u64,
    /// How far it is and where its end is, in units of its own (bytes of a file, records of a topic), if that
    /// is known.
    pub position: Option<(u64, u64)>,
    /// Since the run's start, until now or until the stage's end.
    pub elapsed: Duration,
    /// Records taken per second of that time.
    pub records_per_second: f64,
    /// The last error, also one that was overcome.
    pub last_error: Option<String>,
}

/// One stage of a run.
pub(super) struct RunningStage {
    name: String,
    kind: &'static str,
    worker: Worker,
    was_told_to_finish: bool,
    ended_at: Option<Instant>,
}

pub(super) enum Worker {
    /// Sources and sinks; a sink has a task for each topic it reads.
    Connect(Vec<TaskHandle>),
    Query(RunningQuery),
    Plugin(StageHandle),
}

/// A query, its end, and what it had done before this run.
pub(super) struct RunningQuery {
    handle: Arc<QueryHandle>,
    before: Arc<OnceLock<Totals>>,
    end: Arc<OnceLock<Result<(), String>>>,
    /// Bad rows end the run.
    stops_on_bad_rows: bool,
}

impl RunningQuery {
    pub(super) fn new(handle: QueryHandle, stops_on_bad_rows: bool) -> RunningQuery {
        let handle = Arc::new(handle);
        let (before, end) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
        let (seen, mut status) = (before.clone(), handle.watch());
        tokio::spawn(async move {
            // Once it has recovered, its totals are those of earlier runs.
            if let Ok(status) = status.wait_for(|status| status.phase != QueryPhase::Recovering).await {
                let _ = seen.set(status.totals);
            }
        });
        let (ended, waiting) = (end.clone(), handle.clone());
        tokio::spawn(async move {
            // A task of its own, so that a panic in an operator is an end like any other.
            let outcome = match tokio::spawn(async move { waiting.wait().await }).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(lost) => Err(format!("its task was lost: {lost}")),
            };
            let _ = ended.set(outcome);
        });
        RunningQuery { handle, before, end, stops_on_bad_rows }
    }

    fn state(&self) -> StageState {
        let status = self.handle.status();
        match self.end.get() {
            Some(Err(_)) => StageState::Failed,
            Some(Ok(())) if status.phase == QueryPhase::Finished => StageState::Done,
            Some(Ok(())) => StageState::Stopped,
            None if self.stops_on_bad_rows && status.totals.rows_bad > 0 => StageState::Failed,
            None if status.phase == QueryPhase::Recovering => StageState::Starting,
            None => StageState::Running,
        }
    }

    fn failure(&self) -> Option<String> {
        match self.end.get() {
            Some(Err(reason)) => Some(reason.clone()),
            Some(Ok(())) | None if self.stops_on_bad_rows => {
                let bad = self.handle.status().totals.rows_bad;
                (bad > 0).then(|| {
                    format!(
                        "it met {bad} rows that it cannot handle, and its policy is to stop (on_error: stop)"
                    )
                })
            }
            Some(Ok(())) | None => None,
        }
    }
}

impl RunningStage {
    pub(super) fn new(name: &str, kind: &'static str, worker: Worker) -> RunningStage {
        RunningStage { name: name.to_owned(), kind, worker, was_told_to_finish: false, ended_at: None }
    }

    pub(super) fn state(&self) -> StageState {
        let state = match &self.worker {
            Worker::Connect(tasks) => tasks
                .iter()
                .map(|task| connect_state(task.status().state))
                .reduce(least)
                .unwrap_or(StageState::Done),
            Worker::Query(query) => query.state(),
            Worker::Plugin(stage) => plugin_state(&stage.status().state),
        };
        match state {
            StageState::Starting | StageState::Running if self.was_told_to_finish => StageState::Finishing,
            other => other,
        }
    }

    /// True once: when the stage is first seen to have ended.
    pub(super) fn note_end(&mut self) -> bool {
        let is_news = self.ended_at.is_none() && self.state().is_ended();
        if is_news {
            self.ended_at = Some(Instant::now());
        }
        is_news
    }

    /// Tells it to take what is in its input now and end. Telling it again changes nothing.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.was_told_to_finish, true) {
            return;
        }
        match &self.worker {
            // A source ends by itself when it is drained.
            Worker::Connect(_) if self.kind == "source" => {}
            Worker::Connect(tasks) => tasks.iter().for_each(TaskHandle::finish),
            Worker::Query(query) => {
                let handle = query.handle.clone();
                // It waits for the end, which the watcher tells.
                tokio::spawn(async move { handle.finish().await.map(drop) });
            }
            Worker::Plugin(stage) => stage.finish(),
        }
    }

    /// Tells it to commit what it has, and waits until it has ended. What it ends with shows in its state.
    pub(super) async fn stop(&self) {
        match &self.worker {
            Worker::Connect(tasks) => {
                futures::future::join_all(tasks.iter().map(TaskHandle::stop)).await;
            }
            Worker::Query(query) => {
                if query.end.get().is_none() {
                    let _ = query.handle.stop().await;
                }
            }
            Worker::Plugin(stage) => {
                stage.stop().await;
            }
        }
    }

    /// Why it failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        match &self.worker {
            Worker::Connect(tasks) => {
                let statuses = tasks.iter().map(TaskHandle::status);
                statuses
                    .filter(|status| status.state == TaskState::Failed)
                    .find_map(|status| status.last_error)
            }
            Worker::Query(query) => query.failure(),
            Worker::Plugin(stage) => match stage.status().state {
                PluginState::Failed(error) => Some(error.to_string()),
                PluginState::Starting
                | PluginState::Running
                | PluginState::Retrying
                | PluginState::Done
                | PluginState::Stopped => None,
            },
        }
    }

    pub(super) fn progress(&self, started_at: Instant) -> StageProgress {
        let elapsed = self.ended_at.unwrap_or_else(Instant::now).saturating_duration_since(started_at);
        let mut progress = StageProgress {
            name: self.name.clone(),
            kind: self.kind,
            state: self.state(),
            records_in: 0,
            records_out: 0,
            records_bad: 0,
            records_late: 0,
            position: None,
            elapsed,
            records_per_second: 0.0,
            last_error: self.failure(),
        };
        match &self.worker {
            Worker::Connect(tasks) => tasks.iter().for_each(|task| add_task(&mut progress, &task.status())),
            Worker::Query(query) => add_query(&mut progress, query),
            Worker::Plugin(stage) => {
                let status = stage.status();
                progress.records_in = status.records_in;
                progress.records_out = status.records_out;
                progress.records_bad = status.records_bad;
            }
        }
        progress.records_per_second = rate(progress.records_in, elapsed);
        progress
    }
}

fn add_task(progress: &mut StageProgress, status: &TaskStatus) {
    progress.records_in += status.records_in;
    progress.records_out += status.records_out;
    progress.records_bad += status.records_bad;
    if let Some(end) = status.position_end {
        let (position, so_far) = progress.position.unwrap_or((0, 0));
        progress.position = Some((position + status.position, so_far + end));
    }
    if progress.last_error.is_none() {
        progress.last_error.clone_from(&status.last_error);
    }
}

fn add_query(progress: &mut StageProgress, query: &RunningQuery) {
    let status = query.handle.status();
    let before = query.before.get().copied().unwrap_or_default();
    let totals = status.totals;
    progress.records_in = totals.rows_in.saturating_sub(before.rows_in);
    progress.records_out = totals.rows_out.saturating_sub(before.rows_out);
    progress.records_bad = totals.rows_bad.saturating_sub(before.rows_bad);
    progress.records_late = totals.rows_late.saturating_sub(before.rows_late);
    let sum = |offsets: &ottla_streams::state::changelog::InputOffsets| {
        offsets.values().map(|offset| offset.max(&0).unsigned_abs()).sum::<u64>()
    };
    progress.position = Some((sum(&status.positions), sum(&status.input_ends)));
}

fn connect_state(state: TaskState) -> StageState {
    match state {
        TaskState::Starting => StageState::Starting,
        TaskState::Running => StageState::Running,
        TaskState::Retrying => StageState::Retrying,
        TaskState::Done => StageState::Done,
        TaskState::Stopped => StageState::Stopped,
        TaskState::Failed => StageState::Failed,
    }
}

fn plugin_state(state: &PluginState) -> StageState {
    match state {
        PluginState::Starting => StageState::Starting,
        PluginState::Running => StageState::Running,
        PluginState::Retrying => StageState::Retrying,
        PluginState::Done => StageState::Done,
        PluginState::Stopped => StageState::Stopped,
        PluginState::Failed(_) => StageState::Failed,
    }
}

/// Of two tasks of one stage, the state that the stage is in.
fn least(first: StageState, second: StageState) -> StageState {
    let rank = |state: StageState| match state {
        StageState::Failed => 0,
        StageState::Stopped => 1,
        StageState::Retrying => 2,
        StageState::Starting => 3,
        StageState::Finishing => 4,
        StageState::Running => 5,
        StageState::Done => 6,
    };
    if rank(first) <= rank(second) { first } else { second }
}
