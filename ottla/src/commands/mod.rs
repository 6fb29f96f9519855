//! One file per verb. A command talks to a cluster only through `ottla_client`, wherever the cluster runs.

pub mod acl;
pub mod bench;
pub mod cluster;
pub mod config;
pub mod consume;
pub mod group;
pub mod pipeline;
pub mod produce;
pub mod run;
pub mod server;
pub mod sql;
pub mod topic;
pub mod user;

use ottla_client::{Client, ClientConfig};

use crate::failure::Failure;

/// Connects to the cluster of these brokers.
pub async fn connect(bootstrap_server: &[String]) -> Result<Client, Failure> {
    let config = ClientConfig {
        bootstrap_servers: bootstrap_server.to_vec(),
        client_id: "ottla-cli".to_owned(),
        ..ClientConfig::default()
    };
    Client::connect(config).await.map_err(|error| {
        let servers = bootstrap_server.join(",");
        Failure::failed(format!(
            "no broker answers at {servers}: {error}; start one with `ottla server`, or name another with --bootstrap-server"
        ))
    })
}
