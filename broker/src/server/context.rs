//! What every handler can reach.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ottla_protocol::wire::Str;

use super::connection::RequestMemory;
use super::fetch_sessions::FetchSessions;
use crate::controller::{ClusterImage, Controller, ControllerError, ProducerIdBlock};
use crate::coordinator::GroupCoordinator;
use crate::ids::NodeId;
use crate::metrics::Metrics;
use crate::offsets_log::OffsetsLog;
use crate::partition::{HousekeepingConfig, Partitions};

/// How a broker runs. Names are Kafka's, with dots as underscores.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: NodeId,
    /// `log.dirs`.
    pub data_dir: PathBuf,
    /// `listeners`: where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `advertised.listeners`: the host that clients are told, the listener's address by default.
    pub advertised_host: Option<String>,
    /// `num.partitions`: of topics that are made without a number.
    pub num_partitions: i32,
    /// `auto.create.topics.enable`: a topic is made on first use.
    pub auto_create_topics: bool,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_partitions: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub group_initial_rebalance_delay_ms: i32,
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `queued.max.request.bytes`: of all connections together.
    pub queued_request_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// `connections.max.idle.ms`.
    pub connection_idle_ms_max: u64,
    /// Retention, compaction and what is forgotten.
    pub housekeeping: HousekeepingConfig,
}

impl BrokerConfig {
    /// The defaults, with the data in `data_dir`, listening on a free port of the loopback address.
    pub fn new(data_dir: impl Into<PathBuf>) -> BrokerConfig {
        BrokerConfig {
            node_id: NodeId(1),
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertised_host: None,
            num_partitions: 1,
            auto_create_topics: true,
            offsets_topic_partitions: 50,
            // The reason for the difference to Kafka's three seconds is at `GroupConfig::initial_rebalance_delay`.
            group_initial_rebalance_delay_ms: 100,
            request_bytes_max: 100 << 20,
            queued_request_bytes_max: 512 << 20,
            fetch_sessions_max: 1000,
            connection_idle_ms_max: 600_000,
            housekeeping: HousekeepingConfig::default(),
        }
    }
}

/// Shared by all connections.
pub struct Context {
    /// How the broker runs.
    pub config: BrokerConfig,
    /// Of this cluster.
    pub cluster_id: Str,
    /// What clients are told to connect to.
    pub host: Str,
    /// What clients are told to connect to.
    pub port: i32,
    /// Decides about topics.
    pub controller: Controller,
    /// The open partitions.
    pub partitions: Arc<Partitions>,
    /// Groups and their offsets.
    pub groups: GroupCoordinator,
    /// Where they are kept.
    pub offsets_log: OffsetsLog,
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
