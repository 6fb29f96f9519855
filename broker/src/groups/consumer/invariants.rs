//! What must hold of a consumer group after every change. Called by tests and by the simulator after each step.

use std::collections::BTreeMap;

use super::group::ConsumerGroup;
use super::member::MemberState;

impl ConsumerGroup {
    /// # Panics
    /// When something that must hold does not.
    pub fn invariants(&self) {
        assert!(
            self.assignment_epoch() <= self.epoch(),
            "a target is made for an epoch that the group reached"
        );
        let mut holders = BTreeMap::new();
        let mut bearers = BTreeMap::new();
        for (member_id, member) in &self.members {
            assert_eq!(member_id, &member.id, "a member is kept under its id");
            let current = &member.current;
            assert!(current.epoch <= self.assignment_epoch(), "no member is ahead of the target: {member:?}");
            for partition in current.held() {
                let other = holders.insert(partition, member_id.clone());
                assert_eq!(other, None, "{partition:?} has two owners, one of them {member_id}");
            }
            assert!(
                current.pending_revocation.is_empty() || current.state == MemberState::UnrevokedPartitions,
                "only who must give up something has something to give up: {member:?}"
            );
            if current.is_reconciled_to(self.assignment_epoch()) && self.epoch() == self.assignment_epoch() {
                assert_eq!(current.assigned, *self.target_of(member_id), "who has arrived has its target");
            }
            if let Some(instance_id) = &member.metadata.instance_id {
                bearers.insert(instance_id.clone(), member_id.clone());
            }
            assert!(self.sessions.contains(member_id), "every member is on the clock");
            assert_eq!(
                self.revocations.contains(member_id),
                current.state == MemberState::UnrevokedPartitions,
                "who must give up something is on the clock for it: {member:?}"
            );
        }
        assert_eq!(holders, self.holders, "the index of holders follows from the members");
        assert_eq!(bearers, self.static_members, "an instance id belongs to the member that bears it");
        assert_eq!(self.sessions.len(), self.members.len(), "only members are on the clock");
        assert!(self.target.keys().all(|member_id| self.members.contains_key(member_id)));
        let used = |regex| self.members.values().any(|m| m.metadata.topic_regex.as_ref() == Some(regex));
        assert!(self.regexes.keys().all(used), "only patterns that a member has are kept");
    }
}
