//! Consumer groups: listing, describing, deleting, and their committed offsets.

use std::collections::BTreeMap;

use ottla_protocol::Str;
use ottla_protocol::messages::{DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest};

use super::Admin;
use crate::TopicPartition;
use crate::assignment::decode_assignment;
use crate::coordinator::Coordinator;
use crate::error::{ClientError, check};
use crate::group_offsets::{self, CommittedOffset, Committer};
use crate::pool::Lane;

/// A group as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    pub group_id: String,
    /// `consumer` for consumers, `connect` for Kafka Connect's workers.
    pub protocol_type: String,
    /// Empty from brokers before Kafka 2.6.
    pub state: String,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Empty when the group is no group of consumers.
    pub assignment: Vec<TopicPartition>,
}

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group_id: String,
    /// `Dead` for a group that does not exist, from brokers that don't say so by an error.
    pub state: String,
    pub protocol_type: String,
    /// The assignor's name.
    pub protocol: String,
    pub members: Vec<GroupMember>,
}

impl Admin {
    /// All groups of the cluster, by id.
    ///
    /// # Errors
    /// What any broker answers.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        self.cluster
            .retry(|| "listing groups".to_owned(), async || self.cluster.refresh(Some(&[]), false).await)
            .await?;
        let mut groups = Vec::new();
        let brokers: Vec<i32> = self.cluster.metadata().brokers.keys().copied().collect();
        for broker in brokers {
            let attempt = async || {
                let connection = self.cluster.broker(broker, Lane::Control).await?;
                let timeout = self.cluster.config.request_timeout;
                let response = connection.send(&ListGroupsRequest::default(), timeout).await?;
                check(response.error_code, || format!("listing the groups of broker {broker}"))?;
                Ok(response)
            };
            let response =
                self.cluster.retry(|| format!("listing the groups of broker {broker}"), attempt).await?;
            groups.extend(response.groups.iter().map(|group| GroupListing {
                group_id: group.group_id.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
            }));
        }
        groups.sort_by(|left, right| left.group_id.cmp(&right.group_id));
        Ok(groups)
    }

    /// Describes groups, each at its coordinator.
    ///
    /// # Errors
    /// That of the first group that could not be described.
    pub async fn describe_groups(&self, group_ids: &[&str]) -> Result<Vec<GroupDescription>, ClientError> {
        let mut described = Vec::new();
        for group_id in group_ids {
            let coordinator = Coordinator::of_group(self.cluster.clone(), group_id);
            let request =
                |_| DescribeGroupsRequest { groups: vec![Str::from(*group_id)], ..Default::default() };
            let response = coordinator
                .send_retrying(i16::MAX, request, |response| {
                    response.groups.first().map_or(0, |group| group.error_code)
                })
                .await?;
            described.extend(response.groups.iter().map(|group| {
                GroupDescription {
                    group_id: group.group_id.to_string(),
                    state: group.group_state.to_string(),
                    protocol_type: group.protocol_type.to_string(),
                    protocol: group.protocol_data.to_string(),
                    members: group
                        .members
                        .iter()
                        .map(|member| GroupMember {
                            member_id: member.member_id.to_string(),
                            group_instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
                            client_id: member.client_id.to_string(),
                            client_host: member.client_host.to_string(),
                            assignment: match &*group.protocol_type {
                                "consumer" => {
                                    decode_assignment(&member.member_assignment).unwrap_or_default()
                                }
                                _ => Vec::new(),
                            },
                        })
                        .collect(),
                }
            }));
        }
        Ok(described)
    }

    /// Deletes groups without members, and their offsets.
    ///
    /// # Errors
    /// That of the first group that could not be deleted, such as `NON_EMPTY_GROUP`.
    pub async fn delete_groups(&self, group_ids: &[&str]) -> Result<(), ClientError> {
        for group_id in group_ids {
            let coordinator = Coordinator::of_group(self.cluster.clone(), group_id);
            let request = |_| DeleteGroupsRequest { groups_names: vec![Str::from(*group_id)] };
            let code = |response: &ottla_protocol::messages::DeleteGroupsResponse| {
                response.results.first().map_or(0, |result| result.error_code)
            };
            coordinator.send_retrying(i16::MAX, request, code).await?;
        }
        Ok(())
    }

    /// All offsets that a group has committed.
    ///
    /// # Errors
    /// What the coordinator answers.
    pub async fn list_group_offsets(
        &self,
        group_id: &str,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        group_offsets::fetch(&Coordinator::of_group(self.cluster.clone(), group_id), None, false).await
    }

    /// Sets offsets of a group that has no members.
    ///
    /// # Errors
    /// What the coordinator answers; [`ClientError::CommitFenced`] when the group has members.
    pub async fn alter_group_offsets(
        &self,
        group_id: &str,
        offsets: &[(TopicPartition, i64)],
    ) -> Result<(), ClientError> {
        let offsets: Vec<(TopicPartition, CommittedOffset)> = offsets
            .iter()
            .map(|(topic_partition, offset)| {
                let committed =
                    CommittedOffset { offset: *offset, leader_epoch: -1, metadata: String::new() };
                (topic_partition.clone(), committed)
            })
            .collect();
        self.commit_group_offsets(group_id, &offsets).await
    }

    /// Sets offsets of a group that has no members, with the epochs and the text that go with them: for who assigns
    /// partitions itself and keeps its offsets in a group.
    ///
    /// # Errors
    /// As [`alter_group_offsets`](Admin::alter_group_offsets).
    pub async fn commit_group_offsets(
        &self,
        group_id: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), ClientError> {
        let coordinator = Coordinator::of_group(self.cluster.clone(), group_id);
        group_offsets::commit(&coordinator, &Committer::default(), offsets).await
    }
}
