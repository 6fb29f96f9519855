//! Why bytes could not be read or a message could not be written.

/// Bytes that are no message. Positions count from the start of the frame that the reader was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{needed} bytes wanted at byte {at}, {left} are left")]
    UnexpectedEnd { at: usize, needed: usize, left: usize },
    #[error("a length of {length} at byte {at} is more than the format or the {left} bytes left allow")]
    Length { at: usize, length: i64, left: usize },
    #[error("null at byte {at}, where a value is required")]
    Null { at: usize },
    #[error("a variable-length integer at byte {at} does not end within its size")]
    Varint { at: usize },
    #[error("a string at byte {at} is not UTF-8")]
    NotUtf8 { at: usize },
    #[error("{count} bytes are left over at byte {at}")]
    TrailingBytes { at: usize, count: usize },
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("unknown API key {0}")]
    UnknownApiKey(i16),
}

/// A message that its version cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("{field} is set, but version {version} does not have it")]
    FieldNotInVersion { field: &'static str, version: i16 },
    #[error("{field} is null, which version {version} does not allow")]
    Null { field: &'static str, version: i16 },
    #[error("a length of {length} is more than the format's {max}")]
    TooLong { length: usize, max: usize },
}
