//! Everything around the machine, driven by one queue of events in the order of their time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::partition::{Batch, Partition, Taken};
use super::producer::{Attempt, Producer, TransactionNumber, Wish, id, topic_partition};
use super::random::Random;
use crate::ids::Producer as ProducerEpoch;
use crate::machine::{Monotonic, Now, ReplyId, WallMs};
use crate::transactions::{
    AddPartitions, Change, Decision, Effect, Markers, Question, Reply, Request, TransactionConfig,
    TransactionError, TransactionMetadata, TransactionVersion, TransactionalId, Transactions, Verifications,
    records,
};

pub(super) const PARTITIONS: usize = 3;
/// The partition of `__consumer_offsets`, behind those that producers write to.
pub(super) const OFFSETS: usize = PARTITIONS;
const ASK_AGAIN_MS: u64 = 400;
const TICK_MS: u64 = 500;
const PRODUCERS_MAX: usize = 6;

/// Who waits for the coordinator's reply.
#[derive(Clone, Debug)]
enum Asker {
    Producer { index: usize, attempt: u64 },
    Partition { index: usize, ticket: u64 },
    Offsets { life: u64, question: Question, commit: OffsetsCommit },
    Nobody,
}

/// A TxnOffsetCommit.
#[derive(Clone, Debug)]
struct OffsetsCommit {
    index: usize,
    attempt: u64,
    producer: ProducerEpoch,
    transaction: TransactionNumber,
}

#[derive(Clone, Debug)]
enum Event {
    /// A producer goes on, or asks again.
    Go {
        index: usize,
        attempt: u64,
    },
    Ask {
        asker: Asker,
        request: Request,
    },
    Reply {
        index: usize,
        attempt: u64,
        reply: Reply,
    },
    Write {
        partition: usize,
        batch: Batch,
    },
    Written {
        index: usize,
        attempt: u64,
        appended: bool,
    },
    CommitOffsets(OffsetsCommit),
    /// From within the broker: the coordinator has answered, and the group hears of it a little later.
    OffsetsVerified {
        life: u64,
        question: Question,
        commit: OffsetsCommit,
        may_commit: bool,
    },
    OffsetsCommitted {
        index: usize,
        attempt: u64,
        committed: bool,
    },
    /// From within the broker: lost when it crashes.
    Marker {
        life: u64,
        markers: Markers,
        at: usize,
    },
    Flush {
        life: u64,
    },
    Tick,
}

pub(super) struct World {
    random: Random,
    now_ms: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    /// Counts crashes.
    life: u64,
    machine: Transactions,
    /// The log, and how much of it is durable.
    log: Vec<(TransactionalId, Option<Arc<TransactionMetadata>>)>,
    durable: usize,
    parked: Vec<(usize, Asker, Reply)>,
    effects: Vec<(usize, Effect)>,
    askers: BTreeMap<ReplyId, (Asker, Request)>,
    replies: u64,
    next_producer_id: i64,
    partitions: Vec<Partition>,
    verifications: Verifications,
    producers: Vec<Producer>,
    /// In which order the id was given, by producer and attempt.
    grants: BTreeMap<(usize, u64), usize>,
    /// Of each producer that has been told: which grant it has, and since when it knows.
    taken: BTreeMap<usize, (usize, u64)>,
    /// The last attempt of each producer that the coordinator has heard.
    heard: BTreeMap<usize, u64>,
    attempts: BTreeMap<TransactionNumber, Attempt>,
    transactions: u64,
    is_calm: bool,
    trace: Vec<String>,
}

fn config() -> TransactionConfig {
    TransactionConfig { abort_interval: Duration::from_secs(1), ..TransactionConfig::default() }
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut world = World {
            random: Random::new(seed),
            now_ms: 1_000,
            queue: BTreeMap::new(),
            events: 0,
            life: 0,
            machine: Transactions::new(config()),
            log: Vec::new(),
            durable: 0,
            parked: Vec::new(),
            effects: Vec::new(),
            askers: BTreeMap::new(),
            replies: 0,
            next_producer_id: 0,
            partitions: (0..=OFFSETS).map(|_| Partition::default()).collect(),
            verifications: Verifications::default(),
            producers: Vec::new(),
            grants: BTreeMap::new(),
            taken: BTreeMap::new(),
            heard: BTreeMap::new(),
            attempts: BTreeMap::new(),
            transactions: 0,
            is_calm: false,
            trace: Vec::new(),
        };
        world.start_producer();
        world.after(TICK_MS, Event::Tick);
        world
    }

    pub(super) fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            if self.producers.len() < PRODUCERS_MAX && self.random.percent(1) {
                self.start_producer();
            }
            if self.random.below(300) == 0 {
                self.crash();
            }
            self.step()?;
        }
        Ok(())
    }

    /// Nothing is lost any more, and nobody begins anything: time passes until every transaction has timed out.
    pub(super) fn calm_down(&mut self) -> Result<(), String> {
        self.is_calm = true;
        let end = self.now_ms + 60_000;
        while self.now_ms < end {
            self.step()?;
        }
        Ok(())
    }

    pub(super) fn check_visible(&mut self) -> Result<(), String> {
        if let Some(stuck) = self.partitions.iter().position(Partition::has_open_transaction) {
            return Err(format!("a transaction hangs in partition {stuck}"));
        }
        let visible: Vec<BTreeSet<TransactionNumber>> =
            self.partitions.iter().map(Partition::visible).collect();
        for (number, attempt) in &self.attempts {
            let seen =
                attempt.written.iter().filter(|partition| visible[**partition].contains(number)).count();
            let anywhere = visible.iter().any(|visible| visible.contains(number));
            if attempt.is_committed && seen < attempt.written.len() {
                return Err(format!("transaction {number} is committed and not whole"));
            }
            if attempt.commit_sent.is_none() && anywhere {
                return Err(format!("transaction {number} was never committed and is visible"));
            }
            if anywhere && seen < attempt.written.len() {
                return Err(format!("transaction {number} is torn"));
            }
        }
        Ok(())
    }

    pub(super) fn into_trace(self) -> Vec<String> {
        self.trace
    }

    fn now(&self) -> Now {
        Now { monotonic: Monotonic::from_millis(self.now_ms), wall: WallMs(self.now_ms as i64) }
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.events += 1;
        self.queue.insert((self.now_ms + ms, self.events), event);
    }

    /// Over the network: late, lost or twice.
    fn send(&mut self, event: Event) {
        let copies = match self.random.below(100) {
            _ if self.is_calm => 1,
            0..10 => 0,
            10..20 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = if self.random.percent(10) { 3_000 } else { 30 };
            let delay = 1 + self.random.below(delay);
            self.after(delay, event.clone());
        }
    }

    fn start_producer(&mut self) {
        let index = self.producers.len();
        let v2 = self.random.percent(50);
        self.producers.push(Producer::new(v2));
        self.after(1, Event::Go { index, attempt: 0 });
    }

    fn step(&mut self) -> Result<(), String> {
        let Some(((at, _), event)) = self.queue.pop_first() else { return Err("nothing happens".to_owned()) };
        self.now_ms = self.now_ms.max(at);
        if !matches!(event, Event::Tick | Event::Flush { .. }) {
            self.trace.push(format!("{:>6} {event:?}", self.now_ms));
        }
        match event {
            Event::Go { index, attempt } => self.on_go(index, attempt),
            Event::Ask { asker, request } if self.comes_in_order(&asker) => self.ask(asker, request),
            Event::Reply { index, attempt, reply } => self.on_reply(index, attempt, reply)?,
            Event::Write { partition, batch } => self.on_write(partition, batch),
            Event::Written { index, attempt, appended } => self.on_written(index, attempt, appended),
            Event::CommitOffsets(commit) => self.on_commit_offsets(commit),
            Event::OffsetsVerified { life, question, commit, may_commit } if life == self.life => {
                self.on_offsets_verified(question, commit, may_commit);
            }
            Event::OffsetsCommitted { index, attempt, committed } => {
                self.on_offsets_committed(index, attempt, committed);
            }
            Event::Marker { life, markers, at } if life == self.life => self.on_marker(markers, at),
            Event::Flush { life } if life == self.life => self.flush(),
            Event::Ask { .. }
            | Event::OffsetsVerified { .. }
            | Event::Marker { .. }
            | Event::Flush { .. } => {}
            Event::Tick => {
                if self.machine.next_deadline().is_some_and(|at| at <= self.now().monotonic) {
                    let decision = self.machine.on_deadline(self.now());
                    self.take(decision);
                }
                self.after(TICK_MS, Event::Tick);
            }
        }
        self.machine.invariants();
        Ok(())
    }

    fn on_go(&mut self, index: usize, attempt: u64) {
        let producer = &mut self.producers[index];
        // Answered meanwhile; or nothing new is begun.
        if producer.attempt != attempt || self.is_calm {
            return;
        }
        if let Some(number) = producer.committing() {
            let now_ms = self.now_ms;
            self.attempts.entry(number).or_default().commit_sent.get_or_insert(now_ms);
        }
        let wish = producer.wish();
        let (attempt, v2) = (producer.attempt, producer.v2);
        match wish {
            Wish::Nothing => return,
            Wish::Ask(request) => {
                self.send(Event::Ask { asker: Asker::Producer { index, attempt }, request });
            }
            Wish::Write { partition, producer, sequence, transaction } => {
                self.attempts.entry(transaction).or_default().by = index;
                let batch = Batch { from: index, attempt, producer, sequence, transaction, v2 };
                self.send(Event::Write { partition, batch });
            }
            Wish::CommitOffsets { producer, transaction } => {
                self.attempts.entry(transaction).or_default().by = index;
                self.send(Event::CommitOffsets(OffsetsCommit { index, attempt, producer, transaction }));
            }
        }
        self.after(ASK_AGAIN_MS, Event::Go { index, attempt });
    }

    /// Version 1 relies on the order of a connection: an EndTxn that is overtaken by the next transaction ends that one.
    /// Version 2 is there to rely on nothing (KIP-890).
    fn comes_in_order(&mut self, asker: &Asker) -> bool {
        match asker {
            Asker::Producer { index, attempt } => self.is_heard_in_order(*index, *attempt),
            _ => true,
        }
    }

    fn is_heard_in_order(&mut self, index: usize, attempt: u64) -> bool {
        if self.producers[index].v2 {
            return true;
        }
        let heard = self.heard.entry(index).or_default();
        let in_order = attempt >= *heard;
        *heard = (*heard).max(attempt);
        in_order
    }

    fn ask(&mut self, asker: Asker, request: Request) {
        self.replies += 1;
        let reply = ReplyId(self.replies);
        self.askers.insert(reply, (asker, request.clone()));
        let decision = self.machine.decide(self.now(), reply, &request);
        self.take(decision);
    }

    fn take(&mut self, decision: Decision) {
        self.machine.apply_all(&decision);
        for change in &decision.changes {
            if let Change::Record { transactional_id, value } = change {
                self.log.push((transactional_id.clone(), value.clone()));
            }
        }
        for (id, reply) in decision.replies {
            let Some((asker, request)) = self.askers.remove(&id) else { continue };
            match with_fresh_id(&reply, request, self.next_producer_id) {
                Some(again) => {
                    self.next_producer_id += 1;
                    self.ask(asker, again);
                }
                None => {
                    if let (Asker::Producer { index, attempt }, Reply::InitProducerId(Ok(_))) =
                        (&asker, &reply)
                    {
                        let order = self.grants.len();
                        self.grants.insert((*index, *attempt), order);
                    }
                    self.parked.push((self.log.len(), asker, reply));
                }
            }
        }
        let after = self.log.len();
        self.effects.extend(decision.effects.into_iter().map(|effect| (after, effect)));
        let (life, delay) = (self.life, 1 + self.random.below(20));
        self.after(delay, Event::Flush { life });
    }

    fn flush(&mut self) {
        self.durable = self.log.len();
        let durable = self.durable;
        let (ready, parked) =
            std::mem::take(&mut self.parked).into_iter().partition(|(after, ..)| *after <= durable);
        self.parked = parked;
        for (_, asker, reply) in ready as Vec<(usize, Asker, Reply)> {
            match asker {
                Asker::Nobody => {}
                Asker::Producer { index, attempt } => self.send(Event::Reply { index, attempt, reply }),
                Asker::Partition { index, ticket } => self.on_verified(index, ticket, &reply),
                Asker::Offsets { life, question, commit } => {
                    let (may_commit, delay) = (may_begin(&reply), 1 + self.random.below(100));
                    self.after(delay, Event::OffsetsVerified { life, question, commit, may_commit });
                }
            }
        }
        for (_, Effect::WriteMarkers(markers)) in std::mem::take(&mut self.effects) {
            self.deliver_marker(markers, 0);
        }
    }

    fn deliver_marker(&mut self, markers: Markers, at: usize) {
        let (life, delay) = (self.life, 1 + self.random.below(200));
        self.after(delay, Event::Marker { life, markers, at });
    }

    fn on_marker(&mut self, markers: Markers, at: usize) {
        match markers.partitions.get(at) {
            Some(partition) => {
                let index = partition.partition as usize;
                if index == OFFSETS {
                    self.verifications.on_marker(partition.partition, markers.producer.id);
                }
                self.partitions[index].on_marker(markers.producer, markers.commit);
                self.deliver_marker(markers, at + 1);
            }
            None => {
                let Markers { transactional_id, producer, .. } = markers;
                self.ask(Asker::Nobody, Request::MarkersWritten { transactional_id, producer });
            }
        }
    }

    fn on_write(&mut self, partition: usize, batch: Batch) {
        let (index, attempt) = (batch.from, batch.attempt);
        let begin = AddPartitions {
            transactional_id: id(),
            producer: batch.producer,
            partitions: vec![topic_partition(partition)],
            version: if batch.v2 { TransactionVersion::V2 } else { TransactionVersion::V1 },
        };
        let v2 = batch.v2;
        match self.partitions[partition].on_batch(batch) {
            Taken::Held(ticket) => {
                let request =
                    if v2 { Request::AddPartitions(begin) } else { Request::VerifyPartitions(begin) };
                self.ask(Asker::Partition { index: partition, ticket }, request);
            }
            taken => self.send(Event::Written { index, attempt, appended: taken == Taken::Appended }),
        }
    }

    fn on_verified(&mut self, partition: usize, ticket: u64, reply: &Reply) {
        if let Some((batch, appended)) = self.partitions[partition].on_verified(ticket, may_begin(reply)) {
            self.send(Event::Written { index: batch.from, attempt: batch.attempt, appended });
        }
    }

    fn on_commit_offsets(&mut self, commit: OffsetsCommit) {
        if !self.is_heard_in_order(commit.index, commit.attempt) {
            return;
        }
        let v2 = self.producers[commit.index].v2;
        let begin = AddPartitions {
            transactional_id: id(),
            producer: commit.producer,
            partitions: vec![topic_partition(OFFSETS)],
            version: if v2 { TransactionVersion::V2 } else { TransactionVersion::V1 },
        };
        let question = self.verifications.begin(OFFSETS as i32, commit.producer.id);
        let request = if v2 { Request::AddPartitions(begin) } else { Request::VerifyPartitions(begin) };
        self.ask(Asker::Offsets { life: self.life, question, commit }, request);
    }

    fn on_offsets_verified(&mut self, question: Question, commit: OffsetsCommit, may_commit: bool) {
        let committed = may_commit && self.verifications.is_open(question);
        self.verifications.end(question);
        let OffsetsCommit { index, attempt, producer, transaction } = commit;
        if committed {
            self.partitions[OFFSETS].on_offsets(producer, transaction);
        }
        self.send(Event::OffsetsCommitted { index, attempt, committed });
    }

    fn on_offsets_committed(&mut self, index: usize, attempt: u64, committed: bool) {
        let producer = &mut self.producers[index];
        if producer.attempt != attempt || producer.is_dead() {
            return;
        }
        let transaction = producer.transaction();
        let go_on = producer.on_offsets_committed(committed, &mut self.random);
        if go_on {
            self.attempts.entry(transaction).or_default().written.push(OFFSETS);
        }
        let attempt = self.producers[index].attempt;
        self.after(if go_on { 1 } else { ASK_AGAIN_MS }, Event::Go { index, attempt });
    }

    fn on_written(&mut self, index: usize, attempt: u64, appended: bool) {
        let producer = &mut self.producers[index];
        if producer.attempt != attempt || producer.is_dead() {
            return;
        }
        let Wish::Write { partition, transaction, .. } = producer.wish() else { return };
        if appended {
            self.attempts.entry(transaction).or_default().written.push(partition);
        }
        let go_on = producer.on_written(appended, &mut self.random);
        let attempt = producer.attempt;
        self.after(if go_on { 1 } else { ASK_AGAIN_MS }, Event::Go { index, attempt });
    }

    fn on_reply(&mut self, index: usize, attempt: u64, reply: Reply) -> Result<(), String> {
        let producer = &mut self.producers[index];
        if producer.attempt != attempt || producer.is_dead() {
            return Ok(());
        }
        match &reply {
            Reply::InitProducerId(Ok(_)) => {
                let grant = self.grants.get(&(index, attempt)).copied().unwrap_or(0);
                self.taken.insert(index, (grant, self.now_ms));
            }
            Reply::EndTransaction(Ok(_)) if producer.committing().is_some() => {
                let attempt = self.attempts.entry(producer.transaction()).or_default();
                attempt.is_committed = true;
                let sent = attempt.commit_sent.unwrap_or(0);
                let mine = self.taken.get(&index).map_or(0, |(grant, _)| *grant);
                let newer = self.taken.iter().find(|(_, (grant, since))| *grant > mine && *since < sent);
                if let Some((newer, (_, taken))) = newer {
                    return Err(format!(
                        "producer {index} commits at {sent}, though producer {newer} has the id since {taken}"
                    ));
                }
            }
            _ => {}
        }
        let go_on = producer.on_reply(&reply, &mut self.random, &mut self.transactions);
        let attempt = producer.attempt;
        self.after(if go_on { 1 } else { ASK_AGAIN_MS }, Event::Go { index, attempt });
        Ok(())
    }

    /// The coordinator comes back from what is durable, and some of what is not as well.
    fn crash(&mut self) {
        self.life += 1;
        let kept = self.durable + self.random.below((self.log.len() - self.durable) as u64 + 1) as usize;
        self.trace.push(format!("{:>6} crash, {} of {} records stay", self.now_ms, kept, self.log.len()));
        self.log.truncate(kept);
        self.durable = kept;
        self.parked.clear();
        self.effects.clear();
        self.askers.clear();
        self.partitions.iter_mut().for_each(Partition::on_crash);
        self.verifications = Verifications::default();
        self.machine = Transactions::new(config());
        for (id, value) in &self.log {
            let (key, value) = records::encode(id, value.as_deref()).expect("it can be written");
            let (transactional_id, value) =
                records::decode(Some(key), value).expect("it can be read").expect("it is known");
            self.machine.apply(&Change::Record { transactional_id, value });
        }
        let decision = self.machine.on_loaded();
        self.take(decision);
    }
}

fn may_begin(reply: &Reply) -> bool {
    match reply {
        Reply::AddPartitions(added) => added.is_ok(),
        Reply::VerifyPartitions(Ok(verified)) => verified.iter().all(Result::is_ok),
        _ => false,
    }
}

/// The same request with an id to go on with, where that was asked for.
fn with_fresh_id(reply: &Reply, request: Request, fresh: i64) -> Option<Request> {
    let needed = Err(TransactionError::ProducerIdNeeded);
    match (reply, request) {
        (Reply::InitProducerId(answer), Request::InitProducerId(mut init)) if *answer == needed => {
            init.fresh_producer_id = Some(fresh);
            Some(Request::InitProducerId(init))
        }
        (Reply::EndTransaction(answer), Request::EndTransaction(mut end)) if *answer == needed => {
            end.fresh_producer_id = Some(fresh);
            Some(Request::EndTransaction(end))
        }
        _ => None,
    }
}
