//! `ottla cluster …`

mod decommission;
mod describe;
mod health;
mod moves;
mod rebalance;

use crate::cli::ClusterCommand;
use crate::failure::Failure;

pub async fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Describe { output, cluster } => describe::run(output, &cluster).await,
        ClusterCommand::Health { wait, output, cluster } => health::run(wait, output, &cluster).await,
        ClusterCommand::Rebalance { cancel: true, cluster, .. } => rebalance::cancel(&cluster).await,
        ClusterCommand::Rebalance { topic, carrying_out, cluster, .. } => {
            rebalance::run(&topic, &carrying_out, &cluster).await
        }
        ClusterCommand::Decommission { broker, carrying_out, cluster } => {
            decommission::run(broker, &carrying_out, &cluster).await
        }
    }
}
