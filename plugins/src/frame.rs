//! The framed batch: how records cross into a plugin and back, as `wit/ottla-v1/transform.wit` defines it.
//! Pure: bytes in, bytes out. A frame that comes back is hostile until proven otherwise: every length is
//! checked against the bytes that are left before anything is reserved for it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One record as plugins see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Index, within the batch given to the plugin, of the record that this one is or comes from.
    pub source: u32,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordHeader {
    pub name: String,
    pub value: Option<Bytes>,
}

/// Why bytes are no frame, or records do not fit into one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("it ends inside {0}")]
    Short(&'static str),
    #[error("{0} bytes follow its last record")]
    Trailing(usize),
    #[error("it announces {count} {what}, which its remaining {remaining} bytes cannot hold")]
    Count { what: &'static str, count: u32, remaining: usize },
    #[error("a length of {0} is neither −1 nor a size")]
    Length(i32),
    #[error("a header's name is not UTF-8")]
    HeaderName,
    #[error("{what} has {length}, more than a frame can say")]
    TooLong { what: &'static str, length: usize },
}

/// source, timestamp, two null blobs, no headers.
const RECORD_BYTES_MIN: usize = 4 + 8 + 4 + 4 + 4;
/// empty name, null value.
const HEADER_BYTES_MIN: usize = 4 + 4;

/// The frame of these records.
pub fn encode(records: &[Record]) -> Result<Bytes, FrameError> {
    let mut frame = BytesMut::with_capacity(4 + records.iter().map(record_bytes).sum::<usize>());
    frame.put_u32_le(length_u32("a batch", records.len())?);
    for record in records {
        frame.put_u32_le(record.source);
        frame.put_i64_le(record.timestamp_ms);
        put_blob(&mut frame, "a key", record.key.as_ref())?;
        put_blob(&mut frame, "a value", record.value.as_ref())?;
        frame.put_u32_le(length_u32("a record's list of headers", record.headers.len())?);
        for header in &record.headers {
            frame.put_u32_le(length_u32("a header's name", header.name.len())?);
            frame.put_slice(header.name.as_bytes());
            put_blob(&mut frame, "a header's value", header.value.as_ref())?;
        }
    }
    Ok(frame.freeze())
}

/// The records of a frame. Keys and values are slices of it.
pub fn decode(frame: Bytes) -> Result<Vec<Record>, FrameError> {
    let mut rest = frame;
    let count = take_count(&mut rest, "records", RECORD_BYTES_MIN)?;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        let source = take_u32(&mut rest, "a record's source")?;
        let timestamp_ms = rest.try_get_i64_le().map_err(|_| FrameError::Short("a record's timestamp"))?;
        let key = take_blob(&mut rest, "a key")?;
        let value = take_blob(&mut rest, "a value")?;
        let header_count = take_count(&mut rest, "headers", HEADER_BYTES_MIN)?;
        let mut headers = Vec::with_capacity(header_count);
        for _ in 0..header_count {
            let name_length = take_u32(&mut rest, "a header's name")?;
            let name = take(&mut rest, name_length as usize, "a header's name")?;
            let name = std::str::from_utf8(&name).map_err(|_| FrameError::HeaderName)?.to_owned();
            headers.push(RecordHeader { name, value: take_blob(&mut rest, "a header's value")? });
        }
        records.push(Record { source, timestamp_ms, key, value, headers });
    }
    match rest.len() {
        0 => Ok(records),
        trailing => Err(FrameError::Trailing(trailing)),
    }
}

/// How many records a frame announces, without reading them: so that too many are refused before memory is
/// taken for them.
pub fn announced_records(frame: &[u8]) -> Result<usize, FrameError> {
    let mut rest = frame;
    rest.try_get_u32_le().map(|count| count as usize).map_err(|_| FrameError::Short("the number of records"))
}

/// Bytes that a record takes in a frame.
pub fn record_bytes(record: &Record) -> usize {
    let blob = |blob: &Option<Bytes>| blob.as_ref().map_or(0, Bytes::len);
    let headers =
        record.headers.iter().map(|header| HEADER_BYTES_MIN + header.name.len() + blob(&header.value));
    RECORD_BYTES_MIN + blob(&record.key) + blob(&record.value) + headers.sum::<usize>()
}

fn length_u32(what: &'static str, length: usize) -> Result<u32, FrameError> {
    u32::try_from(length).map_err(|_| FrameError::TooLong { what, length })
}

fn put_blob(frame: &mut BytesMut, what: &'static str, blob: Option<&Bytes>) -> Result<(), FrameError> {
    match blob {
        None => frame.put_i32_le(-1),
        Some(bytes) => {
            let length =
                i32::try_from(bytes.len()).map_err(|_| FrameError::TooLong { what, length: bytes.len() })?;
            frame.put_i32_le(length);
            frame.put_slice(bytes);
        }
    }
    Ok(())
}

fn take_u32(rest: &mut Bytes, what: &'static str) -> Result<u32, FrameError> {
    rest.try_get_u32_le().map_err(|_| FrameError::Short(what))
}

/// A count of things that take at least `bytes_min` each; one that cannot be true is refused before it
/// reserves memory.
fn take_count(rest: &mut Bytes, what: &'static str, bytes_min: usize) -> Result<usize, FrameError> {
    let count = take_u32(rest, what)?;
    if count as usize > rest.len() / bytes_min {
        return Err(FrameError::Count { what, count, remaining: rest.len() });
    }
    Ok(count as usize)
}

fn take_blob(rest: &mut Bytes, what: &'static str) -> Result<Option<Bytes>, FrameError> {
    match rest.try_get_i32_le().map_err(|_| FrameError::Short(what))? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| FrameError::Length(length))?;
            take(rest, length, what).map(Some)
        }
    }
}

fn take(rest: &mut Bytes, length: usize, what: &'static str) -> Result<Bytes, FrameError> {
    if length > rest.len() {
        return Err(FrameError::Short(what));
    }
    Ok(rest.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn blobs() -> impl Strategy<Value = Option<Bytes>> {
        option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from))
    }

    fn records() -> impl Strategy<Value = Record> {
        let headers = vec((".{0,8}", blobs()).prop_map(|(name, value)| RecordHeader { name, value }), 0..4);
        (any::<u32>(), any::<i64>(), blobs(), blobs(), headers).prop_map(
            |(source, timestamp_ms, key, value, headers)| Record {
                source,
                timestamp_ms,
                key,
                value,
                headers,
            },
        )
    }

    proptest! {
        #[test]
        fn a_frame_gives_back_the_records_it_was_made_from(records in vec(records(), 0..20)) {
            let frame = encode(&records).unwrap();
            prop_assert_eq!(frame.len(), 4 + records.iter().map(record_bytes).sum::<usize>());
            prop_assert_eq!(announced_records(&frame), Ok(records.len()));
            prop_assert_eq!(decode(frame), Ok(records));
        }

        #[test]
        fn random_bytes_never_panic_and_never_reserve_more_than_they_could_hold(bytes in vec(any::<u8>(), 0..400)) {
            let length = bytes.len();
            if let Ok(records) = decode(Bytes::from(bytes)) {
                prop_assert!(records.capacity() <= length / RECORD_BYTES_MIN);
            }
        }

        #[test]
        fn a_frame_with_one_byte_changed_is_refused_or_still_bounded(
            records in vec(records(), 1..6), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut frame = encode(&records).unwrap().to_vec();
            let at = at.index(frame.len());
            frame[at] = byte;
            let length = frame.len();
            if let Ok(records) = decode(Bytes::from(frame)) {
                prop_assert_eq!(4 + records.iter().map(record_bytes).sum::<usize>(), length);
            }
        }

        #[test]
        fn every_prefix_of_a_frame_is_refused(records in vec(records(), 1..6), at in any::<prop::sample::Index>()) {
            let frame = encode(&records).unwrap();
            let prefix = frame.slice(..at.index(frame.len()));
            prop_assert!(decode(prefix).is_err());
        }
    }

    #[test]
    fn a_count_of_four_thousand_million_records_in_four_bytes_is_refused() {
        let error = decode(Bytes::from_static(&[0xff; 4])).unwrap_err();
        assert_eq!(error, FrameError::Count { what: "records", count: u32::MAX, remaining: 0 });
    }

    #[test]
    fn a_length_below_minus_one_is_refused() {
        let mut frame = BytesMut::new();
        frame.put_u32_le(1);
        frame.put_u32_le(0);
        frame.put_i64_le(0);
        frame.put_i32_le(-2);
        frame.put_i32_le(-1);
        frame.put_u32_le(0);
        assert_eq!(decode(frame.freeze()), Err(FrameError::Length(-2)));
    }

    #[test]
    fn bytes_after_the_last_record_are_refused() {
        assert_eq!(decode(Bytes::from_static(&[0, 0, 0, 0, 7])), Err(FrameError::Trailing(1)));
    }
}
