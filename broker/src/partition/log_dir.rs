//! A log dir: the folder that holds partitions' folders, its identity, lock and checkpoints, and what it takes to
//! open all of them after a clean or an unclean stop.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::histogram::Histogram;
use uuid::Uuid;

use super::Opening;
use super::committer::Committer;
use super::handle::Partition;
use super::housekeeping::HousekeepingConfig;
use super::log_dir_error::LogDirError;
use super::meta_properties::Identity;
use super::owner::Place;
use super::points::{Checkpoints, Points};
use crate::ids::{NodeId, Offset, TopicPartition};
use crate::log::{
    Known, LogConfig, LogError, MovedName, PartitionLog, create_dir_durably, finish_move, sync_dir,
    write_file_durably,
};

const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const LOCK: &str = ".lock";
/// How the names of folders end that are to be removed.
const LEFTOVER: &str = "-delete";

/// An open log dir. Its lock is held until it is dropped.
pub struct LogDir {
    path: PathBuf,
    /// The id of the cluster that the directory belongs to.
    pub cluster_id: String,
    /// The id of the directory itself (KIP-858).
    pub directory_id: Uuid,
    committer: Committer,
    was_clean: bool,
    clean_epoch: Option<Offset>,
    /// Partitions that had a folder when the directory was opened.
    found: HashSet<TopicPartition>,
    /// Copies that were on their way here then.
    copies: Vec<MovedName>,
    /// The names of folders that are to be removed.
    leftovers: HashSet<String>,
    checkpoints: Arc<Checkpoints>,
    housekeeping: HousekeepingConfig,
    next_key: AtomicU64,
    lock: File,
}

impl LogDir {
    /// Opens or creates the directory and takes its lock. A new one becomes part of `cluster`, an old one must be; where
    /// none is named a new one begins a cluster of its own. `sync_seconds` hears how long group commits take.
    pub fn open(
        path: &Path,
        node_id: NodeId,
        cluster: Option<&str>,
        housekeeping: HousekeepingConfig,
        sync_seconds: Histogram,
    ) -> Result<LogDir, LogDirError> {
        let unusable = |source| LogDirError::Unusable { path: path.to_owned(), source };
        create_dir_durably(path).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(unusable)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| LogDirError::Locked { path: path.to_owned() })?;
        let is_new = !Identity::exists(path);
        let Identity { cluster_id, directory_id } = Identity::of(path, node_id, cluster)?;
        let clean_marker = path.join(CLEAN_SHUTDOWN);
        let was_clean = clean_marker.exists();
        let mut clean_epoch = None;
        if was_clean {
            clean_epoch = fs::read(&clean_marker).ok().and_then(|marker| epoch_of(&marker));
            // From here on a crash is a crash, so the removal must outlive one.
            fs::remove_file(&clean_marker).map_err(unusable)?;
            sync_dir(path)?;
        } else if !is_new {
            // A killed process leaves records in the page cache that no disk has; what recovery reads is served as
            // durable, so it is made so first.
            sync_file_system(&lock).map_err(unusable)?;
        }
        let (mut found, mut copies, mut leftovers) = (HashSet::new(), Vec::new(), HashSet::new());
        for name in folders(path)? {
            if let Some(partition) = TopicPartition::parse(&name) {
                found.insert(partition);
            } else if let Some(copy) = MovedName::parse_future(&name) {
                copies.push(copy);
            } else if name.ends_with(LEFTOVER) {
                leftovers.insert(name);
            }
        }
        Ok(LogDir {
            path: path.to_owned(),
            cluster_id,
            directory_id,
            committer: Committer::start(sync_seconds).map_err(unusable)?,
            was_clean,
            clean_epoch,
            found,
            copies,
            leftovers,
            checkpoints: Arc::new(Checkpoints::load(path)),
            housekeeping,
            next_key: AtomicU64::new(0),
            lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a partition, creating it when it is new, and starts its owner. Blocking: recovery may read much.
    pub(super) fn open_partition(
        &self,
        name: TopicPartition,
        config: Arc<LogConfig>,
        mut opening: Opening,
    ) -> Result<Partition, LogError> {
        let log = self.open_log(&name, config)?;
        let place = self.place_of(name.clone());
        // The epochs of a log never go back, whoever wrote it.
        if let Some(latest) = log.leader_epochs().latest()
            && latest > opening.assignment.leader_epoch
        {
            Arc::make_mut(&mut opening.assignment).leader_epoch = latest;
        }
        Ok(Partition::start(name, place, log, opening, self.housekeeping.clone()))
    }

    /// What the owner of a partition in this dir works with.
    pub(super) fn place_of(&self, name: TopicPartition) -> Place {
        Place {
            key: self.next_key.fetch_add(1, Ordering::Relaxed),
            committer: self.committer.clone(),
            points: Points::new(name, self.checkpoints.clone()),
        }
    }

    /// Opens the log of a partition; nothing may write to it.
    pub(super) fn open_log(
        &self,
        name: &TopicPartition,
        config: Arc<LogConfig>,
    ) -> Result<PartitionLog, LogError> {
        let known = self.known(name);
        let trusted_to = known.trusted_to.filter(|_| !self.was_clean);
        let dir = self.path.join(name.to_string());
        if let Some(end) = known.trusted_to.filter(|end| *end > Offset::ZERO)
            && !dir.exists()
        {
            let reason = format!("the folder is missing, although it held records up to {end}");
            return Err(LogError::Corrupt { path: dir, offset: end, reason });
        }
        PartitionLog::open(&dir, config, Known { trusted_to, ..known })
    }

    /// What is remembered of a partition's log; the end of it after a clean stop.
    pub(super) fn known(&self, name: &TopicPartition) -> Known {
        Points::new(name.clone(), self.checkpoints.clone()).known()
    }

    /// Whether a partition was closed by a clean stop and not touched since, so that it need not be opened to know
    /// that it is whole.
    pub(super) fn was_closed_clean(&self, name: &TopicPartition) -> bool {
        self.was_clean && self.found.contains(name) && self.checkpoints.has_recovery_point(name)
    }

    /// Whether a partition had a folder here when the directory was opened.
    pub(super) fn has_found(&self, name: &TopicPartition) -> bool {
        self.found.contains(name)
    }

    /// Copies that were on their way here when the directory was opened.
    pub(super) fn copies(&self) -> &[MovedName] {
        &self.copies
    }

    /// Whether this folder was to be removed then.
    pub(super) fn has_leftover(&self, name: &str) -> bool {
        self.leftovers.contains(name)
    }

    /// Whether one was of a partition, which had moved away or been deleted.
    pub(super) fn leftover_of(&self, name: &TopicPartition) -> Option<PathBuf> {
        let found = self.leftovers.iter().find(|leftover| leftover_name(leftover).as_ref() == Some(name));
        found.map(|leftover| self.path.join(leftover))
    }

    /// Gives a copy the place that is due to it.
    pub(super) fn finish_move(&mut self, copy: &MovedName) -> Result<(), LogError> {
        let to = self.path.join(copy.partition.to_string());
        finish_move(&self.path.join(copy.future()), &to)?;
        self.found.insert(copy.partition.clone());
        Ok(())
    }

    /// Partitions that have a folder here.
    pub fn partitions_on_disk(&self) -> Result<Vec<TopicPartition>, LogError> {
        Ok(folders(&self.path)?.iter().filter_map(|name| TopicPartition::parse(name)).collect())
    }

    /// Removes folders of partitions that were deleted or moved away, but those of partitions that `is_lost`: it may be
    /// the only copy.
    pub fn remove_leftovers(&self, is_lost: impl Fn(&TopicPartition) -> bool) -> Result<(), LogError> {
        for name in &self.leftovers {
            if leftover_name(name).is_some_and(|partition| is_lost(&partition)) {
                continue;
            }
            let path = self.path.join(name);
            fs::remove_dir_all(&path).map_err(LogError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Writes what the next start must know of the partitions, if it changed. Blocking; called every few seconds and at
    /// the end.
    pub fn save_checkpoints(&self) -> Result<(), LogError> {
        self.checkpoints.save()
    }

    /// Forgets what is remembered of partitions that are gone, durably: a later topic of the same name must not be
    /// trusted up to where an earlier one was. Blocking.
    pub fn keep_checkpoints(&self, is_there: impl Fn(&TopicPartition) -> bool) -> Result<(), LogError> {
        self.checkpoints.keep(is_there);
        self.checkpoints.save()
    }

    /// The epoch with which the broker was registered in its last run, where that was stopped in good order.
    pub(super) fn clean_epoch(&self) -> Option<Offset> {
        self.clean_epoch
    }

    /// Leaves word for the next start that every log was closed, once all that closing wrote is on the disk; with the epoch with
    /// which the broker was registered, if it was.
    pub fn mark_clean(&self, epoch: Option<Offset>) -> Result<(), LogError> {
        sync_file_system(&self.lock).map_err(LogError::io("sync", &self.path))?;
        let epoch = epoch.map_or(-1, |epoch| epoch.0);
        let marker = format!("{{\"version\":0,\"brokerEpoch\":{epoch}}}");
        write_file_durably(&self.path.join(CLEAN_SHUTDOWN), marker.as_bytes())
    }

    /// Gives the lock back: tasks that still hold this value have nothing left to write.
    pub fn unlock(&self) -> Result<(), LogError> {
        rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock)
            .map_err(|errno| LogError::io("unlock", self.path.join(LOCK))(errno.into()))
    }
}

/// Total and usable bytes of a folder's file system.
pub fn space_of(dir: &Path) -> Option<(i64, i64)> {
    let found = rustix::fs::statvfs(dir).ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(found.f_frsize)).unwrap_or(i64::MAX);
    Some((bytes(found.f_blocks), bytes(found.f_bavail)))
}

/// The broker's epoch that a clean stop left word of; of version 0, as Kafka writes it.
fn epoch_of(marker: &[u8]) -> Option<Offset> {
    let marker: serde_json::Value = serde_json::from_slice(marker).ok()?;
    let epoch = marker.get("brokerEpoch")?.as_i64().filter(|epoch| *epoch >= 0)?;
    (marker.get("version")?.as_i64() == Some(0)).then_some(Offset(epoch))
}

/// The partition of a folder that is to be removed.
fn leftover_name(folder: &str) -> Option<TopicPartition> {
    let (partition, _) = folder.strip_suffix(LEFTOVER)?.rsplit_once('.')?;
    TopicPartition::parse(partition)
}

/// The names of the folders in a folder.
fn folders(path: &Path) -> Result<Vec<String>, LogError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(LogError::io("list", path))? {
        let entry = entry.map_err(LogError::io("list", path))?;
        // Without a look at each: the folder says what its entries are.
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// Makes everything durable that was written to the file system of a file.
fn sync_file_system(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(file)?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    Ok(())
}
