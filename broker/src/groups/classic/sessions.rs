//! When each member of a group is given up, kept so that the earliest is found without a walk.

use std::collections::{BTreeMap, BTreeSet};

use crate::groups::names::{MemberId, Monotonic};

/// Deadlines of the members' sessions, and of ids given out to members that have not come back yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sessions {
    by_member: BTreeMap<MemberId, Monotonic>,
    by_deadline: BTreeSet<(Monotonic, MemberId)>,
}

impl Sessions {
    /// Gives the member until `deadline`.
    pub fn set(&mut self, member: &MemberId, deadline: Monotonic) {
        if let Some(old) = self.by_member.insert(member.clone(), deadline) {
            self.by_deadline.remove(&(old, member.clone()));
        }
        self.by_deadline.insert((deadline, member.clone()));
    }

    /// Takes the member off the clock.
    pub fn clear(&mut self, member: &MemberId) {
        if let Some(old) = self.by_member.remove(member) {
            self.by_deadline.remove(&(old, member.clone()));
        }
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Members whose time is up, the earliest first.
    pub fn expired(&self, now: Monotonic) -> Vec<MemberId> {
        self.by_deadline.iter().take_while(|(at, _)| *at <= now).map(|(_, member)| member.clone()).collect()
    }

    /// Whether the member is on the clock.
    pub fn contains(&self, member: &MemberId) -> bool {
        self.by_member.contains_key(member)
    }

    /// How many are on the clock.
    pub fn len(&self) -> usize {
        self.by_member.len()
    }

    /// Whether nobody is on the clock.
    pub fn is_empty(&self) -> bool {
        self.by_member.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_deadline_replaces_the_earlier_one() {
        let mut sessions = Sessions::default();
        let (a, b) = (MemberId::from("a"), MemberId::from("b"));
        sessions.set(&a, Monotonic::from_millis(10));
        sessions.set(&b, Monotonic::from_millis(20));
        sessions.set(&a, Monotonic::from_millis(30));
        assert_eq!(sessions.next_deadline(), Some(Monotonic::from_millis(20)));
        assert_eq!(sessions.expired(Monotonic::from_millis(30)), vec![b.clone(), a.clone()]);
        sessions.clear(&b);
        assert_eq!(sessions.next_deadline(), Some(Monotonic::from_millis(30)));
        assert_eq!(sessions.len(), 1);
    }
}
