//! Offsets by timestamp, asked of each partition's leader.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k02_list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use tokio::time::Instant;

use crate::TopicPartition;
use crate::cluster::Cluster;
use crate::consumer::IsolationLevel;
use crate::error::ClientError;
use crate::pool::Lane;

/// As a timestamp or a position: the end of the partition.
pub const OFFSET_LATEST: i64 = -1;
/// As a timestamp or a position: the first record that is still there.
pub const OFFSET_EARLIEST: i64 = -2;

/// An answer to "which offset is at this time?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetAtTime {
    /// Of the first record at or after the time.
    pub offset: i64,
    /// That record's time in milliseconds; -1 for the special timestamps.
    pub timestamp_ms: i64,
    /// -1 when not known.
    pub leader_epoch: i32,
}

/// Asks for the offsets of these partitions at these times. A partition without a record at or after its time is
/// left out. The end of a partition is the last stable offset where it is asked for as read committed. Retries while leaders
/// move.
pub(crate) async fn list_offsets(
    cluster: &Arc<Cluster>,
    wanted: &[(TopicPartition, i64)],
    isolation_level: IsolationLevel,
) -> Result<BTreeMap<TopicPartition, OffsetAtTime>, ClientError> {
    let mut missing: BTreeMap<TopicPartition, i64> = wanted.iter().cloned().collect();
    let mut found = BTreeMap::new();
    let started_at = Instant::now();
    let mut backoff = cluster.backoff();
    while !missing.is_empty() {
        let Err(error) = ask_leaders(cluster, &mut missing, &mut found, isolation_level).await else {
            continue;
        };
        if !error.is_retriable() {
            return Err(error);
        }
        let (pause, waited) = (backoff.next(), started_at.elapsed());
        if waited + pause >= cluster.config.api_timeout {
            let what = "asking for offsets".to_owned();
            return Err(ClientError::Timeout { what, waited, last: Arc::new(error) });
        }
        tokio::time::sleep(pause).await;
        let mut topics: Vec<&str> = missing.keys().map(|each| each.topic.as_str()).collect();
        topics.dedup();
        // If this fails, the next round meets the same trouble and says so.
        let _ = cluster.refresh(Some(&topics), false).await;
    }
    Ok(found)
}

/// One round over all leaders. What was answered moves from `missing` to `found`; the first trouble is returned.
async fn ask_leaders(
    cluster: &Cluster,
    missing: &mut BTreeMap<TopicPartition, i64>,
    found: &mut BTreeMap<TopicPartition, OffsetAtTime>,
    isolation_level: IsolationLevel,
) -> Result<(), ClientError> {
    let mut trouble = Ok(());
    let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
    for (each, timestamp) in &*missing {
        let topic = cluster.topic(&each.topic).await?;
        let Some(partition) = topic.partition(each.partition) else {
            let partitions = topic.partition_count();
            return Err(ClientError::UnknownPartition { topic_partition: each.clone(), partitions });
        };
        let Some(leader) = partition.leader else {
            trouble = Err(ClientError::NoLeader { topic_partition: each.clone() });
            continue;
        };
        by_leader.entry(leader).or_default().entry(&each.topic).or_default().push(ListOffsetsPartition {
            partition_index: each.partition,
            current_leader_epoch: partition.leader_epoch,
            timestamp: *timestamp,
        });
    }
    let mut answers = Vec::new();
    for (leader, topics) in by_leader {
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: i8::from(isolation_level == IsolationLevel::ReadCommitted),
            topics: topics
                .into_iter()
                .map(|(name, partitions)| ListOffsetsTopic { name: name.into(), partitions })
                .collect(),
            timeout_ms: cluster.config.request_timeout.as_millis().min(i32::MAX as u128) as i32,
        };
        let answer = async {
            let connection = cluster.broker(leader, Lane::Control).await?;
            connection.send(&request, cluster.config.request_timeout).await
        };
        match answer.await {
            Ok(response) => answers.push(response),
            Err(error) => trouble = Err(error),
        }
    }
    for response in answers {
        if let Err(error) = take_answers(response, missing, found) {
            trouble = Err(error);
        }
    }
    trouble
}

fn take_answers(
    response: ListOffsetsResponse,
    missing: &mut BTreeMap<TopicPartition, i64>,
    found: &mut BTreeMap<TopicPartition, OffsetAtTime>,
) -> Result<(), ClientError> {
    let mut trouble = Ok(());
    for topic in response.topics {
        for answer in topic.partitions {
            let each = TopicPartition::new(topic.name.as_str(), answer.partition_index);
            match ErrorCode::from_code(answer.error_code) {
                ErrorCode::None => {
                    if missing.remove(&each).is_some() && answer.offset >= 0 {
                        let at_time = OffsetAtTime {
                            offset: answer.offset,
                            timestamp_ms: answer.timestamp,
                            leader_epoch: answer.leader_epoch,
                        };
                        found.insert(each, at_time);
                    }
                }
                code => trouble = Err(ClientError::broker(format!("asking for an offset of {each}"), code)),
            }
        }
    }
    trouble
}
