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
/// How long it takes everybody to come to rest.
const REST_MS: u64 = 3 * FETCH_TIMEOUT_MS;
/// How long one hears nothing after that.
const ISOLATED_MS: u64 = 20_000;
/// Who follows without a vote, until it gets one.
const OBSERVERS: [i32; 2] = [100, 101];
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
    /// Nobody listens there, or so a firewall says.
    Refusal {
        from: usize,
        to: usize,
        incarnation: u64,
        request: Request,
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
    /// What it has said to be committed in this run, with when.
    high_watermarks: Vec<(u64, Offset)>,
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
    /// What records of voters say, by their values.
    sets: BTreeMap<u64, Voters>,
    client_at: u64,
    values: u64,
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
        let directory = |id: i32| Uuid::from_u128(id as u128);
        let formed: Voters =
            (1..=voter_count).map(|id| ReplicaKey { id: NodeId(id), directory: directory(id) }).collect();
        let ids = (1..=voter_count).chain(OBSERVERS);
        let nodes: Vec<Node> = ids
            .map(|id| Node {
                id: NodeId(id),
                disk: Disk::new(
                    directory(id),
                    if id <= voter_count { formed.clone() } else { Voters::default() },
                ),
                high_watermarks: Vec::new(),
                quorum: None,
                incarnation: 0,
                flush_at: u64::MAX,
                paused_until: 0,
                asked: BTreeMap::new(),
            })
            .collect();
        let mut world = World {
            random,
            bug,
            now_ms: 1_000,
            chaos: true,
            network: BTreeMap::new(),
            messages: 0,
            cuts: BTreeSet::new(),
            nodes,
            sets: BTreeMap::new(),
            client_at: 1_000,
            values: 0,
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

    fn pass(&mut self, milliseconds: u64) {
        let end = self.now_ms + milliseconds;
        while self.now_ms < end {
            self.step();
        }
    }

    /// Whether one that hears nothing any more, and that the others can do without, lets them be.
    pub fn isolate_one(&mut self) {
        // Who had not heard of its leader for long when the chaos ended may still give it up, and what was late arrives.
        self.pass(REST_MS);
        self.heal();
        let index = self.random.below(self.nodes.len() as u64) as usize;
        let leads = |node: &&Node| node.quorum.as_ref().is_some_and(Quorum::is_leader);
        let leader = self.nodes.iter().find(leads).expect("there is one");
        let (leader, epoch, voters) =
            (leader.id, leader.disk.election.epoch, leader.quorum.as_ref().map(Quorum::voters));
        let (voters, isolated) = (voters.cloned().unwrap_or_default(), self.nodes[index].key());
        if isolated.id == leader || self.live(&voters.without(isolated)) < voters.majority() {
            return;
        }
        self.cuts.extend((0..self.nodes.len()).map(|other| (other, index)));
        self.pass(ISOLATED_MS);
        for node in self.nodes.iter().filter(|node| node.id != isolated.id) {
            let now = node.quorum.as_ref().map(Quorum::election).expect("it runs");
            assert_eq!(
                (now.epoch, now.leader),
                (epoch, Some(leader)),
                "{isolated}, which hears nothing, disturbs {}",
                node.id
            );
        }
    }

    /// One voter is changed at a time, when the change before and something of the leader's epoch are committed; and who gets a vote had
    /// everything that its leader knew to be committed while the leader last took it for alive.
    fn check_voters(&self, index: usize, voters: &Voters) {
        let leader = &self.nodes[index];
        let quorum = leader.quorum.as_ref().expect("it leads");
        let (before, history) = (quorum.voters(), quorum.voter_history());
        let changed = voters.iter().filter(|voter| !before.contains(*voter)).count()
            + before.iter().filter(|voter| !voters.contains(*voter)).count();
        if changed > 0 {
            let committed = quorum.high_watermark();
            assert_eq!(changed, 1, "several voters are changed at once");
            assert!(
                history.newest() < Some(committed),
                "a change is begun before the one before it is committed"
            );
            let starts_at = match quorum.role() {
                Role::Leader(leading) => leading.epoch_start,
                role => panic!("{role:?} changes the voters"),
            };
            assert!(committed > starts_at, "a change is begun before anything of the epoch is committed");
        }
        let since = self.now_ms.saturating_sub(FETCH_TIMEOUT_MS);
        let known = leader.high_watermarks.iter().rev().find(|(at, _)| *at < since);
        let known = known.map_or(Offset::ZERO, |(_, high_watermark)| *high_watermark);
        for new in voters.iter().filter(|voter| !before.contains(*voter)) {
            if let Some(node) = self.nodes.iter().find(|node| node.key() == new && new != leader.key()) {
                let has = Offset(node.disk.durable as i64);
                assert!(has >= known, "{new} gets a vote with {has} of what was committed up to {known}");
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
        if !leader.quorum.as_ref().is_some_and(|quorum| quorum.voters().contains(leader.key())) {
            return Err(format!("{} leads without a vote", leader.id));
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
            bootstrap: vec![NodeId(1), NodeId(2), NodeId(3)],
        };
        let now = Monotonic::from_millis(self.now_ms);
        let mut quorum =
            Quorum::new(config, node.disk.voters(&self.sets), node.disk.election, node.disk.log(), now);
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
        node.high_watermarks.clear();
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
            275..290 => self.change_voters(index, other),
            290..292 => self.wipe(index),
            300..430 => self.snapshot(index),
            430..435 => self.tell(index, Event::Resign, &[]),
            _ => {}
        }
    }

    /// A node gets a new disk, for good, as long as most of every set of voters that may be in force are left: the quorum cannot
    /// know that the others come back.
    fn wipe(&mut self, index: usize) {
        let lost = self.nodes[index].key();
        let sets: Vec<Voters> = self.nodes.iter().flat_map(|node| self.sets_of(node)).collect();
        if sets.iter().any(|voters| voters.contains(lost) && self.live(voters) <= voters.majority()) {
            return;
        }
        self.crash(index);
        let directory = Uuid::from_u128(1_000 + u128::from(self.random.next()));
        self.nodes[index].disk = Disk::new(directory, Voters::default());
    }

    /// How many of the voters are there with their disks.
    fn live(&self, voters: &Voters) -> usize {
        self.nodes.iter().filter(|node| voters.contains(node.key())).count()
    }

    /// The sets of voters that a node may go by: the one that was in force where it knows the log to be committed, and later ones.
    fn sets_of(&self, node: &Node) -> Vec<Voters> {
        let committed = node.high_watermarks.last().map_or(node.disk.start.offset, |(_, at)| *at);
        let history = node.disk.voters(&self.sets);
        let ends = committed.0..=node.disk.end().0;
        ends.map(|end| history.below(Offset(end)).clone()).collect()
    }

    /// An operator has a leader, or what takes itself for one, change who votes: gives a vote to who has none, takes one, or
    /// replaces a voter whose disk is lost. Nobody sane leaves too few.
    fn change_voters(&mut self, index: usize, other: usize) {
        let node = &self.nodes[index];
        let Some(quorum) = node.quorum.as_ref().filter(|quorum| quorum.is_leader()) else { return };
        if node.paused_until > self.now_ms {
            return;
        }
        let (voters, key) = (quorum.voters().clone(), self.nodes[other].key());
        let (change, then) = match voters.get(key.id) {
            Some(known) if known.key != key || voters.len() > 3 || self.random.chance(30) => {
                (VoterChange::Remove(known.key), voters.without(known.key))
            }
            Some(_) => return,
            None => {
                let voter = Voter { key, endpoints: Vec::new() };
                (VoterChange::Add(voter.clone()), voters.with(voter))
            }
        };
        if self.live(&then) < then.majority() || then.is_empty() {
            return;
        }
        self.messages += 1;
        let id = RequestId(self.messages);
        self.tell(index, Event::ChangeVoters { id, change }, &[]);
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
            Message::Request { to, .. }
            | Message::Response { to, .. }
            | Message::Refusal { to, .. }
            | Message::Snapshot { to, .. } => *to,
        };
        if self.nodes[to].paused_until > self.now_ms {
            let at = self.nodes[to].paused_until;
            return self.put(at, message);
        }
        match message {
            Message::Request { from, incarnation, to, request } => {
                if self.nodes[to].quorum.is_none() {
                    // Its system says so, unless that is gone too.
                    if self.random.chance(50) {
                        self.refuse(to, from, incarnation, &request);
                    }
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
                let voters = match &response.outcome {
                    Ok(Answer::Records { from, .. }) => {
                        let recorded = (0..).zip(&records).filter_map(|(at, entry)| {
                            self.sets.get(&entry.value).map(|voters| (from.plus(at), voters.clone()))
                        });
                        recorded.collect()
                    }
                    _ => Vec::new(),
                };
                let from = self.nodes[from].id;
                self.tell(to, Event::Response { from, request, response, records: runs, voters }, &records);
            }
            Message::Refusal { from, to, incarnation, request } => {
                if self.nodes[to].incarnation == incarnation {
                    let to_id = self.nodes[from].id;
                    self.tell(to, Event::Failed { to: to_id, request, is_refused: true }, &[]);
                }
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
                let history = self.nodes[to].disk.voters(&self.sets);
                let voters = history.is_recorded().then(|| history.in_force().clone());
                self.tell(to, Event::SnapshotInstalled { end, voters }, &[]);
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
                    if self.cuts.contains(&(index, to)) && self.random.chance(10) {
                        // A firewall says so as well.
                        self.refuse(to, index, incarnation, &request);
                    }
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
                Effect::AppendVoters { epoch, voters, .. } => {
                    self.check_voters(index, &voters);
                    self.values += 1;
                    self.sets.insert(self.values, voters.clone());
                    self.nodes[index].disk.entries.push(Entry { epoch, value: self.values });
                    let end = self.nodes[index].disk.end();
                    self.flush_soon(index);
                    let now = Monotonic::from_millis(self.now_ms);
                    if let Some(quorum) = &mut self.nodes[index].quorum {
                        effects.extend(quorum.step(now, Event::VotersAppended { voters, end }));
                    }
                }
                // Operators look again.
                Effect::VotersChanged { .. } => {}
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
                    self.nodes[index].high_watermarks.push((self.now_ms, at));
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
        let voters = node.quorum.as_ref().map(Quorum::voters).expect("it leads");
        let heard = voters.iter().filter(hears).count();
        assert!(heard >= voters.majority(), "{} leads and hears of {heard} voters only", node.id);
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

    /// One hears that nobody listens where it asked.
    fn refuse(&mut self, from: usize, to: usize, incarnation: u64, request: &Request) {
        let at = self.now_ms + 1 + self.random.below(30);
        self.put(at, Message::Refusal { from, to, incarnation, request: request.clone() });
    }

    fn put(&mut self, at: u64, message: Message) {
        self.messages += 1;
        self.network.insert((at, self.messages), message);
    }
}
