//! How a coordinator partition's records lie in `__consumer_offsets`: in Kafka's own format, so that Kafka's tools read
//! our data directory and we read Kafka's.
//!
//! A key begins with an int16 version, which also tells what the record is: 0 and 1 an offset, 2 a classic group, 3 to
//! 8 and 16 parts of a group of the consumer protocol; the rest are records of newer group types. A value is null for a tombstone.

mod consumer;
mod group_metadata;
mod offset_commit;

use bytes::Bytes;
use ottla_protocol::{DecodeError, EncodeError, Str};

use super::decision::Record;

/// What a record of the log is to the machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// One of ours.
    Record(Record),
    /// Of a kind that this version does not know; it stays in the log untouched.
    Unknown {
        /// The version its key begins with.
        key_version: i16,
    },
}

/// Why a record cannot be read. Loading goes on without it, as Kafka's does not: one bad record must not make every
/// group of its partition unavailable.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A record of this log always has a key.
    #[error("the record has no key")]
    NoKey,
    /// The key or the value does not parse.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// Key and value of a record.
///
/// # Errors
/// When a text is longer than the format can say (32,767 bytes).
pub fn encode(record: &Record) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    match record {
        Record::Group { group, value } => {
            let value = value.as_deref().map(group_metadata::encode_value).transpose()?;
            Ok((group_metadata::encode_key(group)?, value))
        }
        Record::Offset { group, topic, partition, value } => {
            let value = value.as_ref().map(offset_commit::encode_value).transpose()?;
            Ok((offset_commit::encode_key(group, topic, *partition)?, value))
        }
        Record::Consumer { group, record } => consumer::encode(group, record),
    }
}

/// Reads a record of the log.
///
/// # Errors
/// When it is not what its key's version promises.
pub fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Decoded, RecordError> {
    let key = key.ok_or(RecordError::NoKey)?;
    let key_version = ottla_protocol::Reader::new(key.clone()).i16()?;
    let record = match key_version {
        0 | 1 => {
            let (group, topic, partition) = offset_commit::decode_key(key)?;
            let value = value.map(offset_commit::decode_value).transpose()?;
            Record::Offset { group, topic, partition, value }
        }
        2 => {
            let group = group_metadata::decode_key(key)?;
            let value = value.map(group_metadata::decode_value).transpose()?.map(std::sync::Arc::new);
            Record::Group { group, value }
        }
        key_version => match consumer::decode(key_version, key, value)? {
            Some((group, record)) => Record::Consumer { group, record },
            None => return Ok(Decoded::Unknown { key_version }),
        },
    };
    Ok(Decoded::Record(record))
}

fn text(text: &str) -> Str {
    Str::from(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_of_a_newer_kind_is_told_apart_and_not_an_error() {
        let key = Bytes::from_static(&[0, 9, 0, 1, b'g']);
        assert_eq!(decode(Some(key), None).unwrap(), Decoded::Unknown { key_version: 9 });
    }

    #[test]
    fn a_record_without_a_key_is_refused() {
        assert!(matches!(decode(None, None), Err(RecordError::NoKey)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            kind in 0u8..18,
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        ) {
            let mut with_kind = vec![0, kind];
            with_kind.extend(&key);
            let _ = decode(Some(Bytes::from(with_kind)), value.clone().map(Bytes::from));
            let _ = decode(Some(Bytes::from(key)), value.map(Bytes::from));
        }
    }
}
