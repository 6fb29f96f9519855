//! DescribeLogDirs (35): the log dirs with the size of each partition in them (KIP-113) and the space on their disks (4,
//! KIP-827). A partition on its way to another dir is there too, as its future. A dir that could not be used when the broker started is told with an error. Versions 1 to 4.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k35_describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use ottla_protocol::wire::{Str, Uuid};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::ids::TopicPartition;
use crate::partition::{PartitionState, space_of};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeLogDirsRequest>,
) -> DescribeLogDirsResponse {
    let described = tokio::task::spawn_blocking(move || describe(&context, &call.request));
    DescribeLogDirsResponse {
        results: described.await.unwrap_or_default(),
        ..DescribeLogDirsResponse::default()
    }
}

/// What is in one log dir.
type Topics = BTreeMap<Str, Vec<DescribeLogDirsPartition>>;

fn describe(context: &Context, request: &DescribeLogDirsRequest) -> Vec<DescribeLogDirsResult> {
    let wanted: Vec<PartitionState> = match &request.topics {
        None => context.partitions.states(),
        Some(topics) => topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (&topic.topic, *partition)))
            .filter_map(|(topic, partition)| context.partitions.state(topic, partition))
            .collect(),
    };
    let mut in_dirs: BTreeMap<Uuid, Topics> = BTreeMap::new();
    for partition in wanted {
        let described = DescribeLogDirsPartition {
            partition_index: partition.name.partition,
            partition_size: i64::try_from(partition.size_bytes).unwrap_or(i64::MAX),
            // This broker leads it, so nobody is ahead.
            offset_lag: 0,
            is_future_key: false,
        };
        let topics = in_dirs.entry(partition.directory_id).or_default();
        topics.entry(partition.name.topic.as_str().into()).or_default().push(described);
    }
    let is_wanted = |name: &TopicPartition| {
        request.topics.as_ref().is_none_or(|topics| {
            topics
                .iter()
                .any(|topic| *topic.topic == *name.topic && topic.partitions.contains(&name.partition))
        })
    };
    for moving in context.partitions.moving().iter().filter(|moving| is_wanted(&moving.name)) {
        let described = DescribeLogDirsPartition {
            partition_index: moving.name.partition,
            partition_size: i64::try_from(moving.size_bytes).unwrap_or(i64::MAX),
            offset_lag: moving.offset_lag,
            is_future_key: true,
        };
        let topics = in_dirs.entry(moving.directory_id).or_default();
        topics.entry(moving.name.topic.as_str().into()).or_default().push(described);
    }
    let log_dirs = context.partitions.log_dirs();
    let online = log_dirs.online().iter().map(|dir| {
        let (total_bytes, usable_bytes) = space_of(dir.path()).unwrap_or((-1, -1));
        let topics = in_dirs.remove(&dir.directory_id).unwrap_or_default();
        DescribeLogDirsResult {
            log_dir: dir.path().display().to_string().into(),
            topics: topics
                .into_iter()
                .map(|(name, partitions)| DescribeLogDirsTopic { name, partitions })
                .collect(),
            total_bytes,
            usable_bytes,
            ..DescribeLogDirsResult::default()
        }
    });
    let offline = log_dirs.offline().iter().map(|dir| DescribeLogDirsResult {
        error_code: ErrorCode::KafkaStorageError.code(),
        log_dir: dir.path.display().to_string().into(),
        ..DescribeLogDirsResult::default()
    });
    online.chain(offline).collect()
}

pub(in super::super) fn refused(_: &DescribeLogDirsRequest, code: ErrorCode) -> DescribeLogDirsResponse {
    DescribeLogDirsResponse { error_code: code.code(), ..DescribeLogDirsResponse::default() }
}
