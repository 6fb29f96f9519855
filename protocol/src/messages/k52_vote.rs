//! Vote: a candidate asks for a vote in a quorum, or beforehand whether it would get one. KIP-595, KIP-853 (directory ids and
//! endpoints), KIP-996 (asking beforehand).
//!
//! Generated from `protocol/messages/52_vote.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{
    DecodeError, EncodeError, Message, Reader, Request, Str, Uuid, Writer, readable, writable,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    pub cluster_id: Option<Str>,
    /// Who is asked.
    /// Versions 1+.
    pub voter_id: i32,
    pub topics: Vec<TopicData>,
}

impl Default for VoteRequest {
    fn default() -> Self {
        Self { cluster_id: None, voter_id: -1, topics: Vec::new() }
    }
}

impl Message for VoteRequest {
    const NAME: &'static str = "VoteRequest";
    const VERSIONS: (i16, i16) = (0, 2);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            cluster_id: r.nullable_string(true)?,
            voter_id: if version >= 1 { r.i32()? } else { -1 },
            topics: r.array(true, TopicData::BYTES_MIN, |r| TopicData::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.nullable_string(self.cluster_id.as_ref(), true)?;
        if version >= 1 {
            w.i32(self.voter_id);
        }
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

impl Request for VoteRequest {
    const API_KEY: ApiKey = ApiKey::Vote;
    type Response = VoteResponse;
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
    /// In which the candidate wants to lead; the one it is in where it asks beforehand.
    pub replica_epoch: i32,
    pub replica_id: i32,
    /// Versions 1+.
    pub replica_directory_id: Uuid,
    /// Versions 1+.
    pub voter_directory_id: Uuid,
    /// Of the last record of the candidate's log.
    pub last_offset_epoch: i32,
    /// Where the candidate's log ends.
    pub last_offset: i64,
    /// Versions 2+.
    pub pre_vote: bool,
}

impl PartitionData {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 25;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            partition_index: r.i32()?,
            replica_epoch: r.i32()?,
            replica_id: r.i32()?,
            replica_directory_id: if version >= 1 { r.uuid()? } else { Uuid::nil() },
            voter_directory_id: if version >= 1 { r.uuid()? } else { Uuid::nil() },
            last_offset_epoch: r.i32()?,
            last_offset: r.i64()?,
            pre_vote: if version >= 2 { r.bool()? } else { false },
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.partition_index);
        w.i32(self.replica_epoch);
        w.i32(self.replica_id);
        if version >= 1 {
            w.uuid(self.replica_directory_id);
        }
        if version >= 1 {
            w.uuid(self.voter_directory_id);
        }
        w.i32(self.last_offset_epoch);
        w.i64(self.last_offset);
        if version >= 2 {
            w.bool(self.pre_vote);
        } else if self.pre_vote {
            return Err(EncodeError::FieldNotInVersion { field: "pre_vote", version });
        }
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoteResponse {
    pub error_code: i16,
    pub topics: Vec<VotedTopic>,
    /// Versions 1+, tagged 0.
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl Message for VoteResponse {
    const NAME: &'static str = "VoteResponse";
    const VERSIONS: (i16, i16) = (0, 2);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            error_code: r.i16()?,
            topics: r.array(true, VotedTopic::BYTES_MIN, |r| VotedTopic::decode(r, version))?,
            node_endpoints: Vec::new(),
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 if version >= 1 => {
                    this.node_endpoints =
                        r.array(true, NodeEndpoint::BYTES_MIN, |r| NodeEndpoint::decode(r, version))?
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i16(self.error_code);
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        let has_node_endpoints = version >= 1 && !self.node_endpoints.is_empty();
        w.unsigned_varint(u32::from(has_node_endpoints));
        if has_node_endpoints {
            w.tagged(0, |w| w.array(&self.node_endpoints, true, |w, each| each.encode(w, version)))?;
        }

        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VotedTopic {
    pub topic_name: Str,
    pub partitions: Vec<VotedPartition>,
}

impl VotedTopic {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            topic_name: r.string(true)?,
            partitions: r.array(true, VotedPartition::BYTES_MIN, |r| VotedPartition::decode(r, version))?,
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
pub struct VotedPartition {
    pub partition_index: i32,
    pub error_code: i16,
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub vote_granted: bool,
}

impl VotedPartition {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 16;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            partition_index: r.i32()?,
            error_code: r.i16()?,
            leader_id: r.i32()?,
            leader_epoch: r.i32()?,
            vote_granted: r.bool()?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i32(self.partition_index);
        w.i16(self.error_code);
        w.i32(self.leader_id);
        w.i32(self.leader_epoch);
        w.bool(self.vote_granted);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: Str,
    pub port: u16,
}

impl NodeEndpoint {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 8;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { node_id: r.i32()?, host: r.string(true)?, port: r.u16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i32(self.node_id);
        w.string(&self.host, true)?;
        w.u16(self.port);
        w.no_tagged_fields();
        Ok(())
    }
}
