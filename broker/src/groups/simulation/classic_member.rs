//! What a simulated member does while it speaks the classic protocol: joins, assigns where it leads, syncs and heartbeats. An
//! eager one gives up everything before it joins; a cooperative one only what it is told to, and joins again after that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::messages::consumer_protocol::TopicPartition;
use ottla_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use ottla_protocol::{Message, Str};
use uuid::Uuid;

use super::consumer_member::{Call, INTERVAL_MS, Member, Purpose, SESSION_MS, group, topic_id, topic_name};
use crate::groups::classic::{
    Heartbeat, JoinGroup, JoinRefused, Joined, JoinedMember, LeaveGroup, LeavingMember, Protocol, SyncGroup,
};
use crate::groups::consumer::{Epoch, PartitionSet};
use crate::groups::*;
use crate::random::Random;

const REBALANCE_MS: u64 = 8_000;
/// Longer than a rebalance may take.
const CALL_TIMEOUT_MS: u64 = 20_000;
const BACKOFF_MS: u64 = 100;
const NAMES: [&str; 2] = ["t1", "t2"];

/// What a group's classic members agree on, in one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebalancing {
    Eager,
    Cooperative,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Joins when it wakes.
    Resting,
    Joining,
    Syncing,
    Working,
}

/// What only a member of the classic protocol has.
#[derive(Debug)]
pub(super) struct Classic {
    rebalancing: Rebalancing,
    phase: Phase,
    protocol_name: Option<Arc<str>>,
    /// The topics that it assigned from, if it leads.
    assigned_from: Option<u64>,
    /// Joins again once it has given up what it must.
    rejoins: bool,
    /// Has given up, since it joined, what it said it owned: who leads may have left it out for that.
    has_lost: bool,
}

impl Classic {
    pub fn new(rebalancing: Rebalancing) -> Classic {
        Classic {
            rebalancing,
            phase: Phase::Resting,
            protocol_name: None,
            assigned_from: None,
            rejoins: false,
            has_lost: false,
        }
    }

    pub fn is_working(&self) -> bool {
        self.phase == Phase::Working && !self.rejoins
    }

    fn protocol(&self) -> &'static str {
        match self.rebalancing {
            Rebalancing::Eager => "range",
            Rebalancing::Cooperative => "cooperative-sticky",
        }
    }
}

impl Member {
    fn classic(&mut self) -> &mut Classic {
        self.classic.as_mut().expect("it speaks the classic protocol")
    }

    /// Does what it does unasked.
    pub(super) fn wake_classic(&mut self, now: u64, random: &mut Random, topics: &Topics) -> Vec<Call> {
        let mut calls = Vec::new();
        if self.gives_up_at.is_some_and(|at| at <= now) {
            calls.extend(self.give_up(random));
            self.classic().phase = Phase::Resting;
        }
        let unanswered = self.waits_for.is_some_and(|(_, until)| until <= now);
        let version = topics.0.version();
        match self.classic().phase {
            Phase::Resting => calls.extend(self.join(now, random, topics)),
            Phase::Joining | Phase::Syncing if unanswered => calls.extend(self.join(now, random, topics)),
            Phase::Joining | Phase::Syncing => {}
            Phase::Working => {
                let sees_news = self.classic().assigned_from.is_some_and(|from| from != version);
                if sees_news && self.gives_up_at.is_none() {
                    calls.extend(self.join(now, random, topics));
                } else {
                    if self.waits_for.is_none() || unanswered {
                        calls.push(self.beat(now));
                    }
                    calls.extend(self.fetch_missing());
                    if random.chance(40) {
                        calls.extend(self.commit(random));
                    }
                }
            }
        }
        let call_ends = self.waits_for.map(|(_, until)| until);
        let wakes = [Some(now + INTERVAL_MS), call_ends, self.gives_up_at].into_iter().flatten();
        self.wakes_at = wakes.min().unwrap_or(now).max(now + 1);
        calls
    }

    /// Takes a reply to the call that it waits for.
    pub(super) fn on_classic_reply(
        &mut self,
        now: u64,
        random: &mut Random,
        reply: &Reply,
        topics: &Topics,
    ) -> Vec<Call> {
        self.waits_for = None;
        match reply {
            Reply::JoinGroup(Ok(joined)) => return vec![self.on_joined(now, joined, topics)],
            Reply::JoinGroup(Err(JoinRefused {
                error: GroupError::MemberIdRequired,
                member_id: Some(member_id),
            })) => {
                self.member_id = member_id.clone();
                return self.join(now, random, topics);
            }
            Reply::SyncGroup(Ok(synced)) => {
                let assigned = read_assignment(&synced.assignment);
                self.classic().phase = Phase::Working;
                self.wakes_at = now + 1;
                self.classic().rejoins = !self.owned.is_subset(&assigned);
                self.on_assigned(now, random, &assigned);
                if std::mem::take(&mut self.classic().has_lost) && self.gives_up_at.is_none() {
                    self.classic().rejoins = true;
                    self.classic().phase = Phase::Resting;
                }
            }
            Reply::Heartbeat(Ok(())) => {}
            // What it is about to give up it gives up first.
            Reply::Heartbeat(Err(GroupError::RebalanceInProgress)) if self.gives_up_at.is_some() => {}
            Reply::JoinGroup(Err(JoinRefused { error, .. }))
            | Reply::SyncGroup(Err(error))
            | Reply::Heartbeat(Err(error)) => self.on_classic_error(now, *error),
            _ => {}
        }
        Vec::new()
    }

    fn on_joined(&mut self, now: u64, joined: &Joined, topics: &Topics) -> Call {
        self.member_id = joined.member_id.clone();
        // A generation went by without it: others may have read on, so nothing is committed for what it had. (Java's client
        // commits all the same where it gives up; Kafka's protocol does not keep it from going back then.)
        if joined.leader.is_some() && joined.generation.0 > self.epoch.0 + 1 {
            self.classic().has_lost = !self.owned.is_empty();
            self.owned = PartitionSet::default();
            self.positions.clear();
            self.gives_up_at = None;
        }
        self.epoch = Epoch(joined.generation.0);
        let leads = joined.leader.as_ref() == Some(&joined.member_id);
        let version = topics.0.version();
        let classic = self.classic();
        classic.protocol_name = joined.protocol_name.clone();
        // Who leads watches the topics even where the assignment stands (KIP-814).
        classic.assigned_from = leads.then_some(version);
        let assignments = match leads && !joined.skip_assignment {
            true => assign(classic.rebalancing, &joined.members, topics),
            false => Vec::new(),
        };
        let request = SyncGroup {
            group: group(),
            generation: joined.generation,
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            protocol_type: Some(Arc::from("consumer")),
            protocol_name: self.classic().protocol_name.clone(),
            assignments,
            topics: Some(topics.clone()),
        };
        self.wait_for(now, Phase::Syncing, Purpose::Sync, Request::SyncGroup(request))
    }

    fn on_classic_error(&mut self, now: u64, error: GroupError) {
        match error {
            // Another has its name: an operator has to look.
            GroupError::FencedInstanceId | GroupError::UnreleasedInstanceId => return self.crash(),
            GroupError::UnknownMemberId => {
                self.forget_all();
                self.member_id = MemberId::from("");
            }
            // What it owned is lost, its place is not.
            GroupError::IllegalGeneration => self.forget_all(),
            _ => {}
        }
        self.classic().phase = Phase::Resting;
        self.wakes_at = now + BACKOFF_MS;
    }

    fn join(&mut self, now: u64, random: &mut Random, topics: &Topics) -> Vec<Call> {
        let mut calls = Vec::new();
        self.classic().rejoins = false;
        self.classic().has_lost = false;
        if self.classic().rebalancing == Rebalancing::Eager {
            // As every client does: what was read is committed before others may read on.
            calls.extend(self.commit(random));
            self.gives_up_at = None;
            self.owned = PartitionSet::default();
            self.assigned = PartitionSet::default();
            self.positions.clear();
        }
        self.ids_used += 1;
        let metadata = ConsumerProtocolSubscription {
            topics: NAMES.iter().map(|name| Str::from(*name)).collect(),
            owned_partitions: written(&self.owned),
            generation_id: if self.epoch == Epoch::JOIN { -1 } else { self.epoch.0 },
            ..ConsumerProtocolSubscription::default()
        };
        let metadata = metadata.encode_versioned(3).expect("it can be written");
        let is_known = !self.member_id.as_str().is_empty();
        let request = JoinGroup {
            group: group(),
            member_id: is_known.then(|| self.member_id.clone()),
            instance_id: self.instance_id.clone(),
            client_id: Arc::from(self.name.as_str()),
            client_host: Arc::from("/simulated"),
            protocol_type: Arc::from("consumer"),
            protocols: Arc::from([Protocol { name: Arc::from(self.classic().protocol()), metadata }]),
            session_timeout: Duration::from_millis(SESSION_MS),
            rebalance_timeout: Duration::from_millis(REBALANCE_MS),
            fresh_member_id: MemberId::from(format!("{}-{}-{}", self.name, self.starts, self.ids_used)),
            knows_member_id_required: true,
            knows_skip_assignment: true,
            topics: Some(topics.clone()),
        };
        let request = Request::JoinGroup(Box::new(request));
        calls.push(self.wait_for(now, Phase::Joining, Purpose::Join, request));
        calls
    }

    fn beat(&mut self, now: u64) -> Call {
        let request = Heartbeat {
            group: group(),
            generation: GenerationId(self.epoch.0),
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
        };
        self.wait_for(now, Phase::Working, Purpose::Beat, Request::Heartbeat(request))
    }

    fn wait_for(&mut self, now: u64, phase: Phase, purpose: Purpose, request: Request) -> Call {
        let call = self.call(purpose, request);
        self.classic().phase = phase;
        let timeout = if phase == Phase::Working { SESSION_MS / 3 } else { CALL_TIMEOUT_MS };
        self.waits_for = Some((call.number, now + timeout));
        self.wakes_at = self.wakes_at.min(now + timeout);
        call
    }

    /// Leaves properly and stops; a static member is silent, and will be back.
    pub(super) fn leave_classic(&mut self) -> Option<Call> {
        let says_so = self.instance_id.is_none() && !self.member_id.as_str().is_empty();
        let leaving = LeavingMember { member_id: Some(self.member_id.clone()), instance_id: None };
        let request = Request::LeaveGroup(LeaveGroup { group: group(), members: vec![leaving] });
        let call = says_so.then(|| self.call(Purpose::Leave, request));
        self.crash();
        call
    }
}

/// The leader's assignor. A cooperative one leaves out what another member still has to give up.
fn assign(rebalancing: Rebalancing, members: &[JoinedMember], topics: &Topics) -> Vec<(MemberId, Bytes)> {
    let all: BTreeSet<(Uuid, i32)> = NAMES
        .iter()
        .filter_map(|name| topics.0.topic(name))
        .flat_map(|topic| (0..topic.partition_count).map(move |index| (topic.id, index)))
        .collect();
    let mut claims: BTreeMap<(Uuid, i32), (i32, &MemberId)> = BTreeMap::new();
    for member in members.iter().filter(|_| rebalancing == Rebalancing::Cooperative) {
        let said = ConsumerProtocolSubscription::decode_versioned_or_newer(member.metadata.clone());
        let said = said.expect("all members are of this world");
        for partition in read(&said.owned_partitions).iter().filter(|partition| all.contains(partition)) {
            // Who claims it in the newest generation has it.
            let claim = claims.entry(partition).or_insert((said.generation_id, &member.member_id));
            if said.generation_id > claim.0 {
                *claim = (said.generation_id, &member.member_id);
            }
        }
    }
    let mut shares: BTreeMap<&MemberId, Vec<(Uuid, i32)>> =
        members.iter().map(|member| (&member.member_id, Vec::new())).collect();
    for (partition, (_, member)) in &claims {
        shares.entry(member).or_default().push(*partition);
    }
    // Everybody keeps at most an even share; who has most is the first to keep one more.
    let (least, ones_more) = (all.len() / members.len(), all.len() % members.len());
    let mut by_share: Vec<&MemberId> = shares.keys().copied().collect();
    by_share.sort_by_key(|member| Reverse(shares[member].len()));
    let quota = |position: usize| least + usize::from(position < ones_more);
    let mut free = all.iter().filter(|partition| !claims.contains_key(partition));
    for (position, member) in by_share.into_iter().enumerate() {
        let share = shares.entry(member).or_default();
        share.truncate(quota(position));
        while share.len() < quota(position)
            && let Some(partition) = free.next()
        {
            share.push(*partition);
        }
    }
    let encoded = |share: Vec<(Uuid, i32)>| {
        let assigned_partitions = written(&share.into_iter().collect());
        let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
        assignment.encode_versioned(3).expect("it can be written")
    };
    shares.into_iter().map(|(member, share)| (member.clone(), encoded(share))).collect()
}

fn read_assignment(bytes: &Bytes) -> PartitionSet {
    if bytes.is_empty() {
        return PartitionSet::default();
    }
    let assignment = ConsumerProtocolAssignment::decode_versioned_or_newer(bytes.clone());
    read(&assignment.expect("the coordinator gives what can be read").assigned_partitions)
}

fn read(topics: &[TopicPartition]) -> PartitionSet {
    let of_topic = |topic: &TopicPartition| {
        let id = topic_id(&topic.topic);
        topic.partitions.iter().map(move |index| (id, *index)).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

fn written(partitions: &PartitionSet) -> Vec<TopicPartition> {
    let topic = |(id, partitions): (Uuid, &BTreeSet<i32>)| TopicPartition {
        topic: Str::from(topic_name(id)),
        partitions: partitions.iter().copied().collect(),
    };
    partitions.topics().map(topic).collect()
}
