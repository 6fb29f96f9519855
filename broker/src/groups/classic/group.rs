//! The state of one classic group and the only function that changes it. Decisions are elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::change::GroupChange;
use super::member::Member;
use super::request::GroupState;
use super::sessions::Sessions;
use crate::groups::names::{GenerationId, InstanceId, MemberId, Monotonic};

/// A group of members that share work by a protocol of their own (for consumers: partitions by an assignor).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Where it is in its life.
    pub phase: Phase,
    /// How often it was formed.
    pub generation: GenerationId,
    /// Of the present members, or the last ones.
    pub protocol_type: Option<Arc<str>>,
    /// What the members of this generation agreed on.
    pub protocol_name: Option<Arc<str>>,
    /// Who assigns.
    pub leader: Option<MemberId>,
    /// In the order of their ids, so that two coordinators decide alike.
    pub members: BTreeMap<MemberId, Arc<Member>>,
    /// Which member bears an instance id now.
    pub static_members: BTreeMap<InstanceId, MemberId>,
    /// Ids given out whose members have not joined yet.
    pub pending_members: BTreeSet<MemberId>,
    /// Who is given up when.
    pub sessions: Sessions,
}

/// [`GroupState`] with what belongs to each state.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Phase {
    /// No members.
    #[default]
    Empty,
    /// Gathering members.
    PreparingRebalance {
        /// When the gathering ends.
        deadline: Monotonic,
        /// Set while the group waits only for members that may still come.
        initial: Option<InitialDelay>,
    },
    /// Waiting for the leader's assignments.
    CompletingRebalance(Option<AwaitedSyncs>),
    /// At work.
    Stable(Option<AwaitedSyncs>),
}

/// `group.initial.rebalance.delay.ms`: each new member extends the wait, up to the rebalance timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialDelay {
    /// The length of the present wait.
    pub delay: Duration,
    /// How much longer it may be extended.
    pub remaining: Duration,
    /// A member came during the present wait.
    pub member_added: bool,
}

/// Members that have not asked for their assignment yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaitedSyncs {
    /// Never empty.
    pub members: BTreeSet<MemberId>,
    /// When they are removed.
    pub deadline: Monotonic,
}

impl Group {
    /// The state's name.
    pub fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::PreparingRebalance { .. } => GroupState::PreparingRebalance,
            Phase::CompletingRebalance(_) => GroupState::CompletingRebalance,
            Phase::Stable(_) => GroupState::Stable,
        }
    }

    /// Nothing is known of the group that a new one would not have.
    pub fn is_blank(&self) -> bool {
        self.phase == Phase::Empty
            && self.generation == GenerationId::default()
            && self.members.is_empty()
            && self.pending_members.is_empty()
    }

    /// The next moment at which silence changes the group.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let phase = match &self.phase {
            Phase::Empty => None,
            Phase::PreparingRebalance { deadline, .. } => Some(*deadline),
            Phase::CompletingRebalance(awaited) | Phase::Stable(awaited) => {
                awaited.as_ref().map(|awaited| awaited.deadline)
            }
        };
        [phase, self.sessions.next_deadline()].into_iter().flatten().min()
    }

    /// Whether this member leads.
    pub fn is_leader(&self, member_id: &MemberId) -> bool {
        self.leader.as_ref() == Some(member_id)
    }

    /// The slowest member's rebalance timeout.
    pub fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// How many joins are parked.
    pub fn awaiting_join_count(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    /// Nobody is late, and nobody was named and has not come back.
    pub fn has_all_members_joined(&self) -> bool {
        self.pending_members.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    /// Makes one change. The only way a group changes.
    pub fn apply(&mut self, change: &GroupChange) {
        match change {
            GroupChange::MemberIdGiven { member_id, expires_at } => {
                self.pending_members.insert(member_id.clone());
                self.sessions.set(member_id, *expires_at);
            }
            GroupChange::MemberIdTakenBack { member_id } => {
                self.pending_members.remove(member_id);
                self.sessions.clear(member_id);
            }
            GroupChange::MemberAdded { member, expires_at, protocol_type } => {
                self.add_member(member, *expires_at, protocol_type);
            }
            GroupChange::MemberRejoined {
                member_id,
                protocols,
                session_timeout,
                rebalance_timeout,
                reply,
            } => {
                self.update(member_id, |member| {
                    member.protocols = protocols.clone();
                    member.session_timeout = *session_timeout;
                    member.rebalance_timeout = *rebalance_timeout;
                    member.awaiting_join = Some(*reply);
                });
                self.stop_session_of_silent(member_id);
            }
            GroupChange::StaticMemberReplaced { instance_id, old, new, expires_at } => {
                self.replace_static_member(instance_id, old, new);
                self.sessions.set(new, *expires_at);
            }
            GroupChange::MemberRemoved { member_id } => self.remove_member(member_id),
            GroupChange::JoinAnswered { member_id, expires_at } => {
                self.update(member_id, |member| {
                    member.awaiting_join = None;
                    member.is_new = false;
                });
                self.sessions.set(member_id, *expires_at);
            }
            GroupChange::SyncParked { member_id, reply } => {
                self.update(member_id, |member| member.awaiting_sync = Some(*reply));
                self.stop_session_of_silent(member_id);
            }
            GroupChange::SyncReceived { member_id } => self.no_longer_awaits_sync_of(member_id),
            GroupChange::SyncAnswered { member_id, expires_at } => {
                self.update(member_id, |member| member.awaiting_sync = None);
                self.sessions.set(member_id, *expires_at);
                self.stop_session_of_silent(member_id);
            }
            GroupChange::SessionExtended { member_id, expires_at } => {
                if self.members.get(member_id).is_some_and(|member| !member.may_be_silent()) {
                    self.sessions.set(member_id, *expires_at);
                }
            }
            GroupChange::RebalanceStarted { deadline, initial }
            | GroupChange::RebalanceExtended { deadline, initial } => {
                self.phase = Phase::PreparingRebalance { deadline: *deadline, initial: *initial };
            }
            GroupChange::LeaderElected { member_id } => self.leader = Some(member_id.clone()),
            GroupChange::GenerationStarted { generation, protocol_name, sync_deadline } => {
                self.start_generation(*generation, protocol_name, *sync_deadline);
            }
            GroupChange::Emptied { generation } => {
                self.generation = *generation;
                self.protocol_name = None;
                self.leader = None;
                self.phase = Phase::Empty;
            }
            GroupChange::Assigned { assignments } => self.assign(assignments),
            GroupChange::Restored { metadata, now } => *self = Group::restore(metadata, *now),
            GroupChange::Deleted => *self = Group::default(),
        }
    }

    fn update(&mut self, member_id: &MemberId, edit: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get_mut(member_id) {
            edit(Arc::make_mut(member));
        }
    }

    fn stop_session_of_silent(&mut self, member_id: &MemberId) {
        if self.members.get(member_id).is_some_and(|member| member.may_be_silent()) {
            self.sessions.clear(member_id);
        }
    }

    fn add_member(&mut self, member: &Member, expires_at: Monotonic, protocol_type: &Arc<str>) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        if let Phase::PreparingRebalance { initial: Some(initial), .. } = &mut self.phase {
            initial.member_added = true;
        }
        self.pending_members.remove(&member.id);
        self.sessions.set(&member.id, expires_at);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.members.insert(member.id.clone(), Arc::new(member.clone()));
    }

    fn replace_static_member(&mut self, instance_id: &InstanceId, old: &MemberId, new: &MemberId) {
        let Some(mut member) = self.members.remove(old) else { return };
        let edit = Arc::make_mut(&mut member);
        edit.id = new.clone();
        edit.awaiting_join = None;
        edit.awaiting_sync = None;
        self.members.insert(new.clone(), member);
        self.static_members.insert(instance_id.clone(), new.clone());
        self.sessions.clear(old);
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        // Whoever had not synced still has not.
        if let Phase::CompletingRebalance(Some(awaited)) | Phase::Stable(Some(awaited)) = &mut self.phase
            && awaited.members.remove(old)
        {
            awaited.members.insert(new.clone());
        }
    }

    fn remove_member(&mut self, member_id: &MemberId) {
        let Some(member) = self.members.remove(member_id) else { return };
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id) == Some(member_id)
        {
            self.static_members.remove(instance_id);
        }
        self.sessions.clear(member_id);
        self.no_longer_awaits_sync_of(member_id);
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn start_generation(
        &mut self,
        generation: GenerationId,
        protocol_name: &Arc<str>,
        sync_deadline: Monotonic,
    ) {
        self.generation = generation;
        self.protocol_name = Some(protocol_name.clone());
        for member in self.members.values_mut() {
            if !member.assignment.is_empty() {
                Arc::make_mut(member).assignment = Bytes::new();
            }
        }
        let members = self.members.keys().cloned().collect();
        self.phase = Phase::CompletingRebalance(Some(AwaitedSyncs { members, deadline: sync_deadline }));
    }

    fn assign(&mut self, assignments: &BTreeMap<MemberId, Bytes>) {
        for (member_id, member) in &mut self.members {
            Arc::make_mut(member).assignment = assignments.get(member_id).cloned().unwrap_or_default();
        }
        if let Phase::CompletingRebalance(awaited) = &mut self.phase {
            self.phase = Phase::Stable(awaited.take());
        }
    }

    fn no_longer_awaits_sync_of(&mut self, member_id: &MemberId) {
        if let Phase::CompletingRebalance(awaited) | Phase::Stable(awaited) = &mut self.phase
            && let Some(syncs) = awaited
        {
            syncs.members.remove(member_id);
            if syncs.members.is_empty() {
                *awaited = None;
            }
        }
    }
}
