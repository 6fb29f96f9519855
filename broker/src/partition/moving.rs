//! Moving a partition to another log dir while it is produced to and read (KIP-113): a copy catches up beside the log
//! (`log/relocate.rs`), then the owner holds still for as long as it takes to copy the rest and to rename two folders.
//!
//! A move that a stop or a crash interrupts begins anew with the next start; one that fails leaves the partition where it
//! was.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::handle::{MoveTo, Partition};
use super::log_dir::LogDir;
use super::log_dirs::{Assignment, Unfinished};
use super::owner::Owner;
use super::registry::{Partitions, off_the_runtime};
use super::slot::Slot;
use crate::ids::{Offset, TopicPartition};
use crate::log::{CopyProgress, LogError, MovedName, Relocation};
use crate::quotas::Throttle;

/// When a pass found no more than this missing, the owner can copy the rest in a moment.
const LITTLE_BYTES: u64 = 1 << 20;

/// How long a move that is held back may take to notice that it is to end, or that the rate has changed.
const PAUSE_MAX: Duration = Duration::from_millis(50);

const GOES_ON: u8 = 0;
/// The copy stays, so that the next start knows of the move.
const STOPPED: u8 = 1;
const CANCELLED: u8 = 2;

/// Why a partition is not moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveRefusal {
    /// The broker has no log dir of that path.
    NoSuchDir,
    /// The broker has no such partition.
    NoSuchPartition,
    /// The partition or the log dir is offline.
    Offline,
}

/// A partition's way to another log dir, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovingReplica {
    /// Which.
    pub name: TopicPartition,
    /// Where it goes.
    pub directory_id: uuid::Uuid,
    /// Bytes that are there.
    pub size_bytes: u64,
    /// How many offsets it is behind.
    pub offset_lag: i64,
}

struct Move {
    to: Arc<LogDir>,
    partition: Partition,
    throttle: Arc<Throttle>,
    state: AtomicU8,
    progress: OnceLock<Arc<CopyProgress>>,
    ended: watch::Sender<bool>,
}

impl Move {
    fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    /// So many bytes were copied: waits as long as the throttle says. Blocking; false where it is to end.
    fn keeps_pace(&self, bytes: usize) -> bool {
        self.throttle.spend(bytes, Instant::now());
        loop {
            let wait = self.throttle.wait(0, Instant::now());
            if self.state() != GOES_ON {
                return false;
            }
            if wait.is_zero() {
                return true;
            }
            std::thread::sleep(wait.min(PAUSE_MAX));
        }
    }

    /// Has it end, and waits until it has.
    async fn end(&self, state: u8) {
        self.state.store(state, Ordering::Relaxed);
        // The sender lives as long as this.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// The moves under way.
pub(super) struct Moves {
    by_name: Mutex<BTreeMap<TopicPartition, Arc<Move>>>,
    reports: OnceLock<mpsc::UnboundedSender<Assignment>>,
    /// Of all of them together.
    throttle: Arc<Throttle>,
}

impl Default for Moves {
    fn default() -> Moves {
        Moves {
            by_name: Mutex::default(),
            reports: OnceLock::new(),
            throttle: Arc::new(Throttle::unlimited()),
        }
    }
}

impl Moves {
    fn by_name(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Arc<Move>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all of them; the next start begins them anew.
    pub async fn stop(&self) {
        let all: Vec<Arc<Move>> = self.by_name().values().cloned().collect();
        for each in all {
            each.end(STOPPED).await;
        }
    }

    /// Cancels that of a partition, if there is one.
    pub async fn cancel(&self, name: &TopicPartition) {
        let under_way = self.by_name().get(name).cloned();
        if let Some(under_way) = under_way {
            under_way.end(CANCELLED).await;
        }
    }
}

impl Partitions {
    /// How fast partitions are copied from one log dir to another, all of them together.
    pub fn move_throttle(&self) -> &Throttle {
        &self.moves.throttle
    }

    /// Where to tell that a partition has come into another log dir.
    pub fn report_moves(&self) -> mpsc::UnboundedReceiver<Assignment> {
        let (reports, moved) = mpsc::unbounded_channel();
        // Only the first who asks is told.
        let _ = self.moves.reports.set(reports);
        moved
    }

    /// Begins to move a partition to the log dir of a path. To the one where it is cancels a move.
    pub async fn move_to_dir(self: &Arc<Self>, name: TopicPartition, path: &str) -> Result<(), MoveRefusal> {
        let Some(to) = self.log_dirs().by_path(path.as_ref()).cloned() else {
            let is_offline = self.log_dirs().is_offline(path.as_ref());
            return Err(if is_offline { MoveRefusal::Offline } else { MoveRefusal::NoSuchDir });
        };
        self.move_to(name, to).await
    }

    async fn move_to(self: &Arc<Self>, name: TopicPartition, to: Arc<LogDir>) -> Result<(), MoveRefusal> {
        let (slot, partition) = {
            let slot = self.slot(&name).ok_or(MoveRefusal::NoSuchPartition)?;
            let open = self.get(&name.topic, name.partition).ok_or(MoveRefusal::Offline)?;
            (slot, open.partition)
        };
        loop {
            let other = {
                let mut by_name = self.moves.by_name();
                match by_name.get(&name) {
                    Some(under_way) if Arc::ptr_eq(&under_way.to, &to) => return Ok(()),
                    Some(under_way) => under_way.clone(),
                    None if slot.dir().is_some_and(|dir| Arc::ptr_eq(&dir, &to)) => return Ok(()),
                    None => {
                        let begun = Arc::new(Move {
                            to,
                            partition,
                            throttle: self.moves.throttle.clone(),
                            state: AtomicU8::new(GOES_ON),
                            progress: OnceLock::new(),
                            ended: watch::Sender::new(false),
                        });
                        by_name.insert(name.clone(), begun.clone());
                        tokio::spawn(self.clone().run_move(name, slot, begun));
                        return Ok(());
                    }
                }
            };
            other.end(CANCELLED).await;
        }
    }

    /// Begins anew what the last stop or crash interrupted.
    pub async fn resume_moves(self: Arc<Self>) {
        for Unfinished { name, to, folder } in self.log_dirs().unfinished() {
            let (folder, gone) = (folder.clone(), name.clone());
            let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(folder));
            if let Ok(Err(error)) = removed.await {
                tracing::warn!(partition = %gone, %error, "an unfinished copy stays behind");
            }
            if self.slot(name).is_some() {
                let resumed = self.move_to(name.clone(), to.clone()).await;
                tracing::info!(partition = %name, to = %to.path().display(), ?resumed, "a move begins anew");
            }
        }
    }

    /// The partitions on their way to another log dir, by name.
    pub fn moving(&self) -> Vec<MovingReplica> {
        let by_name = self.moves.by_name();
        let describe = |(name, under_way): (&TopicPartition, &Arc<Move>)| {
            let progress = under_way.progress.get();
            let end = progress.map_or(Offset::ZERO, |progress| progress.end());
            MovingReplica {
                name: name.clone(),
                directory_id: under_way.to.directory_id,
                size_bytes: progress.map_or(0, |progress| progress.bytes()),
                offset_lag: (under_way.partition.log().log_end().0 - end.0).max(0),
            }
        };
        by_name.iter().map(describe).collect()
    }

    async fn run_move(self: Arc<Self>, name: TopicPartition, slot: Arc<Slot>, this: Arc<Move>) {
        let to = this.to.path().display();
        tracing::info!(partition = %name, %to, "moves to another log dir");
        match copy(&this, &name).await {
            Ok(left_behind) => {
                slot.set_dir(this.to.clone());
                tracing::info!(partition = %name, %to, "has moved to another log dir");
                let assignment = Assignment {
                    topic_id: slot.topic_id(),
                    partition: name.partition,
                    directory_id: this.to.directory_id,
                };
                if let Some(reports) = self.moves.reports.get() {
                    let _ = reports.send(assignment);
                }
                let removing = tokio::task::spawn_blocking(move || fs::remove_dir_all(left_behind));
                if let Ok(Err(error)) = removing.await {
                    tracing::warn!(partition = %name, %error, "files stay behind until the next start");
                }
            }
            Err(LogError::Abandoned) => tracing::info!(partition = %name, %to, "its move has ended early"),
            Err(error) => tracing::error!(partition = %name, %to, %error, "it could not be moved"),
        }
        self.moves.by_name().remove(&name);
        this.ended.send_replace(true);
    }
}

/// Copies until the copy has taken the place of the log; gives the folder that is superfluous then.
async fn copy(this: &Arc<Move>, name: &TopicPartition) -> Result<PathBuf, LogError> {
    let copy = this.partition.relocate(this.to.clone(), MovedName::new(name.clone())).await?;
    let _ = this.progress.set(copy.progress());
    let catching_up = this.clone();
    let caught_up = tokio::task::spawn_blocking(move || catch_up(copy, &catching_up)).await;
    let (copy, outcome) = caught_up.map_err(|_| LogError::Abandoned)?;
    let failed = match outcome {
        Ok(()) => match this.partition.move_to(copy, this.to.clone()).await {
            Some(Ok(left_behind)) => return Ok(left_behind),
            Some(Err(failed)) => failed,
            None => return Err(LogError::Abandoned),
        },
        Err(error) => (error, copy),
    };
    let (error, copy) = failed;
    if this.state() != STOPPED {
        let discarding = tokio::task::spawn_blocking(move || copy.discard());
        if let Ok(Err(error)) = discarding.await {
            tracing::warn!(partition = %name, %error, "the copy of a move that ended early stays behind");
        }
    }
    Err(error)
}

/// Passes until one finds little missing.
fn catch_up(mut copy: Relocation, this: &Move) -> (Relocation, Result<(), LogError>) {
    loop {
        let missing = copy.catch_up(&mut |bytes| this.keeps_pace(bytes));
        let outcome = match missing {
            _ if this.state() != GOES_ON => Err(LogError::Abandoned),
            Ok(missing) if missing > LITTLE_BYTES => continue,
            done => done.map(drop),
        };
        return (copy, outcome);
    }
}

impl Owner {
    /// Takes the last step of a move. Appends wait meanwhile.
    pub(super) fn on_move(&mut self, MoveTo { mut copy, dir, reply }: MoveTo) {
        let moved = off_the_runtime(|| self.move_log(&mut copy, &dir));
        // Whoever asked may have gone: a copy, or what was left behind, is found by the next start.
        let _ = reply.send(moved.map_err(|error| (error, copy)));
    }

    fn move_log(&mut self, copy: &mut Relocation, dir: &LogDir) -> Result<PathBuf, LogError> {
        let log = self.log.as_mut().ok_or(LogError::Abandoned)?;
        let place = dir.place_of(self.place.points.name().clone());
        // Before the log is there: without these a crash would bring deleted records back, and take what compaction left
        // out for a loss.
        place.points.recovery(log.log_end());
        place.points.log_start(log.log_start());
        place.points.cleaned_to(self.cleaned_to);
        let moved = place.points.save().and_then(|()| log.move_to(copy));
        if moved.is_err() {
            place.points.forget();
            return moved;
        }
        let end = log.log_end();
        self.place.points.forget();
        self.place = place;
        self.point = end;
        self.saved_point = None;
        self.durable(end);
        moved
    }
}
