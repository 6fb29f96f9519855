//! What of a group outlives its coordinator, and the way from the live group to it and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::group::{Group, Phase};
use super::member::Member;
use super::request::Protocol;
use crate::groups::names::{GenerationId, InstanceId, MemberId, Monotonic, WallMs};

/// A group as its log keeps it.
///
/// It is written when a leader's assignments arrive, when a static member is replaced without a rebalance, when the
/// group becomes empty, and (beyond Kafka) without members when a generation starts: so a generation number that
/// was given out is never given out again after a crash, and a late SyncGroup of a lost generation cannot be taken for
/// one of the next. Kafka reads that record as an empty group, whose members join anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupMetadata {
    /// Such as `consumer`.
    pub protocol_type: Option<Arc<str>>,
    /// The generation.
    pub generation: GenerationId,
    /// The chosen protocol; none when there are no members.
    pub protocol_name: Option<Arc<str>>,
    /// The leader; none when there are no members.
    pub leader: Option<MemberId>,
    /// When the group came into this state.
    pub since: WallMs,
    /// Ordered by id.
    pub members: Vec<StoredMember>,
}

/// A member as its group's log keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMember {
    /// Its id.
    pub id: MemberId,
    /// Set for static members.
    pub instance_id: Option<InstanceId>,
    /// As in its requests.
    pub client_id: Arc<str>,
    /// Where it connected from.
    pub client_host: Arc<str>,
    /// How long it needs to rejoin.
    pub rebalance_timeout: Duration,
    /// How long it may be silent.
    pub session_timeout: Duration,
    /// What it said under the chosen protocol.
    pub subscription: Bytes,
    /// Its share of the work.
    pub assignment: Bytes,
}

impl Group {
    /// The record of a stable group.
    pub fn to_metadata(&self, since: WallMs) -> GroupMetadata {
        let protocol_name = self.protocol_name.clone();
        let members = self.members.values().map(|member| StoredMember {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: member.session_timeout,
            subscription: member.metadata(protocol_name.as_deref()),
            assignment: member.assignment.clone(),
        });
        GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            leader: self.leader.clone(),
            since,
            members: members.collect(),
            protocol_name,
        }
    }

    /// The record of a generation without members: of an empty group, or of one that waits for its leader.
    pub fn to_metadata_without_members(&self, since: WallMs) -> GroupMetadata {
        GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol_name: None,
            leader: None,
            since,
            members: Vec::new(),
        }
    }

    /// The group as its next coordinator takes it up at `now`: stable with the members of the record, or empty.
    ///
    /// Kafka's format keeps what a member said under the chosen protocol only. Until members rejoin, a newcomer that
    /// speaks all their protocols but that one is refused as inconsistent, as it is by Kafka.
    pub(super) fn restore(metadata: &GroupMetadata, now: Monotonic) -> Group {
        let mut group = Group {
            generation: metadata.generation,
            protocol_type: metadata.protocol_type.clone(),
            ..Group::default()
        };
        // Members without a protocol cannot have been assigned anything; they join anew.
        let Some(protocol_name) = &metadata.protocol_name else { return group };
        for stored in &metadata.members {
            let protocol = Protocol { name: protocol_name.clone(), metadata: stored.subscription.clone() };
            let member = Member {
                id: stored.id.clone(),
                instance_id: stored.instance_id.clone(),
                client_id: stored.client_id.clone(),
                client_host: stored.client_host.clone(),
                session_timeout: stored.session_timeout,
                rebalance_timeout: stored.rebalance_timeout,
                protocols: Arc::from([protocol]),
                assignment: stored.assignment.clone(),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            };
            if let Some(instance_id) = &member.instance_id {
                group.static_members.insert(instance_id.clone(), member.id.clone());
            }
            group.sessions.set(&member.id, now + member.session_timeout);
            group.members.insert(member.id.clone(), Arc::new(member));
        }
        if !group.members.is_empty() {
            let leader = metadata.leader.clone().filter(|leader| group.members.contains_key(leader));
            group.leader = leader.or_else(|| group.members.keys().next().cloned());
            group.protocol_name = Some(protocol_name.clone());
            group.phase = Phase::Stable(None);
        }
        group
    }
}
