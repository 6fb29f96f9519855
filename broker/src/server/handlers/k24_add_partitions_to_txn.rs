//! AddPartitionsToTxn (24): where a transaction is going to write (KIP-98). Versions 0 to 5: 2 knows PRODUCER_FENCED
//! (KIP-588); 4 and 5 are spoken between brokers, for many transactions, also to ask only (KIP-890).

use std::sync::Arc;

use futures::future::join_all;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k24_add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnPartitionResultV3, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTopicResultV3, AddPartitionsToTxnTransaction,
};
use ottla_protocol::wire::Str;

use super::super::access::Access;
use super::super::context::Context;
use super::super::dispatch::Call;
use super::transactions::{code, code_fenced_since};
use crate::ids::{Producer, TopicPartition};
use crate::security::Operation;
use crate::transactions::{AddPartitions, TransactionVersion, TransactionalId};

const FENCED_VERSION_MIN: i16 = 2;
const BATCHED_VERSION_MIN: i16 = 4;

/// The partitions of a topic with their answers.
type TopicCodes = Vec<(Str, Vec<(i32, ErrorCode)>)>;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<AddPartitionsToTxnRequest>,
) -> AddPartitionsToTxnResponse {
    let version = call.version();
    let request = call.request;
    if version >= BATCHED_VERSION_MIN {
        // Only brokers speak it.
        if !call.access.cluster(&context, Operation::ClusterAction) {
            let error_code = ErrorCode::ClusterAuthorizationFailed.code();
            return AddPartitionsToTxnResponse { error_code, ..Default::default() };
        }
        let results = request.transactions.iter().map(|transaction| add_batched(&context, transaction));
        return AddPartitionsToTxnResponse {
            results_by_transaction: join_all(results).await,
            ..Default::default()
        };
    }
    let topics = request.v3_and_below_topics.into_iter().map(|topic| (topic.name, topic.partitions));
    let add = AddPartitions {
        transactional_id: TransactionalId::from(&*request.v3_and_below_transactional_id),
        producer: Producer {
            id: request.v3_and_below_producer_id,
            epoch: request.v3_and_below_producer_epoch,
        },
        partitions: Vec::new(),
        version: TransactionVersion::V1,
    };
    let topics: Vec<(Str, Vec<i32>)> = topics.collect();
    let codes = match denied(&context, &call.access, &request.v3_and_below_transactional_id, &topics) {
        Some(codes) => codes,
        None => add_existing(&context, add, topics, version).await,
    };
    let results = codes.into_iter().map(|(name, codes)| AddPartitionsToTxnTopicResultV3 {
        name,
        results_by_partition: codes
            .into_iter()
            .map(|(partition_index, code)| AddPartitionsToTxnPartitionResultV3 {
                partition_index,
                partition_error_code: code.code(),
            })
            .collect(),
    });
    AddPartitionsToTxnResponse { results_by_topic_v3_and_below: results.collect(), ..Default::default() }
}

/// What each partition is answered where the producer may not write to all of them: nothing is added then.
fn denied(
    context: &Context,
    access: &Access,
    transactional_id: &str,
    topics: &[(Str, Vec<i32>)],
) -> Option<TopicCodes> {
    let allowed = access.transactional_id(context, Operation::Write, transactional_id);
    let codes = topics.iter().map(|(name, _)| match allowed {
        false => ErrorCode::TransactionalIdAuthorizationFailed,
        true if access.topic(context, Operation::Write, name) => ErrorCode::OperationNotAttempted,
        true => ErrorCode::TopicAuthorizationFailed,
    });
    let codes: Vec<ErrorCode> = codes.collect();
    if allowed && codes.iter().all(|code| *code == ErrorCode::OperationNotAttempted) {
        return None;
    }
    let answered = topics.iter().zip(codes).map(|((name, partitions), code)| {
        (name.clone(), partitions.iter().map(|partition| (*partition, code)).collect())
    });
    Some(answered.collect())
}

async fn add_batched(
    context: &Context,
    transaction: &AddPartitionsToTxnTransaction,
) -> AddPartitionsToTxnResult {
    let topics = transaction.topics.iter().map(|topic| (topic.name.clone(), topic.partitions.clone()));
    let add = AddPartitions {
        transactional_id: TransactionalId::from(&*transaction.transactional_id),
        producer: Producer { id: transaction.producer_id, epoch: transaction.producer_epoch },
        partitions: Vec::new(),
        version: TransactionVersion::V2,
    };
    let codes = match transaction.verify_only {
        true => verify(context, add, topics.collect()).await,
        false => add_existing(context, add, topics.collect(), BATCHED_VERSION_MIN).await,
    };
    let topic_results = codes.into_iter().map(|(name, codes)| AddPartitionsToTxnTopicResult {
        name,
        results_by_partition: codes
            .into_iter()
            .map(|(partition_index, code)| AddPartitionsToTxnPartitionResult {
                partition_index,
                partition_error_code: code.code(),
            })
            .collect(),
    });
    AddPartitionsToTxnResult {
        transactional_id: transaction.transactional_id.clone(),
        topic_results: topic_results.collect(),
    }
}

/// What each partition is answered where one is not there.
fn all_exist(context: &Context, topics: &[(Str, Vec<i32>)]) -> Result<(), TopicCodes> {
    let image = context.image();
    let exists = |topic: &str, partition: i32| {
        let count = image.topic(topic).map_or(0, |topic| topic.partitions.len());
        usize::try_from(partition).is_ok_and(|partition| partition < count)
    };
    if topics.iter().all(|(topic, partitions)| partitions.iter().all(|partition| exists(topic, *partition))) {
        return Ok(());
    }
    Err(with_codes(topics.to_vec(), |topic, partition| match exists(topic, partition) {
        true => ErrorCode::OperationNotAttempted,
        false => ErrorCode::UnknownTopicOrPartition,
    }))
}

/// All or none: where one partition is not there none is added.
async fn add_existing(
    context: &Context,
    mut add: AddPartitions,
    topics: Vec<(Str, Vec<i32>)>,
    version: i16,
) -> TopicCodes {
    if let Err(codes) = all_exist(context, &topics) {
        return codes;
    }
    add.partitions = flat(&topics);
    let added = context.transactions.add_partitions(add).await;
    let code = code_fenced_since(&added, version, FENCED_VERSION_MIN);
    with_codes(topics, |_, _| code)
}

async fn verify(context: &Context, mut add: AddPartitions, topics: Vec<(Str, Vec<i32>)>) -> TopicCodes {
    if let Err(codes) = all_exist(context, &topics) {
        return codes;
    }
    add.partitions = flat(&topics);
    match context.transactions.verify_partitions(add).await {
        Err(error) => with_codes(topics, |_, _| code(error)),
        Ok(verified) => {
            let mut verified = verified.into_iter();
            with_codes(topics, |_, _| match verified.next() {
                Some(Err(error)) => code(error),
                _ => ErrorCode::None,
            })
        }
    }
}

fn flat(topics: &[(Str, Vec<i32>)]) -> Vec<TopicPartition> {
    let partitions = topics.iter().flat_map(|(topic, partitions)| {
        partitions.iter().map(|partition| TopicPartition::new(&**topic, *partition))
    });
    partitions.collect()
}

fn with_codes(topics: Vec<(Str, Vec<i32>)>, mut code: impl FnMut(&str, i32) -> ErrorCode) -> TopicCodes {
    let coded = topics.into_iter().map(|(topic, partitions)| {
        let codes = partitions.into_iter().map(|partition| (partition, code(&topic, partition))).collect();
        (topic, codes)
    });
    coded.collect()
}
