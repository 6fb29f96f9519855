//! DescribeTransactions: what a coordinator knows of transactional ids. KIP-664.
//!
//! Generated from `protocol/messages/65_describe_transactions.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Str, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeTransactionsRequest {
    pub transactional_ids: Vec<Str>,
}

impl Message for DescribeTransactionsRequest {
    const NAME: &'static str = "DescribeTransactionsRequest";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { transactional_ids: r.array(true, 1, |r| r.string(true))? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.array(&self.transactional_ids, true, |w, each| w.string(each, true))?;
        w.no_tagged_fields();
        Ok(())
    }
}

impl Request for DescribeTransactionsRequest {
    const API_KEY: ApiKey = ApiKey::DescribeTransactions;
    type Response = DescribeTransactionsResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeTransactionsResponse {
    pub throttle_time_ms: i32,
    pub transaction_states: Vec<TransactionState>,
}

impl Message for DescribeTransactionsResponse {
    const NAME: &'static str = "DescribeTransactionsResponse";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            throttle_time_ms: r.i32()?,
            transaction_states: r
                .array(true, TransactionState::BYTES_MIN, |r| TransactionState::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.throttle_time_ms);
        w.array(&self.transaction_states, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionState {
    pub error_code: i16,
    pub transactional_id: Str,
    pub transaction_state: Str,
    pub transaction_timeout_ms: i32,
    pub transaction_start_time_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub topics: Vec<TopicData>,
}

impl TransactionState {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 28;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            error_code: r.i16()?,
            transactional_id: r.string(true)?,
            transaction_state: r.string(true)?,
            transaction_timeout_ms: r.i32()?,
            transaction_start_time_ms: r.i64()?,
            producer_id: r.i64()?,
            producer_epoch: r.i16()?,
            topics: r.array(true, TopicData::BYTES_MIN, |r| TopicData::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.i16(self.error_code);
        w.string(&self.transactional_id, true)?;
        w.string(&self.transaction_state, true)?;
        w.i32(self.transaction_timeout_ms);
        w.i64(self.transaction_start_time_ms);
        w.i64(self.producer_id);
        w.i16(self.producer_epoch);
        w.array(&self.topics, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicData {
    pub topic: Str,
    pub partitions: Vec<i32>,
}

impl TopicData {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 3;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self { topic: r.string(true)?, partitions: r.array(true, 4, Reader::i32)? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.topic, true)?;
        w.array(&self.partitions, true, |w, each| {
            w.i32(*each);
            Ok(())
        })?;
        w.no_tagged_fields();
        Ok(())
    }
}
