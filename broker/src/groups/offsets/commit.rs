//! OffsetCommit: a member stores how far it has read, or someone outside a group without members does.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::CommittedOffset;
use crate::groups::classic::{Group, extend_session};
use crate::groups::config::GroupConfig;
use crate::groups::consumer::ConsumerGroup;
use crate::groups::decision::{Change, Decision, Record};
use crate::groups::error::GroupError;
use crate::groups::names::{GenerationId, GroupId, InstanceId, MemberId, Now, ReplyId, TopicName, WallMs};
use crate::groups::request::Reply;
use crate::ids::Producer;

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitOffsets {
    /// The group.
    pub group: GroupId,
    /// Negative for consumers without group management.
    pub generation: GenerationId,
    /// `None` for consumers without group management.
    pub member_id: Option<MemberId>,
    /// Set by static members.
    pub instance_id: Option<InstanceId>,
    /// The sender understands `GROUP_ID_NOT_FOUND` (v9).
    pub knows_group_id_not_found: bool,
    /// How long the offsets are to be kept (v2 to v4).
    pub retention: Option<Duration>,
    /// Answered one by one, in this order.
    pub offsets: Vec<CommitOffset>,
}

/// One partition's offset.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitOffset {
    /// The topic's name.
    pub topic: TopicName,
    /// The topic's id at the time of the request; nil if unknown.
    pub topic_id: Uuid,
    /// The partition's index.
    pub partition: i32,
    /// The next record to read.
    pub offset: i64,
    /// -1 if unknown.
    pub leader_epoch: i32,
    /// The committer's own text.
    pub metadata: Arc<str>,
}

pub(in crate::groups) fn on_commit_offsets(
    group: Option<&Group>,
    consumer: Option<&ConsumerGroup>,
    config: &GroupConfig,
    now: Now,
    reply: ReplyId,
    request: &CommitOffsets,
    transaction: Option<Producer>,
) -> Decision {
    if let Err(error) = check(group, consumer, request, transaction.is_some()) {
        return Decision::reply(reply, Reply::CommitOffsets(Err(error)));
    }
    let mut decision = Decision::default();
    // Offsets of a group without members, or from outside, say nothing of a member's health.
    if let (Some(group), Some(member_id)) = (group, &request.member_id) {
        decision.changes.extend(extend_session(&request.group, group, now, member_id));
    }
    let expires_at = request.retention.map(|retention| {
        WallMs(now.wall.0.saturating_add(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)))
    });
    let mut answers = Vec::with_capacity(request.offsets.len());
    for offset in &request.offsets {
        if offset.metadata.len() > config.offset_metadata_bytes_max {
            answers.push(Err(GroupError::OffsetMetadataTooLarge));
            continue;
        }
        answers.push(Ok(()));
        let value = CommittedOffset {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata.clone(),
            committed_at: now.wall,
            expires_at,
            topic_id: offset.topic_id,
        };
        let record = Record::Offset {
            group: request.group.clone(),
            topic: offset.topic.clone(),
            partition: offset.partition,
            value: Some(value),
        };
        decision.changes.push(match transaction {
            None => Change::Record(record),
            Some(producer) => Change::Pending { producer, record },
        });
    }
    decision.replies.push((reply, Reply::CommitOffsets(Ok(answers))));
    decision
}

fn check(
    group: Option<&Group>,
    consumer: Option<&ConsumerGroup>,
    request: &CommitOffsets,
    in_transaction: bool,
) -> Result<(), GroupError> {
    // A producer that does not say in which group it reads is fenced by its own epoch.
    let names_no_member = request.member_id.is_none() && request.instance_id.is_none();
    if in_transaction && request.generation < GenerationId(0) && names_no_member {
        return Ok(());
    }
    if let Some(consumer) = consumer {
        return consumer.check_commit(request, in_transaction);
    }
    match group {
        Some(group) => {
            group.check_commit(request.generation, request.member_id.as_ref(), request.instance_id.as_ref())
        }
        // Consumers that assign themselves, and tools, commit for a group that nobody ever joined.
        None if request.generation < GenerationId(0) => Ok(()),
        None if request.knows_group_id_not_found => Err(GroupError::GroupIdNotFound),
        None => Err(GroupError::IllegalGeneration),
    }
}
