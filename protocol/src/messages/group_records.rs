//! What `__consumer_offsets` stores for classic groups. A key and a value each begin with an int16 version; a
//! key's version also tells what the record is: 0 and 1 an offset, 2 a group.
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
