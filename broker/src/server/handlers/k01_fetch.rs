//! Fetch (1): reads record batches, waiting for more when there are few. Versions 4 to 18.
//!
//! Every fetch is a full one: a session id of 0 tells the client that no session was made (KIP-227), which librdkafka
//! never asks for anyway. Topic ids (13) are KIP-516, leader epochs KIP-320. There are no transactions yet, so
//! read_committed reads the same and the last stable offset is the high watermark.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::select_all;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k01_fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use ottla_protocol::wire::{Str, Uuid};
use tokio::time::Instant;

use super::super::context::Context;
use super::super::dispatch::Call;
use super::{check_epoch, leader_epoch, open_partition, topic_name};
use crate::ids::Offset;
use crate::log::ReadError;
use crate::partition::Partition;

const TOPIC_ID_VERSION_MIN: i16 = 13;
/// What one answer may hold at most, whatever the client allows (Kafka's `fetch.max.bytes`).
const RESPONSE_BYTES_MAX: usize = 55 << 20;

/// One partition of the plan: where to read, or why not.
struct Planned {
    index: i32,
    from: Offset,
    bytes_max: usize,
    partition: Result<Partition, ErrorCode>,
}

struct PlannedTopic {
    name: Str,
    topic_id: Uuid,
    partitions: Vec<Planned>,
}

pub(in super::super) async fn handle(context: Arc<Context>, call: Call<FetchRequest>) -> FetchResponse {
    let version = call.version();
    let request = call.request;
    if request.session_id != 0 {
        let error_code = ErrorCode::FetchSessionIdNotFound.code();
        return FetchResponse { error_code, ..FetchResponse::default() };
    }
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let bytes_max = (request.max_bytes.max(0) as usize).min(RESPONSE_BYTES_MAX);
    // More than an answer can hold would never come.
    let bytes_min = (request.min_bytes.max(0) as usize).min(bytes_max);
    let read_committed = request.isolation_level == 1;
    loop {
        // Made anew for each round: a topic may have gone while its records were waited for.
        let plan = plan(&context, &request, version);
        // Taken before the read, so that what is committed during it ends the wait at once.
        let mut commits: Vec<_> = plan
            .iter()
            .flat_map(|topic| &topic.partitions)
            .filter_map(|planned| planned.partition.as_ref().ok())
            .map(Partition::watch_high_watermark)
            .collect();
        commits.iter_mut().for_each(|commits| {
            commits.borrow_and_update();
        });
        let read = tokio::task::spawn_blocking(move || read(&plan, bytes_max, read_committed));
        let Ok((responses, bytes, failed)) = read.await else {
            let error_code = ErrorCode::UnknownServerError.code();
            return FetchResponse { error_code, ..FetchResponse::default() };
        };
        if bytes >= bytes_min || failed || commits.is_empty() || Instant::now() >= deadline {
            return FetchResponse { responses, ..FetchResponse::default() };
        }
        let any_commit = select_all(commits.iter_mut().map(|commits| Box::pin(commits.changed())));
        let _ = tokio::time::timeout_at(deadline, any_commit).await;
    }
}

fn plan(context: &Context, request: &FetchRequest, version: i16) -> Vec<PlannedTopic> {
    let image = context.image();
    let by_id = version >= TOPIC_ID_VERSION_MIN;
    request
        .topics
        .iter()
        .map(|topic| {
            let name = topic_name(&image, by_id, &topic.topic, topic.topic_id);
            let topic_image = name.as_ref().ok().and_then(|name| image.topic(name)).cloned();
            let find = |asked: &FetchPartition| {
                let name = name.as_ref().map_err(|code| *code)?;
                let open = open_partition(context, name, asked.partition)?;
                check_epoch(
                    asked.current_leader_epoch,
                    leader_epoch(topic_image.as_deref(), asked.partition),
                )?;
                Ok(open.partition)
            };
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| Planned {
                    index: asked.partition,
                    from: Offset(asked.fetch_offset),
                    bytes_max: asked.partition_max_bytes.max(0) as usize,
                    partition: find(asked),
                })
                .collect();
            PlannedTopic { name: topic.topic.clone(), topic_id: topic.topic_id, partitions }
        })
        .collect()
}

/// Carries the plan out within the byte budget: the responses, their bytes, and whether any partition failed.
fn read(
    plan: &[PlannedTopic],
    bytes_max: usize,
    read_committed: bool,
) -> (Vec<FetchableTopicResponse>, usize, bool) {
    let mut bytes = 0;
    let mut failed = false;
    let responses = plan
        .iter()
        .map(|topic| FetchableTopicResponse {
            topic: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|planned| {
                    let left = bytes_max.saturating_sub(bytes);
                    // The very first batch is given even when it is larger than all bounds: a consumer could never
                    // get past it otherwise (KIP-74).
                    let data = read_partition(planned, left, bytes == 0, read_committed);
                    bytes += data.records.as_ref().map_or(0, Bytes::len);
                    failed |= data.error_code != ErrorCode::None.code();
                    data
                })
                .collect(),
        })
        .collect();
    (responses, bytes, failed)
}

fn read_partition(planned: &Planned, left: usize, at_least_one: bool, read_committed: bool) -> PartitionData {
    let mut data = PartitionData {
        partition_index: planned.index,
        high_watermark: -1,
        records: Some(Bytes::new()),
        aborted_transactions: read_committed.then(Vec::new),
        ..PartitionData::default()
    };
    let partition = match &planned.partition {
        Ok(partition) => partition,
        Err(code) => {
            data.error_code = code.code();
            return data;
        }
    };
    let high_watermark = partition.high_watermark();
    data.high_watermark = high_watermark.0;
    data.last_stable_offset = high_watermark.0;
    data.log_start_offset = partition.log().log_start().0;
    let bytes_max = planned.bytes_max.min(left);
    match partition.log().read(planned.from, high_watermark, bytes_max, at_least_one) {
        Ok(records) => data.records = Some(records),
        Err(error) => {
            let code = match error {
                ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
                ReadError::Log(error) => {
                    tracing::error!(partition = %partition.name(), %error, "read failed");
                    ErrorCode::KafkaStorageError
                }
            };
            data.error_code = code.code();
        }
    }
    data
}
