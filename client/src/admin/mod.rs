//! Administration: topics, configs, the cluster and its quorum, where replicas are, groups and their offsets,
//! access control and users, transactions.

mod cluster;
mod configs;
mod groups;
mod log_dirs;
mod quorum;
mod reassignments;
mod security;
mod topics;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use cluster::{BrokerDescription, ClusterDescription};
pub use configs::{ConfigEntry, ConfigResource, ConfigSource};
pub use groups::{GroupDescription, GroupListing, GroupMember};
pub use log_dirs::{LogDirDescription, ReplicaDescription};
pub use quorum::{QuorumDescription, QuorumReplica};
pub use reassignments::Reassignment;
pub use security::{ACL_ANY, AclEntry};
pub use topics::{CreatedTopic, NewTopic};
pub use transactions::{ProducerState, TransactionDescription, TransactionFilter, TransactionListing};

use crate::TopicPartition;
use crate::cluster::Cluster;
use crate::consumer::IsolationLevel;
use crate::error::ClientError;
use crate::list_offsets::{OffsetAtTime, list_offsets};

/// Asks and changes what a cluster is made of. Cheap to clone.
///
/// Every call retries what is retriable for at most `api_timeout`.
#[derive(Clone)]
pub struct Admin {
    cluster: Arc<Cluster>,
}

impl Admin {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Admin {
        Admin { cluster }
    }

    /// The offsets of partitions at timestamps in milliseconds, or at [`OFFSET_EARLIEST`] or [`OFFSET_LATEST`]. A
    /// partition without a record at or after its time is left out.
    ///
    /// # Errors
    /// [`ClientError::UnknownPartition`], or what the leaders answer.
    ///
    /// [`OFFSET_EARLIEST`]: crate::OFFSET_EARLIEST
    /// [`OFFSET_LATEST`]: crate::OFFSET_LATEST
    pub async fn list_offsets(
        &self,
        partitions: &[(TopicPartition, i64)],
    ) -> Result<BTreeMap<TopicPartition, OffsetAtTime>, ClientError> {
        list_offsets(&self.cluster, partitions, IsolationLevel::ReadUncommitted).await
    }

    fn timeout_ms(&self) -> i32 {
        self.cluster.config.request_timeout.as_millis().min(i32::MAX as u128) as i32
    }
}
