//! Retention: which old segments may go. Whole segments only, from the oldest on, never the one that is written.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::LogError;
use super::aborted::txn_index_path;
use super::config::LogConfig;
use super::index::{index_path, log_path, time_index_path};
use super::partition_log::PartitionLog;
use super::segment::{Segment, unpoison};
use super::swap;
use crate::ids::Offset;

/// What retention needs to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    /// The offset at which the next one begins.
    end: Offset,
    bytes: u64,
    /// Of its newest record, or of the file where no record has one; milliseconds since the epoch.
    newest_ms: i64,
}

/// How many of the oldest segments may go. `segments` are the closed ones, oldest first; `open_bytes` are in the one
/// that is written.
fn expired(
    segments: &[Extent],
    open_bytes: u64,
    log_start: Offset,
    config: &LogConfig,
    now_ms: i64,
) -> usize {
    let below_start = segments.iter().take_while(|segment| segment.end <= log_start).count();
    if !config.deleted {
        return below_start;
    }
    let too_old = |segment: &Extent| {
        config.retention_ms.is_some_and(|retention| now_ms.saturating_sub(segment.newest_ms) > retention)
    };
    let by_time = segments.iter().take_while(|segment| too_old(segment)).count();
    let by_size = config.retention_bytes.map_or(0, |retention| {
        let mut total = open_bytes + segments.iter().map(|segment| segment.bytes).sum::<u64>();
        let superfluous = |segment: &&Extent| {
            let goes = total.saturating_sub(segment.bytes) >= retention;
            total = total.saturating_sub(segment.bytes);
            goes
        };
        segments.iter().take_while(superfluous).count()
    });
    below_start.max(by_time).max(by_size)
}

/// Files of segments that are no longer part of a log.
#[derive(Debug, Default)]
pub struct Removed {
    dir: PathBuf,
    segments: Vec<Arc<Segment>>,
    delay: Duration,
}

impl Removed {
    /// How many segments.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes the files out of the log's sight under other names, as Kafka does, and gives these for the caller to remove
    /// [later](Removed::delay). Blocking. A reader that is under way keeps its open file. A crash in between leaves old
    /// segments to the next round; the next opening removes what has another name.
    pub fn rename(self) -> Result<Vec<PathBuf>, LogError> {
        let mut renamed = Vec::new();
        // The newest last: what is left must have no hole.
        for segment in &self.segments {
            let base = segment.base_offset;
            let log = log_path(&self.dir, base);
            segment.keep_open()?;
            renamed.push(swap::put_away(&log).map_err(LogError::io("rename", &log))?);
            let others = [
                index_path(&self.dir, base),
                time_index_path(&self.dir, base),
                txn_index_path(&self.dir, base),
                PartitionLog::snapshot_path(&self.dir, base),
            ];
            // Not every segment has all of them.
            renamed.extend(others.iter().filter_map(|path| swap::put_away(path).ok()));
        }
        Ok(renamed)
    }

    /// How long the renamed files stay (`file.delete.delay.ms`).
    pub fn delay(&self) -> Duration {
        self.delay
    }
}

impl PartitionLog {
    /// Takes the segments out of the log that retention lets go, for the caller to [rename](Removed::rename). Nothing at
    /// or past `committed` goes.
    pub fn retain(&mut self, committed: Offset, now_ms: i64) -> Result<Removed, LogError> {
        let active_newest = unpoison(self.active().index.read()).max_timestamp_ms();
        let active_is_old = self.config.deleted
            && self
                .config
                .retention_ms
                .zip(active_newest)
                .is_some_and(|(retention, newest)| now_ms.saturating_sub(newest) > retention);
        if active_is_old && self.active().size() > 0 && committed >= self.log_end() {
            self.roll(self.log_end())?;
        }
        let segments = unpoison(self.shared.segments.read()).clone();
        let (extents, open_bytes) = extents(&segments, committed);
        let count = expired(&extents, open_bytes, self.log_start(), &self.config, now_ms);
        self.remove_oldest(count)
    }

    /// The earliest time at which retention or compaction may have something to do, if nothing is appended; milliseconds
    /// since the epoch.
    pub fn quiet_until_ms(&self, committed: Offset, now_ms: i64) -> i64 {
        if self.config.compacted {
            return now_ms;
        }
        let segments = unpoison(self.shared.segments.read()).clone();
        let Some(first) = segments.first() else { return i64::MAX };
        let (extents, open_bytes) = extents(&segments, committed);
        if expired(&extents, open_bytes, self.log_start(), &self.config, now_ms) > 0 {
            return now_ms;
        }
        match self.config.retention_ms {
            // The oldest segment is the first to go, be it the one that is written.
            Some(retention) if first.size() > 0 => {
                newest_ms(first).saturating_add(retention).saturating_add(1)
            }
            _ => i64::MAX,
        }
    }

    /// Deletes the records below `offset` (DeleteRecords). Their files go with the next [`retain`](PartitionLog::retain).
    pub fn delete_before(&mut self, offset: Offset) {
        self.shared.log_start.fetch_max(offset.min(self.log_end()).0, Ordering::AcqRel);
        self.changed = true;
    }

    fn remove_oldest(&mut self, count: usize) -> Result<Removed, LogError> {
        if count == 0 {
            return Ok(Removed::default());
        }
        let (removed, first) = {
            let mut segments = unpoison(self.shared.segments.write());
            let removed: Vec<Arc<Segment>> = segments.drain(..count).collect();
            (removed, segments.first().map(|segment| segment.base_offset))
        };
        self.dirty.retain(|dirty| !removed.iter().any(|segment| dirty.is_of(segment)));
        self.shared.log_start.fetch_max(first.unwrap_or_default().0, Ordering::AcqRel);
        unpoison(self.shared.aborted.write()).forget_before(first.unwrap_or_default());
        self.leader_epochs.begin_at(self.log_start());
        self.publish_epochs();
        self.leader_epochs.save(&self.dir)?;
        tracing::info!(dir = %self.dir.display(), segments = count, log_start = %self.log_start(), "retention");
        let delay = Duration::from_millis(self.config.file_delete_delay_ms);
        Ok(Removed { dir: self.dir.clone(), segments: removed, delay })
    }
}

/// The closed segments below `committed`, and the bytes of the one that is written.
fn extents(segments: &[Arc<Segment>], committed: Offset) -> (Vec<Extent>, u64) {
    let closed = segments
        .windows(2)
        .map(|pair| Extent {
            end: pair[1].base_offset,
            bytes: u64::from(pair[0].size()),
            newest_ms: newest_ms(&pair[0]),
        })
        .take_while(|extent| extent.end <= committed)
        .collect();
    (closed, segments.last().map_or(0, |segment| u64::from(segment.size())))
}

fn newest_ms(segment: &Segment) -> i64 {
    let newest = unpoison(segment.index.read()).max_timestamp_ms();
    newest.filter(|newest| *newest >= 0).unwrap_or_else(|| segment.modified_ms())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_sizes(sizes: &[(u64, i64)]) -> Vec<Extent> {
        let extent = |(i, (bytes, newest_ms)): (usize, &(u64, i64))| Extent {
            end: Offset((i as i64 + 1) * 10),
            bytes: *bytes,
            newest_ms: *newest_ms,
        };
        sizes.iter().enumerate().map(extent).collect()
    }

    fn config(retention_ms: Option<i64>, retention_bytes: Option<u64>) -> LogConfig {
        LogConfig { retention_ms, retention_bytes, ..LogConfig::default() }
    }

    #[test]
    fn old_segments_go_up_to_the_first_that_is_young() {
        let segments = of_sizes(&[(1, 100), (1, 300), (1, 200), (1, 900)]);
        let count = |retention| expired(&segments, 1, Offset(0), &config(retention, None), 1000);
        assert_eq!(count(Some(650)), 3);
        assert_eq!(count(Some(750)), 1, "a younger one shields what follows it");
        assert_eq!(count(None), 0);
    }

    #[test]
    fn at_least_retention_bytes_stay() {
        let segments = of_sizes(&[(40, 0), (40, 0), (40, 0)]);
        let count = |retention| expired(&segments, 10, Offset(0), &config(None, Some(retention)), 0);
        assert_eq!(count(130), 0);
        assert_eq!(count(90), 1);
        assert_eq!(count(50), 2);
        assert_eq!(count(0), 3);
    }

    #[test]
    fn a_compacted_log_loses_only_what_was_deleted_by_offset() {
        let segments = of_sizes(&[(40, 0), (40, 0)]);
        let compacted = LogConfig { deleted: false, ..config(Some(1), Some(1)) };
        assert_eq!(expired(&segments, 10, Offset(15), &compacted, i64::MAX), 1);
    }

    proptest! {
        #[test]
        fn more_time_never_lets_fewer_segments_go(
            sizes in proptest::collection::vec((0u64..100, 0i64..1000), 0..9),
            now in 0i64..2000, later in 0i64..2000, retention in 0i64..1000,
        ) {
            let segments = of_sizes(&sizes);
            let config = config(Some(retention), Some(120));
            let count = |now| expired(&segments, 5, Offset(0), &config, now);
            prop_assert!(count(now) <= count(now + later));
        }
    }
}
