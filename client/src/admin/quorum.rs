//! The controllers, and the log that they agree on.

use std::time::{SystemTime, UNIX_EPOCH};

use ottla_protocol::Uuid;
use ottla_protocol::messages::k55_describe_quorum::{PartitionData, ReplicaState, TopicData};
use ottla_protocol::messages::{DescribeQuorumRequest, RemoveRaftVoterRequest, UnregisterBrokerRequest};

use super::Admin;
use crate::error::{ClientError, check_with};

/// The topic that stands for the metadata log, which has one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// A node that follows the metadata log, or leads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumReplica {
    pub node_id: i32,
    /// Nil where the broker does not tell.
    pub directory_id: Uuid,
    pub log_end_offset: i64,
    /// Milliseconds since it last fetched; `None` of the leader, and of one that never did.
    pub silent_ms: Option<i64>,
}

/// How the metadata quorum is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumDescription {
    pub leader_id: i32,
    pub leader_epoch: i32,
    /// Below it all is committed.
    pub high_watermark: i64,
    pub voters: Vec<QuorumReplica>,
    /// Those that follow without a vote: brokers, and controllers that are to get one.
    pub observers: Vec<QuorumReplica>,
}

impl Admin {
    /// Who leads and who follows the metadata log, and how far each is.
    ///
    /// # Errors
    /// What the broker answers; retriable while nobody leads.
    pub async fn describe_quorum(&self) -> Result<QuorumDescription, ClientError> {
        let partition = PartitionData { partition_index: 0 };
        let topic = TopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
        let request = DescribeQuorumRequest { topics: vec![topic] };
        let what = || "describing the quorum".to_owned();
        let described = self.cluster.retry(what, async || {
            let connection = self.cluster.any().await?;
            let mut response = connection.send(&request, self.cluster.config.request_timeout).await?;
            check_with(response.error_code, response.error_message.as_deref(), what)?;
            let partition =
                response.topics.pop().and_then(|mut topic| topic.partitions.pop()).unwrap_or_default();
            check_with(partition.error_code, partition.error_message.as_deref(), what)?;
            Ok(partition)
        });
        let described = described.await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let leader_id = described.leader_id;
        let replica = |state: &ReplicaState| QuorumReplica {
            node_id: state.replica_id,
            directory_id: state.replica_directory_id,
            log_end_offset: state.log_end_offset,
            silent_ms: (state.replica_id != leader_id && state.last_fetch_timestamp >= 0)
                .then(|| (now - state.last_fetch_timestamp).max(0)),
        };
        Ok(QuorumDescription {
            leader_id,
            leader_epoch: described.leader_epoch,
            high_watermark: described.high_watermark,
            voters: described.current_voters.iter().map(replica).collect(),
            observers: described.observers.iter().map(replica).collect(),
        })
    }

    /// Takes a controller's vote away. Returns once that is committed by the others.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn remove_voter(&self, node_id: i32, directory_id: Uuid) -> Result<(), ClientError> {
        let request = RemoveRaftVoterRequest {
            voter_id: node_id,
            voter_directory_id: directory_id,
            ..Default::default()
        };
        let response = self.cluster.send_controller(&request).await?;
        check_with(response.error_code, response.error_message.as_deref(), || {
            format!("taking the vote of controller {node_id}")
        })
    }

    /// Has the cluster forget a broker. One that is running is registered again when it is started again.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn unregister_broker(&self, broker_id: i32) -> Result<(), ClientError> {
        let response = self.cluster.send_controller(&UnregisterBrokerRequest { broker_id }).await?;
        check_with(response.error_code, response.error_message.as_deref(), || {
            format!("unregistering broker {broker_id}")
        })
    }
}
