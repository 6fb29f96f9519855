//! A member of a classic group: who it is, what it can do, what it was given and which replies it waits for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::request::{JoinGroup, Protocol};
use crate::groups::names::{InstanceId, MemberId, ReplyId};

/// A member.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Set for static members.
    pub instance_id: Option<InstanceId>,
    /// As in its requests.
    pub client_id: Arc<str>,
    /// Where it connected from.
    pub client_host: Arc<str>,
    /// How long it may be silent.
    pub session_timeout: Duration,
    /// How long it needs to rejoin.
    pub rebalance_timeout: Duration,
    /// In its order of preference.
    pub protocols: Arc<[Protocol]>,
    /// Its share of the work, empty until the leader gave one.
    pub assignment: Bytes,
    /// Its JoinGroup that waits for the rebalance to end.
    pub awaiting_join: Option<ReplyId>,
    /// Its SyncGroup that waits for the leader's.
    pub awaiting_sync: Option<ReplyId>,
    /// It has never had an answer, so it may not know its own id.
    pub is_new: bool,
}

impl Member {
    /// A member as it asks to be let in, its join parked as `reply`.
    pub fn joining(id: MemberId, request: &JoinGroup, reply: ReplyId) -> Member {
        Member {
            id,
            instance_id: request.instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols.clone(),
            assignment: Bytes::new(),
            awaiting_join: Some(reply),
            awaiting_sync: None,
            is_new: true,
        }
    }

    /// While the coordinator owes a member an answer, its silence means nothing. A new member is the exception: nobody
    /// knows whether it still waits.
    pub fn may_be_silent(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// What the member said under `protocol`; empty when it does not speak it.
    pub fn metadata(&self, protocol: Option<&str>) -> Bytes {
        self.protocols
            .iter()
            .find(|candidate| Some(&*candidate.name) == protocol)
            .map(|candidate| candidate.metadata.clone())
            .unwrap_or_default()
    }

    /// The first of the member's protocols that is among `candidates`.
    pub fn vote<'a>(&'a self, candidates: &BTreeSet<&str>) -> Option<&'a Protocol> {
        self.protocols.iter().find(|protocol| candidates.contains(&*protocol.name))
    }
}
