//! Frozen bytes of what is stored in internal topics: a data directory outlives the binary that wrote it, and
//! Kafka's own tools read these topics too. `kafka-protocol` has none of these messages, so the layout is written
//! out here byte by byte, after Kafka's schemas.

use bytes::Bytes;
use ottla_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupMetadataKey, GroupMetadataValue,
    OffsetCommitKey, OffsetCommitValue,
};
use ottla_protocol::messages::{consumer_protocol::TopicPartition, group_records::MemberMetadata};
use ottla_protocol::{DecodeError, Message};

fn is_stored_as<M: Message + PartialEq + std::fmt::Debug>(message: &M, version: i16, parts: &[&[u8]]) {
    let expected = Bytes::from(parts.concat());
    assert_eq!(message.encode_versioned(version).unwrap(), expected);
    assert_eq!(M::decode_versioned(expected).as_ref(), Ok(message));
}

#[test]
fn an_offset_is_keyed_by_group_topic_and_partition() {
    let key = OffsetCommitKey { group: "g1".into(), topic: "flights".into(), partition: 3 };
    is_stored_as(&key, 1, &[b"\0\x01", b"\0\x02g1", b"\0\x07flights", b"\0\0\0\x03"]);
}

#[test]
fn a_committed_offset_is_stored_in_version_3_and_flexibly_in_version_4() {
    let value = OffsetCommitValue {
        offset: 258,
        leader_epoch: 5,
        metadata: "m".into(),
        commit_timestamp: 1_700_000_000_000,
        ..OffsetCommitValue::default()
    };
    let offset = b"\0\0\0\0\0\0\x01\x02\0\0\0\x05";
    let time = b"\0\0\x01\x8b\xcf\xe5\x68\x00";
    is_stored_as(&value, 3, &[b"\0\x03", offset, b"\0\x01m", time]);
    is_stored_as(&value, 4, &[b"\0\x04", offset, b"\x02m", time, b"\0"]);
}

#[test]
fn version_1_of_a_committed_offset_has_an_expiry() {
    let value =
        OffsetCommitValue { offset: 1, commit_timestamp: 2, expire_timestamp: 3, ..Default::default() };
    let [one, two, three] = [1i64, 2, 3].map(i64::to_be_bytes);
    is_stored_as(&value, 1, &[b"\0\x01", &one, b"\0\0", &two, &three]);
}

#[test]
fn a_group_is_keyed_by_version_2() {
    is_stored_as(&GroupMetadataKey { group: "g1".into() }, 2, &[b"\0\x02", b"\0\x02g1"]);
    let offset_key = OffsetCommitKey::default().encode_versioned(1).unwrap();
    assert_eq!(
        GroupMetadataKey::decode_versioned(offset_key),
        Err(DecodeError::UnsupportedVersion { message: "GroupMetadataKey", version: 1 })
    );
}

#[test]
fn a_group_is_stored_with_its_members() {
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 7,
        protocol: Some("range".into()),
        leader: None,
        current_state_timestamp: 9,
        members: vec![MemberMetadata {
            member_id: "m".into(),
            group_instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout: 300,
            session_timeout: 10,
            subscription: Bytes::from_static(b"SS"),
            assignment: Bytes::new(),
        }],
    };
    let head: [&[u8]; 6] =
        [b"\0\x03", b"\0\x08consumer", b"\0\0\0\x07", b"\0\x05range", b"\xff\xff", &9i64.to_be_bytes()];
    let member: [&[u8]; 5] = [
        b"\0\0\0\x01",
        b"\0\x01m\0\x01i\0\x01c\0\x02/h",
        b"\0\0\x01\x2c",
        b"\0\0\0\x0a",
        b"\0\0\0\x02SS\0\0\0\0",
    ];
    is_stored_as(&value, 3, &[head.as_slice(), member.as_slice()].concat());
}

#[test]
fn consumers_tell_each_other_what_they_subscribe_to_and_own() {
    let owned = TopicPartition { topic: "t".into(), partitions: vec![1] };
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        user_data: None,
        owned_partitions: vec![owned],
        ..ConsumerProtocolSubscription::default()
    };
    let topics = b"\0\0\0\x01\0\x01t\xff\xff\xff\xff";
    let partitions = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x01";
    is_stored_as(&subscription, 1, &[b"\0\x01", topics, partitions]);
    is_stored_as(&subscription, 3, &[b"\0\x03", topics, partitions, b"\xff\xff\xff\xff", b"\xff\xff"]);
}

#[test]
fn a_newer_consumer_protocol_is_read_as_the_last_known_one() {
    let assignment = ConsumerProtocolAssignment::default();
    let mut bytes = assignment.encode_versioned(3).unwrap().to_vec();
    bytes[1] = 9;
    bytes.extend(b"what version 9 adds");
    let bytes = Bytes::from(bytes);
    assert!(ConsumerProtocolAssignment::decode_versioned(bytes.clone()).is_err());
    assert_eq!(ConsumerProtocolAssignment::decode_versioned_or_newer(bytes), Ok(assignment));
}
