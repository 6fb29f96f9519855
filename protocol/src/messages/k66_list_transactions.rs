//! ListTransactions: the transactional ids of a coordinator. KIP-664; KIP-994 (v1: by duration); KIP-1152 (v2: by a
//! pattern of the id).
//!
//! Generated from `protocol/messages/66_list_transactions.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Str, Writer, readable, writable};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTransactionsRequest {
    pub state_filters: Vec<Str>,
    pub producer_id_filters: Vec<i64>,
    /// Milliseconds that a transaction must have been running for; negative for all.
    /// Versions 1+.
    pub duration_filter: i64,
    /// Versions 2+.
    pub transactional_id_pattern: Option<Str>,
}

impl Default for ListTransactionsRequest {
    fn default() -> Self {
        Self {
            state_filters: Vec::new(),
            producer_id_filters: Vec::new(),
            duration_filter: -1,
            transactional_id_pattern: None,
        }
    }
}

impl Message for ListTransactionsRequest {
    const NAME: &'static str = "ListTransactionsRequest";
    const VERSIONS: (i16, i16) = (0, 2);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            state_filters: r.array(true, 1, |r| r.string(true))?,
            producer_id_filters: r.array(true, 8, Reader::i64)?,
            duration_filter: if version >= 1 { r.i64()? } else { -1 },
            transactional_id_pattern: if version >= 2 { r.nullable_string(true)? } else { None },
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.array(&self.state_filters, true, |w, each| w.string(each, true))?;
        w.array(&self.producer_id_filters, true, |w, each| {
            w.i64(*each);
            Ok(())
        })?;
        if version >= 1 {
            w.i64(self.duration_filter);
        } else if self.duration_filter != -1 {
            return Err(EncodeError::FieldNotInVersion { field: "duration_filter", version });
        }
        if version >= 2 {
            w.nullable_string(self.transactional_id_pattern.as_ref(), true)?;
        } else if self.transactional_id_pattern.is_some() {
            return Err(EncodeError::FieldNotInVersion { field: "transactional_id_pattern", version });
        }
        w.no_tagged_fields();
        Ok(())
    }
}

impl Request for ListTransactionsRequest {
    const API_KEY: ApiKey = ApiKey::ListTransactions;
    type Response = ListTransactionsResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListTransactionsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub unknown_state_filters: Vec<Str>,
    pub transaction_states: Vec<TransactionState>,
}

impl Message for ListTransactionsResponse {
    const NAME: &'static str = "ListTransactionsResponse";
    const VERSIONS: (i16, i16) = (0, 2);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            throttle_time_ms: r.i32()?,
            error_code: r.i16()?,
            unknown_state_filters: r.array(true, 1, |r| r.string(true))?,
            transaction_states: r
                .array(true, TransactionState::BYTES_MIN, |r| TransactionState::decode(r, version))?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.throttle_time_ms);
        w.i16(self.error_code);
        w.array(&self.unknown_state_filters, true, |w, each| w.string(each, true))?;
        w.array(&self.transaction_states, true, |w, each| each.encode(w, version))?;
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionState {
    pub transactional_id: Str,
    pub producer_id: i64,
    pub transaction_state: Str,
}

impl TransactionState {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 11;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            transactional_id: r.string(true)?,
            producer_id: r.i64()?,
            transaction_state: r.string(true)?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.transactional_id, true)?;
        w.i64(self.producer_id);
        w.string(&self.transaction_state, true)?;
        w.no_tagged_fields();
        Ok(())
    }
}
