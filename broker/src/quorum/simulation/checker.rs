//! What must hold after every step, whatever happened.

use std::collections::BTreeMap;

use super::disk::{Disk, Entry};
use crate::ids::{NodeId, Offset};
use crate::quorum::{ElectionState, Epoch, ReplicaKey};

#[derive(Default)]
pub(super) struct Checker {
    /// What was ever committed, by offset.
    pub committed: Vec<Entry>,
    /// In which epoch each of them was.
    committed_in: Vec<Epoch>,
    leaders: BTreeMap<Epoch, NodeId>,
    votes: BTreeMap<(ReplicaKey, Epoch), ReplicaKey>,
}

/// Where two logs first have different records.
fn first_difference(one: &[Entry], other: &[Entry]) -> Option<(usize, Entry, Entry)> {
    let mut both = one.iter().zip(other).enumerate();
    both.find_map(|(at, (one, other))| (one != other).then_some((at, *one, *other)))
}

impl Checker {
    /// A replica wrote down its election state: it votes once in an epoch, and no epoch has two leaders.
    pub fn on_election(&mut self, replica: ReplicaKey, election: ElectionState) {
        if let Some(voted) = election.voted {
            let first = *self.votes.entry((replica, election.epoch)).or_insert(voted);
            assert_eq!(first, voted, "{replica} votes twice in epoch {}", election.epoch);
        }
        if let Some(leader) = election.leader {
            let first = *self.leaders.entry(election.epoch).or_insert(leader);
            assert_eq!(first, leader, "epoch {} has two leaders", election.epoch);
        }
    }

    /// Who begins to lead has everything that was committed in epochs before. (The votes of an older epoch may be counted late;
    /// who leads by them commits nothing.)
    pub fn on_leader(&self, leader: NodeId, epoch: Epoch, disk: &Disk) {
        for (at, (entry, _)) in
            self.committed.iter().zip(&self.committed_in).enumerate().filter(|(_, (_, e))| **e < epoch)
        {
            assert_eq!(
                disk.entries.get(at),
                Some(entry),
                "{leader} leads without what was committed at {at}"
            );
        }
    }

    /// A replica says that all below may be applied: nobody ever says otherwise.
    pub fn on_high_watermark(&mut self, replica: NodeId, epoch: Epoch, disk: &Disk, high_watermark: Offset) {
        let count = high_watermark.0 as usize;
        let Some(applied) = disk.entries.get(..count) else {
            panic!("{replica} applies up to {high_watermark}, past the end of its log at {}", disk.end());
        };
        let known = self.committed.len().min(count);
        assert_eq!(first_difference(applied, &self.committed), None, "{replica} applies something else");
        self.committed.extend_from_slice(&applied[known..]);
        self.committed_in.resize(self.committed.len(), epoch);
    }

    /// Two logs with the same record at an offset are the same up to there.
    pub fn check_logs(disks: &[Disk]) {
        for (at, one) in disks.iter().enumerate() {
            for other in disks.iter().skip(at + 1) {
                let both = one.entries.iter().zip(&other.entries);
                let last_same = both.clone().rposition(|(one, other)| one.epoch == other.epoch);
                let first_other = both.clone().position(|(one, other)| one != other);
                if let (Some(same), Some(different)) = (last_same, first_other) {
                    assert!(same < different, "logs differ at {different} and are of one epoch at {same}");
                }
            }
        }
    }
}
