//! AlterReplicaLogDirs (34): moves replicas to another log dir of the broker, while they are produced to and read; the dir
//! where one is cancels its move (KIP-113). The answer comes when the move has begun; DescribeLogDirs tells how far it is.
//! Versions 1 and 2.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k34_alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::ids::TopicPartition;
use crate::partition::MoveRefusal;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<AlterReplicaLogDirsRequest>,
) -> AlterReplicaLogDirsResponse {
    let mut results = Vec::new();
    for dir in &call.request.dirs {
        for topic in &dir.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let name = TopicPartition::new(&*topic.name, *partition);
                let code = match context.partitions.move_to_dir(name, &dir.path).await {
                    Ok(()) => ErrorCode::None,
                    Err(MoveRefusal::NoSuchDir) => ErrorCode::LogDirNotFound,
                    Err(MoveRefusal::NoSuchPartition) => ErrorCode::UnknownTopicOrPartition,
                    Err(MoveRefusal::Offline) => ErrorCode::KafkaStorageError,
                };
                let (partition_index, error_code) = (*partition, code.code());
                partitions.push(AlterReplicaLogDirPartitionResult { partition_index, error_code });
            }
            results.push(AlterReplicaLogDirTopicResult { topic_name: topic.name.clone(), partitions });
        }
    }
    AlterReplicaLogDirsResponse { results, ..AlterReplicaLogDirsResponse::default() }
}

pub(in super::super) fn refused(
    request: &AlterReplicaLogDirsRequest,
    code: ErrorCode,
) -> AlterReplicaLogDirsResponse {
    let topics = request.dirs.iter().flat_map(|dir| &dir.topics);
    let results = topics.map(|topic| AlterReplicaLogDirTopicResult {
        topic_name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| AlterReplicaLogDirPartitionResult {
                partition_index: *partition,
                error_code: code.code(),
            })
            .collect(),
    });
    AlterReplicaLogDirsResponse { results: results.collect(), ..AlterReplicaLogDirsResponse::default() }
}
