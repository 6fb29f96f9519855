//! DeleteGroups v0–2 (KIP-229).

use std::future::Future;

use futures::future::{Either, join_all, ready};
use ottla_protocol::messages::k42_delete_groups::DeletableGroupResult;
use ottla_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::errors::code;
use super::{Caller, group_id};
use crate::coordinator::GroupCoordinator;
use crate::groups::{Reply, Request};

impl GroupCoordinator {
    /// Answers once every group that can be deleted is, durably.
    pub fn delete_groups(
        &self,
        _caller: &Caller,
        request: &DeleteGroupsRequest,
    ) -> impl Future<Output = DeleteGroupsResponse> + Send + use<> {
        let results = request.groups_names.iter().map(|name| {
            let name = name.detached();
            match group_id(&name) {
                Err(error) => {
                    Either::Left(ready(DeletableGroupResult { group_id: name, error_code: error.code() }))
                }
                Ok(group) => {
                    let reply = self.handle(&group, Request::DeleteGroup(group.clone()));
                    Either::Right(async move {
                        match reply.await {
                            Reply::DeleteGroup(answer) => {
                                DeletableGroupResult { group_id: name, error_code: code(&answer) }
                            }
                            other => unreachable!("a shard answers what it was asked, not {other:?}"),
                        }
                    })
                }
            }
        });
        let results = join_all(results.collect::<Vec<_>>());
        async move { DeleteGroupsResponse { throttle_time_ms: 0, results: results.await } }
    }
}
