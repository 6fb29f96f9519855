//! What a log dir remembers of every partition between starts, in Kafka's checkpoint files: how far a log is known to be
//! whole, where it begins, how far it is compacted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::{Offset, TopicPartition};
use crate::log::{Known, LogError, OffsetCheckpoint};

type Offsets = BTreeMap<TopicPartition, Offset>;

/// A checkpoint file with its content, and what of it was written.
#[derive(Debug)]
struct Checkpoint {
    path: PathBuf,
    offsets: Mutex<Offsets>,
    saved: Mutex<Offsets>,
}

impl Checkpoint {
    fn load(path: PathBuf) -> Checkpoint {
        let offsets = OffsetCheckpoint::load(&path).offsets;
        Checkpoint { path, offsets: Mutex::new(offsets.clone()), saved: Mutex::new(offsets) }
    }

    fn offsets(&self) -> MutexGuard<'_, Offsets> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self) -> Result<(), LogError> {
        // Taken first, so that of two calls the later one writes the later offsets.
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let offsets = self.offsets().clone();
        if *saved != offsets {
            OffsetCheckpoint { offsets: offsets.clone() }.save(&self.path)?;
            *saved = offsets;
        }
        Ok(())
    }
}

/// The checkpoints of a log dir.
#[derive(Debug)]
pub(super) struct Checkpoints {
    recovery: Checkpoint,
    log_start: Checkpoint,
    cleaner: Checkpoint,
    replication: Checkpoint,
}

impl Checkpoints {
    /// Reads them; what is missing or damaged counts as empty.
    pub fn load(dir: &Path) -> Checkpoints {
        Checkpoints {
            recovery: Checkpoint::load(dir.join("recovery-point-offset-checkpoint")),
            log_start: Checkpoint::load(dir.join("log-start-offset-checkpoint")),
            cleaner: Checkpoint::load(dir.join("cleaner-offset-checkpoint")),
            replication: Checkpoint::load(dir.join("replication-offset-checkpoint")),
        }
    }

    fn all(&self) -> [&Checkpoint; 4] {
        [&self.recovery, &self.log_start, &self.cleaner, &self.replication]
    }

    /// Whether the last stop left word of a partition.
    pub fn has_recovery_point(&self, name: &TopicPartition) -> bool {
        self.recovery.offsets().contains_key(name)
    }

    /// Writes those that changed. Blocking.
    pub fn save(&self) -> Result<(), LogError> {
        self.all().into_iter().try_for_each(Checkpoint::save)
    }

    /// Forgets the partitions that are gone.
    pub fn keep(&self, is_there: impl Fn(&TopicPartition) -> bool) {
        for checkpoint in self.all() {
            checkpoint.offsets().retain(|name, _| is_there(name));
        }
    }
}

/// One partition's part of the checkpoints of its log dir; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Points {
    name: TopicPartition,
    checkpoints: Arc<Checkpoints>,
}

impl Points {
    pub fn new(name: TopicPartition, checkpoints: Arc<Checkpoints>) -> Points {
        Points { name, checkpoints }
    }

    /// Whose.
    pub fn name(&self) -> &TopicPartition {
        &self.name
    }

    #[cfg(test)]
    pub fn of_test(dir: &Path, name: TopicPartition) -> Points {
        Points::new(name, Arc::new(Checkpoints::load(dir)))
    }

    /// What is remembered, taking the recovery point for as far as the log can be trusted.
    pub fn known(&self) -> Known {
        let of = |checkpoint: &Checkpoint| checkpoint.offsets().get(&self.name).copied().unwrap_or_default();
        Known {
            trusted_to: Some(of(&self.checkpoints.recovery)),
            log_start: of(&self.checkpoints.log_start),
            cleaned_to: of(&self.checkpoints.cleaner),
            high_watermark: of(&self.checkpoints.replication),
        }
    }

    /// What is below is committed.
    pub fn high_watermark(&self, offset: Offset) {
        self.checkpoints.replication.offsets().insert(self.name.clone(), offset);
    }

    /// A crash needs no scan up to here.
    pub fn recovery(&self, offset: Offset) {
        self.checkpoints.recovery.offsets().insert(self.name.clone(), offset);
    }

    /// The log begins here. Only kept where that is not the first offset of all.
    pub fn log_start(&self, offset: Offset) {
        if offset > Offset::ZERO {
            self.checkpoints.log_start.offsets().insert(self.name.clone(), offset);
        }
    }

    /// The log is compacted up to here.
    pub fn cleaned_to(&self, offset: Offset) {
        self.checkpoints.cleaner.offsets().insert(self.name.clone(), offset);
    }

    /// There is nothing to remember any more.
    pub fn forget(&self) {
        for checkpoint in self.checkpoints.all() {
            checkpoint.offsets().remove(&self.name);
        }
    }

    /// Writes the checkpoints that changed. Blocking.
    pub fn save(&self) -> Result<(), LogError> {
        self.checkpoints.save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_known_to_the_next_start_and_what_is_gone_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Arc::new(Checkpoints::load(dir.path()));
        let (kept, gone) = (TopicPartition::new("kept", 0), TopicPartition::new("gone", 3));
        for name in [&kept, &gone] {
            let points = Points::new(name.clone(), checkpoints.clone());
            points.recovery(Offset(30));
            points.log_start(Offset(10));
            points.cleaned_to(Offset(20));
            points.high_watermark(Offset(25));
        }
        checkpoints.keep(|name| *name == kept);
        checkpoints.save().unwrap();
        let known = |name| Points::of_test(dir.path(), name).known();
        let expected = Known {
            trusted_to: Some(Offset(30)),
            log_start: Offset(10),
            cleaned_to: Offset(20),
            high_watermark: Offset(25),
        };
        assert_eq!(known(kept), expected);
        assert_eq!(known(gone), Known { trusted_to: Some(Offset::ZERO), ..Known::default() });
    }
}
