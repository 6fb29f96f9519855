//! The place of one partition on this node: open, offline, or asleep.
//!
//! After a clean stop a partition sleeps until somebody asks for it: nothing of its folder was looked at, no task and no
//! file is open for it. That is safe because what would be learnt by opening is known: the stop made every log durable
//! and left its end in the checkpoint, the marker of the clean stop says that nothing happened since, and the folder is
//! there. It is opened, and its files are checked as at any start, before the first byte of it is served.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::handle::Partition;
use super::log_dir::LogDir;
use super::meta_properties::kafka_uuid;
use super::{IsrWanted, Opening};
use crate::ids::{Offset, TopicPartition};
use crate::log::{LogConfig, LogError, PartitionLog, file_extent, path_aside, write_file_durably};
use crate::replica::LeaderAndIsr;

/// The file in a partition's folder that says which topic it belongs to (KIP-516).
const PARTITION_METADATA: &str = "partition.metadata";

/// What can be told of a partition without waking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// Which.
    pub name: TopicPartition,
    /// Bytes of its log.
    pub size_bytes: u64,
    /// Its first offset.
    pub log_start: Offset,
    /// The offset of its next record.
    pub log_end: Offset,
    /// Records below this may be read.
    pub high_watermark: Offset,
    /// The id of the log dir that it is in.
    pub directory_id: Uuid,
    /// Its owner has ended, so it is not served any more.
    pub is_closed: bool,
}

pub(super) struct Slot {
    /// `None` where it is in a log dir that cannot be used.
    dir: ArcSwapOption<LogDir>,
    topic_id: Uuid,
    /// What the cluster has decided.
    assignment: ArcSwap<LeaderAndIsr>,
    proposals: mpsc::UnboundedSender<IsrWanted>,
    /// Unset while it sleeps; `None` when it cannot be served.
    partition: OnceLock<Option<Partition>>,
    /// Held by whoever works with the files of a sleeping partition.
    waking: Mutex<()>,
    /// Of a sleeping one, by its files.
    state: OnceLock<Box<PartitionState>>,
    /// Before this nothing is due for a sleeping one, milliseconds since the epoch.
    quiet_until_ms: AtomicI64,
}

impl Slot {
    /// A partition that sleeps in a log dir; offline where that cannot be used.
    pub fn asleep(
        dir: Option<Arc<LogDir>>,
        topic_id: Uuid,
        assignment: Arc<LeaderAndIsr>,
        proposals: mpsc::UnboundedSender<IsrWanted>,
    ) -> Slot {
        let partition = OnceLock::new();
        if dir.is_none() {
            let _ = partition.set(None);
        }
        Slot {
            dir: ArcSwapOption::new(dir),
            topic_id,
            assignment: ArcSwap::new(assignment),
            proposals,
            partition,
            waking: Mutex::default(),
            state: OnceLock::new(),
            quiet_until_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// The partition, when it is open.
    pub fn open(&self) -> Option<&Partition> {
        self.partition.get().and_then(Option::as_ref)
    }

    /// Whether it is neither open nor offline.
    pub fn is_asleep(&self) -> bool {
        self.partition.get().is_none()
    }

    /// Whether it was tried and cannot be served.
    pub fn is_offline(&self) -> bool {
        matches!(self.partition.get(), Some(None))
    }

    fn waking(&self) -> MutexGuard<'_, ()> {
        self.waking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the partition unless that was done. Blocking. The error comes once, to whoever was first.
    pub fn wake(&self, name: TopicPartition, config: &Arc<LogConfig>) -> Result<Option<Partition>, LogError> {
        let _turn = self.waking();
        if let Some(known) = self.partition.get() {
            return Ok(known.clone());
        }
        let assignment = self.assignment.load_full();
        let opened = self.open_files(name, config, assignment.clone());
        let _ = self.partition.set(opened.as_ref().ok().cloned());
        // The cluster may have decided anew while the partition was not yet there to be told.
        let now = self.assignment.load_full();
        if let Ok(partition) = &opened
            && !Arc::ptr_eq(&now, &assignment)
        {
            partition.assign(now);
        }
        opened.map(Some)
    }

    /// What the cluster has decided about the partition.
    pub fn leader_and_isr(&self) -> Arc<LeaderAndIsr> {
        self.assignment.load_full()
    }

    /// Whether the partition is to be fetched from another node.
    pub fn follows(&self) -> bool {
        let assignment = self.assignment.load();
        !assignment.leads() && assignment.replicas.contains(&assignment.me)
    }

    /// The cluster has decided anew.
    pub fn assign(&self, assignment: Arc<LeaderAndIsr>) {
        self.assignment.store(assignment.clone());
        if let Some(partition) = self.open() {
            partition.assign(assignment);
        }
    }

    fn open_files(
        &self,
        name: TopicPartition,
        config: &Arc<LogConfig>,
        assignment: Arc<LeaderAndIsr>,
    ) -> Result<Partition, LogError> {
        let log_dir = self.dir().ok_or(LogError::Abandoned)?;
        let dir = log_dir.path().join(name.to_string());
        let file = dir.join(PARTITION_METADATA);
        let id = kafka_uuid(self.topic_id);
        let stored_id = stored_topic_id(&file);
        if stored_id.as_ref().is_some_and(|stored| is_of_another(stored, &id)) {
            set_aside(&dir)?;
            // What is remembered is of the other one too.
            log_dir.keep_checkpoints(|known| *known != name)?;
        }
        let opening = Opening { topic_id: self.topic_id, assignment, proposals: self.proposals.clone() };
        let partition = log_dir.open_partition(name, config.clone(), opening)?;
        if stored_id.is_none_or(|stored| stored != id) {
            // Durable: a folder that does not say whose it is could be served as a later topic's.
            let text = format!("version: 0\ntopic_id: {id}");
            write_file_durably(&file, text.as_bytes())?;
        }
        Ok(partition)
    }

    /// What there is to tell. Blocking: the files of a sleeping partition are looked at the first time.
    pub fn state(&self, name: impl FnOnce() -> TopicPartition) -> Option<PartitionState> {
        if let Some(known) = self.partition.get() {
            let directory_id = self.dir()?.directory_id;
            return known.as_ref().map(|partition| PartitionState {
                directory_id,
                name: partition.name().clone(),
                size_bytes: partition.log().size_bytes(),
                log_start: partition.log().log_start(),
                log_end: partition.log().log_end(),
                high_watermark: partition.high_watermark(),
                is_closed: partition.is_closed(),
            });
        }
        if let Some(state) = self.state.get() {
            return Some(PartitionState::clone(state));
        }
        let (name, log_dir) = (name(), self.dir()?);
        let (size_bytes, first) = file_extent(&log_dir.path().join(name.to_string())).ok()?;
        let known = log_dir.known(&name);
        let log_end = known.trusted_to.unwrap_or_default();
        let state = PartitionState {
            name,
            size_bytes,
            log_start: first.max(known.log_start),
            log_end,
            high_watermark: log_end,
            directory_id: log_dir.directory_id,
            is_closed: false,
        };
        let _ = self.state.set(Box::new(state.clone()));
        Some(state)
    }

    /// Whether retention or compaction may have something to do for a sleeping partition. Blocking.
    pub fn is_due(&self, name: impl Fn() -> TopicPartition, config: &Arc<LogConfig>, now_ms: i64) -> bool {
        if self.quiet_until_ms.load(Ordering::Relaxed) > now_ms || self.is_offline() {
            return false;
        }
        let is_empty = self.state(&name).is_some_and(|state| state.size_bytes == 0);
        let _turn = self.waking();
        if !self.is_asleep() {
            return true;
        }
        let quiet_until_ms = match is_empty {
            true => i64::MAX,
            // One that cannot be opened is woken, which tells why.
            false => self
                .dir()
                .and_then(|dir| dir.open_log(&name(), config.clone()).ok())
                .map_or(now_ms, |log| log.quiet_until_ms(log.log_end(), now_ms)),
        };
        self.quiet_until_ms.store(quiet_until_ms, Ordering::Relaxed);
        quiet_until_ms <= now_ms
    }

    /// The config has changed, so something may be due.
    pub fn forget_quiet(&self) {
        self.quiet_until_ms.store(i64::MIN, Ordering::Relaxed);
    }

    /// Removes the partition's files for good; nobody can wake it any more.
    pub async fn delete(self: Arc<Self>, name: TopicPartition) -> Result<(), LogError> {
        let slot = self.clone();
        let Some(path) = self.dir().map(|dir| dir.path().join(name.to_string())) else { return Ok(()) };
        let sleeping = tokio::task::spawn_blocking(move || {
            let _turn = slot.waking();
            if !slot.is_asleep() {
                return Ok(());
            }
            let _ = slot.partition.set(None);
            PartitionLog::delete_dir(&path)
        });
        sleeping.await.unwrap_or(Err(LogError::Abandoned))?;
        match self.open() {
            Some(partition) => partition.delete().await,
            None => Ok(()),
        }
    }

    /// The log dir that it lies in, where that can be used.
    pub fn dir(&self) -> Option<Arc<LogDir>> {
        self.dir.load_full()
    }

    /// It has moved to another log dir.
    pub fn set_dir(&self, dir: Arc<LogDir>) {
        self.dir.store(Some(dir));
    }

    /// Of its topic.
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// Whether it was closed by a clean stop and not touched since, so that it may sleep.
    pub fn was_closed_clean(&self, name: &TopicPartition) -> bool {
        self.dir().is_some_and(|dir| dir.was_closed_clean(name))
    }
}

/// Whether a stored id is that of another topic. Two topics' ids have hardly a character in common; one that is nearly
/// ours, or no id at all, is ours as a disk has damaged it.
fn is_of_another(stored: &str, id: &str) -> bool {
    let differing = stored.bytes().zip(id.bytes()).filter(|(stored, ours)| stored != ours).count();
    stored.len() == id.len() && differing > id.len() / 4
}

/// Whether a partition's folder says that it belongs to another topic than this, of the same name.
pub(super) fn is_of_another_topic(folder: &Path, topic_id: Uuid) -> bool {
    let stored = stored_topic_id(&folder.join(PARTITION_METADATA));
    stored.is_some_and(|stored| is_of_another(&stored, &kafka_uuid(topic_id)))
}

fn stored_topic_id(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"))?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// Moves a folder away that belongs to an earlier topic of the same name: its records must not be served as the new
/// topic's, and they are not ours to destroy.
pub(super) fn set_aside(dir: &Path) -> Result<(), LogError> {
    let aside = path_aside(dir, "stray");
    tracing::warn!(from = %dir.display(), to = %aside.display(), "a folder of an earlier topic is set aside");
    fs::rename(dir, &aside).map_err(LogError::io("rename", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_topic_id_is_not_taken_for_another_topics() {
        let id = "7hQxW1yHRcqTnUfOj2a0Pg";
        for damaged in [id, "", "7hQxW1yHRcq", "7hQxW1yHRcqTnUfOj2a0Pgg", "7hQxW1yHRcqTnUfOj2a0P\u{1}"] {
            assert!(!is_of_another(damaged, id), "{damaged:?}");
        }
        assert!(is_of_another("k3o_zQe0T1-9xXbYVdLmaA", id));
    }
}
