//! Group commit: one thread per log dir that makes everything written since its last round durable at once.
//!
//! An fdatasync costs milliseconds whatever the amount, so while one round syncs, the next one gathers. Different
//! files of a round are synced in parallel: the file system commits them together.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;

use crate::ids::Offset;
use crate::log::DirtySegment;

/// Files of one round that are synced at the same time.
const PARALLEL_SYNCS_MAX: usize = 8;

/// Asks for one partition's files to be made durable.
pub(super) struct SyncRequest {
    /// Unique per partition within the log dir: a later request of the same round covers an earlier one.
    pub partition: u64,
    pub segments: Vec<DirtySegment>,
    /// The log end that is durable once the segments are.
    pub end: Offset,
    pub done: Box<dyn FnOnce(Offset) + Send>,
}

/// The handle of the thread. The thread ends when the last handle is dropped and nothing waits.
#[derive(Clone)]
pub struct Committer {
    requests: mpsc::Sender<SyncRequest>,
}

impl Committer {
    /// Starts the thread; `sync_seconds` hears how long its rounds take.
    pub fn start(sync_seconds: Histogram) -> std::io::Result<Committer> {
        let (requests, inbox) = mpsc::channel();
        thread::Builder::new().name("log-commit".to_owned()).spawn(move || run(&inbox, &sync_seconds))?;
        Ok(Committer { requests })
    }

    pub(super) fn request(&self, request: SyncRequest) {
        // The thread outlives every sender, so a send cannot fail.
        let _ = self.requests.send(request);
    }
}

fn run(inbox: &mpsc::Receiver<SyncRequest>, sync_seconds: &Histogram) {
    while let Ok(first) = inbox.recv() {
        let mut round: HashMap<u64, Vec<SyncRequest>> = HashMap::new();
        for request in std::iter::once(first).chain(inbox.try_iter()) {
            round.entry(request.partition).or_default().push(request);
        }
        let started = Instant::now();
        let mut partitions: Vec<Vec<SyncRequest>> = round.into_values().collect();
        let per_thread = partitions.len().div_ceil(PARALLEL_SYNCS_MAX).max(1);
        if partitions.len() == 1 {
            commit(partitions.pop().unwrap_or_default());
        } else {
            thread::scope(|scope| {
                while !partitions.is_empty() {
                    let share = partitions.split_off(partitions.len().saturating_sub(per_thread));
                    scope.spawn(|| share.into_iter().for_each(commit));
                }
            });
        }
        sync_seconds.observe(started.elapsed().as_secs_f64());
    }
}

/// Syncs what the requests of one partition name, each file once, and tells the partition.
fn commit(requests: Vec<SyncRequest>) {
    let Some(end) = requests.iter().map(|request| request.end).max() else { return };
    let all: Vec<&DirtySegment> = requests.iter().flat_map(|request| &request.segments).collect();
    let mut files = all.clone();
    files.dedup_by(|a, b| a.is_same_file(b));
    let synced = all
        .iter()
        .try_for_each(|segment| segment.sync_dirs())
        .and_then(|()| files.iter().try_for_each(|segment| segment.sync_file()));
    if let Err(error) = synced {
        // After a failed fsync the kernel may have dropped the dirty pages: what is in the page cache can no
        // longer be believed, and a retry would report success for data that is gone ("fsyncgate").
        tracing::error!(%error, "a sync failed, the process ends so that recovery reads what the disk has");
        std::process::abort();
    }
    if let Some(request) = requests.into_iter().max_by_key(|request| request.end) {
        (request.done)(end);
    }
}
