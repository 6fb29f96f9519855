//! The next step of a member towards the target assignment (KIP-848). Nobody is given a partition that another still
//! holds, and nobody reaches a newer epoch while it holds what that epoch takes away.

use uuid::Uuid;

use super::epoch::Epoch;
use super::member::{CurrentAssignment, MemberState};
use super::partitions::PartitionSet;

/// Where a member is to get, and what is known of it.
pub(super) struct Reconciliation<'a> {
    pub target_epoch: Epoch,
    pub target: &'a PartitionSet,
    /// What the member says it owns; `None` when it did not say.
    pub owned: Option<&'a PartitionSet>,
    /// Whether another member holds the partition.
    pub is_held_by_other: &'a dyn Fn(Uuid, i32) -> bool,
}

impl Reconciliation<'_> {
    /// The member's assignment after the step; the same if there is none to take.
    pub fn step(&self, current: &CurrentAssignment) -> CurrentAssignment {
        match current.state {
            MemberState::Stable if current.epoch == self.target_epoch => current.clone(),
            MemberState::Stable | MemberState::UnreleasedPartitions => self.advance(current, current.epoch),
            MemberState::UnrevokedPartitions if self.still_owns(&current.pending_revocation) => {
                current.clone()
            }
            // It gave up what its next epoch does not have, so that is where it is.
            MemberState::UnrevokedPartitions => {
                let next = current.epoch.next().min(self.target_epoch);
                self.advance(current, next)
            }
            // Whatever a newer version meant by it: who owns nothing can be given anything.
            MemberState::Unknown if self.owned.is_some_and(PartitionSet::is_empty) => {
                self.advance(current, self.target_epoch)
            }
            MemberState::Unknown => current.clone(),
        }
    }

    fn advance(&self, current: &CurrentAssignment, epoch_meanwhile: Epoch) -> CurrentAssignment {
        let kept = current.assigned.intersection(self.target);
        let lost = current.assigned.difference(self.target);
        if !lost.is_empty() && self.still_owns(&lost) {
            return CurrentAssignment {
                state: MemberState::UnrevokedPartitions,
                assigned: kept,
                pending_revocation: lost,
                ..at_epoch(current, epoch_meanwhile)
            };
        }
        let wanted = self.target.difference(&kept);
        let mut assigned = kept;
        let mut is_missing_some = false;
        for (topic, partition) in wanted.iter() {
            if (self.is_held_by_other)(topic, partition) {
                is_missing_some = true;
            } else {
                assigned.insert(topic, partition);
            }
        }
        CurrentAssignment {
            state: if is_missing_some { MemberState::UnreleasedPartitions } else { MemberState::Stable },
            assigned,
            pending_revocation: PartitionSet::default(),
            ..at_epoch(current, self.target_epoch)
        }
    }

    /// Whether the member may still own any of these. One that does not say may own them all.
    fn still_owns(&self, partitions: &PartitionSet) -> bool {
        self.owned.is_none_or(|owned| partitions.intersects(owned))
    }
}

fn at_epoch(current: &CurrentAssignment, epoch: Epoch) -> CurrentAssignment {
    let previous_epoch = if epoch == current.epoch { current.previous_epoch } else { current.epoch };
    CurrentAssignment { epoch, previous_epoch, ..CurrentAssignment::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: Uuid = Uuid::from_u128(1);

    fn set(partitions: &[i32]) -> PartitionSet {
        partitions.iter().map(|partition| (TOPIC, *partition)).collect()
    }

    fn at(epoch: i32, previous: i32, state: MemberState, has: &[i32], gives: &[i32]) -> CurrentAssignment {
        CurrentAssignment {
            epoch: Epoch(epoch),
            previous_epoch: Epoch(previous),
            state,
            assigned: set(has),
            pending_revocation: set(gives),
        }
    }

    /// One step towards `target` at epoch 5 where others hold `held`.
    fn check(
        before: CurrentAssignment,
        target: &[i32],
        owned: Option<&[i32]>,
        held: &[i32],
        after: CurrentAssignment,
    ) {
        let (target, owned) = (set(target), owned.map(set));
        let is_held = |_, partition| held.contains(&partition);
        let reconciliation = Reconciliation {
            target_epoch: Epoch(5),
            target: &target,
            owned: owned.as_ref(),
            is_held_by_other: &is_held,
        };
        assert_eq!(reconciliation.step(&before), after);
    }

    use MemberState::{Stable, UnreleasedPartitions, UnrevokedPartitions};

    #[test]
    fn who_has_arrived_stays() {
        check(at(5, 4, Stable, &[1], &[]), &[1], None, &[], at(5, 4, Stable, &[1], &[]));
    }

    #[test]
    fn who_gains_alone_arrives_at_once() {
        check(at(4, 3, Stable, &[1], &[]), &[1, 2], None, &[], at(5, 4, Stable, &[1, 2], &[]));
    }

    #[test]
    fn who_loses_gives_up_first_and_stays_in_its_epoch() {
        check(at(4, 3, Stable, &[1, 2], &[]), &[2, 3], None, &[], at(4, 3, UnrevokedPartitions, &[2], &[1]));
        let giving = at(4, 3, UnrevokedPartitions, &[2], &[1]);
        check(giving.clone(), &[2, 3], None, &[], giving.clone());
        check(giving.clone(), &[2, 3], Some(&[1, 2]), &[], giving.clone());
        check(giving, &[2, 3], Some(&[2]), &[], at(5, 4, Stable, &[2, 3], &[]));
    }

    #[test]
    fn who_never_took_what_it_loses_need_not_give_it_up() {
        check(at(4, 3, Stable, &[1, 2], &[]), &[2], Some(&[2]), &[], at(5, 4, Stable, &[2], &[]));
    }

    #[test]
    fn who_waits_for_others_takes_what_becomes_free() {
        let waiting = at(5, 4, UnreleasedPartitions, &[1], &[]);
        check(at(4, 3, Stable, &[1], &[]), &[1, 2], None, &[2], waiting.clone());
        check(waiting.clone(), &[1, 2], None, &[2], waiting.clone());
        check(waiting, &[1, 2], None, &[], at(5, 4, Stable, &[1, 2], &[]));
    }

    #[test]
    fn a_state_of_a_newer_version_is_left_by_who_owns_nothing() {
        let unknown = at(3, 2, MemberState::Unknown, &[], &[]);
        check(unknown.clone(), &[1], None, &[], unknown.clone());
        check(unknown, &[1], Some(&[]), &[], at(5, 3, Stable, &[1], &[]));
    }
}
