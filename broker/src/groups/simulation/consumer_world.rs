//! The world of a group of the consumer protocol, of members that speak the classic one in it, and of its migrations from one
//! to the other: as `world.rs`, with topics that grow. The requests of one member
//! arrive in the order in which they were made, as on a connection; those of different members, and all replies, overtake
//! each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::classic_member::Rebalancing;
use super::consumer_member::{Call, Member, Purpose, Speech, group, topic_name};
use super::failure::{Faults, History};
use crate::groups::classic::{GroupChange, GroupState};
use crate::groups::consumer::{ConsumerGroupState, Epoch};
use crate::groups::*;
use crate::random::Random;

/// How long after the chaos the group has to get to work again.
const HEAL_MS: u64 = 120_000;

/// The topics at one moment.
#[derive(Clone)]
struct Catalog {
    version: u64,
    topics: BTreeMap<String, TopicInfo>,
}

impl TopicCatalog for Catalog {
    fn version(&self) -> u64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.topics.get(name).copied()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.topics.keys().map(String::as_str))
    }
}

enum Message {
    Request { member: usize, call: Call },
    Reply { member: usize, number: u64, reply: Reply },
}

struct Waiting {
    member: usize,
    number: u64,
    purpose: Purpose,
}

pub(super) struct ConsumerWorld {
    random: Random,
    faults: Faults,
    history: History,
    now_ms: u64,
    chaos: bool,
    network: BTreeMap<(u64, u64), Message>,
    /// When the last request of each member arrives.
    last_arrival: Vec<u64>,
    messages: u64,
    members: Vec<Member>,
    catalog: Catalog,
    groups: Groups,
    log: Vec<Record>,
    pending: Vec<Record>,
    /// Where in `pending` decisions end: their records are written in one batch.
    decision_ends: Vec<usize>,
    parked: VecDeque<(usize, ReplyId, Reply)>,
    flush_at: u64,
    waiting: BTreeMap<ReplyId, Waiting>,
    replies: u64,
    /// Static members that stayed in a classic group although a generation started without them, and which. They are fenced by
    /// their generation but do not know it yet, so what they read is read by others too. Kafka's protocol has it so.
    overslept: BTreeMap<usize, i32>,
    /// The greatest offset ever decided for a partition.
    committed: BTreeMap<(TopicName, i32), i64>,
    trace: DefaultHasher,
}

impl ConsumerWorld {
    pub fn new(seed: u64, faults: Faults, history: History) -> ConsumerWorld {
        let mut random = Random::new(seed);
        let wanted = 2 + random.below(6) as usize;
        let member_count = wanted.min(faults.members_max);
        let share = [0, 30, 60, 100][random.below(4) as usize];
        let rebalancing = if random.chance(50) { Rebalancing::Eager } else { Rebalancing::Cooperative };
        let speech = Speech { classic_percent: if faults.classic_members { share } else { 0 }, rebalancing };
        let mut members: Vec<Member> =
            (0..member_count).map(|index| Member::new(index, speech, &mut random)).collect();
        let mut catalog = Catalog { version: 0, topics: BTreeMap::new() };
        for id in 1..=2 {
            let info = TopicInfo { id: Uuid::from_u128(id), partition_count: 1 + random.below(6) as i32 };
            catalog.topics.insert(topic_name(info.id), info);
        }
        for member in &mut members {
            let at = 1_000 + random.below(3_000);
            member.start(at, &mut random);
        }
        ConsumerWorld {
            random,
            faults,
            history,
            now_ms: 1_000,
            chaos: true,
            network: BTreeMap::new(),
            last_arrival: vec![0; member_count],
            messages: 0,
            members,
            catalog,
            groups: Groups::new(GroupConfig::default()),
            log: Vec::new(),
            pending: Vec::new(),
            decision_ends: vec![0],
            parked: VecDeque::new(),
            flush_at: u64::MAX,
            waiting: BTreeMap::new(),
            replies: 0,
            overslept: BTreeMap::new(),
            committed: BTreeMap::new(),
            trace: DefaultHasher::new(),
        }
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
        let wakes = self.members.iter().enumerate().map(|(index, member)| (member.wakes_at, index));
        let (member_at, member) = wakes.min().expect("members");
        let next = message_at.min(deadline).min(member_at).min(self.flush_at);
        assert!(next < u64::MAX, "something always happens next");
        self.now_ms = self.now_ms.max(next);
        self.now_ms.hash(&mut self.trace);
        if next == self.flush_at {
            self.flush();
        } else if next == message_at {
            self.deliver();
        } else if next == deadline {
            let decision = self.groups.on_deadline(self.now());
            self.note(|| format!("deadline: {:?}", decision.changes));
            self.take(decision);
        } else {
            let topics = self.topics();
            let calls = self.members[member].wake(self.now_ms, &mut self.random, topics);
            self.send_calls(member, calls);
        }
        self.groups.invariants();
        self.check_owners();
    }

    /// No two members that the coordinator has not given up read the same partition.
    fn check_owners(&mut self) {
        let members = &self.members;
        self.overslept.retain(|index, generation| {
            members[*index].epoch.0 < *generation || !members[*index].is_at_work()
        });
        let mut owners: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
        let heard =
            |(index, member): &(usize, &Member)| !self.overslept.contains_key(index) && self.is_known(member);
        for (_, member) in self.members.iter().enumerate().filter(heard) {
            for partition in member.owned.iter() {
                let other = owners.insert(partition, &member.name);
                assert_eq!(other, None, "{partition:?} is read by {} too", member.name);
            }
        }
    }

    fn is_known(&self, member: &Member) -> bool {
        let classic = self.groups.group(&group());
        let consumer = self.groups.consumer_groups().get(&group());
        classic.is_some_and(|group| group.members.contains_key(&member.member_id))
            || consumer.is_some_and(|group| group.members.contains_key(&member.member_id))
    }

    /// Ends the chaos and checks that the group gets to work within [`HEAL_MS`].
    pub fn heal(&mut self) {
        self.chaos = false;
        let end = self.now_ms + HEAL_MS;
        while let Err(trouble) = self.check_at_work() {
            assert!(self.now_ms < end, "the group does not recover: {trouble}");
            for index in 0..self.members.len() {
                if !self.members[index].is_up && !self.has_twin(index) {
                    self.members[index].start(self.now_ms, &mut self.random);
                }
            }
            for _ in 0..50 {
                self.step();
            }
        }
    }

    /// Everyone who could be up is at work, every partition has one owner, and the loads are even.
    fn check_at_work(&self) -> Result<(), String> {
        let up: Vec<&Member> = self.members.iter().filter(|member| member.is_up).collect();
        if let Some(index) =
            (0..self.members.len()).find(|index| !self.members[*index].is_up && !self.has_twin(*index))
        {
            return Err(format!("{} is down", self.members[index].name));
        }
        if let Some(group) = self.groups.consumer_groups().get(&group()) {
            if group.state() != ConsumerGroupState::Stable || group.members.len() != up.len() {
                return Err(format!("{:?} with {} members", group.state(), group.members.len()));
            }
            for member in &up {
                let known = group.members.get(&member.member_id).ok_or("a member is not known")?;
                if !member.is_at_work()
                    || known.current.assigned != member.owned
                    || known.current.epoch != member.epoch
                {
                    return Err(format!("{member:?} is not where it should be: {known:?}"));
                }
            }
        } else {
            let group = self.groups.group(&group()).ok_or("there is no group")?;
            if group.state() != GroupState::Stable || group.members.len() != up.len() {
                return Err(format!("{:?} with {} members", group.state(), group.members.len()));
            }
            for member in &up {
                if !member.is_at_work()
                    || !group.members.contains_key(&member.member_id)
                    || group.generation.0 != member.epoch.0
                {
                    return Err(format!("{member:?} is not where it should be: {group:?}"));
                }
            }
            // Who has what is the clients' affair in such a group, and theirs can leave a partition with nobody until the next
            // rebalance: when a static member is replaced between the two in which the partition moves, for one.
            return Ok(());
        }
        let owned: usize = up.iter().map(|member| member.owned.len()).sum();
        let all: usize = self.catalog.topics.values().map(|topic| topic.partition_count as usize).sum();
        if owned != all {
            return Err(format!("{owned} of {all} partitions are owned"));
        }
        let loads = up.iter().map(|member| member.owned.len());
        let (least, most) = (loads.clone().min().unwrap_or(0), loads.max().unwrap_or(0));
        if most > least + 1 { Err(format!("between {least} and {most} each")) } else { Ok(()) }
    }

    fn has_twin(&self, index: usize) -> bool {
        let instance = &self.members[index].instance_id;
        let twin = |(other, member): (usize, &Member)| {
            other != index && member.is_up && member.instance_id == *instance
        };
        instance.is_some() && self.members.iter().enumerate().any(twin)
    }

    fn disturb(&mut self) {
        let index = self.random.below(self.members.len() as u64) as usize;
        let what = self.random.below(1_000);
        match what {
            0..4 if self.faults.coordinator_crashes => self.crash_coordinator(),
            4..8 if self.faults.member_crashes => {
                self.note(|| format!("member {index} crashes"));
                self.members[index].crash();
            }
            8..12 if self.faults.leaves => {
                let topics = self.topics();
                let call = self.members[index].leave(topics);
                self.send_calls(index, call.into_iter().collect());
            }
            12..40 if !self.members[index].is_up => self.members[index].start(self.now_ms, &mut self.random),
            // A member hangs for longer than its session.
            40..42 if self.faults.hangs && self.members[index].is_up => {
                self.members[index].wakes_at = self.now_ms + 13_000;
            }
            42..45 if self.faults.topics_grow => {
                let name = topic_name(Uuid::from_u128(1 + u128::from(self.random.below(2))));
                if let Some(topic) =
                    self.catalog.topics.get_mut(&name).filter(|topic| topic.partition_count < 12)
                {
                    topic.partition_count += 1;
                    self.catalog.version += 1;
                }
            }
            _ => {}
        }
        if self.members.iter().all(|member| !member.is_up) {
            self.members[index].start(self.now_ms, &mut self.random);
        }
    }

    /// Of what was not durable, some decisions may have reached the disk, in order. Nobody is told.
    fn crash_coordinator(&mut self) {
        let reached = self.decision_ends[self.random.below(self.decision_ends.len() as u64) as usize];
        self.note(|| format!("the coordinator crashes, {reached} records reach the disk"));
        self.log.extend(self.pending.drain(..).take(reached));
        self.decision_ends = vec![0];
        self.parked.clear();
        self.waiting.clear();
        self.flush_at = u64::MAX;
        self.groups = Groups::new(GroupConfig::default());
        self.committed.clear();
        for record in &self.log {
            // Through its bytes, so that the format is a part of what is tested.
            let (key, value) = records::encode(record).expect("it was written");
            let decoded = records::decode(Some(key), value).expect("it is read");
            let records::Decoded::Record(record) = decoded else { panic!("it is one of ours") };
            if let Record::Offset { topic, partition, value: Some(value), .. } = &record {
                self.committed.insert((topic.clone(), *partition), value.offset);
            }
            self.groups.apply(&Change::Record(record));
        }
        let decision = self.groups.on_loaded(self.now());
        self.take(decision);
        "crash".hash(&mut self.trace);
    }

    fn deliver(&mut self) {
        let Some((_, message)) = self.network.pop_first() else { return };
        match message {
            Message::Request { member, call } => {
                self.replies += 1;
                let id = ReplyId(self.replies);
                let decision = self.groups.decide(self.now(), id, &call.request);
                self.note(|| {
                    format!("{:?}\n    {:?}\n    {:?}", call.request, decision.changes, decision.replies)
                });
                self.waiting.insert(id, Waiting { member, number: call.number, purpose: call.purpose });
                self.take(decision);
            }
            Message::Reply { member, number, reply } => {
                let epoch = self.members[member].epoch;
                let topics = self.topics();
                let calls =
                    self.members[member].on_reply(self.now_ms, &mut self.random, number, &reply, &topics);
                self.send_calls(member, calls);
                assert!(self.members[member].epoch >= Epoch::JOIN, "{epoch} became less than nothing");
            }
        }
    }

    /// The coordinator's runtime in small: apply, write, park.
    fn take(&mut self, decision: Decision) {
        format!("{decision:?}").hash(&mut self.trace);
        self.note_who_oversleeps(&decision);
        self.groups.apply_all(&decision);
        for record in decision.records() {
            if let Record::Offset { topic, partition, value: Some(value), .. } = record {
                let before = self.committed.insert((topic.clone(), *partition), value.offset);
                assert!(before <= Some(value.offset), "{topic}-{partition} went back from {before:?}");
            }
        }
        self.pending.extend(decision.records().cloned());
        self.decision_ends.push(self.pending.len());
        if !self.pending.is_empty() && self.flush_at == u64::MAX {
            let slow = if self.chaos && self.random.chance(3) { 2_000 } else { 30 };
            self.flush_at = self.now_ms + 1 + self.random.below(slow);
        }
        let after = self.log.len() + self.pending.len();
        self.parked.extend(decision.replies.into_iter().map(|(id, reply)| (after, id, reply)));
        self.release();
    }

    fn note_who_oversleeps(&mut self, decision: &Decision) {
        for change in &decision.changes {
            let Change::Live { change: GroupChange::GenerationStarted { generation, .. }, .. } = change
            else {
                continue;
            };
            let joined = decision.replies.iter().filter_map(|(_, reply)| match reply {
                Reply::JoinGroup(Ok(joined)) => Some(&joined.member_id),
                _ => None,
            });
            let joined: BTreeSet<&MemberId> = joined.collect();
            for (index, member) in self.members.iter().enumerate() {
                if member.instance_id.is_some() && !joined.contains(&member.member_id) {
                    self.overslept.insert(index, generation.0);
                }
            }
        }
    }

    fn flush(&mut self) {
        self.log.append(&mut self.pending);
        self.decision_ends = vec![0];
        self.flush_at = u64::MAX;
        self.release();
    }

    fn release(&mut self) {
        while self.parked.front().is_some_and(|(after, _, _)| *after <= self.log.len()) {
            let Some((_, id, reply)) = self.parked.pop_front() else { return };
            let waiting = self.waiting.remove(&id).expect("a request is answered once");
            let fits = match reply {
                Reply::ConsumerHeartbeat(_) => Purpose::Heartbeat,
                Reply::CommitOffsets(_) => Purpose::Commit,
                Reply::JoinGroup(_) => Purpose::Join,
                Reply::SyncGroup(_) => Purpose::Sync,
                Reply::Heartbeat(_) => Purpose::Beat,
                Reply::LeaveGroup(_) => Purpose::Leave,
                _ => Purpose::Fetch,
            };
            assert_eq!(fits, waiting.purpose, "a request is answered by its own reply");
            let at = self.now_ms + 1 + self.delay();
            self.send(at, Message::Reply { member: waiting.member, number: waiting.number, reply });
        }
    }

    fn send_calls(&mut self, member: usize, calls: Vec<Call>) {
        for call in calls {
            // A commit that is lost and sent again.
            let is_commit = call.purpose == Purpose::Commit;
            let twice = is_commit && self.chaos && self.faults.duplicates && self.random.chance(5);
            let copies = if twice { 2 } else { 1 };
            for _ in 0..copies {
                let at = (self.now_ms + 1 + self.delay()).max(self.last_arrival[member]);
                self.last_arrival[member] = at;
                self.send(at, Message::Request { member, call: call.clone() });
            }
        }
    }

    fn send(&mut self, at: u64, message: Message) {
        if self.chaos && self.faults.losses && self.random.chance(1) {
            return;
        }
        self.messages += 1;
        self.network.insert((at, self.messages), message);
    }

    fn delay(&mut self) -> u64 {
        let late = if self.chaos && self.faults.delays && self.random.chance(3) { 9_000 } else { 40 };
        self.random.below(late)
    }

    fn topics(&self) -> Topics {
        Topics(Arc::new(self.catalog.clone()))
    }

    fn now(&self) -> Now {
        Now { monotonic: Monotonic(Duration::from_millis(self.now_ms)), wall: WallMs(self.now_ms as i64) }
    }

    fn note(&self, what: impl FnOnce() -> String) {
        self.history.note(self.now_ms, what);
    }
}
