//! A consumer as real ones behave: joins, assigns if it leads, syncs, heartbeats, commits what it owns, rejoins when it
//! is told to, and gives up calls that are not answered. It knows nothing of the coordinator's insides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::groups::classic::*;
use crate::groups::offsets::{CommitOffset, CommitOffsets, FetchOffsets, OffsetSelection};
use crate::groups::*;
use crate::random::Random;

pub(super) const PARTITIONS: i32 = 5;
const SESSION: Duration = Duration::from_secs(6);
const REBALANCE: Duration = Duration::from_secs(8);
const HEARTBEAT_MS: u64 = 2_000;
/// Longer than a rebalance may take.
const CALL_TIMEOUT_MS: u64 = 20_000;
const BACKOFF_MS: u64 = 100;

pub(super) fn group() -> GroupId {
    GroupId::from("readers")
}

pub(super) fn topic() -> TopicName {
    TopicName::from("events")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not running.
    Down,
    /// Waits a moment before it joins.
    Resting,
    /// Its join is under way.
    Joining,
    /// Its sync is under way.
    Syncing,
    /// Owns partitions.
    Working,
}

/// A request and the number by which the client knows its reply again.
pub(super) struct Call {
    pub number: u64,
    pub request: Request,
}

pub(super) struct Client {
    pub name: String,
    pub instance_id: Option<InstanceId>,
    pub state: State,
    pub member_id: Option<MemberId>,
    pub generation: GenerationId,
    pub owned: Vec<i32>,
    /// When it next does something unasked.
    pub wakes_at: u64,
    protocol_name: Option<Arc<str>>,
    prefers_sticky: bool,
    is_old: bool,
    ids_used: u64,
    /// The call whose reply it waits for; replies to others come too late.
    waits_for: u64,
    calls: u64,
}

impl Client {
    pub fn new(index: usize, random: &mut Random) -> Client {
        // Two of the static ones share a name, as a careless operator would have it.
        let instance_id = (index % 3 == 2).then(|| InstanceId::from(format!("static-{}", index / 6)));
        Client {
            name: format!("client-{index}"),
            instance_id,
            state: State::Down,
            member_id: None,
            generation: GenerationId::NONE,
            owned: Vec::new(),
            wakes_at: random.below(3_000),
            protocol_name: None,
            prefers_sticky: random.chance(50),
            is_old: random.chance(30),
            ids_used: 0,
            waits_for: 0,
            calls: 0,
        }
    }

    /// The process ends without a word.
    pub fn crash(&mut self) {
        self.state = State::Down;
        self.member_id = None;
        self.generation = GenerationId::NONE;
        self.owned.clear();
        self.wakes_at = u64::MAX;
    }

    /// The process starts.
    pub fn start(&mut self, now_ms: u64) {
        self.crash();
        self.rest(now_ms);
    }

    /// Does what it does unasked.
    pub fn wake(&mut self, now_ms: u64, random: &mut Random, value: &mut i64) -> Vec<Call> {
        match self.state {
            State::Down => {
                self.wakes_at = u64::MAX;
                Vec::new()
            }
            // A call was not answered: the connection is lost, so it joins again.
            State::Resting | State::Joining | State::Syncing => vec![self.join(now_ms)],
            State::Working => {
                self.wakes_at = now_ms + HEARTBEAT_MS;
                let heartbeat = Heartbeat {
                    group: group(),
                    generation: self.generation,
                    member_id: self.id(),
                    instance_id: self.instance_id.clone(),
                };
                let mut calls = vec![self.call(Request::Heartbeat(heartbeat))];
                if random.chance(60) {
                    calls.extend(self.commit(value));
                }
                if random.chance(30) {
                    let selection = OffsetSelection::All;
                    calls.push(self.call(Request::FetchOffsets(FetchOffsets {
                        group: group(),
                        selection,
                        member: None,
                    })));
                }
                calls
            }
        }
    }

    /// Leaves the group properly and stops.
    pub fn leave(&mut self) -> Option<Call> {
        let leaving =
            LeavingMember { member_id: Some(self.member_id.clone()?), instance_id: self.instance_id.clone() };
        let call = self.call(Request::LeaveGroup(LeaveGroup { group: group(), members: vec![leaving] }));
        self.crash();
        Some(call)
    }

    /// Takes a reply.
    pub fn on_reply(&mut self, now_ms: u64, number: u64, reply: &Reply) -> Vec<Call> {
        match (self.state, reply) {
            (State::Joining, Reply::JoinGroup(answer)) if number == self.waits_for => {
                self.on_joined(now_ms, answer)
            }
            (State::Syncing, Reply::SyncGroup(answer)) if number == self.waits_for => {
                match answer {
                    Ok(synced) => {
                        self.owned = synced.assignment.iter().map(|byte| i32::from(*byte)).collect();
                        self.state = State::Working;
                        self.wakes_at = now_ms;
                    }
                    Err(error) => self.on_error(now_ms, *error),
                }
                Vec::new()
            }
            (State::Working, Reply::Heartbeat(Err(error)) | Reply::CommitOffsets(Err(error))) => {
                // A reply to a call of an earlier generation says nothing of this one.
                if number > self.waits_for {
                    self.on_error(now_ms, *error);
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn on_joined(&mut self, now_ms: u64, answer: &Result<Joined, JoinRefused>) -> Vec<Call> {
        match answer {
            Ok(joined) => {
                self.member_id = Some(joined.member_id.clone());
                self.generation = joined.generation;
                self.protocol_name = joined.protocol_name.clone();
                let leads = joined.leader.as_ref() == Some(&joined.member_id) && !joined.skip_assignment;
                vec![self.sync(now_ms, if leads { &joined.members } else { &[] })]
            }
            Err(refused) if refused.error == GroupError::MemberIdRequired => {
                self.member_id = refused.member_id.clone();
                vec![self.join(now_ms)]
            }
            Err(refused) => {
                self.on_error(now_ms, refused.error);
                Vec::new()
            }
        }
    }

    fn on_error(&mut self, now_ms: u64, error: GroupError) {
        match error {
            GroupError::FencedInstanceId => return self.crash(),
            GroupError::UnknownMemberId | GroupError::InconsistentGroupProtocol => self.member_id = None,
            _ => {}
        }
        self.rest(now_ms);
    }

    fn rest(&mut self, now_ms: u64) {
        self.state = State::Resting;
        self.owned.clear();
        self.generation = GenerationId::NONE;
        self.wakes_at = now_ms + BACKOFF_MS;
    }

    fn join(&mut self, now_ms: u64) -> Call {
        self.ids_used += 1;
        self.state = State::Joining;
        self.owned.clear();
        self.wakes_at = now_ms + CALL_TIMEOUT_MS;
        let names: &[&str] = if self.prefers_sticky { &["sticky", "range"] } else { &["range", "sticky"] };
        let protocols = names
            .iter()
            .map(|name| Protocol { name: Arc::from(*name), metadata: Bytes::from_static(b"events") });
        let request = JoinGroup {
            group: group(),
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: Arc::from(self.name.as_str()),
            client_host: Arc::from("/simulated"),
            protocol_type: Arc::from("consumer"),
            protocols: protocols.collect(),
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            fresh_member_id: MemberId::from(format!("{}-{}", self.name, self.ids_used)),
            knows_member_id_required: !self.is_old,
            knows_skip_assignment: !self.is_old,
            topics: None,
        };
        let call = self.call(Request::JoinGroup(Box::new(request)));
        self.waits_for = call.number;
        call
    }

    fn sync(&mut self, now_ms: u64, members: &[JoinedMember]) -> Call {
        self.state = State::Syncing;
        self.wakes_at = now_ms + CALL_TIMEOUT_MS;
        // The assignor: each member's share is a byte a partition, dealt out in turn.
        let share = |position: usize| -> Bytes {
            (0..PARTITIONS).filter(|p| *p as usize % members.len() == position).map(|p| p as u8).collect()
        };
        let shares = members.iter().enumerate().map(|(position, m)| (m.member_id.clone(), share(position)));
        let request = SyncGroup {
            group: group(),
            generation: self.generation,
            member_id: self.id(),
            instance_id: self.instance_id.clone(),
            protocol_type: Some(Arc::from("consumer")),
            protocol_name: self.protocol_name.clone(),
            assignments: shares.collect(),
            topics: None,
        };
        let call = self.call(Request::SyncGroup(request));
        self.waits_for = call.number;
        call
    }

    fn commit(&mut self, value: &mut i64) -> Option<Call> {
        let offsets: Vec<CommitOffset> = self
            .owned
            .iter()
            .map(|partition| {
                *value += 1;
                CommitOffset {
                    topic: topic(),
                    topic_id: uuid::Uuid::nil(),
                    partition: *partition,
                    offset: *value,
                    leader_epoch: 0,
                    metadata: Arc::from(""),
                }
            })
            .collect();
        if offsets.is_empty() {
            return None;
        }
        Some(self.call(Request::CommitOffsets(CommitOffsets {
            group: group(),
            generation: self.generation,
            member_id: Some(self.id()),
            instance_id: self.instance_id.clone(),
            knows_group_id_not_found: true,
            retention: None,
            offsets,
        })))
    }

    fn id(&self) -> MemberId {
        self.member_id.clone().unwrap_or_else(|| MemberId::from(""))
    }

    fn call(&mut self, request: Request) -> Call {
        self.calls += 1;
        Call { number: self.calls, request }
    }
}
