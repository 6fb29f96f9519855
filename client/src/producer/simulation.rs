//! A partition queue against a model of a broker that checks sequences, driven by seeds: appends, answers, lost
//! requests and lost answers in any order. Whatever happens, the log has every record once and in order.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::batch::{Batch, ProducerIdentity};
use super::partition_queue::{Limits, PartitionQueue, RecordRef};

const BROKER: i32 = 1;

fn limits() -> Limits {
    Limits {
        batch_size: 120,
        linger: Duration::from_millis(5),
        max_in_flight: 5,
        delivery_timeout: Duration::from_secs(3600),
        retry_backoff: Duration::from_millis(10),
        retry_backoff_max: Duration::from_millis(100),
    }
}

/// What a broker keeps of one partition: the orders of the batches it has, and what it knows of producers.
#[derive(Default)]
struct Broker {
    log: Vec<u64>,
    identity: Option<ProducerIdentity>,
    next_sequence: i32,
    /// Sequence and order of the batches that it would know again (Kafka remembers five).
    recent: Vec<(i32, u64)>,
}

enum Answer {
    Appended,
    OutOfOrder,
    UnknownProducer,
}

impl Broker {
    fn produce(&mut self, batch: &Batch) -> Answer {
        let sequence = batch.sequence.expect("an idempotent batch has a sequence");
        if self.identity != Some(sequence.identity) {
            if sequence.base != 0 {
                return Answer::UnknownProducer;
            }
            self.identity = Some(sequence.identity);
            self.next_sequence = 0;
            self.recent.clear();
        }
        if self.recent.contains(&(sequence.base, batch.order)) {
            return Answer::Appended;
        }
        if sequence.base != self.next_sequence {
            return Answer::OutOfOrder;
        }
        self.log.push(batch.order);
        self.next_sequence += batch.record_count;
        self.recent.push((sequence.base, batch.order));
        if self.recent.len() > 5 {
            self.recent.remove(0);
        }
        Answer::Appended
    }

    fn forget_producers(&mut self) {
        self.identity = None;
        self.recent.clear();
    }
}

/// A batch under way: the broker has seen it or not; its answer comes in order.
struct UnderWay {
    batch: Batch,
    answer: Option<Answer>,
}

struct Simulation {
    random: StdRng,
    now: Instant,
    limits: Limits,
    queue: PartitionQueue,
    broker: Broker,
    identity: ProducerIdentity,
    under_way: Vec<UnderWay>,
    acknowledged: Vec<u64>,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        Simulation {
            random: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            limits: limits(),
            queue: PartitionQueue::default(),
            broker: Broker::default(),
            identity: ProducerIdentity { producer_id: 0, producer_epoch: 0 },
            under_way: Vec::new(),
            acknowledged: Vec::new(),
        }
    }

    fn append(&mut self) {
        let length = self.random.random_range(0..80);
        self.append_value(length);
    }

    fn append_value(&mut self, length: usize) {
        let value = vec![0; length];
        let record = RecordRef { timestamp_ms: 0, key: None, value: Some(&value), headers: &[] };
        let _ = self.queue.append(record, &self.limits, self.now);
    }

    fn take(&mut self) {
        if self.queue.is_ready(&self.limits, self.now) && self.queue.wants_new_identity(Some(self.identity)) {
            self.identity.producer_id += 1;
        }
        if let Some(mut batch) = self.queue.take(&self.limits, self.now, BROKER, Some(self.identity)) {
            let _ = batch.seal(ottla_protocol::records::Compression::None, false);
            self.under_way.push(UnderWay { batch, answer: None });
        }
    }

    /// The broker takes the next request from the connection.
    fn arrive(&mut self) {
        if let Some(next) = self.under_way.iter_mut().find(|each| each.answer.is_none()) {
            next.answer = Some(self.broker.produce(&next.batch));
        }
    }

    /// The oldest answer comes back.
    fn answer(&mut self) {
        if !matches!(self.under_way.first(), Some(UnderWay { answer: Some(_), .. })) {
            return;
        }
        let UnderWay { batch, answer } = self.under_way.remove(0);
        match answer {
            Some(Answer::Appended) => {
                self.queue.on_acknowledged(&batch);
                self.acknowledged.push(batch.order);
                let _ = batch
                    .complete(Ok(super::delivery::Acknowledged { base_offset: 0, log_append_time_ms: -1 }));
            }
            Some(Answer::OutOfOrder) if self.queue.is_recovering() => {
                self.queue.on_retriable(batch, &self.limits, self.now);
            }
            _ => self.queue.on_identity_rejected(batch, &self.limits, self.now),
        }
    }

    /// The connection ends: some requests had arrived, some had not; nobody knows which.
    fn disconnect(&mut self) {
        for UnderWay { batch, .. } in std::mem::take(&mut self.under_way) {
            self.queue.on_retriable(batch, &self.limits, self.now);
        }
    }

    /// The broker refuses the oldest request as a leader that is none any more.
    fn refuse(&mut self) {
        let is_first_unseen = self.under_way.first().is_some_and(|first| first.answer.is_none());
        if is_first_unseen {
            let UnderWay { batch, .. } = self.under_way.remove(0);
            self.queue.on_retriable(batch, &self.limits, self.now);
        }
    }

    fn step(&mut self, forgetful: bool) {
        match self.random.random_range(0..100) {
            0..30 => self.append(),
            30..55 => self.take(),
            55..72 => self.arrive(),
            72..88 => self.answer(),
            88..92 => self.now += Duration::from_millis(self.random.random_range(1..40)),
            92..95 => self.disconnect(),
            95..98 => self.refuse(),
            // Only while nothing is in doubt: what a broker forgets it cannot know again.
            _ if forgetful && self.queue.is_empty() => self.broker.forget_producers(),
            _ => {}
        }
        self.queue.invariants(&self.limits);
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.queue.is_empty() {
                return;
            }
            self.now += Duration::from_millis(50);
            self.take();
            self.arrive();
            self.answer();
            self.queue.invariants(&self.limits);
        }
        panic!("the queue does not settle");
    }

    fn run(seed: u64, forgetful: bool) -> Vec<u64> {
        eprintln!("seed {seed}, forgetful {forgetful}");
        let mut simulation = Simulation::new(seed);
        for _ in 0..1500 {
            simulation.step(forgetful);
        }
        simulation.settle();
        let log = &simulation.broker.log;
        assert!(log.is_sorted_by(|earlier, later| earlier < later), "once and in order: {log:?}");
        assert_eq!(log.len() as u64, *log.last().unwrap_or(&0), "nothing is missing");
        // Answers that were lost come later than those of batches behind them.
        simulation.acknowledged.sort_unstable();
        assert!(*log == simulation.acknowledged, "what was acknowledged is what is there, once");
        simulation.broker.log
    }
}

#[test]
fn every_record_is_written_once_and_in_order_whatever_is_lost() {
    for seed in 0..100 {
        Simulation::run(seed, false);
    }
}

#[test]
fn a_broker_that_forgets_an_idle_producer_costs_nothing() {
    for seed in 100..160 {
        Simulation::run(seed, true);
    }
}

#[test]
fn the_same_seed_goes_the_same_way() {
    assert_eq!(Simulation::run(7, true), Simulation::run(7, true));
}

#[test]
fn a_batch_that_is_given_up_does_not_stop_those_behind_it() {
    let mut simulation = Simulation::new(0);
    for _ in 0..3 {
        simulation.append();
        simulation.queue.close_open();
        simulation.take();
    }
    let refused = simulation.under_way.remove(0).batch;
    simulation.queue.on_failed(&refused);
    simulation.arrive();
    simulation.arrive();
    simulation.answer();
    simulation.answer();
    simulation.settle();
    assert_eq!(simulation.broker.log, [2, 3]);
    assert_eq!(simulation.identity.producer_id, 1, "the gap needs another identity");
}

#[test]
fn records_wait_for_linger_or_for_a_full_batch() {
    let mut simulation = Simulation::new(0);
    simulation.append_value(1);
    let (linger, now) = (simulation.limits.linger, simulation.now);
    assert_eq!(simulation.queue.wakeup(&simulation.limits, now), Some(now + linger));
    assert!(!simulation.queue.is_ready(&simulation.limits, now));
    assert!(simulation.queue.is_ready(&simulation.limits, now + linger));
    simulation.append_value(100);
    assert!(simulation.queue.is_ready(&simulation.limits, now));
}

#[test]
fn a_batch_that_takes_too_long_is_taken_out() {
    let mut simulation = Simulation::new(0);
    simulation.append();
    let expires_at = simulation.queue.expires_at(&simulation.limits).unwrap();
    assert_eq!(expires_at, simulation.now + simulation.limits.delivery_timeout);
    assert_eq!(simulation.queue.expired(&simulation.limits, simulation.now).len(), 0);
    assert_eq!(simulation.queue.expired(&simulation.limits, expires_at).len(), 1);
    assert!(simulation.queue.is_empty());
}
