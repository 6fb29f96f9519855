//! What the cluster is: its id, controller and brokers.

use ottla_protocol::messages::DescribeClusterRequest;

use super::Admin;
use crate::error::{ClientError, check_with};

/// A broker and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerDescription {
    pub broker_id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

/// The cluster as its brokers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    pub cluster_id: String,
    /// None when there is no controller at present.
    pub controller_id: Option<i32>,
    pub brokers: Vec<BrokerDescription>,
}

impl Admin {
    /// The cluster's id, controller and brokers.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        let response = self.cluster.send_any(&DescribeClusterRequest::default()).await?;
        check_with(response.error_code, response.error_message.as_deref(), || {
            "describing the cluster".to_owned()
        })?;
        Ok(ClusterDescription {
            cluster_id: response.cluster_id.to_string(),
            controller_id: Some(response.controller_id).filter(|id| *id >= 0),
            brokers: response
                .brokers
                .iter()
                .map(|broker| BrokerDescription {
                    broker_id: broker.broker_id,
                    host: broker.host.to_string(),
                    port: broker.port,
                    rack: broker.rack.as_ref().map(|rack| rack.to_string()),
                })
                .collect(),
        })
    }
}
