//! What every handler can reach.

use std::sync::{Arc, Mutex};

use ottla_protocol::wire::Str;

use super::config::BrokerConfig;
use super::connection::RequestMemory;
use super::endpoint::Endpoint;
use super::fetch_sessions::FetchSessions;
use super::transaction_verifier::TransactionVerifier;
use crate::active_controller::ActiveController;
use crate::controller::{ClusterImage, Controller};
use crate::coordinator::{GroupCoordinator, TransactionCoordinator};
use crate::ids::NodeId;
use crate::internal_topic::InternalTopic;
use crate::markers::MarkerWriter;
use crate::metrics::Metrics;
use crate::partition::Partitions;
use crate::producer_id_source::ProducerIdSource;
use crate::quotas::{Quotas, ReplicationThrottles};
use crate::replica::NodeRun;
use crate::security::Authorizer;

/// Shared by all connections.
pub struct Context {
    /// How the broker runs.
    pub config: BrokerConfig,
    /// Of this cluster.
    pub cluster_id: Str,
    /// This node in this run.
    pub run: NodeRun,
    /// Where clients come in; there is at least one.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Has the cluster's image, and decides where this node is the active controller.
    pub controller: Controller,
    /// Decides, wherever that is.
    pub active_controller: ActiveController,
    /// The open partitions.
    pub partitions: Arc<Partitions>,
    /// Groups and their offsets.
    pub groups: GroupCoordinator,
    /// Where they are kept.
    pub offsets_log: InternalTopic,
    /// Transactional ids and their transactions.
    pub transactions: TransactionCoordinator,
    /// Has their coordinators agree before a partition takes a transaction's records.
    pub transaction_verifier: TransactionVerifier,
    /// Where they are kept.
    pub transactions_log: InternalTopic,
    /// What ends transactions in partitions.
    pub markers: MarkerWriter,
    /// Who may do what; without it everybody may do everything.
    pub authorizer: Option<Authorizer>,
    /// What clients have taken.
    pub quotas: Quotas,
    /// How much this broker replicates.
    pub throttles: Arc<ReplicationThrottles>,
    /// What is counted.
    pub metrics: Metrics,
    pub(crate) request_memory: RequestMemory,
    pub(crate) fetch_sessions: Mutex<FetchSessions>,
    /// Gives ids to producers.
    pub producer_ids: ProducerIdSource,
}

impl Context {
    /// The cluster as it is now.
    pub fn image(&self) -> Arc<ClusterImage> {
        self.controller.image()
    }

    /// Whether this node has heard what was decided before it registered; until then it may lack topics that there are.
    pub fn knows_the_cluster(&self) -> bool {
        self.run.may_lead(&self.image())
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.config.node_id
    }
}
