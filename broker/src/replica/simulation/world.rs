//! The simulated world: time, network, disks, brokers, the controller, and what befalls them. All chance comes from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use ottla_protocol::messages::metadata_records::{ConfigRecord, PartitionRecord, TopicRecord};
use uuid::Uuid;

use super::super::bugs::Bug;
use super::super::{FetchPosition, NodeRun, Replica};
use super::Mistake;
use super::broker::{Answer, LAG_MAX, Run};
use super::checker::Checker;
use super::disk::Disk;
use crate::controller::simulated::{
    PartitionRules, decide_alter_partitions, decide_controlled_shutdown, decide_fence, decide_register,
    decide_unfence,
};
use crate::controller::{
    AlterPartitions, ClusterImage, IsrChange, MetadataRecord, PartitionImage, Registration,
};
use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::machine::Monotonic;
use crate::random::Random;

const BROKERS: usize = 3;
/// Where the controller is, as the network names places.
const CONTROLLER: usize = BROKERS;
/// How long after the chaos everything has to be well again.
const HEAL_MS: u64 = 60_000;
const SESSION_MS: u64 = 1_500;
const TOPIC_ID: Uuid = Uuid::from_u128(77);

enum Message {
    Fetch {
        from: usize,
        run: u64,
        number: u64,
        broker_epoch: Offset,
        position: FetchPosition,
    },
    Fetched {
        run: u64,
        number: u64,
        answer: Answer,
    },
    Register {
        from: usize,
        run: u64,
        directory: Uuid,
        previous_epoch: Option<Offset>,
    },
    Registered {
        run: u64,
        epoch: Offset,
    },
    Heartbeat {
        from: usize,
        run: u64,
        epoch: Offset,
        heard: usize,
    },
    Unknown {
        run: u64,
    },
    Alter {
        from: usize,
        run: u64,
        wanted: AlterPartitions,
    },
    Altered {
        run: u64,
        partition_epoch: i32,
        is_refused: bool,
    },
    Stops {
        from: usize,
        epoch: Offset,
    },
    /// What was decided up to here.
    Metadata {
        run: u64,
        up_to: usize,
    },
}

struct Broker {
    id: NodeId,
    disk: Disk,
    run: Option<Run>,
    /// Counts its starts.
    starts: u64,
    paused_until: u64,
    /// In this run a power cut took something that no disk had, or the disk itself.
    lost_in: Option<u64>,
}

pub(super) struct World {
    random: Random,
    mistake: Option<Mistake>,
    now: u64,
    chaos: bool,
    min_isr: usize,
    /// `acks=all` means on disk.
    is_durable: bool,
    network: BTreeMap<(u64, u64), (usize, Message)>,
    sent: u64,
    cuts: BTreeSet<(usize, usize)>,
    brokers: Vec<Broker>,
    image: ClusterImage,
    /// What was decided, by decision.
    decisions: Vec<Vec<MetadataRecord>>,
    records: i64,
    heard_of: BTreeMap<NodeId, u64>,
    /// Whose power is cut when.
    dies_at: Option<(u64, usize)>,
    produces_at: u64,
    values: u64,
    checker: Checker,
    trace: DefaultHasher,
    steps: u64,
}

impl World {
    pub fn new(seed: u64, mistake: Option<Mistake>) -> World {
        let mut random = Random::new(seed);
        let min_isr = if random.chance(70) { 2 } else { 1 };
        let is_durable = random.chance(70);
        let brokers = (1..=BROKERS as i32).map(|id| Broker {
            id: NodeId(id),
            disk: Disk::new(Uuid::from_u128(100 + id as u128)),
            run: None,
            starts: 0,
            paused_until: 0,
            lost_in: None,
        });
        let mut world = World {
            checker: Checker::new(random.chance(30)),
            random,
            mistake,
            now: 1_000,
            chaos: true,
            min_isr,
            is_durable,
            network: BTreeMap::new(),
            sent: 0,
            cuts: BTreeSet::new(),
            brokers: brokers.collect(),
            image: ClusterImage::default(),
            decisions: Vec::new(),
            records: 0,
            heard_of: BTreeMap::new(),
            dies_at: None,
            produces_at: 1_000,
            values: 0,
            trace: DefaultHasher::new(),
            steps: 0,
        };
        world.make_partition();
        (0..BROKERS).for_each(|at| world.start(at));
        world
    }

    /// What happened so far, as one number.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    fn rules(&self) -> PartitionRules {
        PartitionRules {
            bug: match self.mistake {
                Some(Mistake::Controller(bug)) => Some(bug),
                _ => None,
            },
        }
    }

    fn bug(&self) -> Option<Bug> {
        match self.mistake {
            Some(Mistake::Replica(bug)) => Some(bug),
            _ => None,
        }
    }

    fn make_partition(&mut self) {
        let ids: Vec<i32> = self.brokers.iter().map(|broker| broker.id.0).collect();
        let config = |name: &str, value: usize| {
            MetadataRecord::Config(ConfigRecord {
                resource_type: 2,
                resource_name: "t".into(),
                name: name.into(),
                value: Some(value.to_string().into()),
            })
        };
        let flush = if self.is_durable { 1 } else { 1_000_000 };
        self.decide(vec![
            MetadataRecord::Topic(TopicRecord { name: "t".into(), topic_id: TOPIC_ID }),
            MetadataRecord::Partition(PartitionRecord {
                partition_id: 0,
                topic_id: TOPIC_ID,
                replicas: ids.clone(),
                isr: ids.clone(),
                leader: -1,
                directories: self.brokers.iter().map(|broker| broker.disk.directory).collect(),
                ..PartitionRecord::default()
            }),
            config("min.insync.replicas", self.min_isr),
            config("flush.messages", flush),
        ]);
    }

    fn partition(&self) -> &PartitionImage {
        &self.image.topics().next().expect("a topic").partitions[0]
    }

    /// Keeps what the controller has decided.
    fn decide(&mut self, records: Vec<MetadataRecord>) {
        if records.is_empty() {
            return;
        }
        records.iter().for_each(|record| self.image.apply(record));
        self.image.invariants().expect("the image is sound");
        self.checker.tell(|| {
            let partition = self.image.topics().next().and_then(|topic| topic.partitions.first());
            format!("{} decision {}: {partition:?}", self.now, self.decisions.len())
        });
        self.records += records.len() as i64;
        self.decisions.push(records);
        let up_to = self.decisions.len();
        for at in 0..BROKERS {
            let run = self.brokers[at].starts;
            self.send(CONTROLLER, at, Message::Metadata { run, up_to });
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.chaos && (self.cuts.contains(&(from, to)) || self.random.chance(3)) {
            return;
        }
        let delay = match self.random.below(100) {
            0..3 if self.chaos => 200 + self.random.below(2_500),
            0..20 => 10 + self.random.below(60),
            _ => 1 + self.random.below(8),
        };
        self.sent += 1;
        self.network.insert((self.now + delay, self.sent), (to, message));
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        self.steps += 1;
        if self.chaos {
            self.disturb();
            if let Some((_, at)) = self.dies_at.take_if(|(due, _)| *due <= self.now) {
                self.cut_power(at);
            }
        }
        let message_at = self.network.keys().next().map_or(u64::MAX, |(at, _)| *at);
        let wakes = self.brokers.iter().enumerate().map(|(at, broker)| (wakes_at(broker), at));
        let (broker_at, broker) = wakes.min().expect("brokers");
        let fence_at = self.heard_of.values().min().map_or(u64::MAX, |heard| heard + SESSION_MS);
        let produces_at = if self.chaos { self.produces_at } else { u64::MAX };
        let next = message_at.min(broker_at).min(fence_at).min(produces_at);
        if next == u64::MAX {
            self.now += 100;
            return;
        }
        self.now = self.now.max(next);
        (self.now, broker).hash(&mut self.trace);
        if next == produces_at {
            self.produces_at = self.now + 1 + self.random.below(40);
            self.produce();
        } else if next == message_at {
            self.deliver();
        } else if next == fence_at {
            self.fence_the_silent();
        } else {
            self.wake(broker);
        }
        self.check();
    }

    fn check(&mut self) {
        let mut known = Vec::new();
        for broker in &self.brokers {
            let Some(Run { replica: Some(replica), .. }) = &broker.run else { continue };
            if let Replica::Leads(leader) = replica {
                leader.invariants().expect("the leader is sound");
            }
            let log = replica.log();
            assert_eq!(log.log_end, broker.disk.end(), "{} knows its log", broker.id);
            known.push((&broker.disk, log.high_watermark));
        }
        if self.steps.is_multiple_of(20) {
            for (place, a) in known.iter().enumerate() {
                known.iter().skip(place + 1).for_each(|b| self.checker.agree(*a, *b));
            }
        }
    }

    fn now(&self) -> Monotonic {
        Monotonic::from_millis(self.now)
    }

    fn start(&mut self, at: usize) {
        let (now, bug, min_isr, is_durable) = (self.now, self.bug(), self.min_isr, self.is_durable);
        let broker = &mut self.brokers[at];
        broker.starts += 1;
        self.checker.tell(|| format!("{now} {} starts, min isr {min_isr}, durable {is_durable}", broker.id));
        // What is found on the disk is made durable before anything else.
        broker.disk.durable = broker.disk.entries.len();
        let incarnation = incarnation(broker.id, broker.starts);
        let node = NodeRun { id: broker.id, incarnation, is_alone: false };
        broker.run = Some(Run::new(node, now, bug, min_isr, is_durable));
    }

    fn kill(&mut self, at: usize) {
        let broker = &self.brokers[at];
        self.checker.tell(|| format!("{} {} is killed: {}", self.now, broker.id, broker.disk.end()));
        self.brokers[at].run = None;
        self.brokers[at].disk.stopped_in = None;
        self.brokers[at].paused_until = 0;
    }

    /// Whether a broker may lose what it was trusted with: one at a time, while all others that have everything are there.
    fn may_lose(&self, at: usize) -> bool {
        let PartitionImage { isr, eligible_leader_replicas, .. } = self.partition();
        let has_all = |id: &NodeId| isr.contains(id) || eligible_leader_replicas.contains(id);
        let others = self.brokers.iter().enumerate().filter(|(place, _)| *place != at);
        let mut others = others.map(|(_, other)| other).filter(|other| has_all(&other.id)).peekable();
        let nobody_lacks = self.brokers.iter().all(|broker| broker.lost_in.is_none());
        let somebody_has = others.peek().is_some();
        self.min_isr > 1
            && nobody_lacks
            && somebody_has
            && others.all(|other| other.run.as_ref().is_some_and(|run| run.registered.is_some()))
    }

    /// Whether a broker may crash. Where nobody waits for the disk a crash costs the seat in the in-sync replicas: the last one there
    /// does not crash, nor a second one before the first has everything again.
    fn may_crash(&self) -> bool {
        let nobody_lacks = self.brokers.iter().all(|broker| broker.lost_in.is_none());
        self.is_durable || (nobody_lacks && self.partition().isr.len() > 1)
    }

    fn cut_power(&mut self, at: usize) {
        if !self.is_durable && !self.may_lose(at) {
            return;
        }
        if self.brokers[at].run.is_none() {
            return;
        }
        self.kill(at);
        let is_durable = self.is_durable;
        let kept = self.random.below(self.brokers[at].disk.entries.len() as u64 + 1) as usize;
        let broker = &mut self.brokers[at];
        if !is_durable {
            broker.lost_in = Some(broker.starts);
        }
        broker.disk.lose(kept);
        self.checker.tell(|| format!("of the log of {} a power cut leaves {}", broker.id, broker.disk.end()));
    }

    /// A broker gets a new disk.
    fn wipe(&mut self, at: usize) {
        if !self.may_lose(at) {
            return;
        }
        self.kill(at);
        let directory = Uuid::from_u128(1_000 + u128::from(self.random.next()));
        self.brokers[at].disk = Disk::new(directory);
        self.checker.tell(|| format!("{} has a new disk", self.brokers[at].id));
        self.brokers[at].lost_in = Some(self.brokers[at].starts);
    }

    /// A broker stops in good order.
    fn stop(&mut self, at: usize) {
        let Some(run) = self.brokers[at].run.take() else { return };
        self.checker.tell(|| format!("{} {} stops", self.now, self.brokers[at].id));
        let disk = &mut self.brokers[at].disk;
        disk.durable = disk.entries.len();
        disk.high_watermark =
            run.replica.as_ref().map_or(disk.high_watermark, |replica| replica.log().high_watermark);
        disk.stopped_in = run.registered.or(disk.stopped_in);
        if let Some(epoch) = run.registered {
            self.send(at, CONTROLLER, Message::Stops { from: at, epoch });
        }
    }

    fn disturb(&mut self) {
        let at = self.random.below(BROKERS as u64) as usize;
        let other = self.random.below(BROKERS as u64 + 1) as usize;
        match self.random.below(10_000) {
            0..12 if self.may_crash() => self.kill(at),
            12..24 => self.cut_power(at),
            24..34 => self.stop(at),
            34..44 => {
                // Back before anybody notices.
                self.cut_power(at);
                if self.brokers[at].run.is_none() {
                    self.start(at);
                }
            }
            44..200 if self.brokers[at].run.is_none() => self.start(at),
            200..215 => self.brokers[at].paused_until = self.now + self.random.below(4_000),
            215..230 => {
                for other in 0..=BROKERS {
                    self.cuts.extend([(at, other), (other, at)]);
                }
            }
            230..260 => drop(self.cuts.insert((at, other))),
            260..280 => drop(self.cuts.insert((other, at))),
            280..310 => self.cuts.clear(),
            310..313 => self.wipe(at),
            _ => {}
        }
        if self.random.chance(1)
            && let broker = &mut self.brokers[at]
            && let Some(Run { replica: Some(replica), .. }) = &broker.run
        {
            broker.disk.high_watermark = replica.log().high_watermark;
        }
    }

    /// Ends the chaos and checks that all is well within [`HEAL_MS`].
    pub fn heal(&mut self) {
        self.chaos = false;
        self.cuts.clear();
        for at in 0..BROKERS {
            self.brokers[at].paused_until = 0;
            if self.brokers[at].run.is_none() {
                self.start(at);
            }
        }
        let end = self.now + HEAL_MS;
        while let Err(trouble) = self.check_at_work() {
            assert!(self.now < end, "the partition does not recover: {trouble}");
            for _ in 0..50 {
                self.step();
            }
        }
        for broker in self.brokers.iter().filter(|_| self.partition().leader.is_some()) {
            self.checker.has_all(broker.id, &broker.disk, LeaderEpoch(i32::MAX));
        }
        let is_led = self.partition().leader.is_some();
        assert!(self.checker.acked_count() > 0 || !is_led, "nothing was ever acknowledged");
    }

    fn check_at_work(&self) -> Result<(), String> {
        let partition = self.partition();
        let trouble = |what: &str| {
            let runs = self.brokers.iter().map(|broker| {
                let run = broker
                    .run
                    .as_ref()
                    .map(|run| (run.registered, run.heard, &run.wish, &run.fetch, &run.replica));
                format!("\n{} until {}: {run:?}", broker.id, broker.paused_until)
            });
            let runs: String = runs.collect();
            Err(format!("{what}: {partition:?}, {} decisions, at {}{runs}", self.decisions.len(), self.now))
        };
        let Some(leader) = partition.leader else {
            // Where nobody waits for the disk and all have crashed, whoever has most is the operator's to say.
            let nobody_is_sure = partition.isr.is_empty() && partition.eligible_leader_replicas.is_empty();
            return if nobody_is_sure && !self.is_durable { Ok(()) } else { trouble("nobody leads") };
        };
        if partition.isr.len() < BROKERS {
            return trouble("not everybody is in sync");
        }
        let disk = &self.brokers.iter().find(|broker| broker.id == leader).expect("a broker").disk;
        for broker in &self.brokers {
            let Some(Run { replica: Some(replica), .. }) = &broker.run else { return trouble("one is down") };
            if broker.disk.entries != disk.entries || replica.log().high_watermark != disk.end() {
                return trouble("one is behind");
            }
        }
        Ok(())
    }

    fn produce(&mut self) {
        let at = self.random.below(BROKERS as u64) as usize;
        let acks_all = !self.checker.some_are_promised_less || self.random.chance(60);
        let (now, monotonic) = (self.now, self.now());
        let sync_at = self.sync_at();
        let broker = &mut self.brokers[at];
        let Some(run) = broker.run.as_mut().filter(|_| broker.paused_until <= now) else { return };
        self.values += 1;
        if run.produce(broker.id, self.values, acks_all, &mut broker.disk, monotonic, &mut self.checker) {
            run.syncs.push((sync_at, broker.disk.entries.len(), run.cuts));
        }
    }

    /// When a sync that begins now ends. Nobody waits for one of a topic that has given the disk up.
    fn sync_at(&mut self) -> u64 {
        let longest = match self.is_durable {
            true if self.random.chance(4) => 600,
            true => 30,
            false => 2_000,
        };
        self.now + 1 + self.random.below(longest)
    }

    fn wake(&mut self, at: usize) {
        let (now, monotonic) = (self.now, self.now());
        let (jitter, sync_at) = (self.random.below(20), self.sync_at());
        let decisions = self.decisions.len();
        let broker = &mut self.brokers[at];
        let (id, starts) = (broker.id, broker.starts);
        let Some(run) = &mut broker.run else { return };
        if let Some(due) = run.syncs.iter().position(|(at, ..)| *at <= now) {
            let (_, end, cuts) = run.syncs.remove(due);
            return run.synced(id, (end, cuts), &mut broker.disk, &mut self.checker);
        }
        if run.speaks_at <= now {
            run.speaks_at = now + 300 + jitter;
            let message = match run.registered {
                None => Message::Register {
                    from: at,
                    run: starts,
                    directory: broker.disk.directory,
                    previous_epoch: broker.disk.stopped_in,
                },
                Some(epoch) => Message::Heartbeat { from: at, run: starts, epoch, heard: run.heard },
            };
            let behind = run.heard < decisions;
            self.send(at, CONTROLLER, message);
            if behind {
                self.send(CONTROLLER, at, Message::Metadata { run: starts, up_to: decisions });
            }
            return;
        }
        if run.looks_at <= now {
            run.looks_at = now + LAG_MAX.as_millis() as u64 / 2;
            let mut effects = Vec::new();
            if let Some(Replica::Leads(leader)) = &mut run.replica {
                leader.check_lag(monotonic, LAG_MAX, &mut effects);
            }
            return run.carry_out(id, effects, &mut broker.disk, &mut self.checker);
        }
        if run.wish_at <= now
            && let (Some(wish), Some(epoch)) = (&run.wish, run.registered)
        {
            run.wish_at = now + 100 + jitter;
            let change = IsrChange {
                topic_id: TOPIC_ID,
                partition: 0,
                leader_epoch: wish.leader_epoch,
                partition_epoch: wish.partition_epoch,
                isr: wish
                    .isr
                    .iter()
                    .map(|(member, known)| (*member, if *member == id { epoch } else { *known }))
                    .collect(),
            };
            let wanted = AlterPartitions { broker: id, broker_epoch: epoch, changes: vec![change] };
            return self.send(at, CONTROLLER, Message::Alter { from: at, run: starts, wanted });
        }
        run.fetch_at = now + 15 + jitter;
        if run.is_durable
            && run.replica.as_ref().is_some_and(|replica| replica.log().durable_end < replica.log().log_end)
            && run.syncs.is_empty()
        {
            run.syncs.push((sync_at, broker.disk.entries.len(), run.cuts));
        }
        let Some((leader, position)) = run.position(&broker.disk) else { return };
        // An answer that does not come is not waited for for ever.
        if run.fetch.is_some() && jitter > 1 {
            return;
        }
        let (number, broker_epoch) = (self.sent, run.registered.unwrap_or(Offset(-1)));
        run.fetch = Some((number, position));
        let Some(to) = self.brokers.iter().position(|broker| broker.id == leader) else { return };
        self.send(at, to, Message::Fetch { from: at, run: starts, number, broker_epoch, position });
    }

    fn deliver(&mut self) {
        let Some((_, (to, message))) = self.network.pop_first() else { return };
        if to == CONTROLLER {
            return self.deliver_to_controller(message);
        }
        if self.brokers[to].paused_until > self.now {
            // It waits in the socket.
            let at = self.brokers[to].paused_until;
            self.sent += 1;
            self.network.insert((at, self.sent), (to, message));
            return;
        }
        let (monotonic, sync_at) = (self.now(), self.sync_at());
        let broker = &mut self.brokers[to];
        let (id, starts) = (broker.id, broker.starts);
        let Some(run) = &mut broker.run else { return };
        match message {
            Message::Fetch { from, run: asking, number, broker_epoch, position } => {
                let asker = NodeId(from as i32 + 1);
                let answer = run.answer(
                    id,
                    (asker, broker_epoch),
                    position,
                    &mut broker.disk,
                    monotonic,
                    &mut self.checker,
                );
                self.send(to, from, Message::Fetched { run: asking, number, answer });
            }
            Message::Fetched { run: meant, number, answer } if meant == starts => {
                if run.take(number, answer, &mut broker.disk) {
                    run.syncs.push((sync_at, broker.disk.entries.len(), run.cuts));
                }
                run.fetch_at = self.now;
            }
            Message::Registered { run: meant, epoch } if meant == starts => {
                run.registered = Some(epoch);
                broker.disk.stopped_in = None;
                run.speaks_at = self.now;
            }
            Message::Unknown { run: meant } if meant == starts => {
                run.registered = None;
                run.speaks_at = self.now;
            }
            Message::Altered { run: meant, partition_epoch, is_refused }
                if meant == starts
                    && run.wish.as_ref().is_some_and(|wish| wish.partition_epoch == partition_epoch) =>
            {
                run.wish = None;
                let mut effects = Vec::new();
                if let (true, Some(Replica::Leads(leader))) = (is_refused, &mut run.replica) {
                    leader.refused(partition_epoch, monotonic, &mut effects);
                }
                run.carry_out(id, effects, &mut broker.disk, &mut self.checker);
            }
            Message::Metadata { run: meant, up_to } if meant == starts => {
                let led_in = run.leads_in();
                while run.heard < up_to {
                    let records = &self.decisions[run.heard];
                    run.hear(id, records, &mut broker.disk, monotonic, &mut self.checker);
                }
                // New offices are when most goes wrong.
                if run.leads_in() != led_in && self.chaos && self.random.chance(15) {
                    self.dies_at = Some((self.now + self.random.below(25), to));
                }
            }
            _ => {}
        }
    }

    fn deliver_to_controller(&mut self, message: Message) {
        let rules = self.rules();
        match message {
            Message::Register { from, run, directory, previous_epoch } => {
                let id = self.brokers[from].id;
                let wanted = Registration {
                    id,
                    incarnation_id: incarnation(id, run),
                    endpoints: Vec::new(),
                    log_dirs: vec![directory],
                    rack: None,
                    features: Vec::new(),
                    previous_epoch,
                };
                let Ok((records, epoch)) =
                    decide_register(&self.image, rules, &wanted, Offset(self.records), false)
                else {
                    return;
                };
                self.decide(records);
                self.heard_of.insert(id, self.now);
                self.send(CONTROLLER, from, Message::Registered { run, epoch });
            }
            Message::Heartbeat { from, run, epoch, heard } => {
                let id = self.brokers[from].id;
                match self.image.brokers().get(&id) {
                    Some(broker) if broker.epoch == epoch => {
                        self.heard_of.insert(id, self.now);
                        // It knows of its registration, with all that came before.
                        if heard + 3 >= self.decisions.len() && broker.is_fenced {
                            let records = decide_unfence(&self.image, rules, id);
                            self.decide(records);
                        }
                    }
                    _ => self.send(CONTROLLER, from, Message::Unknown { run }),
                }
            }
            Message::Alter { from, run, wanted } => {
                let partition_epoch = wanted.changes[0].partition_epoch;
                let is_refused = match decide_alter_partitions(&self.image, rules, &wanted) {
                    Ok((records, answers)) => {
                        self.decide(records);
                        self.note_recovered();
                        answers.iter().any(Result::is_err)
                    }
                    Err(_) => return,
                };
                self.send(CONTROLLER, from, Message::Altered { run, partition_epoch, is_refused });
            }
            Message::Stops { from, epoch } => {
                let id = self.brokers[from].id;
                if self.image.brokers().get(&id).is_some_and(|broker| broker.epoch == epoch) {
                    let records = decide_controlled_shutdown(&self.image, rules, id);
                    self.decide(records);
                }
            }
            _ => {}
        }
    }

    /// Who is in sync again since it lost something has everything.
    fn note_recovered(&mut self) {
        let isr = self.partition().isr.clone();
        for broker in &mut self.brokers {
            let registered = self.image.brokers().get(&broker.id);
            let run = registered.map_or(0, |registered| registered.incarnation_id.as_u128() as u64);
            if broker.lost_in.is_some_and(|lost_in| lost_in < run) && isr.contains(&broker.id) {
                broker.lost_in = None;
            }
        }
    }

    fn fence_the_silent(&mut self) {
        let (now, rules) = (self.now, self.rules());
        let silent: Vec<NodeId> = self
            .heard_of
            .iter()
            .filter(|(_, heard)| **heard + SESSION_MS <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            self.heard_of.remove(&id);
            let records = decide_fence(&self.image, rules, id);
            self.decide(records);
        }
    }
}

fn incarnation(id: NodeId, run: u64) -> Uuid {
    Uuid::from_u128(((id.0 as u128) << 64) | u128::from(run))
}

fn wakes_at(broker: &Broker) -> u64 {
    let Some(run) = &broker.run else { return u64::MAX };
    let sync = run.syncs.iter().map(|(at, ..)| *at).min().unwrap_or(u64::MAX);
    let wish = if run.wish.is_some() && run.registered.is_some() { run.wish_at } else { u64::MAX };
    sync.min(run.fetch_at).min(run.speaks_at).min(run.looks_at).min(wish).max(broker.paused_until)
}
