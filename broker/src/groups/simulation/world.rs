//! The simulated world: time, network, log, one coordinator and its clients. All chance comes from one seed.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::checker::{Checker, check_image};
use super::client::{Call, Client, PARTITIONS, State, group};
use crate::groups::classic::GroupState;
use crate::groups::*;
use crate::random::Random;

/// How long after the chaos the group has to get to work again.
const HEAL_MS: u64 = 120_000;

enum Message {
    Request { client: usize, call: Call },
    Reply { client: usize, number: u64, reply: Reply },
}

/// A request that the coordinator has not answered yet.
struct Waiting {
    client: usize,
    number: u64,
    request: Request,
}

pub(super) struct World {
    random: Random,
    now_ms: u64,
    chaos: bool,
    network: BTreeMap<(u64, u64), Message>,
    messages: u64,
    clients: Vec<Client>,
    value: i64,
    groups: Groups,
    /// Durable records; survives the coordinator.
    log: Vec<Record>,
    pending: Vec<Record>,
    /// Replies and how many records must be durable before they leave.
    parked: VecDeque<(usize, ReplyId, Reply)>,
    flush_at: u64,
    waiting: BTreeMap<ReplyId, Waiting>,
    replies: u64,
    checker: Checker,
    trace: DefaultHasher,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let client_count = 2 + random.below(6) as usize;
        let clients = (0..client_count).map(|index| Client::new(index, &mut random)).collect();
        let mut world = World {
            random,
            now_ms: 1_000,
            chaos: true,
            network: BTreeMap::new(),
            messages: 0,
            clients,
            value: 0,
            groups: Groups::new(config()),
            log: Vec::new(),
            pending: Vec::new(),
            parked: VecDeque::new(),
            flush_at: u64::MAX,
            waiting: BTreeMap::new(),
            replies: 0,
            checker: Checker::default(),
            trace: DefaultHasher::new(),
        };
        for index in 0..world.clients.len() {
            world.clients[index].start(world.now_ms);
        }
        world
    }

    /// What happened so far, as one number.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        if self.chaos {
            self.disturb();
        }
        let message_at = self.network.keys().next().map_or(u64::MAX, |(at, _)| *at);
        let deadline = self.groups.next_deadline().map_or(u64::MAX, |at| at.0.as_millis() as u64);
        let (client_at, client) = self
            .clients
            .iter()
            .enumerate()
            .map(|(index, client)| (client.wakes_at, index))
            .min()
            .expect("clients");
        let next = message_at.min(deadline).min(client_at).min(self.flush_at);
        assert!(next < u64::MAX, "something always happens next");
        self.now_ms = self.now_ms.max(next);
        self.now_ms.hash(&mut self.trace);
        if next == self.flush_at {
            self.flush();
        } else if next == message_at {
            self.deliver();
        } else if next == deadline {
            let decision = self.groups.on_deadline(self.now());
            self.take(decision);
        } else {
            let calls = self.clients[client].wake(self.now_ms, &mut self.random, &mut self.value);
            self.send_calls(client, calls);
        }
        self.groups.invariants();
    }

    /// Ends the chaos and checks that the group gets to work within [`HEAL_MS`].
    pub fn heal(&mut self) {
        self.chaos = false;
        let end = self.now_ms + HEAL_MS;
        while let Err(trouble) = self.check_at_work() {
            assert!(self.now_ms < end, "the group does not recover: {trouble}");
            for index in 0..self.clients.len() {
                if self.clients[index].state == State::Down && !self.has_twin(index) {
                    self.clients[index].start(self.now_ms);
                }
            }
            // Enough for a round of heartbeats, so that what seems well has time to turn out otherwise.
            for _ in 0..50 {
                self.step();
            }
        }
        check_image(&self.groups, &self.log, &self.pending);
    }

    /// Everyone who could be up is at work in one generation, and every partition has one owner.
    fn check_at_work(&self) -> Result<(), String> {
        let group = self.groups.group(&group()).ok_or("there is no group")?;
        let up: Vec<&Client> = self.clients.iter().filter(|client| client.state != State::Down).collect();
        let mut owned: Vec<i32> = up.iter().flat_map(|client| client.owned.clone()).collect();
        owned.sort_unstable();
        let idle =
            up.iter().find(|client| client.state != State::Working || client.generation != group.generation);
        let down = (0..self.clients.len())
            .find(|index| self.clients[*index].state == State::Down && !self.has_twin(*index));
        if let Some(client) = idle {
            Err(format!("{} is {:?} in {}", client.name, client.state, client.generation))
        } else if let Some(index) = down {
            Err(format!("{} is down", self.clients[index].name))
        } else if group.state() != GroupState::Stable || group.members.len() != up.len() {
            Err(format!("{:?} with {} members for {} clients", group.state(), group.members.len(), up.len()))
        } else if owned != (0..PARTITIONS).collect::<Vec<i32>>() {
            Err(format!("{owned:?} are owned"))
        } else {
            Ok(())
        }
    }

    fn has_twin(&self, index: usize) -> bool {
        let instance = &self.clients[index].instance_id;
        let twin = |(other, client): (usize, &Client)| {
            other != index && client.state != State::Down && client.instance_id == *instance
        };
        instance.is_some() && self.clients.iter().enumerate().any(twin)
    }

    fn disturb(&mut self) {
        let client = self.random.below(self.clients.len() as u64) as usize;
        match self.random.below(1_000) {
            0..4 => self.crash_coordinator(),
            4..8 => self.clients[client].crash(),
            8..12 => {
                let call = self.clients[client].leave();
                self.send_calls(client, call.into_iter().collect());
            }
            12..40 if self.clients[client].state == State::Down => self.clients[client].start(self.now_ms),
            // A client hangs for longer than its session.
            40..42 if self.clients[client].state == State::Working => {
                self.clients[client].wakes_at = self.now_ms + 9_000;
            }
            42..52 => check_image(&self.groups, &self.log, &self.pending),
            _ => {}
        }
        if self.clients.iter().all(|client| client.state == State::Down) {
            self.clients[client].start(self.now_ms);
        }
    }

    /// Of what was not durable, a part may have reached the disk, in order. Nobody is told.
    fn crash_coordinator(&mut self) {
        check_image(&self.groups, &self.log, &self.pending);
        let reached = self.random.below(self.pending.len() as u64 + 1) as usize;
        self.log.extend(self.pending.drain(..).take(reached));
        self.parked.clear();
        self.waiting.clear();
        self.flush_at = u64::MAX;
        self.groups = Groups::new(config());
        for record in &self.log {
            // Through its bytes, so that the format is a part of what is tested.
            let (key, value) = records::encode(record).expect("it was written");
            let decoded = records::decode(Some(key), value).expect("it is read");
            let records::Decoded::Record(record) = decoded else { panic!("it is one of ours") };
            self.groups.apply(&Change::Record(record));
        }
        check_image(&self.groups, &self.log, &[]);
        let decision = self.groups.on_loaded(self.now());
        self.take(decision);
        "crash".hash(&mut self.trace);
    }

    fn deliver(&mut self) {
        let Some((_, message)) = self.network.pop_first() else { return };
        match message {
            Message::Request { client, call } => {
                self.replies += 1;
                let id = ReplyId(self.replies);
                self.checker.on_request(id, &call.request);
                let decision = self.groups.decide(self.now(), id, &call.request);
                if let Request::CommitOffsets(commit) = &call.request
                    && decision.has_records()
                {
                    self.checker.on_commit_granted(commit.generation);
                }
                self.waiting.insert(id, Waiting { client, number: call.number, request: call.request });
                self.take(decision);
            }
            Message::Reply { client, number, reply } => {
                let calls = self.clients[client].on_reply(self.now_ms, number, &reply);
                self.send_calls(client, calls);
            }
        }
    }

    /// The coordinator's runtime in small: apply, write, park.
    fn take(&mut self, decision: Decision) {
        format!("{decision:?}").hash(&mut self.trace);
        self.groups.apply_all(&decision);
        self.pending.extend(decision.records().cloned());
        if !self.pending.is_empty() && self.flush_at == u64::MAX {
            let slow = if self.chaos && self.random.chance(3) { 2_000 } else { 30 };
            self.flush_at = self.now_ms + 1 + self.random.below(slow);
        }
        let after = self.log.len() + self.pending.len();
        self.parked.extend(decision.replies.into_iter().map(|(id, reply)| (after, id, reply)));
        self.release();
    }

    fn flush(&mut self) {
        self.log.append(&mut self.pending);
        self.flush_at = u64::MAX;
        self.release();
    }

    fn release(&mut self) {
        while self.parked.front().is_some_and(|(after, _, _)| *after <= self.log.len()) {
            let Some((_, id, reply)) = self.parked.pop_front() else { return };
            let waiting = self.waiting.remove(&id).expect("a request is answered once");
            self.checker.on_reply(id, &waiting.request, &reply, &self.log);
            self.send(Message::Reply { client: waiting.client, number: waiting.number, reply });
        }
    }

    fn send_calls(&mut self, client: usize, calls: Vec<Call>) {
        for call in calls {
            self.send(Message::Request { client, call });
        }
    }

    /// Loses some messages, delays most a little and a few by seconds, so that later ones overtake them.
    fn send(&mut self, message: Message) {
        if self.chaos && self.random.chance(1) {
            return;
        }
        let late = if self.chaos && self.random.chance(3) { 9_000 } else { 40 };
        let at = self.now_ms + 1 + self.random.below(late);
        self.messages += 1;
        self.network.insert((at, self.messages), message);
    }

    fn now(&self) -> Now {
        Now { monotonic: Monotonic(Duration::from_millis(self.now_ms)), wall: WallMs(self.now_ms as i64) }
    }
}

fn config() -> GroupConfig {
    GroupConfig { size_max: 6, new_member_join_timeout: Duration::from_secs(30), ..GroupConfig::default() }
}
