//! Who votes, as a data directory remembers it: the snapshot that ends at offset 0, in which Kafka too puts the voters of a new
//! cluster (KIP-853). It is written once and stays.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use bytes::Bytes;
use ottla_protocol::messages::quorum_records::{
    KRaftVersionFeature, KRaftVersionRecord, RecordedVoter, VoterEndpoint, VotersRecord,
};
use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches, ControlType};
use ottla_protocol::wire::{EncodeError, Message, Reader, Writer};
use thiserror::Error;

use super::peers::PeerAddress;
use super::types::{LogEnd, ReplicaKey, Voters};
use crate::controller::SnapshotId;
use crate::ids::NodeId;
use crate::log::{LogError, create_dir_durably, sync_dir};

/// The version of the quorum's protocol in which voters have directories.
const KRAFT_VERSION: i16 = 1;
const LISTENER_NAME: &str = "CONTROLLER";
/// Bytes of one control record's batch.
const CONTROL_BYTES_MAX: usize = 1 << 20;

/// The voters cannot be written down.
#[derive(Debug, Error)]
pub enum VotersFileError {
    /// The file cannot be written or read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What it should say has no form.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// The voters that a metadata log's folder names; `None` where it names none, as that of a node which is alone.
pub(crate) fn load(dir: &Path) -> Result<Option<Voters>, LogError> {
    let path = SnapshotId::of(LogEnd::default()).file(dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("read", path)(error)),
    };
    let damaged =
        |reason: String| LogError::Corrupt { path: path.clone(), offset: Default::default(), reason };
    let (size, mut whole, mut is_ended, mut voters) = (bytes.len(), 0, false, None);
    for batch in Batches::new(bytes) {
        let batch = batch?;
        batch.check_crc()?;
        whole += batch.bytes.len();
        is_ended = batch.control_type() == Some(ControlType::SnapshotFooter);
        if batch.control_type() == Some(ControlType::Voters) {
            let record = batch.records(CONTROL_BYTES_MAX)?.next().transpose()?;
            let value = record.and_then(|record| record.value).unwrap_or_default();
            let record =
                VotersRecord::decode(&mut Reader::new(value), 0).map_err(|e| damaged(e.to_string()))?;
            let key = |voter: RecordedVoter| ReplicaKey {
                id: NodeId(voter.voter_id),
                directory: voter.voter_directory_id,
            };
            voters = Some(record.voters.into_iter().map(key).collect());
        }
    }
    // Without its end it may lack the voters, and a node that takes itself for the only one would lead alone.
    if whole != size || !is_ended {
        return Err(damaged(format!("no whole batch, and no end, at byte {whole}")));
    }
    Ok(voters)
}

/// Writes them into a metadata log's folder, which is made where it is missing; when this returns they are durable. Blocking.
pub(crate) fn save(
    dir: &Path,
    voters: &Voters,
    addresses: &[PeerAddress],
    now_ms: i64,
) -> Result<(), VotersFileError> {
    create_dir_durably(dir).map_err(LogError::io("create", dir))?;
    let path = SnapshotId::of(LogEnd::default()).file(dir);
    let part = path.with_extension("checkpoint.part");
    let mut header = vec![0, 0];
    header.extend(now_ms.to_be_bytes());
    header.push(0);
    let recorded = voters.iter().map(|voter| RecordedVoter {
        voter_id: voter.id.0,
        voter_directory_id: voter.directory,
        endpoints: endpoints(voter.id, addresses),
        k_raft_version_feature: KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: KRAFT_VERSION,
        },
    });
    let voters = VotersRecord { version: 0, voters: recorded.collect() };
    let version = KRaftVersionRecord { version: 0, k_raft_version: KRAFT_VERSION };
    let records = [
        (ControlType::SnapshotHeader, Bytes::from(header)),
        (ControlType::KRaftVersion, encoded(&version)?),
        (ControlType::Voters, encoded(&voters)?),
        (ControlType::SnapshotFooter, Bytes::from_static(&[0, 0, 0])),
    ];
    let mut file = File::create(&part).map_err(LogError::io("create", &part))?;
    for (base_offset, (kind, value)) in (0..).zip(records) {
        let options = BatchOptions { base_offset, leader_epoch: 0, ..BatchOptions::default() };
        let batch = BatchBuilder::control(now_ms, kind, &value, options);
        file.write_all(&batch).map_err(LogError::io("write", &part))?;
    }
    file.sync_all().map_err(LogError::io("sync", &part))?;
    fs::rename(&part, &path).map_err(LogError::io("rename", &path))?;
    Ok(sync_dir(dir)?)
}

fn endpoints(id: NodeId, addresses: &[PeerAddress]) -> Vec<VoterEndpoint> {
    let of_voter = addresses.iter().filter(|address| address.id == id);
    of_voter
        .map(|address| VoterEndpoint {
            name: LISTENER_NAME.into(),
            host: address.host.as_str().into(),
            port: address.port,
        })
        .collect()
}

fn encoded<M: Message>(message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, 0)?;
    Ok(writer.finish_contiguous())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn voters_are_remembered(ids in proptest::collection::btree_map(0..99i32, any::<u128>(), 1..6)) {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path().join("__cluster_metadata-0");
            prop_assert_eq!(load(&dir).unwrap(), None);
            let key = |(id, directory): (&i32, &u128)| ReplicaKey { id: NodeId(*id), directory: Uuid::from_u128(*directory) };
            let voters: Voters = ids.iter().map(key).collect();
            let addresses = [PeerAddress { id: NodeId(1), host: "host".to_owned(), port: 9093 }];
            save(&dir, &voters, &addresses, 7).unwrap();
            prop_assert_eq!(load(&dir).unwrap(), Some(voters));
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let voters: Voters =
            [ReplicaKey { id: NodeId(1), directory: Uuid::from_u128(5) }].into_iter().collect();
        save(dir.path(), &voters, &[], 7).unwrap();
        let path = SnapshotId::of(LogEnd::default()).file(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(load(dir.path()).is_err());
    }
}
