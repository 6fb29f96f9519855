//! TxnOffsetCommit: a group's offsets that count when the transaction is committed. KIP-98; KIP-447 (v3: generation and
//! member); KIP-890 (v5: adds the group to the transaction itself).
//!
//! Generated from `protocol/messages/28_txn_offset_commit.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Str, Writer, readable, writable};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOffsetCommitRequest {
    pub transactional_id: Str,
    pub group_id: Str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Versions 3+.
    pub generation_id: i32,
    /// Versions 3+.
    pub member_id: Str,
    /// Versions 3+.
    pub group_instance_id: Option<Str>,
    pub topics: Vec<TxnOffsetCommitRequestTopic>,
}

impl Default for TxnOffsetCommitRequest {
    fn default() -> Self {
        Self {
            transactional_id: Str::default(),
            group_id: Str::default(),
            producer_id: 0,
            producer_epoch: 0,
            generation_id: -1,
            member_id: Str::default(),
            group_instance_id: None,
            topics: Vec::new(),
        }
    }
}

impl Message for TxnOffsetCommitRequest {
    const NAME: &'static str = "TxnOffsetCommitRequest";
    const VERSIONS: (i16, i16) = (0, 5);

    fn is_flexible(version: i16) -> bool {
        version >= 3
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let flexible = version >= 3;
        let this = Self {
            transactional_id: r.string(flexible)?,
            group_id: r.string(flexible)?,
            producer_id: r.i64()?,
            producer_epoch: r.i16()?,
            generation_id: if version >= 3 { r.i32()? } else { -1 },
            member_id: if version >= 3 { r.string(flexible)? } else { Str::default() },
            group_instance_id: if version >= 3 { r.nullable_string(flexible)? } else { None },
            topics: r.array(flexible, TxnOffsetCommitRequestTopic::BYTES_MIN, |r| {
                TxnOffsetCommitRequestTopic::decode(r, version)
            })?,
        };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        let flexible = version >= 3;
        w.string(&self.transactional_id, flexible)?;
        w.string(&self.group_id, flexible)?;
        w.i64(self.producer_id);
        w.i16(self.producer_epoch);
        if version >= 3 {
            w.i32(self.generation_id);
        } else if self.generation_id != -1 {
            return Err(EncodeError::FieldNotInVersion { field: "generation_id", version });
        }
        if version >= 3 {
            w.string(&self.member_id, flexible)?;
        } else if !self.member_id.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "member_id", version });
        }
        if version >= 3 {
            w.nullable_string(self.group_instance_id.as_ref(), flexible)?;
        } else if self.group_instance_id.is_some() {
            return Err(EncodeError::FieldNotInVersion { field: "group_instance_id", version });
        }
        w.array(&self.topics, flexible, |w, each| each.encode(w, version))?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

impl Request for TxnOffsetCommitRequest {
    const API_KEY: ApiKey = ApiKey::TxnOffsetCommit;
    type Response = TxnOffsetCommitResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnOffsetCommitRequestTopic {
    pub name: Str,
    pub partitions: Vec<TxnOffsetCommitRequestPartition>,
}

impl TxnOffsetCommitRequestTopic {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let this = Self {
            name: r.string(flexible)?,
            partitions: r.array(flexible, TxnOffsetCommitRequestPartition::BYTES_MIN, |r| {
                TxnOffsetCommitRequestPartition::decode(r, version)
            })?,
        };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        w.string(&self.name, flexible)?;
        w.array(&self.partitions, flexible, |w, each| each.encode(w, version))?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOffsetCommitRequestPartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    /// Versions 2+.
    pub committed_leader_epoch: i32,
    pub committed_metadata: Option<Str>,
}

impl Default for TxnOffsetCommitRequestPartition {
    fn default() -> Self {
        Self { partition_index: 0, committed_offset: 0, committed_leader_epoch: -1, committed_metadata: None }
    }
}

impl TxnOffsetCommitRequestPartition {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 14;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let this = Self {
            partition_index: r.i32()?,
            committed_offset: r.i64()?,
            committed_leader_epoch: if version >= 2 { r.i32()? } else { -1 },
            committed_metadata: r.nullable_string(flexible)?,
        };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        w.i32(self.partition_index);
        w.i64(self.committed_offset);
        if version >= 2 {
            w.i32(self.committed_leader_epoch);
        }
        w.nullable_string(self.committed_metadata.as_ref(), flexible)?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnOffsetCommitResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<TxnOffsetCommitResponseTopic>,
}

impl Message for TxnOffsetCommitResponse {
    const NAME: &'static str = "TxnOffsetCommitResponse";
    const VERSIONS: (i16, i16) = (0, 5);

    fn is_flexible(version: i16) -> bool {
        version >= 3
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let flexible = version >= 3;
        let this = Self {
            throttle_time_ms: r.i32()?,
            topics: r.array(flexible, TxnOffsetCommitResponseTopic::BYTES_MIN, |r| {
                TxnOffsetCommitResponseTopic::decode(r, version)
            })?,
        };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        let flexible = version >= 3;
        w.i32(self.throttle_time_ms);
        w.array(&self.topics, flexible, |w, each| each.encode(w, version))?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnOffsetCommitResponseTopic {
    pub name: Str,
    pub partitions: Vec<TxnOffsetCommitResponsePartition>,
}

impl TxnOffsetCommitResponseTopic {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let this = Self {
            name: r.string(flexible)?,
            partitions: r.array(flexible, TxnOffsetCommitResponsePartition::BYTES_MIN, |r| {
                TxnOffsetCommitResponsePartition::decode(r, version)
            })?,
        };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        w.string(&self.name, flexible)?;
        w.array(&self.partitions, flexible, |w, each| each.encode(w, version))?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnOffsetCommitResponsePartition {
    pub partition_index: i32,
    pub error_code: i16,
}

impl TxnOffsetCommitResponsePartition {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 6;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let this = Self { partition_index: r.i32()?, error_code: r.i16()? };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        w.i32(self.partition_index);
        w.i16(self.error_code);
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}
