//! The requests of a transaction to its coordinator and to that of a group, each retried until it succeeds or fails for
//! good. What an error means is decided in `transaction`.

use std::collections::BTreeMap;

use ottla_protocol::messages::k24_add_partitions_to_txn::AddPartitionsToTxnTopicV3;
use ottla_protocol::messages::k28_txn_offset_commit::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use ottla_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest,
    EndTxnResponse, InitProducerIdRequest, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use ottla_protocol::{ErrorCode, Str};

use super::batch::ProducerIdentity;
use super::transaction::{Enlisting, TransactionVersion};
use crate::TopicPartition;
use crate::coordinator::Coordinator;
use crate::error::ClientError;
use crate::group_offsets::{CommittedOffset, GroupMetadata};
use crate::pool::Lane;

/// Later versions are spoken between brokers.
const ADD_PARTITIONS_VERSION_MAX: i16 = 3;
/// From the next version on the coordinator takes the client for one of transactions in version 2.
const END_VERSION_MAX_TRANSACTIONS_1: i16 = 4;
/// From the next version on the group's coordinator adds the group to the transaction.
const OFFSETS_VERSION_MAX_TRANSACTIONS_1: i16 = 4;
/// From here on it can be said which member commits (KIP-447).
const OFFSETS_VERSION_WITH_MEMBER: i16 = 3;

/// What is asked of the coordinator of a transactional id at the start: see [`init`].
pub(super) struct Init<'a> {
    pub transaction_timeout_ms: i32,
    /// The identity that is to be renewed; none at the start.
    pub identity: Option<ProducerIdentity>,
    pub coordinator: &'a Coordinator,
}

/// Gives the producer its identity, one epoch later than whoever had the transactional id before, whose open transaction
/// is aborted.
pub(super) async fn init(init: Init<'_>) -> Result<ProducerIdentity, ClientError> {
    let (producer_id, producer_epoch) = match init.identity {
        Some(identity) => (identity.producer_id, identity.producer_epoch),
        None => (-1, -1),
    };
    let request = |version: i16| InitProducerIdRequest {
        transactional_id: Some(init.coordinator.key.clone()),
        transaction_timeout_ms: init.transaction_timeout_ms,
        producer_id: if version >= 3 { producer_id } else { -1 },
        producer_epoch: if version >= 3 { producer_epoch } else { -1 },
    };
    let response = init.coordinator.send_retrying(i16::MAX, request, |response| response.error_code).await?;
    Ok(ProducerIdentity { producer_id: response.producer_id, producer_epoch: response.producer_epoch })
}

/// How the cluster of the coordinator speaks of transactions.
pub(super) async fn version(coordinator: &Coordinator) -> Result<TransactionVersion, ClientError> {
    let attempt = async || coordinator.connection(Lane::Control).await;
    let what = || format!("connecting to the coordinator of transactional id {}", coordinator.key);
    let connection = coordinator.cluster.retry(what, attempt).await?;
    let level = connection.feature("transaction.version");
    Ok(if level >= 2 { TransactionVersion::Two } else { TransactionVersion::One })
}

/// Adds partitions to the transaction.
pub(super) async fn add_partitions(
    coordinator: &Coordinator,
    enlisting: &Enlisting,
) -> Result<(), ClientError> {
    let identity = enlisting.identity;
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &enlisting.places {
        topics.entry(topic).or_default().push(*partition);
    }
    let topics = topics.into_iter();
    let topics: Vec<AddPartitionsToTxnTopicV3> = topics
        .map(|(name, partitions)| AddPartitionsToTxnTopicV3 { name: name.into(), partitions })
        .collect();
    let request = |_| AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: coordinator.key.clone(),
        v3_and_below_producer_id: identity.producer_id,
        v3_and_below_producer_epoch: identity.producer_epoch,
        v3_and_below_topics: topics.clone(),
        ..AddPartitionsToTxnRequest::default()
    };
    // Where one partition fails the others are told that they were not attempted.
    let first_error = |response: &AddPartitionsToTxnResponse| {
        let topics = response.results_by_topic_v3_and_below.iter();
        let partitions = topics.flat_map(|topic| &topic.results_by_partition);
        first_error(partitions.map(|partition| partition.partition_error_code))
    };
    coordinator.send_retrying(ADD_PARTITIONS_VERSION_MAX, request, first_error).await.map(drop)
}

/// Adds a group to the transaction.
pub(super) async fn add_offsets(
    coordinator: &Coordinator,
    identity: ProducerIdentity,
    group_id: &str,
) -> Result<(), ClientError> {
    let request = |_| AddOffsetsToTxnRequest {
        transactional_id: coordinator.key.clone(),
        producer_id: identity.producer_id,
        producer_epoch: identity.producer_epoch,
        group_id: group_id.into(),
    };
    coordinator.send_retrying(i16::MAX, request, |response| response.error_code).await.map(drop)
}

/// Stores offsets at the coordinator of the group, to count when the transaction is committed.
pub(super) async fn commit_offsets(
    group_coordinator: &Coordinator,
    transactional_id: &Str,
    (identity, version): (ProducerIdentity, TransactionVersion),
    group: &GroupMetadata,
    offsets: &[(TopicPartition, CommittedOffset)],
) -> Result<(), ClientError> {
    let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
    for (topic_partition, committed) in offsets {
        topics.entry(&topic_partition.topic).or_default().push(TxnOffsetCommitRequestPartition {
            partition_index: topic_partition.partition,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            committed_metadata: Some(committed.metadata.as_str().into()),
        });
    }
    let topics = topics.into_iter();
    let topics: Vec<TxnOffsetCommitRequestTopic> = topics
        .map(|(name, partitions)| TxnOffsetCommitRequestTopic { name: name.into(), partitions })
        .collect();
    let request = |version: i16| {
        let is_member = version >= OFFSETS_VERSION_WITH_MEMBER;
        TxnOffsetCommitRequest {
            transactional_id: transactional_id.clone(),
            group_id: group.group_id.as_str().into(),
            producer_id: identity.producer_id,
            producer_epoch: identity.producer_epoch,
            generation_id: if is_member { group.generation_id } else { -1 },
            member_id: if is_member { group.member_id.as_str().into() } else { Str::default() },
            group_instance_id: group.group_instance_id.as_deref().filter(|_| is_member).map(Str::from),
            topics: topics.clone(),
        }
    };
    let code = |response: &TxnOffsetCommitResponse| {
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        first_error(partitions.map(|partition| partition.error_code))
    };
    let version_max = match version {
        TransactionVersion::One => OFFSETS_VERSION_MAX_TRANSACTIONS_1,
        TransactionVersion::Two => i16::MAX,
    };
    group_coordinator.send_retrying(version_max, request, code).await.map(drop)
}

/// Ends the transaction. Gives the identity of the next one where the coordinator tells it.
pub(super) async fn end(
    coordinator: &Coordinator,
    (identity, version): (ProducerIdentity, TransactionVersion),
    committed: bool,
) -> Result<Option<ProducerIdentity>, ClientError> {
    let request = |_| EndTxnRequest {
        transactional_id: coordinator.key.clone(),
        producer_id: identity.producer_id,
        producer_epoch: identity.producer_epoch,
        committed,
    };
    let version_max = match version {
        TransactionVersion::One => END_VERSION_MAX_TRANSACTIONS_1,
        TransactionVersion::Two => i16::MAX,
    };
    let code = |response: &EndTxnResponse| response.error_code;
    let response = coordinator.send_retrying(version_max, request, code).await?;
    let next =
        ProducerIdentity { producer_id: response.producer_id, producer_epoch: response.producer_epoch };
    Ok(Some(next).filter(|next| next.producer_id >= 0))
}

/// What decides among the errors of partitions: not that others were not attempted because of it.
fn first_error(codes: impl Iterator<Item = i16>) -> i16 {
    let not_attempted = ErrorCode::OperationNotAttempted.code();
    let mut codes: Vec<i16> = codes.filter(|code| *code != 0).collect();
    codes.sort_by_key(|code| *code == not_attempted);
    codes.first().copied().unwrap_or(0)
}
