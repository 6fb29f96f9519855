//! ElectLeaders (43): elects the preferred replica, or any where none is in sync (1, KIP-460). Versions 0 to 2. With
//! one broker every partition that can have a leader has its preferred one.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k43_elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use ottla_protocol::wire::Str;

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::ClusterImage;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<ElectLeadersRequest>,
) -> ElectLeadersResponse {
    let request = call.request;
    if !(0..=1).contains(&request.election_type) {
        return ElectLeadersResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..ElectLeadersResponse::default()
        };
    }
    let image = context.image();
    // Asked about everything, only what was elected is told.
    let wanted = request.topic_partitions.unwrap_or_default();
    let results = wanted.into_iter().map(|topic| ReplicaElectionResult {
        partition_result: topic
            .partitions
            .iter()
            .map(|partition| elect(&image, &topic.topic, *partition))
            .collect(),
        topic: topic.topic,
    });
    ElectLeadersResponse { replica_election_results: results.collect(), ..ElectLeadersResponse::default() }
}

fn elect(image: &ClusterImage, topic: &Str, partition: i32) -> PartitionResult {
    let partitions = image.topic(topic).map(|topic| topic.partitions.len());
    let (code, message) = match partitions {
        None => (ErrorCode::UnknownTopicOrPartition, format!("No such topic as {}", &**topic)),
        Some(count) if !usize::try_from(partition).is_ok_and(|number| number < count) => {
            (ErrorCode::UnknownTopicOrPartition, format!("No such partition as {}-{partition}", &**topic))
        }
        Some(_) => (ErrorCode::ElectionNotNeeded, ErrorCode::ElectionNotNeeded.message().to_owned()),
    };
    PartitionResult { partition_id: partition, error_code: code.code(), error_message: Some(message.into()) }
}

pub(in super::super) fn refused(request: &ElectLeadersRequest, code: ErrorCode) -> ElectLeadersResponse {
    let refused = |partition: &i32| PartitionResult {
        partition_id: *partition,
        error_code: code.code(),
        error_message: Some(code.message().into()),
    };
    let results = request.topic_partitions.iter().flatten().map(|topic| ReplicaElectionResult {
        topic: topic.topic.clone(),
        partition_result: topic.partitions.iter().map(refused).collect(),
    });
    ElectLeadersResponse { replica_election_results: results.collect(), ..ElectLeadersResponse::default() }
}
