//! How transactional ids lie in `__transaction_state`: in Kafka's own format, so that Kafka's tools read our data
//! directory and we read Kafka's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::messages::transaction_records::TransactionLogPartitions;
use ottla_protocol::messages::{TransactionLogKey, TransactionLogValue};
use ottla_protocol::{DecodeError, EncodeError, Message, Reader, Str, Writer};

use super::metadata::{NO_EPOCH, TransactionMetadata, TransactionState, TransactionVersion, TransactionalId};
use crate::ids::{Producer, TopicPartition};
use crate::machine::WallMs;

const KEY_VERSION: i16 = 0;
/// With tagged fields for what version 2 of transactions needs.
const VALUE_VERSION: i16 = 1;

/// An id and how it stands; `None` once it is forgotten.
pub type Decoded = (TransactionalId, Option<Arc<TransactionMetadata>>);

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A record of this log always has a key.
    #[error("the record has no key")]
    NoKey,
    /// The key or the value does not parse.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// There is no such state.
    #[error("{0} is no state of a transaction")]
    UnknownState(i8),
}

/// Key and value of a record.
///
/// # Errors
/// When a text is longer than the format can say (32,767 bytes).
pub fn encode(
    id: &TransactionalId,
    value: Option<&TransactionMetadata>,
) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    let key = with_version(KEY_VERSION, &TransactionLogKey { transactional_id: id.as_str().into() })?;
    let value = value.map(|value| with_version(VALUE_VERSION, &to_value(value))).transpose()?;
    Ok((key, value))
}

/// Reads a record of the log; `None` when its key is of a kind that this version does not know.
///
/// # Errors
/// When it is not what its key's version promises.
pub fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Option<Decoded>, RecordError> {
    let mut key = Reader::new(key.ok_or(RecordError::NoKey)?);
    let version = key.i16()?;
    if version != KEY_VERSION {
        return Ok(None);
    }
    let key = TransactionLogKey::decode(&mut key, version)?;
    let value = value.map(|value| {
        let mut value = Reader::new(value);
        let version = value.i16()?;
        from_value(TransactionLogValue::decode(&mut value, version)?).map(Arc::new)
    });
    Ok(Some((TransactionalId::from(&*key.transactional_id), value.transpose()?)))
}

fn with_version(version: i16, message: &impl Message) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(version);
    message.encode(&mut writer, version)?;
    Ok(writer.finish_contiguous())
}

fn to_value(metadata: &TransactionMetadata) -> TransactionLogValue {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &metadata.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partition_ids)| TransactionLogPartitions { topic: Str::from(topic), partition_ids });
    TransactionLogValue {
        producer_id: metadata.producer.id,
        previous_producer_id: metadata.previous_producer_id,
        next_producer_id: metadata.next_producer_id,
        producer_epoch: metadata.producer.epoch,
        next_producer_epoch: NO_EPOCH,
        transaction_timeout_ms: i32::try_from(metadata.timeout.as_millis()).unwrap_or(i32::MAX),
        transaction_status: metadata.state.code(),
        // As Kafka: where nothing has begun there is no list.
        transaction_partitions: (metadata.state != TransactionState::Empty).then(|| topics.collect()),
        transaction_last_update_timestamp_ms: metadata.updated_at.0,
        transaction_start_timestamp_ms: metadata.started_at.0,
        client_transaction_version: metadata.client_version.0,
    }
}

fn from_value(value: TransactionLogValue) -> Result<TransactionMetadata, RecordError> {
    let state = TransactionState::from_code(value.transaction_status)
        .ok_or(RecordError::UnknownState(value.transaction_status))?;
    let topics = value.transaction_partitions.unwrap_or_default();
    let partitions = topics.iter().flat_map(|topic| {
        topic.partition_ids.iter().map(|partition| TopicPartition::new(&*topic.topic, *partition))
    });
    Ok(TransactionMetadata {
        producer: Producer { id: value.producer_id, epoch: value.producer_epoch },
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        last_epoch: NO_EPOCH,
        timeout: Duration::from_millis(u64::try_from(value.transaction_timeout_ms).unwrap_or(0)),
        state,
        partitions: partitions.collect(),
        started_at: WallMs(value.transaction_start_timestamp_ms),
        updated_at: WallMs(value.transaction_last_update_timestamp_ms),
        client_version: TransactionVersion(value.client_transaction_version),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_state_of_an_id_round_trips(
            id in "[a-z.]{1,20}",
            producer in (0i64.., 0i16..),
            others in (-1i64..9, -1i64..9),
            timeout_ms in 1u64..100_000,
            state in 1i8..8,
            partitions in proptest::collection::btree_set(("[a-z]{1,5}", 0i32..9), 0..8),
            times in (-1i64.., -1i64..),
            version in 0i16..3,
        ) {
            let partitions = partitions.into_iter().map(|(topic, partition)| TopicPartition::new(topic, partition));
            let metadata = TransactionMetadata {
                producer: Producer { id: producer.0, epoch: producer.1 },
                previous_producer_id: others.0,
                next_producer_id: others.1,
                last_epoch: NO_EPOCH,
                timeout: Duration::from_millis(timeout_ms),
                state: TransactionState::from_code(state).unwrap(),
                partitions: partitions.collect(),
                started_at: WallMs(times.0),
                updated_at: WallMs(times.1),
                client_version: TransactionVersion(version),
            };
            let id = TransactionalId::from(id.as_str());
            let (key, value) = encode(&id, Some(&metadata)).unwrap();
            prop_assert_eq!(decode(Some(key), value).unwrap(), Some((id, Some(Arc::new(metadata)))));
        }

        #[test]
        fn random_bytes_never_panic(
            kind in 0u8..2,
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        ) {
            let mut with_kind = vec![0, kind];
            with_kind.extend(&key);
            let _ = decode(Some(Bytes::from(with_kind)), value.map(Bytes::from));
        }
    }

    #[test]
    fn a_tombstone_forgets_its_id_and_a_newer_kind_is_left_alone() {
        let id = TransactionalId::from("a");
        let (key, value) = encode(&id, None).unwrap();
        assert_eq!(decode(Some(key), value).unwrap(), Some((id, None)));
        assert_eq!(decode(Some(Bytes::from_static(&[0, 1, 0, 0])), None).unwrap(), None);
    }
}
