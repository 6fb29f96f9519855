//! ListOffsets (2): where a partition begins and ends, and where a time begins. Versions 1 to 11.
//!
//! Special timestamps: -1 latest, -2 earliest, -3 the record with the largest timestamp (7, KIP-734), -4 earliest on
//! local disk (8, KIP-405), -5 latest in tiered storage (9, KIP-1005), -6 earliest not yet uploaded (11, KIP-1023).

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k02_list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::{check_epoch, leader_epoch, log_error_code, open_partition};
use crate::ids::LeaderEpoch;
use crate::partition::Partition;
use crate::security::Operation;

const EPOCH_VERSION_MIN: i16 = 4;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<ListOffsetsRequest>,
) -> ListOffsetsResponse {
    let with_epoch = call.version() >= EPOCH_VERSION_MIN;
    let read_committed = call.request.isolation_level == 1;
    let looked_up = tokio::task::spawn_blocking(move || {
        let topics = call.request.topics.iter().map(|topic| {
            let allowed = call.access.topic(&context, Operation::Describe, &topic.name);
            let partitions = topic.partitions.iter().map(|asked| match allowed {
                true => answer(&context, &topic.name, asked, with_epoch, read_committed),
                false => ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: ErrorCode::TopicAuthorizationFailed.code(),
                    ..Default::default()
                },
            });
            ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
        });
        topics.collect()
    });
    ListOffsetsResponse { topics: looked_up.await.unwrap_or_default(), ..ListOffsetsResponse::default() }
}

fn answer(
    context: &Context,
    topic: &str,
    asked: &ListOffsetsPartition,
    with_epoch: bool,
    read_committed: bool,
) -> ListOffsetsPartitionResponse {
    let mut response =
        ListOffsetsPartitionResponse { partition_index: asked.partition_index, ..Default::default() };
    let current = leader_epoch(context.image().topic(topic).map(|topic| &**topic), asked.partition_index);
    let found = open_partition(context, topic, asked.partition_index)
        .and_then(|open| check_epoch(asked.current_leader_epoch, current).map(|()| open))
        .and_then(|open| find(&open.partition, asked.timestamp, current, read_committed));
    match found {
        Ok((timestamp, offset, epoch)) => {
            response.timestamp = timestamp;
            response.offset = offset;
            if with_epoch {
                response.leader_epoch = epoch.0;
            }
        }
        Err(code) => response.error_code = code.code(),
    }
    response
}

/// Timestamp, offset and leader epoch of the answer; -1 where there is none.
fn find(
    partition: &Partition,
    timestamp: i64,
    current: LeaderEpoch,
    read_committed: bool,
) -> Result<(i64, i64, LeaderEpoch), ErrorCode> {
    let log = partition.log();
    // Who reads what is committed never gets past the first undecided transaction (KIP-98).
    let committed = if read_committed { partition.last_stable() } else { partition.high_watermark() };
    let nothing = (-1, -1, LeaderEpoch(-1));
    let by_time = match timestamp {
        // A new leader learns only from its followers how far its predecessor has committed (KIP-207).
        LATEST
            if partition.leadership().is_some_and(|office| partition.high_watermark() < office.begins_at) =>
        {
            return Err(ErrorCode::OffsetNotAvailable);
        }
        LATEST => return Ok((-1, committed.0, current)),
        EARLIEST | EARLIEST_LOCAL => return Ok((-1, log.log_start().0, current)),
        // Nothing is tiered, so nothing waits for an upload either.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(nothing),
        MAX_TIMESTAMP => log.max_timestamp(committed),
        0.. => log.offset_for_time(timestamp, committed),
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    match by_time {
        Ok(found) => {
            Ok(found.map_or(nothing, |found| (found.timestamp_ms, found.offset.0, found.leader_epoch)))
        }
        Err(error) => {
            tracing::error!(partition = %partition.name(), %error, "look-up by time failed");
            Err(log_error_code(&error))
        }
    }
}
