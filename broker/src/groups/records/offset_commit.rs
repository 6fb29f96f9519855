//! The record of a committed offset: key `OffsetCommitKey` version 1, value `OffsetCommitValue`.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::messages::{OffsetCommitKey, OffsetCommitValue};
use ottla_protocol::{DecodeError, EncodeError, Message};

use super::text;
use crate::groups::names::{GroupId, TopicName, WallMs};
use crate::groups::offsets::CommittedOffset;

const KEY_VERSION: i16 = 1;
/// The only version with an expiry time.
const VALUE_VERSION_EXPIRING: i16 = 1;
/// The last version that every Kafka since 2.1 reads.
const VALUE_VERSION: i16 = 3;
/// The first version that can say the topic's id (KIP-516).
const VALUE_VERSION_TOPIC_ID: i16 = 4;

pub(super) fn encode_key(group: &GroupId, topic: &TopicName, partition: i32) -> Result<Bytes, EncodeError> {
    let key = OffsetCommitKey { group: text(group.as_str()), topic: text(topic.as_str()), partition };
    key.encode_versioned(KEY_VERSION)
}

pub(super) fn decode_key(key: Bytes) -> Result<(GroupId, TopicName, i32), DecodeError> {
    let key = OffsetCommitKey::decode_versioned(key)?;
    Ok((GroupId::from(&*key.group), TopicName::from(&*key.topic), key.partition))
}

pub(super) fn encode_value(value: &CommittedOffset) -> Result<Bytes, EncodeError> {
    let version = match value.expires_at {
        Some(_) => VALUE_VERSION_EXPIRING,
        None if !value.topic_id.is_nil() => VALUE_VERSION_TOPIC_ID,
        None => VALUE_VERSION,
    };
    let value = OffsetCommitValue {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: text(&value.metadata),
        commit_timestamp: value.committed_at.0,
        expire_timestamp: value.expires_at.map_or(-1, |at| at.0),
        topic_id: value.topic_id,
    };
    value.encode_versioned(version)
}

pub(super) fn decode_value(value: Bytes) -> Result<CommittedOffset, DecodeError> {
    let value = OffsetCommitValue::decode_versioned(value)?;
    Ok(CommittedOffset {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: Arc::from(&*value.metadata),
        committed_at: WallMs(value.commit_timestamp),
        expires_at: Some(value.expire_timestamp).filter(|at| *at >= 0).map(WallMs),
        topic_id: value.topic_id,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_value_has_the_bytes_kafka_writes() {
        let value = CommittedOffset {
            offset: 5,
            leader_epoch: 2,
            metadata: Arc::from("m"),
            committed_at: WallMs(1000),
            expires_at: None,
            topic_id: Uuid::nil(),
        };
        let expected: &[u8] = &[
            0, 3, // version
            0, 0, 0, 0, 0, 0, 0, 5, // offset
            0, 0, 0, 2, // leader epoch
            0, 1, b'm', // metadata
            0, 0, 0, 0, 0, 0, 3, 232, // commit timestamp
        ];
        assert_eq!(&encode_value(&value).unwrap()[..], expected);
        let key: &[u8] = &[0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 7];
        assert_eq!(&encode_key(&GroupId::from("g"), &TopicName::from("t"), 7).unwrap()[..], key);
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(
            group in ".{0,20}", topic in ".{0,20}", partition: i32, offset: i64, epoch in -1i32..,
            metadata in ".{0,50}", at: i64, expiry in proptest::option::of(0i64..), id in any::<u128>(),
        ) {
            let (group, topic) = (GroupId::from(group), TopicName::from(topic));
            let key = encode_key(&group, &topic, partition).unwrap();
            prop_assert_eq!(decode_key(key).unwrap(), (group, topic, partition));
            let value = CommittedOffset {
                offset,
                // The version with an expiry time has neither epoch nor topic id.
                leader_epoch: if expiry.is_some() { -1 } else { epoch },
                metadata: Arc::from(metadata.as_str()),
                committed_at: WallMs(at),
                expires_at: expiry.map(WallMs),
                topic_id: if expiry.is_some() { Uuid::nil() } else { Uuid::from_u128(id) },
            };
            prop_assert_eq!(decode_value(encode_value(&value).unwrap()).unwrap(), value);
        }
    }
}
