//! DescribeGroups v0–6. v3 authorized operations (KIP-430), v4 static members (KIP-345), v6 `GROUP_ID_NOT_FOUND`
//! (KIP-1043); before it a group that is not there is one in state `Dead`.

use std::future::Future;

use futures::future::{Either, join_all, ready};
use ottla_protocol::messages::k15_describe_groups::{
    DescribedGroup as DescribedGroupResponse, DescribedGroupMember,
};
use ottla_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use ottla_protocol::{ErrorCode, Str};

use super::{Caller, group_id, text};
use crate::coordinator::GroupCoordinator;
use crate::groups::classic::{DescribedGroup, GroupState};
use crate::groups::{Reply, Request};

/// READ, DELETE and DESCRIBE as bits: everything one can do to a group, which is allowed to all without an authorizer.
pub(super) const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;
/// Says that it was not asked for.
pub(super) const NO_OPERATIONS: i32 = i32::MIN;

impl GroupCoordinator {
    /// Answers for each group in the request's order.
    pub fn describe_groups(
        &self,
        caller: &Caller,
        request: &DescribeGroupsRequest,
    ) -> impl Future<Output = DescribeGroupsResponse> + Send + use<> {
        let version = caller.api_version;
        let asked_for = version >= 3 && request.include_authorized_operations;
        let operations = if asked_for { ALL_OPERATIONS } else { NO_OPERATIONS };
        let groups = request.groups.iter().map(|name| {
            let name = name.detached();
            match group_id(&name) {
                Err(error) => Either::Left(ready(refused(name, error))),
                Ok(group) => {
                    let reply = self.handle(&group, Request::DescribeGroup(group.clone()));
                    Either::Right(async move {
                        match reply.await {
                            Reply::DescribeGroup(Ok(described)) => {
                                to_response(version, described, operations)
                            }
                            Reply::DescribeGroup(Err(error)) => refused(name, error.into()),
                            other => unreachable!("a shard answers what it was asked, not {other:?}"),
                        }
                    })
                }
            }
        });
        let groups = join_all(groups.collect::<Vec<_>>());
        async move { DescribeGroupsResponse { throttle_time_ms: 0, groups: groups.await } }
    }
}

fn to_response(
    version: i16,
    described: DescribedGroup,
    authorized_operations: i32,
) -> DescribedGroupResponse {
    let missing = version >= 6 && described.state == GroupState::Dead;
    let members = described.members.into_iter().map(|member| DescribedGroupMember {
        member_id: text(member.member_id.as_str()),
        group_instance_id: member.instance_id.map(|id| text(id.as_str())),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    });
    DescribedGroupResponse {
        error_code: if missing { ErrorCode::GroupIdNotFound.code() } else { ErrorCode::None.code() },
        error_message: missing.then(|| Str::from(format!("Group {} not found.", described.group))),
        group_id: text(described.group.as_str()),
        group_state: text(described.state.as_str()),
        protocol_type: text(&described.protocol_type),
        protocol_data: text(&described.protocol_name),
        members: members.collect(),
        authorized_operations,
    }
}

fn refused(group_id: Str, error: ErrorCode) -> DescribedGroupResponse {
    DescribedGroupResponse { error_code: error.code(), group_id, ..DescribedGroupResponse::default() }
}
