//! The state of one consumer group and the only functions that change it. Decisions are elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::change::ConsumerChange;
use super::epoch::Epoch;
use super::member::{CurrentAssignment, Member, MemberState};
use super::partitions::PartitionSet;
use super::record::{ConsumerRecord, GroupEpoch, ResolvedRegex};
use crate::groups::classic::Sessions;
use crate::groups::names::{InstanceId, MemberId, Monotonic, TopicName};

/// A group of the consumer protocol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerGroup {
    /// `None` before its first record.
    pub stored: Option<GroupEpoch>,
    /// In the order of their ids, so that two coordinators decide alike.
    pub members: BTreeMap<MemberId, Arc<Member>>,
    /// Which member bears an instance id.
    pub static_members: BTreeMap<InstanceId, MemberId>,
    /// The epoch that `target` is for.
    pub target_epoch: Option<Epoch>,
    /// What each member is to own.
    pub target: BTreeMap<MemberId, Arc<PartitionSet>>,
    /// The topics behind each pattern.
    pub regexes: BTreeMap<Arc<str>, Arc<ResolvedRegex>>,
    /// Who holds a partition now; follows from `members`.
    pub holders: BTreeMap<(Uuid, i32), MemberId>,
    /// Who is given up when.
    pub sessions: Sessions,
    /// Who must have given up partitions when.
    pub revocations: Sessions,
    /// The cluster's topics that the group was last compared with.
    pub topics_version: Option<u64>,
    /// The topics that the group read then, by id.
    pub topic_names: Arc<BTreeMap<Uuid, TopicName>>,
}

/// The states of a consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerGroupState {
    /// No members.
    Empty,
    /// The target assignment is older than the group.
    Assigning,
    /// Some member is on its way to the target assignment.
    Reconciling,
    /// Every member is there.
    Stable,
}

impl ConsumerGroupState {
    /// Kafka's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            ConsumerGroupState::Empty => "Empty",
            ConsumerGroupState::Assigning => "Assigning",
            ConsumerGroupState::Reconciling => "Reconciling",
            ConsumerGroupState::Stable => "Stable",
        }
    }
}

impl ConsumerGroup {
    /// The group's epoch; 0 before the first.
    pub fn epoch(&self) -> Epoch {
        self.stored.unwrap_or_default().epoch
    }

    /// The target assignment's epoch; 0 before the first.
    pub fn assignment_epoch(&self) -> Epoch {
        self.target_epoch.unwrap_or_default()
    }

    /// The state's name.
    pub fn state(&self) -> ConsumerGroupState {
        let target_epoch = self.assignment_epoch();
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch() > target_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(|member| member.current.is_reconciled_to(target_epoch)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// Nothing is known of it.
    pub fn is_blank(&self) -> bool {
        self.stored.is_none()
            && self.members.is_empty()
            && self.target_epoch.is_none()
            && self.target.is_empty()
            && self.regexes.is_empty()
    }

    /// What the member is to own.
    pub fn target_of(&self, member_id: &MemberId) -> Arc<PartitionSet> {
        self.target.get(member_id).cloned().unwrap_or_default()
    }

    /// The next moment at which silence changes the group.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        [self.sessions.next_deadline(), self.revocations.next_deadline()].into_iter().flatten().min()
    }

    /// Makes the change that a record says.
    pub fn apply_record(&mut self, record: &ConsumerRecord) {
        match record {
            ConsumerRecord::Group(value) => self.stored = *value,
            ConsumerRecord::PartitionMetadata => {}
            ConsumerRecord::Member { member_id, value: Some(metadata) } => {
                self.forget_instance(member_id);
                if let Some(instance_id) = &metadata.instance_id {
                    self.static_members.insert(instance_id.clone(), member_id.clone());
                }
                let member = self.members.entry(member_id.clone()).or_insert_with(|| {
                    Arc::new(Member {
                        id: member_id.clone(),
                        metadata: metadata.clone(),
                        current: CurrentAssignment::default(),
                    })
                });
                Arc::make_mut(member).metadata = metadata.clone();
            }
            ConsumerRecord::Member { member_id, value: None } => {
                self.forget_instance(member_id);
                self.release(member_id);
                self.members.remove(member_id);
                self.sessions.clear(member_id);
                self.revocations.clear(member_id);
            }
            ConsumerRecord::TargetEpoch(value) => self.target_epoch = *value,
            ConsumerRecord::Target { member_id, value: Some(value) } => {
                self.target.insert(member_id.clone(), value.clone());
            }
            ConsumerRecord::Target { member_id, value: None } => {
                self.target.remove(member_id);
            }
            ConsumerRecord::Current { member_id, value } => {
                self.release(member_id);
                let Some(member) = self.members.get_mut(member_id) else { return };
                let current = value.clone().unwrap_or_default();
                if current.state != MemberState::UnrevokedPartitions {
                    self.revocations.clear(member_id);
                }
                self.holders.extend(current.held().map(|partition| (partition, member_id.clone())));
                Arc::make_mut(member).current = current;
            }
            ConsumerRecord::Regex { regex, value: Some(value) } => {
                self.regexes.insert(regex.clone(), value.clone());
            }
            ConsumerRecord::Regex { regex, value: None } => {
                self.regexes.remove(regex);
            }
        }
    }

    /// Makes a change beside the records.
    pub fn apply(&mut self, change: &ConsumerChange) {
        match change {
            ConsumerChange::SessionExtended { member_id, expires_at } => {
                self.sessions.set(member_id, *expires_at);
            }
            ConsumerChange::RevocationDue { member_id, deadline } => {
                self.revocations.set(member_id, *deadline);
            }
            ConsumerChange::TopicsSeen { version, names } => {
                self.topics_version = Some(*version);
                self.topic_names = names.clone();
            }
            ConsumerChange::Restored { now, session_timeout } => {
                for member in self.members.values() {
                    let timeout = member.metadata.classic.as_ref().map(|classic| classic.session_timeout);
                    self.sessions.set(&member.id, *now + timeout.unwrap_or(*session_timeout));
                    if member.current.state == MemberState::UnrevokedPartitions {
                        let timeout = member.metadata.rebalance_timeout.unwrap_or(*session_timeout);
                        self.revocations.set(&member.id, *now + timeout);
                    }
                }
            }
        }
    }

    fn forget_instance(&mut self, member_id: &MemberId) {
        let member = self.members.get(member_id);
        if let Some(instance_id) = member.and_then(|member| member.metadata.instance_id.as_ref())
            && self.static_members.get(instance_id) == Some(member_id)
        {
            self.static_members.remove(instance_id);
        }
    }

    fn release(&mut self, member_id: &MemberId) {
        let Some(member) = self.members.get(member_id) else { return };
        for partition in member.current.held() {
            if self.holders.get(&partition) == Some(member_id) {
                self.holders.remove(&partition);
            }
        }
    }
}
