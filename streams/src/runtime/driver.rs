//! The task of one query: cuts epochs, and does what the machine decides, one after the other.
//!
//! It owns the order of effects and nothing else: an epoch is computed, its outputs and what the changelog gets of it are
//! committed together, and only then the state in memory changes. A crash between any two of them leaves the last commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::epoch::EpochRunner;
use super::error::QueryError;
use super::input::{EpochLimits, InputBuffer};
use super::log::{EpochRecords, QueryLog};
use super::machine::Machine;
use super::stages::{Stage, StageClock};
use super::status::{QueryPhase, QueryStatus};
use crate::state::changelog::{ChangelogRecord, Cut, Epoch, Header, InputOffsets};

/// When an epoch is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochPace {
    /// Time between two cuts while records trickle in: below it, records wait for company.
    pub interval_min: Duration,
    /// The longest that a record waits while more keep coming.
    pub interval_max: Duration,
    /// How much one epoch may take.
    pub limits: EpochLimits,
}

impl Default for EpochPace {
    fn default() -> Self {
        EpochPace {
            interval_min: Duration::from_millis(10),
            interval_max: Duration::from_millis(100),
            limits: EpochLimits::default(),
        }
    }
}

/// What the handle may ask of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Process what is in the input now, let the watermark pass everything, and end.
    Finish,
    /// End after the epoch in hand.
    Stop,
}

/// How long one poll waits for input; only an idle query waits so long for a command.
const POLL: Duration = Duration::from_millis(100);

/// One running query.
pub(super) struct Driver {
    name: String,
    runner: EpochRunner,
    machine: Machine,
    buffer: InputBuffer,
    log: Arc<dyn QueryLog>,
    pace: EpochPace,
    status: watch::Sender<QueryStatus>,
    commands: mpsc::Receiver<Command>,
    /// Where the input ends, once the query was told to finish.
    finish_at: Option<InputOffsets>,
    is_stopping: bool,
    last_cut: Instant,
    stages: StageClock,
}

impl Driver {
    pub(super) fn new(
        name: &str,
        runner: EpochRunner,
        log: Arc<dyn QueryLog>,
        pace: EpochPace,
        status: watch::Sender<QueryStatus>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let header = Header { query: name.to_owned(), fingerprint: runner.plan().state_fingerprint() };
        let machine = Machine::new(header, runner.plan().states());
        Driver {
            name: name.to_owned(),
            runner,
            machine,
            buffer: InputBuffer::default(),
            log,
            pace,
            status,
            commands,
            finish_at: None,
            is_stopping: false,
            last_cut: Instant::now(),
            stages: StageClock::start(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Runs until told to end.
    ///
    /// # Errors
    /// Whatever the query cannot go on after; the status says it too.
    pub(super) async fn run(mut self) -> Result<QueryStatus, QueryError> {
        let outcome = self.run_to_end().await;
        let phase = match &outcome {
            Ok(phase) => phase.clone(),
            Err(error) => QueryPhase::Failed(error.to_string()),
        };
        self.status.send_modify(|status| status.phase = phase);
        let status = self.status.borrow().clone();
        outcome.map(|_| status)
    }

    async fn run_to_end(&mut self) -> Result<QueryPhase, QueryError> {
        self.recover().await?;
        self.status.send_modify(|status| status.phase = QueryPhase::Running);
        loop {
            match self.decide().await? {
                Decision::Epoch(cut) => self.run_epoch(&cut).await?,
                Decision::End(phase) => return Ok(phase),
            }
        }
    }

    /// Reads the changelog and goes on from where it ends.
    async fn recover(&mut self) -> Result<(), QueryError> {
        loop {
            let records = self.log.read_changelog().await?;
            if records.is_empty() {
                break;
            }
            for record in records {
                self.machine.apply_bytes(record.offset, record.key.as_ref(), record.value.as_ref())?;
            }
        }
        let committed = self.machine.committed();
        tracing::info!(query = self.name, epoch = committed.epoch.0, "recovered");
        self.buffer = InputBuffer::new(&committed.input_ends);
        self.log.seek_input(&committed.input_ends).await?;
        self.tell();
        Ok(())
    }

    /// Waits until there is an epoch to run or a reason to end.
    async fn decide(&mut self) -> Result<Decision, QueryError> {
        let mut first_seen: Option<Instant> = None;
        loop {
            self.hear_commands().await?;
            if self.is_stopping {
                return Ok(Decision::End(QueryPhase::Stopped));
            }
            if self.is_drained() {
                return Ok(self.decide_end());
            }
            if self.is_due(first_seen) {
                return Ok(Decision::Epoch(self.cut(false)));
            }
            let wait = match first_seen {
                None => POLL,
                Some(_) if self.buffer.is_caught_up() => {
                    self.pace.interval_min.saturating_sub(self.last_cut.elapsed())
                }
                Some(first_seen) => self.pace.interval_max.saturating_sub(first_seen.elapsed()),
            };
            self.poll(wait).await?;
            if !self.buffer.is_empty() {
                first_seen.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Whether the records that wait should go now: there is a full epoch of them, or no more is to be had and the last
    /// cut is long enough ago, or they have waited as long as they may.
    fn is_due(&self, first_seen: Option<Instant>) -> bool {
        let Some(first_seen) = first_seen else { return self.buffer.is_full(self.pace.limits) };
        if self.buffer.is_empty() {
            return false;
        }
        let rested = self.last_cut.elapsed() >= self.pace.interval_min;
        self.buffer.is_full(self.pace.limits)
            || (rested && self.buffer.is_caught_up())
            || first_seen.elapsed() >= self.pace.interval_max
    }

    fn cut(&mut self, is_last: bool) -> Cut {
        let ends = self.buffer.cut(self.pace.limits);
        let unread = self.buffer.unread_after(&ends);
        self.last_cut = Instant::now();
        Machine::cut_after(self.machine.committed(), ends, unread, self.log.now_ms(), is_last)
    }

    /// Whether all that was there when the query was told to finish has been read; while nothing waits, what has been
    /// read is committed.
    fn is_drained(&self) -> bool {
        self.buffer.is_empty() && self.finish_at.as_ref().is_some_and(|ends| self.buffer.holds(ends))
    }

    /// The last epoch closes what is open; without a watermark, or once it is done, there is nothing to close.
    fn decide_end(&mut self) -> Decision {
        let committed = self.machine.committed();
        let is_open = self.runner.plan().has_watermark() && committed.watermark != Some(i64::MAX);
        // A query that gives a row even for nothing gives it now, if it has read nothing.
        if is_open || committed.epoch == Epoch::default() {
            return Decision::Epoch(self.cut(true));
        }
        Decision::End(QueryPhase::Finished)
    }

    async fn hear_commands(&mut self) -> Result<(), QueryError> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Finish) => self.finish_at = Some(self.log.input_ends().await?),
                Ok(Command::Stop) => self.is_stopping = true,
                Err(mpsc::error::TryRecvError::Empty) => return Ok(()),
                // Nobody holds the handle any more, so nobody could ask for anything.
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.is_stopping = true;
                    return Ok(());
                }
            }
        }
    }

    async fn poll(&mut self, timeout: Duration) -> Result<(), QueryError> {
        for input in self.log.poll_input(timeout).await? {
            self.buffer.add(input);
        }
        let ends = self.buffer.log_ends();
        self.status.send_if_modified(|status| {
            let changed = status.input_ends != ends;
            status.input_ends = ends;
            changed
        });
        Ok(())
    }

    /// Runs an epoch to its commit.
    async fn run_epoch(&mut self, cut: &Cut) -> Result<(), QueryError> {
        let input = self.buffer.take(&cut.input_ends);
        let (runner, machine, stages) = (&self.runner, &self.machine, &mut self.stages);
        let mut enter = |stage| stages.enter(stage);
        let mut outputs =
            computing(|| runner.run_told(machine.committed(), machine.states(), cut, &input, &mut enter))?;
        self.stages.enter(Stage::State);
        let records = self.machine.decide_commit(cut, &outputs);
        let epoch = EpochRecords {
            outputs: std::mem::take(&mut outputs.outputs),
            dead_letters: std::mem::take(&mut outputs.dead_letters),
            changelog: records.iter().map(ChangelogRecord::encode).collect(),
            changes: std::mem::take(&mut outputs.changes),
        };
        self.stages.enter(Stage::Produce);
        self.log.commit(epoch).await?;
        self.stages.enter(Stage::State);
        for record in records {
            self.machine.apply(record)?;
        }
        self.stages.enter(Stage::Fetch);
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        let (machine, ends, stages) = (&self.machine, self.buffer.log_ends(), self.stages.times());
        self.status.send_modify(|status| {
            status.input_ends.extend(ends);
            status.committed(machine.committed());
            status.state_rows = machine.states().len();
            status.state_bytes = machine.states().size_bytes();
            status.stages = stages;
        });
    }
}

enum Decision {
    Epoch(Cut),
    End(QueryPhase),
}

/// Runs a computation of many milliseconds without keeping the runtime's other tasks from this thread.
fn computing<T>(compute: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(compute),
        _ => compute(),
    }
}
