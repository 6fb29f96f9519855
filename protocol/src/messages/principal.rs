//! Whom a connection speaks for, as brokers tell the controller inside an Envelope. KIP-590; an int16 version comes first.
//!
//! Generated from `protocol/messages/principal.msg` by `just generate`; not to be edited here.

use crate::wire::{DecodeError, EncodeError, Message, Reader, Str, Writer, readable, writable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultPrincipalData {
    /// `User` of all that are authenticated.
    pub principal_type: Str,
    pub name: Str,
    /// By a delegation token.
    pub token_authenticated: bool,
}

impl Message for DefaultPrincipalData {
    const NAME: &'static str = "DefaultPrincipalData";
    const VERSIONS: (i16, i16) = (0, 0);

    fn is_flexible(version: i16) -> bool {
        version >= 0
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        readable::<Self>(version)?;
        let this =
            Self { principal_type: r.string(true)?, name: r.string(true)?, token_authenticated: r.bool()? };
        r.skip_tagged_fields()?;
        Ok(this)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writable::<Self>(version)?;
        w.string(&self.principal_type, true)?;
        w.string(&self.name, true)?;
        w.bool(self.token_authenticated);
        w.no_tagged_fields();
        Ok(())
    }
}
