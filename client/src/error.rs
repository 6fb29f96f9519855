//! What can go wrong in the client, as one enum: each error says what failed, where, and whether trying again may help.
//!
//! Errors are `Clone`, because one failed batch or connection is told to everyone who waits for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::records::BatchError;
use ottla_protocol::{ApiKey, DecodeError, EncodeError, ErrorCode};
use thiserror::Error;

use crate::TopicPartition;

/// Why a call of the client failed.
#[derive(Debug, Clone, Error)]
pub enum ClientError {
    /// No connection could be opened.
    #[error("cannot connect to {address}: {reason}")]
    Connect { address: String, reason: Arc<io::Error> },
    /// The two sides do not believe each other's certificates, or have no TLS in common.
    #[error("no TLS with {address}: {reason}")]
    Tls { address: String, reason: String },
    /// The broker does not believe that the client is who it says it is.
    #[error("{address} refuses the client ({mechanism}): {reason}")]
    Authentication { address: String, mechanism: &'static str, reason: String },
    /// The connection ended before the answer came.
    #[error("the connection to {address} was lost: {reason}")]
    Disconnected { address: String, reason: &'static str },
    /// The broker did not answer one request within `request_timeout`.
    #[error("{address} did not answer {api} within {waited:?}")]
    RequestTimeout { address: String, api: ApiKey, waited: Duration },
    /// The broker's bytes are no answer to what was asked.
    #[error("the answer of {address} to {api} cannot be read: {reason}")]
    BadResponse { address: String, api: ApiKey, reason: DecodeError },
    /// The request cannot be said in the version that the broker speaks.
    #[error("{api} cannot be written for {address}: {reason}")]
    BadRequest { address: String, api: ApiKey, reason: EncodeError },
    /// Client and broker share no version of the API.
    #[error(
        "{address} serves {api} in versions {broker_min} to {broker_max}, this client speaks {client_min} to {client_max}"
    )]
    UnsupportedVersion {
        address: String,
        api: ApiKey,
        broker_min: i16,
        broker_max: i16,
        client_min: i16,
        client_max: i16,
    },
    /// The broker does not serve the API at all.
    #[error("{address} does not serve {api}")]
    UnsupportedApi { address: String, api: ApiKey },
    /// The broker answered with an error code.
    #[error("{what}: {} ({}){}", code.message(), code.name(), detail(message))]
    Broker { what: String, code: ErrorCode, message: Option<String> },
    /// The retries of a call used up its time; `last` is what the last try met.
    #[error("{what} did not succeed within {waited:?}; last: {last}")]
    Timeout { what: String, waited: Duration, last: Arc<ClientError> },
    /// The partition has no leader that is known.
    #[error("{topic_partition} has no leader at present")]
    NoLeader { topic_partition: TopicPartition },
    /// The topic has fewer partitions than asked for.
    #[error("{topic_partition} does not exist: the topic has {partitions} partitions")]
    UnknownPartition { topic_partition: TopicPartition, partitions: i32 },
    /// A record larger than the producer may send.
    #[error("a record of {size} bytes for topic {topic} is larger than max_request_size ({limit} bytes)")]
    RecordTooLarge { topic: String, size: usize, limit: usize },
    /// The position is outside of what the partition holds, and the consumer was told not to reset it.
    #[error("offset {offset} is outside of what {topic_partition} holds, and auto_offset_reset is none")]
    OffsetOutOfRange { topic_partition: TopicPartition, offset: i64 },
    /// No offset was committed, and the consumer was told not to choose one.
    #[error("the group has no offset for {topic_partition}, and auto_offset_reset is none")]
    NoOffset { topic_partition: TopicPartition },
    /// Fetched bytes are damaged. The position stays before them.
    #[error("the batch at offset {offset} of {topic_partition} is damaged: {reason}")]
    CorruptBatch { topic_partition: TopicPartition, offset: i64, reason: BatchError },
    /// The partition is not assigned to this consumer.
    #[error("{topic_partition} is not assigned to this consumer")]
    NotAssigned { topic_partition: TopicPartition },
    /// The group moved on without this member: its offsets were not stored, others may read the records again.
    #[error("offsets of group {group} were not committed: the group has rebalanced ({})", code.name())]
    CommitFenced { group: String, code: ErrorCode },
    /// The transaction cannot be committed: abort it, and begin another one. `reason` is what went wrong first.
    #[error("the transaction of {transactional_id} can only be aborted: {reason}")]
    TransactionAbortable { transactional_id: String, reason: Arc<ClientError> },
    /// A newer producer has the transactional id, or the coordinator ended a transaction that took too long. This producer
    /// can do nothing more.
    #[error(
        "the producer of {transactional_id} is fenced: a newer one has its transactional id, or its transaction took too long"
    )]
    ProducerFenced { transactional_id: String },
    /// This producer can do nothing more.
    #[error("the producer of {transactional_id} cannot go on: {reason}")]
    TransactionFatal { transactional_id: String, reason: Arc<ClientError> },
    /// The record was not written, because its transaction was aborted.
    #[error("the transaction of {transactional_id} was aborted")]
    TransactionAborted { transactional_id: String },
    /// The calls of a transaction came in another order than they can.
    #[error("transactional id {transactional_id}: {what}")]
    TransactionOrder { transactional_id: String, what: &'static str },
    /// The configuration contradicts itself or lacks something.
    #[error("configuration: {0}")]
    InvalidConfig(String),
    /// The producer, consumer or client was closed.
    #[error("the {0} is closed")]
    Closed(&'static str),
}

fn detail(message: &Option<String>) -> String {
    message.as_deref().filter(|text| !text.is_empty()).map(|text| format!(": {text}")).unwrap_or_default()
}

impl ClientError {
    /// The error for a code that a broker answered with.
    pub(crate) fn broker(what: impl Into<String>, code: ErrorCode) -> ClientError {
        ClientError::Broker { what: what.into(), code, message: None }
    }

    /// The error code a broker answered with, if that is what happened.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker { code, .. } | ClientError::CommitFenced { code, .. } => Some(*code),
            ClientError::Timeout { last: reason, .. }
            | ClientError::TransactionAbortable { reason, .. }
            | ClientError::TransactionFatal { reason, .. } => reason.code(),
            ClientError::ProducerFenced { .. } => Some(ErrorCode::ProducerFenced),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anything being changed. Calls of this crate have already
    /// retried such errors for as long as their configuration allows.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Connect { .. }
            | ClientError::Disconnected { .. }
            | ClientError::RequestTimeout { .. }
            | ClientError::Timeout { .. }
            | ClientError::NoLeader { .. } => true,
            ClientError::Broker { code, .. } => code.is_retriable(),
            ClientError::Tls { .. }
            | ClientError::Authentication { .. }
            | ClientError::BadResponse { .. }
            | ClientError::BadRequest { .. }
            | ClientError::UnsupportedVersion { .. }
            | ClientError::UnsupportedApi { .. }
            | ClientError::UnknownPartition { .. }
            | ClientError::RecordTooLarge { .. }
            | ClientError::OffsetOutOfRange { .. }
            | ClientError::NoOffset { .. }
            | ClientError::CorruptBatch { .. }
            | ClientError::NotAssigned { .. }
            | ClientError::CommitFenced { .. }
            | ClientError::TransactionAbortable { .. }
            | ClientError::ProducerFenced { .. }
            | ClientError::TransactionFatal { .. }
            | ClientError::TransactionAborted { .. }
            | ClientError::TransactionOrder { .. }
            | ClientError::InvalidConfig(_)
            | ClientError::Closed(_) => false,
        }
    }

    /// Whether the open transaction must be aborted before the producer can go on.
    pub fn must_abort(&self) -> bool {
        matches!(self, ClientError::TransactionAbortable { .. })
    }

    /// Whether a transactional producer that met this is done for: only a new one of the same transactional id can go on.
    pub fn is_fatal(&self) -> bool {
        matches!(self, ClientError::ProducerFenced { .. } | ClientError::TransactionFatal { .. })
    }

    /// Whether the broker refuses this client, or the client the broker, so that every connection would end the same.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, ClientError::Tls { .. } | ClientError::Authentication { .. })
    }

    /// Whether the connection, not the request, is at fault: another connection may do.
    pub(crate) fn is_connection(&self) -> bool {
        matches!(
            self,
            ClientError::Connect { .. }
                | ClientError::Disconnected { .. }
                | ClientError::RequestTimeout { .. }
                | ClientError::BadResponse { .. }
        )
    }
}

/// Turns an error code of a response into a result.
pub(crate) fn check(code: i16, what: impl FnOnce() -> String) -> Result<(), ClientError> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::broker(what(), code)),
    }
}

/// As [`check`], with the broker's own words.
pub(crate) fn check_with(
    code: i16,
    message: Option<&str>,
    what: impl FnOnce() -> String,
) -> Result<(), ClientError> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::Broker { what: what(), code, message: message.map(str::to_owned) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_error_says_what_failed_and_in_which_words() {
        let error = ClientError::Broker {
            what: "creating topic flights".into(),
            code: ErrorCode::TopicAlreadyExists,
            message: Some("it is there".into()),
        };
        let text = error.to_string();
        assert!(text.starts_with("creating topic flights: "), "{text}");
        assert!(text.ends_with("(TOPIC_ALREADY_EXISTS): it is there"), "{text}");
        assert!(!error.is_retriable());
    }

    #[test]
    fn a_lost_connection_is_retriable_and_a_damaged_batch_is_not() {
        let lost = ClientError::Disconnected { address: "h:1".into(), reason: "closed" };
        assert!(lost.is_retriable() && lost.is_connection());
        let damaged = ClientError::CorruptBatch {
            topic_partition: TopicPartition::new("t", 0),
            offset: 5,
            reason: BatchError::BadMagic(1),
        };
        assert!(!damaged.is_retriable());
    }
}
