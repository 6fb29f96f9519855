//! FetchSnapshot: reads a snapshot of the metadata, piece by piece. KIP-630, KIP-853 (directory ids and endpoints).
//!
//! Generated from `protocol/messages/59_fetch_snapshot.msg` by `just generate`; not to be edited here.

use bytes::Bytes;

use crate::ApiKey;
use crate::wire::{
    DecodeError, EncodeError, Message, Reader, Request, Str, Uuid, Writer, readable, writable,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchSnapshotRequest {
    pub cluster_id: Option<Str>,
    pub replica_id: i32,
    pub max_bytes: i32,
    pub topics: Vec<TopicSnapshot>,
}

impl Default for FetchSnapshotRequest {
    fn default() -> Self {
        Self { cluster_id: None, replica_id: -1, max_bytes: i32::MAX, topics: Vec::new() }
    }
}

impl Message for FetchSnapshotRequest {
    const NAME: &'static str = "FetchSnapshotRequest";
    const VERSIONS: (i16, i16) = (0, 1);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            cluster_id: None,
            replica_id: r.i32()?,
            max_bytes: r.i32()?,
            topics: r.array(true, TopicSnapshot::BYTES_MIN, |r| TopicSnapshot::decode(r, version))?,
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 => this.cluster_id = r.nullable_string(true)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.replica_id);
        w.i32(self.max_bytes);
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        let has_cluster_id = self.cluster_id.is_some();
        w.unsigned_varint(u32::from(has_cluster_id));
        if has_cluster_id {
            w.tagged(0, |w| w.nullable_string(self.cluster_id.as_ref(), true))?;
        }

        Ok(())
    }
}

impl Request for FetchSnapshotRequest {
    const API_KEY: ApiKey = ApiKey::FetchSnapshot;
    type Response = FetchSnapshotResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSnapshot {
    pub name: Str,
    pub partitions: Vec<PartitionSnapshot>,
}

impl TopicSnapshot {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            name: r.string(true)?,
            partitions: r
                .array(true, PartitionSnapshot::BYTES_MIN, |r| PartitionSnapshot::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.array(&self.partitions, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSnapshot {
    pub partition: i32,
    pub current_leader_epoch: i32,
    pub snapshot_id: SnapshotId,
    /// The byte to begin with.
    pub position: i64,
    /// Versions 1+, tagged 0.
    pub replica_directory_id: Uuid,
}

impl PartitionSnapshot {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 30;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let mut this = Self {
            partition: r.i32()?,
            current_leader_epoch: r.i32()?,
            snapshot_id: SnapshotId::decode(r, version)?,
            position: r.i64()?,
            replica_directory_id: Uuid::nil(),
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 if version >= 1 => this.replica_directory_id = r.uuid()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.partition);
        w.i32(self.current_leader_epoch);
        self.snapshot_id.encode(w, version)?;
        w.i64(self.position);
        let has_replica_directory_id = version >= 1 && !self.replica_directory_id.is_nil();
        w.unsigned_varint(u32::from(has_replica_directory_id));
        if has_replica_directory_id {
            w.tagged(0, |w| {
                w.uuid(self.replica_directory_id);
                Ok(())
            })?;
        }

        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotId {
    pub end_offset: i64,
    pub epoch: i32,
}

impl SnapshotId {
    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { end_offset: r.i64()?, epoch: r.i32()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i64(self.end_offset);
        w.i32(self.epoch);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchSnapshotResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub topics: Vec<TopicSnapshotResponse>,
    /// Versions 1+, tagged 0.
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl Message for FetchSnapshotResponse {
    const NAME: &'static str = "FetchSnapshotResponse";
    const VERSIONS: (i16, i16) = (0, 1);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            throttle_time_ms: r.i32()?,
            error_code: r.i16()?,
            topics: r.array(true, TopicSnapshotResponse::BYTES_MIN, |r| {
                TopicSnapshotResponse::decode(r, version)
            })?,
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
        w.i32(self.throttle_time_ms);
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
pub struct TopicSnapshotResponse {
    pub name: Str,
    pub partitions: Vec<PartitionSnapshotResponse>,
}

impl TopicSnapshotResponse {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            name: r.string(true)?,
            partitions: r.array(true, PartitionSnapshotResponse::BYTES_MIN, |r| {
                PartitionSnapshotResponse::decode(r, version)
            })?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.array(&self.partitions, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSnapshotResponse {
    pub index: i32,
    pub error_code: i16,
    pub snapshot_id: SnapshotId,
    pub current_leader: LeaderIdAndEpoch,
    /// Bytes of the whole snapshot.
    pub size: i64,
    pub position: i64,
    /// Its bytes from there on, which may begin and end within a batch.
    pub unaligned_records: Bytes,
}

impl PartitionSnapshotResponse {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 37;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let mut this = Self {
            index: r.i32()?,
            error_code: r.i16()?,
            snapshot_id: SnapshotId::decode(r, version)?,
            current_leader: LeaderIdAndEpoch::default(),
            size: r.i64()?,
            position: r.i64()?,
            unaligned_records: r.bytes(true)?,
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 => this.current_leader = LeaderIdAndEpoch::decode(r, version)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.index);
        w.i16(self.error_code);
        self.snapshot_id.encode(w, version)?;
        w.i64(self.size);
        w.i64(self.position);
        w.bytes(&self.unaligned_records, true)?;
        let has_current_leader = self.current_leader != LeaderIdAndEpoch::default();
        w.unsigned_varint(u32::from(has_current_leader));
        if has_current_leader {
            w.tagged(0, |w| self.current_leader.encode(w, version))?;
        }

        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

impl LeaderIdAndEpoch {
    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { leader_id: r.i32()?, leader_epoch: r.i32()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i32(self.leader_id);
        w.i32(self.leader_epoch);
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
