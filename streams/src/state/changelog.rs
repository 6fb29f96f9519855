//! The records of `<query>-changelog`, what a query remembers: version 2.
//!
//! ```text
//! ┌ Header · Delta · Delta · Commit 1 ┐ ┌ Delta · Commit 2 ┐ …
//! ```
//!
//! Each box is a transaction, which also has the epoch's outputs. The topic is compacted: of records with the same key only
//! the last one matters.
//!
//! A record's key is the version byte, a byte for its kind and, for deltas, the operator and the state's key; its value is
//! the version byte and the body: JSON for what a person may want to read, the state codec's bytes for deltas.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::store::{OperatorDelta, StateDelta};

const VERSION: u8 = 2;
const HEADER: u8 = b'H';
const DELTA: u8 = b'D';
const COMMIT: u8 = b'C';

/// Kafka offsets by partition.
pub type Offsets = BTreeMap<i32, i64>;

/// A partition of one of a query's sources; `source/partition` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputPartition {
    /// The source, by its place in the plan.
    pub source: u16,
    /// The partition of its topic.
    pub partition: i32,
}

/// Something per input partition: mostly the offset of the next record to read.
pub type InputOffsets = BTreeMap<InputPartition, i64>;

impl std::fmt::Display for InputPartition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.source, self.partition)
    }
}

impl Serialize for InputPartition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InputPartition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parse = || {
            let (source, partition) = text.split_once('/')?;
            Some(InputPartition { source: source.parse().ok()?, partition: partition.parse().ok()? })
        };
        parse().ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not source/partition")))
    }
}

/// The number of an epoch; the first one is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One record of the changelog.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangelogRecord {
    /// Whose changelog this is; the first record.
    Header(Header),
    /// A change of state, which counts with the commit after it.
    Delta(OperatorDelta),
    /// An epoch is done: its deltas are before this record.
    Commit(Commit),
}

/// Whose changelog this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The query's name.
    pub query: String,
    /// The query's text and state layout; state made by another one cannot be used.
    pub fingerprint: Option<String>,
}

/// Everything an epoch depends on besides the state and the input records themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The epoch.
    pub epoch: Epoch,
    /// Where the epoch's input ends: the offset after the last record, per input partition.
    pub input_ends: InputOffsets,
    /// The timestamp of the epoch's outputs, milliseconds since 1970.
    pub now_ms: i64,
    /// Partitions with records after `input_ends`: no window closes before they have been heard.
    pub unread: Vec<InputPartition>,
    /// Whether the input is over, so that the watermark passes everything.
    pub is_last: bool,
}

/// What an epoch left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Commit {
    /// The epoch; 0 before the first one.
    pub epoch: Epoch,
    /// The offset of the next input record, per input partition.
    pub input_ends: InputOffsets,
    /// The newest event time seen, per input partition, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub event_times: InputOffsets,
    /// The watermark, in the same; it never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<i64>,
    /// Counts since the query's first start.
    pub totals: Totals,
}

/// Counts of rows since the query's first start; a crash neither loses nor doubles one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Records read.
    pub rows_in: u64,
    /// Records written to the output topic, deletions counted.
    pub rows_out: u64,
    /// Records that could not be decoded or had no event time.
    pub rows_bad: u64,
    /// Rows whose window had closed.
    pub rows_late: u64,
}

/// A changelog record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChangelogError {
    /// Made by another Ottla.
    #[error(
        "the changelog record has version {0}, and this Ottla reads version {VERSION}; drop the query and create it again"
    )]
    Version(u8),
    /// Not made by Ottla at all.
    #[error("the record is not one of a changelog: {0}")]
    Malformed(&'static str),
    /// Its JSON is not what its kind says.
    #[error("the changelog record's body cannot be read: {0}")]
    Body(#[from] serde_json::Error),
}

impl ChangelogRecord {
    /// Key and value of the Kafka record.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        match self {
            ChangelogRecord::Header(header) => (plain_key(HEADER), Some(json(header))),
            ChangelogRecord::Commit(commit) => (plain_key(COMMIT), Some(json(commit))),
            ChangelogRecord::Delta(OperatorDelta { operator, delta }) => {
                let mut key = Vec::with_capacity(4 + delta.key.len());
                key.extend_from_slice(&[VERSION, DELTA]);
                key.extend_from_slice(&operator.to_be_bytes());
                key.extend_from_slice(&delta.key);
                let value = delta.value.as_ref().map(|value| {
                    let mut bytes = Vec::with_capacity(1 + value.len());
                    bytes.push(VERSION);
                    bytes.extend_from_slice(value);
                    Bytes::from(bytes)
                });
                (Bytes::from(key), value)
            }
        }
    }

    /// The inverse of [`ChangelogRecord::encode`].
    ///
    /// # Errors
    /// When the record is of another version or none of ours.
    pub fn decode(key: Option<&Bytes>, value: Option<&Bytes>) -> Result<Self, ChangelogError> {
        let key = key.ok_or(ChangelogError::Malformed("it has no key"))?;
        let (version, kind) = match key.as_ref() {
            [version, kind, ..] => (*version, *kind),
            _ => return Err(ChangelogError::Malformed("its key is too short")),
        };
        if version != VERSION {
            return Err(ChangelogError::Version(version));
        }
        let body = value.map(body).transpose()?;
        let text = body.as_ref().ok_or(ChangelogError::Malformed("it has no value"));
        match kind {
            HEADER => Ok(ChangelogRecord::Header(serde_json::from_slice(text?)?)),
            COMMIT => Ok(ChangelogRecord::Commit(serde_json::from_slice(text?)?)),
            DELTA => {
                let operator = key
                    .get(2..4)
                    .and_then(|bytes| <[u8; 2]>::try_from(bytes).ok())
                    .ok_or(ChangelogError::Malformed("its key is too short"))?;
                let delta = StateDelta { key: key.slice(4..), value: body };
                Ok(ChangelogRecord::Delta(OperatorDelta { operator: u16::from_be_bytes(operator), delta }))
            }
            _ => Err(ChangelogError::Malformed("its kind is unknown")),
        }
    }
}

fn plain_key(kind: u8) -> Bytes {
    Bytes::copy_from_slice(&[VERSION, kind])
}

fn json<T: Serialize>(body: &T) -> Bytes {
    let mut bytes = vec![VERSION];
    // Maps with integer keys and plain structs cannot fail to become JSON.
    if let Err(error) = serde_json::to_writer(&mut bytes, body) {
        unreachable!("a changelog body is always JSON: {error}");
    }
    Bytes::from(bytes)
}

fn body(value: &Bytes) -> Result<Bytes, ChangelogError> {
    match value.first() {
        Some(&VERSION) => Ok(value.slice(1..)),
        Some(&version) => Err(ChangelogError::Version(version)),
        None => Err(ChangelogError::Malformed("its value is empty")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition() -> impl Strategy<Value = InputPartition> {
        (any::<u16>(), any::<i32>()).prop_map(|(source, partition)| InputPartition { source, partition })
    }

    fn input_offsets() -> impl Strategy<Value = InputOffsets> {
        proptest::collection::btree_map(partition(), any::<i64>(), 0..4)
    }

    fn totals() -> impl Strategy<Value = Totals> {
        any::<[u64; 4]>().prop_map(|[rows_in, rows_out, rows_bad, rows_late]| Totals {
            rows_in,
            rows_out,
            rows_bad,
            rows_late,
        })
    }

    fn record() -> impl Strategy<Value = ChangelogRecord> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        prop_oneof![
            (".*", proptest::option::of(".*"))
                .prop_map(|(query, fingerprint)| ChangelogRecord::Header(Header { query, fingerprint })),
            (any::<u16>(), bytes(), proptest::option::of(bytes())).prop_map(|(operator, key, value)| {
                ChangelogRecord::Delta(OperatorDelta { operator, delta: StateDelta { key, value } })
            }),
            (any::<u64>(), input_offsets(), input_offsets(), any::<Option<i64>>(), totals()).prop_map(
                |(epoch, input_ends, event_times, watermark, totals)| {
                    ChangelogRecord::Commit(Commit {
                        epoch: Epoch(epoch),
                        input_ends,
                        event_times,
                        watermark,
                        totals,
                    })
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn every_record_round_trips(record in record()) {
            let (key, value) = record.encode();
            prop_assert_eq!(ChangelogRecord::decode(Some(&key), value.as_ref()).unwrap(), record);
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(key in proptest::collection::vec(any::<u8>(), 0..8), value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)), kind in 0..4usize) {
            let mut key = key;
            if let (Some(version), true) = (key.first_mut(), kind > 0) {
                *version = VERSION;
            }
            if let (Some(byte), Some(wanted)) = (key.get_mut(1), [HEADER, DELTA, COMMIT].get(kind)) {
                *byte = *wanted;
            }
            let _ = ChangelogRecord::decode(Some(&Bytes::from(key)), value.map(Bytes::from).as_ref());
        }
    }

    #[test]
    fn version_2_reads_what_version_2_wrote() {
        let text = br#"{"epoch":7,"input_ends":{"0/0":12,"1/2":3},"totals":{"rows_in":15,"rows_out":2,"rows_bad":0,"rows_late":1}}"#;
        let value = Bytes::from([&[2], text.as_slice()].concat());
        let read = ChangelogRecord::decode(Some(&Bytes::from_static(b"\x02C")), Some(&value)).unwrap();
        let expected = ChangelogRecord::Commit(Commit {
            epoch: Epoch(7),
            input_ends: InputOffsets::from([
                (InputPartition { source: 0, partition: 0 }, 12),
                (InputPartition { source: 1, partition: 2 }, 3),
            ]),
            totals: Totals { rows_in: 15, rows_out: 2, rows_bad: 0, rows_late: 1 },
            ..Commit::default()
        });
        assert_eq!(read, expected);
        assert_eq!(expected.encode().1, Some(value));
        assert!(matches!(
            ChangelogRecord::decode(Some(&Bytes::from_static(b"\x01C")), None),
            Err(ChangelogError::Version(1))
        ));
    }
}
