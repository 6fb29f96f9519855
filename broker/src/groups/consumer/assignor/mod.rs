//! Server-side assignors (KIP-848): pure functions from members, subscriptions and topics to who is to own what.
//! As in Kafka, neither of them looks at racks.

mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::draft::ConsumerDraft;
use super::group::ConsumerGroup;
use super::partitions::PartitionSet;
use super::record::ConsumerRecord;
use crate::groups::config::ConsumerGroupConfig;
use crate::groups::names::{InstanceId, MemberId};
use crate::groups::topics::TopicCatalog;

/// An assignor of this broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Even and sticky.
    Uniform,
    /// Partitions of the same number of different topics go to the same member.
    Range,
}

impl Assignor {
    /// Kafka's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The assignor of this name.
    pub fn from_name(name: &str) -> Option<Assignor> {
        [Assignor::Uniform, Assignor::Range].into_iter().find(|assignor| assignor.as_str() == name)
    }

    /// Who is to own what. Every member of the input is in the output.
    pub fn assign(self, input: &AssignorInput) -> BTreeMap<MemberId, PartitionSet> {
        match self {
            Assignor::Uniform => uniform::assign(input),
            Assignor::Range => range::assign(input),
        }
    }
}

/// What an assignor decides from.
#[derive(Clone, Debug, Default)]
pub struct AssignorInput {
    /// In the order of their ids.
    pub members: BTreeMap<MemberId, AssignorMember>,
    /// How many partitions each topic has.
    pub topics: BTreeMap<Uuid, i32>,
}

/// A member as an assignor sees it.
#[derive(Clone, Debug, Default)]
pub struct AssignorMember {
    /// Set for static members.
    pub instance_id: Option<InstanceId>,
    /// Topics that it asks for and that exist.
    pub topics: Arc<BTreeSet<Uuid>>,
    /// What it was to own so far.
    pub before: Arc<PartitionSet>,
}

/// The assignor that most members ask for, or the broker's first.
pub(super) fn preferred(group: &ConsumerGroup, config: &ConsumerGroupConfig) -> Assignor {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for member in group.members.values() {
        if let Some(name) = &member.metadata.server_assignor {
            *votes.entry(name).or_default() += 1;
        }
    }
    // Of equally many votes the broker's order decides.
    let voted = config.assignors.iter().rev().max_by_key(|assignor| votes.get(assignor.as_str()).copied());
    voted.copied().unwrap_or(Assignor::Uniform)
}

/// Makes the target assignment of the group's epoch, and writes what is new in it.
pub(super) fn assign(draft: &mut ConsumerDraft<'_>, topics: &dyn TopicCatalog) {
    let input = input(&draft.group, topics);
    let target = preferred(&draft.group, &draft.config.consumer).assign(&input);
    for (member_id, partitions) in target {
        let known = draft.group.target.get(&member_id);
        if known.is_none_or(|known| **known != partitions) {
            draft.record(ConsumerRecord::Target { member_id, value: Some(Arc::new(partitions)) });
        }
    }
    // Last, so that a part of this in the log is not taken for the whole.
    let epoch = draft.group.epoch();
    draft.record(ConsumerRecord::TargetEpoch(Some(epoch)));
}

fn input(group: &ConsumerGroup, topics: &dyn TopicCatalog) -> AssignorInput {
    let mut input = AssignorInput::default();
    // Most members of a group ask for the same topics, which are looked up once.
    let mut known: Vec<(&super::member::MemberMetadata, Arc<BTreeSet<Uuid>>)> = Vec::new();
    for member in group.members.values() {
        let metadata = &*member.metadata;
        let same = known.iter().find(|(other, _)| {
            other.topic_names == metadata.topic_names && other.topic_regex == metadata.topic_regex
        });
        let subscribed = match same {
            Some((_, subscribed)) => subscribed.clone(),
            None => {
                let mut subscribed = BTreeSet::new();
                for name in group.subscribed_names(metadata) {
                    if let Some(info) = topics.topic(name.as_str()) {
                        subscribed.insert(info.id);
                        input.topics.insert(info.id, info.partition_count);
                    }
                }
                let subscribed = Arc::new(subscribed);
                known.push((metadata, subscribed.clone()));
                subscribed
            }
        };
        let before = group.target_of(&member.id);
        let instance_id = metadata.instance_id.clone();
        let member_id = member.id.clone();
        input.members.insert(member_id, AssignorMember { instance_id, topics: subscribed, before });
    }
    input
}
