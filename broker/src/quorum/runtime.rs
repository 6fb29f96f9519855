//! The task that drives the quorum's machine: it owns the metadata log, the file `quorum-state`, the clock and the ways to the
//! other members, and decides nothing.
//!
//! ```text
//!    controller ── Append ──▶ ┌───────┐ ── step ──▶ machine
//!    listener ──── Asked ───▶ │ owner │ ◀─ effects ──┘
//!    peers ───── Answered ──▶ └───────┘ ──▶ log, quorum-state, peers, answers; and the state, which everybody may watch
//! ```
//! Effects are carried out in their order. One that cannot be, because the disk is full, is tried until it can: nothing that
//! comes after it may happen before.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_protocol::messages::quorum_records::{LeaderChangeMessage, Voter};
use ottla_protocol::records::{Batch, BatchBuilder, BatchOptions, ControlType};
use ottla_protocol::wire::{Message, Writer};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::addresses::AddressBook;
use super::handle::{
    Answered, Description, Input, Inputs, Membership, ProposeError, QuorumHandle, QuorumState,
    ReplicaProgress,
};
use super::machine::{Effect, Event, Quorum, RequestId};
use super::peers::{Peers, Terms};
use super::role::Role;
use super::state_file;
use super::types::{
    Answer, ChangeRefusal, ElectionState, Epoch, LogEnd, ReplicaKey, Request, Response, Voters,
};
use super::voter_history::VoterHistory;
use super::voters_file::{VotersFileError, voters_of_snapshot};
use super::voters_record::{voters_batch, voters_in};
use super::wire::FetchTerms;
use crate::controller::SnapshotId;
use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::log::LogError;
use crate::machine::Monotonic;
use crate::partition::{QuorumLog, now_ms, off_the_runtime, whole_batches};

/// Bytes of records that a fetch is answered with, or one batch that is larger.
const ANSWER_BYTES: usize = 8 << 20;
/// How long after a failure of the disk it is tried again.
const DISK_RETRY: Duration = Duration::from_secs(1);
/// How long a leader that stops waits for the others to know.
const FAREWELL: Duration = Duration::from_millis(500);
/// Fetches that may wait for news; the oldest is answered when another comes.
const PARKED_MAX: usize = 1000;

/// Starts the task on a log that was opened, with everything in it durable, and the newest snapshots beside it.
pub(crate) fn start(
    log: QuorumLog,
    membership: Membership,
    election: Option<ElectionState>,
    snapshots: &[SnapshotId],
) -> Result<QuorumHandle, LogError> {
    let mut log = log;
    let ends: Vec<LogEnd> = snapshots.iter().map(|id| id.log_end()).collect();
    if let Some(newest) = ends.first().filter(|newest| newest.offset > log.reader().log_end()) {
        // A crash between the arrival of a snapshot and the cut of the log that it takes the place of.
        log.start_anew_at(newest.offset)?;
    }
    let epochs = log.epochs(&ends)?;
    let history = voter_history(&log, &membership.formed, snapshots)?;
    let election = election.unwrap_or_default();
    // Every epoch of the log has had its leader.
    let election = match epochs.end().epoch > election.epoch {
        true => ElectionState { epoch: epochs.end().epoch, ..ElectionState::default() },
        false => election,
    };
    let started = Instant::now();
    let Membership { config, .. } = &membership;
    let machine = Quorum::new(config.clone(), history, election, epochs, Monotonic::default());
    let (inputs, inbox) = mpsc::unbounded_channel();
    let own_inputs = Inputs(inputs.downgrade());
    let terms = Terms {
        me: config.me,
        cluster_id: membership.cluster_id.clone(),
        request_timeout: config.request_timeout,
        transport: membership.transport.clone(),
    };
    let addresses = Arc::new(AddressBook::new(&membership.addresses));
    addresses.record(machine.voters());
    let peers = Peers::new(addresses.clone(), terms, &own_inputs);
    let (publish, state) = watch::channel(QuorumState::default());
    let (reader, dir) = (log.reader(), log.dir().to_owned());
    let owner = Owner {
        machine,
        log,
        started,
        inputs: own_inputs,
        peers,
        incoming: Vec::new(),
        asked: BTreeMap::new(),
        changes: BTreeMap::new(),
        addresses: addresses.clone(),
        next_request: 0,
        parked: VecDeque::new(),
        generation: 0,
        state: publish,
    };
    owner.publish();
    tokio::spawn(owner.run(inbox));
    Ok(QuorumHandle::new(inputs, state, reader, membership, addresses, dir))
}

/// Who votes by what is on the disk: by the snapshot at the begin of the log, or as the quorum was formed, and by the log.
fn voter_history(
    log: &QuorumLog,
    formed: &VoterHistory,
    snapshots: &[SnapshotId],
) -> Result<VoterHistory, LogError> {
    let mut history = formed.clone();
    if history.is_fixed() {
        return Ok(history);
    }
    let begin = log.reader().log_start();
    if let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot.end == begin && begin > Offset::ZERO)
        && let Some(voters) = voters_of_snapshot(&snapshot.file(log.dir()))?
    {
        history = VoterHistory::of_snapshot(voters);
    }
    for (at, voters) in log.voters()? {
        history.append(at, voters);
    }
    Ok(history)
}

/// A request of another member that has no answer yet.
struct Asked {
    request: Request,
    terms: FetchTerms,
    reply: oneshot::Sender<Answered>,
}

/// An answer without news that waits for some.
struct Parked {
    epoch: Epoch,
    from: Offset,
    high_watermark: Offset,
    answer_at: Monotonic,
    response: Response,
    reply: oneshot::Sender<Answered>,
}

/// Ends at a moment; never where nothing is due, as on a node that is alone.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

struct Owner {
    machine: Quorum,
    log: QuorumLog,
    started: Instant,
    inputs: Inputs,
    peers: Peers,
    /// Of the answer that is being looked at.
    incoming: Vec<Batch>,
    asked: BTreeMap<RequestId, Asked>,
    /// Who waits for other voters.
    changes: BTreeMap<RequestId, oneshot::Sender<Result<(), ChangeRefusal>>>,
    addresses: Arc<AddressBook>,
    next_request: u64,
    parked: VecDeque<Parked>,
    /// Counts the cuts of the log: what was flushed before one says nothing of what came after it.
    generation: u64,
    state: watch::Sender<QuorumState>,
}

impl Owner {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Input>) {
        loop {
            let now = self.now();
            let parked = self.parked.iter().map(|parked| parked.answer_at).min();
            let deadline = [self.machine.next_deadline(), parked].into_iter().flatten().min();
            let event = if deadline.is_some_and(|deadline| deadline <= now) {
                Some(Event::Tick)
            } else {
                let deadline = deadline.map(|deadline| self.started + deadline.0);
                tokio::select! {
                    input = inbox.recv() => match input {
                        None => return,
                        Some(Input::Close { reply }) => {
                            self.take_leave(&mut inbox).await;
                            let _ = reply.send(off_the_runtime(|| self.log.close()));
                            return;
                        }
                        Some(input) => self.on_input(input).await,
                    },
                    () = passed(deadline) => Some(Event::Tick),
                }
            };
            if let Some(event) = event {
                self.step(event).await;
            }
            self.answer_parked();
        }
    }

    fn now(&self) -> Monotonic {
        Monotonic(self.started.elapsed())
    }

    /// Turns an input into what happens to the machine, if anything does.
    async fn on_input(&mut self, input: Input) -> Option<Event> {
        match input {
            Input::Append { epoch, batch, reply } => {
                let leads = self.machine.is_leader() && self.machine.election().epoch == epoch;
                let appended = match leads {
                    true => self.log.append(&batch, LeaderEpoch(epoch.0)).map_err(ProposeError::from),
                    false => Err(ProposeError::NotLeader),
                };
                let end = appended.as_ref().ok().copied();
                let _ = reply.send(appended);
                self.flush();
                end.map(|end| Event::Appended { end })
            }
            Input::Asked { request, terms, reply } => {
                let id = self.next_id();
                self.asked.insert(id, Asked { request: request.clone(), terms, reply });
                Some(Event::Request { id, request })
            }
            Input::Answered { from, request, response, records } => {
                Some(self.on_answered(from, request, response, records))
            }
            Input::Failed { to, request, is_refused } => Some(Event::Failed { to, request, is_refused }),
            Input::Flushed { end, generation } => {
                (generation == self.generation).then_some(Event::Flushed { end })
            }
            Input::SnapshotFetched { end, file } => self.on_snapshot(end, file).await,
            Input::Trimmed { start } => self.on_trimmed(start),
            Input::ChangeVoters { change, reply } => {
                let id = self.next_id();
                self.changes.insert(id, reply);
                Some(Event::ChangeVoters { id, change })
            }
            Input::VotersBelow { end, reply } => {
                let history = self.machine.voter_history();
                let _ = reply.send(history.is_recorded().then(|| history.below(end).clone()));
                None
            }
            Input::Describe { reply } => {
                let _ = reply.send(self.describe());
                None
            }
            Input::Close { .. } => None,
        }
    }

    fn next_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// Looks at records before the machine hears of them: what it is told to have must be there.
    fn on_answered(&mut self, from: NodeId, request: Request, response: Response, records: Bytes) -> Event {
        let mut runs: Vec<(Epoch, Offset)> = Vec::new();
        let mut voters = Vec::new();
        self.incoming.clear();
        if let Ok(Answer::Records { from: begin, .. }) = &response.outcome {
            let mut next = *begin;
            let mut newest = match &request {
                Request::Fetch { log_end, .. } => log_end.epoch,
                _ => Epoch(0),
            };
            let batches = match whole_batches(records) {
                Ok(batches) => batches,
                Err(error) => {
                    tracing::error!(leader = %from, %error, "a leader of the quorum sends damaged records");
                    return Event::Failed { to: from, request, is_refused: false };
                }
            };
            for batch in &batches {
                let (epoch, end) = (Epoch(batch.header.leader_epoch), Offset(batch.header.next_offset()));
                let is_next = batch.header.base_offset == next.0 && end > next;
                if !is_next || epoch < newest || epoch > response.epoch {
                    tracing::error!(leader = %from, offset = %next, "a leader of the quorum sends other records than it was asked for");
                    return Event::Failed { to: from, request, is_refused: false };
                }
                match voters_in(batch) {
                    Ok(found) => voters.extend(found),
                    Err(error) => {
                        tracing::error!(leader = %from, %error, "a leader of the quorum sends what this release does not understand");
                        return Event::Failed { to: from, request, is_refused: false };
                    }
                }
                match runs.last_mut() {
                    Some((last, run_end)) if *last == epoch => *run_end = end,
                    _ => runs.push((epoch, end)),
                }
                (next, newest) = (end, epoch);
            }
            self.incoming = batches;
        }
        Event::Response { from, request, response, records: runs, voters }
    }

    async fn step(&mut self, event: Event) {
        let before = self.machine.role().clone();
        let voters = self.machine.voters().clone();
        let mut effects = VecDeque::from(self.machine.step(self.now(), event));
        while let Some(effect) = effects.pop_front() {
            // Nobody can tell a state that was written over at once from one that was never written.
            if matches!((&effect, effects.front()), (Effect::Persist(_), Some(Effect::Persist(_)))) {
                continue;
            }
            if let Some(event) = self.carry_out(effect).await {
                effects.extend(self.machine.step(self.now(), event));
            }
        }
        self.tell_role(&before);
        if *self.machine.voters() != voters {
            self.tell_voters();
        }
        self.publish();
    }

    /// Gives what happens to the machine by it.
    async fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Persist(state) => {
                let dir = self.log.dir().to_owned();
                self.until_it_works("write quorum-state", |_| state_file::save(&dir, state)).await;
                None
            }
            Effect::Send { to, request } => {
                let sent = self.peers.send(to, request, self.machine.high_watermark());
                sent.err().map(|request| Event::Failed { to, request, is_refused: false })
            }
            Effect::Respond { id, response } => {
                self.respond(id, response);
                None
            }
            Effect::AppendLeaderChange { epoch } => {
                let batch = self.leader_change();
                match self.log.append(&batch, LeaderEpoch(epoch.0)) {
                    Ok(end) => {
                        self.flush();
                        Some(Event::Appended { end })
                    }
                    Err(error) => {
                        tracing::error!(%error, "this node cannot lead the quorum: its metadata log cannot be written");
                        Some(Event::Resign)
                    }
                }
            }
            Effect::AppendVoters { epoch, voters, is_first } => {
                match self.append_voters(epoch, &voters, is_first) {
                    Ok(end) => {
                        self.flush();
                        Some(Event::VotersAppended { voters, end })
                    }
                    Err(error) => {
                        tracing::error!(%error, "this node leads the quorum no more: the voters cannot be written into the metadata log");
                        Some(Event::Resign)
                    }
                }
            }
            Effect::VotersChanged { id, outcome } => {
                if let Some(reply) = self.changes.remove(&id) {
                    let _ = reply.send(outcome);
                }
                None
            }
            Effect::Append => {
                let batches = std::mem::take(&mut self.incoming);
                self.until_it_works("append to the metadata log", |owner| {
                    // Of a failed write some may have been kept.
                    let end = owner.log.reader().log_end();
                    let missing = batches.partition_point(|batch| batch.header.base_offset < end.0);
                    owner.log.append_fetched(batches.get(missing..).unwrap_or_default()).map(drop)
                })
                .await;
                self.flush();
                None
            }
            Effect::Truncate { end } => {
                self.generation += 1;
                let cut = off_the_runtime(|| self.log.truncate(end));
                self.demand(cut.map(|found| found == end), "the metadata log could not be cut");
                None
            }
            Effect::FetchSnapshot { from, end } => {
                let epoch = self.machine.election().epoch;
                let file = SnapshotId::of(end).fetched_path(self.log.dir());
                self.peers.fetch_snapshot(from, epoch, end, file, &self.inputs);
                None
            }
            Effect::HighWatermark(_) => None,
        }
    }

    /// What cannot be half done: the process ends, and recovery reads what the disk has.
    fn demand(&self, done: Result<bool, LogError>, what: &str) {
        let why = match done {
            Ok(true) => return,
            Ok(false) => "it ends elsewhere than the quorum says".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::error!(why, "{what}, the process ends so that recovery reads what the disk has");
        std::process::abort();
    }

    async fn until_it_works(&mut self, what: &str, mut work: impl FnMut(&mut Owner) -> Result<(), LogError>) {
        while let Err(error) = off_the_runtime(|| work(self)) {
            tracing::error!(%error, "the quorum waits for its disk, to {what}");
            tokio::time::sleep(DISK_RETRY).await;
        }
    }

    fn flush(&mut self) {
        let (inputs, generation) = (self.inputs.clone(), self.generation);
        self.log.flush(move |end| inputs.put(Input::Flushed { end, generation }));
    }

    /// Gives where the log ends then.
    fn append_voters(
        &mut self,
        epoch: Epoch,
        voters: &Voters,
        is_first: bool,
    ) -> Result<Offset, VotersFileError> {
        let batch = voters_batch(voters, is_first, now_ms())?;
        Ok(self.log.append(&batch, LeaderEpoch(epoch.0))?)
    }

    /// Others vote than before.
    fn tell_voters(&self) {
        let voters = self.machine.voters();
        self.addresses.record(voters);
        let ids: Vec<String> = voters.iter().map(|voter| voter.id.to_string()).collect();
        let has_vote = voters.contains(self.machine.config.me);
        tracing::info!(voters = ids.join(","), has_vote, "the voters of the metadata quorum have changed");
    }

    /// The record that says who leads from here on, and who voted for it.
    fn leader_change(&self) -> Bytes {
        let voter = |key: ReplicaKey| Voter { voter_id: key.id.0, voter_directory_id: key.directory };
        // Kafka reads directories only where it has read which voters have which (`voters_file.rs`).
        let version = if self.machine.voter_history().is_fixed() { 0 } else { 1 };
        let mut message = LeaderChangeMessage {
            version,
            leader_id: self.membership_id().0,
            voters: self.machine.voters().iter().map(voter).collect(),
            granting_voters: Vec::new(),
        };
        if version == 0 {
            message.voters.iter_mut().for_each(|voter| voter.voter_directory_id = Uuid::nil());
        }
        let mut writer = Writer::new();
        if message.encode(&mut writer, version).is_err() {
            unreachable!("every value fits its version");
        }
        let value = writer.finish_contiguous();
        BatchBuilder::control(now_ms(), ControlType::LeaderChange, &value, BatchOptions::default())
    }

    fn membership_id(&self) -> NodeId {
        self.machine.config.me.id
    }

    fn respond(&mut self, id: RequestId, response: Response) {
        let Some(Asked { request, terms, reply }) = self.asked.remove(&id) else { return };
        let (Request::Fetch { epoch, .. }, Ok(Answer::Records { from, high_watermark })) =
            (&request, &response.outcome)
        else {
            let _ = reply.send(Answered { response, records: Bytes::new() });
            return;
        };
        let (epoch, from, high_watermark) = (*epoch, *from, *high_watermark);
        let records = self.records_from(from);
        if records.is_empty() && high_watermark == terms.high_watermark && terms.wait_ms_max > 0 {
            let wait = Duration::from_millis(terms.wait_ms_max as u64);
            let answer_at = self.now() + wait.min(self.machine.config.fetch_timeout / 4);
            self.parked.push_back(Parked { epoch, from, high_watermark, answer_at, response, reply });
            return;
        }
        let _ = reply.send(Answered { response, records });
    }

    /// What the log has from there on, whole batches.
    fn records_from(&self, from: Offset) -> Bytes {
        let reader = self.log.reader();
        if from >= reader.log_end() {
            return Bytes::new();
        }
        reader.read(from, reader.log_end(), ANSWER_BYTES, true).unwrap_or_else(|error| {
            tracing::error!(%error, offset = %from, "the metadata log cannot be read for a follower");
            Bytes::new()
        })
    }

    /// Answers the fetches for which there is news, or that have waited long enough.
    fn answer_parked(&mut self) {
        let (now, state) = (self.now(), *self.state.borrow());
        let log_end = self.log.reader().log_end();
        let is_too_many = self.parked.len() > PARKED_MAX;
        for (place, mut parked) in std::mem::take(&mut self.parked).into_iter().enumerate() {
            let leads = state.leads_from.is_some() && state.epoch == parked.epoch;
            let is_news = log_end > parked.from || state.high_watermark > parked.high_watermark;
            let mut records = Bytes::new();
            if leads && is_news {
                records = self.records_from(parked.from);
                let high_watermark = state.high_watermark;
                parked.response.outcome = Ok(Answer::Records { from: parked.from, high_watermark });
            } else if leads && parked.answer_at > now && !(is_too_many && place == 0) {
                self.parked.push_back(parked);
                continue;
            }
            let _ = parked.reply.send(Answered { response: parked.response, records });
        }
    }

    /// Puts a leader's snapshot in the place of the log, unless it has come too late.
    async fn on_snapshot(&mut self, end: LogEnd, file: PathBuf) -> Option<Event> {
        let is_late = self.machine.is_leader() || self.machine.high_watermark() > end.offset;
        let checked = SnapshotId::of(end);
        let dir = self.log.dir().to_owned();
        if is_late {
            off_the_runtime(|| drop(std::fs::remove_file(&file)));
            return None;
        }
        let installed = off_the_runtime(|| {
            // Looked at before it has its name: what has it is whole.
            let voters = voters_of_snapshot(&file)?;
            checked.install(&dir, &file).map(|()| voters)
        });
        let voters = match installed {
            Ok(voters) => voters,
            Err(error) => {
                tracing::error!(%error, "a leader's snapshot cannot be used");
                return None;
            }
        };
        self.generation += 1;
        let begun = off_the_runtime(|| self.log.start_anew_at(end.offset));
        self.demand(begun.map(|()| true), "the metadata log could not be begun anew behind a snapshot");
        tracing::info!(end = %end.offset, epoch = %end.epoch, "took a snapshot of the metadata from the leader");
        Some(Event::SnapshotInstalled { end, voters })
    }

    fn on_trimmed(&mut self, start: LogEnd) -> Option<Event> {
        let is_news = start.offset > self.machine.log().start().offset;
        if !is_news || start.offset > self.machine.high_watermark() {
            return None;
        }
        let durable = self.machine.flushed;
        if let Err(error) = off_the_runtime(|| self.log.trim(start.offset, durable)) {
            tracing::warn!(%error, "the metadata log was not shortened; it is tried again after the next snapshot");
            return None;
        }
        Some(Event::Trimmed { start })
    }

    fn describe(&self) -> Description {
        let (now, me) = (self.now(), self.machine.config.me);
        let own = ReplicaProgress {
            log_end: self.machine.log().end().offset,
            heard_ago: Duration::ZERO,
            caught_up_ago: Some(Duration::ZERO),
        };
        let mut replicas = BTreeMap::from([(me, own)]);
        if let Role::Leader(leading) = self.machine.role() {
            replicas.extend(leading.progress.iter().map(|(replica, progress)| {
                let ago = |at: Monotonic| now.0.saturating_sub(at.0);
                let (heard_ago, caught_up_ago) = (ago(progress.heard_at), progress.caught_up_at.map(ago));
                (*replica, ReplicaProgress { log_end: progress.end, heard_ago, caught_up_ago })
            }));
        }
        let state = *self.state.borrow();
        Description {
            leader: state.leader,
            epoch: state.epoch,
            high_watermark: state.high_watermark,
            replicas,
            voters: self.machine.voters().clone(),
        }
    }

    fn publish(&self) {
        let election = self.machine.election();
        let leads_from = match self.machine.role() {
            Role::Leader(leading) => Some(leading.epoch_start),
            _ => None,
        };
        let is_resigned = matches!(self.machine.role(), Role::Resigned { .. });
        let now = QuorumState {
            epoch: election.epoch,
            leader: election.leader.filter(|_| !is_resigned),
            leads_from,
            high_watermark: self.machine.high_watermark(),
        };
        self.state.send_if_modified(|known| {
            let has_changed = *known != now;
            *known = now;
            has_changed
        });
    }

    fn tell_role(&self, before: &Role) {
        let epoch = self.machine.election().epoch;
        match (before, self.machine.role()) {
            (Role::Leader(_), Role::Leader(_)) => {}
            (_, Role::Leader(_)) => tracing::info!(%epoch, "leads the metadata quorum"),
            (Role::Leader(_), _) => tracing::info!(%epoch, "leads the metadata quorum no more"),
            (Role::Follower(was), Role::Follower(now)) if was.leader == now.leader => {}
            (_, Role::Follower(now)) => {
                tracing::info!(%epoch, leader = %now.leader, "follows in the metadata quorum");
            }
            _ => {}
        }
    }

    /// Leads no more, and gives the others a moment to hear of it.
    async fn take_leave(&mut self, inbox: &mut mpsc::UnboundedReceiver<Input>) {
        if !self.machine.is_leader() {
            return;
        }
        self.step(Event::Resign).await;
        let leaving = async {
            loop {
                let is_told = match self.machine.role() {
                    Role::Resigned { untold, .. } => untold.is_empty(),
                    _ => true,
                };
                if is_told {
                    return;
                }
                let Some(input) = inbox.recv().await else { return };
                if let Some(event) = self.on_input(input).await {
                    self.step(event).await;
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, leaving).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that is alone has nothing due, however long it has run.
    #[tokio::test]
    async fn where_nothing_is_due_nothing_happens() {
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, passed(None)).await.is_err());
        passed(Some(Instant::now() + Duration::from_millis(1))).await;
        let long_ago = Instant::now().checked_sub(soon).unwrap();
        passed(Some(long_ago)).await;
    }
}
