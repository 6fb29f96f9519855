//! What a run came to.

use std::fmt;
use std::time::Duration;

use super::handle::StageProgress;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every record of the bounded sources went all the way.
    Drained,
    /// It was told to stop; another run goes on from there.
    Stopped,
    /// A stage failed, or the topics could not be made.
    Failed { stage: Option<String>, reason: String },
}

/// Outcome and counts.
#[derive(Clone, Debug)]
pub struct Summary {
    pub outcome: Outcome,
    /// In the pipeline's order.
    pub stages: Vec<StageSummary>,
    pub elapsed: Duration,
}

/// One stage's counts. Records are those that this run acknowledged.
#[derive(Clone, Debug)]
pub struct StageSummary {
    pub name: String,
    /// `source`, `query`, `plugin` or `sink`.
    pub kind: &'static str,
    pub records_in: u64,
    pub records_out: u64,
    /// Could not be handled: dead letters.
    pub records_bad: u64,
    /// Came after their window had closed.
    pub records_late: u64,
    /// From the run's start to the stage's end.
    pub elapsed: Duration,
    /// Records taken per second of that time.
    pub records_per_second: f64,
}

impl Summary {
    pub(super) fn of(outcome: Outcome, stages: Vec<StageProgress>, elapsed: Duration) -> Summary {
        let stages = stages.into_iter().map(|stage| StageSummary {
            records_per_second: rate(stage.records_in, stage.elapsed),
            name: stage.name,
            kind: stage.kind,
            records_in: stage.records_in,
            records_out: stage.records_out,
            records_bad: stage.records_bad,
            records_late: stage.records_late,
            elapsed: stage.elapsed,
        });
        Summary { outcome, stages: stages.collect(), elapsed }
    }

    /// Whether all went well: drained, so that an exit code may be 0.
    pub fn is_success(&self) -> bool {
        self.outcome == Outcome::Drained
    }

    /// Dead letters of all stages.
    pub fn records_bad(&self) -> u64 {
        self.stages.iter().map(|stage| stage.records_bad).sum()
    }

    /// Records that the sources read, per second of the whole run.
    pub fn records_per_second(&self) -> f64 {
        let taken =
            self.stages.iter().filter(|stage| stage.kind == "source").map(|stage| stage.records_in).sum();
        rate(taken, self.elapsed)
    }
}

/// Records per second; 0 for no time.
pub(super) fn rate(records: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { records as f64 / seconds } else { 0.0 }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Drained => f.write_str("drained"),
            Outcome::Stopped => f.write_str("stopped"),
            Outcome::Failed { stage: Some(stage), reason } => {
                write!(f, "the stage `{stage}` failed: {reason}")
            }
            Outcome::Failed { stage: None, reason } => write!(f, "failed: {reason}"),
        }
    }
}
