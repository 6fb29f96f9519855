//! `ottla cluster …`

mod decommission;
mod describe;
mod health;
mod moves;
mod rebalance;

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_client::{Admin, ClusterDescription, LogDirDescription};

use crate::cli::ClusterCommand;
use crate::failure::Failure;

/// How long a broker may take to say how it is: one that has just gone is missed by the controller in a moment.
const ANSWER_MAX: Duration = Duration::from_secs(5);

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

/// The log dirs of the brokers that serve and answer, with all replicas in them or with none.
async fn log_dirs(
    admin: &Admin,
    cluster: &ClusterDescription,
    with_replicas: bool,
) -> BTreeMap<i32, Vec<LogDirDescription>> {
    // Asked for no partition of no topic, a broker tells of its log dirs alone.
    let replicas = (!with_replicas).then_some(("", &[][..]));
    let mut found = BTreeMap::new();
    for broker in cluster.brokers.iter().filter(|broker| !broker.is_fenced) {
        let asked = admin.describe_log_dirs(broker.broker_id, replicas);
        if let Ok(Ok(dirs)) = tokio::time::timeout(ANSWER_MAX, asked).await {
            found.insert(broker.broker_id, dirs);
        }
    }
    found
}
