//! What must hold whatever happens.

use std::collections::BTreeMap;

use super::disk::{Disk, Entry};
use crate::ids::{LeaderEpoch, NodeId, Offset};

#[derive(Default)]
pub(super) struct Checker {
    /// What readers have seen, by offset. Where weaker promises are made they may see what is lost.
    committed: Vec<Entry>,
    /// What producers were promised, by whom.
    acked: BTreeMap<i64, (u64, LeaderEpoch)>,
    leaders: BTreeMap<LeaderEpoch, NodeId>,
    /// Records that nobody was promised may be read and lost.
    pub some_are_promised_less: bool,
    /// What happens is printed: one seed is looked at.
    is_told: bool,
}

impl Checker {
    pub fn new(some_are_promised_less: bool) -> Checker {
        let is_told = std::env::var_os("OTTLA_SEED").is_some();
        Checker { some_are_promised_less, is_told, ..Checker::default() }
    }

    /// Something worth knowing to whoever looks at one seed.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{}", what());
        }
    }

    /// A leader says that what is below is committed.
    pub fn committed(&mut self, by: NodeId, disk: &Disk, up_to: Offset) {
        for at in 0..up_to.0 as usize {
            let entry = disk.entries[at];
            match self.committed.get(at) {
                Some(known) if *known != entry && !self.some_are_promised_less => {
                    panic!("{by} has {entry:?} at {at}, where {known:?} was read");
                }
                Some(_) => {}
                None => self.committed.push(entry),
            }
        }
    }

    /// A producer is told that its record is safe.
    pub fn acked(&mut self, disk: &Disk, offset: Offset, value: u64, by: LeaderEpoch) {
        let entry = disk.entries.get(offset.0 as usize).map(|entry| entry.value);
        assert_eq!(entry, Some(value), "what is acknowledged at {offset} is not there");
        let before = self.acked.insert(offset.0, (value, by));
        assert!(before.is_none(), "{before:?} was acknowledged at {offset}, now {value}");
    }

    /// A broker leads in an epoch, from this log on.
    pub fn elected(&mut self, leader: NodeId, epoch: LeaderEpoch, disk: &Disk) {
        let known = *self.leaders.entry(epoch).or_insert(leader);
        assert_eq!(known, leader, "both lead in {epoch}");
        // It may hear late of an office that others have had since.
        self.has_all(leader, disk, epoch);
    }

    /// Whatever was promised before an epoch is there.
    pub fn has_all(&self, who: NodeId, disk: &Disk, before: LeaderEpoch) {
        for (offset, (value, _)) in self.acked.iter().filter(|(_, (_, by))| *by < before) {
            let found = disk.entries.get(*offset as usize).map(|entry| entry.value);
            assert_eq!(found, Some(*value), "{who} leads without what was acknowledged at {offset}");
        }
    }

    /// Up to what both know to be committed, two logs are the same.
    pub fn agree(&self, a: (&Disk, Offset), b: (&Disk, Offset)) {
        let both = a.1.min(b.1).0 as usize;
        assert!(
            self.some_are_promised_less || a.0.entries.get(..both) == b.0.entries.get(..both),
            "two logs differ below the high watermark {both}"
        );
    }

    pub fn acked_count(&self) -> usize {
        self.acked.len()
    }
}
