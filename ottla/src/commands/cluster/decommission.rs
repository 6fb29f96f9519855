//! `ottla cluster decommission`: step by step, each of which can be done again: the broker is emptied, then its vote is taken, and once it is stopped it is
//! forgotten.

use ottla_client::placement::{self, PlacementChange};
use ottla_client::{Admin, ClusterDescription, QuorumDescription};

use super::super::connect;
use super::{moves, rebalance};
use crate::cli::{CarryingOut, ClusterArguments, Output};
use crate::failure::Failure;

/// Topics that are made meanwhile can be put on the broker; so often it is looked again.
const ROUNDS_MAX: usize = 5;

pub async fn run(broker: i32, how: &CarryingOut, cluster: &ClusterArguments) -> Result<(), Failure> {
    let client = connect(cluster).await?;
    let admin = client.admin();
    moves::refuse_while_moving(&admin).await?;
    let quorum = admin.describe_quorum().await?;
    let cluster = admin.describe_cluster().await?;
    refuse(broker, &cluster, &quorum)?;
    let mut changes = plan(&admin, broker, &cluster).await?;
    moves::show(&changes, how.output)?;
    if !how.execute {
        if how.output != Output::Json {
            println!("{}", moves::summary(&changes));
            println!("{}--execute does it", vote_text(broker, &quorum));
        }
        return Ok(());
    }
    for _ in 0..ROUNDS_MAX {
        moves::carry_out(&admin, &changes, how).await?;
        changes = plan(&admin, broker, &cluster).await?;
        if changes.is_empty() {
            break;
        }
    }
    if !changes.is_empty() {
        return Err(Failure::failed(format!(
            "broker {broker} got {} partitions again each time it was emptied: make no topics meanwhile, and try again",
            changes.len()
        )));
    }
    if let Some(voter) = quorum.voters.iter().find(|voter| voter.node_id == broker) {
        admin.remove_voter(broker, voter.directory_id).await?;
        say(how, format!("controller {broker} has no vote any more"));
    }
    let described = admin.describe_cluster().await?;
    match described.brokers.iter().find(|described| described.broker_id == broker) {
        Some(described) if !described.is_fenced => say(
            how,
            format!(
                "broker {broker} has nothing any more: stop it, and do this again to have the cluster forget it"
            ),
        ),
        _ => {
            admin.unregister_broker(broker).await?;
            say(how, format!("the cluster has forgotten broker {broker}"));
        }
    }
    Ok(())
}

fn say(how: &CarryingOut, text: String) {
    match how.output {
        Output::Json => eprintln!("{text}"),
        Output::Table | Output::Csv => println!("{text}"),
    }
}

fn vote_text(broker: i32, quorum: &QuorumDescription) -> String {
    match quorum.voters.iter().any(|voter| voter.node_id == broker) {
        true => format!("controller {broker} loses its vote, which leaves {}; ", quorum.voters.len() - 1),
        false => String::new(),
    }
}

/// What cannot be, before anything is moved.
fn refuse(broker: i32, cluster: &ClusterDescription, quorum: &QuorumDescription) -> Result<(), Failure> {
    if cluster.brokers.iter().all(|described| described.broker_id != broker) {
        let known: Vec<String> = cluster.brokers.iter().map(|broker| broker.broker_id.to_string()).collect();
        return Err(Failure::failed(format!("there is no broker {broker}; there are {}", known.join(", "))));
    }
    let others_serve =
        cluster.brokers.iter().any(|described| described.broker_id != broker && !described.is_fenced);
    if !others_serve {
        return Err(Failure::failed(format!(
            "no other broker serves than {broker}: nobody could take what it has"
        )));
    }
    if quorum.voters.len() == 1 && quorum.voters[0].node_id == broker {
        return Err(Failure::failed(format!(
            "{broker} is the only controller: give another a vote first (`kafka-metadata-quorum add-controller`)"
        )));
    }
    Ok(())
}

/// Others that serve get what the broker has; what is on another one that is down stays there.
async fn plan(
    admin: &Admin,
    broker: i32,
    cluster: &ClusterDescription,
) -> Result<Vec<PlacementChange>, Failure> {
    let mut hosts = rebalance::hosts(cluster);
    hosts.retain(|host| host.id != broker);
    Ok(placement::evacuate(&hosts, &moves::placed(admin, cluster, &[]).await?)?)
}

#[cfg(test)]
mod tests {
    use ottla_client::{BrokerDescription, QuorumReplica, Uuid};

    use super::*;

    fn cluster(fenced: &[(i32, bool)]) -> ClusterDescription {
        let broker = |(broker_id, is_fenced): &(i32, bool)| BrokerDescription {
            broker_id: *broker_id,
            host: "h".to_owned(),
            port: 1,
            rack: None,
            is_fenced: *is_fenced,
        };
        ClusterDescription {
            cluster_id: "c".to_owned(),
            controller_id: Some(1),
            brokers: fenced.iter().map(broker).collect(),
        }
    }

    fn quorum(voters: &[i32]) -> QuorumDescription {
        let voter = |node_id: &i32| QuorumReplica {
            node_id: *node_id,
            directory_id: Uuid::nil(),
            log_end_offset: 0,
            silent_ms: None,
        };
        let voters = voters.iter().map(voter).collect();
        QuorumDescription { leader_id: 1, leader_epoch: 1, high_watermark: 0, voters, observers: Vec::new() }
    }

    #[test]
    fn who_cannot_leave_is_told_why() {
        let refusal = |broker, fenced, voters| {
            refuse(broker, &cluster(fenced), &quorum(voters)).err().map(|failure| format!("{failure:?}"))
        };
        let all = &[(1, false), (2, false), (3, true)];
        assert!(refusal(4, all, &[1]).unwrap().contains("there are 1, 2, 3"));
        assert!(refusal(1, all, &[1]).unwrap().contains("only controller"));
        assert!(refusal(1, &[(1, false), (2, true)], &[2]).unwrap().contains("no other broker"));
        assert_eq!(refusal(1, all, &[1, 2, 3]), None);
        assert_eq!(refusal(3, all, &[1, 2]), None);
    }
}
