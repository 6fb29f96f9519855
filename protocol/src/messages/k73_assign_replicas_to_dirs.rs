//! AssignReplicasToDirs: a broker tells the controller in which of its log dirs replicas are. KIP-858.
//!
//! Generated from `protocol/messages/73_assign_replicas_to_dirs.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Uuid, Writer, readable, writable};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignReplicasToDirsRequest {
    pub broker_id: i32,
    pub broker_epoch: i64,
    pub directories: Vec<DirectoryData>,
}

impl Default for AssignReplicasToDirsRequest {
    fn default() -> Self {
        Self { broker_id: 0, broker_epoch: -1, directories: Vec::new() }
    }
}

impl Message for AssignReplicasToDirsRequest {
    const NAME: &'static str = "AssignReplicasToDirsRequest";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            broker_id: r.i32()?,
            broker_epoch: r.i64()?,
            directories: r.array(true, DirectoryData::BYTES_MIN, |r| DirectoryData::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.broker_id);
        w.i64(self.broker_epoch);
        w.array(&self.directories, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

impl Request for AssignReplicasToDirsRequest {
    const API_KEY: ApiKey = ApiKey::AssignReplicasToDirs;
    type Response = AssignReplicasToDirsResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryData {
    pub id: Uuid,
    pub topics: Vec<TopicData>,
}

impl DirectoryData {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 18;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            id: r.uuid()?,
            topics: r.array(true, TopicData::BYTES_MIN, |r| TopicData::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.uuid(self.id);
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicData {
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionData>,
}

impl TopicData {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 18;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            topic_id: r.uuid()?,
            partitions: r.array(true, PartitionData::BYTES_MIN, |r| PartitionData::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.uuid(self.topic_id);
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
pub struct AssignReplicasToDirsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub directories: Vec<AssignedDirectory>,
}

impl Message for AssignReplicasToDirsResponse {
    const NAME: &'static str = "AssignReplicasToDirsResponse";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            throttle_time_ms: r.i32()?,
            error_code: r.i16()?,
            directories: r
                .array(true, AssignedDirectory::BYTES_MIN, |r| AssignedDirectory::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.throttle_time_ms);
        w.i16(self.error_code);
        w.array(&self.directories, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignedDirectory {
    pub id: Uuid,
    pub topics: Vec<AssignedTopic>,
}

impl AssignedDirectory {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 18;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            id: r.uuid()?,
            topics: r.array(true, AssignedTopic::BYTES_MIN, |r| AssignedTopic::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.uuid(self.id);
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignedTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<AssignedPartition>,
}

impl AssignedTopic {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 18;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            topic_id: r.uuid()?,
            partitions: r
                .array(true, AssignedPartition::BYTES_MIN, |r| AssignedPartition::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.uuid(self.topic_id);
        w.array(&self.partitions, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignedPartition {
    pub partition_index: i32,
    pub error_code: i16,
}

impl AssignedPartition {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 7;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { partition_index: r.i32()?, error_code: r.i16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i32(self.partition_index);
        w.i16(self.error_code);
        w.no_tagged_fields();
        Ok(())
    }
}
