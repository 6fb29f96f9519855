//! Everything that can happen to a classic group in memory. Closed: a new behaviour is a new variant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::group::InitialDelay;
use super::member::Member;
use super::request::Protocol;
use super::stored::GroupMetadata;
use crate::groups::names::{GenerationId, InstanceId, MemberId, Monotonic, ReplyId};

/// One step of a group.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupChange {
    /// A member was named and told to join again with that id (KIP-394); until then it counts as still to come.
    MemberIdGiven {
        /// The id.
        member_id: MemberId,
        /// When it is forgotten.
        expires_at: Monotonic,
    },
    /// A named member did not come back, or left before it joined.
    MemberIdTakenBack {
        /// The id.
        member_id: MemberId,
    },
    /// A member is in; its join is parked.
    MemberAdded {
        /// The member.
        member: Box<Member>,
        /// New members are given up after this, as they cannot heartbeat yet.
        expires_at: Monotonic,
        /// The protocol type it brings, which becomes an empty group's.
        protocol_type: Arc<str>,
    },
    /// A member asks to join again, perhaps with other wishes; its join is parked.
    MemberRejoined {
        /// The member.
        member_id: MemberId,
        /// Its wishes now.
        protocols: Arc<[Protocol]>,
        /// Its session timeout now.
        session_timeout: Duration,
        /// Its rebalance timeout now.
        rebalance_timeout: Duration,
        /// The parked join.
        reply: ReplyId,
    },
    /// A static member came back under a new id; the old id is fenced (KIP-345).
    StaticMemberReplaced {
        /// Who it is.
        instance_id: InstanceId,
        /// The id it had.
        old: MemberId,
        /// The id it has.
        new: MemberId,
        /// When the new id's session ends.
        expires_at: Monotonic,
    },
    /// A member is out. If it led, the first of the others leads.
    MemberRemoved {
        /// The member.
        member_id: MemberId,
    },
    /// A join was answered: the member must show life again.
    JoinAnswered {
        /// The member.
        member_id: MemberId,
        /// When its session ends.
        expires_at: Monotonic,
    },
    /// A sync waits for the leader's.
    SyncParked {
        /// The member.
        member_id: MemberId,
        /// The parked sync.
        reply: ReplyId,
    },
    /// The member asked for its assignment in this generation, so it need not be removed for not asking.
    SyncReceived {
        /// The member.
        member_id: MemberId,
    },
    /// A parked sync was answered.
    SyncAnswered {
        /// The member.
        member_id: MemberId,
        /// When its session ends.
        expires_at: Monotonic,
    },
    /// The member showed life.
    SessionExtended {
        /// The member.
        member_id: MemberId,
        /// When its session ends.
        expires_at: Monotonic,
    },
    /// Members are to join again.
    RebalanceStarted {
        /// When it is closed without those who are late.
        deadline: Monotonic,
        /// Set when the group was empty: then it waits for members that may still come.
        initial: Option<InitialDelay>,
    },
    /// The rebalance goes on for longer.
    RebalanceExtended {
        /// When it is closed.
        deadline: Monotonic,
        /// What remains of the initial delay.
        initial: Option<InitialDelay>,
    },
    /// The leader is late; another member leads.
    LeaderElected {
        /// The new leader.
        member_id: MemberId,
    },
    /// All who rejoined are in a new generation, and the leader is to assign; the assignments before are void.
    GenerationStarted {
        /// Its number.
        generation: GenerationId,
        /// The protocol voted for.
        protocol_name: Arc<str>,
        /// Members that have not synced by then are removed.
        sync_deadline: Monotonic,
    },
    /// Nobody rejoined.
    Emptied {
        /// The generation of nobody.
        generation: GenerationId,
    },
    /// The leader assigned; members it forgot get nothing.
    Assigned {
        /// By member.
        assignments: BTreeMap<MemberId, Bytes>,
    },
    /// The group was read from the log; its members' sessions start afresh.
    Restored {
        /// As stored.
        metadata: Arc<GroupMetadata>,
        /// When it was read.
        now: Monotonic,
    },
    /// The group was deleted.
    Deleted,
}
