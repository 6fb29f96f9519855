//! OffsetFetch: what a group has committed. Anyone may ask.

use uuid::Uuid;

use super::{CommittedOffset, Offsets, PendingOffsets};
use crate::groups::consumer::{ConsumerGroup, Epoch};
use crate::groups::error::GroupError;
use crate::groups::names::{GroupId, MemberId, TopicName};

/// OffsetFetch, for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchOffsets {
    /// The group.
    pub group: GroupId,
    /// Which partitions.
    pub selection: OffsetSelection,
    /// A member of a group of the consumer protocol that asks, and its epoch (v9).
    pub member: Option<(MemberId, Epoch)>,
}

/// Which of a group's offsets are asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum OffsetSelection {
    /// All that there are.
    All,
    /// These, answered in this order: a topic's name, its id now (nil if unknown), a partition's index.
    Partitions(Vec<(TopicName, Uuid, i32)>),
}

/// One partition's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedOffset {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// `None` when nothing was committed.
    pub committed: Option<CommittedOffset>,
    /// An open transaction is about to change it, so that who wants a stable one must ask again (KIP-447).
    pub is_unstable: bool,
}

/// Whether the member that asks is still the one it was. Others may always ask.
pub(in crate::groups) fn check_fetch(
    group: Option<&ConsumerGroup>,
    request: &FetchOffsets,
) -> Result<(), GroupError> {
    match (group, &request.member) {
        (Some(group), Some((member_id, epoch))) => group.check_member_epoch(member_id, *epoch),
        _ => Ok(()),
    }
}

pub(in crate::groups) fn on_fetch_offsets(
    offsets: &Offsets,
    pending: &PendingOffsets,
    request: &FetchOffsets,
) -> Vec<FetchedOffset> {
    let is_unstable = |topic: &TopicName, partition: i32| pending.holds(&request.group, topic, partition);
    let of_group = offsets.of_group(&request.group);
    match &request.selection {
        OffsetSelection::All => of_group
            .into_iter()
            .flatten()
            .map(|((topic, partition), committed)| FetchedOffset {
                topic: topic.clone(),
                partition: *partition,
                committed: Some(committed.clone()),
                is_unstable: is_unstable(topic, *partition),
            })
            .collect(),
        OffsetSelection::Partitions(partitions) => partitions
            .iter()
            .map(|(topic, topic_id, partition)| {
                let committed = of_group.and_then(|offsets| offsets.get(&(topic.clone(), *partition)));
                let committed =
                    committed.filter(|committed| is_same_topic(*topic_id, committed.topic_id)).cloned();
                let is_unstable = is_unstable(topic, *partition);
                FetchedOffset { topic: topic.clone(), partition: *partition, committed, is_unstable }
            })
            .collect(),
    }
}

/// An offset of a topic that was deleted and made again under the same name is not an offset of the new one (KIP-516).
fn is_same_topic(asked: Uuid, committed: Uuid) -> bool {
    asked.is_nil() || committed.is_nil() || asked == committed
}
