//! A pipeline that runs, and how it is.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use ottla_client::Client;
use tokio::sync::watch;

use crate::check::values::Secrets;
use crate::resolve::ResolvedPipeline;
use crate::run::{Event, Outcome, OutsideTopics, StageProgress, StageState, run};

/// How a pipeline is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipelineState {
    Running,
    /// Its sources have ends, and all that was in them went all the way. Started again, it looks whether there is more.
    Drained,
    /// It was told to stop.
    Stopped,
    Failed(String),
}

impl PipelineState {
    /// `running`, `drained`, `stopped` or `failed`.
    pub fn word(&self) -> &'static str {
        match self {
            PipelineState::Running => "running",
            PipelineState::Drained => "drained",
            PipelineState::Stopped => "stopped",
            PipelineState::Failed(_) => "failed",
        }
    }
}

/// How a stage is.
#[derive(Clone, Debug)]
pub struct StageReport {
    pub name: String,
    /// `source`, `query`, `plugin` or `sink`.
    pub kind: &'static str,
    pub state: &'static str,
    /// Since it was started.
    pub records_in: u64,
    pub records_out: u64,
    pub records_bad: u64,
    pub records_late: u64,
    pub last_error: Option<String>,
}

pub(super) struct Running {
    shared: Arc<Mutex<Shared>>,
    is_stopping: watch::Sender<bool>,
    has_ended: watch::Receiver<bool>,
}

struct Shared {
    state: PipelineState,
    stages: Vec<StageReport>,
}

impl Running {
    /// Runs the pipeline in a task of its own.
    pub(super) fn start(client: Client, pipeline: Arc<ResolvedPipeline>) -> Running {
        let shared = Arc::new(Mutex::new(Shared { state: PipelineState::Running, stages: Vec::new() }));
        let (is_stopping, mut told) = watch::channel(false);
        let (ended, has_ended) = watch::channel(false);
        let seen = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut observer = |event: &Event| {
                if let Event::Progress { stages, .. } = event {
                    let stages = stages.iter().map(|stage| report(stage, &pipeline.secrets)).collect();
                    seen.lock().unwrap_or_else(PoisonError::into_inner).stages = stages;
                }
            };
            let stop = async {
                // The sender goes with the handle; then nobody wants the pipeline any more.
                let _ = told.wait_for(|told| *told).await;
            };
            let running = run(&client, &pipeline, OutsideTopics::GoOn, &mut observer, stop);
            let state = match AssertUnwindSafe(running).catch_unwind().await.map(|summary| summary.outcome) {
                Ok(Outcome::Drained) => PipelineState::Drained,
                Ok(Outcome::Stopped) => PipelineState::Stopped,
                Ok(failed @ Outcome::Failed { .. }) => PipelineState::Failed(failed.to_string()),
                Err(_) => PipelineState::Failed("it panicked, which the log tells more of".to_owned()),
            };
            tracing::info!(pipeline = pipeline.name, state = state.word(), "the pipeline has ended");
            seen.lock().unwrap_or_else(PoisonError::into_inner).state = state;
            let _ = ended.send(true);
        });
        Running { shared, is_stopping, has_ended }
    }

    /// One that does not run.
    pub(super) fn failed(reason: String) -> Running {
        let state = PipelineState::Failed(reason);
        let shared = Arc::new(Mutex::new(Shared { state, stages: Vec::new() }));
        Running { shared, is_stopping: watch::Sender::new(true), has_ended: watch::channel(true).1 }
    }

    /// Stops it after what is in hand, and waits until it has ended.
    pub(super) async fn stop(&self) {
        self.is_stopping.send_replace(true);
        // An error says that the task is gone, which is an end too.
        let _ = self.has_ended.clone().wait_for(|ended| *ended).await;
    }

    pub(super) fn failure(&self) -> Option<String> {
        match self.report().0 {
            PipelineState::Failed(reason) => Some(reason),
            PipelineState::Running | PipelineState::Drained | PipelineState::Stopped => None,
        }
    }

    pub(super) fn report(&self) -> (PipelineState, Vec<StageReport>) {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        (shared.state.clone(), shared.stages.clone())
    }
}

fn report(stage: &StageProgress, secrets: &Secrets) -> StageReport {
    let state = match stage.state {
        StageState::Starting => "starting",
        StageState::Running => "running",
        StageState::Retrying => "retrying",
        StageState::Finishing => "finishing",
        StageState::Done => "done",
        StageState::Stopped => "stopped",
        StageState::Failed => "failed",
    };
    StageReport {
        name: stage.name.clone(),
        kind: stage.kind,
        state,
        records_in: stage.records_in,
        records_out: stage.records_out,
        records_bad: stage.records_bad,
        records_late: stage.records_late,
        last_error: stage.last_error.as_ref().map(|error| secrets.redact(error)),
    }
}
