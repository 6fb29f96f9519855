//! OffsetForLeaderEpoch (23): where a leader epoch ended, so that a consumer finds out that its offsets were lost
//! (KIP-320). Versions 2 to 4.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k23_offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::{check_epoch, leader_epoch, open_partition};
use crate::ids::LeaderEpoch;
use crate::security::Operation;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<OffsetForLeaderEpochRequest>,
) -> OffsetForLeaderEpochResponse {
    let topics = call.request.topics.into_iter().map(|topic| {
        let allowed = call.access.topic(&context, Operation::Describe, &topic.topic);
        let partitions = topic.partitions.iter().map(|asked| match allowed {
            true => answer(&context, &topic.topic, asked),
            false => EpochEndOffset {
                error_code: ErrorCode::TopicAuthorizationFailed.code(),
                partition: asked.partition,
                ..EpochEndOffset::default()
            },
        });
        OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: topic.topic }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..OffsetForLeaderEpochResponse::default() }
}

fn answer(context: &Context, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let mut response = EpochEndOffset { partition: asked.partition, ..EpochEndOffset::default() };
    let current = leader_epoch(context.image().topic(topic).map(|topic| &**topic), asked.partition);
    let found = open_partition(context, topic, asked.partition)
        .and_then(|open| check_epoch(asked.current_leader_epoch, current).map(|()| open));
    match found {
        Err(code) => response.error_code = code.code(),
        Ok(open) if asked.leader_epoch == current.0 => {
            response.leader_epoch = current.0;
            response.end_offset = open.partition.log().log_end().0;
        }
        // An epoch that never was has no end; the response says so by default.
        Ok(_) if asked.leader_epoch > current.0 => {}
        Ok(open) => {
            if let Some((epoch, end)) = open.partition.end_of_epoch(LeaderEpoch(asked.leader_epoch)) {
                response.leader_epoch = epoch.0;
                response.end_offset = end.0;
            }
        }
    }
    response
}
