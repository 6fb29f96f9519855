//! One file per verb. A command talks to a cluster only through `ottla_client`, wherever the cluster runs.

pub mod acl;
pub mod bench;
pub mod bench_sql;
pub mod cluster;
pub mod config;
pub mod connector;
pub mod consume;
pub mod group;
pub mod pipeline;
pub mod plugin;
pub mod produce;
pub mod query;
pub mod run;
pub mod schema;
pub mod server;
pub mod sql;
pub mod topic;
pub mod transaction;
pub mod user;

use ottla_client::{Client, ClientConfig, ClientError};

use crate::cli::ClusterArguments;
use crate::failure::Failure;

/// Connects to the cluster.
pub async fn connect(cluster: &ClusterArguments) -> Result<Client, Failure> {
    let mut config = ClientConfig { client_id: "ottla-cli".to_owned(), ..ClientConfig::default() };
    if let Some(file) = &cluster.command_config {
        config = config.with_properties_file(file).map_err(Failure::wrong_words)?;
    }
    if !cluster.bootstrap_server.is_empty() {
        config.bootstrap_servers.clone_from(&cluster.bootstrap_server);
    }
    connect_with(config).await
}

/// Connects as configured.
pub async fn connect_with(config: ClientConfig) -> Result<Client, Failure> {
    let servers = config.bootstrap_servers.join(",");
    Client::connect(config).await.map_err(|error| match error {
        ClientError::InvalidConfig(_) => Failure::wrong_words(error),
        ClientError::Tls { .. } | ClientError::Authentication { .. } => Failure::failed(format!(
            "{error}; --command-config names a file with security.protocol, sasl.* and ssl.* as Kafka's tools take it"
        )),
        error => Failure::failed(format!(
            "no broker answers at {servers}: {error}; start one with `ottla server`, or name another with --bootstrap-server"
        )),
    })
}
