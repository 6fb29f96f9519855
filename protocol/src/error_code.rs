//! Kafka's error codes: number, name, whether trying again may help, and what it means. Errors of our own are
//! mapped to these only at the edge, in the handlers.

macro_rules! error_codes {
    ($($variant:ident $name:ident $code:literal $retriable:literal $message:literal,)*) => {
        /// Every error code of Kafka 4.3.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = $message] $variant = $code,)*
        }

        impl ErrorCode {
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The code's error, or `UnknownServerError` for a code this table does not have.
            pub fn from_code(code: i16) -> ErrorCode {
                match code {
                    $($code => ErrorCode::$variant,)*
                    _ => ErrorCode::UnknownServerError,
                }
            }

            /// Kafka's name, such as `NOT_LEADER_OR_FOLLOWER`.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => stringify!($name),)*
                }
            }

            /// Whether a client may expect the same request to succeed later.
            pub fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => $retriable,)*
                }
            }

            /// What it means, as a sentence without its end.
            pub fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $message,)*
                }
            }
        }
    };
}

error_codes! {
    UnknownServerError UNKNOWN_SERVER_ERROR -1 false "the broker met an error it did not expect",
    None NONE 0 false "no error",
    OffsetOutOfRange OFFSET_OUT_OF_RANGE 1 false "the offset is outside of what the partition holds",
    CorruptMessage CORRUPT_MESSAGE 2 true "a record batch has a wrong checksum, size or form",
    UnknownTopicOrPartition UNKNOWN_TOPIC_OR_PARTITION 3 true "the broker does not host this topic or partition",
    InvalidFetchSize INVALID_FETCH_SIZE 4 false "the fetch size is not valid",
    LeaderNotAvailable LEADER_NOT_AVAILABLE 5 true "the partition has no leader at present",
    NotLeaderOrFollower NOT_LEADER_OR_FOLLOWER 6 true "this broker is neither leader nor follower of the partition",
    RequestTimedOut REQUEST_TIMED_OUT 7 true "the request was not done in time",
    BrokerNotAvailable BROKER_NOT_AVAILABLE 8 false "the broker is not available",
    ReplicaNotAvailable REPLICA_NOT_AVAILABLE 9 true "the replica is not available",
    MessageTooLarge MESSAGE_TOO_LARGE 10 false "the batch is larger than max.message.bytes",
    StaleControllerEpoch STALE_CONTROLLER_EPOCH 11 false "the controller's epoch is older than the one known",
    OffsetMetadataTooLarge OFFSET_METADATA_TOO_LARGE 12 false "the metadata string of the offset is too long",
    NetworkException NETWORK_EXCEPTION 13 true "the connection was lost before the answer came",
    CoordinatorLoadInProgress COORDINATOR_LOAD_IN_PROGRESS 14 true "the coordinator is still loading its state",
    CoordinatorNotAvailable COORDINATOR_NOT_AVAILABLE 15 true "there is no coordinator at present",
    NotCoordinator NOT_COORDINATOR 16 true "this broker is not the coordinator",
    InvalidTopicException INVALID_TOPIC_EXCEPTION 17 false "the topic's name is not valid or not allowed",
    RecordListTooLarge RECORD_LIST_TOO_LARGE 18 false "the batches together are larger than a segment",
    NotEnoughReplicas NOT_ENOUGH_REPLICAS 19 true "fewer replicas are in sync than min.insync.replicas asks for",
    NotEnoughReplicasAfterAppend NOT_ENOUGH_REPLICAS_AFTER_APPEND 20 true "the batch was appended, but to fewer replicas than min.insync.replicas asks for",
    InvalidRequiredAcks INVALID_REQUIRED_ACKS 21 false "acks must be -1, 0 or 1",
    IllegalGeneration ILLEGAL_GENERATION 22 false "the generation is not the group's current one",
    InconsistentGroupProtocol INCONSISTENT_GROUP_PROTOCOL 23 false "the member's protocols have nothing in common with the group's",
    InvalidGroupId INVALID_GROUP_ID 24 false "the group id is not valid",
    UnknownMemberId UNKNOWN_MEMBER_ID 25 false "the group does not know this member",
    InvalidSessionTimeout INVALID_SESSION_TIMEOUT 26 false "the session timeout is outside of what the broker allows",
    RebalanceInProgress REBALANCE_IN_PROGRESS 27 false "the group is rebalancing: join again",
    InvalidCommitOffsetSize INVALID_COMMIT_OFFSET_SIZE 28 false "the offset data is too large to be committed",
    TopicAuthorizationFailed TOPIC_AUTHORIZATION_FAILED 29 false "no permission for the topic",
    GroupAuthorizationFailed GROUP_AUTHORIZATION_FAILED 30 false "no permission for the group",
    ClusterAuthorizationFailed CLUSTER_AUTHORIZATION_FAILED 31 false "no permission for the cluster",
    InvalidTimestamp INVALID_TIMESTAMP 32 false "the record's timestamp is outside of what the topic allows",
    UnsupportedSaslMechanism UNSUPPORTED_SASL_MECHANISM 33 false "the broker does not have this SASL mechanism",
    IllegalSaslState ILLEGAL_SASL_STATE 34 false "this request is not allowed in the present state of authentication",
    UnsupportedVersion UNSUPPORTED_VERSION 35 false "the broker does not have this version of the API",
    TopicAlreadyExists TOPIC_ALREADY_EXISTS 36 false "the topic is there already",
    InvalidPartitions INVALID_PARTITIONS 37 false "the number of partitions is not valid",
    InvalidReplicationFactor INVALID_REPLICATION_FACTOR 38 false "the replication factor is below 1 or above the number of brokers",
    InvalidReplicaAssignment INVALID_REPLICA_ASSIGNMENT 39 false "the replica assignment is not valid",
    InvalidConfig INVALID_CONFIG 40 false "a config is not valid",
    NotController NOT_CONTROLLER 41 true "this broker is not the controller",
    InvalidRequest INVALID_REQUEST 42 false "the request contradicts itself or the protocol",
    UnsupportedForMessageFormat UNSUPPORTED_FOR_MESSAGE_FORMAT 43 false "the message format is too old for this",
    PolicyViolation POLICY_VIOLATION 44 false "a policy of the cluster refuses this",
    OutOfOrderSequenceNumber OUT_OF_ORDER_SEQUENCE_NUMBER 45 false "a sequence number is missing before this batch",
    DuplicateSequenceNumber DUPLICATE_SEQUENCE_NUMBER 46 false "this batch was appended before",
    InvalidProducerEpoch INVALID_PRODUCER_EPOCH 47 false "the producer's epoch is older than the one known",
    InvalidTxnState INVALID_TXN_STATE 48 false "the transaction is not in a state that allows this",
    InvalidProducerIdMapping INVALID_PRODUCER_ID_MAPPING 49 false "the producer id is not the one of this transactional id",
    InvalidTransactionTimeout INVALID_TRANSACTION_TIMEOUT 50 false "the transaction timeout is larger than the broker allows",
    ConcurrentTransactions CONCURRENT_TRANSACTIONS 51 true "another operation on this transaction is going on",
    TransactionCoordinatorFenced TRANSACTION_COORDINATOR_FENCED 52 false "the transaction coordinator was replaced by a newer one",
    TransactionalIdAuthorizationFailed TRANSACTIONAL_ID_AUTHORIZATION_FAILED 53 false "no permission for the transactional id",
    SecurityDisabled SECURITY_DISABLED 54 false "security is switched off",
    OperationNotAttempted OPERATION_NOT_ATTEMPTED 55 false "not tried, because another operation of the request failed",
    KafkaStorageError KAFKA_STORAGE_ERROR 56 true "the disk failed under the log",
    LogDirNotFound LOG_DIR_NOT_FOUND 57 false "the broker has no such log directory",
    SaslAuthenticationFailed SASL_AUTHENTICATION_FAILED 58 false "the credentials were refused",
    UnknownProducerId UNKNOWN_PRODUCER_ID 59 false "the broker knows nothing of this producer id",
    ReassignmentInProgress REASSIGNMENT_IN_PROGRESS 60 false "the partition is being reassigned",
    DelegationTokenAuthDisabled DELEGATION_TOKEN_AUTH_DISABLED 61 false "delegation tokens are switched off",
    DelegationTokenNotFound DELEGATION_TOKEN_NOT_FOUND 62 false "there is no such delegation token",
    DelegationTokenOwnerMismatch DELEGATION_TOKEN_OWNER_MISMATCH 63 false "only its owner may do this with the delegation token",
    DelegationTokenRequestNotAllowed DELEGATION_TOKEN_REQUEST_NOT_ALLOWED 64 false "a delegation token cannot be asked for on such a connection",
    DelegationTokenAuthorizationFailed DELEGATION_TOKEN_AUTHORIZATION_FAILED 65 false "no permission for the delegation token",
    DelegationTokenExpired DELEGATION_TOKEN_EXPIRED 66 false "the delegation token has expired",
    InvalidPrincipalType INVALID_PRINCIPAL_TYPE 67 false "the principal's type is not one that is allowed here",
    NonEmptyGroup NON_EMPTY_GROUP 68 false "the group is not empty",
    GroupIdNotFound GROUP_ID_NOT_FOUND 69 false "there is no such group",
    FetchSessionIdNotFound FETCH_SESSION_ID_NOT_FOUND 70 true "the broker does not know this fetch session",
    InvalidFetchSessionEpoch INVALID_FETCH_SESSION_EPOCH 71 true "the fetch session's epoch is not the expected one",
    ListenerNotFound LISTENER_NOT_FOUND 72 true "the leader has no listener of the name this request came by",
    TopicDeletionDisabled TOPIC_DELETION_DISABLED 73 false "deleting topics is switched off",
    FencedLeaderEpoch FENCED_LEADER_EPOCH 74 true "the leader epoch is older than the broker's",
    UnknownLeaderEpoch UNKNOWN_LEADER_EPOCH 75 true "the leader epoch is newer than the broker's",
    UnsupportedCompressionType UNSUPPORTED_COMPRESSION_TYPE 76 false "the client's version cannot read this compression",
    StaleBrokerEpoch STALE_BROKER_EPOCH 77 false "the broker's epoch has changed",
    OffsetNotAvailable OFFSET_NOT_AVAILABLE 78 true "the new leader does not know its high watermark yet",
    MemberIdRequired MEMBER_ID_REQUIRED 79 false "join again with the member id given here",
    PreferredLeaderNotAvailable PREFERRED_LEADER_NOT_AVAILABLE 80 true "the preferred leader is not available",
    GroupMaxSizeReached GROUP_MAX_SIZE_REACHED 81 false "the group is full",
    FencedInstanceId FENCED_INSTANCE_ID 82 false "another member has this group.instance.id by now",
    EligibleLeadersNotAvailable ELIGIBLE_LEADERS_NOT_AVAILABLE 83 true "no replica that may lead is available",
    ElectionNotNeeded ELECTION_NOT_NEEDED 84 true "the partition has the right leader already",
    NoReassignmentInProgress NO_REASSIGNMENT_IN_PROGRESS 85 false "no reassignment is going on",
    GroupSubscribedToTopic GROUP_SUBSCRIBED_TO_TOPIC 86 false "the group is subscribed to the topic",
    InvalidRecord INVALID_RECORD 87 false "the record is not valid",
    UnstableOffsetCommit UNSTABLE_OFFSET_COMMIT 88 true "the offset belongs to a transaction that is still open",
    ThrottlingQuotaExceeded THROTTLING_QUOTA_EXCEEDED 89 true "a quota is exceeded",
    ProducerFenced PRODUCER_FENCED 90 false "a newer producer has the transactional id",
    ResourceNotFound RESOURCE_NOT_FOUND 91 false "there is no such resource",
    DuplicateResource DUPLICATE_RESOURCE 92 false "the request names a resource twice",
    UnacceptableCredential UNACCEPTABLE_CREDENTIAL 93 false "the credential is not acceptable",
    InconsistentVoterSet INCONSISTENT_VOTER_SET 94 false "the voters differ from the expected ones",
    InvalidUpdateVersion INVALID_UPDATE_VERSION 95 false "the new version is not valid",
    FeatureUpdateFailed FEATURE_UPDATE_FAILED 96 false "the feature could not be changed",
    PrincipalDeserializationFailure PRINCIPAL_DESERIALIZATION_FAILURE 97 false "the forwarded principal could not be read",
    SnapshotNotFound SNAPSHOT_NOT_FOUND 98 false "there is no such snapshot",
    PositionOutOfRange POSITION_OUT_OF_RANGE 99 false "the position is outside of the snapshot",
    UnknownTopicId UNKNOWN_TOPIC_ID 100 true "the broker does not know this topic id",
    DuplicateBrokerRegistration DUPLICATE_BROKER_REGISTRATION 101 false "a broker with this id is registered already",
    BrokerIdNotRegistered BROKER_ID_NOT_REGISTERED 102 false "no broker is registered with this id",
    InconsistentTopicId INCONSISTENT_TOPIC_ID 103 true "the topic id is not the one in the log",
    InconsistentClusterId INCONSISTENT_CLUSTER_ID 104 false "the cluster id is another one",
    TransactionalIdNotFound TRANSACTIONAL_ID_NOT_FOUND 105 false "there is no such transactional id",
    FetchSessionTopicIdError FETCH_SESSION_TOPIC_ID_ERROR 106 true "the fetch session mixes topic names and topic ids",
    IneligibleReplica INELIGIBLE_REPLICA 107 false "the replica may not join the in-sync set",
    NewLeaderElected NEW_LEADER_ELECTED 108 false "the reassignment moved the leader",
    OffsetMovedToTieredStorage OFFSET_MOVED_TO_TIERED_STORAGE 109 false "the offset is in tiered storage only",
    FencedMemberEpoch FENCED_MEMBER_EPOCH 110 false "the member's epoch was fenced by the coordinator",
    UnreleasedInstanceId UNRELEASED_INSTANCE_ID 111 false "another member still holds this instance id",
    UnsupportedAssignor UNSUPPORTED_ASSIGNOR 112 false "the group has no such assignor",
    StaleMemberEpoch STALE_MEMBER_EPOCH 113 false "the member's epoch is old: try with the one of the next heartbeat",
    MismatchedEndpointType MISMATCHED_ENDPOINT_TYPE 114 false "the request came to an endpoint of another type",
    UnsupportedEndpointType UNSUPPORTED_ENDPOINT_TYPE 115 false "there is no such type of endpoint",
    UnknownControllerId UNKNOWN_CONTROLLER_ID 116 false "no controller has this id",
    UnknownSubscriptionId UNKNOWN_SUBSCRIPTION_ID 117 false "the subscription id is not the current one",
    TelemetryTooLarge TELEMETRY_TOO_LARGE 118 false "the telemetry is larger than the broker takes",
    InvalidRegistration INVALID_REGISTRATION 119 false "the controller refuses the broker's registration",
    TransactionAbortable TRANSACTION_ABORTABLE 120 false "the transaction must be aborted",
    InvalidRecordState INVALID_RECORD_STATE 121 false "the record is not in a state that allows this",
    ShareSessionNotFound SHARE_SESSION_NOT_FOUND 122 true "there is no such share session",
    InvalidShareSessionEpoch INVALID_SHARE_SESSION_EPOCH 123 true "the share session's epoch is not the expected one",
    FencedStateEpoch FENCED_STATE_EPOCH 124 false "the share coordinator has a newer state epoch",
    InvalidVoterKey INVALID_VOTER_KEY 125 false "the voter's key is not the one the receiver has",
    DuplicateVoter DUPLICATE_VOTER 126 false "the voter is one already",
    VoterNotFound VOTER_NOT_FOUND 127 false "there is no such voter",
    InvalidRegularExpression INVALID_REGULAR_EXPRESSION 128 false "the regular expression is not valid",
    RebootstrapRequired REBOOTSTRAP_REQUIRED 129 false "the client's metadata is too old: start again from the bootstrap servers",
    StreamsInvalidTopology STREAMS_INVALID_TOPOLOGY 130 false "the topology is not valid",
    StreamsInvalidTopologyEpoch STREAMS_INVALID_TOPOLOGY_EPOCH 131 false "the topology's epoch is not valid",
    StreamsTopologyFenced STREAMS_TOPOLOGY_FENCED 132 false "the topology's epoch is old",
    ShareSessionLimitReached SHARE_SESSION_LIMIT_REACHED 133 true "the broker has as many share sessions as it allows",
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }

    pub fn is_none(self) -> bool {
        self == ErrorCode::None
    }

    /// `Err` for every code but `None`.
    pub fn check(code: i16) -> Result<(), ErrorCode> {
        match ErrorCode::from_code(code) {
            ErrorCode::None => Ok(()),
            error => Err(error),
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name(), self.message())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_comes_back_from_its_code() {
        for error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), *error);
        }
        assert_eq!(ErrorCode::from_code(30_000), ErrorCode::UnknownServerError);
    }

    #[test]
    fn codes_run_without_a_gap_from_minus_one() {
        let codes: Vec<i16> = ErrorCode::ALL.iter().map(|error| error.code()).collect();
        assert_eq!(codes, (-1..=133).collect::<Vec<i16>>());
    }

    #[test]
    fn it_says_its_kafka_name_and_meaning() {
        assert_eq!(
            ErrorCode::NotLeaderOrFollower.to_string(),
            "NOT_LEADER_OR_FOLLOWER: this broker is neither leader nor follower of the partition"
        );
        assert_eq!(ErrorCode::check(0), Ok(()));
        assert_eq!(ErrorCode::check(6), Err(ErrorCode::NotLeaderOrFollower));
    }
}
