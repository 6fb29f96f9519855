//! DescribeQuorum: who leads and who follows the metadata log, and how far each is. KIP-595, KIP-836 (timestamps),
//! KIP-853 (directory ids and endpoints).
//!
//! Generated from `protocol/messages/55_describe_quorum.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{
    DecodeError, EncodeError, Message, Reader, Request, Str, Uuid, Writer, readable, writable,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeQuorumRequest {
    pub topics: Vec<TopicData>,
}

impl Message for DescribeQuorumRequest {
    const NAME: &'static str = "DescribeQuorumRequest";
    const VERSIONS: (i16, i16) = (0, 2);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { topics: r.array(true, TopicData::BYTES_MIN, |r| TopicData::decode(r, version))? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

impl Request for DescribeQuorumRequest {
    const API_KEY: ApiKey = ApiKey::DescribeQuorum;
    type Response = DescribeQuorumResponse;
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicData {
    pub topic_name: Str,
    pub partitions: Vec<PartitionData>,
}

impl TopicData {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            topic_name: r.string(true)?,
            partitions: r.array(true, PartitionData::BYTES_MIN, |r| PartitionData::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.string(&self.topic_name, true)?;
        w.array(&self.partitions, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionData {
    pub partition_index: i32,
}

impl PartitionData {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 5;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { partition_index: r.i32()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i32(self.partition_index);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeQuorumResponse {
    pub error_code: i16,
    /// Versions 2+.
    pub error_message: Option<Str>,
    pub topics: Vec<DescribedQuorumTopic>,
    /// Versions 2+.
    pub nodes: Vec<Node>,
}

impl Message for DescribeQuorumResponse {
    const NAME: &'static str = "DescribeQuorumResponse";
    const VERSIONS: (i16, i16) = (0, 2);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            error_code: r.i16()?,
            error_message: if version >= 2 { r.nullable_string(true)? } else { None },
            topics: r
                .array(true, DescribedQuorumTopic::BYTES_MIN, |r| DescribedQuorumTopic::decode(r, version))?,
            nodes: if version >= 2 {
                r.array(true, Node::BYTES_MIN, |r| Node::decode(r, version))?
            } else {
                Vec::new()
            },
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i16(self.error_code);
        if version >= 2 {
            w.nullable_string(self.error_message.as_ref(), true)?;
        }
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        if version >= 2 {
            w.array(&self.nodes, true, |w, each| each.encode(w, version))?;
        } else if !self.nodes.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "nodes", version });
        }
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedQuorumTopic {
    pub topic_name: Str,
    pub partitions: Vec<DescribedQuorum>,
}

impl DescribedQuorumTopic {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            topic_name: r.string(true)?,
            partitions: r.array(true, DescribedQuorum::BYTES_MIN, |r| DescribedQuorum::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.string(&self.topic_name, true)?;
        w.array(&self.partitions, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedQuorum {
    pub partition_index: i32,
    pub error_code: i16,
    /// Versions 2+.
    pub error_message: Option<Str>,
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub high_watermark: i64,
    pub current_voters: Vec<ReplicaState>,
    pub observers: Vec<ReplicaState>,
}

impl DescribedQuorum {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 25;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            partition_index: r.i32()?,
            error_code: r.i16()?,
            error_message: if version >= 2 { r.nullable_string(true)? } else { None },
            leader_id: r.i32()?,
            leader_epoch: r.i32()?,
            high_watermark: r.i64()?,
            current_voters: r.array(true, ReplicaState::BYTES_MIN, |r| ReplicaState::decode(r, version))?,
            observers: r.array(true, ReplicaState::BYTES_MIN, |r| ReplicaState::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.partition_index);
        w.i16(self.error_code);
        if version >= 2 {
            w.nullable_string(self.error_message.as_ref(), true)?;
        }
        w.i32(self.leader_id);
        w.i32(self.leader_epoch);
        w.i64(self.high_watermark);
        w.array(&self.current_voters, true, |w, each| each.encode(w, version))?;
        w.array(&self.observers, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    pub replica_id: i32,
    /// Versions 2+.
    pub replica_directory_id: Uuid,
    pub log_end_offset: i64,
    /// When it last fetched, milliseconds since the epoch; -1 if unknown.
    /// Versions 1+.
    pub last_fetch_timestamp: i64,
    /// Versions 1+.
    pub last_caught_up_timestamp: i64,
}

impl Default for ReplicaState {
    fn default() -> Self {
        Self {
            replica_id: 0,
            replica_directory_id: Uuid::nil(),
            log_end_offset: 0,
            last_fetch_timestamp: -1,
            last_caught_up_timestamp: -1,
        }
    }
}

impl ReplicaState {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 13;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            replica_id: r.i32()?,
            replica_directory_id: if version >= 2 { r.uuid()? } else { Uuid::nil() },
            log_end_offset: r.i64()?,
            last_fetch_timestamp: if version >= 1 { r.i64()? } else { -1 },
            last_caught_up_timestamp: if version >= 1 { r.i64()? } else { -1 },
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.replica_id);
        if version >= 2 {
            w.uuid(self.replica_directory_id);
        } else if !self.replica_directory_id.is_nil() {
            return Err(EncodeError::FieldNotInVersion { field: "replica_directory_id", version });
        }
        w.i64(self.log_end_offset);
        if version >= 1 {
            w.i64(self.last_fetch_timestamp);
        }
        if version >= 1 {
            w.i64(self.last_caught_up_timestamp);
        }
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub node_id: i32,
    pub listeners: Vec<Listener>,
}

impl Node {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 6;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            node_id: r.i32()?,
            listeners: r.array(true, Listener::BYTES_MIN, |r| Listener::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.node_id);
        w.array(&self.listeners, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    pub name: Str,
    pub host: Str,
    pub port: u16,
}

impl Listener {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 5;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { name: r.string(true)?, host: r.string(true)?, port: r.u16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.string(&self.host, true)?;
        w.u16(self.port);
        w.no_tagged_fields();
        Ok(())
    }
}
