//! What must hold of a group after every change. Called by tests and by the simulator after each step.

use std::collections::BTreeMap;

use super::group::{Group, Phase};

impl Group {
    /// # Panics
    /// When something that must hold does not.
    pub fn invariants(&self) {
        self.check_membership();
        self.check_phase();
        for (member_id, member) in &self.members {
            assert_eq!(member_id, &member.id, "a member is kept under its id");
            assert_eq!(
                self.sessions.contains(member_id),
                !member.may_be_silent(),
                "exactly the members that are owed no answer are on the clock: {member:?}"
            );
        }
        assert!(self.pending_members.iter().all(|member_id| self.sessions.contains(member_id)));
        let silent = self.members.values().filter(|member| member.may_be_silent()).count();
        assert_eq!(self.sessions.len() + silent, self.members.len() + self.pending_members.len());
    }

    fn check_membership(&self) {
        assert_eq!(self.leader.is_some(), !self.members.is_empty(), "a group has a leader if it has members");
        assert!(self.leader.iter().all(|leader| self.members.contains_key(leader)), "the leader is a member");
        assert!(self.pending_members.iter().all(|member_id| !self.members.contains_key(member_id)));
        let bearers: BTreeMap<_, _> = self
            .members
            .values()
            .filter_map(|member| Some((member.instance_id.clone()?, member.id.clone())))
            .collect();
        assert_eq!(bearers, self.static_members, "an instance id belongs to the member that bears it");
        assert!(self.members.is_empty() || self.select_protocol().is_some(), "the members share a protocol");
    }

    fn check_phase(&self) {
        let joins = self.awaiting_join_count();
        let syncs = self.members.values().filter(|member| member.awaiting_sync.is_some()).count();
        match &self.phase {
            Phase::Empty => {
                assert!(self.members.is_empty() && self.protocol_name.is_none());
            }
            Phase::PreparingRebalance { initial, .. } => {
                assert_eq!(syncs, 0, "no sync is parked while members are gathered");
                assert!(
                    initial.is_some() || !self.has_all_members_joined() || self.members.is_empty(),
                    "a gathering ends as soon as nobody is missing"
                );
            }
            Phase::CompletingRebalance(awaited) => {
                assert_eq!(joins, 0, "no join is parked once a generation has started");
                assert!(!self.members.is_empty() && self.protocol_name.is_some());
                let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
                assert!(
                    leader.is_some_and(|leader| leader.awaiting_sync.is_none()),
                    "the leader's sync is not parked"
                );
                assert!(awaited.iter().all(|awaited| !awaited.members.is_empty()));
            }
            Phase::Stable(awaited) => {
                assert_eq!((joins, syncs), (0, 0), "nothing is parked in a stable group");
                assert!(!self.members.is_empty() && self.protocol_name.is_some());
                assert!(awaited.iter().all(|awaited| !awaited.members.is_empty()));
            }
        }
        if let Phase::CompletingRebalance(Some(awaited)) | Phase::Stable(Some(awaited)) = &self.phase {
            assert!(awaited.members.iter().all(|member_id| self.members.contains_key(member_id)));
        }
    }
}
