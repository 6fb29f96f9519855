//! The task of one query: does what the machine decides, epoch after epoch.
//!
//! It owns the order of effects and nothing else: the intent is durable before the first output, every output before
//! the commit, and only then the state changes in memory. A crash between any two of them is recovered by doing the
//! pending epoch again and leaving out what is already in the topics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::epoch::{EpochOutputs, EpochRunner, OutputRecord};
use super::error::QueryError;
use super::input::{EpochLimits, InputBuffer};
use super::log::{QueryLog, Sink};
use super::machine::Machine;
use super::stages::{Stage, StageClock};
use super::status::{QueryPhase, QueryStatus};
use crate::state::changelog::{ChangelogRecord, Epoch, Header, InputOffsets, Intent, Offsets};

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
    /// Whether the pending epoch may have been begun by a process that is no more.
    is_recovered_epoch: bool,
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
        let machine = Machine::new(header);
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
            is_recovered_epoch: false,
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
            if self.machine.pending().is_none() {
                match self.decide().await? {
                    Decision::Epoch(intent) => self.append(vec![ChangelogRecord::Intent(intent)]).await?,
                    Decision::End(phase) => return Ok(phase),
                }
            }
            self.run_epoch().await?;
        }
    }

    /// Reads the changelog and goes on from where it ends.
    async fn recover(&mut self) -> Result<(), QueryError> {
        loop {
            let records = self.log.read_changelog(self.machine.next_offset()).await?;
            if records.is_empty() {
                break;
            }
            for record in records {
                self.machine.apply_bytes(record.offset, record.key.as_ref(), record.value.as_ref())?;
            }
        }
        if let Some(header) = self.machine.decide_header() {
            self.append(vec![header]).await?;
        }
        let committed = self.machine.committed();
        let pending = self.machine.pending().map(|intent| intent.epoch.0);
        tracing::info!(query = self.name, epoch = committed.epoch.0, pending, "recovered");
        self.is_recovered_epoch = pending.is_some();
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

    fn cut(&mut self, is_last: bool) -> Intent {
        let ends = self.buffer.cut(self.pace.limits);
        let unread = self.buffer.unread_after(&ends);
        self.last_cut = Instant::now();
        Machine::intent_after(self.machine.committed(), ends, unread, self.log.now_ms(), is_last)
    }

    /// Whether all that was there when the query was told to finish has been read; while nothing waits and nothing is
    /// pending, what has been read is committed.
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

    /// Runs the pending epoch to its commit.
    async fn run_epoch(&mut self) -> Result<(), QueryError> {
        let Some(intent) = self.machine.pending().cloned() else { return Ok(()) };
        while !self.buffer.holds(&intent.input_ends) {
            self.poll(POLL).await?;
        }
        let input = self.buffer.take(&intent.input_ends);
        self.check_input(&intent, &input)?;
        let (runner, machine, stages) = (&self.runner, &self.machine, &mut self.stages);
        let mut enter = |stage| stages.enter(stage);
        let mut outputs = computing(|| {
            runner.run_told(machine.committed(), machine.states(), &intent, &input, &mut enter)
        })?;
        self.stages.enter(Stage::Produce);
        let records = std::mem::take(&mut outputs.outputs);
        let letters = std::mem::take(&mut outputs.dead_letters);
        let changes = std::mem::take(&mut outputs.changes);
        if !changes.is_empty() {
            self.log.tell_changes(changes).await?;
        }
        let output_ends = self.write(Sink::Output, &intent, records).await?;
        let letter_ends = self.write(Sink::DeadLetters, &intent, letters).await?;
        self.is_recovered_epoch = false;
        self.stages.enter(Stage::State);
        self.commit(&intent, &outputs, &output_ends, &letter_ends).await
    }

    /// A fetch silently begins at the log's start when what was asked for is gone.
    fn check_input(&self, intent: &Intent, input: &super::input::EpochInput) -> Result<(), QueryError> {
        if !self.is_recovered_epoch {
            return Ok(());
        }
        for (partition, end) in &intent.input_ends {
            let from = self.machine.committed().input_ends.get(partition).copied().unwrap_or_default();
            if from < *end && !input.contains_key(partition) {
                let (query, epoch) = (self.name.clone(), intent.epoch);
                return Err(QueryError::InputGone { query, epoch, partition: *partition, from, found: *end });
            }
        }
        Ok(())
    }

    /// Writes what is not there yet.
    async fn write(
        &mut self,
        sink: Sink,
        intent: &Intent,
        mut records: Vec<OutputRecord>,
    ) -> Result<Offsets, QueryError> {
        if self.is_recovered_epoch && !records.is_empty() {
            let committed = self.machine.committed();
            let from = match sink {
                Sink::Output => &committed.output_ends,
                Sink::DeadLetters => &committed.dead_letter_ends,
            };
            let written = self.log.written(sink, from, intent.epoch).await?;
            let mut sequence = 0..;
            records.retain(|_| sequence.next().is_none_or(|number| !written.contains(&number)));
            tracing::info!(
                query = self.name,
                epoch = intent.epoch.0,
                found = written.len(),
                left = records.len(),
                "resumed an epoch"
            );
            if !records.is_empty() {
                self.log.write(sink, records).await?;
            }
            return self.log.sink_ends(sink).await;
        }
        if records.is_empty() {
            return Ok(Offsets::new());
        }
        self.log.write(sink, records).await
    }

    /// Appends deltas and commit and, when more input waits already, the next intent with them: one flush less.
    async fn commit(
        &mut self,
        intent: &Intent,
        outputs: &EpochOutputs,
        output_ends: &Offsets,
        letter_ends: &Offsets,
    ) -> Result<(), QueryError> {
        let mut records = self.machine.decide_commit(intent, outputs, output_ends, letter_ends);
        self.poll(Duration::ZERO).await?;
        if let Some(ChangelogRecord::Commit(commit)) = records.last()
            && self.buffer.is_full(self.pace.limits)
        {
            let ends = self.buffer.cut(self.pace.limits);
            let unread = self.buffer.unread_after(&ends);
            self.last_cut = Instant::now();
            records.push(ChangelogRecord::Intent(Machine::intent_after(
                commit,
                ends,
                unread,
                self.log.now_ms(),
                false,
            )));
        }
        self.append(records).await?;
        self.stages.enter(Stage::Fetch);
        self.tell();
        Ok(())
    }

    /// Appends to the changelog, then applies what it has.
    async fn append(&mut self, records: Vec<ChangelogRecord>) -> Result<(), QueryError> {
        let expected = self.machine.next_offset();
        let found = self.log.append_changelog(records.iter().map(ChangelogRecord::encode).collect()).await?;
        if found != expected {
            return Err(QueryError::AnotherInstance { query: self.name.clone(), expected, found });
        }
        for (offset, record) in (found..).zip(records) {
            self.machine.apply(offset, record)?;
        }
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
    Epoch(Intent),
    End(QueryPhase),
}

/// Runs a computation of many milliseconds without keeping the runtime's other tasks from this thread.
fn computing<T>(compute: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(compute),
        _ => compute(),
    }
}
