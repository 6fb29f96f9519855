//! SyncGroup v0–5. v3 static members (KIP-345), v5 protocol type and name both ways (KIP-559).

use std::future::Future;

use futures::future::Either;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::{Caller, group_id, instance_id, kept, kept_text, text};
use crate::coordinator::GroupCoordinator;
use crate::groups::classic::SyncGroup;
use crate::groups::{GenerationId, MemberId, Reply, Request};

impl GroupCoordinator {
    /// Answers when the leader has assigned.
    pub fn sync_group(
        &self,
        caller: &Caller,
        request: &SyncGroupRequest,
    ) -> impl Future<Output = SyncGroupResponse> + Send + use<> {
        let sync = match to_sync(caller, request) {
            Ok(sync) => SyncGroup { topics: Some(self.topics.catalog()), ..sync },
            Err(error) => return Either::Left(std::future::ready(refused(error))),
        };
        let reply = self.handle(&sync.group.clone(), Request::SyncGroup(sync));
        Either::Right(async move {
            match reply.await {
                Reply::SyncGroup(Ok(synced)) => SyncGroupResponse {
                    throttle_time_ms: 0,
                    error_code: ErrorCode::None.code(),
                    protocol_type: synced.protocol_type.as_deref().map(text),
                    protocol_name: synced.protocol_name.as_deref().map(text),
                    assignment: synced.assignment,
                },
                Reply::SyncGroup(Err(error)) => refused(error.into()),
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            }
        })
    }
}

fn to_sync(caller: &Caller, request: &SyncGroupRequest) -> Result<SyncGroup, ErrorCode> {
    if caller.api_version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    let assignments =
        request.assignments.iter().map(|a| (MemberId::from(&*a.member_id), kept(&a.assignment)));
    Ok(SyncGroup {
        group: group_id(&request.group_id)?,
        generation: GenerationId(request.generation_id),
        member_id: MemberId::from(&*request.member_id),
        instance_id: instance_id(request.group_instance_id.as_ref()),
        protocol_type: request.protocol_type.as_deref().map(kept_text),
        protocol_name: request.protocol_name.as_deref().map(kept_text),
        assignments: assignments.collect(),
        topics: None,
    })
}

fn refused(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() }
}
