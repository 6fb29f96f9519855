//! Who voted when the cluster was formed, as a data directory remembers it: the snapshot that ends at offset 0, in which Kafka too puts
//! them (KIP-853). It is written once and stays; who votes since is in the log and in later snapshots.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches, ControlType};
use ottla_protocol::wire::EncodeError;
use thiserror::Error;

use super::types::{LogEnd, Voters};
use super::voters_record::{version_value, voters_in, voters_value};
use crate::controller::SnapshotId;
use crate::log::{LogError, create_dir_durably, sync_dir};

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

/// How a metadata log's folder begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// As that of a node which is alone: nothing is said of voters.
    Alone,
    /// With these voters: as the cluster was formed.
    Formed(Voters),
    /// The node has joined a cluster, and the log says who votes.
    Joined,
}

/// Reads how a metadata log's folder begins. Blocking.
pub(crate) fn load(dir: &Path) -> Result<Begin, LogError> {
    let path = SnapshotId::of(LogEnd::default()).file(dir);
    if !path.exists() {
        return Ok(Begin::Alone);
    }
    Ok(voters_of_snapshot(&path)?.map_or(Begin::Joined, Begin::Formed))
}

/// The voters that a snapshot names, if it does. Blocking.
pub(crate) fn voters_of_snapshot(path: &Path) -> Result<Option<Voters>, LogError> {
    let bytes = Bytes::from(fs::read(path).map_err(LogError::io("read", path))?);
    let (size, mut whole, mut is_ended, mut voters) = (bytes.len(), 0, false, None);
    for batch in Batches::new(bytes) {
        let batch = batch?;
        batch.check_crc()?;
        whole += batch.bytes.len();
        is_ended = batch.control_type() == Some(ControlType::SnapshotFooter);
        if let Some((_, found)) = voters_in(&batch)? {
            voters = Some(found);
        }
    }
    // Without its end it may lack the voters, and a node that takes itself for the only one would lead alone.
    if whole != size || !is_ended {
        let reason = format!("no whole batch, and no end, at byte {whole}");
        return Err(LogError::Corrupt { path: path.to_owned(), offset: Default::default(), reason });
    }
    Ok(voters)
}

/// Writes them, or that the node has joined a cluster, into a metadata log's folder, which is made where it is missing; when this returns they are durable. Blocking.
pub(crate) fn save(dir: &Path, voters: Option<&Voters>, now_ms: i64) -> Result<(), VotersFileError> {
    create_dir_durably(dir).map_err(LogError::io("create", dir))?;
    let path = SnapshotId::of(LogEnd::default()).file(dir);
    let part = path.with_extension("checkpoint.part");
    let mut header = vec![0, 0];
    header.extend(now_ms.to_be_bytes());
    header.push(0);
    let mut records = vec![
        (ControlType::SnapshotHeader, Bytes::from(header)),
        (ControlType::KRaftVersion, version_value()?),
    ];
    if let Some(voters) = voters {
        records.push((ControlType::Voters, voters_value(voters)?));
    }
    records.push((ControlType::SnapshotFooter, Bytes::from_static(&[0, 0, 0])));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::types::ReplicaKey;
    use super::super::voters_record::tests::voters;
    use super::*;
    use crate::ids::NodeId;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn voters_are_remembered(voters in voters()) {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path().join("__cluster_metadata-0");
            prop_assert_eq!(load(&dir).unwrap(), Begin::Alone);
            save(&dir, None, 7).unwrap();
            prop_assert_eq!(load(&dir).unwrap(), Begin::Joined);
            save(&dir, Some(&voters), 7).unwrap();
            prop_assert_eq!(load(&dir).unwrap(), Begin::Formed(voters));
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let voters: Voters =
            [ReplicaKey { id: NodeId(1), directory: Uuid::from_u128(5) }].into_iter().collect();
        save(dir.path(), Some(&voters), 7).unwrap();
        let path = SnapshotId::of(LogEnd::default()).file(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(load(dir.path()).is_err());
    }
}
