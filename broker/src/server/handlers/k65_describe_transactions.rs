//! DescribeTransactions (65): how transactional ids stand (KIP-664). Version 0.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k65_describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TopicData, TransactionState,
};
use ottla_protocol::wire::Str;

use super::super::context::Context;
use super::super::dispatch::Call;
use super::transactions::code;
use crate::security::{Operation, ResourceType};
use crate::transactions::{DescribedTransaction, TransactionalId};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeTransactionsRequest>,
) -> DescribeTransactionsResponse {
    let sees = |topic: &str| call.access.sees(&context, Operation::Describe, (ResourceType::Topic, topic));
    let states = call.request.transactional_ids.iter().map(|id| async {
        if !call.access.transactional_id(&context, Operation::Describe, id) {
            return TransactionState {
                error_code: ErrorCode::TransactionalIdAuthorizationFailed.code(),
                transactional_id: id.clone(),
                ..Default::default()
            };
        }
        match context.transactions.describe(TransactionalId::from(&**id)).await {
            Ok(described) => {
                let mut state = to_state(id.clone(), &described);
                state.topics.retain(|topic| sees(&topic.topic));
                state
            }
            Err(error) => TransactionState {
                error_code: code(error).code(),
                transactional_id: id.clone(),
                ..Default::default()
            },
        }
    });
    DescribeTransactionsResponse { transaction_states: join_all(states).await, ..Default::default() }
}

fn to_state(transactional_id: Str, described: &DescribedTransaction) -> TransactionState {
    let metadata = &described.metadata;
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &metadata.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    TransactionState {
        error_code: 0,
        transactional_id,
        transaction_state: metadata.state.name().into(),
        transaction_timeout_ms: i32::try_from(metadata.timeout.as_millis()).unwrap_or(i32::MAX),
        transaction_start_time_ms: metadata.started_at.0,
        producer_id: metadata.producer.id,
        producer_epoch: metadata.producer.epoch,
        topics: topics
            .into_iter()
            .map(|(topic, partitions)| TopicData { topic: topic.into(), partitions })
            .collect(),
    }
}
