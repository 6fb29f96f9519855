//! BrokerHeartbeat: a broker tells the controller that it is still there, and hears whether it may serve. KIP-631, KIP-858 (log
//! dirs that have failed).
//!
//! Generated from `protocol/messages/63_broker_heartbeat.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Uuid, Writer, readable, writable};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerHeartbeatRequest {
    pub broker_id: i32,
    pub broker_epoch: i64,
    /// How much of the metadata it has applied.
    pub current_metadata_offset: i64,
    pub want_fence: bool,
    pub want_shut_down: bool,
    /// Versions 1+, tagged 0.
    pub offline_log_dirs: Vec<Uuid>,
}

impl Default for BrokerHeartbeatRequest {
    fn default() -> Self {
        Self {
            broker_id: 0,
            broker_epoch: -1,
            current_metadata_offset: 0,
            want_fence: false,
            want_shut_down: false,
            offline_log_dirs: Vec::new(),
        }
    }
}

impl Message for BrokerHeartbeatRequest {
    const NAME: &'static str = "BrokerHeartbeatRequest";
    const VERSIONS: (i16, i16) = (0, 1);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let mut this = Self {
            broker_id: r.i32()?,
            broker_epoch: r.i64()?,
            current_metadata_offset: r.i64()?,
            want_fence: r.bool()?,
            want_shut_down: r.bool()?,
            offline_log_dirs: Vec::new(),
        };
        r.tagged_fields(|tag, r| {
            match tag {
                0 if version >= 1 => this.offline_log_dirs = r.array(true, 16, Reader::uuid)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.broker_id);
        w.i64(self.broker_epoch);
        w.i64(self.current_metadata_offset);
        w.bool(self.want_fence);
        w.bool(self.want_shut_down);
        let has_offline_log_dirs = version >= 1 && !self.offline_log_dirs.is_empty();
        w.unsigned_varint(u32::from(has_offline_log_dirs));
        if has_offline_log_dirs {
            w.tagged(0, |w| {
                w.array(&self.offline_log_dirs, true, |w, each| {
                    w.uuid(*each);
                    Ok(())
                })
            })?;
        }

        Ok(())
    }
}

impl Request for BrokerHeartbeatRequest {
    const API_KEY: ApiKey = ApiKey::BrokerHeartbeat;
    type Response = BrokerHeartbeatResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerHeartbeatResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub is_caught_up: bool,
    pub is_fenced: bool,
    pub should_shut_down: bool,
}

impl Default for BrokerHeartbeatResponse {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            error_code: 0,
            is_caught_up: false,
            is_fenced: true,
            should_shut_down: false,
        }
    }
}

impl Message for BrokerHeartbeatResponse {
    const NAME: &'static str = "BrokerHeartbeatResponse";
    const VERSIONS: (i16, i16) = (0, 1);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            throttle_time_ms: r.i32()?,
            error_code: r.i16()?,
            is_caught_up: r.bool()?,
            is_fenced: r.bool()?,
            should_shut_down: r.bool()?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.throttle_time_ms);
        w.i16(self.error_code);
        w.bool(self.is_caught_up);
        w.bool(self.is_fenced);
        w.bool(self.should_shut_down);
        w.no_tagged_fields();
        Ok(())
    }
}
