//! Copying a log to another folder, in another log dir, while it is written and read (KIP-113).
//!
//! ```text
//!   <dir>/<topic>-<n>/                     the log
//!   <other>/<topic>-<n>.<uuid>-future/     the copy, which catches up in passes
//! ```
//! A pass copies what is missing: whole segments that are new or were compacted, the rest of those that grew, and the
//! small files beside them. When little is left the log's writer holds still for a last one, and then the folders change
//! places in two steps:
//!
//! ```text
//!   1. <dir>/<topic>-<n>                   ->  <dir>/<topic>-<n>.<uuid>-delete
//!   2. <other>/<topic>-<n>.<uuid>-future   ->  <other>/<topic>-<n>
//! ```
//! The first decides: who finds both names of one uuid after a crash does the second. Before it the copy is worth nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use uuid::Uuid;

use super::LogError;
use super::checkpoint::{create_dir_durably, sync_dir};
use super::index::log_path;
use super::partition_log::PartitionLog;
use super::read::Shared;
use super::segment::{Segment, unpoison};
use crate::ids::{Offset, TopicPartition};

const COPY_BYTES: usize = 1 << 20;
const FUTURE: &str = "-future";
const DELETE: &str = "-delete";
/// What no copy needs: a log's own leftovers, and segments, which are copied apart.
const NOT_COPIED: [&str; 6] = ["log", "tmp", "cleaned", "swap", "deleted", "lock"];

/// The folder of a copy, or of what a move left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedName {
    /// Whose.
    pub partition: TopicPartition,
    /// Of the move.
    pub uuid: Uuid,
}

impl MovedName {
    /// Of a new move.
    pub fn new(partition: TopicPartition) -> MovedName {
        MovedName { partition, uuid: Uuid::new_v4() }
    }

    /// What the copy is called while it catches up.
    pub fn future(&self) -> String {
        format!("{}.{}{FUTURE}", self.partition, self.uuid.simple())
    }

    /// What the log is called once the copy has its place.
    pub fn left_behind(&self) -> String {
        format!("{}.{}{DELETE}", self.partition, self.uuid.simple())
    }

    /// Reads the name of a copy.
    pub fn parse_future(folder: &str) -> Option<MovedName> {
        let (partition, uuid) = folder.strip_suffix(FUTURE)?.rsplit_once('.')?;
        let partition = TopicPartition::parse(partition)?;
        Some(MovedName { partition, uuid: Uuid::try_parse(uuid).ok()? })
    }
}

/// How far a copy has come.
#[derive(Debug, Default)]
pub struct CopyProgress {
    bytes: AtomicU64,
    end: AtomicI64,
}

impl CopyProgress {
    /// Bytes of its segments.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// It has what is below this offset.
    pub fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Relaxed))
    }
}

struct Copied {
    /// Compaction puts another in its place.
    of: Weak<Segment>,
    bytes: u32,
}

/// A small file as it was when it was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Version {
        Version {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A copy that catches up with its log.
pub struct Relocation {
    from: PathBuf,
    /// The folder of the copy.
    future: PathBuf,
    name: MovedName,
    shared: Arc<Shared>,
    segments: BTreeMap<Offset, Copied>,
    small_files: HashMap<String, Version>,
    progress: Arc<CopyProgress>,
}

impl Relocation {
    /// Begins a copy of the log in `from` within the log dir `to`.
    pub(super) fn begin(
        from: PathBuf,
        shared: Arc<Shared>,
        to: &Path,
        name: MovedName,
    ) -> Result<Relocation, LogError> {
        let future = to.join(name.future());
        create_dir_durably(&future).map_err(LogError::io("create", &future))?;
        let (segments, small_files) = (BTreeMap::new(), HashMap::new());
        Ok(Relocation { from, future, name, shared, segments, small_files, progress: Arc::default() })
    }

    /// How far it has come.
    pub fn progress(&self) -> Arc<CopyProgress> {
        self.progress.clone()
    }

    /// One pass; gives how many bytes of segments were missing. What it copied is durable then. Blocking. `pace` is told of
    /// each piece and says whether to go on.
    ///
    /// # Errors
    /// [`LogError::Abandoned`] where it was told not to.
    pub fn catch_up(&mut self, pace: &mut dyn FnMut(usize) -> bool) -> Result<u64, LogError> {
        // Before the sizes: whatever is below it is within them.
        let log_end = self.shared.log_end.load(Ordering::Acquire);
        let segments = unpoison(self.shared.segments.read()).clone();
        self.drop_segments_but(&segments)?;
        let mut missing = 0;
        for (i, segment) in segments.iter().enumerate() {
            missing += match self.copy_segment(segment, pace) {
                // Retention or compaction took it meanwhile: the next pass sees it.
                Err(LogError::Io { source, .. }) if is_gone(&source) && !self.is_part(segment) => 0,
                copied => copied?,
            };
            let end = segments.get(i + 1).map_or(log_end, |next| next.base_offset.0);
            self.progress.end.store(end, Ordering::Relaxed);
        }
        self.copy_small_files()?;
        sync_dir(&self.future)?;
        Ok(missing)
    }

    fn is_part(&self, segment: &Arc<Segment>) -> bool {
        unpoison(self.shared.segments.read()).iter().any(|part| Arc::ptr_eq(part, segment))
    }

    /// Removes what the log has no more.
    fn drop_segments_but(&mut self, segments: &[Arc<Segment>]) -> Result<(), LogError> {
        let gone: Vec<Offset> = self
            .segments
            .iter()
            .filter(|(base, copied)| {
                let now = segments.iter().find(|segment| segment.base_offset == **base);
                now.is_none_or(|segment| !Weak::ptr_eq(&copied.of, &Arc::downgrade(segment)))
            })
            .map(|(base, _)| *base)
            .collect();
        for base in gone {
            let copied = self.segments.remove(&base).map_or(0, |copied| u64::from(copied.bytes));
            self.progress.bytes.fetch_sub(copied, Ordering::Relaxed);
            let path = log_path(&self.future, base);
            fs::remove_file(&path).map_err(LogError::io("remove", path))?;
        }
        Ok(())
    }

    fn copy_segment(
        &mut self,
        segment: &Arc<Segment>,
        pace: &mut dyn FnMut(usize) -> bool,
    ) -> Result<u64, LogError> {
        let size = segment.size();
        let begin = self.segments.get(&segment.base_offset).map_or(0, |copied| copied.bytes);
        let is_new = !self.segments.contains_key(&segment.base_offset);
        if begin >= size && !is_new {
            return Ok(0);
        }
        let source = segment.file()?;
        let path = log_path(&self.future, segment.base_offset);
        let target = File::options()
            .write(true)
            .create(true)
            .truncate(is_new)
            .open(&path)
            .map_err(LogError::io("create", &path))?;
        let copied = self
            .segments
            .entry(segment.base_offset)
            .or_insert_with(|| Copied { of: Arc::downgrade(segment), bytes: 0 });
        let mut buffer = vec![0; COPY_BYTES.min((size - begin) as usize)];
        while copied.bytes < size {
            let length = buffer.len().min((size - copied.bytes) as usize);
            let piece = buffer.get_mut(..length).unwrap_or_default();
            let at = u64::from(copied.bytes);
            source.read_exact_at(piece, at).map_err(LogError::io("read", segment.path()))?;
            target.write_all_at(piece, at).map_err(LogError::io("write", &path))?;
            copied.bytes += length as u32;
            self.progress.bytes.fetch_add(length as u64, Ordering::Relaxed);
            if !pace(length) {
                return Err(LogError::Abandoned);
            }
        }
        // A failure costs no more than the copy.
        target.sync_data().map_err(LogError::io("sync", &path))?;
        Ok(u64::from(size - begin))
    }

    /// Indexes, snapshots, epochs and whatever else is beside the segments.
    fn copy_small_files(&mut self) -> Result<(), LogError> {
        let mut there = HashMap::new();
        for entry in fs::read_dir(&self.from).map_err(LogError::io("list", &self.from))? {
            let entry = entry.map_err(LogError::io("list", &self.from))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let extension = name.rsplit_once('.').map(|(_, extension)| extension);
            if extension.is_some_and(|extension| NOT_COPIED.contains(&extension)) {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) if metadata.is_file() => metadata,
                Ok(_) => continue,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(LogError::io("stat", entry.path())(error)),
            };
            there.insert(name, Version::of(&metadata));
        }
        for (name, version) in &there {
            if self.small_files.get(name) == Some(version) {
                continue;
            }
            let (from, to) = (self.from.join(name), self.future.join(name));
            match fs::copy(&from, &to) {
                Err(error) if is_gone(&error) => continue,
                copied => copied.map_err(LogError::io("copy", &from))?,
            };
            File::open(&to).and_then(|file| file.sync_all()).map_err(LogError::io("sync", to))?;
        }
        for gone in self.small_files.keys().filter(|name| !there.contains_key(*name)) {
            // It may have been gone before it was copied.
            let _ = fs::remove_file(self.future.join(gone));
        }
        self.small_files = there;
        Ok(())
    }

    /// Removes the copy.
    pub fn discard(self) -> Result<(), LogError> {
        fs::remove_dir_all(&self.future).map_err(LogError::io("remove", self.future))
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

impl PartitionLog {
    /// Puts a copy, which may lack what came last, in the place of this log: readers and the writer go on there. Gives
    /// the folder that is superfluous then. Blocking. All that was appended is durable when this returns.
    ///
    /// On error the log is as it was, where it was.
    pub fn move_to(&mut self, relocation: &mut Relocation) -> Result<PathBuf, LogError> {
        self.save_for_next_start()?;
        relocation.catch_up(&mut |_| true)?;
        let to = relocation.future.with_file_name(relocation.name.partition.to_string());
        let left_behind = self.dir.with_file_name(relocation.name.left_behind());
        let moved: Result<Vec<Arc<Segment>>, LogError> = unpoison(self.shared.segments.read())
            .iter()
            .map(|segment| Segment::moved(segment, &relocation.future, &to).map(Arc::new))
            .collect();
        let moved = moved?;
        let before = self.replace_segments(moved.clone())?;
        if let Err(error) = change_places(&self.dir, &left_behind, &relocation.future, &to) {
            self.replace_segments(before)?;
            return Err(error);
        }
        moved.iter().for_each(|segment| segment.may_close());
        self.dir = to;
        self.dirty.clear();
        self.dirty_dirs.clear();
        Ok(left_behind)
    }

    /// Has readers go on with other segments, and gives those that they had; who is under way with one keeps its file.
    fn replace_segments(&self, segments: Vec<Arc<Segment>>) -> Result<Vec<Arc<Segment>>, LogError> {
        let mut now = unpoison(self.shared.segments.write());
        // Nobody can come by another one while this lock is held.
        let in_use = now.iter().filter(|segment| Arc::strong_count(segment) > 1);
        in_use.into_iter().try_for_each(|segment| segment.keep_open())?;
        Ok(std::mem::replace(&mut *now, segments))
    }
}

/// The two steps. Where the second fails the first is taken back.
fn change_places(from: &Path, left_behind: &Path, future: &Path, to: &Path) -> Result<(), LogError> {
    let parent = |path: &Path| path.parent().map_or(Ok(()), sync_dir);
    fs::rename(from, left_behind).map_err(LogError::io("rename", from))?;
    let done = parent(from).and_then(|()| finish_move(future, to));
    if let Err(error) = &done {
        let _ = fs::rename(to, future);
        if let Err(back) = fs::rename(left_behind, from).map_err(LogError::io("rename", left_behind)) {
            // Neither here nor there: what a start makes of the folders is right.
            tracing::error!(%error, %back, "a log cannot be moved forth or back, the process ends");
            std::process::abort();
        }
        parent(from)?;
    }
    done
}

/// The second step.
pub fn finish_move(future: &Path, to: &Path) -> Result<(), LogError> {
    fs::rename(future, to).map_err(LogError::io("rename", future))?;
    to.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::LogConfig;
    use super::super::tests::{append, open, sequenced, small_segments};
    use super::*;

    fn files_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
            .collect()
    }

    fn records(log: &PartitionLog) -> bytes::Bytes {
        log.reader().read(log.log_start(), log.log_end(), 1 << 20, true).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_copy_is_the_log_whatever_happened_between_its_passes(
            steps in proptest::collection::vec((0u8..4, 1usize..9), 0..25)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (one, other) = (dir.path().join("one"), dir.path().join("other"));
            let config = LogConfig { retention_ms: Some(100), ..small_segments() };
            let mut log = PartitionLog::open(&one.join("t-0"), config, None).unwrap();
            let name = MovedName::new(TopicPartition::new("t", 0));
            let mut copy = log.relocate(&other, name.clone()).unwrap();
            let mut now_ms = 0;
            for (kind, count) in steps {
                match kind {
                    0 | 1 => {
                        for _ in 0..count {
                            now_ms += 10;
                            append(&mut log, sequenced(now_ms, &[&[b'v'; 700]], -1, -1));
                        }
                    }
                    2 => drop(log.retain(log.log_end(), now_ms).unwrap().rename().unwrap()),
                    _ => drop(copy.catch_up(&mut |_| true).unwrap()),
                }
            }
            let reader = log.reader();
            let before = records(&log);
            let left_behind = log.move_to(&mut copy).unwrap();
            prop_assert_eq!(left_behind, one.join(name.left_behind()));
            prop_assert_eq!(log.dir(), other.join("t-0"));
            prop_assert_eq!(records(&log), before.clone());
            prop_assert_eq!(copy.progress().end(), log.log_end());
            prop_assert_eq!(copy.progress().bytes(), reader.size_bytes());
            // On with it, in the new place.
            append(&mut log, sequenced(now_ms, &[b"more"], -1, -1));
            let after = records(&log);
            log.close().unwrap();
            let reopened = PartitionLog::open(&other.join("t-0"), small_segments(), None).unwrap();
            prop_assert_eq!(records(&reopened), after);
        }
    }

    #[test]
    fn a_copy_that_is_told_to_stop_leaves_the_log_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir.path().join("one/t-0"), None);
        append(&mut log, sequenced(1, &[b"v"], -1, -1));
        let before = files_of(log.dir());
        let mut copy =
            log.relocate(&dir.path().join("other"), MovedName::new(TopicPartition::new("t", 0))).unwrap();
        assert!(matches!(copy.catch_up(&mut |_| false), Err(LogError::Abandoned)));
        copy.discard().unwrap();
        assert_eq!(files_of(log.dir()), before);
        assert_eq!(fs::read_dir(dir.path().join("other")).unwrap().count(), 0);
    }

    #[test]
    fn a_sync_that_comes_after_the_folder_has_gone_is_no_failure_of_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir.path().join("t-0"), None);
        append(&mut log, sequenced(1, &[b"v"], -1, -1));
        let dirty = log.take_dirty();
        log.delete().unwrap();
        dirty.iter().for_each(|segment| segment.sync().unwrap());
    }

    #[test]
    fn names_of_copies_are_read_back_and_others_are_not_taken_for_them() {
        let name = MovedName::new(TopicPartition::new("a.b-future", 12));
        assert_eq!(MovedName::parse_future(&name.future()), Some(name.clone()));
        let uuid = name.uuid.simple();
        for other in [name.left_behind(), "a-1".into(), "a-future".into(), format!("a.{uuid}-future")] {
            assert_eq!(MovedName::parse_future(&other), None, "{other}");
        }
    }
}
