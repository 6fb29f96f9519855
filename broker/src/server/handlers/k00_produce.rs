//! Produce (0): appends record batches. Versions 3 to 13; 0 to 2 are advertised and refused (KIP-896, KAFKA-18659).
//!
//! `acks=all` is answered when the disk has the records (or as soon as they are in the page cache where the topic
//! says `flush.messages` > 1), `acks=1` when they are in the page cache, `acks=0` never. Idempotence is KIP-98;
//! topic ids (13) are KIP-516; zstd needs version 7 (KIP-110); the current leader (10) is KIP-951. What belongs to a
//! transaction is written once the transaction's coordinator has agreed, which from version 12 on adds the partition to
//! the transaction (KIP-890).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k00_produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceResponse,
};
use ottla_protocol::records::{BatchHeader, Compression};
use ottla_protocol::wire::{Str, Uuid};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::transactions::{PRODUCE_V2_VERSION_MIN, produce_code};
use super::{append_error_code, open_partition, topic_name};
use crate::controller::is_internal;
use crate::ids::{Producer, TopicPartition};
use crate::log::LogError;
use crate::metrics::Waits;
use crate::partition::{Acks, AppendError, Appended, Verify};
use crate::security::Operation;
use crate::transactions::{AddPartitions, TransactionVersion, TransactionalId};

const ZSTD_VERSION_MIN: i16 = 7;
const TOPIC_ID_VERSION_MIN: i16 = 13;

/// A batch on its way.
struct Begun {
    answer: oneshot::Receiver<Result<Appended, AppendError>>,
    /// It waits for other nodes, which may take longer than the client will.
    may_time_out: bool,
}

/// It, or why it did not start.
type Started = Result<Begun, (ErrorCode, Option<String>)>;

struct StartedTopic {
    name: Str,
    topic_id: Uuid,
    partitions: Vec<(i32, Started)>,
}

/// Stage 1 puts every batch into its partition's queue before this returns; the future waits for the answers.
pub(in super::super) fn handle(
    context: Arc<Context>,
    call: Call<ProduceRequest>,
) -> impl Future<Output = Option<ProduceResponse>> + Send + 'static {
    let version = call.version();
    let (request, waits, access) = (call.request, call.waits, call.access);
    let acks = request.acks;
    let patience = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let image = context.image();
    let transactional_id = request.transactional_id.as_deref().map(TransactionalId::from);
    let transaction_denied = request
        .transactional_id
        .as_deref()
        .is_some_and(|id| !access.transactional_id(&context, Operation::Write, id));
    let topics: Vec<StartedTopic> = request
        .topic_data
        .into_iter()
        .map(|topic| {
            let by_id = version >= TOPIC_ID_VERSION_MIN;
            let name = topic_name(&image, by_id, &topic.name, topic.topic_id);
            let name = name.and_then(|name| match access.topic(&context, Operation::Write, &name) {
                _ if transaction_denied => Err(ErrorCode::TransactionalIdAuthorizationFailed),
                true => Ok(name),
                false => Err(ErrorCode::TopicAuthorizationFailed),
            });
            let partitions = topic
                .partition_data
                .into_iter()
                .map(|data| {
                    let index = data.index;
                    let started = match &name {
                        Err(code) => Err((*code, None)),
                        Ok(name) => start(&context, name, data, acks, version, &transactional_id),
                    };
                    (index, started)
                })
                .collect();
            StartedTopic { name: topic.name, topic_id: topic.topic_id, partitions }
        })
        .collect();
    async move {
        let finished = topics.into_iter().map(|topic| finish_topic(topic, version, patience, &waits));
        let responses = join_all(finished).await;
        (acks != 0).then(|| ProduceResponse { responses, ..ProduceResponse::default() })
    }
}

fn start(
    context: &Arc<Context>,
    topic: &str,
    data: PartitionProduceData,
    acks: i16,
    version: i16,
    transactional_id: &Option<TransactionalId>,
) -> Started {
    if !(-1..=1).contains(&acks) {
        return Err((ErrorCode::InvalidRequiredAcks, None));
    }
    if is_internal(topic) {
        return Err((ErrorCode::InvalidTopicException, Some(format!("clients may not write to {topic}"))));
    }
    let records = data.records.unwrap_or_default();
    check_codec(&records, version).map_err(|code| (code, None))?;
    let open = open_partition(context, topic, data.index).map_err(|code| (code, None))?;
    let may_time_out = acks == -1 && !open.leader_and_isr.is_alone();
    let acks = match acks {
        -1 => Acks::All { durable: open.acks_all_is_durable },
        _ => Acks::Leader,
    };
    let Some(producer) = transactional(&records) else {
        return Ok(Begun { answer: open.partition.append(records, acks), may_time_out });
    };
    let Some(transactional_id) = transactional_id.clone() else {
        let message = "a transactional batch needs the request to name its transactional id";
        return Err((ErrorCode::TransactionalIdAuthorizationFailed, Some(message.to_owned())));
    };
    let is_v2 = version >= PRODUCE_V2_VERSION_MIN;
    let begin = AddPartitions {
        transactional_id,
        producer,
        partitions: vec![TopicPartition::new(topic, data.index)],
        version: if is_v2 { TransactionVersion::V2 } else { TransactionVersion::V1 },
    };
    let verifier = context.transaction_verifier.clone();
    let ask = Box::new(move || async move { verifier.begin_in_partition(begin).await }.boxed());
    let verify = Verify { bumps_epoch: is_v2, ask };
    Ok(Begun { answer: open.partition.append_in_transaction(records, acks, verify), may_time_out })
}

/// Whose transaction a batch says to be part of.
fn transactional(records: &Bytes) -> Option<Producer> {
    let header = BatchHeader::parse(records).ok().filter(BatchHeader::is_transactional)?;
    Some(Producer { id: header.producer_id, epoch: header.producer_epoch })
}

fn check_codec(records: &Bytes, version: i16) -> Result<(), ErrorCode> {
    // A batch that cannot be read is refused by the log with its reason.
    let Ok(header) = BatchHeader::parse(records) else { return Ok(()) };
    match header.compression() {
        Ok(Compression::Zstd) if version < ZSTD_VERSION_MIN => Err(ErrorCode::UnsupportedCompressionType),
        _ => Ok(()),
    }
}

async fn finish_topic(
    topic: StartedTopic,
    version: i16,
    patience: Duration,
    waits: &Waits,
) -> TopicProduceResponse {
    let deadline = Instant::now() + patience;
    let mut partition_responses = Vec::with_capacity(topic.partitions.len());
    for (index, started) in topic.partitions {
        partition_responses.push(finish_partition(index, started, version, deadline, waits).await);
    }
    TopicProduceResponse { name: topic.name, topic_id: topic.topic_id, partition_responses }
}

async fn finish_partition(
    index: i32,
    started: Started,
    version: i16,
    deadline: Instant,
    waits: &Waits,
) -> PartitionProduceResponse {
    let refused = |code: ErrorCode, message: Option<String>| PartitionProduceResponse {
        index,
        error_code: code.code(),
        base_offset: -1,
        error_message: message.map(Str::from),
        ..PartitionProduceResponse::default()
    };
    let answer = match started {
        Err((code, message)) => return refused(code, message),
        Ok(Begun { answer, may_time_out: false }) => answer.await.unwrap_or(Err(AppendError::Closed)),
        Ok(Begun { answer, may_time_out: true }) => match timeout_at(deadline, answer).await {
            Ok(answer) => answer.unwrap_or(Err(AppendError::Closed)),
            // It is in the log, and may be committed yet.
            Err(_) => return refused(ErrorCode::RequestTimedOut, None),
        },
    };
    if let Ok(Appended { synced_in: Some(time), .. }) = &answer {
        waits.note_fsync(*time);
    }
    match answer {
        Err(AppendError::Transaction(error)) => {
            refused(produce_code(error, version), Some(error.to_string()))
        }
        Err(error) => PartitionProduceResponse {
            record_errors: record_errors(&error),
            ..refused(append_error_code(&error), Some(error.to_string()))
        },
        Ok(appended) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.log_append_time_ms.unwrap_or(-1),
            log_start_offset: appended.log_start.0,
            ..PartitionProduceResponse::default()
        },
    }
}

/// Which records of the batch are to blame (KIP-467); the message is the partition's.
fn record_errors(error: &AppendError) -> Vec<BatchIndexAndErrorMessage> {
    let AppendError::Log(LogError::Records { indexes, .. }) = error else { return Vec::new() };
    let blamed = |index: &i32| BatchIndexAndErrorMessage {
        batch_index: *index,
        ..BatchIndexAndErrorMessage::default()
    };
    indexes.iter().map(blamed).collect()
}
