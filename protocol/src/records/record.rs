//! Records inside a batch, borrowed from its bytes.

use bytes::Bytes;

use super::batch::{BatchError, BatchHeader, TimestampType};
use super::varint::{get_varint, get_varlong};

/// The smallest possible record: seven one-byte fields.
const RECORD_LEN_MIN: usize = 7;

/// A record header. Kafka's keys are UTF-8 text, but a broker must carry what it was given, so they are bytes here;
/// keys may repeat and their order is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// UTF-8 by convention.
    pub key: Bytes,
    /// Null is different from empty.
    pub value: Option<Bytes>,
}

impl Header {
    /// A header with a value.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Header {
        Header { key: key.into(), value: Some(value.into()) }
    }
}

/// One record, its bytes shared with the batch it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordView {
    /// Absolute offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Null is different from empty.
    pub key: Option<Bytes>,
    /// Null is a tombstone.
    pub value: Option<Bytes>,
    /// In the producer's order, duplicates kept.
    pub headers: Vec<Header>,
}

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// The transaction was aborted.
    Abort,
    /// The transaction was committed.
    Commit,
    /// A quorum leader was elected (KIP-595).
    LeaderChange,
    /// First record of a snapshot (KIP-630).
    SnapshotHeader,
    /// Last record of a snapshot (KIP-630).
    SnapshotFooter,
    /// The version of the quorum's protocol (KIP-853).
    KRaftVersion,
    /// The voters of the quorum (KIP-853).
    Voters,
    /// A type this version does not know.
    Unknown(i16),
}

impl ControlType {
    /// The type in a control record's key (version, then type).
    pub fn from_key(key: &[u8]) -> Option<ControlType> {
        let code = i16::from_be_bytes(key.get(2..4)?.try_into().ok()?);
        Some(match code {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KRaftVersion,
            6 => ControlType::Voters,
            other => ControlType::Unknown(other),
        })
    }

    /// The number Kafka gives it.
    pub fn code(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KRaftVersion => 5,
            ControlType::Voters => 6,
            ControlType::Unknown(code) => code,
        }
    }
}

/// Walks the decompressed records of a batch. A fault is given once and ends the walk.
#[derive(Debug, Clone)]
pub struct RecordIter {
    header: BatchHeader,
    body: Bytes,
    at: usize,
    index: i32,
}

impl RecordIter {
    pub(super) fn new(header: BatchHeader, body: Bytes) -> Result<RecordIter, BatchError> {
        if header.record_count as usize > body.len() / RECORD_LEN_MIN {
            return Err(BatchError::BadHeader("more records than the bytes could hold"));
        }
        Ok(RecordIter { header, body, at: 0, index: 0 })
    }

    fn read(&mut self) -> Result<RecordView, &'static str> {
        let bytes: &[u8] = &self.body;
        let mut at = self.at;
        let length = get_varint(bytes, &mut at).ok_or("length is cut off")?;
        let length = usize::try_from(length).map_err(|_| "negative length")?;
        let end = at.checked_add(length).filter(|end| *end <= bytes.len()).ok_or("longer than the batch")?;
        let record = bytes.get(..end).ok_or("longer than the batch")?;
        at += 1; // attributes: no bit is in use
        let timestamp_delta = get_varlong(record, &mut at).ok_or("timestamp is cut off")?;
        let offset_delta = get_varint(record, &mut at).ok_or("offset is cut off")?;
        if offset_delta < 0 || offset_delta > self.header.last_offset_delta {
            return Err("offset outside the batch");
        }
        let key = nullable(&self.body, record, &mut at).ok_or("key is cut off")?;
        let value = nullable(&self.body, record, &mut at).ok_or("value is cut off")?;
        let header_count = get_varint(record, &mut at).ok_or("header count is cut off")?;
        let header_count = usize::try_from(header_count).map_err(|_| "negative header count")?;
        if header_count > (end - at.min(end)) / 2 {
            return Err("more headers than the bytes could hold");
        }
        let mut headers = Vec::with_capacity(header_count);
        for _ in 0..header_count {
            let key =
                nullable(&self.body, record, &mut at).flatten().ok_or("header key is cut off or null")?;
            let value = nullable(&self.body, record, &mut at).ok_or("header value is cut off")?;
            headers.push(Header { key, value });
        }
        if at != end {
            return Err("bytes left over");
        }
        self.at = end;
        let timestamp_ms = match self.header.timestamp_type() {
            TimestampType::CreateTime => self.header.base_timestamp_ms.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp_ms,
        };
        let offset = self.header.base_offset + i64::from(offset_delta);
        Ok(RecordView { offset, timestamp_ms, key, value, headers })
    }
}

/// Reads a length and that many bytes; `Some(None)` for null, `None` when the record ends first.
fn nullable(body: &Bytes, record: &[u8], at: &mut usize) -> Option<Option<Bytes>> {
    let length = get_varint(record, at)?;
    if length == -1 {
        return Some(None);
    }
    let length = usize::try_from(length).ok()?;
    let end = at.checked_add(length).filter(|end| *end <= record.len())?;
    let bytes = body.slice(*at..end);
    *at = end;
    Some(Some(bytes))
}

impl Iterator for RecordIter {
    type Item = Result<RecordView, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            return None;
        }
        let index = self.index;
        match self.read() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.index = self.header.record_count;
                Some(Err(BatchError::BadRecord { index, reason }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.header.record_count - self.index).max(0) as usize;
        (0, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, BatchBuilder, BatchOptions, Batches, Compression};
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    type Plain = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn records() -> impl Strategy<Value = Vec<Plain>> {
        let bytes = || vec(any::<u8>(), 0..40);
        let headers = vec((vec(any::<u8>(), 0..8), option::of(bytes())), 0..4);
        vec((0..i64::MAX / 2, option::of(bytes()), option::of(bytes()), headers), 1..50)
    }

    fn build(records: &[Plain], compression: Compression) -> Bytes {
        let mut builder = BatchBuilder::default();
        for (timestamp, key, value, headers) in records {
            let headers: Vec<Header> = headers
                .iter()
                .map(|(key, value)| Header {
                    key: Bytes::copy_from_slice(key),
                    value: value.as_deref().map(Bytes::copy_from_slice),
                })
                .collect();
            builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
        }
        builder.build(BatchOptions { base_offset: 7, compression, ..BatchOptions::default() })
    }

    proptest! {
        #[test]
        fn records_round_trip_through_every_codec(records in records(), codec in 0i16..5) {
            let compression = Compression::from_attributes(codec).unwrap();
            let bytes = build(&records, compression);
            let batch = Batch::parse(&bytes).unwrap();
            batch.check_crc().unwrap();
            let read: Vec<RecordView> = batch.records(1 << 20).unwrap().map(|r| r.unwrap()).collect();
            prop_assert_eq!(read.len(), records.len());
            for (i, (view, (timestamp, key, value, headers))) in read.iter().zip(&records).enumerate() {
                prop_assert_eq!(view.offset, 7 + i as i64);
                prop_assert_eq!(view.timestamp_ms, *timestamp);
                prop_assert_eq!(view.key.as_deref(), key.as_deref());
                prop_assert_eq!(view.value.as_deref(), value.as_deref());
                prop_assert_eq!(view.headers.len(), headers.len());
                for (read, (key, value)) in view.headers.iter().zip(headers) {
                    prop_assert_eq!(&read.key[..], &key[..]);
                    prop_assert_eq!(read.value.as_deref(), value.as_deref());
                }
            }
        }

        #[test]
        fn any_flipped_byte_after_the_crc_is_noticed(records in records(), at in 21usize..10_000, bit in 0u8..8) {
            let mut bytes = build(&records, Compression::None).to_vec();
            let at = 21 + (at - 21) % (bytes.len() - 21);
            bytes[at] ^= 1 << bit;
            let noticed = Batch::parse(&Bytes::from(bytes)).and_then(|batch| batch.check_crc()).is_err();
            prop_assert!(noticed);
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..300), valid_magic in any::<bool>()) {
            if valid_magic && bytes.len() > 16 {
                bytes[16] = 2;
                bytes[8] = 0;
                bytes[9] = 0;
                bytes[10] = 0;
            }
            for batch in Batches::new(Bytes::from(bytes)).flatten() {
                if let Ok(records) = batch.records(1 << 16) {
                    for record in records {
                        let _ = record;
                    }
                }
            }
        }

        #[test]
        fn damaged_batches_never_panic(records in records(), codec in 0i16..5, at in 0usize..5_000, byte in any::<u8>()) {
            let mut bytes = build(&records, Compression::from_attributes(codec).unwrap()).to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            for batch in Batches::new(Bytes::from(bytes)).flatten() {
                if let Ok(records) = batch.records(1 << 20) {
                    for record in records {
                        let _ = record;
                    }
                }
            }
        }
    }

    #[test]
    fn a_cut_off_batch_ends_the_walk_without_an_error() {
        let whole = build(&[(1, None, Some(vec![1; 10]), vec![])], Compression::None);
        let mut two = whole.to_vec();
        two.extend_from_slice(&whole[..whole.len() - 1]);
        let walked: Vec<_> = Batches::new(Bytes::from(two)).collect();
        assert_eq!(walked.len(), 1);
        assert!(walked[0].is_ok());
    }
}
