//! What administrators ask about the groups of a partition, and the offsets that are forgotten in time.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_protocol::Message;
use ottla_protocol::messages::ConsumerProtocolSubscription;

use super::classic::{self, Group, GroupState, Phase};
use super::consumer::{ConsumerGroupState, ConsumerRefused, DescribedConsumerGroup};
use super::decision::{Change, Decision, Record};
use super::error::GroupError;
use super::machine::Groups;
use super::names::{GroupId, Now, ReplyId, TopicName};
use super::offsets::{ExpiryRule, expired_offsets};
use super::request::{GroupType, ListedGroup, Reply};

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";

impl Groups {
    /// A group that has offsets but never had members counts as empty. One of the consumer protocol is no classic group.
    fn state(&self, group: &GroupId) -> GroupState {
        match self.live.get(group) {
            Some(live) => live.state(),
            None if self.consumer.contains_key(group) => GroupState::Dead,
            None if self.offsets.has_group(group) => GroupState::Empty,
            None => GroupState::Dead,
        }
    }

    pub(super) fn describe(&self, group: &GroupId) -> classic::DescribedGroup {
        match self.live.get(group) {
            Some(live) => live.describe(group),
            None => classic::describe_without_members(group, self.state(group)),
        }
    }

    pub(super) fn describe_consumer(
        &self,
        group: &GroupId,
    ) -> Result<DescribedConsumerGroup, ConsumerRefused> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId.into());
        }
        if let Some(found) = self.consumer.get(group) {
            return Ok(found.describe(group, &self.config.consumer));
        }
        let message = match self.live.contains_key(group) || self.offsets.has_group(group) {
            true => format!("Group {group} is not a consumer group."),
            false => format!("Group {group} not found."),
        };
        Err(ConsumerRefused::with(GroupError::GroupIdNotFound, message))
    }

    pub(super) fn list(&self) -> Vec<ListedGroup> {
        let ids: BTreeSet<&GroupId> =
            self.live.keys().chain(self.consumer.keys()).chain(self.offsets.groups()).collect();
        let list = ids.into_iter().map(|group| match (self.live.get(group), self.consumer.get(group)) {
            (Some(live), _) => live.list(group),
            (None, Some(consumer)) => ListedGroup {
                group: group.clone(),
                group_type: GroupType::Consumer,
                state: consumer.state().as_str(),
                protocol_type: Arc::from(CONSUMER),
            },
            (None, None) => ListedGroup {
                group: group.clone(),
                group_type: GroupType::Classic,
                state: GroupState::Empty.as_str(),
                protocol_type: Arc::from(""),
            },
        });
        list.collect()
    }

    pub(super) fn on_delete_group(&self, now: Now, reply: ReplyId, group: &GroupId) -> Decision {
        let consumer = self.consumer.get(group);
        let deletable = match (consumer.map(|group| group.state()), self.state(group)) {
            (Some(ConsumerGroupState::Empty), _) | (None, GroupState::Empty) => Ok(()),
            (None, GroupState::Dead) => Err(GroupError::GroupIdNotFound),
            (Some(_), _) | (None, _) => Err(GroupError::NonEmptyGroup),
        };
        let mut decision = Decision::reply(reply, Reply::DeleteGroup(deletable));
        if deletable.is_err() {
            return decision;
        }
        // Offsets first: if only a part of this reaches the log, the group is still there to be deleted again.
        for (topic, partition) in self.offsets.of_group(group).into_iter().flat_map(|offsets| offsets.keys())
        {
            decision.changes.push(forget_offset(group, topic, *partition));
        }
        decision.extend(self.forget_group(now, group));
        decision
    }

    /// What removes an empty group of either protocol, its offsets apart.
    fn forget_group(&self, now: Now, group: &GroupId) -> Decision {
        if !self.consumer.contains_key(group) {
            return self.forget_classic(group);
        }
        let mut draft = self.consumer_draft(now, group);
        draft.remove_group();
        draft.into_decision()
    }

    pub(super) fn on_delete_topics(&self, reply: ReplyId, topics: &[TopicName]) -> Decision {
        let mut decision = Decision::reply(reply, Reply::DeleteTopics(Ok(())));
        for (group, topic, partition, _) in self.offsets.iter() {
            if topics.contains(topic) {
                decision.changes.push(forget_offset(group, topic, partition));
            }
        }
        decision
    }

    pub(super) fn on_delete_offsets(
        &self,
        reply: ReplyId,
        group: &GroupId,
        partitions: &[(TopicName, i32)],
    ) -> Decision {
        if group.is_empty() {
            return Decision::reply(reply, Reply::DeleteOffsets(Err(GroupError::InvalidGroupId)));
        }
        let rule = match self.reader(group) {
            Reader::Missing => {
                return Decision::reply(reply, Reply::DeleteOffsets(Err(GroupError::GroupIdNotFound)));
            }
            // Consumers that do not say what they read may read anything; what others do nobody knows.
            Reader::Unknown
                if self
                    .live
                    .get(group)
                    .is_none_or(|live| live.protocol_type.as_deref() != Some(CONSUMER)) =>
            {
                return Decision::reply(reply, Reply::DeleteOffsets(Err(GroupError::NonEmptyGroup)));
            }
            rule => rule,
        };
        let mut decision = Decision::default();
        let mut answers = Vec::with_capacity(partitions.len());
        let known = self.offsets.of_group(group);
        for (topic, partition) in partitions {
            if rule.reads(topic) {
                answers.push(Err(GroupError::GroupSubscribedToTopic));
                continue;
            }
            answers.push(Ok(()));
            if known.is_some_and(|offsets| offsets.contains_key(&(topic.clone(), *partition))) {
                decision.changes.push(forget_offset(group, topic, *partition));
            }
        }
        decision.replies.push((reply, Reply::DeleteOffsets(Ok(answers))));
        decision
    }

    /// What follows from offsets having been looked through: those that nobody has used for long are forgotten, and
    /// empty groups with the last of them (KIP-211).
    pub(super) fn forget_expired_offsets(&self, now: Now) -> Decision {
        let retention = &self.config.offset_retention;
        let retention_ms = i64::try_from(retention.retention.as_millis()).unwrap_or(i64::MAX);
        let mut decision = Decision::default();
        let groups: BTreeSet<&GroupId> =
            self.offsets.groups().chain(self.stored.keys()).chain(self.consumer.keys()).collect();
        for group in groups {
            let reader = self.reader(group);
            let reads = |topic: &TopicName| reader.reads(topic);
            let rule = match (&reader, self.stored.get(group)) {
                (Reader::Unknown, _) => ExpiryRule::Never,
                (Reader::Nobody, Some(stored)) if stored.protocol_type.is_some() => {
                    ExpiryRule::Since(stored.since)
                }
                (Reader::Nobody | Reader::Missing, _) => ExpiryRule::SinceCommit,
                (Reader::Topics(_), _) => ExpiryRule::Unsubscribed(&reads),
            };
            let expired = expired_offsets(&self.offsets, group, &rule, retention_ms, now.wall);
            let had = self.offsets.of_group(group).map_or(0, |offsets| offsets.len());
            for (topic, partition) in &expired {
                decision.changes.push(forget_offset(group, topic, *partition));
            }
            if expired.len() == had && matches!(reader, Reader::Nobody) {
                decision.extend(self.forget_group(now, group));
            }
        }
        decision.changes.push(Change::OffsetsChecked { next_at: now.monotonic + retention.check_interval });
        decision
    }

    /// Who reads by the group's offsets.
    fn reader(&self, group: &GroupId) -> Reader<'_> {
        if let Some(consumer) = self.consumer.get(group) {
            return match consumer.members.is_empty() {
                true => Reader::Nobody,
                false => Reader::Topics(Box::new(|topic| consumer.is_subscribed_to(topic))),
            };
        }
        match self.live.get(group) {
            Some(live) if live.phase == Phase::Empty && live.pending_members.is_empty() => Reader::Nobody,
            Some(live) if live.protocol_type.as_deref() == Some(CONSUMER) => match subscribed(live) {
                Some(topics) => Reader::Topics(Box::new(move |topic| topics.contains(topic))),
                None => Reader::Unknown,
            },
            Some(_) => Reader::Unknown,
            None if self.offsets.has_group(group) => Reader::Nobody,
            None => Reader::Missing,
        }
    }
}

/// Who reads by a group's offsets.
enum Reader<'a> {
    /// There is no such group.
    Missing,
    /// Nobody.
    Nobody,
    /// Members that subscribe to the topics for which this is true.
    Topics(Box<dyn Fn(&TopicName) -> bool + 'a>),
    /// Members that do not say what they read.
    Unknown,
}

impl Reader<'_> {
    fn reads(&self, topic: &TopicName) -> bool {
        match self {
            Reader::Missing | Reader::Nobody => false,
            Reader::Topics(reads) => reads(topic),
            Reader::Unknown => true,
        }
    }
}

/// The topics that a classic group of consumers reads; `None` while it is being formed, or when one does not say.
fn subscribed(group: &Group) -> Option<BTreeSet<TopicName>> {
    let Phase::Stable(_) = group.phase else { return None };
    let mut topics = BTreeSet::new();
    for member in group.members.values() {
        let metadata = member.metadata(group.protocol_name.as_deref());
        let subscription = ConsumerProtocolSubscription::decode_versioned_or_newer(metadata).ok()?;
        topics.extend(subscription.topics.iter().map(|topic| TopicName::from(&**topic)));
    }
    Some(topics)
}

fn forget_offset(group: &GroupId, topic: &TopicName, partition: i32) -> Change {
    Change::Record(Record::Offset { group: group.clone(), topic: topic.clone(), partition, value: None })
}
