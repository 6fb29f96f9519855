//! DescribeProducers (61): the producers that partitions remember, and their open transactions (KIP-664). Version 0.

use std::sync::Arc;

use futures::future::join_all;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k61_describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::open_partition;
use crate::security::Operation;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeProducersRequest>,
) -> DescribeProducersResponse {
    let topics = call.request.topics.iter().map(|topic| async {
        let allowed = call.access.topic(&context, Operation::Read, &topic.name);
        let partitions = topic
            .partition_indexes
            .iter()
            .map(|partition| describe(&context, &topic.name, *partition, allowed));
        TopicResponse { name: topic.name.clone(), partitions: join_all(partitions).await }
    });
    DescribeProducersResponse { topics: join_all(topics).await, ..DescribeProducersResponse::default() }
}

async fn describe(context: &Context, topic: &str, partition: i32, allowed: bool) -> PartitionResponse {
    let producers = match open_partition(context, topic, partition) {
        _ if !allowed => Err(ErrorCode::TopicAuthorizationFailed),
        Ok(open) => open.partition.producers().await.ok_or(ErrorCode::NotLeaderOrFollower),
        Err(code) => Err(code),
    };
    let mut response = PartitionResponse { partition_index: partition, ..PartitionResponse::default() };
    match producers {
        Ok(producers) => {
            let active = producers.into_iter().map(|producer| ProducerState {
                producer_id: producer.producer_id,
                producer_epoch: i32::from(producer.epoch),
                last_sequence: producer.last_sequence,
                last_timestamp: producer.last_timestamp_ms,
                coordinator_epoch: producer.coordinator_epoch,
                current_txn_start_offset: producer.transaction_start,
            });
            response.active_producers = active.collect();
        }
        Err(code) => {
            response.error_code = code.code();
            response.error_message = Some(code.message().into());
        }
    }
    response
}
