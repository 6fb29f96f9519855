//! AddOffsetsToTxn: a producer's transaction will commit a group's offsets. KIP-98; KIP-588 (v2).
//!
//! Generated from `protocol/messages/25_add_offsets_to_txn.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Str, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddOffsetsToTxnRequest {
    pub transactional_id: Str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub group_id: Str,
}

impl Message for AddOffsetsToTxnRequest {
    const NAME: &'static str = "AddOffsetsToTxnRequest";
    const VERSIONS: (i16, i16) = (0, 4);

    fn is_flexible(version: i16) -> bool {
        version >= 3
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let flexible = version >= 3;
        let this = Self {
            transactional_id: r.string(flexible)?,
            producer_id: r.i64()?,
            producer_epoch: r.i16()?,
            group_id: r.string(flexible)?,
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
        w.i64(self.producer_id);
        w.i16(self.producer_epoch);
        w.string(&self.group_id, flexible)?;
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

impl Request for AddOffsetsToTxnRequest {
    const API_KEY: ApiKey = ApiKey::AddOffsetsToTxn;
    type Response = AddOffsetsToTxnResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddOffsetsToTxnResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
}

impl Message for AddOffsetsToTxnResponse {
    const NAME: &'static str = "AddOffsetsToTxnResponse";
    const VERSIONS: (i16, i16) = (0, 4);

    fn is_flexible(version: i16) -> bool {
        version >= 3
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let flexible = version >= 3;
        let this = Self { throttle_time_ms: r.i32()?, error_code: r.i16()? };
        if flexible {
            r.skip_tagged_fields()?;
        }
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        let flexible = version >= 3;
        w.i32(self.throttle_time_ms);
        w.i16(self.error_code);
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}
