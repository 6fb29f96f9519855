//! The record of a classic group: key `GroupMetadataKey` version 2, value `GroupMetadataValue` version 3.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::messages::group_records::{GroupMetadataKey, GroupMetadataValue, MemberMetadata};
use ottla_protocol::{DecodeError, EncodeError, Message, Str};

use super::text;
use crate::groups::classic::{GroupMetadata, StoredMember};
use crate::groups::names::{GenerationId, GroupId, InstanceId, MemberId, WallMs};

const KEY_VERSION: i16 = 2;
/// The first version with static members, and the last that every Kafka since 2.3 reads.
const VALUE_VERSION: i16 = 3;

pub(super) fn encode_key(group: &GroupId) -> Result<Bytes, EncodeError> {
    GroupMetadataKey { group: text(group.as_str()) }.encode_versioned(KEY_VERSION)
}

pub(super) fn decode_key(key: Bytes) -> Result<GroupId, DecodeError> {
    Ok(GroupId::from(&*GroupMetadataKey::decode_versioned(key)?.group))
}

pub(super) fn encode_value(value: &GroupMetadata) -> Result<Bytes, EncodeError> {
    let members = value.members.iter().map(|member| MemberMetadata {
        member_id: text(member.id.as_str()),
        group_instance_id: member.instance_id.as_ref().map(|id| text(id.as_str())),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        rebalance_timeout: to_ms(member.rebalance_timeout),
        session_timeout: to_ms(member.session_timeout),
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    });
    let value = GroupMetadataValue {
        protocol_type: value.protocol_type.as_deref().map(text).unwrap_or_default(),
        generation: value.generation.0,
        protocol: value.protocol_name.as_deref().map(text),
        leader: value.leader.as_ref().map(|leader| text(leader.as_str())),
        current_state_timestamp: value.since.0,
        members: members.collect(),
    };
    value.encode_versioned(VALUE_VERSION)
}

pub(super) fn decode_value(value: Bytes) -> Result<GroupMetadata, DecodeError> {
    let value = GroupMetadataValue::decode_versioned(value)?;
    let mut members: Vec<StoredMember> = value.members.iter().map(decode_member).collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    let shared = |text: &Str| Arc::<str>::from(&**text);
    Ok(GroupMetadata {
        protocol_type: Some(shared(&value.protocol_type)).filter(|name| !name.is_empty()),
        generation: GenerationId(value.generation),
        protocol_name: value.protocol.as_ref().map(shared),
        leader: value.leader.map(|leader| MemberId::from(&*leader)),
        since: WallMs(value.current_state_timestamp),
        members,
    })
}

fn decode_member(member: &MemberMetadata) -> StoredMember {
    // Version 0 has no rebalance timeout; it was the session timeout then.
    let rebalance_ms =
        if member.rebalance_timeout < 0 { member.session_timeout } else { member.rebalance_timeout };
    StoredMember {
        id: MemberId::from(&*member.member_id),
        instance_id: member.group_instance_id.as_ref().map(|id| InstanceId::from(&**id)),
        client_id: Arc::from(&*member.client_id),
        client_host: Arc::from(&*member.client_host),
        rebalance_timeout: from_ms(rebalance_ms),
        session_timeout: from_ms(member.session_timeout),
        // Copies: a slice would keep the whole batch it was read from in memory.
        subscription: Bytes::copy_from_slice(&member.subscription),
        assignment: Bytes::copy_from_slice(&member.assignment),
    }
}

fn to_ms(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

fn from_ms(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn a_member(number: usize)(
            id in "[a-z]{0,9}", instance in proptest::option::of("[a-z]{1,9}"), client in ".{0,9}", host in ".{0,9}",
            session in 0i32.., rebalance in 0i32.., subscription: Vec<u8>, assignment: Vec<u8>,
        ) -> StoredMember {
            StoredMember {
                id: MemberId::from(format!("{number:03}{id}")),
                instance_id: instance.map(InstanceId::from),
                client_id: Arc::from(client),
                client_host: Arc::from(host),
                rebalance_timeout: from_ms(rebalance),
                session_timeout: from_ms(session),
                subscription: subscription.into(),
                assignment: assignment.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(
            group in ".{0,20}", protocol_type in proptest::option::of(".{1,9}"), generation in 0i32..,
            protocol in proptest::option::of(".{0,9}"), leader in proptest::option::of(".{0,9}"), since: i64,
            members in (a_member(0), a_member(1), a_member(2)), count in 0usize..4,
        ) {
            let group = GroupId::from(group);
            prop_assert_eq!(decode_key(encode_key(&group).unwrap()).unwrap(), group);
            let value = GroupMetadata {
                protocol_type: protocol_type.map(Arc::from),
                generation: GenerationId(generation),
                protocol_name: protocol.map(Arc::from),
                leader: leader.map(MemberId::from),
                since: WallMs(since),
                members: [members.0, members.1, members.2].into_iter().take(count).collect(),
            };
            prop_assert_eq!(decode_value(encode_value(&value).unwrap()).unwrap(), value);
        }
    }
}
