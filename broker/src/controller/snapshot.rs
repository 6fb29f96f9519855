//! Snapshots of the metadata (KIP-630): the image below an offset as records, in a file of Kafka's form. The log below a
//! snapshot is superfluous, so that a start reads little however long the cluster has lived.
//!
//! ```text
//!   <end offset, 20 digits>-<epoch, 10 digits>.checkpoint
//!   | control batches: SnapshotHeader, KRaftVersion, Voters | batches of records … | control batch: SnapshotFooter |
//! ```
//! It is written as `….checkpoint.part`, synced, and renamed: what has the name is whole. Two are kept, and the log from
//! the end of the older one on, so that damage to the newest loses nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches, ControlType};
use ottla_protocol::wire::EncodeError;
use thiserror::Error;

use super::records::MetadataRecord;
use crate::ids::{LeaderEpoch, Offset};
use crate::log::{LogError, sync_dir};
use crate::quorum::{Epoch, LogEnd, Voters, version_value, voters_value};

/// Bytes of records after which a batch of a snapshot ends.
const BATCH_BYTES: usize = 1 << 20;
/// Snapshots that stay.
const KEPT: usize = 2;
const SUFFIX: &str = ".checkpoint";
const PART_SUFFIX: &str = ".checkpoint.part";
const FETCHED_SUFFIX: &str = ".checkpoint.fetched";

/// Why a snapshot was not written.
#[derive(Debug, Error)]
pub(super) enum SnapshotError {
    /// Its file cannot be.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record cannot be stored.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Which part of the log a snapshot stands for. The order is that of age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SnapshotId {
    /// The first offset that is not part of it.
    pub end: Offset,
    /// Of the last record that is.
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// That which ends where a log does.
    pub fn of(end: LogEnd) -> SnapshotId {
        SnapshotId { end: end.offset, epoch: LeaderEpoch(end.epoch.0) }
    }

    /// Where it ends.
    pub fn log_end(self) -> LogEnd {
        LogEnd { epoch: Epoch(self.epoch.0), offset: self.end }
    }

    /// Its file.
    pub fn file(self, dir: &Path) -> PathBuf {
        self.path(dir, SUFFIX)
    }

    /// Where it is kept while it comes from another node.
    pub fn fetched_path(self, dir: &Path) -> PathBuf {
        self.path(dir, FETCHED_SUFFIX)
    }

    /// Makes one that has come whole from another node one of this node's, durably. Blocking.
    pub fn install(self, dir: &Path, fetched: &Path) -> Result<(), LogError> {
        let bytes = Bytes::from(fs::read(fetched).map_err(LogError::io("read", fetched))?);
        let (size, mut whole, mut is_ended) = (bytes.len(), 0, false);
        for batch in Batches::new(bytes) {
            let batch = batch?;
            batch.check_crc()?;
            whole += batch.bytes.len();
            is_ended = batch.control_type() == Some(ControlType::SnapshotFooter);
        }
        if whole != size || !is_ended {
            return Err(LogError::Invalid("the snapshot of another node has no end"));
        }
        let path = self.file(dir);
        fs::rename(fetched, &path).map_err(LogError::io("rename", &path))?;
        sync_dir(dir)
    }

    fn path(self, dir: &Path, suffix: &str) -> PathBuf {
        dir.join(format!("{:020}-{:010}{suffix}", self.end.0, self.epoch.0))
    }

    fn of_name(name: &str) -> Option<SnapshotId> {
        let (end, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let is_number =
            |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(end, 20) || !is_number(epoch, 10) {
            return None;
        }
        Some(SnapshotId { end: Offset(end.parse().ok()?), epoch: LeaderEpoch(epoch.parse().ok()?) })
    }
}

/// The snapshots of a folder with their files, the newest first.
pub(crate) fn snapshots_in(dir: &Path) -> Result<Vec<(SnapshotId, PathBuf)>, LogError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        if let Some(id) = path.file_name().and_then(|name| name.to_str()).and_then(SnapshotId::of_name) {
            found.push((id, path));
        }
    }
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    Ok(found)
}

/// Removes what a stop has left of snapshots that were on their way from another node. Blocking; at a start.
pub(crate) fn remove_fetched(dir: &Path) -> Result<(), LogError> {
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        if path.to_string_lossy().ends_with(FETCHED_SUFFIX) {
            fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Writes a snapshot, with who votes where that is recorded; when this returns it is durable. `last_record_ms` is the time of the last record that it stands
/// for, milliseconds since the epoch. Blocking.
pub(super) fn write_snapshot(
    dir: &Path,
    id: SnapshotId,
    records: &[MetadataRecord],
    voters: Option<&Voters>,
    last_record_ms: i64,
) -> Result<(), SnapshotError> {
    let (part, path) = (id.path(dir, PART_SUFFIX), id.path(dir, SUFFIX));
    let mut file = File::create(&part).map_err(LogError::io("create", &part))?;
    let mut options = BatchOptions { leader_epoch: id.epoch.0, ..BatchOptions::default() };
    let mut write = |batch: &[u8]| file.write_all(batch).map_err(LogError::io("write", &part));

    // Version 0 of both messages: the version once more, the time, no tagged fields.
    let mut header = vec![0, 0];
    header.extend(last_record_ms.to_be_bytes());
    header.push(0);
    write(&BatchBuilder::control(last_record_ms, ControlType::SnapshotHeader, &header, options))?;
    options.base_offset += 1;
    if let Some(voters) = voters {
        let records =
            [(ControlType::KRaftVersion, version_value()?), (ControlType::Voters, voters_value(voters)?)];
        for (kind, value) in records {
            write(&BatchBuilder::control(last_record_ms, kind, &value, options))?;
            options.base_offset += 1;
        }
    }
    let mut builder = BatchBuilder::default();
    for (place, record) in records.iter().enumerate() {
        builder.push(last_record_ms, None, Some(&record.encode()?), &[]);
        if builder.size() >= BATCH_BYTES || place + 1 == records.len() {
            let count = i64::from(builder.record_count());
            write(&std::mem::take(&mut builder).build(options))?;
            options.base_offset += count;
        }
    }
    write(&BatchBuilder::control(last_record_ms, ControlType::SnapshotFooter, &[0, 0, 0], options))?;
    file.sync_all().map_err(LogError::io("sync", &part))?;
    fs::rename(&part, &path).map_err(LogError::io("rename", &path))?;
    Ok(sync_dir(dir)?)
}

/// Removes superfluous snapshots, and what a crash has left of unfinished ones. Gives the older of those that stay, whose end
/// is where the log is still needed from. Blocking; nobody may be writing one.
pub(super) fn prune_snapshots(dir: &Path) -> Result<Option<SnapshotId>, LogError> {
    let mut found = snapshots_in(dir)?;
    // What ends at the beginning names the voters, and is no image.
    found.retain(|(id, _)| id.end > Offset::ZERO);
    for (_, path) in found.iter().skip(KEPT) {
        fs::remove_file(path).map_err(LogError::io("remove", path))?;
    }
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(PART_SUFFIX)) {
            fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
        }
    }
    Ok(found.get(KEPT - 1).map(|(id, _)| *id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(end: i64) -> SnapshotId {
        SnapshotId { end: Offset(end), epoch: LeaderEpoch(3) }
    }

    #[test]
    fn names_are_kafkas_and_what_is_unfinished_has_none() {
        let path = id(42).path(Path::new("m"), SUFFIX);
        assert_eq!(path, Path::new("m/00000000000000000042-0000000003.checkpoint"));
        assert_eq!(SnapshotId::of_name("00000000000000000042-0000000003.checkpoint"), Some(id(42)));
        for other in [
            "00000000000000000042-0000000003.checkpoint.part",
            "42-3.checkpoint",
            "bootstrap.checkpoint",
            "00000000000000000042.log",
        ] {
            assert_eq!(SnapshotId::of_name(other), None, "{other}");
        }
    }

    #[test]
    fn two_stay_and_the_log_from_the_older_ones_end_on() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(prune_snapshots(dir.path()).unwrap(), None);
        for end in [5, 90, 17] {
            write_snapshot(dir.path(), id(end), &[], None, 1).unwrap();
            fs::write(id(end).path(dir.path(), PART_SUFFIX), "half").unwrap();
        }
        assert_eq!(prune_snapshots(dir.path()).unwrap(), Some(id(17)));
        let left: Vec<_> = snapshots_in(dir.path()).unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(left, [id(90), id(17)]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
