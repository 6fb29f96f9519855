//! Why the controller cannot do what it should.

use std::path::PathBuf;

use ottla_protocol::ErrorCode;
use ottla_protocol::records::BatchError;
use ottla_protocol::wire::EncodeError;
use thiserror::Error;

use super::records::RecordError;
use super::takeover::OtherNodes;
use super::topics::Refusal;
use crate::ids::Offset;
use crate::log::{LogError, ReadError};
use crate::partition::LogDirError;
use crate::quorum::ProposeError;

/// Why the controller cannot start or go on.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The metadata log cannot be read.
    #[error("metadata log: {0}")]
    Read(#[from] ReadError),
    /// A batch in it is damaged.
    #[error("metadata log at offset {offset}: {error}")]
    Batch {
        /// Where.
        offset: Offset,
        /// What is wrong.
        error: BatchError,
    },
    /// A record in it cannot be understood.
    #[error("metadata log at offset {offset}: {error}")]
    Record {
        /// Where.
        offset: Offset,
        /// What is wrong.
        error: RecordError,
    },
    /// Records are missing that only a snapshot could tell.
    #[error(
        "{dir} begins at offset {log_start} and has no snapshot of what was before; restore its .checkpoint files"
    )]
    NoSnapshot {
        /// The folder of the metadata log.
        dir: PathBuf,
        /// Its first offset.
        log_start: Offset,
    },
    /// It is not about this node alone.
    #[error(transparent)]
    OtherNodes(#[from] OtherNodes),
    /// It cannot be written.
    #[error("metadata log: {0}")]
    Append(LogError),
    /// Another node decides, or nobody at the moment; what was decided last may or may not come to count.
    #[error("this node is not the active controller")]
    NotController,
    /// The active controller, which is another node, will not.
    #[error("the active controller refuses: {0}")]
    Refused(ErrorCode),
    /// A decision cannot be stored.
    #[error("metadata record: {0}")]
    Encode(#[from] EncodeError),
    /// The log dirs contradict each other.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// A partition cannot be opened or closed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The broker stops.
    #[error("the controller has stopped")]
    Stopped,
}

impl From<ControllerError> for Refusal {
    fn from(error: ControllerError) -> Refusal {
        let code = match error {
            ControllerError::Append(_) | ControllerError::Log(_) => ErrorCode::KafkaStorageError,
            ControllerError::NotController => ErrorCode::NotController,
            ControllerError::Refused(code) => code,
            _ => ErrorCode::UnknownServerError,
        };
        Refusal { code, message: error.to_string() }
    }
}

impl From<ProposeError> for ControllerError {
    fn from(error: ProposeError) -> ControllerError {
        match error {
            ProposeError::NotLeader => ControllerError::NotController,
            ProposeError::Log(error) => ControllerError::Append(error),
            ProposeError::Stopped => ControllerError::Stopped,
        }
    }
}
