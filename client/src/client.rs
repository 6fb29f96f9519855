//! The face of the crate: one client, from which producers, consumers and admins are made.

use std::sync::Arc;

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::config::ClientConfig;
use crate::consumer::{Consumer, ConsumerConfig};
use crate::error::ClientError;
use crate::producer::{Producer, ProducerConfig};
use crate::security::ClientSecurity;
use crate::transport::{TcpTransport, Transport};

/// A connection to a cluster. Cheap to clone; clones share metadata and connections.
#[derive(Clone)]
pub struct Client {
    cluster: Arc<Cluster>,
}

impl Client {
    /// Connects over TCP. Succeeds when one of the bootstrap servers has told what the cluster looks like.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`]; [`ClientError::Timeout`] when no broker answers within `api_timeout`;
    /// [`ClientError::Tls`] and [`ClientError::Authentication`] as soon as one refuses.
    pub async fn connect(config: ClientConfig) -> Result<Client, ClientError> {
        let transport = Arc::new(TcpTransport::new(&config.security, config.frame_len_max)?);
        Client::connect_with(config, transport).await
    }

    /// Connects over another transport, for instance that of a broker in the same process. `config.security` is not
    /// looked at: encryption and authentication are the transport's.
    ///
    /// # Errors
    /// As [`connect`](Client::connect).
    pub async fn connect_with(
        config: ClientConfig,
        transport: Arc<dyn Transport>,
    ) -> Result<Client, ClientError> {
        let cluster = Arc::new(Cluster::new(config, transport)?);
        // An empty list of topics asks for the brokers alone.
        cluster
            .retry(
                || "connecting to the cluster".to_owned(),
                async || cluster.refresh(Some(&[]), false).await.map(|_| ()),
            )
            .await?;
        Ok(Client { cluster })
    }

    /// How its connections are made safe.
    pub(crate) fn security(&self) -> &ClientSecurity {
        &self.cluster.config.security
    }

    /// A producer of its own batches and connections.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`].
    pub async fn producer(&self, config: ProducerConfig) -> Result<Producer, ClientError> {
        Producer::new(self.cluster.clone(), config)
    }

    /// A consumer of its own positions and connections.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`].
    pub async fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, ClientError> {
        Consumer::new(self.cluster.clone(), config)
    }

    /// Administration of topics, groups and the cluster.
    pub fn admin(&self) -> Admin {
        Admin::new(self.cluster.clone())
    }
}
