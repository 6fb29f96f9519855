//! `ottla cluster rebalance`

use ottla_client::placement::{self, PlacementBroker};
use ottla_client::{BrokerDescription, ClusterDescription};

use super::super::connect;
use super::moves;
use crate::cli::{CarryingOut, ClusterArguments, Output};
use crate::failure::Failure;

pub async fn run(topics: &[String], how: &CarryingOut, cluster: &ClusterArguments) -> Result<(), Failure> {
    let client = connect(cluster).await?;
    let admin = client.admin();
    moves::refuse_while_moving(&admin).await?;
    let cluster = admin.describe_cluster().await?;
    refuse_without_some(&cluster)?;
    let placed = moves::placed(&admin, &cluster, topics).await?;
    let changes = placement::rebalance(&hosts(&cluster), &placed)?;
    moves::show(&changes, how.output)?;
    if how.execute {
        moves::carry_out(&admin, &changes, how).await?;
    }
    if how.output != Output::Json {
        println!("{}", moves::summary(&changes));
        if !changes.is_empty() && !how.execute {
            println!("--execute does it");
        }
    }
    Ok(())
}

/// A broker that is only down for a while shall not be emptied, and one that is counted as there shall not be planned with while it is not.
fn refuse_without_some(cluster: &ClusterDescription) -> Result<(), Failure> {
    let Some(fenced) = cluster.brokers.iter().find(|broker| broker.is_fenced) else { return Ok(()) };
    let id = fenced.broker_id;
    Err(Failure::failed(format!(
        "broker {id} is registered and does not serve: start it, or take it out with `ottla cluster decommission {id}`"
    )))
}

/// All brokers, as those that may have replicas; those that do not serve get no more.
pub fn hosts(cluster: &ClusterDescription) -> Vec<PlacementBroker> {
    let brokers = cluster.brokers.iter();
    let host = |broker: &BrokerDescription| PlacementBroker {
        id: broker.broker_id,
        rack: broker.rack.clone(),
        takes_more: !broker.is_fenced,
    };
    brokers.map(host).collect()
}

/// Takes back all moves.
pub async fn cancel(cluster: &ClusterArguments) -> Result<(), Failure> {
    let client = connect(cluster).await?;
    let admin = client.admin();
    let moving = admin.list_reassignments().await?;
    let wanted: Vec<_> = moving.into_iter().map(|moving| (moving.partition, None)).collect();
    if !wanted.is_empty() {
        admin.alter_reassignments(&wanted).await?;
    }
    println!("{} moves were taken back", wanted.len());
    Ok(())
}
