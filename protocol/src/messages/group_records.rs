//! What `__consumer_offsets` stores. A key and a value each begin with an int16 version; a key's version also tells what
//! the record is: 0 and 1 an offset, 2 a classic group, 3 to 8 and 16 a part of a group of the consumer protocol (KIP-848).
//!
//! Generated from `protocol/messages/group_records.msg` by `just generate`; not to be edited here.

use bytes::Bytes;

use crate::wire::{DecodeError, EncodeError, Message, Reader, Str, Uuid, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCommitKey {
    pub group: Str,
    pub topic: Str,
    pub partition: i32,
}

impl Message for OffsetCommitKey {
    const NAME: &'static str = "OffsetCommitKey";
    const VERSIONS: (i16, i16) = (0, 1);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { group: r.string(false)?, topic: r.string(false)?, partition: r.i32()? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.group, false)?;
        w.string(&self.topic, false)?;
        w.i32(self.partition);
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitValue {
    pub offset: i64,
    /// Versions 3+.
    pub leader_epoch: i32,
    pub metadata: Str,
    pub commit_timestamp: i64,
    /// Version 1.
    pub expire_timestamp: i64,
    /// Versions 4+, tagged 0.
    pub topic_id: Uuid,
}

impl Default for OffsetCommitValue {
    fn default() -> Self {
        Self {
            offset: 0,
            leader_epoch: -1,
            metadata: Str::default(),
            commit_timestamp: 0,
            expire_timestamp: -1,
            topic_id: Uuid::nil(),
        }
    }
}

impl Message for OffsetCommitValue {
    const NAME: &'static str = "OffsetCommitValue";
    const VERSIONS: (i16, i16) = (0, 4);

    fn is_flexible(version: i16) -> bool {
        version >= 4
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let flexible = version >= 4;
        let mut this = Self {
            offset: r.i64()?,
            leader_epoch: if version >= 3 { r.i32()? } else { -1 },
            metadata: r.string(flexible)?,
            commit_timestamp: r.i64()?,
            expire_timestamp: if version == 1 { r.i64()? } else { -1 },
            topic_id: Uuid::nil(),
        };
        if flexible {
            r.tagged_fields(|tag, r| {
                match tag {
                    0 => this.topic_id = r.uuid()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        let flexible = version >= 4;
        w.i64(self.offset);
        if version >= 3 {
            w.i32(self.leader_epoch);
        }
        w.string(&self.metadata, flexible)?;
        w.i64(self.commit_timestamp);
        if version == 1 {
            w.i64(self.expire_timestamp);
        }
        if flexible {
            let has_topic_id = !self.topic_id.is_nil();
            w.unsigned_varint(u32::from(has_topic_id));
            if has_topic_id {
                w.tagged(0, |w| {
                    w.uuid(self.topic_id);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMetadataKey {
    pub group: Str,
}

impl Message for GroupMetadataKey {
    const NAME: &'static str = "GroupMetadataKey";
    const VERSIONS: (i16, i16) = (2, 2);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { group: r.string(false)? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.group, false)?;
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadataValue {
    pub protocol_type: Str,
    pub generation: i32,
    pub protocol: Option<Str>,
    pub leader: Option<Str>,
    /// Versions 2+.
    pub current_state_timestamp: i64,
    pub members: Vec<MemberMetadata>,
}

impl Default for GroupMetadataValue {
    fn default() -> Self {
        Self {
            protocol_type: Str::default(),
            generation: 0,
            protocol: None,
            leader: None,
            current_state_timestamp: -1,
            members: Vec::new(),
        }
    }
}

impl Message for GroupMetadataValue {
    const NAME: &'static str = "GroupMetadataValue";
    const VERSIONS: (i16, i16) = (0, 4);

    fn is_flexible(version: i16) -> bool {
        version >= 4
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let flexible = version >= 4;
        let this = Self {
            protocol_type: r.string(flexible)?,
            generation: r.i32()?,
            protocol: r.nullable_string(flexible)?,
            leader: r.nullable_string(flexible)?,
            current_state_timestamp: if version >= 2 { r.i64()? } else { -1 },
            members: r.array(flexible, MemberMetadata::BYTES_MIN, |r| MemberMetadata::decode(r, version))?,
        };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        let flexible = version >= 4;
        w.string(&self.protocol_type, flexible)?;
        w.i32(self.generation);
        w.nullable_string(self.protocol.as_ref(), flexible)?;
        w.nullable_string(self.leader.as_ref(), flexible)?;
        if version >= 2 {
            w.i64(self.current_state_timestamp);
        }
        w.array(&self.members, flexible, |w, each| each.encode(w, version))?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member_id: Str,
    /// Versions 3+.
    pub group_instance_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    /// Versions 1+.
    pub rebalance_timeout: i32,
    pub session_timeout: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl MemberMetadata {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 15;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 4;
        let this = Self {
            member_id: r.string(flexible)?,
            group_instance_id: if version >= 3 { r.nullable_string(flexible)? } else { None },
            client_id: r.string(flexible)?,
            client_host: r.string(flexible)?,
            rebalance_timeout: if version >= 1 { r.i32()? } else { 0 },
            session_timeout: r.i32()?,
            subscription: r.bytes(flexible)?,
            assignment: r.bytes(flexible)?,
        };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 4;
        w.string(&self.member_id, flexible)?;
        if version >= 3 {
            w.nullable_string(self.group_instance_id.as_ref(), flexible)?;
        }
        w.string(&self.client_id, flexible)?;
        w.string(&self.client_host, flexible)?;
        if version >= 1 {
            w.i32(self.rebalance_timeout);
        }
        w.i32(self.session_timeout);
        w.bytes(&self.subscription, flexible)?;
        w.bytes(&self.assignment, flexible)?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupMetadataKey {
    pub group_id: Str,
}

impl Message for ConsumerGroupMetadataKey {
    const NAME: &'static str = "ConsumerGroupMetadataKey";
    const VERSIONS: (i16, i16) = (3, 3);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { group_id: r.string(false)? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.group_id, false)?;
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupMetadataValue {
    pub epoch: i32,
    pub metadata_hash: i64,
}

impl Message for ConsumerGroupMetadataValue {
    const NAME: &'static str = "ConsumerGroupMetadataValue";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self { epoch: r.i32()?, metadata_hash: 0 };
        r.tagged_fields(|tag, r| {
            match tag {
                0 => this.metadata_hash = r.i64()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.epoch);
        let has_metadata_hash = self.metadata_hash != 0;
        w.unsigned_varint(u32::from(has_metadata_hash));
        if has_metadata_hash {
            w.tagged(0, |w| {
                w.i64(self.metadata_hash);
                Ok(())
            })?;
        }

        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupPartitionMetadataKey {
    pub group_id: Str,
}

impl Message for ConsumerGroupPartitionMetadataKey {
    const NAME: &'static str = "ConsumerGroupPartitionMetadataKey";
    const VERSIONS: (i16, i16) = (4, 4);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { group_id: r.string(false)? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.group_id, false)?;
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupMemberMetadataKey {
    pub group_id: Str,
    pub member_id: Str,
}

impl Message for ConsumerGroupMemberMetadataKey {
    const NAME: &'static str = "ConsumerGroupMemberMetadataKey";
    const VERSIONS: (i16, i16) = (5, 5);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { group_id: r.string(false)?, member_id: r.string(false)? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.group_id, false)?;
        w.string(&self.member_id, false)?;
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupMemberMetadataValue {
    pub instance_id: Option<Str>,
    pub rack_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    pub subscribed_topic_names: Vec<Str>,
    pub subscribed_topic_regex: Option<Str>,
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<Str>,
    pub classic_member_metadata: Option<ClassicMemberMetadata>,
}

impl Default for ConsumerGroupMemberMetadataValue {
    fn default() -> Self {
        Self {
            instance_id: None,
            rack_id: None,
            client_id: Str::default(),
            client_host: Str::default(),
            subscribed_topic_names: Vec::new(),
            subscribed_topic_regex: None,
            rebalance_timeout_ms: -1,
            server_assignor: None,
            classic_member_metadata: None,
        }
    }
}

impl Message for ConsumerGroupMemberMetadataValue {
    const NAME: &'static str = "ConsumerGroupMemberMetadataValue";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            instance_id: r.nullable_string(true)?,
            rack_id: r.nullable_string(true)?,
            client_id: r.string(true)?,
            client_host: r.string(true)?,
            subscribed_topic_names: r.array(true, 1, |r| r.string(true))?,
            subscribed_topic_regex: r.nullable_string(true)?,
            rebalance_timeout_ms: r.i32()?,
            server_assignor: r.nullable_string(true)?,
            classic_member_metadata: None,
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 => {
                    this.classic_member_metadata =
                        if r.i8()? < 0 { None } else { Some(ClassicMemberMetadata::decode(r, version)?) }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.nullable_string(self.instance_id.as_ref(), true)?;
        w.nullable_string(self.rack_id.as_ref(), true)?;
        w.string(&self.client_id, true)?;
        w.string(&self.client_host, true)?;
        w.array(&self.subscribed_topic_names, true, |w, each| w.string(each, true))?;
        w.nullable_string(self.subscribed_topic_regex.as_ref(), true)?;
        w.i32(self.rebalance_timeout_ms);
        w.nullable_string(self.server_assignor.as_ref(), true)?;
        let has_classic_member_metadata = self.classic_member_metadata.is_some();
        w.unsigned_varint(u32::from(has_classic_member_metadata));
        if has_classic_member_metadata {
            w.tagged(0, |w| {
                match &self.classic_member_metadata {
                    Some(there) => {
                        w.i8(1);
                        there.encode(w, version)?;
                    }
                    None => w.i8(-1),
                }
                Ok(())
            })?;
        }

        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicMemberMetadata {
    pub session_timeout_ms: i32,
    pub supported_protocols: Vec<ClassicProtocol>,
}

impl ClassicMemberMetadata {
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            session_timeout_ms: r.i32()?,
            supported_protocols: r
                .array(true, ClassicProtocol::BYTES_MIN, |r| ClassicProtocol::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.session_timeout_ms);
        w.array(&self.supported_protocols, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicProtocol {
    pub name: Str,
    pub metadata: Bytes,
}

impl ClassicProtocol {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { name: r.string(true)?, metadata: r.bytes(true)? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.bytes(&self.metadata, true)?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupTargetAssignmentMetadataKey {
    pub group_id: Str,
}

impl Message for ConsumerGroupTargetAssignmentMetadataKey {
    const NAME: &'static str = "ConsumerGroupTargetAssignmentMetadataKey";
    const VERSIONS: (i16, i16) = (6, 6);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { group_id: r.string(false)? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.group_id, false)?;
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupTargetAssignmentMetadataValue {
    pub assignment_epoch: i32,
}

impl Message for ConsumerGroupTargetAssignmentMetadataValue {
    const NAME: &'static str = "ConsumerGroupTargetAssignmentMetadataValue";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { assignment_epoch: r.i32()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.assignment_epoch);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupTargetAssignmentMemberKey {
    pub group_id: Str,
    pub member_id: Str,
}

impl Message for ConsumerGroupTargetAssignmentMemberKey {
    const NAME: &'static str = "ConsumerGroupTargetAssignmentMemberKey";
    const VERSIONS: (i16, i16) = (7, 7);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { group_id: r.string(false)?, member_id: r.string(false)? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.group_id, false)?;
        w.string(&self.member_id, false)?;
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupTargetAssignmentMemberValue {
    pub topic_partitions: Vec<GroupTopicPartitions>,
}

impl Message for ConsumerGroupTargetAssignmentMemberValue {
    const NAME: &'static str = "ConsumerGroupTargetAssignmentMemberValue";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            topic_partitions: r
                .array(true, GroupTopicPartitions::BYTES_MIN, |r| GroupTopicPartitions::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.array(&self.topic_partitions, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupTopicPartitions {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

impl GroupTopicPartitions {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 18;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { topic_id: r.uuid()?, partitions: r.array(true, 4, Reader::i32)? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.uuid(self.topic_id);
        w.array(&self.partitions, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupCurrentMemberAssignmentKey {
    pub group_id: Str,
    pub member_id: Str,
}

impl Message for ConsumerGroupCurrentMemberAssignmentKey {
    const NAME: &'static str = "ConsumerGroupCurrentMemberAssignmentKey";
    const VERSIONS: (i16, i16) = (8, 8);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { group_id: r.string(false)?, member_id: r.string(false)? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.group_id, false)?;
        w.string(&self.member_id, false)?;
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupCurrentMemberAssignmentValue {
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    pub state: i8,
    pub assigned_partitions: Vec<GroupTopicPartitions>,
    pub partitions_pending_revocation: Vec<GroupTopicPartitions>,
}

impl Message for ConsumerGroupCurrentMemberAssignmentValue {
    const NAME: &'static str = "ConsumerGroupCurrentMemberAssignmentValue";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            member_epoch: r.i32()?,
            previous_member_epoch: r.i32()?,
            state: r.i8()?,
            assigned_partitions: r
                .array(true, GroupTopicPartitions::BYTES_MIN, |r| GroupTopicPartitions::decode(r, version))?,
            partitions_pending_revocation: r
                .array(true, GroupTopicPartitions::BYTES_MIN, |r| GroupTopicPartitions::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.member_epoch);
        w.i32(self.previous_member_epoch);
        w.i8(self.state);
        w.array(&self.assigned_partitions, true, |w, each| each.encode(w, version))?;
        w.array(&self.partitions_pending_revocation, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupRegularExpressionKey {
    pub group_id: Str,
    pub regular_expression: Str,
}

impl Message for ConsumerGroupRegularExpressionKey {
    const NAME: &'static str = "ConsumerGroupRegularExpressionKey";
    const VERSIONS: (i16, i16) = (16, 16);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { group_id: r.string(false)?, regular_expression: r.string(false)? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.group_id, false)?;
        w.string(&self.regular_expression, false)?;
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupRegularExpressionValue {
    pub topics: Vec<Str>,
    pub version: i64,
    pub timestamp: i64,
}

impl Message for ConsumerGroupRegularExpressionValue {
    const NAME: &'static str = "ConsumerGroupRegularExpressionValue";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this =
            Self { topics: r.array(true, 1, |r| r.string(true))?, version: r.i64()?, timestamp: r.i64()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.array(&self.topics, true, |w, each| w.string(each, true))?;
        w.i64(self.version);
        w.i64(self.timestamp);
        w.no_tagged_fields();
        Ok(())
    }
}
