//! Which protocols fit a group, and which one its members choose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::group::{Group, Phase};
use super::request::Protocol;

impl Group {
    /// Whether a member with this protocol type and these protocols can be in the group: it shares the type and at
    /// least one protocol with everyone there.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.phase == Phase::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let common = self.common_protocols();
        // A group that is being gathered may have lost all its members; then only the type binds.
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| self.members.is_empty() || common.contains(&*protocol.name))
    }

    /// The protocol most members prefer among those that all speak. Of equally many votes the leader's order decides
    /// (Kafka leaves it to a hash map's order, which two coordinators need not share). `None` without members.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let candidates = self.common_protocols();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(protocol) = member.vote(&candidates) {
                *votes.entry(&protocol.name).or_default() += 1;
            }
        }
        let votes_max = *votes.values().max()?;
        let first = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        let judge = first.or_else(|| self.members.values().next())?;
        let winner = judge.protocols.iter().find(|protocol| votes.get(&*protocol.name) == Some(&votes_max));
        winner.map(|protocol| protocol.name.clone())
    }

    fn common_protocols(&self) -> BTreeSet<&str> {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return BTreeSet::new() };
        let mut common: BTreeSet<&str> = first.protocols.iter().map(|protocol| &*protocol.name).collect();
        for member in members {
            common.retain(|name| member.protocols.iter().any(|protocol| &*protocol.name == *name));
        }
        common
    }
}
