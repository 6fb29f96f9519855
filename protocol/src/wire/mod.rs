//! The primitives that every message is made of: how an integer, a string, an array or a tagged field lies on the
//! wire. Knows no message and no API; bounds every length by the bytes that are really there.

mod error;
mod reader;
mod records;
mod str;
mod writer;

pub use error::{DecodeError, EncodeError};
pub use reader::Reader;
pub use records::{Part, Records};
pub use str::Str;
pub use uuid::Uuid;
pub use writer::Writer;

pub(crate) use writer::non_null;

/// What a message type says about itself, and how its bytes are read and written at a version.
pub trait Message: Sized {
    /// Kafka's name of the message, for errors.
    const NAME: &'static str;
    /// The first and last version that is defined here.
    const VERSIONS: (i16, i16);

    /// Whether the version has compact lengths and tagged fields (KIP-482). It is also defined for versions that
    /// are newer than any known, because a header must be read before its version can be refused.
    fn is_flexible(version: i16) -> bool;

    /// Reads the message; what follows it stays in the reader.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message. Fails when a field holds something that this version cannot say and that the receiver
    /// may not go without.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Reads an int16 version and then the message, as group records are stored.
    fn decode_versioned(bytes: bytes::Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        Self::decode(&mut reader, version)
    }

    /// As [`decode_versioned`](Message::decode_versioned), but a version newer than the last known one is read as
    /// the last, and what it adds is ignored: the consumer protocol promises that (KIP-429), stored records don't.
    fn decode_versioned_or_newer(bytes: bytes::Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        Self::decode(&mut reader, version.min(Self::VERSIONS.1))
    }

    /// Writes an int16 version and then the message.
    fn encode_versioned(&self, version: i16) -> Result<bytes::Bytes, EncodeError> {
        let mut writer = Writer::new();
        writer.i16(version);
        self.encode(&mut writer, version)?;
        Ok(writer.finish_contiguous())
    }
}

/// A request: its key, and the type of its response.
pub trait Request: Message {
    const API_KEY: crate::ApiKey;
    type Response: Message;

    /// Tells the client how long to wait before its next request, where the response can say so.
    fn throttle(_response: &mut Self::Response, _throttle_time_ms: i32) {}
}

/// Refuses a version outside of what `M` defines.
pub(crate) fn readable<M: Message>(version: i16) -> Result<(), DecodeError> {
    let (first, last) = M::VERSIONS;
    if version < first || version > last {
        return Err(DecodeError::UnsupportedVersion { message: M::NAME, version });
    }
    Ok(())
}

/// Refuses a version outside of what `M` defines.
pub(crate) fn writable<M: Message>(version: i16) -> Result<(), EncodeError> {
    let (first, last) = M::VERSIONS;
    if version < first || version > last {
        return Err(EncodeError::UnsupportedVersion { message: M::NAME, version });
    }
    Ok(())
}
