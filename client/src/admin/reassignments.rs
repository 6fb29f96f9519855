//! Which brokers have a partition, and which of them leads it.

use std::collections::BTreeMap;

use ottla_protocol::messages::k43_elect_leaders::TopicPartitions;
use ottla_protocol::messages::k45_alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use ottla_protocol::messages::{
    AlterPartitionReassignmentsRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest,
};
use ottla_protocol::{ErrorCode, Str};

use super::Admin;
use crate::TopicPartition;
use crate::error::{ClientError, check_with};

/// A partition that is on its way to other brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassignment {
    pub partition: TopicPartition,
    /// All that have it now or will.
    pub replicas: Vec<i32>,
    /// Those that get a copy.
    pub adding: Vec<i32>,
    /// Those that will give theirs up.
    pub removing: Vec<i32>,
}

impl Admin {
    /// Has partitions get other replicas, the preferred leader first; `None` takes back what is under way. Returns at once: see
    /// [`list_reassignments`](Admin::list_reassignments).
    ///
    /// # Errors
    /// That of the first partition for which it is refused; for the others it is begun.
    pub async fn alter_reassignments(
        &self,
        wanted: &[(TopicPartition, Option<Vec<i32>>)],
    ) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for (place, replicas) in wanted {
            let partition =
                ReassignablePartition { partition_index: place.partition, replicas: replicas.clone() };
            topics.entry(&place.topic).or_default().push(partition);
        }
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: topics
                .into_iter()
                .map(|(topic, partitions)| ReassignableTopic { name: Str::from(topic), partitions })
                .collect(),
            ..Default::default()
        };
        let response = self.cluster.send_controller(&request).await?;
        check_with(response.error_code, response.error_message.as_deref(), || "reassigning".to_owned())?;
        for topic in &response.responses {
            for answer in &topic.partitions {
                check_with(answer.error_code, answer.error_message.as_deref(), || {
                    format!("reassigning {}-{}", &*topic.name, answer.partition_index)
                })?;
            }
        }
        Ok(())
    }

    /// The partitions that are on their way to other brokers.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn list_reassignments(&self) -> Result<Vec<Reassignment>, ClientError> {
        let request = ListPartitionReassignmentsRequest { timeout_ms: self.timeout_ms(), topics: None };
        let response = self.cluster.send_controller(&request).await?;
        check_with(response.error_code, response.error_message.as_deref(), || {
            "listing reassignments".to_owned()
        })?;
        let topics = response.topics.iter();
        let all = topics.flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
        let mut all: Vec<Reassignment> = all
            .map(|(topic, partition)| Reassignment {
                partition: TopicPartition::new(&*topic.name, partition.partition_index),
                replicas: partition.replicas.clone(),
                adding: partition.adding_replicas.clone(),
                removing: partition.removing_replicas.clone(),
            })
            .collect();
        all.sort_by(|left, right| left.partition.cmp(&right.partition));
        Ok(all)
    }

    /// Gives partitions (`None`: all) to their preferred leaders. Returns those that have no such leader now, with the reason.
    ///
    /// # Errors
    /// What the broker answers for all.
    pub async fn elect_preferred_leaders(
        &self,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Vec<(TopicPartition, ErrorCode)>, ClientError> {
        let of_topics = partitions.map(|partitions| {
            let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for place in partitions {
                topics.entry(&place.topic).or_default().push(place.partition);
            }
            topics
                .into_iter()
                .map(|(topic, partitions)| TopicPartitions { topic: Str::from(topic), partitions })
                .collect()
        });
        let request = ElectLeadersRequest {
            election_type: PREFERRED,
            topic_partitions: of_topics,
            timeout_ms: self.timeout_ms(),
        };
        let response = self.cluster.send_controller(&request).await?;
        check_with(response.error_code, None, || "electing leaders".to_owned())?;
        let results = response.replica_election_results.iter();
        let all = results.flat_map(|topic| topic.partition_result.iter().map(move |result| (topic, result)));
        let failed = all.filter_map(|(topic, result)| {
            let code = ErrorCode::from_code(result.error_code);
            let is_led = matches!(code, ErrorCode::None | ErrorCode::ElectionNotNeeded);
            (!is_led).then(|| (TopicPartition::new(&*topic.topic, result.partition_id), code))
        });
        Ok(failed.collect())
    }
}

/// The type of an election in which a partition's first replica is elected, if it is in sync.
const PREFERRED: i8 = 0;
