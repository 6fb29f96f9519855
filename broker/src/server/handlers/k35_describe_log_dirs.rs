//! DescribeLogDirs (35): the log dir with the size of each partition in it (KIP-113) and the space on its disk (4,
//! KIP-827). Versions 1 to 4.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::messages::k35_describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use ottla_protocol::wire::Str;

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::partition::{PartitionState, space_of};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DescribeLogDirsRequest>,
) -> DescribeLogDirsResponse {
    let described = tokio::task::spawn_blocking(move || describe(&context, &call.request));
    DescribeLogDirsResponse {
        results: described.await.into_iter().collect(),
        ..DescribeLogDirsResponse::default()
    }
}

fn describe(context: &Context, request: &DescribeLogDirsRequest) -> DescribeLogDirsResult {
    let wanted: Vec<PartitionState> = match &request.topics {
        None => context.partitions.states(),
        Some(topics) => topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (&topic.topic, *partition)))
            .filter_map(|(topic, partition)| context.partitions.state(topic, partition))
            .collect(),
    };
    let mut topics: BTreeMap<Str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in wanted {
        let described = DescribeLogDirsPartition {
            partition_index: partition.name.partition,
            partition_size: i64::try_from(partition.size_bytes).unwrap_or(i64::MAX),
            // This broker leads it, so nobody is ahead.
            offset_lag: 0,
            is_future_key: false,
        };
        topics.entry(partition.name.topic.as_str().into()).or_default().push(described);
    }
    let dir = context.partitions.log_dir().path();
    let (total_bytes, usable_bytes) = space_of(dir).unwrap_or((-1, -1));
    DescribeLogDirsResult {
        log_dir: dir.display().to_string().into(),
        topics: topics
            .into_iter()
            .map(|(name, partitions)| DescribeLogDirsTopic { name, partitions })
            .collect(),
        total_bytes,
        usable_bytes,
        ..DescribeLogDirsResult::default()
    }
}
