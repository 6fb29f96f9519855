//! AlterPartition: a partition's leader tells the controller which replicas are in sync. KIP-497, KIP-841 (refused replicas),
//! KIP-903 (the epochs of the brokers that have them).
//!
//! Generated from `protocol/messages/56_alter_partition.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Uuid, Writer, readable, writable};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartitionRequest {
    pub broker_id: i32,
    pub broker_epoch: i64,
    pub topics: Vec<TopicData>,
}

impl Default for AlterPartitionRequest {
    fn default() -> Self {
        Self { broker_id: 0, broker_epoch: -1, topics: Vec::new() }
    }
}

impl Message for AlterPartitionRequest {
    const NAME: &'static str = "AlterPartitionRequest";
    const VERSIONS: (i16, i16) = (2, 3);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            broker_id: r.i32()?,
            broker_epoch: r.i64()?,
            topics: r.array(true, TopicData::BYTES_MIN, |r| TopicData::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.broker_id);
        w.i64(self.broker_epoch);
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

impl Request for AlterPartitionRequest {
    const API_KEY: ApiKey = ApiKey::AlterPartition;
    type Response = AlterPartitionResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
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
    pub leader_epoch: i32,
    /// Version 2.
    pub new_isr: Vec<i32>,
    /// Versions 3+.
    pub new_isr_with_epochs: Vec<BrokerState>,
    pub leader_recovery_state: i8,
    /// Which the leader knows, and changes.
    pub partition_epoch: i32,
}

impl PartitionData {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 15;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            partition_index: r.i32()?,
            leader_epoch: r.i32()?,
            new_isr: if version <= 2 { r.array(true, 4, Reader::i32)? } else { Vec::new() },
            new_isr_with_epochs: if version >= 3 {
                r.array(true, BrokerState::BYTES_MIN, |r| BrokerState::decode(r, version))?
            } else {
                Vec::new()
            },
            leader_recovery_state: r.i8()?,
            partition_epoch: r.i32()?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i32(self.partition_index);
        w.i32(self.leader_epoch);
        if version <= 2 {
            w.array(&self.new_isr, true, |w, each| {
                w.i32(*each);
                Ok(())
            })?;
        } else if !self.new_isr.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "new_isr", version });
        }
        if version >= 3 {
            w.array(&self.new_isr_with_epochs, true, |w, each| each.encode(w, version))?;
        } else if !self.new_isr_with_epochs.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "new_isr_with_epochs", version });
        }
        w.i8(self.leader_recovery_state);
        w.i32(self.partition_epoch);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerState {
    pub broker_id: i32,
    /// Of the run of the broker that the leader heard of.
    pub broker_epoch: i64,
}

impl Default for BrokerState {
    fn default() -> Self {
        Self { broker_id: 0, broker_epoch: -1 }
    }
}

impl BrokerState {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 13;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { broker_id: r.i32()?, broker_epoch: r.i64()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i32(self.broker_id);
        w.i64(self.broker_epoch);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlterPartitionResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub topics: Vec<AlteredTopic>,
}

impl Message for AlterPartitionResponse {
    const NAME: &'static str = "AlterPartitionResponse";
    const VERSIONS: (i16, i16) = (2, 3);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            throttle_time_ms: r.i32()?,
            error_code: r.i16()?,
            topics: r.array(true, AlteredTopic::BYTES_MIN, |r| AlteredTopic::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.throttle_time_ms);
        w.i16(self.error_code);
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlteredTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<AlteredPartition>,
}

impl AlteredTopic {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 18;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            topic_id: r.uuid()?,
            partitions: r
                .array(true, AlteredPartition::BYTES_MIN, |r| AlteredPartition::decode(r, version))?,
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
pub struct AlteredPartition {
    pub partition_index: i32,
    pub error_code: i16,
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub leader_recovery_state: i8,
    pub partition_epoch: i32,
}

impl AlteredPartition {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 21;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            partition_index: r.i32()?,
            error_code: r.i16()?,
            leader_id: r.i32()?,
            leader_epoch: r.i32()?,
            isr: r.array(true, 4, Reader::i32)?,
            leader_recovery_state: r.i8()?,
            partition_epoch: r.i32()?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i32(self.partition_index);
        w.i16(self.error_code);
        w.i32(self.leader_id);
        w.i32(self.leader_epoch);
        w.array(&self.isr, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.i8(self.leader_recovery_state);
        w.i32(self.partition_epoch);
        w.no_tagged_fields();
        Ok(())
    }
}
