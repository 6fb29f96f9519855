//! The coordinator of one group with at most one member at a time: enough to be joined, left, and lost.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k08_offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use ottla_protocol::messages::k09_offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use ottla_protocol::messages::k10_find_coordinator::Coordinator;
use ottla_protocol::messages::k11_join_group::JoinGroupResponseMember;
use ottla_protocol::messages::*;

#[derive(Default)]
pub struct Group {
    next_member: usize,
    member: Option<String>,
    generation: i32,
    /// By partition of the one topic.
    pub committed: BTreeMap<i32, i64>,
    /// How often a member left by itself.
    pub left: usize,
}

impl Group {
    pub fn find(&self, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
        let found = Coordinator {
            key: request.coordinator_keys[0].clone(),
            node_id: 1,
            host: "fake".into(),
            port: 1,
            ..Default::default()
        };
        FindCoordinatorResponse { coordinators: vec![found], ..Default::default() }
    }

    pub fn join(&mut self, request: JoinGroupRequest, error: Option<ErrorCode>) -> JoinGroupResponse {
        if let Some(code) = error {
            return JoinGroupResponse { error_code: code.code(), ..Default::default() };
        }
        if request.member_id.is_empty() {
            self.next_member += 1;
            return JoinGroupResponse {
                error_code: ErrorCode::MemberIdRequired.code(),
                member_id: format!("member-{}", self.next_member).into(),
                ..Default::default()
            };
        }
        self.generation += 1;
        self.member = Some(request.member_id.to_string());
        let protocol = &request.protocols[0];
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: Some("consumer".into()),
            protocol_name: Some(protocol.name.clone()),
            leader: request.member_id.clone(),
            member_id: request.member_id.clone(),
            members: vec![JoinGroupResponseMember {
                member_id: request.member_id,
                metadata: protocol.metadata.clone(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn check(&self, member_id: &str, generation: i32, error: Option<ErrorCode>) -> ErrorCode {
        match error {
            Some(code) => code,
            None if self.member.as_deref() != Some(member_id) => ErrorCode::UnknownMemberId,
            None if self.generation != generation => ErrorCode::IllegalGeneration,
            None => ErrorCode::None,
        }
    }

    pub fn sync(&self, request: SyncGroupRequest, error: Option<ErrorCode>) -> SyncGroupResponse {
        let code = self.check(&request.member_id, request.generation_id, error);
        let own = request.assignments.into_iter().find(|each| each.member_id == request.member_id);
        let assignment = own.map_or(Bytes::new(), |own| own.assignment);
        SyncGroupResponse { error_code: code.code(), assignment, ..Default::default() }
    }

    pub fn heartbeat(&self, request: &HeartbeatRequest, error: Option<ErrorCode>) -> HeartbeatResponse {
        let code = self.check(&request.member_id, request.generation_id, error);
        HeartbeatResponse { error_code: code.code(), ..Default::default() }
    }

    pub fn leave(&mut self, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        if self.member.as_deref() == Some(&*request.members[0].member_id) {
            self.member = None;
            self.left += 1;
        }
        LeaveGroupResponse::default()
    }

    /// Puts the member out, as the end of its session would.
    pub fn expire(&mut self) {
        self.member = None;
    }

    pub fn commit(&mut self, request: OffsetCommitRequest, error: Option<ErrorCode>) -> OffsetCommitResponse {
        let code = self.check(&request.member_id, request.generation_id_or_member_epoch, error);
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for partition in topic.partitions {
                if code == ErrorCode::None {
                    self.committed.insert(partition.partition_index, partition.committed_offset);
                }
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: code.code(),
                });
            }
            topics.push(OffsetCommitResponseTopic { name: topic.name, partitions, ..Default::default() });
        }
        OffsetCommitResponse { topics, ..Default::default() }
    }

    pub fn fetch(&self, request: OffsetFetchRequest, error: Option<ErrorCode>) -> OffsetFetchResponse {
        let group = request.groups.into_iter().next().unwrap();
        let topics = group.topics.unwrap_or_default().into_iter().map(|topic| OffsetFetchResponseTopics {
            partitions: topic
                .partition_indexes
                .into_iter()
                .map(|partition_index| OffsetFetchResponsePartitions {
                    partition_index,
                    committed_offset: self.committed.get(&partition_index).copied().unwrap_or(-1),
                    ..Default::default()
                })
                .collect(),
            name: topic.name,
            ..Default::default()
        });
        let group = OffsetFetchResponseGroup {
            group_id: group.group_id,
            topics: topics.collect(),
            error_code: error.map_or(0, ErrorCode::code),
        };
        OffsetFetchResponse { groups: vec![group], ..Default::default() }
    }
}
