//! What consumers say to each other inside JoinGroup and SyncGroup; the broker passes it on unread. KIP-429
//! (cooperative rebalance), KIP-792 (generation), KIP-881 (racks). On the wire an int16 version comes first.
//!
//! Generated from `protocol/messages/consumer_protocol.msg` by `just generate`; not to be edited here.

use bytes::Bytes;

use crate::wire::{DecodeError, EncodeError, Message, Reader, Str, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerProtocolAssignment {
    pub assigned_partitions: Vec<TopicPartition>,
    pub user_data: Option<Bytes>,
}

impl Message for ConsumerProtocolAssignment {
    const NAME: &'static str = "ConsumerProtocolAssignment";
    const VERSIONS: (i16, i16) = (0, 3);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self {
            assigned_partitions: r
                .array(false, TopicPartition::BYTES_MIN, |r| TopicPartition::decode(r, version))?,
            user_data: r.nullable_bytes(false)?,
        })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.array(&self.assigned_partitions, false, |w, each| each.encode(w, version))?;
        w.nullable_bytes(self.user_data.as_ref(), false)?;
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicPartition {
    pub topic: Str,
    pub partitions: Vec<i32>,
}

impl TopicPartition {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 6;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        Ok(Self { topic: r.string(false)?, partitions: r.array(false, 4, Reader::i32)? })
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.topic, false)?;
        w.array(&self.partitions, false, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerProtocolSubscription {
    pub topics: Vec<Str>,
    pub user_data: Option<Bytes>,
    /// Versions 1+.
    pub owned_partitions: Vec<TopicPartition>,
    /// Versions 2+.
    pub generation_id: i32,
    /// Versions 3+.
    pub rack_id: Option<Str>,
}

impl Default for ConsumerProtocolSubscription {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            user_data: None,
            owned_partitions: Vec::new(),
            generation_id: -1,
            rack_id: None,
        }
    }
}

impl Message for ConsumerProtocolSubscription {
    const NAME: &'static str = "ConsumerProtocolSubscription";
    const VERSIONS: (i16, i16) = (0, 3);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self {
            topics: r.array(false, 2, |r| r.string(false))?,
            user_data: r.nullable_bytes(false)?,
            owned_partitions: if version >= 1 {
                r.array(false, TopicPartition::BYTES_MIN, |r| TopicPartition::decode(r, version))?
            } else {
                Vec::new()
            },
            generation_id: if version >= 2 { r.i32()? } else { -1 },
            rack_id: if version >= 3 { r.nullable_string(false)? } else { None },
        })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.array(&self.topics, false, |w, each| w.string(each, false))?;
        w.nullable_bytes(self.user_data.as_ref(), false)?;
        if version >= 1 {
            w.array(&self.owned_partitions, false, |w, each| each.encode(w, version))?;
        }
        if version >= 2 {
            w.i32(self.generation_id);
        }
        if version >= 3 {
            w.nullable_string(self.rack_id.as_ref(), false)?;
        }
        Ok(())
    }
}
