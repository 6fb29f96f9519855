//! Records of the metadata log, framed as Kafka frames them: frame version 1, record number, record version (all
//! unsigned varints), then the message.

use bytes::Bytes;
use ottla_protocol::messages::metadata_records::{
    AccessControlEntryRecord, BrokerRegistrationChangeRecord, ClientQuotaRecord, ConfigRecord,
    FeatureLevelRecord, PartitionChangeRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord,
    RemoveAccessControlEntryRecord, RemoveTopicRecord, RemoveUserScramCredentialRecord, TopicRecord,
    UnregisterBrokerRecord, UserScramCredentialRecord,
};
use ottla_protocol::wire::{DecodeError, EncodeError, Message, Reader, Writer};
use thiserror::Error;

const FRAME_VERSION: u32 = 1;

/// One change of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum MetadataRecord {
    /// A topic exists.
    Topic(TopicRecord),
    /// A partition exists, or is as described here from now on.
    Partition(PartitionRecord),
    /// Some of a partition is different from now on.
    PartitionChange(PartitionChangeRecord),
    /// A config value is set, or with a null value back at its default.
    Config(ConfigRecord),
    /// A topic, its partitions and its configs are gone.
    RemoveTopic(RemoveTopicRecord),
    /// Producer ids below this are given out.
    ProducerIds(ProducerIdsRecord),
    /// An access control entry exists.
    AccessControlEntry(AccessControlEntryRecord),
    /// An access control entry is gone.
    RemoveAccessControlEntry(RemoveAccessControlEntryRecord),
    /// A user has this credential.
    UserScramCredential(UserScramCredentialRecord),
    /// A user's credential is gone.
    RemoveUserScramCredential(RemoveUserScramCredentialRecord),
    /// A quota is set, or gone.
    ClientQuota(ClientQuotaRecord),
    /// A feature is at this level.
    FeatureLevel(FeatureLevelRecord),
    /// A broker is there.
    RegisterBroker(RegisterBrokerRecord),
    /// A broker is there no more.
    UnregisterBroker(UnregisterBrokerRecord),
    /// Some of a broker's registration is different from now on.
    BrokerRegistrationChange(BrokerRegistrationChangeRecord),
}

/// Why a stored record cannot be understood.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Its bytes are damaged.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is none of the changes of [`MetadataRecord`].
    #[error("the metadata record changes nothing here")]
    NoChange,
    /// It was written by a newer release.
    #[error("metadata record type {number} version {version} (frame {frame}) is unknown to this release")]
    Unknown {
        /// The frame's version.
        frame: u32,
        /// The record's number.
        number: u32,
        /// The record's version.
        version: u32,
    },
}

impl MetadataRecord {
    /// The record as it is stored.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        match self {
            MetadataRecord::RegisterBroker(message) => frame(0, 3, message),
            MetadataRecord::UnregisterBroker(message) => frame(1, 0, message),
            MetadataRecord::BrokerRegistrationChange(message) => frame(17, 2, message),
            MetadataRecord::Topic(message) => frame(2, 0, message),
            MetadataRecord::Partition(message) => frame(3, partition_version(message), message),
            MetadataRecord::Config(message) => frame(4, 0, message),
            MetadataRecord::PartitionChange(message) => frame(5, 2, message),
            MetadataRecord::RemoveTopic(message) => frame(9, 0, message),
            MetadataRecord::ProducerIds(message) => frame(15, 0, message),
            MetadataRecord::UserScramCredential(message) => frame(11, 0, message),
            MetadataRecord::FeatureLevel(message) => frame(12, 0, message),
            MetadataRecord::ClientQuota(message) => frame(14, 0, message),
            MetadataRecord::AccessControlEntry(message) => frame(18, 0, message),
            MetadataRecord::RemoveAccessControlEntry(message) => frame(19, 0, message),
            MetadataRecord::RemoveUserScramCredential(message) => frame(22, 0, message),
        }
    }

    /// Reads a stored change.
    pub fn decode(bytes: Bytes) -> Result<MetadataRecord, RecordError> {
        match Stored::decode(bytes)? {
            Stored::Change(change) => Ok(change),
            _ => Err(RecordError::NoChange),
        }
    }
}

/// A record as whoever replays the log sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stored {
    /// It changes the image.
    Change(MetadataRecord),
    /// What follows counts once the transaction ends (KIP-868).
    BeginTransaction,
    /// It counts.
    EndTransaction,
    /// It does not.
    AbortTransaction,
    /// Kafka keeps it, and it changes nothing here.
    LeftOut {
        /// What it is about, where somebody may miss its effect.
        kind: Option<&'static str>,
    },
}

impl Stored {
    /// Reads a stored record.
    pub fn decode(bytes: Bytes) -> Result<Stored, RecordError> {
        let mut reader = Reader::new(bytes);
        let frame = reader.unsigned_varint()?;
        let number = reader.unsigned_varint()?;
        let version = reader.unsigned_varint()?;
        let unknown = RecordError::Unknown { frame, number, version };
        let version = i16::try_from(version).unwrap_or(i16::MAX);
        if frame != FRAME_VERSION {
            return Err(unknown);
        }
        let left_out = |kind| Stored::LeftOut { kind };
        Ok(Stored::Change(match number {
            0 => MetadataRecord::RegisterBroker(body(&mut reader, version, unknown)?),
            1 => MetadataRecord::UnregisterBroker(body(&mut reader, version, unknown)?),
            17 => MetadataRecord::BrokerRegistrationChange(body(&mut reader, version, unknown)?),
            2 => MetadataRecord::Topic(body(&mut reader, version, unknown)?),
            3 => MetadataRecord::Partition(body(&mut reader, version, unknown)?),
            4 => MetadataRecord::Config(body(&mut reader, version, unknown)?),
            5 => MetadataRecord::PartitionChange(body(&mut reader, version, unknown)?),
            9 => MetadataRecord::RemoveTopic(body(&mut reader, version, unknown)?),
            11 => MetadataRecord::UserScramCredential(body(&mut reader, version, unknown)?),
            12 => MetadataRecord::FeatureLevel(body(&mut reader, version, unknown)?),
            14 => MetadataRecord::ClientQuota(body(&mut reader, version, unknown)?),
            15 => MetadataRecord::ProducerIds(body(&mut reader, version, unknown)?),
            18 => MetadataRecord::AccessControlEntry(body(&mut reader, version, unknown)?),
            19 => MetadataRecord::RemoveAccessControlEntry(body(&mut reader, version, unknown)?),
            22 => MetadataRecord::RemoveUserScramCredential(body(&mut reader, version, unknown)?),
            23 => return Ok(Stored::BeginTransaction),
            24 => return Ok(Stored::EndTransaction),
            25 => return Ok(Stored::AbortTransaction),
            10 | 26 => return Ok(left_out(Some("delegation tokens"))),
            // Brokers that were fenced as before Kafka 3.3, controllers that registered, nothing at all, the end of a migration from
            // ZooKeeper, and eligible leaders, of which a single replica has none.
            7 | 8 | 20 | 21 | 27 | 28 => return Ok(left_out(None)),
            _ => return Err(unknown),
        }))
    }
}

/// Eligible leaders are in no version before 2, which the metadata versions of older clusters do not have.
fn partition_version(message: &PartitionRecord) -> i16 {
    let tells_of_eligible = message.eligible_leader_replicas.is_some() || message.last_known_elr.is_some();
    if tells_of_eligible { 2 } else { 1 }
}

fn frame<M: Message>(number: u32, version: i16, message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.unsigned_varint(FRAME_VERSION);
    writer.unsigned_varint(number);
    writer.unsigned_varint(version as u32);
    message.encode(&mut writer, version)?;
    Ok(writer.finish_contiguous())
}

fn body<M: Message>(reader: &mut Reader, version: i16, unknown: RecordError) -> Result<M, RecordError> {
    if version < M::VERSIONS.0 || version > M::VERSIONS.1 {
        return Err(unknown);
    }
    Ok(M::decode(reader, version)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::messages::metadata_records::EntityData;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_round_trip(name in "[a-z]{0,20}", id in any::<u128>(), partition in any::<i32>(), next in any::<i64>()) {
            let topic_id = uuid::Uuid::from_u128(id);
            let records = [
                MetadataRecord::Topic(TopicRecord { name: name.as_str().into(), topic_id }),
                MetadataRecord::Partition(PartitionRecord {
                    partition_id: partition, topic_id, replicas: vec![1], isr: vec![1], leader: 1, ..Default::default()
                }),
                MetadataRecord::Partition(PartitionRecord {
                    partition_id: partition, topic_id, eligible_leader_replicas: Some(vec![]), ..Default::default()
                }),
                MetadataRecord::Config(ConfigRecord {
                    resource_type: 2, resource_name: name.as_str().into(), name: "a".into(), value: None,
                }),
                MetadataRecord::PartitionChange(PartitionChangeRecord {
                    partition_id: partition, topic_id, isr: Some(vec![1, 2]), leader: 2,
                    eligible_leader_replicas: Some(vec![]), ..Default::default()
                }),
                MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id }),
                MetadataRecord::ProducerIds(ProducerIdsRecord { next_producer_id: next, ..Default::default() }),
                MetadataRecord::AccessControlEntry(AccessControlEntryRecord {
                    id: topic_id, resource_name: name.as_str().into(), operation: 3, ..Default::default()
                }),
                MetadataRecord::RemoveAccessControlEntry(RemoveAccessControlEntryRecord { id: topic_id }),
                MetadataRecord::UserScramCredential(UserScramCredentialRecord {
                    name: name.as_str().into(), mechanism: 2, salt: Bytes::from_static(b"s"), iterations: 4096,
                    ..Default::default()
                }),
                MetadataRecord::RemoveUserScramCredential(RemoveUserScramCredentialRecord {
                    name: name.as_str().into(), mechanism: 1,
                }),
                MetadataRecord::RegisterBroker(RegisterBrokerRecord {
                    broker_id: partition, broker_epoch: next, incarnation_id: topic_id, log_dirs: vec![topic_id],
                    fenced: next > 0, ..Default::default()
                }),
                MetadataRecord::UnregisterBroker(UnregisterBrokerRecord { broker_id: partition, broker_epoch: next }),
                MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
                    broker_id: partition, broker_epoch: next, fenced: -1, ..Default::default()
                }),
                MetadataRecord::ClientQuota(ClientQuotaRecord {
                    entity: vec![EntityData { entity_type: "user".into(), entity_name: None }],
                    key: name.as_str().into(), value: partition.into(), remove: next > 0,
                }),
            ];
            for record in records {
                prop_assert_eq!(MetadataRecord::decode(record.encode().unwrap()).unwrap(), record);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Stored::decode(Bytes::from(bytes));
        }
    }
}
