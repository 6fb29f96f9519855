//! Heartbeat v0–4. v3 static members (KIP-345).

use std::future::Future;

use futures::future::Either;
use ottla_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::errors::code;
use super::{Caller, group_id, instance_id};
use crate::coordinator::GroupCoordinator;
use crate::groups::classic::Heartbeat;
use crate::groups::{GenerationId, MemberId, Reply, Request};

impl GroupCoordinator {
    /// Answers at once, or when the group's state that it tells is durable.
    pub fn heartbeat(
        &self,
        _caller: &Caller,
        request: &HeartbeatRequest,
    ) -> impl Future<Output = HeartbeatResponse> + Send + use<> {
        let group = match group_id(&request.group_id) {
            Ok(group) => group,
            Err(error) => {
                let error_code = error.code();
                return Either::Left(std::future::ready(HeartbeatResponse {
                    error_code,
                    ..Default::default()
                }));
            }
        };
        let heartbeat = Heartbeat {
            group: group.clone(),
            generation: GenerationId(request.generation_id),
            member_id: MemberId::from(&*request.member_id),
            instance_id: instance_id(request.group_instance_id.as_ref()),
        };
        let reply = self.handle(&group, Request::Heartbeat(heartbeat));
        Either::Right(async move {
            match reply.await {
                Reply::Heartbeat(answer) => {
                    HeartbeatResponse { throttle_time_ms: 0, error_code: code(&answer) }
                }
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            }
        })
    }
}
