//! What the metadata log stores (KIP-631). A record's value is a frame version (1), the record's number and its
//! version, all unsigned varints, then the message. The numbers: topic 2, partition 3, config 4, remove topic 9,
//! producer ids 15.
//!
//! Generated from `protocol/messages/metadata_records.msg` by `just generate`; not to be edited here.

use crate::wire::{DecodeError, EncodeError, Message, Reader, Str, Uuid, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicRecord {
    pub name: Str,
    pub topic_id: Uuid,
}

impl Message for TopicRecord {
    const NAME: &'static str = "TopicRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { name: r.string(true)?, topic_id: r.uuid()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.name, true)?;
        w.uuid(self.topic_id);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecord {
    pub partition_id: i32,
    pub topic_id: Uuid,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    pub leader: i32,
    pub leader_recovery_state: i8,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// Versions 1+.
    pub directories: Vec<Uuid>,
}

impl Default for PartitionRecord {
    fn default() -> Self {
        Self {
            partition_id: -1,
            topic_id: Uuid::nil(),
            replicas: Vec::new(),
            isr: Vec::new(),
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            leader: -1,
            leader_recovery_state: 0,
            leader_epoch: -1,
            partition_epoch: -1,
            directories: Vec::new(),
        }
    }
}

impl Message for PartitionRecord {
    const NAME: &'static str = "PartitionRecord";
    const VERSIONS: (i16, i16) = (0, 1);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            partition_id: r.i32()?,
            topic_id: r.uuid()?,
            replicas: r.array(true, 4, Reader::i32)?,
            isr: r.array(true, 4, Reader::i32)?,
            removing_replicas: r.array(true, 4, Reader::i32)?,
            adding_replicas: r.array(true, 4, Reader::i32)?,
            leader: r.i32()?,
            leader_recovery_state: 0,
            leader_epoch: r.i32()?,
            partition_epoch: r.i32()?,
            directories: if version >= 1 { r.array(true, 16, Reader::uuid)? } else { Vec::new() },
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 => this.leader_recovery_state = r.i8()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.partition_id);
        w.uuid(self.topic_id);
        w.array(&self.replicas, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.array(&self.isr, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.array(&self.removing_replicas, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.array(&self.adding_replicas, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.i32(self.leader);
        w.i32(self.leader_epoch);
        w.i32(self.partition_epoch);
        if version >= 1 {
            w.array(&self.directories, true, |w, each| {
                w.uuid(*each);
                Ok(())
            })?;
        } else if !self.directories.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "directories", version });
        }
        let has_leader_recovery_state = self.leader_recovery_state != 0;
        w.unsigned_varint(u32::from(has_leader_recovery_state));
        if has_leader_recovery_state {
            w.tagged(0, |w| {
                w.i8(self.leader_recovery_state);
                Ok(())
            })?;
        }

        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigRecord {
    pub resource_type: i8,
    pub resource_name: Str,
    pub name: Str,
    pub value: Option<Str>,
}

impl Message for ConfigRecord {
    const NAME: &'static str = "ConfigRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            resource_type: r.i8()?,
            resource_name: r.string(true)?,
            name: r.string(true)?,
            value: r.nullable_string(true)?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i8(self.resource_type);
        w.string(&self.resource_name, true)?;
        w.string(&self.name, true)?;
        w.nullable_string(self.value.as_ref(), true)?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveTopicRecord {
    pub topic_id: Uuid,
}

impl Message for RemoveTopicRecord {
    const NAME: &'static str = "RemoveTopicRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { topic_id: r.uuid()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.uuid(self.topic_id);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerIdsRecord {
    pub broker_id: i32,
    pub broker_epoch: i64,
    pub next_producer_id: i64,
}

impl Default for ProducerIdsRecord {
    fn default() -> Self {
        Self { broker_id: 0, broker_epoch: -1, next_producer_id: 0 }
    }
}

impl Message for ProducerIdsRecord {
    const NAME: &'static str = "ProducerIdsRecord";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { broker_id: r.i32()?, broker_epoch: r.i64()?, next_producer_id: r.i64()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.broker_id);
        w.i64(self.broker_epoch);
        w.i64(self.next_producer_id);
        w.no_tagged_fields();
        Ok(())
    }
}
