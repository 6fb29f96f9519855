//! What is told of a group to those who watch it.

use super::group::{Group, Phase};
use super::request::{DescribedGroup, DescribedMember, GroupState};
use crate::groups::names::GroupId;
use crate::groups::request::{GroupType, ListedGroup};

impl Group {
    pub(in crate::groups) fn describe(&self, group: &GroupId) -> DescribedGroup {
        let stable = matches!(self.phase, Phase::Stable(_));
        let members = self.members.values().map(|member| DescribedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable {
                member.metadata(self.protocol_name.as_deref())
            } else {
                Default::default()
            },
            assignment: if stable { member.assignment.clone() } else { Default::default() },
        });
        DescribedGroup {
            group: group.clone(),
            state: self.state(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: self.protocol_name.clone().filter(|_| stable).unwrap_or_default(),
            members: members.collect(),
        }
    }

    pub(in crate::groups) fn list(&self, group: &GroupId) -> ListedGroup {
        let protocol_type = self.protocol_type.clone().unwrap_or_default();
        let state = self.state().as_str();
        ListedGroup { group: group.clone(), group_type: GroupType::Classic, state, protocol_type }
    }
}

/// A group that is not there, or has offsets only (`state` tells which).
pub(in crate::groups) fn describe_without_members(group: &GroupId, state: GroupState) -> DescribedGroup {
    DescribedGroup {
        group: group.clone(),
        state,
        protocol_type: Default::default(),
        protocol_name: Default::default(),
        members: Vec::new(),
    }
}
