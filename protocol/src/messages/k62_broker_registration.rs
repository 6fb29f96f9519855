//! BrokerRegistration: a broker tells the controller that it is there, and where. KIP-631, KIP-858 (log dirs), KIP-966 (the epoch
//! that it had before).
//!
//! Generated from `protocol/messages/62_broker_registration.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{
    DecodeError, EncodeError, Message, Reader, Request, Str, Uuid, Writer, readable, writable,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistrationRequest {
    pub broker_id: i32,
    pub cluster_id: Str,
    /// Of this run of the broker.
    pub incarnation_id: Uuid,
    pub listeners: Vec<Listener>,
    pub features: Vec<Feature>,
    pub rack: Option<Str>,
    /// Versions 1+.
    pub is_migrating_zk_broker: bool,
    /// Versions 2+.
    pub log_dirs: Vec<Uuid>,
    /// Of the last run, where that was stopped in good order; -1 where it was not.
    /// Versions 3+.
    pub previous_broker_epoch: i64,
}

impl Default for BrokerRegistrationRequest {
    fn default() -> Self {
        Self {
            broker_id: 0,
            cluster_id: Str::default(),
            incarnation_id: Uuid::nil(),
            listeners: Vec::new(),
            features: Vec::new(),
            rack: None,
            is_migrating_zk_broker: false,
            log_dirs: Vec::new(),
            previous_broker_epoch: -1,
        }
    }
}

impl Message for BrokerRegistrationRequest {
    const NAME: &'static str = "BrokerRegistrationRequest";
    const VERSIONS: (i16, i16) = (0, 4);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            broker_id: r.i32()?,
            cluster_id: r.string(true)?,
            incarnation_id: r.uuid()?,
            listeners: r.array(true, Listener::BYTES_MIN, |r| Listener::decode(r, version))?,
            features: r.array(true, Feature::BYTES_MIN, |r| Feature::decode(r, version))?,
            rack: r.nullable_string(true)?,
            is_migrating_zk_broker: if version >= 1 { r.bool()? } else { false },
            log_dirs: if version >= 2 { r.array(true, 16, Reader::uuid)? } else { Vec::new() },
            previous_broker_epoch: if version >= 3 { r.i64()? } else { -1 },
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.broker_id);
        w.string(&self.cluster_id, true)?;
        w.uuid(self.incarnation_id);
        w.array(&self.listeners, true, |w, each| each.encode(w, version))?;
        w.array(&self.features, true, |w, each| each.encode(w, version))?;
        w.nullable_string(self.rack.as_ref(), true)?;
        if version >= 1 {
            w.bool(self.is_migrating_zk_broker);
        } else if self.is_migrating_zk_broker {
            return Err(EncodeError::FieldNotInVersion { field: "is_migrating_zk_broker", version });
        }
        if version >= 2 {
            w.array(&self.log_dirs, true, |w, each| {
                w.uuid(*each);
                Ok(())
            })?;
        } else if !self.log_dirs.is_empty() {
            return Err(EncodeError::FieldNotInVersion { field: "log_dirs", version });
        }
        if version >= 3 {
            w.i64(self.previous_broker_epoch);
        }
        w.no_tagged_fields();
        Ok(())
    }
}

impl Request for BrokerRegistrationRequest {
    const API_KEY: ApiKey = ApiKey::BrokerRegistration;
    type Response = BrokerRegistrationResponse;

    fn throttle(response: &mut Self::Response, throttle_time_ms: i32) {
        response.throttle_time_ms = throttle_time_ms;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    pub name: Str,
    pub host: Str,
    pub port: u16,
    pub security_protocol: i16,
}

impl Listener {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 7;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this = Self {
            name: r.string(true)?,
            host: r.string(true)?,
            port: r.u16()?,
            security_protocol: r.i16()?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.string(&self.host, true)?;
        w.u16(self.port);
        w.i16(self.security_protocol);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feature {
    pub name: Str,
    pub min_supported_version: i16,
    pub max_supported_version: i16,
}

impl Feature {
    /// The fewest bytes it takes on the wire in any version.
    const BYTES_MIN: usize = 6;

    fn decode(r: &mut Reader, _version: i16) -> Result<Self, DecodeError> {
        let this =
            Self { name: r.string(true)?, min_supported_version: r.i16()?, max_supported_version: r.i16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        w.string(&self.name, true)?;
        w.i16(self.min_supported_version);
        w.i16(self.max_supported_version);
        w.no_tagged_fields();
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistrationResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub broker_epoch: i64,
}

impl Default for BrokerRegistrationResponse {
    fn default() -> Self {
        Self { throttle_time_ms: 0, error_code: 0, broker_epoch: -1 }
    }
}

impl Message for BrokerRegistrationResponse {
    const NAME: &'static str = "BrokerRegistrationResponse";
    const VERSIONS: (i16, i16) = (0, 4);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { throttle_time_ms: r.i32()?, error_code: r.i16()?, broker_epoch: r.i64()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i32(self.throttle_time_ms);
        w.i16(self.error_code);
        w.i64(self.broker_epoch);
        w.no_tagged_fields();
        Ok(())
    }
}
