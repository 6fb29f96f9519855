//! Replicas that are added to a partition are filled at the rate that is set, and nobody else waits for it (KIP-73).

use std::time::Duration;

use ottla_broker::ids::NodeId;
use ottla_protocol::messages::k44_incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use ottla_protocol::messages::k45_alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use ottla_protocol::messages::{AlterPartitionReassignmentsRequest, IncrementalAlterConfigsRequest};

use crate::nodes::{Cluster, Node, all_serve, leader_of, make_replicated, until};
use crate::wire::Wire;
use crate::wire::requests::{batch, produce};

const SET: i8 = 0;
const DELETE: i8 = 1;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

async fn configure(nodes: &[Node], kind: i8, resource: &str, config: &str, value: Option<&str>) {
    let operation = if value.is_some() { SET } else { DELETE };
    let config = AlterableConfig {
        name: config.to_owned().into(),
        config_operation: operation,
        value: value.map(|value| value.to_owned().into()),
    };
    let resource = AlterConfigsResource {
        resource_type: kind,
        resource_name: resource.to_owned().into(),
        configs: vec![config],
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = Wire::connect(nodes[leader_of(nodes).await].address()).await.call(1, &request).await;
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

/// Leader and in-sync replicas.
fn state(node: &Node, topic: &str) -> Option<(NodeId, Vec<NodeId>)> {
    let image = node.image();
    let partition = image.topic(topic)?.partitions[0].clone();
    Some((partition.leader?, partition.isr))
}

async fn send(nodes: &[Node], topic: &str, value: &str) {
    let (leader, _) = state(&nodes[0], topic).unwrap();
    let node = nodes.iter().find(|node| node.id == leader).unwrap();
    let answer =
        Wire::connect(node.address()).await.call(9, &produce(topic, batch(&[value], None), -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{answer:?}");
}

async fn a_rate_holds_back(role: &str) {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    all_serve(&nodes, 3).await;
    for (topic, replicas) in [("grows", 1), ("free", 1), ("whole", 3)] {
        make_replicated(&nodes, topic, replicas).await;
        until("all know of it", async || nodes.iter().all(|node| state(node, topic).is_some())).await;
    }
    // More than a leader gives of a partition at once, which is more than the rate allows in an hour.
    for topic in ["grows", "free"] {
        for _ in 0..8 {
            send(&nodes, topic, &"x".repeat(400_000)).await;
        }
    }
    let mut replicas = Vec::new();
    for topic in ["grows", "free"] {
        let (holder, _) = state(&nodes[0], topic).unwrap();
        let added = NodeId(holder.0 % 3 + 1);
        replicas.push((topic, holder, added));
    }
    let (_, holder, added) = replicas[0];
    let throttled = if role == "leader" { holder } else { added };
    let (rate, list) =
        (format!("{role}.replication.throttled.rate"), format!("{role}.replication.throttled.replicas"));
    for node in &nodes {
        configure(&nodes, BROKER, &node.id.to_string(), &rate, Some("1000")).await;
    }
    configure(&nodes, TOPIC, "grows", &list, Some(&format!("0:{throttled}"))).await;
    configure(&nodes, TOPIC, "whole", &list, Some("*")).await;
    let topics = replicas.iter().map(|(topic, holder, added)| ReassignableTopic {
        name: (*topic).into(),
        partitions: vec![ReassignablePartition {
            partition_index: 0,
            replicas: Some(vec![holder.0, added.0]),
        }],
    });
    let request = AlterPartitionReassignmentsRequest {
        topics: topics.collect(),
        ..AlterPartitionReassignmentsRequest::default()
    };
    let answer = Wire::connect(nodes[leader_of(&nodes).await].address()).await.call(1, &request).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 0, "{answer:?}");
    let in_sync = |topic: &str| state(&nodes[0], topic).unwrap().1.len();
    until("what is not listed comes at once", async || in_sync("free") == 2).await;
    // What all have, although it is listed, is not held back: every replica in sync must have it before it is acknowledged.
    for round in 0..5 {
        send(&nodes, "whole", &format!("{round}{}", "y".repeat(300_000))).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((in_sync("grows"), in_sync("whole")), (1, 3));
    // Nor does what is given up to the rate wait for anything: so it is there as soon as the rate is gone.
    for node in &nodes {
        configure(&nodes, BROKER, &node.id.to_string(), &rate, None).await;
    }
    until("the new replica is in sync", async || in_sync("grows") == 2).await;
    send(&nodes, "grows", "more").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_gives_a_replica_that_is_added_no_more_than_its_rate() {
    a_rate_holds_back("leader").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_fetches_for_a_replica_that_is_added_no_more_than_its_rate() {
    a_rate_holds_back("follower").await;
}
