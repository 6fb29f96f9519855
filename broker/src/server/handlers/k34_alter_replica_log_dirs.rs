//! AlterReplicaLogDirs (34): moves replicas to another log dir of the broker (KIP-113). Versions 1 and 2. This broker
//! has one log dir: a replica is there already, and no other path is known.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k34_alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use super::open_partition;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<AlterReplicaLogDirsRequest>,
) -> AlterReplicaLogDirsResponse {
    let results = call.request.dirs.iter().flat_map(|dir| {
        let is_ours = context.partitions.log_dirs().by_path(std::path::Path::new(&*dir.path)).is_some();
        let context = &context;
        dir.topics.iter().map(move |topic| AlterReplicaLogDirTopicResult {
            topic_name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let code = match open_partition(context, &topic.name, *partition) {
                        _ if !is_ours => ErrorCode::LogDirNotFound,
                        Ok(_) => ErrorCode::None,
                        Err(code) => code,
                    };
                    let partition_index = *partition;
                    AlterReplicaLogDirPartitionResult { partition_index, error_code: code.code() }
                })
                .collect(),
        })
    });
    AlterReplicaLogDirsResponse { results: results.collect(), ..AlterReplicaLogDirsResponse::default() }
}
