//! ElectLeaders (43): elects the preferred replica, or any that lives where nobody leads (1, KIP-460). Versions 0 to 2.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k43_elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult, TopicPartitions,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{ClusterImage, ElectLeader, ElectionType, TopicImage};

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
    let election_type = match request.election_type {
        0 => ElectionType::Preferred,
        _ => ElectionType::Unclean,
    };
    let is_about_all = request.topic_partitions.is_none();
    let wanted: Vec<ElectLeader> = match request.topic_partitions {
        Some(topics) => {
            let of_topic = |topic: TopicPartitions| {
                let name = topic.topic.to_string();
                let partitions = topic.partitions.into_iter();
                partitions.map(move |partition| ElectLeader { topic: name.clone(), partition, election_type })
            };
            topics.into_iter().flat_map(of_topic).collect()
        }
        None => everything(&context.image(), election_type),
    };
    let answers = context.controller.elect_leaders(wanted.clone()).await;
    let mut results: Vec<ReplicaElectionResult> = Vec::new();
    for (election, answer) in wanted.into_iter().zip(answers) {
        let (code, message) = match answer {
            Ok(()) => (ErrorCode::None, None),
            // Asked about everything, only what was elected is told.
            Err(refusal) if is_about_all && refusal.code == ErrorCode::ElectionNotNeeded => continue,
            Err(refusal) => (refusal.code, Some(refusal.message.into())),
        };
        let result = PartitionResult {
            partition_id: election.partition,
            error_code: code.code(),
            error_message: message,
        };
        match results.last_mut().filter(|last| *last.topic == *election.topic) {
            Some(last) => last.partition_result.push(result),
            None => results.push(ReplicaElectionResult {
                topic: election.topic.as_str().into(),
                partition_result: vec![result],
            }),
        }
    }
    ElectLeadersResponse { replica_election_results: results, ..ElectLeadersResponse::default() }
}

/// An election of every partition.
fn everything(image: &ClusterImage, election_type: ElectionType) -> Vec<ElectLeader> {
    let of_topic = |topic: &Arc<TopicImage>| {
        let name = topic.name.clone();
        let numbers = 0..i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        numbers.map(move |partition| ElectLeader { topic: name.clone(), partition, election_type })
    };
    image.topics().flat_map(of_topic).collect()
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
