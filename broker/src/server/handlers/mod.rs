//! One file per API key. Each opens with what the API does, the versions it is served at and the KIPs behind it.
//!
//! A handler never fails: what goes wrong becomes the error code of the topic, partition or group that it concerns.

pub(super) mod acls;
pub(super) mod client_quotas;
mod group_access;
pub(super) mod groups;
pub(super) mod k00_produce;
pub(super) mod k01_fetch;
pub(super) mod k02_list_offsets;
pub(super) mod k03_metadata;
pub(super) mod k10_find_coordinator;
pub(super) mod k18_api_versions;
pub(super) mod k19_create_topics;
pub(super) mod k20_delete_topics;
pub(super) mod k21_delete_records;
pub(super) mod k22_init_producer_id;
pub(super) mod k23_offset_for_leader_epoch;
pub(super) mod k24_add_partitions_to_txn;
pub(super) mod k25_add_offsets_to_txn;
pub(super) mod k26_end_txn;
pub(super) mod k27_write_txn_markers;
pub(super) mod k28_txn_offset_commit;
pub(super) mod k32_describe_configs;
pub(super) mod k33_alter_configs;
pub(super) mod k34_alter_replica_log_dirs;
pub(super) mod k35_describe_log_dirs;
pub(super) mod k37_create_partitions;
pub(super) mod k43_elect_leaders;
pub(super) mod k44_incremental_alter_configs;
pub(super) mod k45_alter_partition_reassignments;
pub(super) mod k46_list_partition_reassignments;
pub(super) mod k55_describe_quorum;
pub(super) mod k57_update_features;
pub(super) mod k60_describe_cluster;
pub(super) mod k61_describe_producers;
pub(super) mod k64_unregister_broker;
pub(super) mod k65_describe_transactions;
pub(super) mod k66_list_transactions;
pub(super) mod k71_get_telemetry_subscriptions;
pub(super) mod k72_push_telemetry;
pub(super) mod k74_list_config_resources;
pub(super) mod k75_describe_topic_partitions;
pub(super) mod k80_add_raft_voter;
pub(super) mod k81_remove_raft_voter;
pub(super) mod sasl;
pub(super) mod scram_credentials;
pub(super) mod transactions;
pub(super) use transactions::error_of;

use ottla_protocol::ErrorCode;
use ottla_protocol::wire::{Str, Uuid};

use crate::controller::{ClusterImage, TopicImage};
use crate::ids::LeaderEpoch;
use crate::log::LogError;
use crate::partition::{AppendError, OpenPartition};

use super::context::Context;

/// The topic that a request names, by id where its version has ids, else by name.
fn topic_name(image: &ClusterImage, by_id: bool, name: &Str, id: Uuid) -> Result<Str, ErrorCode> {
    if !by_id {
        return Ok(name.clone());
    }
    image.topic_by_id(id).map(|topic| topic.name.as_str().into()).ok_or(ErrorCode::UnknownTopicId)
}

/// An open partition that this node leads, or why there is none.
fn open_partition(context: &Context, topic: &str, partition: i32) -> Result<OpenPartition, ErrorCode> {
    let open = open_replica(context, topic, partition)?;
    match open.leader_and_isr.leads() {
        true => Ok(open),
        false => Err(ErrorCode::NotLeaderOrFollower),
    }
}

/// As [`open_partition`], of one that this node may only follow.
fn open_replica(context: &Context, topic: &str, partition: i32) -> Result<OpenPartition, ErrorCode> {
    if let Some(open) = context.partitions.get(topic, partition).filter(|open| !open.partition.is_closed()) {
        return Ok(open);
    }
    match context.image().topic(topic) {
        Some(image) => {
            match usize::try_from(partition).ok().and_then(|number| image.partitions.get(number)) {
                Some(found) if !found.replicas.contains(&context.node_id()) => {
                    Err(ErrorCode::NotLeaderOrFollower)
                }
                Some(_) => Err(ErrorCode::KafkaStorageError),
                None => Err(ErrorCode::UnknownTopicOrPartition),
            }
        }
        None => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

fn leader_epoch(topic: Option<&TopicImage>, partition: i32) -> LeaderEpoch {
    topic
        .and_then(|topic| topic.partitions.get(usize::try_from(partition).ok()?))
        .map_or(LeaderEpoch(-1), |partition| partition.leader_epoch)
}

/// Refuses a client that knows an older or a newer leader than there is (KIP-320); -1 does not say.
fn check_epoch(claimed: i32, current: LeaderEpoch) -> Result<(), ErrorCode> {
    match claimed {
        -1 => Ok(()),
        claimed if claimed < current.0 => Err(ErrorCode::FencedLeaderEpoch),
        claimed if claimed > current.0 => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

fn log_error_code(error: &LogError) -> ErrorCode {
    use crate::log::SequenceError;
    use ottla_protocol::records::{BatchError, CompressionError};
    match error {
        LogError::Io { .. } | LogError::Abandoned => ErrorCode::KafkaStorageError,
        LogError::Timestamp { .. } => ErrorCode::InvalidTimestamp,
        LogError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        LogError::Invalid(_) | LogError::Records { .. } => ErrorCode::InvalidRecord,
        LogError::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
        LogError::Sequence(SequenceError::StaleEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
        LogError::Sequence(SequenceError::CoordinatorFenced { .. }) => {
            ErrorCode::TransactionCoordinatorFenced
        }
        LogError::Sequence(SequenceError::NotTransactional { .. }) => ErrorCode::InvalidTxnState,
        LogError::Batch(BatchError::BadMagic(_)) => ErrorCode::UnsupportedForMessageFormat,
        LogError::Batch(BatchError::BadRecord { .. } | BatchError::BadHeader(_)) => ErrorCode::InvalidRecord,
        LogError::Batch(BatchError::Compression(CompressionError::UnknownCodec(_))) => {
            ErrorCode::UnsupportedCompressionType
        }
        // Sent again it would be no better, so not the code that makes producers try.
        LogError::Batch(BatchError::Compression(_)) => ErrorCode::InvalidRecord,
        LogError::Batch(_) | LogError::Corrupt { .. } => ErrorCode::CorruptMessage,
    }
}

fn append_error_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Log(error) => log_error_code(error),
        AppendError::Transaction(error) => transactions::code(*error),
        AppendError::NotEnoughReplicas | AppendError::Overtakes => ErrorCode::NotEnoughReplicas,
        AppendError::NotLeader | AppendError::Closed => ErrorCode::NotLeaderOrFollower,
    }
}
