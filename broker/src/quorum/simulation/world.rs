//! The simulated world: time, network, disks, nodes and what befalls them. All chance comes from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use uuid::Uuid;

use super::checker::Checker;
use super::disk::{Disk, Entry};
use crate::ids::{NodeId, Offset};
use crate::machine::Monotonic;
use crate::quorum::bugs::Bug;
use crate::quorum::*;
use crate::random::Random;

/// How long after the chaos the quorum has to get to work again.
const HEAL_MS: u64 = 120_000;
const FETCH_TIMEOUT_MS: u64 = 2_000;
/// A leader that nobody has fetched from for so long has had every chance to notice.
const ALONE_MS: u64 = 3 * FETCH_TIMEOUT_MS;

enum Message {
    Request {
        from: usize,
        incarnation: u64,
        to: usize,
        request: Request,
    },
    Response {
        from: usize,
        to: usize,
        incarnation: u64,
        request: Request,
        response: Response,
        records: Vec<Entry>,
    },
    Snapshot {
        to: usize,
        incarnation: u64,
        end: LogEnd,
        entries: Vec<Entry>,
    },
}

struct Node {
    id: NodeId,
    disk: Disk,
    quorum: Option<Quorum>,
    /// Counts its starts.
    incarnation: u64,
    /// When what was written is durable.
    flush_at: u64,
    /// Until then it does nothing.
    paused_until: u64,
    /// Who waits for an answer.
    asked: BTreeMap<RequestId, (usize, u64, Request)>,
}

impl Node {
    fn key(&self) -> ReplicaKey {
        ReplicaKey { id: self.id, directory: self.disk.directory }
    }

    fn wakes_at(&self) -> u64 {
        let deadline = self.quorum.as_ref().and_then(Quorum::next_deadline);
        let deadline = deadline.map_or(u64::MAX, |at| at.0.as_micros().div_ceil(1_000) as u64);
        match deadline.min(self.flush_at) {
            u64::MAX => u64::MAX,
            at => at.max(self.paused_until),
        }
    }
}

pub(super) struct World {
    random: Random,
    bug: Option<Bug>,
    now_ms: u64,
    chaos: bool,
    network: BTreeMap<(u64, u64), Message>,
    messages: u64,
    /// From whom nothing reaches whom.
    cuts: BTreeSet<(usize, usize)>,
    nodes: Vec<Node>,
    voters: Voters,
    client_at: u64,
    values: u64,
    wiped: usize,
    /// Who crashes when.
    dies_at: Vec<(u64, usize)>,
    /// When a leader last had a fetch of a voter.
    heard: BTreeMap<(usize, ReplicaKey), u64>,
    checker: Checker,
    steps: u64,
    trace: DefaultHasher,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>) -> World {
        let mut random = Random::new(seed);
        let voter_count = if random.chance(60) { 3 } else { 5 };
        let ids = (1..=voter_count).chain([100]);
        let nodes: Vec<Node> = ids
            .map(|id| Node {
                id: NodeId(id),
                disk: Disk::new(Uuid::from_u128(id as u128)),
                quorum: None,
                incarnation: 0,
                flush_at: u64::MAX,
                paused_until: 0,
                asked: BTreeMap::new(),
            })
            .collect();
        let voters = nodes.iter().filter(|node| node.id.0 < 100).map(Node::key).collect();
        let mut world = World {
            random,
            bug,
            now_ms: 1_000,
            chaos: true,
            network: BTreeMap::new(),
            messages: 0,
            cuts: BTreeSet::new(),
            nodes,
            voters,
            client_at: 1_000,
            values: 0,
            wiped: 0,
            dies_at: Vec::new(),
            heard: BTreeMap::new(),
            checker: Checker::default(),
            steps: 0,
            trace: DefaultHasher::new(),
        };
        for index in 0..world.nodes.len() {
            world.start(index);
        }
        world
    }

    /// What happened so far, as one number.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        self.steps += 1;
        if self.chaos {
            self.disturb();
            if let Some(due) = self.dies_at.iter().position(|(at, _)| *at <= self.now_ms) {
                let (_, index) = self.dies_at.swap_remove(due);
                self.crash(index);
            }
        }
        let message_at = self.network.keys().next().map_or(u64::MAX, |(at, _)| *at);
        let wakes = self.nodes.iter().enumerate().map(|(index, node)| (node.wakes_at(), index));
        let (node_at, node) = wakes.min().expect("nodes");
        let client_at = if self.chaos { self.client_at } else { u64::MAX };
        let next = message_at.min(node_at).min(client_at);
        if next == u64::MAX {
            // Everybody is down.
            self.now_ms += 100;
            return;
        }
        self.now_ms = self.now_ms.max(next);
        (self.now_ms, node).hash(&mut self.trace);
        if next == client_at {
            self.client_at = self.now_ms + 1 + self.random.below(150);
            self.append();
        } else if next == message_at {
            self.deliver();
        } else if self.nodes[node].flush_at <= self.now_ms {
            self.nodes[node].flush_at = u64::MAX;
            self.nodes[node].disk.durable = self.nodes[node].disk.entries.len();
            let end = self.nodes[node].disk.end();
            self.tell(node, Event::Flushed { end }, &[]);
        } else {
            self.tell(node, Event::Tick, &[]);
        }
        if self.steps.is_multiple_of(50) {
            let disks: Vec<Disk> = self.nodes.iter().map(|node| node.disk.clone()).collect();
            Checker::check_logs(&disks);
        }
    }

    /// Ends the chaos and checks that the quorum gets to work within [`HEAL_MS`].
    pub fn heal(&mut self) {
        self.chaos = false;
        self.cuts.clear();
        for index in 0..self.nodes.len() {
            self.nodes[index].paused_until = 0;
            if self.nodes[index].quorum.is_none() {
                self.start(index);
            }
        }
        let end = self.now_ms + HEAL_MS;
        while let Err(trouble) = self.check_at_work() {
            assert!(self.now_ms < end, "the quorum does not recover: {trouble}");
            for _ in 0..50 {
                self.step();
            }
        }
    }

    fn check_at_work(&self) -> Result<(), String> {
        let leaders: Vec<&Node> =
            self.nodes.iter().filter(|node| node.quorum.as_ref().is_some_and(Quorum::is_leader)).collect();
        let [leader] = leaders[..] else { return Err(format!("{} leaders", leaders.len())) };
        for node in &self.nodes {
            let quorum = node.quorum.as_ref().ok_or("a node is down")?;
            let follows = matches!(quorum.role(), Role::Follower(following) if following.leader == leader.id);
            if !(follows || node.id == leader.id)
                || node.disk.entries != leader.disk.entries
                || quorum.high_watermark() != leader.disk.end()
                || quorum.log() != &node.disk.log()
            {
                return Err(format!("{} has {}: {quorum:?}", node.id, node.disk.end()));
            }
        }
        match self.checker.committed.len() == leader.disk.entries.len() {
            true => Ok(()),
            false => Err("not everything is committed".to_owned()),
        }
    }

    fn start(&mut self, index: usize) {
        let seed = self.random.next();
        let node = &mut self.nodes[index];
        let config = Config {
            me: node.key(),
            election_timeout: Duration::from_millis(1_000),
            fetch_timeout: Duration::from_millis(FETCH_TIMEOUT_MS),
            election_backoff_max: Duration::from_millis(1_000),
            request_timeout: Duration::from_millis(1_000),
            retry_backoff: Duration::from_millis(50),
            seed,
        };
        let now = Monotonic::from_millis(self.now_ms);
        let mut quorum = Quorum::new(config, self.voters.clone(), node.disk.election, node.disk.log(), now);
        quorum.bug = self.bug;
        node.incarnation += 1;
        let mut effects = Vec::new();
        if self.bug == Some(Bug::LeadOnAfterRestart) && node.disk.election.leader == Some(node.id) {
            quorum.lead(now, &mut effects);
        }
        node.quorum = Some(quorum);
        self.carry_out(index, effects, &[]);
    }

    fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.quorum.take().is_none() {
            return;
        }
        let kept = self.random.below(node.disk.entries.len() as u64 + 1) as usize;
        node.disk.crash(kept);
        if self.bug == Some(Bug::VoteNotOnDisk) && self.random.chance(50) {
            node.disk.election = node.disk.election_before;
        }
        node.flush_at = u64::MAX;
        node.paused_until = 0;
        node.asked.clear();
    }

    fn bounce(&mut self, index: usize) {
        if self.nodes[index].quorum.is_some() {
            self.crash(index);
            self.start(index);
        }
    }

    fn disturb(&mut self) {
        let index = self.random.below(self.nodes.len() as u64) as usize;
        let other = self.random.below(self.nodes.len() as u64) as usize;
        match self.random.below(10_000) {
            0..20 => self.crash(index),
            // Back before anybody notices.
            20..30 => self.bounce(index),
            30..200 if self.nodes[index].quorum.is_none() => self.start(index),
            200..215 => self.nodes[index].paused_until = self.now_ms + self.random.below(6_000),
            215..230 => {
                for other in 0..self.nodes.len() {
                    self.cuts.extend([(index, other), (other, index)]);
                }
            }
            230..250 => {
                self.cuts.insert((index, other));
            }
            250..275 => self.cuts.clear(),
            290..292 => self.wipe(index),
            300..430 => self.snapshot(index),
            430..435 => self.tell(index, Event::Resign, &[]),
            _ => {}
        }
    }

    /// A node gets a new disk. Of the voters a minority, for good: the quorum cannot know that they come back.
    fn wipe(&mut self, index: usize) {
        let is_voter = self.voters.contains(self.nodes[index].key());
        if !is_voter || self.wiped >= self.voters.len() - self.voters.majority() {
            return;
        }
        self.wiped += 1;
        self.crash(index);
        let directory = Uuid::from_u128(1_000 + u128::from(self.random.next()));
        self.nodes[index].disk = Disk::new(directory);
    }

    fn snapshot(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(quorum) = node.quorum.as_ref().filter(|_| node.paused_until <= self.now_ms) else { return };
        let (start, limit) =
            (node.disk.start.offset.0, quorum.high_watermark().0.min(node.disk.durable as i64));
        if limit > start {
            let end = start + 1 + self.random.below((limit - start) as u64) as i64;
            node.disk.start = node.disk.end_at(end as usize);
            let start = node.disk.start;
            self.tell(index, Event::Trimmed { start }, &[]);
        }
    }

    /// A client finds a leader, or what takes itself for one.
    fn append(&mut self) {
        let index = self.random.below(self.nodes.len() as u64) as usize;
        let node = &mut self.nodes[index];
        let Some(quorum) = node.quorum.as_ref().filter(|quorum| quorum.is_leader()) else { return };
        if node.paused_until > self.now_ms {
            return;
        }
        let epoch = quorum.election().epoch;
        for _ in 0..=self.random.below(3) {
            self.values += 1;
            node.disk.entries.push(Entry { epoch, value: self.values });
        }
        let end = node.disk.end();
        self.flush_soon(index);
        self.tell(index, Event::Appended { end }, &[]);
    }

    fn flush_soon(&mut self, index: usize) {
        let slow = if self.chaos && self.random.chance(3) { 1_500 } else { 15 };
        let at = self.now_ms + 1 + self.random.below(slow);
        self.nodes[index].flush_at = self.nodes[index].flush_at.min(at);
    }

    fn deliver(&mut self) {
        let Some((_, message)) = self.network.pop_first() else { return };
        let to = match &message {
            Message::Request { to, .. } | Message::Response { to, .. } | Message::Snapshot { to, .. } => *to,
        };
        if self.nodes[to].paused_until > self.now_ms {
            let at = self.nodes[to].paused_until;
            return self.put(at, message);
        }
        match message {
            Message::Request { from, incarnation, to, request } => {
                if self.nodes[to].quorum.is_none() {
                    return;
                }
                if let Request::Fetch { replica, epoch, .. } = &request
                    && self.nodes[to].quorum.as_ref().is_some_and(|quorum| quorum.election().epoch == *epoch)
                {
                    self.heard.insert((to, *replica), self.now_ms);
                }
                self.messages += 1;
                let id = RequestId(self.messages);
                self.nodes[to].asked.insert(id, (from, incarnation, request.clone()));
                self.tell(to, Event::Request { id, request }, &[]);
            }
            Message::Response { from, to, incarnation, request, response, records } => {
                if self.nodes[to].incarnation != incarnation {
                    return;
                }
                let mut runs: Vec<(Epoch, Offset)> = Vec::new();
                if let Ok(Answer::Records { from, .. }) = &response.outcome {
                    for (at, entry) in records.iter().enumerate() {
                        let end = from.plus(at as i64 + 1);
                        match runs.last_mut() {
                            Some((epoch, last)) if *epoch == entry.epoch => *last = end,
                            _ => runs.push((entry.epoch, end)),
                        }
                    }
                }
                let from = self.nodes[from].id;
                self.tell(to, Event::Response { from, request, response, records: runs }, &records);
            }
            Message::Snapshot { to, incarnation, end, entries } => {
                let node = &mut self.nodes[to];
                let is_news =
                    node.quorum.as_ref().is_some_and(|quorum| quorum.high_watermark() <= end.offset);
                if node.incarnation != incarnation || !is_news {
                    return;
                }
                node.disk.entries = entries;
                node.disk.durable = node.disk.entries.len();
                node.disk.start = end;
                node.flush_at = u64::MAX;
                self.tell(to, Event::SnapshotInstalled { end }, &[]);
            }
        }
    }

    fn tell(&mut self, index: usize, event: Event, records: &[Entry]) {
        let now = Monotonic::from_millis(self.now_ms);
        let Some(quorum) = &mut self.nodes[index].quorum else { return };
        let effects = quorum.step(now, event);
        let has_voted =
            effects.iter().any(|effect| matches!(effect, Effect::Persist(state) if state.voted.is_some()));
        let has_won = effects.iter().any(|effect| matches!(effect, Effect::AppendLeaderChange { .. }));
        self.carry_out(index, effects, records);
        // Leaders that do not last are what makes histories differ.
        if has_won && self.chaos && self.random.chance(30) {
            self.dies_at.push((self.now_ms + self.random.below(150), index));
        }
        // Votes are what must not be forgotten.
        if has_voted && self.chaos && self.random.chance(4) {
            self.bounce(index);
        }
        self.check_not_alone(index);
    }

    /// The driver in small.
    fn carry_out(&mut self, index: usize, effects: Vec<Effect>, records: &[Entry]) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            format!("{effect:?}").hash(&mut self.trace);
            let key = self.nodes[index].key();
            match effect {
                Effect::Persist(election) => {
                    self.checker.on_election(key, election);
                    let disk = &mut self.nodes[index].disk;
                    disk.election_before = disk.election;
                    disk.election = election;
                }
                Effect::Send { to, request } => {
                    let Some(to) = self.nodes.iter().position(|node| node.id == to) else { continue };
                    let incarnation = self.nodes[index].incarnation;
                    self.send(index, to, |_| Message::Request {
                        from: index,
                        incarnation,
                        to,
                        request: request.clone(),
                    });
                }
                Effect::Respond { id, response } => {
                    let Some((to, incarnation, request)) = self.nodes[index].asked.remove(&id) else {
                        continue;
                    };
                    let records = match &response.outcome {
                        Ok(Answer::Records { from, .. }) => {
                            let all = &self.nodes[index].disk.entries[from.0 as usize..];
                            all[..all.len().min(1 + self.random.below(8) as usize)].to_vec()
                        }
                        _ => Vec::new(),
                    };
                    self.send(index, to, |_| Message::Response {
                        from: index,
                        to,
                        incarnation,
                        request: request.clone(),
                        response: response.clone(),
                        records: records.clone(),
                    });
                }
                Effect::AppendLeaderChange { epoch } => {
                    self.checker.on_leader(key.id, epoch, &self.nodes[index].disk);
                    self.values += 1;
                    self.nodes[index].disk.entries.push(Entry { epoch, value: self.values });
                    let end = self.nodes[index].disk.end();
                    self.flush_soon(index);
                    let now = Monotonic::from_millis(self.now_ms);
                    if let Some(quorum) = &mut self.nodes[index].quorum {
                        effects.extend(quorum.step(now, Event::Appended { end }));
                    }
                }
                Effect::Append => {
                    self.nodes[index].disk.entries.extend_from_slice(records);
                    self.flush_soon(index);
                }
                Effect::Truncate { end } => {
                    let disk = &mut self.nodes[index].disk;
                    disk.entries.truncate(end.0 as usize);
                    disk.durable = disk.durable.min(disk.entries.len());
                }
                Effect::FetchSnapshot { from, end } => {
                    let Some(from) = self.nodes.iter().position(|node| node.id == from) else { continue };
                    let incarnation = self.nodes[index].incarnation;
                    let entries =
                        self.nodes[from].disk.entries.get(..end.offset.0 as usize).map(<[Entry]>::to_vec);
                    if let Some(entries) = entries.filter(|_| self.nodes[from].disk.start >= end) {
                        let to = index;
                        self.send(from, index, |_| Message::Snapshot {
                            to,
                            incarnation,
                            end,
                            entries: entries.clone(),
                        });
                    }
                }
                Effect::HighWatermark(at) => {
                    let epoch = self.nodes[index].disk.election.epoch;
                    self.checker.on_high_watermark(key.id, epoch, &self.nodes[index].disk, at);
                }
            }
        }
    }

    /// A leader steps down when it hears of no majority.
    fn check_not_alone(&self, index: usize) {
        let node = &self.nodes[index];
        let Some(Role::Leader(leading)) = node.quorum.as_ref().map(Quorum::role) else { return };
        let since = leading.since.0.as_millis() as u64;
        let hears = |voter: &ReplicaKey| {
            let at = self.heard.get(&(index, *voter)).copied().unwrap_or(0).max(since);
            *voter == node.key() || at + ALONE_MS >= self.now_ms
        };
        let heard = self.voters.iter().filter(hears).count();
        assert!(heard >= self.voters.majority(), "{} leads and hears of {heard} voters only", node.id);
    }

    /// Loses some messages, doubles some, delays most a little and a few by seconds, so that later ones overtake them.
    fn send(&mut self, from: usize, to: usize, message: impl Fn(u64) -> Message) {
        if self.cuts.contains(&(from, to)) || (self.chaos && self.random.chance(2)) {
            return;
        }
        let copies = if self.chaos && self.random.chance(2) { 2 } else { 1 };
        for copy in 0..copies {
            let late = if self.chaos && self.random.chance(3) { 4_000 } else { 30 };
            let at = self.now_ms + 1 + self.random.below(late);
            self.put(at, message(copy));
        }
    }

    fn put(&mut self, at: u64, message: Message) {
        self.messages += 1;
        self.network.insert((at, self.messages), message);
    }
}
