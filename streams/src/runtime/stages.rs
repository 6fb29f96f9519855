//! Where a query's time goes.

use std::time::{Duration, Instant};

/// What a query is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for more input, or for a reason to cut an epoch.
    Fetch,
    /// Record bytes to rows.
    Decode,
    /// The operators, with the state they read.
    Operators,
    /// Rows to record bytes.
    Encode,
    /// Waiting until outputs and dead letters are written.
    Produce,
    /// Waiting until the changelog has the state's changes, and applying them.
    State,
}

impl Stage {
    /// All of them, in the order in which an epoch goes through them.
    pub const ALL: [Stage; 6] =
        [Stage::Fetch, Stage::Decode, Stage::Operators, Stage::Encode, Stage::Produce, Stage::State];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Fetch => "fetch",
            Stage::Decode => "decode",
            Stage::Operators => "operators",
            Stage::Encode => "encode",
            Stage::Produce => "produce",
            Stage::State => "state",
        }
    }
}

/// Time that a query has spent in each stage since it was started; its task is in one of them at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageTimes([Duration; Stage::ALL.len()]);

impl StageTimes {
    /// The time spent in a stage.
    pub fn of(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }
}

/// Adds up the times of stages.
#[derive(Debug)]
pub(super) struct StageClock {
    times: StageTimes,
    stage: Stage,
    since: Instant,
}

impl StageClock {
    pub(super) fn start() -> Self {
        StageClock { times: StageTimes::default(), stage: Stage::Fetch, since: Instant::now() }
    }

    /// From now on it is this stage.
    pub(super) fn enter(&mut self, stage: Stage) {
        let now = Instant::now();
        self.times.0[self.stage as usize] += now - self.since;
        (self.stage, self.since) = (stage, now);
    }

    pub(super) fn times(&self) -> StageTimes {
        self.times
    }
}
