//! EndTxn: commits or aborts a producer's transaction. KIP-98; KIP-588 (v2); KIP-890 (v5: the answer has the id and
//! epoch of the next transaction).
//!
//! Generated from `protocol/messages/26_end_txn.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Str, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndTxnRequest {
    pub transactional_id: Str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub committed: bool,
}

impl Message for EndTxnRequest {
    const NAME: &'static str = "EndTxnRequest";
    const VERSIONS: (i16, i16) = (0, 5);

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
            committed: r.bool()?,
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
        w.bool(self.committed);
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}

impl Request for EndTxnRequest {
    const API_KEY: ApiKey = ApiKey::EndTxn;
    type Response = EndTxnResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTxnResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    /// Versions 5+.
    pub producer_id: i64,
    /// Versions 5+.
    pub producer_epoch: i16,
}

impl Default for EndTxnResponse {
    fn default() -> Self {
        Self { throttle_time_ms: 0, error_code: 0, producer_id: -1, producer_epoch: -1 }
    }
}

impl Message for EndTxnResponse {
    const NAME: &'static str = "EndTxnResponse";
    const VERSIONS: (i16, i16) = (0, 5);

    fn is_flexible(version: i16) -> bool {
        version >= 3
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let flexible = version >= 3;
        let this = Self {
            throttle_time_ms: r.i32()?,
            error_code: r.i16()?,
            producer_id: if version >= 5 { r.i64()? } else { -1 },
            producer_epoch: if version >= 5 { r.i16()? } else { -1 },
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
        w.i16(self.error_code);
        if version >= 5 {
            w.i64(self.producer_id);
        }
        if version >= 5 {
            w.i16(self.producer_epoch);
        }
        if flexible {
            w.no_tagged_fields();
        }
        Ok(())
    }
}
