//! The APIs of groups: OffsetCommit (8), OffsetFetch (9), JoinGroup (11), Heartbeat (12), LeaveGroup (13), SyncGroup
//! (14), DescribeGroups (15), ListGroups (16), DeleteGroups (42), OffsetDelete (47), ConsumerGroupHeartbeat (68) and
//! ConsumerGroupDescribe (69). Each is answered by the file of its key in `coordinator/api/`, which says its versions and
//! KIPs; here a request only meets its caller, and what that may do.
//!
//! The coordinator takes a request into its queue before it returns the future, so a connection's order is kept.

use std::sync::Arc;

use futures::future::{Either, FutureExt, ready};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use ottla_protocol::wire::Str;

use super::super::context::Context;
use super::super::dispatch::Call;
use super::group_access;
use crate::controller::{FEATURES, GROUP_VERSION};
use crate::coordinator::Caller;
use crate::security::Operation;

fn caller<R>(call: &Call<R>) -> Caller {
    Caller {
        api_version: call.version(),
        client_id: call.header.client_id.as_ref().map(Str::detached),
        client_host: format!("/{}", call.peer.host).into(),
    }
}

/// Handlers for the members of a group, who may read in it.
macro_rules! member_handlers {
    ($($name:ident: $request:ty => $response:ty;)*) => {$(
        pub(in super::super) fn $name(
            context: Arc<Context>,
            call: Call<$request>,
        ) -> impl Future<Output = $response> + Send + 'static {
            if !call.access.group(&context, Operation::Read, &call.request.group_id) {
                let error_code = ErrorCode::GroupAuthorizationFailed.code();
                return Either::Left(ready(<$response>::from(Refused { error_code, version: call.version() })));
            }
            Either::Right(context.groups.$name(&caller(&call), &call.request))
        }
    )*};
}

member_handlers! {
    join_group: JoinGroupRequest => JoinGroupResponse;
    heartbeat: HeartbeatRequest => HeartbeatResponse;
    leave_group: LeaveGroupRequest => LeaveGroupResponse;
    sync_group: SyncGroupRequest => SyncGroupResponse;
}

/// The answer to who may not take part.
struct Refused {
    error_code: i16,
    version: i16,
}

impl From<Refused> for JoinGroupResponse {
    fn from(Refused { error_code, version }: Refused) -> JoinGroupResponse {
        // Until version 6 the name cannot be null.
        let protocol_name = (version < 7).then(Str::default);
        JoinGroupResponse { error_code, protocol_name, ..JoinGroupResponse::default() }
    }
}

impl From<Refused> for HeartbeatResponse {
    fn from(Refused { error_code, .. }: Refused) -> HeartbeatResponse {
        HeartbeatResponse { error_code, ..HeartbeatResponse::default() }
    }
}

impl From<Refused> for LeaveGroupResponse {
    fn from(Refused { error_code, .. }: Refused) -> LeaveGroupResponse {
        LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
    }
}

impl From<Refused> for SyncGroupResponse {
    fn from(Refused { error_code, .. }: Refused) -> SyncGroupResponse {
        SyncGroupResponse { error_code, ..SyncGroupResponse::default() }
    }
}

pub(in super::super) fn offset_commit(
    context: Arc<Context>,
    mut call: Call<OffsetCommitRequest>,
) -> impl Future<Output = OffsetCommitResponse> + Send + 'static {
    let denied = group_access::commit(&context, &call.access, &mut call.request);
    if call.request.topics.is_empty() && !denied.is_empty() {
        return Either::Left(ready(OffsetCommitResponse {
            topics: denied,
            ..OffsetCommitResponse::default()
        }));
    }
    let answer = context.groups.offset_commit(&caller(&call), &call.request);
    Either::Right(answer.map(|mut response| {
        response.topics.extend(denied);
        response
    }))
}

pub(in super::super) fn offset_fetch(
    context: Arc<Context>,
    call: Call<OffsetFetchRequest>,
) -> impl Future<Output = OffsetFetchResponse> + Send + 'static {
    let answer = context.groups.offset_fetch(&caller(&call), &call.request);
    answer.map(move |mut response| {
        group_access::fetched(&context, &call.access, &call.request, &mut response);
        response
    })
}

pub(in super::super) fn describe_groups(
    context: Arc<Context>,
    call: Call<DescribeGroupsRequest>,
) -> impl Future<Output = DescribeGroupsResponse> + Send + 'static {
    let answer = context.groups.describe_groups(&caller(&call), &call.request);
    answer.map(move |mut response| {
        let with_operations = call.request.include_authorized_operations;
        group_access::described(&context, &call.access, with_operations, &mut response);
        response
    })
}

pub(in super::super) fn delete_groups(
    context: Arc<Context>,
    mut call: Call<DeleteGroupsRequest>,
) -> impl Future<Output = DeleteGroupsResponse> + Send + 'static {
    let denied = group_access::delete(&context, &call.access, &mut call.request);
    let answer = context.groups.delete_groups(&caller(&call), &call.request);
    answer.map(|mut response| {
        response.results.extend(denied);
        response
    })
}

/// Asks every shard, so it keeps the coordinator for as long as it takes.
pub(in super::super) async fn list_groups(
    context: Arc<Context>,
    call: Call<ListGroupsRequest>,
) -> ListGroupsResponse {
    let mut response = context.groups.list_groups(&caller(&call), &call.request).await;
    group_access::listed(&context, &call.access, &mut response);
    response
}

pub(in super::super) fn offset_delete(
    context: Arc<Context>,
    mut call: Call<OffsetDeleteRequest>,
) -> impl Future<Output = OffsetDeleteResponse> + Send + 'static {
    if !call.access.group(&context, Operation::Delete, &call.request.group_id) {
        let error_code = ErrorCode::GroupAuthorizationFailed.code();
        return Either::Left(ready(OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() }));
    }
    let denied = group_access::delete_offsets(&context, &call.access, &mut call.request);
    let answer = context.groups.offset_delete(&caller(&call), &call.request);
    Either::Right(answer.map(|mut response| {
        response.topics.extend(denied);
        response
    }))
}

pub(in super::super) fn consumer_group_heartbeat(
    context: Arc<Context>,
    call: Call<ConsumerGroupHeartbeatRequest>,
) -> impl Future<Output = ConsumerGroupHeartbeatResponse> + Send + 'static {
    let allowed = match has_consumer_protocol(&context) {
        true => group_access::heartbeat(&context, &call.access, &call.request),
        false => Err(ErrorCode::UnsupportedVersion),
    };
    match allowed {
        Ok(()) => Either::Right(context.groups.consumer_group_heartbeat(&caller(&call), &call.request)),
        Err(code) => Either::Left(ready(ConsumerGroupHeartbeatResponse {
            error_code: code.code(),
            error_message: Some(code.message().into()),
            ..ConsumerGroupHeartbeatResponse::default()
        })),
    }
}

/// Whether the cluster uses the protocol in which the coordinator assigns (KIP-848).
fn has_consumer_protocol(context: &Context) -> bool {
    let feature = FEATURES.iter().find(|feature| feature.name == GROUP_VERSION);
    feature.is_some_and(|feature| context.image().feature_level(feature) >= 1)
}

pub(in super::super) fn consumer_group_describe(
    context: Arc<Context>,
    call: Call<ConsumerGroupDescribeRequest>,
) -> impl Future<Output = ConsumerGroupDescribeResponse> + Send + 'static {
    let answer = context.groups.consumer_group_describe(&caller(&call), &call.request);
    answer.map(move |mut response| {
        let with_operations = call.request.include_authorized_operations;
        group_access::consumer_groups(&context, &call.access, with_operations, &mut response);
        response
    })
}
