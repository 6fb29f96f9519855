//! SaslHandshake: names the mechanism that the SaslAuthenticate requests after it speak. KIP-43, 152.
//!
//! Generated from `protocol/messages/17_sasl_handshake.msg` by `just generate`; not to be edited here.

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Str, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaslHandshakeRequest {
    pub mechanism: Str,
}

impl Message for SaslHandshakeRequest {
    const NAME: &'static str = "SaslHandshakeRequest";
    const VERSIONS: (i16, i16) = (0, 1);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { mechanism: r.string(false)? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.mechanism, false)?;
        Ok(())
    }
}

impl Request for SaslHandshakeRequest {
    const API_KEY: ApiKey = ApiKey::SaslHandshake;
    type Response = SaslHandshakeResponse;
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaslHandshakeResponse {
    pub error_code: i16,
    /// What the listener takes.
    pub mechanisms: Vec<Str>,
}

impl Message for SaslHandshakeResponse {
    const NAME: &'static str = "SaslHandshakeResponse";
    const VERSIONS: (i16, i16) = (0, 1);

    fn is_flexible(_version: i16) -> bool {
        false
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        Ok(Self { error_code: r.i16()?, mechanisms: r.array(false, 2, |r| r.string(false))? })
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.i16(self.error_code);
        w.array(&self.mechanisms, false, |w, each| w.string(each, false))?;
        Ok(())
    }
}
