//! Voters as a control record has them (KIP-853): in the metadata log, and in its snapshots. Pure.

use bytes::Bytes;
use ottla_protocol::messages::quorum_records::{
    KRaftVersionFeature, KRaftVersionRecord, RecordedVoter, VoterEndpoint as RecordedEndpoint, VotersRecord,
};
use ottla_protocol::records::{Batch, BatchBuilder, BatchOptions, ControlType};
use ottla_protocol::wire::{EncodeError, Message, Reader, Writer};

use super::types::{ReplicaKey, Voter, VoterEndpoint, Voters};
use crate::ids::{NodeId, Offset};
use crate::log::LogError;

/// The version of the quorum's protocol in which voters have directories.
pub(super) const KRAFT_VERSION: i16 = 1;
/// Bytes of one control record's batch.
const CONTROL_BYTES_MAX: usize = 1 << 20;

/// Who votes by a batch, and where that is said; `None` where it is about something else. Kafka has several control records in one.
pub(crate) fn voters_in(batch: &Batch) -> Result<Option<(Offset, Voters)>, LogError> {
    if !batch.header.is_control() {
        return Ok(None);
    }
    let mut found = None;
    for record in batch.records(CONTROL_BYTES_MAX)? {
        let record = record?;
        if record.key.as_deref().and_then(ControlType::from_key) == Some(ControlType::Voters) {
            let value = record.value.unwrap_or_default();
            let voters = VotersRecord::decode(&mut Reader::new(value), 0)
                .map_err(|_| LogError::Invalid("a record of the quorum's voters cannot be read"))?;
            found = Some((Offset(record.offset), voters.voters.into_iter().map(voter).collect()));
        }
    }
    Ok(found)
}

fn voter(recorded: RecordedVoter) -> Voter {
    let endpoint = |endpoint: RecordedEndpoint| VoterEndpoint {
        listener: endpoint.name.to_string(),
        host: endpoint.host.to_string(),
        port: endpoint.port,
    };
    Voter {
        key: ReplicaKey { id: NodeId(recorded.voter_id), directory: recorded.voter_directory_id },
        endpoints: recorded.endpoints.into_iter().map(endpoint).collect(),
    }
}

/// A record of voters as it goes into the log, in one batch with the one that stands before the first.
pub(super) fn voters_batch(voters: &Voters, is_first: bool, now_ms: i64) -> Result<Bytes, EncodeError> {
    let value = voters_value(voters)?;
    if !is_first {
        return Ok(BatchBuilder::control(now_ms, ControlType::Voters, &value, BatchOptions::default()));
    }
    let mut builder = BatchBuilder::default();
    for (kind, value) in [(ControlType::KRaftVersion, version_value()?), (ControlType::Voters, value)] {
        // Version 0 of the key, then the type.
        let mut key = [0; 4];
        key[2..].copy_from_slice(&kind.code().to_be_bytes());
        builder.push(now_ms, Some(&key), Some(&value), &[]);
    }
    Ok(builder.build(BatchOptions { control: true, ..BatchOptions::default() }))
}

/// The value of a record of voters.
pub(crate) fn voters_value(voters: &Voters) -> Result<Bytes, EncodeError> {
    let endpoint = |endpoint: &VoterEndpoint| RecordedEndpoint {
        name: endpoint.listener.as_str().into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
    };
    let recorded = voters.recorded().map(|voter| RecordedVoter {
        voter_id: voter.key.id.0,
        voter_directory_id: voter.key.directory,
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        k_raft_version_feature: KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: KRAFT_VERSION,
        },
    });
    encoded(&VotersRecord { version: 0, voters: recorded.collect() })
}

/// The value of the record that stands before the first of voters.
pub(crate) fn version_value() -> Result<Bytes, EncodeError> {
    encoded(&KRaftVersionRecord { version: 0, k_raft_version: KRAFT_VERSION })
}

fn encoded<M: Message>(message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, 0)?;
    Ok(writer.finish_contiguous())
}

#[cfg(test)]
pub(super) mod tests {
    use ottla_protocol::records::Batches;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn endpoint() -> impl Strategy<Value = VoterEndpoint> {
        ("[A-Z_]{1,12}", "[a-z0-9.:-]{1,20}", any::<u16>()).prop_map(|(listener, host, port)| VoterEndpoint {
            listener,
            host,
            port,
        })
    }

    pub fn voters() -> impl Strategy<Value = Voters> {
        let endpoints = proptest::collection::vec(endpoint(), 0..3);
        proptest::collection::btree_map(0..99i32, (any::<u128>(), endpoints), 1..6).prop_map(|voters| {
            let voter = |(id, (directory, endpoints))| Voter {
                key: ReplicaKey { id: NodeId(id), directory: Uuid::from_u128(directory) },
                endpoints,
            };
            voters.into_iter().map(voter).collect()
        })
    }

    proptest! {
        #[test]
        fn voters_round_trip(voters in voters(), is_first: bool) {
            let batch = Batches::new(voters_batch(&voters, is_first, 7).unwrap()).next().unwrap().unwrap();
            prop_assert_eq!(batch.header.next_offset(), 1 + i64::from(is_first));
            prop_assert_eq!(voters_in(&batch).unwrap(), Some((Offset(i64::from(is_first)), voters)));
        }
    }
}
