//! JoinGroup v0–9. v1 rebalance timeout, v4 member id round trip (KIP-394), v5 static members (KIP-345), v7 protocol
//! type in the answer (KIP-559), v8 reason (KIP-800), v9 skip_assignment (KIP-814).

use std::future::Future;
use std::time::Duration;

use futures::future::Either;
use ottla_protocol::messages::k11_join_group::JoinGroupResponseMember;
use ottla_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use ottla_protocol::{ErrorCode, Str};

use super::{Caller, NAME_BYTES_MAX, group_id, instance_id, kept, kept_text, member_id, text};
use crate::coordinator::GroupCoordinator;
use crate::groups::classic::{JoinGroup, JoinRefused, Joined, Protocol};
use crate::groups::{MemberId, Reply, Request};

/// Kafka allows instance ids what it allows topic names.
const INSTANCE_ID_BYTES_MAX: usize = 249;
/// How much of a client's own name goes into its member id.
const MEMBER_ID_PREFIX_BYTES_MAX: usize = 255;

impl GroupCoordinator {
    /// Answers when the rebalance ends, which may take as long as the members' rebalance timeout.
    pub fn join_group(
        &self,
        caller: &Caller,
        request: &JoinGroupRequest,
    ) -> impl Future<Output = JoinGroupResponse> + Send + use<> {
        let version = caller.api_version;
        let join = match to_join(caller, request) {
            Ok(join) => JoinGroup { topics: Some(self.topics.catalog()), ..join },
            Err(error) => {
                return Either::Left(std::future::ready(refused(
                    version,
                    error,
                    request.member_id.detached(),
                )));
            }
        };
        let reply = self.handle(&join.group.clone(), Request::JoinGroup(Box::new(join)));
        Either::Right(async move {
            match reply.await {
                Reply::JoinGroup(Ok(joined)) => granted(version, joined),
                Reply::JoinGroup(Err(JoinRefused { error, member_id })) => {
                    let member_id = member_id.map(|id| text(id.as_str())).unwrap_or_default();
                    refused(version, error.into(), member_id)
                }
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            }
        })
    }
}

fn to_join(caller: &Caller, request: &JoinGroupRequest) -> Result<JoinGroup, ErrorCode> {
    check_instance_id(request.group_instance_id.as_deref())?;
    let too_long = |name: &str| name.len() > NAME_BYTES_MAX;
    if too_long(&request.protocol_type) || request.protocols.iter().any(|protocol| too_long(&protocol.name)) {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    let protocols = request
        .protocols
        .iter()
        .map(|protocol| Protocol { name: kept_text(&protocol.name), metadata: kept(&protocol.metadata) });
    // Version 0 has no rebalance timeout: a member had its session timeout for it.
    let rebalance_ms = match request.rebalance_timeout_ms {
        ms if ms < 0 => request.session_timeout_ms,
        ms => ms,
    };
    let client_id = caller.client_id.as_deref().unwrap_or_default();
    Ok(JoinGroup {
        group: group_id(&request.group_id)?,
        member_id: member_id(&request.member_id),
        instance_id: instance_id(request.group_instance_id.as_ref()),
        client_id: kept_text(client_id),
        client_host: kept_text(&caller.client_host),
        protocol_type: kept_text(&request.protocol_type),
        protocols: protocols.collect(),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: millis(rebalance_ms),
        fresh_member_id: fresh_member_id(request.group_instance_id.as_deref().unwrap_or(client_id)),
        knows_member_id_required: caller.api_version >= 4,
        knows_skip_assignment: caller.api_version >= 9,
        topics: None,
    })
}

fn check_instance_id(id: Option<&str>) -> Result<(), ErrorCode> {
    let Some(id) = id else { return Ok(()) };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let named = !id.is_empty() && id != "." && id != "..";
    if named && id.len() <= INSTANCE_ID_BYTES_MAX && id.bytes().all(legal) {
        Ok(())
    } else {
        Err(ErrorCode::InvalidConfig)
    }
}

/// Begins with the client's own name, so that people can tell members apart.
fn fresh_member_id(prefix: &str) -> MemberId {
    let end = prefix.floor_char_boundary(MEMBER_ID_PREFIX_BYTES_MAX);
    MemberId::from(format!("{}-{}", &prefix[..end], uuid::Uuid::new_v4()))
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn granted(version: i16, joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: text(member.member_id.as_str()),
        group_instance_id: member.instance_id.map(|id| text(id.as_str())),
        metadata: member.metadata,
    });
    JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::None.code(),
        generation_id: joined.generation.0,
        protocol_type: joined.protocol_type.as_deref().map(text),
        protocol_name: protocol_name(version, joined.protocol_name.as_deref()),
        leader: joined.leader.map(|leader| text(leader.as_str())).unwrap_or_default(),
        skip_assignment: joined.skip_assignment,
        member_id: text(joined.member_id.as_str()),
        members: members.collect(),
    }
}

fn refused(version: i16, error: ErrorCode, member_id: Str) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error.code(),
        generation_id: -1,
        protocol_name: protocol_name(version, None),
        member_id,
        ..JoinGroupResponse::default()
    }
}

/// Null only from version 7 on.
fn protocol_name(version: i16, name: Option<&str>) -> Option<Str> {
    match name {
        Some(name) => Some(text(name)),
        None if version < 7 => Some(Str::default()),
        None => None,
    }
}
