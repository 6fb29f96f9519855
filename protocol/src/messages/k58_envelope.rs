//! Envelope: a client's request that a broker passes on to the controller, with whom it came from. KIP-590.
//!
//! Generated from `protocol/messages/58_envelope.msg` by `just generate`; not to be edited here.

use bytes::Bytes;

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Message, Reader, Request, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeRequest {
    /// The client's frame, from its header on.
    pub request_data: Bytes,
    /// Who sent it, as the broker has found (`DefaultPrincipalData`).
    pub request_principal: Option<Bytes>,
    /// The address that it came from, 4 or 16 bytes.
    pub client_host_address: Bytes,
}

impl Message for EnvelopeRequest {
    const NAME: &'static str = "EnvelopeRequest";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self {
            request_data: r.bytes(true)?,
            request_principal: r.nullable_bytes(true)?,
            client_host_address: r.bytes(true)?,
        };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.bytes(&self.request_data, true)?;
        w.nullable_bytes(self.request_principal.as_ref(), true)?;
        w.bytes(&self.client_host_address, true)?;
        w.no_tagged_fields();
        Ok(())
    }
}

impl Request for EnvelopeRequest {
    const API_KEY: ApiKey = ApiKey::Envelope;
    type Response = EnvelopeResponse;
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeResponse {
    /// The frame for the client, from its header on; null where the controller has not handled it.
    pub response_data: Option<Bytes>,
    pub error_code: i16,
}

impl Message for EnvelopeResponse {
    const NAME: &'static str = "EnvelopeResponse";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this = Self { response_data: r.nullable_bytes(true)?, error_code: r.i16()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.nullable_bytes(self.response_data.as_ref(), true)?;
        w.i16(self.error_code);
        w.no_tagged_fields();
        Ok(())
    }
}
