//! All log dirs of a node (`log.dirs`), of which one has the metadata log as well. A dir whose disk does not work when the
//! node starts is left out with the partitions in it, unless it is the metadata log's.
//!
//! The metadata log says in which dir a partition is (KIP-858). Where a folder is in another one, which is what a crash at
//! the end of a move leaves, the folder is right.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus_client::metrics::histogram::Histogram;
use uuid::Uuid;

use super::housekeeping::HousekeepingConfig;
use super::log_dir::LogDir;
use super::log_dir_error::LogDirError;
use super::slot::{is_of_another_topic, set_aside};
use crate::controller::{ClusterImage, METADATA_TOPIC, Placement};
use crate::ids::{NodeId, Offset, TopicPartition};
use crate::log::{LogError, MovedName, create_dir_durably};

/// Stands for a dir that is not there and may have the only copy (KIP-858).
pub(super) const LOST: Uuid = Uuid::from_u128(1);
/// Stands for any dir of a node that had one when it was written.
const MIGRATING: Uuid = Uuid::from_u128(2);

/// Which log dirs a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirPaths {
    /// `log.dirs`; at least one.
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`: one of them, or a dir for nothing else. The first of them where it is not set.
    pub metadata_log_dir: Option<PathBuf>,
}

impl LogDirPaths {
    /// Where the metadata log lives.
    pub fn metadata(&self) -> &Path {
        let named = self.metadata_log_dir.as_deref();
        named.or(self.log_dirs.first().map(PathBuf::as_path)).unwrap_or(Path::new("."))
    }
}

/// A log dir that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineDir {
    /// Which.
    pub path: PathBuf,
    /// What was wrong when the node started.
    pub reason: String,
}

/// A partition that is not in the dir which the metadata log names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Of its topic.
    pub topic_id: Uuid,
    /// Its number.
    pub partition: i32,
    /// Where it is.
    pub directory_id: Uuid,
}

/// A copy that the last stop or crash kept from taking its place.
pub(super) struct Unfinished {
    pub name: TopicPartition,
    /// Where it was to go.
    pub to: Arc<LogDir>,
    /// What there is of it.
    pub folder: PathBuf,
}

/// The log dirs of a node.
pub struct LogDirs {
    /// In the order of `log.dirs`; never empty.
    online: Vec<Arc<LogDir>>,
    offline: Vec<OfflineDir>,
    metadata: Arc<LogDir>,
    unfinished: Vec<Unfinished>,
}

impl LogDirs {
    /// Opens or creates all of them and takes their locks. `sync_seconds` hears how long group commits take.
    ///
    /// # Errors
    /// Of the metadata log's dir whatever it is; of the others what a working disk has of wrong content.
    pub fn open(
        paths: &LogDirPaths,
        node_id: NodeId,
        housekeeping: &HousekeepingConfig,
        sync_seconds: &Histogram,
    ) -> Result<LogDirs, LogDirError> {
        let (made, mut offline) = make(paths)?;
        let open = |path: &Path, cluster: Option<&str>| {
            LogDir::open(path, node_id, cluster, housekeeping.clone(), sync_seconds.clone())
        };
        let metadata = open(&absolute(paths.metadata()), None)?;
        let cluster_id = metadata.cluster_id.clone();
        let mut opened = vec![metadata];
        for path in made.iter().filter(|path| **path != absolute(paths.metadata())) {
            match open(path, Some(&cluster_id)) {
                Ok(dir) => opened.push(dir),
                Err(error) if error.is_of_the_disk() => offline.push(went_offline(path.clone(), &error)),
                Err(error) => return Err(error),
            }
        }
        let copies = finish_moves(&mut opened)?;
        let opened: Vec<Arc<LogDir>> = opened.into_iter().map(Arc::new).collect();
        let Some(metadata) = opened.first().cloned() else { unreachable!("it was opened first") };
        let online = made.iter().filter_map(|path| opened.iter().find(|dir| dir.path() == path).cloned());
        let dirs = LogDirs {
            online: online.collect(),
            offline,
            metadata,
            unfinished: copies
                .into_iter()
                .filter_map(|(at, copy)| {
                    let to = opened.get(at)?.clone();
                    let folder = to.path().join(copy.future());
                    Some(Unfinished { name: copy.partition, to, folder })
                })
                .collect(),
        };
        if dirs.online.is_empty() {
            let first = dirs.offline.first().map(|dir| (dir.path.clone(), dir.reason.clone()));
            let (path, reason) = first.unwrap_or_default();
            return Err(LogDirError::Unusable { path, source: std::io::Error::other(reason) });
        }
        let all: Vec<&Arc<LogDir>> = dirs.all().collect();
        for (i, dir) in all.iter().enumerate() {
            let earlier = all.iter().take(i).find(|earlier| earlier.directory_id == dir.directory_id);
            if let Some(earlier) = earlier {
                let (path, other) = (dir.path().to_owned(), earlier.path().to_owned());
                return Err(LogDirError::SameId { path, other });
            }
        }
        Ok(dirs)
    }

    /// Those that partitions are in, as `log.dirs` has them.
    pub fn online(&self) -> &[Arc<LogDir>] {
        &self.online
    }

    /// Those that cannot be used.
    pub fn offline(&self) -> &[OfflineDir] {
        &self.offline
    }

    /// The one with the metadata log.
    pub fn metadata(&self) -> &Arc<LogDir> {
        &self.metadata
    }

    /// What the last stop or crash kept from moving.
    pub(super) fn unfinished(&self) -> &[Unfinished] {
        &self.unfinished
    }

    /// Every one that is open.
    pub fn all(&self) -> impl Iterator<Item = &Arc<LogDir>> {
        let is_apart = !self.online.iter().any(|dir| Arc::ptr_eq(dir, &self.metadata));
        self.online.iter().chain(is_apart.then_some(&self.metadata))
    }

    /// The one for partitions that has an id.
    pub fn by_id(&self, id: Uuid) -> Option<&Arc<LogDir>> {
        self.online.iter().find(|dir| dir.directory_id == id)
    }

    /// The one for partitions that has a path.
    pub fn by_path(&self, path: &Path) -> Option<&Arc<LogDir>> {
        let wanted = absolute(path);
        self.online.iter().find(|dir| dir.path() == wanted)
    }

    /// Whether a path is that of a dir which cannot be used.
    pub fn is_offline(&self, path: &Path) -> bool {
        let wanted = absolute(path);
        self.offline.iter().any(|dir| dir.path == wanted)
    }

    /// The partitions of which the metadata log does not say where they are: the folder tells, and where there is none
    /// the partition gets the dir with the fewest. Folders of earlier topics are moved away. Blocking; before any
    /// partition is opened.
    pub fn misplaced(&self, image: &ClusterImage, node_id: NodeId) -> Result<Vec<Assignment>, LogDirError> {
        let mut misplaced = Vec::new();
        let mut placement = Placement::among(&self.ids(), image);
        for topic in image.topics() {
            for (partition, described) in (0i32..).zip(&topic.partitions) {
                let name = TopicPartition::new(topic.name.clone(), partition);
                let recorded = described.directory_of(node_id);
                let is_recorded = |dir: &Arc<LogDir>| recorded == Some(dir.directory_id);
                let mut found = self.online.iter().filter(|dir| dir.has_found(&name));
                let directory_id = match (found.next(), found.next()) {
                    (Some(dir), None) if is_recorded(dir) => continue,
                    (None, _) if self.online.iter().any(is_recorded) => {
                        let recorded = self.online.iter().find(|dir| is_recorded(dir));
                        let left = recorded.and_then(|dir| dir.leftover_of(&name));
                        // It has moved into a dir that is not there now.
                        match left.filter(|folder| !is_of_another_topic(folder, topic.id)) {
                            Some(_) => LOST,
                            None => continue,
                        }
                    }
                    (None, _) => {
                        let is_named = recorded.is_some_and(|id| !id.is_nil() && id != MIGRATING);
                        // It may be in a dir that is not there now.
                        if is_named || !self.offline.is_empty() {
                            continue;
                        }
                        let Some(directory_id) = placement.place() else { continue };
                        directory_id
                    }
                    (Some(_), _) => match self.folder_of(&name, topic.id)? {
                        Some(dir) if !is_recorded(dir) => dir.directory_id,
                        _ => continue,
                    },
                };
                misplaced.push(Assignment { topic_id: topic.id, partition, directory_id });
            }
        }
        Ok(misplaced)
    }

    /// The dir that has the folder of a partition of this very topic; those of earlier topics are moved away.
    fn folder_of(&self, name: &TopicPartition, topic_id: Uuid) -> Result<Option<&Arc<LogDir>>, LogDirError> {
        let mut ours: Option<&Arc<LogDir>> = None;
        for dir in self.online.iter().filter(|dir| dir.has_found(name)) {
            let folder = dir.path().join(name.to_string());
            if is_of_another_topic(&folder, topic_id) {
                set_aside(&folder)?;
                continue;
            }
            if let Some(other) = ours {
                let one = other.path().join(name.to_string());
                return Err(LogDirError::PartitionTwice { name: name.clone(), one, other: folder });
            }
            ours = Some(dir);
        }
        Ok(ours)
    }

    /// The epoch with which the broker was registered in its last run; `None` where any of the dirs was not closed in good order, or
    /// they do not agree.
    pub fn previous_epoch(&self) -> Option<Offset> {
        let mut epochs = self.online.iter().map(|dir| dir.clean_epoch());
        let first = epochs.next()??;
        epochs.all(|epoch| epoch == Some(first)).then_some(first)
    }

    /// The ids of those that new partitions may be put in.
    pub fn ids(&self) -> Vec<Uuid> {
        self.online.iter().map(|dir| dir.directory_id).collect()
    }

    /// Writes what the next start must know of all partitions. Blocking.
    pub fn save_checkpoints(&self) -> Result<(), LogError> {
        // One that fails must not keep the others from being saved.
        self.all().map(|dir| dir.save_checkpoints()).fold(Ok(()), Result::and)
    }

    /// Forgets what is remembered of partitions that are gone, durably. Blocking.
    pub fn keep_checkpoints(&self, is_there: impl Fn(&TopicPartition) -> bool) -> Result<(), LogError> {
        self.all().map(|dir| dir.keep_checkpoints(&is_there)).fold(Ok(()), Result::and)
    }
}

/// Gives every copy its place that had been decided to have it, and tells of the others, with the index of their dir.
fn finish_moves(dirs: &mut [LogDir]) -> Result<Vec<(usize, MovedName)>, LogDirError> {
    let copies: Vec<(usize, MovedName)> = dirs
        .iter()
        .enumerate()
        .flat_map(|(at, dir)| dir.copies().iter().map(move |copy| (at, copy.clone())))
        .collect();
    let mut unfinished = Vec::new();
    for (at, copy) in copies {
        let is_decided = dirs.iter().any(|dir| dir.has_leftover(&copy.left_behind()));
        match dirs.get_mut(at).filter(|_| is_decided) {
            Some(dir) => {
                tracing::info!(partition = %copy.partition, to = %dir.path().display(), "finishes a move");
                dir.finish_move(&copy)?;
            }
            None => unfinished.push((at, copy)),
        }
    }
    Ok(unfinished)
}

/// Makes the dirs of `log.dirs` and sees that none is named twice and the metadata log is where it should be.
fn make(paths: &LogDirPaths) -> Result<(Vec<PathBuf>, Vec<OfflineDir>), LogDirError> {
    let metadata = absolute(paths.metadata());
    let (mut made, mut offline) = (Vec::new(), Vec::new());
    let mut known: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in paths.log_dirs.iter().map(|path| absolute(path)) {
        let real = create_dir_durably(&path).and_then(|()| fs::canonicalize(&path));
        match real {
            Ok(real) => {
                if let Some((_, other)) = known.iter().find(|(known, _)| *known == real) {
                    return Err(LogDirError::Twice { path, other: other.clone() });
                }
                known.push((real, path.clone()));
                made.push(path);
            }
            Err(source) => {
                let error = LogDirError::Unusable { path: path.clone(), source };
                if path == metadata {
                    return Err(error);
                }
                offline.push(went_offline(path, &error));
            }
        }
    }
    let has_metadata = |path: &Path| path.join(format!("{METADATA_TOPIC}-0")).is_dir();
    if !has_metadata(&metadata)
        && let Some(found) = made.iter().find(|path| has_metadata(path))
    {
        return Err(LogDirError::MetadataElsewhere { found: found.clone(), expected: metadata });
    }
    Ok((made, offline))
}

fn went_offline(path: PathBuf, error: &LogDirError) -> OfflineDir {
    tracing::error!(path = %path.display(), %error, "a log dir is offline, and so are the partitions in it");
    OfflineDir { path, reason: error.to_string() }
}

/// A path as clients see it, wherever the process was started.
fn absolute(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // Without a slash at its end.
    whole.components().collect()
}
