//! What is told of a consumer group to those who watch it.

use std::sync::Arc;

use super::assignor::preferred;
use super::group::ConsumerGroup;
use super::request::{DescribedConsumerGroup, DescribedConsumerMember};
use crate::groups::config::ConsumerGroupConfig;
use crate::groups::names::GroupId;

impl ConsumerGroup {
    pub(in crate::groups) fn describe(
        &self,
        group: &GroupId,
        config: &ConsumerGroupConfig,
    ) -> DescribedConsumerGroup {
        let members = self.members.values().map(|member| DescribedConsumerMember {
            member: member.clone(),
            target: self.target_of(&member.id),
        });
        DescribedConsumerGroup {
            group: group.clone(),
            state: self.state(),
            epoch: self.epoch(),
            assignment_epoch: self.assignment_epoch(),
            assignor: Arc::from(preferred(self, config).as_str()),
            members: members.collect(),
        }
    }
}
