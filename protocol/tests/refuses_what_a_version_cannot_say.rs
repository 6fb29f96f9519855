//! Encoding at a version that lacks a field drops the field only where the notation says that this is harmless.

use bytes::Bytes;
use ottla_protocol::messages::k03_metadata::MetadataRequestTopic;
use ottla_protocol::messages::k13_leave_group::MemberIdentity;
use ottla_protocol::messages::{JoinGroupRequest, LeaveGroupRequest, MetadataRequest, OffsetFetchRequest};
use ottla_protocol::{EncodeError, Message, Reader, Writer};

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    Ok(writer.finish_contiguous())
}

#[test]
fn a_version_without_the_field_refuses_a_value_that_matters() {
    let leave =
        LeaveGroupRequest { members: vec![MemberIdentity::default()], ..LeaveGroupRequest::default() };
    assert!(encode(&leave, 3).is_ok());
    assert_eq!(encode(&leave, 2), Err(EncodeError::FieldNotInVersion { field: "members", version: 2 }));

    let stable = OffsetFetchRequest { require_stable: true, topics: Some(Vec::new()), ..Default::default() };
    assert_eq!(
        encode(&stable, 6),
        Err(EncodeError::FieldNotInVersion { field: "require_stable", version: 6 })
    );
}

#[test]
fn a_version_without_the_field_drops_a_value_that_may_be_ignored() {
    let join = JoinGroupRequest { reason: Some("hungry".into()), ..JoinGroupRequest::default() };
    let decoded = JoinGroupRequest::decode(&mut Reader::new(encode(&join, 7).unwrap()), 7).unwrap();
    assert_eq!(decoded, JoinGroupRequest { reason: None, ..join });
}

#[test]
fn a_null_is_refused_where_the_version_has_none() {
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert_eq!(encode(&all, 1).unwrap()[..4], (-1i32).to_be_bytes());
    assert_eq!(encode(&all, 0), Err(EncodeError::Null { field: "topics", version: 0 }));

    let by_id = MetadataRequest { topics: Some(vec![MetadataRequestTopic::default()]), ..Default::default() };
    assert!(encode(&by_id, 10).is_ok());
    assert_eq!(encode(&by_id, 9), Err(EncodeError::Null { field: "name", version: 9 }));
}

#[test]
fn a_version_that_is_not_defined_is_refused_both_ways() {
    let refused = EncodeError::UnsupportedVersion { message: "LeaveGroupRequest", version: 6 };
    assert_eq!(encode(&LeaveGroupRequest::default(), 6), Err(refused));
    assert!(LeaveGroupRequest::decode(&mut Reader::new(Bytes::from_static(&[0; 16])), -1).is_err());
}
