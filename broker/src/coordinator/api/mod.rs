//! The wire's side of the coordinator: a file per API key that turns a request of any version into the machine's and
//! the machine's reply into a response. Error codes are given here and nowhere else.
//!
//! Every method hands its request over before it returns its future, so calling them in a connection's order is
//! enough to keep that order.

mod errors;
mod k08_offset_commit;
mod k09_offset_fetch;
mod k11_join_group;
mod k12_heartbeat;
mod k13_leave_group;
mod k14_sync_group;
mod k15_describe_groups;
mod k16_list_groups;
mod k28_txn_offset_commit;
mod k42_delete_groups;
mod k47_offset_delete;
mod k68_consumer_group_heartbeat;
mod k69_consumer_group_describe;

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::{ErrorCode, Str};

use crate::groups::{GroupId, InstanceId, MemberId};

/// Who sends a request, and in which version.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The request header's.
    pub api_version: i16,
    /// The request header's.
    pub client_id: Option<Str>,
    /// Where the connection comes from; Kafka writes it with a slash, as `/127.0.0.1`.
    pub client_host: Str,
}

/// Names longer than this cannot be written into the log's records.
const NAME_BYTES_MAX: usize = i16::MAX as usize;

/// A group's id as text for a response.
fn text(name: &str) -> Str {
    Str::from(name)
}

/// Member ids are empty on the wire when there is none.
fn member_id(id: &str) -> Option<MemberId> {
    (!id.is_empty()).then(|| MemberId::from(id))
}

fn instance_id(id: Option<&Str>) -> Option<InstanceId> {
    id.map(|id| InstanceId::from(&**id))
}

/// # Errors
/// `INVALID_GROUP_ID` when it is too long to be stored.
fn group_id(id: &str) -> Result<GroupId, ErrorCode> {
    if id.len() > NAME_BYTES_MAX { Err(ErrorCode::InvalidGroupId) } else { Ok(GroupId::from(id)) }
}

/// What is kept for as long as its group must not keep its request's buffer in memory.
fn kept(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn kept_text(text: &str) -> Arc<str> {
    Arc::from(text)
}
