//! The APIs of groups: OffsetCommit (8), OffsetFetch (9), JoinGroup (11), Heartbeat (12), LeaveGroup (13), SyncGroup
//! (14), DescribeGroups (15), ListGroups (16), DeleteGroups (42), OffsetDelete (47), ConsumerGroupHeartbeat (68) and
//! ConsumerGroupDescribe (69). Each is answered by the file of its key in `coordinator/api/`, which says its versions and
//! KIPs; here a request only meets its caller.
//!
//! The coordinator takes a request into its queue before it returns the future, so a connection's order is kept.

use std::sync::Arc;

use ottla_protocol::messages::*;
use ottla_protocol::wire::Str;

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::coordinator::Caller;

fn caller<R>(call: &Call<R>) -> Caller {
    Caller {
        api_version: call.version(),
        client_id: call.header.client_id.as_ref().map(Str::detached),
        client_host: format!("/{}", call.peer.host).into(),
    }
}

macro_rules! handlers {
    ($($name:ident: $request:ty => $response:ty;)*) => {$(
        pub(in super::super) fn $name(
            context: Arc<Context>,
            call: Call<$request>,
        ) -> impl Future<Output = $response> + Send + 'static {
            context.groups.$name(&caller(&call), &call.request)
        }
    )*};
}

handlers! {
    offset_commit: OffsetCommitRequest => OffsetCommitResponse;
    offset_fetch: OffsetFetchRequest => OffsetFetchResponse;
    join_group: JoinGroupRequest => JoinGroupResponse;
    heartbeat: HeartbeatRequest => HeartbeatResponse;
    leave_group: LeaveGroupRequest => LeaveGroupResponse;
    sync_group: SyncGroupRequest => SyncGroupResponse;
    describe_groups: DescribeGroupsRequest => DescribeGroupsResponse;
    delete_groups: DeleteGroupsRequest => DeleteGroupsResponse;
    offset_delete: OffsetDeleteRequest => OffsetDeleteResponse;
    consumer_group_heartbeat: ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse;
    consumer_group_describe: ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse;
}

/// Asks every shard, so it keeps the coordinator for as long as it takes.
pub(in super::super) async fn list_groups(
    context: Arc<Context>,
    call: Call<ListGroupsRequest>,
) -> ListGroupsResponse {
    context.groups.list_groups(&caller(&call), &call.request).await
}
