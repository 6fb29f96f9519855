//! A simulated member of the consumer protocol: one heartbeat under way at a time, repeated in full when it is not
//! answered, and partitions that it gives up only after a while. At each start it may speak the classic protocol instead
//! (`classic_member.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::classic_member::{Classic, Rebalancing};
use crate::groups::consumer::{ConsumerHeartbeat, Epoch, PartitionSet};
use crate::groups::offsets::{CommitOffset, CommitOffsets, FetchOffsets, OffsetSelection};
use crate::groups::*;
use crate::random::Random;

pub(super) const SESSION_MS: u64 = 10_000;
const REBALANCE_MS: u64 = 6_000;
pub(super) const INTERVAL_MS: u64 = 1_000;
const TIMEOUT_MS: u64 = 3_000;

pub(super) fn group() -> GroupId {
    GroupId::from("g")
}

/// What a request is answered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Heartbeat,
    Commit,
    Fetch,
    Join,
    Sync,
    Beat,
    Leave,
}

/// How the members of a world may speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speech {
    /// Of 100 starts, those that speak the classic protocol.
    pub classic_percent: u64,
    pub rebalancing: Rebalancing,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub number: u64,
    pub purpose: Purpose,
    pub request: Request,
}

#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    pub instance_id: Option<InstanceId>,
    pub is_up: bool,
    /// A new one at each start.
    pub member_id: MemberId,
    pub epoch: Epoch,
    /// What it reads. In it until it is given up.
    pub owned: PartitionSet,
    /// What the coordinator last said that it may own.
    pub assigned: PartitionSet,
    /// How far it has read what it owns; no entry before the committed offset is known.
    pub positions: BTreeMap<(Uuid, i32), i64>,
    pub wakes_at: u64,
    pub gives_up_at: Option<u64>,
    /// The call of the group's protocol that it waits for, and until when.
    pub waits_for: Option<(u64, u64)>,
    pub starts: u64,
    pub ids_used: u64,
    /// Set while it speaks the classic protocol.
    pub classic: Option<Classic>,
    speech: Speech,
    fetches: Option<u64>,
    says_all: bool,
    wants_regex: bool,
    calls: u64,
}

impl Member {
    pub fn new(index: usize, speech: Speech, random: &mut Random) -> Member {
        Member {
            name: format!("member-{index}"),
            // Two of the static ones share a name, as a careless operator would have it.
            instance_id: (index % 3 == 2).then(|| InstanceId::from(format!("static-{}", index / 6))),
            is_up: false,
            member_id: MemberId::from(""),
            epoch: Epoch::JOIN,
            owned: PartitionSet::default(),
            assigned: PartitionSet::default(),
            positions: BTreeMap::new(),
            wakes_at: u64::MAX,
            gives_up_at: None,
            waits_for: None,
            starts: 0,
            ids_used: 0,
            classic: None,
            speech,
            fetches: None,
            says_all: true,
            wants_regex: random.chance(30),
            calls: 0,
        }
    }

    /// The process ends without a word.
    pub fn crash(&mut self) {
        self.is_up = false;
        self.forget_all();
        self.wakes_at = u64::MAX;
    }

    /// The process starts.
    pub fn start(&mut self, now: u64, random: &mut Random) {
        self.starts += 1;
        self.member_id = MemberId::from(format!("{}-{}", self.name, self.starts));
        self.classic = None;
        if random.chance(self.speech.classic_percent) {
            self.member_id = MemberId::from("");
            self.classic = Some(Classic::new(self.speech.rebalancing));
        }
        self.is_up = true;
        self.forget_all();
        self.wakes_at = now;
    }

    pub(super) fn forget_all(&mut self) {
        self.epoch = Epoch::JOIN;
        self.owned = PartitionSet::default();
        self.assigned = PartitionSet::default();
        self.positions.clear();
        self.gives_up_at = None;
        self.waits_for = None;
        self.fetches = None;
        self.says_all = true;
    }

    /// Leaves properly and stops; a static member says that it will be back.
    pub fn leave(&mut self, topics: Topics) -> Option<Call> {
        if !self.is_up || self.epoch == Epoch::JOIN {
            return None;
        }
        if self.classic.is_some() {
            return self.leave_classic();
        }
        let epoch = if self.instance_id.is_some() { Epoch::LEAVE_STATIC } else { Epoch::LEAVE };
        let heartbeat = ConsumerHeartbeat { epoch, ..self.heartbeat(topics, true) };
        let call = self.call(Purpose::Heartbeat, Request::ConsumerHeartbeat(Box::new(heartbeat)));
        self.crash();
        Some(call)
    }

    /// Whether it has nothing left to do for what it was told.
    pub fn is_at_work(&self) -> bool {
        self.is_up
            && self.epoch > Epoch::JOIN
            && self.owned == self.assigned
            && self.classic.as_ref().is_none_or(Classic::is_working)
    }

    /// Does what it does unasked.
    pub fn wake(&mut self, now: u64, random: &mut Random, topics: Topics) -> Vec<Call> {
        let mut calls = Vec::new();
        if !self.is_up {
            self.wakes_at = u64::MAX;
            return calls;
        }
        if self.classic.is_some() {
            return self.wake_classic(now, random, &topics);
        }
        if self.gives_up_at.is_some_and(|at| at <= now) {
            calls.extend(self.give_up(random));
        }
        if self.waits_for.is_some_and(|(_, until)| until <= now) {
            self.waits_for = None;
            // Nobody knows whether it was heard.
            self.says_all = true;
        }
        if self.waits_for.is_none() {
            let heartbeat = self.heartbeat(topics, self.says_all);
            let call = self.call(Purpose::Heartbeat, Request::ConsumerHeartbeat(Box::new(heartbeat)));
            self.waits_for = Some((call.number, now + TIMEOUT_MS));
            self.says_all = false;
            calls.push(call);
        }
        calls.extend(self.fetch_missing());
        if random.chance(40) {
            calls.extend(self.commit(random));
        }
        self.wakes_at =
            [Some(now + INTERVAL_MS), self.gives_up_at].into_iter().flatten().min().unwrap_or(now);
        calls
    }

    /// Gives up what it may not own any more, and has the rest.
    pub(super) fn give_up(&mut self, random: &mut Random) -> Option<Call> {
        self.gives_up_at = None;
        // As every client does: what was read is committed before others may read on.
        let commit = self.commit(random);
        self.owned = self.owned.intersection(&self.assigned);
        let owned = &self.owned;
        self.positions.retain(|(topic, partition), _| owned.contains(*topic, *partition));
        self.own_the_rest();
        commit
    }

    pub fn on_reply(
        &mut self,
        now: u64,
        random: &mut Random,
        number: u64,
        reply: &Reply,
        topics: &Topics,
    ) -> Vec<Call> {
        if self.classic.is_some() && self.waits_for.is_some_and(|(of, _)| of == number) {
            return self.on_classic_reply(now, random, reply, topics);
        }
        match reply {
            Reply::ConsumerHeartbeat(answer) if self.waits_for.is_some_and(|(of, _)| of == number) => {
                self.waits_for = None;
                match answer {
                    Ok(answer) => {
                        self.epoch = answer.epoch;
                        if let Some(assigned) = &answer.assigned {
                            self.on_assigned(now, random, assigned);
                        }
                    }
                    Err(refused) => self.on_refused(now, refused.error),
                }
            }
            Reply::FetchOffsets(answer) if self.fetches == Some(number) => {
                self.fetches = None;
                let Ok(offsets) = answer else { return Vec::new() };
                for (topic, partition) in self.owned.iter() {
                    let name = TopicName::from(topic_name(topic));
                    let found = offsets.iter().find(|o| o.topic == name && o.partition == partition);
                    let committed = found.and_then(|offset| offset.committed.as_ref());
                    self.positions
                        .entry((topic, partition))
                        .or_insert(committed.map_or(0, |committed| committed.offset));
                }
            }
            _ => {}
        }
        Vec::new()
    }

    pub(super) fn on_assigned(&mut self, now: u64, random: &mut Random, assigned: &PartitionSet) {
        self.assigned = assigned.clone();
        if self.owned.is_subset(assigned) {
            self.gives_up_at = None;
            self.own_the_rest();
        } else if self.gives_up_at.is_none() {
            // Mostly in time.
            let takes = if random.chance(5) { REBALANCE_MS + 2_000 } else { 500 };
            let at = now + 1 + random.below(takes);
            self.gives_up_at = Some(at);
            self.wakes_at = self.wakes_at.min(at);
        }
    }

    fn own_the_rest(&mut self) {
        self.owned = self.assigned.clone();
    }

    fn on_refused(&mut self, now: u64, error: GroupError) {
        match error {
            // Another has its name: an operator has to look.
            GroupError::FencedInstanceId | GroupError::UnreleasedInstanceId => self.crash(),
            GroupError::UnknownMemberId | GroupError::FencedMemberEpoch | GroupError::GroupIdNotFound => {
                self.forget_all();
                self.wakes_at = now + 100;
            }
            _ => self.says_all = true,
        }
    }

    fn heartbeat(&self, topics: Topics, says_all: bool) -> ConsumerHeartbeat {
        let regex: Option<Arc<str>> = self.wants_regex.then(|| Arc::from("t.*"));
        let names = BTreeSet::from([TopicName::from("t1"), TopicName::from("t2")]);
        ConsumerHeartbeat {
            group: group(),
            member_id: self.member_id.clone(),
            epoch: self.epoch,
            instance_id: self.instance_id.clone(),
            rack_id: None,
            client_id: Arc::from(self.name.as_str()),
            client_host: Arc::from("/simulated"),
            rebalance_timeout: says_all.then(|| Duration::from_millis(REBALANCE_MS)),
            topic_names: (says_all && !self.wants_regex).then_some(names),
            topic_regex: regex.filter(|_| says_all),
            server_assignor: None,
            owned: Some(self.owned.clone()),
            topics,
            session_timeout: Duration::from_millis(SESSION_MS),
            heartbeat_interval: Duration::from_millis(INTERVAL_MS),
        }
    }

    pub(super) fn fetch_missing(&mut self) -> Option<Call> {
        if self.owned.iter().all(|partition| self.positions.contains_key(&partition)) {
            return None;
        }
        let member = self.classic.is_none().then(|| (self.member_id.clone(), self.epoch));
        let fetch = FetchOffsets { group: group(), selection: OffsetSelection::All, member };
        let call = self.call(Purpose::Fetch, Request::FetchOffsets(fetch));
        self.fetches = Some(call.number);
        Some(call)
    }

    pub(super) fn commit(&mut self, random: &mut Random) -> Option<Call> {
        let mut offsets = Vec::new();
        for ((topic, partition), position) in &mut self.positions {
            if !self.owned.contains(*topic, *partition) {
                continue;
            }
            *position += 1 + random.below(10) as i64;
            offsets.push(CommitOffset {
                topic: TopicName::from(topic_name(*topic)),
                topic_id: *topic,
                partition: *partition,
                offset: *position,
                leader_epoch: 0,
                metadata: Arc::from(""),
            });
        }
        if offsets.is_empty() {
            return None;
        }
        let commit = CommitOffsets {
            group: group(),
            generation: GenerationId(self.epoch.0),
            member_id: Some(self.member_id.clone()),
            instance_id: self.instance_id.clone(),
            knows_group_id_not_found: true,
            retention: None,
            offsets,
        };
        Some(self.call(Purpose::Commit, Request::CommitOffsets(commit)))
    }

    pub(super) fn call(&mut self, purpose: Purpose, request: Request) -> Call {
        self.calls += 1;
        // Unlike in every other start of this process.
        Call { number: self.starts * 1_000_000 + self.calls, purpose, request }
    }
}

/// Topics are named after their ids.
pub(super) fn topic_name(id: Uuid) -> String {
    format!("t{}", id.as_u128())
}

/// The reverse of [`topic_name`].
pub(super) fn topic_id(name: &str) -> Uuid {
    Uuid::from_u128(name.trim_start_matches('t').parse().expect("a topic of this world"))
}
