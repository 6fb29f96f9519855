//! When a snapshot of the metadata is written, beside the controller's decisions, and what becomes superfluous by it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::image::ClusterImage;
use super::snapshot::{SnapshotError, SnapshotId, prune_snapshots, write_snapshot};
use crate::partition::now_ms;
use crate::quorum::{QuorumHandle, Voters};

/// When the metadata gets a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRules {
    /// `metadata.log.max.record.bytes.between.snapshots`: bytes appended since the last one.
    pub record_bytes_max: u64,
    /// `metadata.log.max.snapshot.interval.ms`: how long a change may be in no snapshot, as far as changes go on; zero
    /// for as long as it likes.
    pub interval: Duration,
}

impl Default for SnapshotRules {
    fn default() -> SnapshotRules {
        SnapshotRules { record_bytes_max: 20 << 20, interval: Duration::from_secs(3600) }
    }
}

impl SnapshotRules {
    fn is_due(self, bytes: u64, since: Duration) -> bool {
        let is_old = !self.interval.is_zero() && since >= self.interval;
        bytes >= self.record_bytes_max || (bytes > 0 && is_old)
    }
}

/// Writes snapshots, one at a time.
pub(super) struct Snapshots {
    quorum: QuorumHandle,
    dir: PathBuf,
    rules: SnapshotRules,
    /// Appended to the log since the last one was begun.
    bytes: u64,
    begun: Instant,
    writing: Option<JoinHandle<()>>,
}

impl Snapshots {
    /// Of the quorum's log, of which `bytes` are in no snapshot.
    pub fn new(quorum: QuorumHandle, rules: SnapshotRules, bytes: u64) -> Snapshots {
        Snapshots { dir: quorum.dir().clone(), quorum, rules, bytes, begun: Instant::now(), writing: None }
    }

    /// So many bytes have become part of the log.
    pub fn appended(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Begins a snapshot of the image that is known as `id`, when it is time and no other is being written.
    pub fn write_if_due(&mut self, image: &Arc<ClusterImage>, id: SnapshotId) {
        let is_writing = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if is_writing || !self.rules.is_due(self.bytes, self.begun.elapsed()) {
            return;
        }
        (self.bytes, self.begun) = (0, Instant::now());
        let (quorum, dir, image) = (self.quorum.clone(), self.dir.clone(), image.clone());
        self.writing = Some(tokio::spawn(async move {
            let voters = quorum.voters_below(id.end).await;
            let writing = move || write(&dir, id, &image, voters.as_ref());
            match tokio::task::spawn_blocking(writing).await {
                Ok(Ok(kept)) => {
                    tracing::info!(end = %id.end, "a snapshot of the metadata is written");
                    if let Some(kept) = kept {
                        quorum.trim(kept.log_end());
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "a snapshot of the metadata was not written"),
                Err(_) => tracing::error!("writing a snapshot of the metadata failed"),
            }
        }));
    }
}

/// Gives the oldest snapshot that is kept, where there is more than this one.
fn write(
    dir: &Path,
    id: SnapshotId,
    image: &ClusterImage,
    voters: Option<&Voters>,
) -> Result<Option<SnapshotId>, SnapshotError> {
    write_snapshot(dir, id, &image.as_records(), voters, now_ms())?;
    Ok(prune_snapshots(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_after_so_many_bytes_or_so_long_unless_nothing_has_changed() {
        let rules = SnapshotRules { record_bytes_max: 100, interval: Duration::from_secs(9) };
        let secs = Duration::from_secs;
        assert!(rules.is_due(100, secs(0)) && rules.is_due(1, secs(9)));
        assert!(!rules.is_due(99, secs(8)) && !rules.is_due(0, secs(99)));
        let without_interval = SnapshotRules { interval: Duration::ZERO, ..rules };
        assert!(!without_interval.is_due(99, secs(99)));
    }
}
