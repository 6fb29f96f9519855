//! DeleteRecords (21): moves the start of logs ahead (KIP-107). Versions 0 to 2. The files of segments that lie wholly
//! below it go with the next round of retention.

use std::sync::Arc;

use futures::future::join_all;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k21_delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::open_partition;
use crate::controller::is_internal;
use crate::ids::Offset;
use crate::security::Operation;

/// Stands for the high watermark.
const TO_HIGH_WATERMARK: i64 = -1;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DeleteRecordsRequest>,
) -> DeleteRecordsResponse {
    let topics = call.request.topics.iter().map(|topic| async {
        let allowed = call.access.topic(&context, Operation::Delete, &topic.name);
        let partitions = topic.partitions.iter().map(|asked| answer(&context, &topic.name, asked, allowed));
        DeleteRecordsTopicResult { name: topic.name.clone(), partitions: join_all(partitions).await }
    });
    DeleteRecordsResponse { topics: join_all(topics).await, ..DeleteRecordsResponse::default() }
}

async fn answer(
    context: &Context,
    topic: &str,
    asked: &DeleteRecordsPartition,
    allowed: bool,
) -> DeleteRecordsPartitionResult {
    let deleted = match allowed {
        true => delete(context, topic, asked).await,
        false => Err(ErrorCode::TopicAuthorizationFailed),
    };
    let (low_watermark, code) = match deleted {
        Ok(start) => (start.0, ErrorCode::None),
        Err(code) => (-1, code),
    };
    let partition_index = asked.partition_index;
    DeleteRecordsPartitionResult { partition_index, low_watermark, error_code: code.code() }
}

async fn delete(context: &Context, topic: &str, asked: &DeleteRecordsPartition) -> Result<Offset, ErrorCode> {
    let open = open_partition(context, topic, asked.partition_index)?;
    let image = context.image();
    let found = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    // Offsets in such a topic would be lost for good: compaction alone may decide what goes.
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !image.topic_configs(&found.configs, context.node_id()).log_config().deleted {
        return Err(ErrorCode::PolicyViolation);
    }
    let before = match asked.offset {
        TO_HIGH_WATERMARK => open.partition.high_watermark(),
        offset => Offset(offset),
    };
    open.partition.delete_records(before).await.map_err(|_| ErrorCode::OffsetOutOfRange)
}
