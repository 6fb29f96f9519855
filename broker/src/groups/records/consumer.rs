//! The records of a group of the consumer protocol: keys 3 to 8 and 16, values version 0 (KIP-848).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::messages::group_records::{ClassicMemberMetadata, ClassicProtocol, GroupTopicPartitions};
use ottla_protocol::messages::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue,
};
use ottla_protocol::{DecodeError, EncodeError, Message, Str};

use super::text;
use crate::groups::consumer::{
    ClassicMember, ConsumerRecord, CurrentAssignment, Epoch, GroupEpoch, MemberMetadata, MemberState,
    PartitionSet, ResolvedRegex,
};
use crate::groups::names::{GroupId, InstanceId, MemberId, TopicName, WallMs};

const VALUE_VERSION: i16 = 0;

pub(super) fn encode(
    group: &GroupId,
    record: &ConsumerRecord,
) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    let group_id = text(group.as_str());
    let member = |member_id: &MemberId| text(member_id.as_str());
    Ok(match record {
        ConsumerRecord::Group(value) => {
            let value = value.map(|value| ConsumerGroupMetadataValue {
                epoch: value.epoch.0,
                metadata_hash: value.metadata_hash,
            });
            (ConsumerGroupMetadataKey { group_id }.encode_versioned(3)?, encoded(value)?)
        }
        ConsumerRecord::PartitionMetadata => {
            (ConsumerGroupPartitionMetadataKey { group_id }.encode_versioned(4)?, None)
        }
        ConsumerRecord::Member { member_id, value } => {
            let key = ConsumerGroupMemberMetadataKey { group_id, member_id: member(member_id) };
            (key.encode_versioned(5)?, encoded(value.as_deref().map(member_value))?)
        }
        ConsumerRecord::TargetEpoch(value) => {
            let value =
                value.map(|epoch| ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: epoch.0 });
            (ConsumerGroupTargetAssignmentMetadataKey { group_id }.encode_versioned(6)?, encoded(value)?)
        }
        ConsumerRecord::Target { member_id, value } => {
            let key = ConsumerGroupTargetAssignmentMemberKey { group_id, member_id: member(member_id) };
            let value = value
                .as_deref()
                .map(|value| ConsumerGroupTargetAssignmentMemberValue { topic_partitions: to_topics(value) });
            (key.encode_versioned(7)?, encoded(value)?)
        }
        ConsumerRecord::Current { member_id, value } => {
            let key = ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id: member(member_id) };
            (key.encode_versioned(8)?, encoded(value.as_ref().map(current_value))?)
        }
        ConsumerRecord::Regex { regex, value } => {
            let key = ConsumerGroupRegularExpressionKey { group_id, regular_expression: text(regex) };
            let value = value.as_deref().map(|value| ConsumerGroupRegularExpressionValue {
                topics: value.topics.iter().map(|topic| text(topic.as_str())).collect(),
                version: value.version,
                timestamp: value.at.0,
            });
            (key.encode_versioned(16)?, encoded(value)?)
        }
    })
}

/// `None` when the key's version is of none of these records.
pub(super) fn decode(
    key_version: i16,
    key: Bytes,
    value: Option<Bytes>,
) -> Result<Option<(GroupId, ConsumerRecord)>, DecodeError> {
    let group = |id: &Str| GroupId::from(&**id);
    let member = |id: &Str| MemberId::from(&**id);
    Ok(Some(match key_version {
        3 => {
            let key = ConsumerGroupMetadataKey::decode_versioned(key)?;
            let value = value.map(ConsumerGroupMetadataValue::decode_versioned).transpose()?;
            let value = value
                .map(|value| GroupEpoch { epoch: Epoch(value.epoch), metadata_hash: value.metadata_hash });
            (group(&key.group_id), ConsumerRecord::Group(value))
        }
        4 => {
            let key = ConsumerGroupPartitionMetadataKey::decode_versioned(key)?;
            (group(&key.group_id), ConsumerRecord::PartitionMetadata)
        }
        5 => {
            let key = ConsumerGroupMemberMetadataKey::decode_versioned(key)?;
            let value = value.map(ConsumerGroupMemberMetadataValue::decode_versioned).transpose()?;
            let value = value.map(|value| Arc::new(to_member(&value)));
            (group(&key.group_id), ConsumerRecord::Member { member_id: member(&key.member_id), value })
        }
        6 => {
            let key = ConsumerGroupTargetAssignmentMetadataKey::decode_versioned(key)?;
            let value =
                value.map(ConsumerGroupTargetAssignmentMetadataValue::decode_versioned).transpose()?;
            let value = value.map(|value| Epoch(value.assignment_epoch));
            (group(&key.group_id), ConsumerRecord::TargetEpoch(value))
        }
        7 => {
            let key = ConsumerGroupTargetAssignmentMemberKey::decode_versioned(key)?;
            let value = value.map(ConsumerGroupTargetAssignmentMemberValue::decode_versioned).transpose()?;
            let value = value.map(|value| Arc::new(from_topics(&value.topic_partitions)));
            (group(&key.group_id), ConsumerRecord::Target { member_id: member(&key.member_id), value })
        }
        8 => {
            let key = ConsumerGroupCurrentMemberAssignmentKey::decode_versioned(key)?;
            let value = value.map(ConsumerGroupCurrentMemberAssignmentValue::decode_versioned).transpose()?;
            let value = value.map(|value| to_current(&value));
            (group(&key.group_id), ConsumerRecord::Current { member_id: member(&key.member_id), value })
        }
        16 => {
            let key = ConsumerGroupRegularExpressionKey::decode_versioned(key)?;
            let value = value.map(ConsumerGroupRegularExpressionValue::decode_versioned).transpose()?;
            let value = value.map(|value| {
                Arc::new(ResolvedRegex {
                    topics: value.topics.iter().map(|topic| TopicName::from(&**topic)).collect(),
                    version: value.version,
                    at: WallMs(value.timestamp),
                })
            });
            let regex = Arc::from(&*key.regular_expression);
            (group(&key.group_id), ConsumerRecord::Regex { regex, value })
        }
        _ => return Ok(None),
    }))
}

fn encoded<M: Message>(value: Option<M>) -> Result<Option<Bytes>, EncodeError> {
    value.map(|value| value.encode_versioned(VALUE_VERSION)).transpose()
}

fn member_value(metadata: &MemberMetadata) -> ConsumerGroupMemberMetadataValue {
    ConsumerGroupMemberMetadataValue {
        instance_id: metadata.instance_id.as_ref().map(|id| text(id.as_str())),
        rack_id: metadata.rack_id.as_deref().map(text),
        client_id: text(&metadata.client_id),
        client_host: text(&metadata.client_host),
        subscribed_topic_names: metadata.topic_names.iter().map(|name| text(name.as_str())).collect(),
        subscribed_topic_regex: metadata.topic_regex.as_deref().map(text),
        rebalance_timeout_ms: metadata.rebalance_timeout.map_or(-1, to_ms),
        server_assignor: metadata.server_assignor.as_deref().map(text),
        classic_member_metadata: metadata.classic.as_ref().map(|classic| ClassicMemberMetadata {
            session_timeout_ms: to_ms(classic.session_timeout),
            supported_protocols: classic
                .protocols
                .iter()
                .map(|(name, metadata)| ClassicProtocol { name: text(name), metadata: metadata.clone() })
                .collect(),
        }),
    }
}

fn to_member(value: &ConsumerGroupMemberMetadataValue) -> MemberMetadata {
    MemberMetadata {
        instance_id: value.instance_id.as_ref().map(|id| InstanceId::from(&**id)),
        rack_id: value.rack_id.as_deref().map(Arc::from),
        client_id: Arc::from(&*value.client_id),
        client_host: Arc::from(&*value.client_host),
        topic_names: value.subscribed_topic_names.iter().map(|name| TopicName::from(&**name)).collect(),
        topic_regex: value.subscribed_topic_regex.as_deref().filter(|regex| !regex.is_empty()).map(Arc::from),
        rebalance_timeout: from_ms(value.rebalance_timeout_ms),
        server_assignor: value.server_assignor.as_deref().map(Arc::from),
        classic: value.classic_member_metadata.as_ref().map(|classic| ClassicMember {
            session_timeout: from_ms(classic.session_timeout_ms).unwrap_or_default(),
            protocols: classic
                .supported_protocols
                .iter()
                // Copies: a slice would keep the whole batch it was read from in memory.
                .map(|protocol| (Arc::from(&*protocol.name), Bytes::copy_from_slice(&protocol.metadata)))
                .collect(),
        }),
    }
}

fn current_value(current: &CurrentAssignment) -> ConsumerGroupCurrentMemberAssignmentValue {
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: current.epoch.0,
        previous_member_epoch: current.previous_epoch.0,
        state: match current.state {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        },
        assigned_partitions: to_topics(&current.assigned),
        partitions_pending_revocation: to_topics(&current.pending_revocation),
    }
}

fn to_current(value: &ConsumerGroupCurrentMemberAssignmentValue) -> CurrentAssignment {
    CurrentAssignment {
        epoch: Epoch(value.member_epoch),
        previous_epoch: Epoch(value.previous_member_epoch),
        state: match value.state {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        },
        assigned: from_topics(&value.assigned_partitions),
        pending_revocation: from_topics(&value.partitions_pending_revocation),
    }
}

fn to_topics(partitions: &PartitionSet) -> Vec<GroupTopicPartitions> {
    let topics = partitions.topics().map(|(topic_id, partitions)| GroupTopicPartitions {
        topic_id,
        partitions: partitions.iter().copied().collect(),
    });
    topics.collect()
}

fn from_topics(topics: &[GroupTopicPartitions]) -> PartitionSet {
    let partitions =
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id, *partition)));
    partitions.collect()
}

fn to_ms(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

fn from_ms(ms: i32) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn reads_what_it_writes(record: ConsumerRecord) {
        let group = GroupId::from("g");
        let (key, value) = encode(&group, &record).unwrap();
        let version = i16::from_be_bytes([key[0], key[1]]);
        assert_eq!(decode(version, key, value).unwrap(), Some((group, record)));
    }

    fn partitions() -> impl Strategy<Value = PartitionSet> {
        proptest::collection::vec((any::<u8>(), 0i32..50), 0..9).prop_map(|partitions| {
            partitions.into_iter().map(|(topic, index)| (Uuid::from_u128(topic.into()), index)).collect()
        })
    }

    fn text_or_none() -> impl Strategy<Value = Option<Arc<str>>> {
        proptest::option::of(".{1,9}".prop_map(|text| Arc::from(text.as_str())))
    }

    #[test]
    fn tombstones_are_read_as_such() {
        let member_id = MemberId::from("m");
        for record in [
            ConsumerRecord::Group(None),
            ConsumerRecord::PartitionMetadata,
            ConsumerRecord::Member { member_id: member_id.clone(), value: None },
            ConsumerRecord::TargetEpoch(None),
            ConsumerRecord::Target { member_id: member_id.clone(), value: None },
            ConsumerRecord::Current { member_id, value: None },
            ConsumerRecord::Regex { regex: "a.*".into(), value: None },
        ] {
            reads_what_it_writes(record);
        }
    }

    proptest! {
        #[test]
        fn assignments_and_epochs_are_read_as_written(
            epoch: i32, previous: i32, hash: i64, state in 0usize..4,
            assigned in partitions(), pending in partitions(), topics in proptest::collection::btree_set("[a-z]{1,5}", 0..5),
        ) {
            use MemberState::*;
            let member_id = MemberId::from("m");
            let group = GroupEpoch { epoch: Epoch(epoch), metadata_hash: hash };
            reads_what_it_writes(ConsumerRecord::Group(Some(group)));
            reads_what_it_writes(ConsumerRecord::TargetEpoch(Some(Epoch(epoch))));
            let value = Some(Arc::new(assigned.clone()));
            reads_what_it_writes(ConsumerRecord::Target { member_id: member_id.clone(), value });
            let current = CurrentAssignment {
                epoch: Epoch(epoch),
                previous_epoch: Epoch(previous),
                state: [Stable, UnrevokedPartitions, UnreleasedPartitions, Unknown][state],
                assigned,
                pending_revocation: pending,
            };
            reads_what_it_writes(ConsumerRecord::Current { member_id, value: Some(current) });
            let topics = topics.into_iter().map(TopicName::from).collect();
            let resolved = ResolvedRegex { topics, version: hash, at: WallMs(hash) };
            reads_what_it_writes(ConsumerRecord::Regex { regex: "a.*".into(), value: Some(Arc::new(resolved)) });
        }

        #[test]
        fn members_are_read_as_written(
            instance in proptest::option::of("[a-z]{1,9}"), rack in text_or_none(), client in ".{0,9}", host in ".{0,9}",
            names in proptest::collection::btree_set("[a-z]{1,5}", 0..5), regex in text_or_none(),
            rebalance in proptest::option::of(0u32..i32::MAX as u32), assignor in text_or_none(),
            classic in proptest::option::of((0u32..i32::MAX as u32, ".{0,9}", any::<Vec<u8>>())),
        ) {
            let metadata = MemberMetadata {
                instance_id: instance.map(InstanceId::from),
                rack_id: rack,
                client_id: Arc::from(client),
                client_host: Arc::from(host),
                topic_names: names.into_iter().map(TopicName::from).collect(),
                topic_regex: regex,
                rebalance_timeout: rebalance.map(|ms| Duration::from_millis(ms.into())),
                server_assignor: assignor,
                classic: classic.map(|(ms, name, metadata)| ClassicMember {
                    session_timeout: Duration::from_millis(ms.into()),
                    protocols: vec![(Arc::from(name), Bytes::from(metadata))],
                }),
            };
            let member_id = MemberId::from("m");
            reads_what_it_writes(ConsumerRecord::Member { member_id, value: Some(Arc::new(metadata)) });
        }
    }
}
