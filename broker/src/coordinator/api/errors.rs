//! Kafka's codes for the facts a group states.

use ottla_protocol::ErrorCode;

use crate::groups::GroupError;

impl From<GroupError> for ErrorCode {
    fn from(error: GroupError) -> ErrorCode {
        match error {
            GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
            GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
            GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
            GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
            GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
            GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
            GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
            GroupError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
            GroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
            GroupError::UnknownTopicId => ErrorCode::UnknownTopicId,
            GroupError::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
            GroupError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            GroupError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
            GroupError::NotCoordinator => ErrorCode::NotCoordinator,
            GroupError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
            GroupError::UnreleasedInstanceId => ErrorCode::UnreleasedInstanceId,
            GroupError::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
            GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
            GroupError::InvalidRegularExpression => ErrorCode::InvalidRegularExpression,
            GroupError::UnsupportedVersion => ErrorCode::UnsupportedVersion,
            GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            GroupError::InvalidTxnState => ErrorCode::InvalidTxnState,
            GroupError::InvalidRequest => ErrorCode::InvalidRequest,
        }
    }
}

/// The code of an answer that is either granted or refused.
pub(super) fn code<T>(answer: &Result<T, GroupError>) -> i16 {
    match answer {
        Ok(_) => ErrorCode::None.code(),
        Err(error) => ErrorCode::from(*error).code(),
    }
}
