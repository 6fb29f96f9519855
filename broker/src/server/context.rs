//! What every handler can reach.

use std::sync::{Arc, Mutex};

use ottla_protocol::wire::Str;

use super::config::BrokerConfig;
use super::connection::RequestMemory;
use super::endpoint::Endpoint;
use super::fetch_sessions::FetchSessions;
use crate::controller::{ClusterImage, Controller, ControllerError, ProducerIdBlock};
use crate::coordinator::GroupCoordinator;
use crate::ids::NodeId;
use crate::metrics::Metrics;
use crate::offsets_log::OffsetsLog;
use crate::partition::Partitions;
use crate::security::Authorizer;

/// Shared by all connections.
pub struct Context {
    /// How the broker runs.
    pub config: BrokerConfig,
    /// Of this cluster.
    pub cluster_id: Str,
    /// Where clients come in; there is at least one.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Decides about topics.
    pub controller: Controller,
    /// The open partitions.
    pub partitions: Arc<Partitions>,
    /// Groups and their offsets.
    pub groups: GroupCoordinator,
    /// Where they are kept.
    pub offsets_log: OffsetsLog,
    /// Who may do what; without it everybody may do everything.
    pub authorizer: Option<Authorizer>,
    /// What is counted.
    pub metrics: Metrics,
    pub(crate) request_memory: RequestMemory,
    pub(crate) fetch_sessions: Mutex<FetchSessions>,
    pub(crate) producer_ids: Mutex<ProducerIdBlock>,
}

impl Context {
    /// The cluster as it is now.
    pub fn image(&self) -> Arc<ClusterImage> {
        self.controller.image()
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.config.node_id
    }

    /// A producer id that was never given out before.
    pub async fn next_producer_id(&self) -> Result<i64, ControllerError> {
        loop {
            if let Some(id) = self.take_producer_id() {
                return Ok(id);
            }
            let block = self.controller.producer_ids().await?;
            // Another request may have brought a block too; the ids of the one that loses are never used.
            *self.producer_ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = block;
        }
    }

    fn take_producer_id(&self) -> Option<i64> {
        self.producer_ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}
