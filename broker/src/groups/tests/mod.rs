//! The rules of groups, one sentence a test, against the machine as a whole. [`Bench`] plays clients, clock and log.

mod admin;
mod deadlines;
mod heartbeat;
mod join;
mod leave;
mod offsets;
mod replay;
mod static_members;
mod sync;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::classic::*;
use super::offsets::*;
use super::*;

pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const REBALANCE: Duration = Duration::from_secs(30);

/// A machine with its clock, its log and the replies it has given.
pub(super) struct Bench {
    pub groups: Groups,
    pub now: Now,
    pub log: Vec<Record>,
    replies: BTreeMap<ReplyId, Reply>,
    reply_last: u64,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(GroupConfig::default())
    }

    pub fn with(config: GroupConfig) -> Bench {
        let now = Now { monotonic: Monotonic::from_millis(1_000), wall: WallMs(1_700_000_000_000) };
        let groups = Groups::new(config);
        Bench { groups, now, log: Vec::new(), replies: BTreeMap::new(), reply_last: 0 }
    }

    /// Asks; the answer, if there is one yet, is found with [`Bench::answer`].
    pub fn ask(&mut self, request: Request) -> ReplyId {
        self.reply_last += 1;
        let id = ReplyId(self.reply_last);
        let decision = self.groups.decide(self.now, id, &request);
        self.take(decision);
        id
    }

    /// Asks for something that is answered at once.
    pub fn ask_now(&mut self, request: Request) -> Reply {
        let id = self.ask(request);
        self.answer(id).expect("it is answered at once")
    }

    /// The answer given, once.
    pub fn answer(&mut self, id: ReplyId) -> Option<Reply> {
        self.replies.remove(&id)
    }

    /// Lets time pass, stopping at every deadline on the way.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now.monotonic + duration;
        while let Some(deadline) = self.groups.next_deadline().filter(|deadline| *deadline <= end) {
            self.now.monotonic = self.now.monotonic.max(deadline);
            let decision = self.groups.on_deadline(self.now);
            self.take(decision);
        }
        self.now.monotonic = end;
    }

    fn take(&mut self, decision: Decision) {
        self.log.extend(decision.records().cloned());
        self.groups.apply_all(&decision);
        self.groups.invariants();
        for (id, reply) in decision.replies {
            assert!(self.replies.insert(id, reply).is_none(), "{id:?} is answered once");
        }
    }

    /// Joins for a member without an id, going through the member id round trip.
    pub fn join_new(&mut self, name: &str) -> (MemberId, ReplyId) {
        let id = self.ask(Request::JoinGroup(Box::new(join(name))));
        match self.answer(id) {
            Some(Reply::JoinGroup(Err(JoinRefused { error: GroupError::MemberIdRequired, member_id }))) => {
                let member_id = member_id.expect("an id comes with MEMBER_ID_REQUIRED");
                let reply = self.rejoin(name, &member_id);
                (member_id, reply)
            }
            other => panic!("a first join is told to come back with an id, not {other:?}"),
        }
    }

    pub fn rejoin(&mut self, name: &str, member_id: &MemberId) -> ReplyId {
        let request = JoinGroup { member_id: Some(member_id.clone()), ..join(name) };
        self.ask(Request::JoinGroup(Box::new(request)))
    }

    pub fn joined(&mut self, id: ReplyId) -> Joined {
        match self.answer(id) {
            Some(Reply::JoinGroup(Ok(joined))) => joined,
            other => panic!("the join is not granted: {other:?}"),
        }
    }

    pub fn join_refused(&mut self, id: ReplyId) -> GroupError {
        match self.answer(id) {
            Some(Reply::JoinGroup(Err(refused))) => refused.error,
            other => panic!("the join is not refused: {other:?}"),
        }
    }

    /// The leader's sync, which gives each member an assignment named after itself.
    pub fn sync_leader(
        &mut self,
        generation: GenerationId,
        leader: &MemberId,
        members: &[&MemberId],
    ) -> ReplyId {
        let assignments = members.iter().map(|id| ((*id).clone(), work_of(id))).collect();
        self.ask(Request::SyncGroup(SyncGroup { assignments, ..sync(generation, leader) }))
    }

    pub fn sync(&mut self, generation: GenerationId, member: &MemberId) -> ReplyId {
        self.ask(Request::SyncGroup(sync(generation, member)))
    }

    pub fn synced(&mut self, id: ReplyId) -> Result<Bytes, GroupError> {
        match self.answer(id) {
            Some(Reply::SyncGroup(answer)) => answer.map(|synced| synced.assignment),
            other => panic!("the sync is not answered: {other:?}"),
        }
    }

    pub fn heartbeat(&mut self, generation: GenerationId, member: &MemberId) -> Result<(), GroupError> {
        match self.ask_now(Request::Heartbeat(heartbeat(generation, member))) {
            Reply::Heartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn leave(&mut self, member: &MemberId) -> Result<(), GroupError> {
        let members = vec![LeavingMember { member_id: Some(member.clone()), instance_id: None }];
        match self.ask_now(Request::LeaveGroup(LeaveGroup { group: group(), members })) {
            Reply::LeaveGroup(Ok(answers)) => answers[0],
            other => panic!("{other:?}"),
        }
    }

    /// A stable group of the named members, the first of which leads.
    pub fn stable(&mut self, names: &[&str]) -> (GenerationId, Vec<MemberId>) {
        let joins: Vec<(MemberId, ReplyId)> = names.iter().map(|name| self.join_new(name)).collect();
        self.pass(Duration::from_millis(600));
        let mut ids: Vec<MemberId> = joins.iter().map(|(id, _)| id.clone()).collect();
        let mut generation = GenerationId(0);
        let mut leader = None;
        for (_, reply) in &joins {
            let joined = self.joined(*reply);
            generation = joined.generation;
            leader = joined.leader;
        }
        let leader = leader.expect("a generation has a leader");
        ids.sort_by_key(|id| *id != leader);
        let all: Vec<&MemberId> = ids.iter().collect();
        let reply = self.sync_leader(generation, &leader, &all);
        assert_eq!(self.synced(reply), Ok(work_of(&leader)));
        for id in &ids[1..] {
            let reply = self.sync(generation, id);
            assert_eq!(self.synced(reply), Ok(work_of(id)));
        }
        assert_eq!(self.state(), GroupState::Stable);
        (generation, ids)
    }

    pub fn state(&self) -> GroupState {
        self.groups.group(&group()).map_or(GroupState::Dead, Group::state)
    }

    /// A machine that has read this one's log, as after a crash.
    pub fn restarted(&self) -> Bench {
        let mut bench = Bench { now: self.now, ..Bench::new() };
        for record in &self.log {
            bench.groups.apply(&Change::Record(record.clone()));
        }
        let decision = bench.groups.on_loaded(bench.now);
        bench.take(decision);
        bench.log = self.log.clone();
        bench
    }
}

pub(super) fn group() -> GroupId {
    GroupId::from("readers")
}

pub(super) fn work_of(member: &MemberId) -> Bytes {
    Bytes::from(format!("work of {member}"))
}

pub(super) fn protocols(names: &[&str]) -> Arc<[Protocol]> {
    names
        .iter()
        .map(|name| Protocol { name: Arc::from(*name), metadata: Bytes::from(format!("{name} metadata")) })
        .collect()
}

/// A first join of the newest version; `name` is part of the id the member is given.
pub(super) fn join(name: &str) -> JoinGroup {
    JoinGroup {
        group: group(),
        member_id: None,
        instance_id: None,
        client_id: Arc::from(name),
        client_host: Arc::from("/127.0.0.1"),
        protocol_type: Arc::from("consumer"),
        protocols: protocols(&["range", "sticky"]),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        fresh_member_id: MemberId::from(format!("{name}-id")),
        knows_member_id_required: true,
        knows_skip_assignment: true,
        topics: None,
    }
}

pub(super) fn sync(generation: GenerationId, member: &MemberId) -> SyncGroup {
    SyncGroup {
        group: group(),
        generation,
        member_id: member.clone(),
        instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments: Vec::new(),
        topics: None,
    }
}

pub(super) fn heartbeat(generation: GenerationId, member: &MemberId) -> Heartbeat {
    Heartbeat { group: group(), generation, member_id: member.clone(), instance_id: None }
}

pub(super) fn commit(generation: GenerationId, member: Option<&MemberId>, offset: i64) -> CommitOffsets {
    CommitOffsets {
        group: group(),
        generation,
        member_id: member.cloned(),
        instance_id: None,
        knows_group_id_not_found: true,
        retention: None,
        offsets: vec![CommitOffset {
            topic: TopicName::from("events"),
            topic_id: uuid::Uuid::nil(),
            partition: 0,
            offset,
            leader_epoch: 4,
            metadata: Arc::from("note"),
        }],
    }
}
