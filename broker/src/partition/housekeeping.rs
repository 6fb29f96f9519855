//! What a partition's owner does now and then: lets old segments go, compacts, forgets idle producers. Decisions are
//! taken by the owner, between appends; what blocks (removing files, rewriting segments) runs on other threads, one
//! thing per partition at a time, and compactions one after the other for all partitions.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::handle::{Command, now_ms};
use super::owner::Owner;
use super::registry::Partitions;
use crate::ids::Offset;
use crate::log::{Compaction, LogError, Removed};

/// How far the clock that retention goes by may get ahead of the time that really passed, per check.
const CLOCK_STEP_PER_CHECK: Duration = Duration::from_secs(3600);

/// How long after the start the first round is: clients come first.
const FIRST_ROUND_AFTER: Duration = Duration::from_secs(30);

/// When partitions are looked after, when idle producers are forgotten, and the one place where compactions run.
#[derive(Debug, Clone)]
pub struct HousekeepingConfig {
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// `log.cleaner.backoff.ms`: how often compacted partitions are looked at.
    pub cleaner_backoff: Duration,
    /// `producer.id.expiration.ms`.
    pub producer_expiration: Duration,
    /// One compaction at a time: each holds the keys of its round in memory.
    pub compactions: Arc<Semaphore>,
}

impl Default for HousekeepingConfig {
    fn default() -> HousekeepingConfig {
        HousekeepingConfig {
            retention_check_interval: Duration::from_secs(300),
            cleaner_backoff: Duration::from_secs(15),
            producer_expiration: Duration::from_secs(86_400),
            compactions: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Has every partition looked after for as long as the broker runs.
pub async fn keep_houses(partitions: Arc<Partitions>, config: HousekeepingConfig) {
    let mut clock = RetentionClock::new(now_ms(), Instant::now());
    let mut retention = ticks(config.retention_check_interval);
    let mut cleaner = ticks(config.cleaner_backoff);
    loop {
        let only_compacted = tokio::select! {
            _ = retention.tick() => false,
            _ = cleaner.tick() => true,
        };
        let (partitions, now_ms) = (partitions.clone(), clock.now_ms(now_ms(), Instant::now()));
        let keeping = move || partitions.keep_houses(now_ms, only_compacted);
        if tokio::task::spawn_blocking(keeping).await.is_err() {
            tracing::error!("looking after partitions failed");
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let period = period.max(Duration::from_millis(1));
    let mut ticks =
        tokio::time::interval_at(tokio::time::Instant::now() + period.min(FIRST_ROUND_AFTER), period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// What there is to do for a partition's log, away from its owner.
pub(super) enum Chore {
    /// Give these files other names, and remove them later.
    PutAway(Removed),
    /// Run this round.
    Compact(Compaction),
}

/// Removes files after a time. A stop before it leaves them to the next opening of their log.
fn remove_later(files: Vec<PathBuf>, delay: Duration) {
    let remove = move || {
        for file in &files {
            match fs::remove_file(file) {
                // The partition was deleted or moved meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "an old segment's file stays behind");
                }
                Ok(()) => {}
            }
        }
    };
    if delay.is_zero() {
        return remove();
    }
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        let _ = tokio::task::spawn_blocking(remove).await;
    });
}

/// How a chore ended.
pub(super) struct Done {
    /// Where compaction is now, when it ran.
    pub cleaned_to: Option<Offset>,
}

impl Owner {
    /// Finds out what is due and starts it, unless something is still under way.
    pub(super) fn keep_house(&mut self, now_ms: i64) {
        // What compaction rewrites must be below the recovery point: past it a gap would look like a loss.
        let wanted = self.log.as_ref().and_then(|log| log.compactable_to());
        if wanted.is_some_and(|wanted| wanted > self.point) {
            self.checkpoint();
            self.on_synced(self.replica.log().durable_end);
        }
        let committed = self.replica.log().high_watermark;
        let durable = self.point;
        let Some(log) = self.log.as_mut().filter(|_| !self.house_is_kept) else { return };
        let expiration = i64::try_from(self.housekeeping.producer_expiration.as_millis()).unwrap_or(i64::MAX);
        log.forget_producers_before(now_ms.saturating_sub(expiration));
        let due = match log.retain(committed, now_ms) {
            Ok(removed) if removed.is_empty() => {
                log.compaction(self.cleaned_to, committed.min(durable), now_ms).map(Chore::Compact)
            }
            Ok(removed) => Some(Chore::PutAway(removed)),
            Err(error) => {
                tracing::warn!(dir = %log.dir().display(), %error, "retention failed");
                None
            }
        };
        let log_start = log.log_start();
        self.publish_log_start(log_start);
        if let Some(chore) = due {
            self.start(chore);
        }
    }

    fn start(&mut self, chore: Chore) {
        self.house_is_kept = true;
        let own = self.own_commands.clone();
        let (compactions, points) = (self.housekeeping.compactions.clone(), self.place.points.clone());
        tokio::spawn(async move {
            let _turn = match chore {
                Chore::Compact(_) => compactions.acquire_owned().await.ok(),
                Chore::PutAway(_) => None,
            };
            let working = move || -> Result<Done, LogError> {
                match chore {
                    Chore::PutAway(removed) => {
                        let delay = removed.delay();
                        remove_later(removed.rename()?, delay);
                        Ok(Done { cleaned_to: None })
                    }
                    Chore::Compact(round) => {
                        let cleaned_to = round.run(|| points.save())?;
                        Ok(Done { cleaned_to: Some(cleaned_to) })
                    }
                }
            };
            let done = match tokio::task::spawn_blocking(working).await {
                Ok(Ok(done)) => done,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a log could not be cleaned up; it is tried again");
                    Done { cleaned_to: None }
                }
                Err(_) => Done { cleaned_to: None },
            };
            if let Some(own) = own.upgrade() {
                let _ = own.send(Command::HouseKept(done));
            }
        });
    }

    pub(super) fn on_house_kept(&mut self, done: Done) {
        self.house_is_kept = false;
        if let Some(cleaned_to) = done.cleaned_to {
            self.cleaned_to = cleaned_to;
            self.place.points.cleaned_to(cleaned_to);
        }
        // What waited until no file is replaced any more.
        for command in std::mem::take(&mut self.after_housekeeping) {
            self.on_command(command);
        }
    }
}

/// The wall clock for retention: a jump ahead does not delete a year of records at once, but so slowly that somebody
/// can notice.
#[derive(Debug)]
pub(super) struct RetentionClock {
    now_ms: i64,
    read_at: Instant,
}

impl RetentionClock {
    pub fn new(wall_ms: i64, at: Instant) -> RetentionClock {
        RetentionClock { now_ms: wall_ms, read_at: at }
    }

    /// The time to go by, milliseconds since the epoch.
    pub fn now_ms(&mut self, wall_ms: i64, at: Instant) -> i64 {
        let passed = at.saturating_duration_since(self.read_at) + CLOCK_STEP_PER_CHECK;
        let latest = self.now_ms.saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX));
        self.read_at = at;
        self.now_ms = wall_ms.min(latest);
        self.now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_is_followed_slowly_and_one_that_jumps_back_at_once() {
        let start = Instant::now();
        let hour = 3_600_000;
        let mut clock = RetentionClock::new(1_000, start);
        let after = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert_eq!(clock.now_ms(301_000, after(5)), 301_000);
        assert_eq!(clock.now_ms(9_000 * hour, after(10)), 601_000 + hour);
        assert_eq!(clock.now_ms(9_000 * hour, after(15)), 901_000 + 2 * hour);
        assert_eq!(clock.now_ms(5, after(20)), 5);
    }
}
