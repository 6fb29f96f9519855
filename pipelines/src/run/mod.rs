//! Running a resolved pipeline against a cluster: topics, stages, progress, and the end.
//!
//! A bounded source ends by itself. Every other stage is told to finish when all stages it reads from are
//! done: it then takes what is in its input, and ends when its position is the input's end. When the last
//! stage is done the pipeline is drained. The first stage that fails ends the run.

mod handle;
mod schedule;
mod start;
mod summary;
mod topics;

use std::time::{Duration, Instant};

use ottla_client::Client;

use crate::resolve::ResolvedPipeline;
use handle::RunningStage;
use schedule::Reads;

pub use handle::{StageProgress, StageState};
pub use summary::{Outcome, StageSummary, Summary};
pub(crate) use topics::ensure as ensure_topics;

/// What happens in a run, as it happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// All topics exist. Those that were made now.
    TopicsReady { created: Vec<String> },
    /// A stage has been started.
    StageStarted { stage: String },
    /// Where all stages are, in the pipeline's order; several times a second.
    Progress { stages: Vec<StageProgress>, elapsed: Duration },
    /// A stage is done, stopped or failed.
    StageEnded { stage: StageProgress },
}

/// What becomes of a stage that reads a topic which no stage of its pipeline writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutsideTopics {
    /// It is done with what is in the topic.
    End,
    /// It goes on: others may write at any time.
    GoOn,
}

/// How often stages are looked at, and how often that is told.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Runs the pipeline until its bounded sources are drained, and topics of others where they end, a stage fails, or `stop` resolves (Ctrl-C;
/// `std::future::pending()` for never). Where an earlier run of the same pipeline was cut off, this one goes
/// on.
///
/// It does not fail as a call: what went wrong is the summary's [`Outcome::Failed`], beside the counts.
pub async fn run(
    client: &Client,
    pipeline: &ResolvedPipeline,
    outside: OutsideTopics,
    observer: &mut (dyn FnMut(&Event) + Send),
    stop: impl Future<Output = ()> + Send,
) -> Summary {
    let started_at = Instant::now();
    let mut running = Vec::with_capacity(pipeline.stages.len());
    let mut stop = std::pin::pin!(stop);
    let outcome = tokio::select! {
        outcome = drive(client, pipeline, outside, &mut running, observer, started_at) => outcome,
        () = &mut stop => Outcome::Stopped,
    };
    if outcome != Outcome::Drained {
        stop_all(&running).await;
    }
    let stages = running.iter().map(|stage| stage.progress(started_at)).collect();
    let outcome = match outcome {
        Outcome::Failed { stage, reason } => {
            Outcome::Failed { stage, reason: pipeline.secrets.redact(&reason) }
        }
        Outcome::Drained | Outcome::Stopped => outcome,
    };
    Summary::of(outcome, stages, started_at.elapsed())
}

/// From the topics to the last stage's end.
async fn drive(
    client: &Client,
    pipeline: &ResolvedPipeline,
    outside: OutsideTopics,
    running: &mut Vec<RunningStage>,
    observer: &mut (dyn FnMut(&Event) + Send),
    started_at: Instant,
) -> Outcome {
    match topics::ensure(client, &pipeline.topics).await {
        Ok(created) => observer(&Event::TopicsReady { created }),
        Err(reason) => return Outcome::Failed { stage: None, reason },
    }
    // The last first: whoever reads is there before the first record comes.
    for stage in pipeline.stages.iter().rev() {
        match start::start(client, stage).await {
            Ok(started) => running.insert(0, started),
            Err(reason) => return Outcome::Failed { stage: Some(stage.name.clone()), reason },
        }
        observer(&Event::StageStarted { stage: stage.name.clone() });
    }
    let reads: Vec<Reads> = pipeline
        .stages
        .iter()
        .map(|stage| Reads {
            upstreams: stage.upstreams.clone(),
            without_end: outside == OutsideTopics::GoOn && pipeline.reads_outside(stage),
        })
        .collect();
    let mut told_at = started_at;
    loop {
        let mut has_ended = false;
        for stage in running.iter_mut() {
            if stage.note_end() {
                has_ended = true;
                observer(&Event::StageEnded { stage: stage.progress(started_at) });
            }
        }
        let states: Vec<StageState> = running.iter().map(RunningStage::state).collect();
        if has_ended || told_at.elapsed() >= PROGRESS_INTERVAL {
            told_at = Instant::now();
            let stages = running.iter().map(|stage| stage.progress(started_at)).collect();
            observer(&Event::Progress { stages, elapsed: started_at.elapsed() });
        }
        match schedule::decide(&states, &reads) {
            schedule::Decision::Wait => {}
            schedule::Decision::Finish(stages) => {
                for index in stages {
                    if let Some(stage) = running.get_mut(index) {
                        stage.finish();
                    }
                }
            }
            schedule::Decision::Drained => return Outcome::Drained,
            schedule::Decision::Failed(index) => {
                let stage = pipeline.stages.get(index).map(|stage| stage.name.clone());
                let reason = running
                    .get(index)
                    .and_then(RunningStage::failure)
                    .unwrap_or_else(|| "it was stopped".to_owned());
                return Outcome::Failed { stage, reason };
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Tells every stage to commit what it has and end, and waits for all.
async fn stop_all(running: &[RunningStage]) {
    futures::future::join_all(running.iter().map(RunningStage::stop)).await;
}
