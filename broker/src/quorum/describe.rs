//! How the quorum is, in the words of DescribeQuorum and DescribeCluster.

use std::time::Duration;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k55_describe_quorum::{
    DescribedQuorum, DescribedQuorumTopic, Listener, Node, ReplicaState,
};
use ottla_protocol::messages::k60_describe_cluster::DescribeClusterBroker;
use ottla_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeQuorumRequest, DescribeQuorumResponse,
};

use super::handle::QuorumHandle;
use super::peers::PeerAddress;
use super::types::{ReplicaKey, VoterEndpoint};
use super::wire::CONTROLLER_LISTENER;
use crate::controller::METADATA_TOPIC;
use crate::partition::now_ms;

/// Stands for controllers in DescribeCluster (KIP-919).
const CONTROLLERS: i8 = 2;

/// Answers DescribeQuorum. Only a leader knows how far the others are; another node says who leads.
pub(crate) async fn quorum(
    quorum: &QuorumHandle,
    request: &DescribeQuorumRequest,
    version: i16,
) -> DescribeQuorumResponse {
    let is_metadata_log = match request.topics.as_slice() {
        [topic] => {
            *topic.topic_name == *METADATA_TOPIC
                && matches!(topic.partitions.as_slice(), [partition] if partition.partition_index == 0)
        }
        _ => false,
    };
    let refused = |code: ErrorCode| DescribeQuorumResponse {
        error_code: code.code(),
        ..DescribeQuorumResponse::default()
    };
    if !is_metadata_log {
        return refused(ErrorCode::UnknownTopicOrPartition);
    }
    let Some(described) = quorum.describe().await else { return refused(ErrorCode::BrokerNotAvailable) };
    let (now, leads) = (now_ms(), quorum.state().leads_from.is_some());
    let replica = |key: &ReplicaKey| {
        let progress = described.replicas.get(key).filter(|_| leads);
        let at = |ago: Duration| now - ago.as_millis() as i64;
        let heard_at = progress.map(|progress| at(progress.heard_ago));
        let caught_up_at = progress.and_then(|progress| progress.caught_up_ago).map(at);
        ReplicaState {
            replica_id: key.id.0,
            // Versions before 2 cannot say it.
            replica_directory_id: if version >= 2 { key.directory } else { Default::default() },
            log_end_offset: progress.map_or(-1, |progress| progress.log_end.0),
            last_fetch_timestamp: heard_at.unwrap_or(-1),
            last_caught_up_timestamp: caught_up_at.unwrap_or(-1),
        }
    };
    let voters: Vec<ReplicaKey> = described.voters.iter().collect();
    let observers = described.replicas.keys().filter(|key| !voters.contains(key));
    let partition = DescribedQuorum {
        partition_index: 0,
        error_code: if leads { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower }.code(),
        leader_id: described.leader.map_or(-1, |leader| leader.0),
        leader_epoch: described.epoch.0,
        high_watermark: described.high_watermark.0,
        current_voters: voters.iter().map(replica).collect(),
        observers: observers.map(replica).collect(),
        ..DescribedQuorum::default()
    };
    let nodes = described.voters.recorded().filter_map(|voter| {
        let listener = |endpoint: &VoterEndpoint| Listener {
            name: endpoint.listener.as_str().into(),
            host: endpoint.host.as_str().into(),
            port: endpoint.port,
        };
        let mut listeners: Vec<Listener> = voter.endpoints.iter().map(listener).collect();
        if listeners.is_empty() {
            let PeerAddress { host, port, .. } = quorum.addresses().of(voter.key.id)?;
            listeners.push(Listener { name: CONTROLLER_LISTENER.into(), host: host.into(), port });
        }
        Some(Node { node_id: voter.key.id.0, listeners })
    });
    DescribeQuorumResponse {
        topics: vec![DescribedQuorumTopic { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] }],
        nodes: if version >= 2 { nodes.collect() } else { Vec::new() },
        ..DescribeQuorumResponse::default()
    }
}

/// Answers DescribeCluster at a controller: the controllers.
pub(super) async fn controllers(
    quorum: &QuorumHandle,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if request.endpoint_type != CONTROLLERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType.code(),
            error_message: Some("this listener is a controller's".into()),
            endpoint_type: CONTROLLERS,
            ..DescribeClusterResponse::default()
        };
    }
    let voters = quorum.describe().await.map(|described| described.voters).unwrap_or_default();
    let brokers = voters.recorded().filter_map(|voter| {
        let recorded = voter.endpoints.first().map(|endpoint| (endpoint.host.clone(), endpoint.port));
        let known = || quorum.addresses().of(voter.key.id).map(|known| (known.host, known.port));
        let (host, port) = recorded.or_else(known)?;
        Some(DescribeClusterBroker {
            broker_id: voter.key.id.0,
            host: host.into(),
            port: i32::from(port),
            ..DescribeClusterBroker::default()
        })
    });
    DescribeClusterResponse {
        endpoint_type: CONTROLLERS,
        cluster_id: quorum.membership().cluster_id.as_str().into(),
        controller_id: quorum.state().leader.map_or(-1, |leader| leader.0),
        brokers: brokers.collect(),
        ..DescribeClusterResponse::default()
    }
}

/// DescribeQuorum at a node that is part of no cluster yet: itself.
pub(super) fn new_node(me: ReplicaKey, version: i16) -> DescribeQuorumResponse {
    let voter = ReplicaState {
        replica_id: me.id.0,
        replica_directory_id: if version >= 2 { me.directory } else { Default::default() },
        ..ReplicaState::default()
    };
    let partition = DescribedQuorum {
        error_code: ErrorCode::NotLeaderOrFollower.code(),
        leader_id: -1,
        high_watermark: -1,
        current_voters: vec![voter],
        ..DescribedQuorum::default()
    };
    DescribeQuorumResponse {
        topics: vec![DescribedQuorumTopic { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] }],
        ..DescribeQuorumResponse::default()
    }
}

/// DescribeCluster at a node that is part of none yet.
pub(super) fn no_cluster() -> DescribeClusterResponse {
    DescribeClusterResponse {
        endpoint_type: CONTROLLERS,
        controller_id: -1,
        ..DescribeClusterResponse::default()
    }
}
