//! Which segment files are open. A process may only have so many, and a node can have more segments than that: a file is
//! opened when it is used, and when there are too many the one that was not used for longest is closed again.
//!
//! Whoever works with a file holds it: closing only takes it out of here. In particular a file with bytes that no sync
//! has confirmed is held until one has, because the error of a failed write could be lost with the last handle.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;

use super::LogError;

/// Used where the process has no limit of its own.
const OPEN_FILES_DEFAULT: usize = 10_000;

/// The limit is one of the process, so there is one of these.
static OPEN_FILES: LazyLock<OpenFiles> = LazyLock::new(|| OpenFiles::new(budget()));

/// Half of what the process may have; the rest is for connections and files in use.
fn budget() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit / 2).ok()).map_or(OPEN_FILES_DEFAULT, |half| half.max(16))
}

/// Files that are kept open, in the order in which they were opened; a second chance for those used since then (the
/// "clock" approximation of least recently used) costs a use no more than a flag.
#[derive(Debug)]
struct OpenFiles {
    budget: usize,
    queue: Mutex<VecDeque<Weak<SegmentFile>>>,
}

impl OpenFiles {
    fn new(budget: usize) -> OpenFiles {
        OpenFiles { budget, queue: Mutex::default() }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Weak<SegmentFile>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a file that was opened, and closes others where there are more than `budget`.
    fn add(&self, file: &Arc<SegmentFile>) {
        let mut queue = self.queue();
        queue.push_back(Arc::downgrade(file));
        close_past(&mut queue, self.budget);
    }

    /// Closes half of the files.
    fn close_half(&self) {
        let mut queue = self.queue();
        let keep = queue.len() / 2;
        close_past(&mut queue, keep);
    }
}

fn close_past(queue: &mut VecDeque<Weak<SegmentFile>>, keep: usize) {
    while queue.len() > keep
        && let Some(oldest) = queue.pop_front()
    {
        let Some(file) = oldest.upgrade() else { continue };
        if file.stays_open.load(Ordering::Relaxed) {
            continue;
        }
        if file.used.swap(false, Ordering::Relaxed) {
            queue.push_back(oldest);
        } else {
            file.open.store(None);
        }
    }
}

/// The file of one segment, open or not.
#[derive(Debug)]
pub(super) struct SegmentFile {
    path: PathBuf,
    open: ArcSwapOption<File>,
    /// Since it was last looked at whether it may be closed.
    used: AtomicBool,
    stays_open: AtomicBool,
    files: &'static LazyLock<OpenFiles>,
}

impl SegmentFile {
    /// A file that is there, or is made where `create` says so.
    pub fn new(path: PathBuf, create: bool) -> Result<Arc<SegmentFile>, LogError> {
        SegmentFile::among(&OPEN_FILES, path, create)
    }

    fn among(
        files: &'static LazyLock<OpenFiles>,
        path: PathBuf,
        create: bool,
    ) -> Result<Arc<SegmentFile>, LogError> {
        let file = SegmentFile {
            path,
            open: ArcSwapOption::empty(),
            used: AtomicBool::new(false),
            stays_open: AtomicBool::new(false),
            files,
        };
        let file = Arc::new(file);
        file.open(create)?;
        Ok(file)
    }

    /// The file at `now`, which is about to be at `later`; it stays open until it [may close](SegmentFile::may_close).
    pub fn renamed(now: &Path, later: PathBuf) -> Result<Arc<SegmentFile>, LogError> {
        let opened = SegmentFile::new(now.to_owned(), false)?.get()?;
        let file = Arc::new(SegmentFile {
            path: later,
            open: ArcSwapOption::new(Some(opened)),
            used: AtomicBool::new(false),
            stays_open: AtomicBool::new(true),
            files: &OPEN_FILES,
        });
        Ok(file)
    }

    /// Ends what [`renamed`](SegmentFile::renamed) began: the path is that of the file.
    pub fn may_close(self: &Arc<Self>) {
        self.stays_open.store(false, Ordering::Relaxed);
        self.files.add(self);
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn get(self: &Arc<Self>) -> Result<Arc<File>, LogError> {
        match self.open.load_full() {
            Some(file) => {
                // Written only when it changes: readers of all cores share the line.
                if !self.used.load(Ordering::Relaxed) {
                    self.used.store(true, Ordering::Relaxed);
                }
                Ok(file)
            }
            None => self.open(false),
        }
    }

    /// Keeps the file open from now on: its path is about to go or to mean another file, and readers may still come.
    pub fn keep_open(self: &Arc<Self>) -> Result<(), LogError> {
        {
            // Under the lock, so that it is not being closed meanwhile.
            let _queue = self.files.queue();
            self.stays_open.store(true, Ordering::Relaxed);
        }
        self.get().map(drop)
    }

    fn open(self: &Arc<Self>, create: bool) -> Result<Arc<File>, LogError> {
        let open = || {
            let mut options = File::options();
            options.read(true).write(true).create(create).truncate(false).open(&self.path)
        };
        let opened =
            open().or_else(|error| match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                    self.files.close_half();
                    open()
                }
                _ => Err::<File, io::Error>(error),
            });
        let file = Arc::new(opened.map_err(LogError::io("open", &self.path))?);
        self.open.store(Some(file.clone()));
        self.files.add(self);
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TWO: LazyLock<OpenFiles> = LazyLock::new(|| OpenFiles::new(2));

    fn is_open(file: &Arc<SegmentFile>) -> bool {
        file.open.load().is_some()
    }

    #[test]
    fn the_file_that_was_not_used_is_closed_and_opens_again_when_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| SegmentFile::among(&TWO, dir.path().join(name), true).unwrap();
        let (first, second) = (make("1"), make("2"));
        first.get().unwrap();
        let third = make("3");
        assert_eq!([&first, &second, &third].map(is_open), [true, false, true]);
        second.keep_open().unwrap();
        std::fs::remove_file(second.path()).unwrap();
        let later: Vec<_> = ["4", "5", "6"].map(make).into();
        assert!(is_open(&second), "a file without a path stays open");
        assert!(later.iter().chain([&first, &third]).filter(|file| is_open(file)).count() <= 2);
        first.get().unwrap();
        third.get().unwrap();
    }
}
