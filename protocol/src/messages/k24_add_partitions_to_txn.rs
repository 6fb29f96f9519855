//! AddPartitionsToTxn: a producer's transaction will write to partitions. KIP-98; KIP-890 (v4 and 5: from broker to
//! broker, for many transactions, also to ask only whether partitions were added).
//!
//! Generated from `protocol/messages/24_add_partitions_to_txn.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Str, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnRequest {
    /// Versions 4+.
    pub transactions: Vec<AddPartitionsToTxnTransaction>,
    /// Versions 0 to 3.
    pub v3_and_below_transactional_id: Str,
    /// Versions 0 to 3.
    pub v3_and_below_producer_id: i64,
    /// Versions 0 to 3.
    pub v3_and_below_producer_epoch: i16,
    /// Versions 0 to 3.
    pub v3_and_below_topics: Vec<AddPartitionsToTxnTopicV3>,
}

impl Message for AddPartitionsToTxnRequest {
    const NAME: &'static str = "AddPartitionsToTxnRequest";
    const VERSIONS: (i16, i16) = (0, 5);

    fn is_flexible(version: i16) -> bool {
        version >= 3
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let flexible = version >= 3;
        let this = Self {
            transactions: if version >= 4 {
                r.array(flexible, AddPartitionsToTxnTransaction::BYTES_MIN, |r| {
                    AddPartitionsToTxnTransaction::decode(r, version)
                })?
            } else {
                Vec::new()
            },
            v3_and_below_transactional_id: if version <= 3 { r.string(flexible)? } else { Str::default() },
            v3_and_below_producer_id: if version <= 3 { r.i64()? } else { 0 },
            v3_and_below_producer_epoch: if version <= 3 { r.i16()? } else { 0 },
            v3_and_below_topics: if version <= 3 {
                r.array(flexible, AddPartitionsToTxnTopicV3::BYTES_MIN, |r| {
                    AddPartitionsToTxnTopicV3::decode(r, version)
                })?
            } else {
                Vec::new()
            },
        };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        let flexible = version >= 3;
        if version >= 4 {
            w.array(&self.transactions, flexible, |w, each| each.encode(w, version))?;
        } else if !self.transactions.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "transactions", version });
        }
        if version <= 3 {
            w.string(&self.v3_and_below_transactional_id, flexible)?;
        } else if !self.v3_and_below_transactional_id.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "v3_and_below_transactional_id", version });
        }
        if version <= 3 {
            w.i64(self.v3_and_below_producer_id);
        } else if self.v3_and_below_producer_id != 0 {
            return Err(EncodeError::FieldNotInVersion { field: "v3_and_below_producer_id", version });
        }
        if version <= 3 {
            w.i16(self.v3_and_below_producer_epoch);
        } else if self.v3_and_below_producer_epoch != 0 {
            return Err(EncodeError::FieldNotInVersion { field: "v3_and_below_producer_epoch", version });
        }
        if version <= 3 {
            w.array(&self.v3_and_below_topics, flexible, |w, each| each.encode(w, version))?;
        } else if !self.v3_and_below_topics.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "v3_and_below_topics", version });
        }
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

impl Request for AddPartitionsToTxnRequest {
    const API_KEY: ApiKey = ApiKey::AddPartitionsToTxn;
    type Response = AddPartitionsToTxnResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnTransaction {
    pub transactional_id: Str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub verify_only: bool,
    pub topics: Vec<AddPartitionsToTxnTopic>,
}

impl AddPartitionsToTxnTransaction {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 14;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            transactional_id: r.string(true)?,
            producer_id: r.i64()?,
            producer_epoch: r.i16()?,
            verify_only: r.bool()?,
            topics: r.array(true, AddPartitionsToTxnTopic::BYTES_MIN, |r| {
                AddPartitionsToTxnTopic::decode(r, version)
            })?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.string(&self.transactional_id, true)?;
        w.i64(self.producer_id);
        w.i16(self.producer_epoch);
        w.bool(self.verify_only);
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnTopic {
    pub name: Str,
    pub partitions: Vec<i32>,
}

impl AddPartitionsToTxnTopic {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { name: r.string(true)?, partitions: r.array(true, 4, Reader::i32)? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.array(&self.partitions, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnTopicV3 {
    pub name: Str,
    pub partitions: Vec<i32>,
}

impl AddPartitionsToTxnTopicV3 {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let this = Self { name: r.string(flexible)?, partitions: r.array(flexible, 4, Reader::i32)? };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        w.string(&self.name, flexible)?;
        w.array(&self.partitions, flexible, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnResponse {
    pub throttle_time_ms: i32,
    /// Versions 4+.
    pub error_code: i16,
    /// Versions 4+.
    pub results_by_transaction: Vec<AddPartitionsToTxnResult>,
    /// Versions 0 to 3.
    pub results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResultV3>,
}

impl Message for AddPartitionsToTxnResponse {
    const NAME: &'static str = "AddPartitionsToTxnResponse";
    const VERSIONS: (i16, i16) = (0, 5);

    fn is_flexible(version: i16) -> bool {
        version >= 3
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let flexible = version >= 3;
        let this = Self {
            throttle_time_ms: r.i32()?,
            error_code: if version >= 4 { r.i16()? } else { 0 },
            results_by_transaction: if version >= 4 {
                r.array(flexible, AddPartitionsToTxnResult::BYTES_MIN, |r| {
                    AddPartitionsToTxnResult::decode(r, version)
                })?
            } else {
                Vec::new()
            },
            results_by_topic_v3_and_below: if version <= 3 {
                r.array(flexible, AddPartitionsToTxnTopicResultV3::BYTES_MIN, |r| {
                    AddPartitionsToTxnTopicResultV3::decode(r, version)
                })?
            } else {
                Vec::new()
            },
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
        if version >= 4 {
            w.i16(self.error_code);
        }
        if version >= 4 {
            w.array(&self.results_by_transaction, flexible, |w, each| each.encode(w, version))?;
        } else if !self.results_by_transaction.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "results_by_transaction", version });
        }
        if version <= 3 {
            w.array(&self.results_by_topic_v3_and_below, flexible, |w, each| each.encode(w, version))?;
        } else if !self.results_by_topic_v3_and_below.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "results_by_topic_v3_and_below", version });
        }
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnResult {
    pub transactional_id: Str,
    pub topic_results: Vec<AddPartitionsToTxnTopicResult>,
}

impl AddPartitionsToTxnResult {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            transactional_id: r.string(true)?,
            topic_results: r.array(true, AddPartitionsToTxnTopicResult::BYTES_MIN, |r| {
                AddPartitionsToTxnTopicResult::decode(r, version)
            })?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.string(&self.transactional_id, true)?;
        w.array(&self.topic_results, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnTopicResult {
    pub name: Str,
    pub results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
}

impl AddPartitionsToTxnTopicResult {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            name: r.string(true)?,
            results_by_partition: r.array(true, AddPartitionsToTxnPartitionResult::BYTES_MIN, |r| {
                AddPartitionsToTxnPartitionResult::decode(r, version)
            })?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.array(&self.results_by_partition, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnPartitionResult {
    pub partition_index: i32,
    pub partition_error_code: i16,
}

impl AddPartitionsToTxnPartitionResult {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 7;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { partition_index: r.i32()?, partition_error_code: r.i16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.i32(self.partition_index);
        w.i16(self.partition_error_code);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnTopicResultV3 {
    pub name: Str,
    pub results_by_partition: Vec<AddPartitionsToTxnPartitionResultV3>,
}

impl AddPartitionsToTxnTopicResultV3 {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let this = Self {
            name: r.string(flexible)?,
            results_by_partition: r.array(flexible, AddPartitionsToTxnPartitionResultV3::BYTES_MIN, |r| {
                AddPartitionsToTxnPartitionResultV3::decode(r, version)
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
        w.array(&self.results_by_partition, flexible, |w, each| each.encode(w, version))?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPartitionsToTxnPartitionResultV3 {
    pub partition_index: i32,
    pub partition_error_code: i16,
}

impl AddPartitionsToTxnPartitionResultV3 {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 6;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= 3;
        let this = Self { partition_index: r.i32()?, partition_error_code: r.i16()? };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        w.i32(self.partition_index);
        w.i16(self.partition_error_code);
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}
