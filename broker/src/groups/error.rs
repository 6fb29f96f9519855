//! The facts a group may answer a request with instead of doing it. Named after Kafka's errors; the wire codes are
//! given at the edge (`coordinator::api`).

/// Why a group refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum GroupError {
    /// The member id is not one of the group's.
    #[error("the group has no such member")]
    UnknownMemberId,
    /// The generation is not the group's current one.
    #[error("the generation is not the group's current one")]
    IllegalGeneration,
    /// The group is being formed anew: join again.
    #[error("the group is rebalancing, so a rejoin is needed")]
    RebalanceInProgress,
    /// Another member took over this `group.instance.id`.
    #[error("another member has taken over this group.instance.id")]
    FencedInstanceId,
    /// The members share no protocol, or the protocol type or name is not the group's.
    #[error("the protocol type or the protocols do not fit those of the group's members")]
    InconsistentGroupProtocol,
    /// The session timeout is outside `group.min.session.timeout.ms..=group.max.session.timeout.ms`.
    #[error("the session timeout is outside group.min.session.timeout.ms and group.max.session.timeout.ms")]
    InvalidSessionTimeout,
    /// The group id may not be empty here.
    #[error("the group id is empty")]
    InvalidGroupId,
    /// Join again with the member id in the answer (KIP-394).
    #[error("the group wants a member id before it lets a member join")]
    MemberIdRequired,
    /// `group.max.size` members are in already.
    #[error("the group has group.max.size members already")]
    GroupMaxSizeReached,
    /// There is no such group.
    #[error("there is no such group")]
    GroupIdNotFound,
    /// The group still has members.
    #[error("the group still has members")]
    NonEmptyGroup,
    /// The metadata text of an offset is longer than `offset.metadata.max.bytes`.
    #[error("the metadata of the offset is longer than offset.metadata.max.bytes")]
    OffsetMetadataTooLarge,
    /// No topic has this id.
    #[error("no topic has this id")]
    UnknownTopicId,
    /// There is no such topic or partition.
    #[error("there is no such topic or partition")]
    UnknownTopicOrPartition,
    /// The coordinator reads its log and will answer soon.
    #[error("the coordinator is loading the group")]
    CoordinatorLoadInProgress,
    /// The coordinator cannot answer now; ask again.
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    /// This broker does not coordinate the group (any more).
    #[error("this broker is not the group's coordinator")]
    NotCoordinator,
    /// The member's epoch is not the one it is known in: give everything up and join again.
    #[error("the member's epoch is fenced")]
    FencedMemberEpoch,
    /// Another member still has this `group.instance.id`.
    #[error("another member still has this group.instance.id")]
    UnreleasedInstanceId,
    /// The broker has no assignor of this name.
    #[error("the assignor is not supported")]
    UnsupportedAssignor,
    /// The member's epoch has changed: ask again with the one of the next heartbeat.
    #[error("the member's epoch is stale")]
    StaleMemberEpoch,
    /// The pattern is not one.
    #[error("the regular expression is not valid")]
    InvalidRegularExpression,
    /// A member of this protocol must use a newer version of the API.
    #[error("the version is not supported for this group")]
    UnsupportedVersion,
    /// The group still reads the topic.
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    /// The transaction that the offsets belong to is over.
    #[error("the offsets belong to a transaction that is over")]
    InvalidTxnState,
    /// The request's counts or values make no sense.
    #[error("the request is malformed")]
    InvalidRequest,
}
