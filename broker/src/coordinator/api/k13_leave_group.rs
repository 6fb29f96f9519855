//! LeaveGroup v0–5. v3 several members at once (KIP-345), v5 reason (KIP-800).

use std::future::Future;

use futures::future::Either;
use ottla_protocol::messages::k13_leave_group::MemberResponse;
use ottla_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::errors::code;
use super::{Caller, group_id, instance_id, member_id};
use crate::coordinator::GroupCoordinator;
use crate::groups::classic::{LeaveGroup, LeavingMember};
use crate::groups::{GroupError, Reply, Request};

impl GroupCoordinator {
    /// Answers once the members are out.
    pub fn leave_group(
        &self,
        caller: &Caller,
        request: &LeaveGroupRequest,
    ) -> impl Future<Output = LeaveGroupResponse> + Send + use<> {
        let group = match group_id(&request.group_id) {
            Ok(group) => group,
            Err(error) => {
                let error_code = error.code();
                return Either::Left(std::future::ready(LeaveGroupResponse {
                    error_code,
                    ..Default::default()
                }));
            }
        };
        let one_only = caller.api_version < 3;
        let members = if one_only {
            vec![LeavingMember { member_id: member_id(&request.member_id), instance_id: None }]
        } else {
            let members = request.members.iter().map(|member| LeavingMember {
                member_id: member_id(&member.member_id),
                instance_id: instance_id(member.group_instance_id.as_ref()),
            });
            members.collect()
        };
        let told: Vec<_> = request
            .members
            .iter()
            .map(|member| {
                (member.member_id.detached(), member.group_instance_id.as_ref().map(|id| id.detached()))
            })
            .collect();
        let reply = self.handle(&group, Request::LeaveGroup(LeaveGroup { group: group.clone(), members }));
        Either::Right(async move {
            let answer = match reply.await {
                Reply::LeaveGroup(answer) => answer,
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            };
            match answer {
                Ok(answers) if one_only => {
                    let answer = answers.first().copied().unwrap_or(Err(GroupError::UnknownMemberId));
                    LeaveGroupResponse { error_code: code(&answer), ..LeaveGroupResponse::default() }
                }
                Ok(answers) => {
                    let members =
                        told.into_iter().zip(&answers).map(|((member_id, group_instance_id), answer)| {
                            MemberResponse { member_id, group_instance_id, error_code: code(answer) }
                        });
                    LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }
                }
                refused => LeaveGroupResponse { error_code: code(&refused), ..LeaveGroupResponse::default() },
            }
        })
    }
}
