//! Who votes, from which part of the log on (KIP-853).
//!
//! ```text
//!   snapshot ───────────▶│ log ────────────────────────────────────────────▶ end
//!   base: 1,2,3          │    7: 1,2,3,4            19: 1,2,4
//!                                                   ▲ in force, committed or not: one that is not goes if the log is cut
//! ```
//! A set counts as soon as its record is in the log, so that who leads by the old set and who by the new one always share a voter.

use super::types::Voters;
use crate::ids::Offset;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterHistory {
    base: Voters,
    is_base_recorded: bool,
    is_fixed: bool,
    /// Where each record is, rising.
    changes: Vec<(Offset, Voters)>,
}

impl VoterHistory {
    /// Of a quorum whose voters are what they are, and recorded nowhere: of one node that was told of no others.
    pub fn fixed(voters: Voters) -> VoterHistory {
        VoterHistory { base: voters, is_fixed: true, ..VoterHistory::default() }
    }

    /// Of a quorum as it was formed: no log has its voters yet.
    pub fn formed(voters: Voters) -> VoterHistory {
        VoterHistory { base: voters, ..VoterHistory::default() }
    }

    /// As a snapshot has them, at the begin of the log.
    pub fn of_snapshot(voters: Voters) -> VoterHistory {
        VoterHistory { base: voters, is_base_recorded: true, ..VoterHistory::default() }
    }

    /// Who votes.
    pub fn in_force(&self) -> &Voters {
        self.changes.last().map_or(&self.base, |(_, voters)| voters)
    }

    /// Whether it cannot be changed.
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Whether the log, or a snapshot before it, has the voters.
    pub fn is_recorded(&self) -> bool {
        self.is_base_recorded || !self.changes.is_empty()
    }

    /// Where the record of those in force is, if it is in the log.
    pub fn newest(&self) -> Option<Offset> {
        self.changes.last().map(|(at, _)| *at)
    }

    /// Who votes by the records below an offset.
    pub fn below(&self, end: Offset) -> &Voters {
        let count = self.changes.partition_point(|(at, _)| *at < end);
        count.checked_sub(1).map_or(&self.base, |at| &self.changes[at].1)
    }

    /// A record of voters is in the log.
    pub fn append(&mut self, at: Offset, voters: Voters) {
        assert!(self.newest().is_none_or(|newest| newest < at), "{self:?} then {at}");
        self.changes.push((at, voters));
    }

    /// The log's records from `end` on are gone.
    pub fn truncate(&mut self, end: Offset) {
        self.changes.retain(|(at, _)| *at < end);
    }

    /// The log's records before `start` are in a snapshot.
    pub fn trim(&mut self, start: Offset) {
        let count = self.changes.partition_point(|(at, _)| *at < start);
        if let Some((_, voters)) = self.changes.drain(..count).next_back() {
            (self.base, self.is_base_recorded) = (voters, true);
        }
    }

    /// A snapshot is in place of the log. One of a release that recorded no voters leaves those that are known.
    pub fn start_anew(&mut self, voters: Option<Voters>) {
        match voters {
            Some(voters) => *self = VoterHistory::of_snapshot(voters),
            None => {
                self.base = self.in_force().clone();
                self.changes.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::types::ReplicaKey;
    use super::*;
    use crate::ids::NodeId;

    fn voters(ids: &[i32]) -> Voters {
        ids.iter().map(|id| ReplicaKey { id: NodeId(*id), directory: Uuid::from_u128(*id as u128) }).collect()
    }

    #[test]
    fn a_set_is_in_force_from_its_record_on_and_as_long_as_that_is_there() {
        let mut history = VoterHistory::formed(voters(&[1, 2, 3]));
        assert!(!history.is_recorded());
        history.append(Offset(7), voters(&[1, 2, 3, 4]));
        history.append(Offset(19), voters(&[1, 2, 4]));
        assert_eq!((history.in_force(), history.newest()), (&voters(&[1, 2, 4]), Some(Offset(19))));
        for (end, expected) in
            [(7, vec![1, 2, 3]), (8, vec![1, 2, 3, 4]), (19, vec![1, 2, 3, 4]), (20, vec![1, 2, 4])]
        {
            assert_eq!(history.below(Offset(end)), &voters(&expected), "below {end}");
        }
        let mut cut = history.clone();
        cut.truncate(Offset(19));
        assert_eq!(cut.in_force(), &voters(&[1, 2, 3, 4]));
        cut.truncate(Offset(7));
        assert_eq!(cut, VoterHistory::formed(voters(&[1, 2, 3])));
        history.trim(Offset(8));
        assert_eq!(history.below(Offset(8)), &voters(&[1, 2, 3, 4]));
        assert_eq!(history.in_force(), &voters(&[1, 2, 4]));
        history.trim(Offset(30));
        assert_eq!(history, VoterHistory::of_snapshot(voters(&[1, 2, 4])));
        history.start_anew(None);
        assert_eq!(history.in_force(), &voters(&[1, 2, 4]));
        history.start_anew(Some(voters(&[9])));
        assert_eq!(history, VoterHistory::of_snapshot(voters(&[9])));
    }
}
