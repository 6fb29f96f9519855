//! What the cluster is: its id, controller and brokers.

use std::collections::BTreeMap;

use ottla_protocol::messages::{ApiVersionsRequest, DescribeClusterRequest};

use super::Admin;
use crate::error::{ClientError, check, check_with};

/// The first version of DescribeCluster that can ask for fenced brokers.
const FENCED_VERSION_MIN: i16 = 2;

/// A broker and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerDescription {
    pub broker_id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
    /// It is registered, and not among those that serve.
    pub is_fenced: bool,
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
    /// The cluster's id, controller and brokers, those that do not serve too where the broker tells of them (since Kafka 4.0).
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        let what = || "describing the cluster".to_owned();
        let attempt = async || {
            let connection = self.cluster.any().await?;
            let version = connection.version_of::<DescribeClusterRequest>(i16::MAX)?;
            let request = DescribeClusterRequest {
                include_fenced_brokers: version >= FENCED_VERSION_MIN,
                ..DescribeClusterRequest::default()
            };
            connection.submit(&request, version, self.cluster.config.request_timeout)?.await
        };
        let response = self.cluster.retry(what, attempt).await?;
        check_with(response.error_code, response.error_message.as_deref(), what)?;
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
                    is_fenced: broker.is_fenced,
                })
                .collect(),
        })
    }

    /// The features of the cluster (KIP-584) by name, with the level that is in effect.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn finalized_features(&self) -> Result<BTreeMap<String, i16>, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "ottla".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let response = self.cluster.send_any(&request).await?;
        check(response.error_code, || "asking for the features of the cluster".to_owned())?;
        let features = response.finalized_features.iter();
        Ok(features.map(|feature| (feature.name.to_string(), feature.max_version_level)).collect())
    }
}
