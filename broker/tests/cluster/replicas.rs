//! Partitions with several replicas, as the controller decides about them.

use ottla_broker::controller::{AlterPartitions, Controller, IsrChange, PartitionImage};
use ottla_broker::ids::{NodeId, Offset};
use ottla_broker::partition::Assignment;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k45_alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use ottla_protocol::messages::{
    AlterPartitionReassignmentsRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest,
    UnregisterBrokerRequest,
};

use crate::nodes::{Cluster, Node, all_serve, leader_of, make_replicated, until};
use crate::wire::Wire;

fn partition(node: &Node, topic: &str) -> Option<PartitionImage> {
    let image = node.controller().image();
    image.invariants().unwrap();
    image.topic(topic).map(|topic| topic.partitions[0].clone())
}

/// What a leader says once its followers have caught up, told by whichever node it is on.
async fn say_in_sync(controller: &Controller, topic: &str, isr: &[NodeId]) -> Option<Result<(), ErrorCode>> {
    let image = controller.image();
    let found = image.topic(topic)?;
    let partition = &found.partitions[0];
    let broker = partition.leader?;
    let epoch = |node: &NodeId| image.brokers().get(node).map_or(Offset(-1), |broker| broker.epoch);
    let wanted = AlterPartitions {
        broker,
        broker_epoch: epoch(&broker),
        changes: vec![IsrChange {
            topic_id: found.id,
            partition: 0,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: isr.iter().map(|node| (*node, epoch(node))).collect(),
        }],
    };
    controller.alter_partitions(wanted).await.ok()?.pop()
}

/// Waits until these are in sync, saying that they are as long as they are not.
async fn are_in_sync(nodes: &[Node], topic: &str, isr: &[i32]) {
    let mut wanted: Vec<NodeId> = isr.iter().copied().map(NodeId).collect();
    wanted.sort();
    until("replicas are in sync", async || {
        for node in nodes {
            let mut now = partition(node, topic).map_or(Vec::new(), |partition| partition.isr);
            now.sort();
            if now != wanted {
                say_in_sync(node.controller(), topic, &wanted).await;
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaderships_move_before_a_broker_stops_and_go_back_when_they_are_wanted_there() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    all_serve(&nodes, 3).await;
    make_replicated(&nodes, "t", 3).await;
    until("all know of it", async || nodes.iter().all(|node| partition(node, "t").is_some())).await;
    let before = partition(&nodes[0], "t").unwrap();
    assert_eq!((before.replicas.len(), before.isr.len()), (3, 3));
    let preferred = before.replicas[0];
    assert_eq!(before.leader, Some(preferred));

    let place = nodes.iter().position(|node| node.id == preferred).unwrap();
    nodes.remove(place).stop().await;
    until("another leads", async || {
        let now = partition(&nodes[0], "t").unwrap();
        now.leader == Some(before.replicas[1]) && now.isr == before.replicas[1..]
    })
    .await;
    let broker = nodes[0].controller().image().brokers()[&preferred].clone();
    assert!(broker.in_controlled_shutdown, "it has said that it stops");

    nodes.push(cluster.start(preferred.0).await);
    let all: Vec<i32> = before.replicas.iter().map(|node| node.0).collect();
    are_in_sync(&nodes, "t", &all).await;
    let elect = ElectLeadersRequest { topic_partitions: None, ..ElectLeadersRequest::default() };
    until("the preferred leader leads", async || {
        let leader = leader_of(&nodes).await;
        Wire::connect(nodes[leader].address()).await.call(2, &elect).await;
        nodes.iter().all(|node| partition(node, "t").is_some_and(|now| now.leader == Some(preferred)))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_to_other_brokers_and_a_broker_that_has_gone_is_forgotten() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    all_serve(&nodes, 3).await;
    make_replicated(&nodes, "moved", 1).await;
    until("all know of it", async || nodes.iter().all(|node| partition(node, "moved").is_some())).await;
    let holder = partition(&nodes[0], "moved").unwrap().replicas[0];
    let others: Vec<i32> = (1..=3).filter(|id| *id != holder.0).collect();
    let wanted = AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic {
            name: "moved".into(),
            partitions: vec![ReassignablePartition { partition_index: 0, replicas: Some(others.clone()) }],
        }],
        ..AlterPartitionReassignmentsRequest::default()
    };
    let leader = leader_of(&nodes).await;
    let mut wire = Wire::connect(nodes[leader].address()).await;
    let answer = wire.call(1, &wanted).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 0, "{answer:?}");
    let mut listed = wire.call(0, &ListPartitionReassignmentsRequest::default()).await;
    if let Some(topic) = listed.topics.pop() {
        // Unless it is complete by now.
        assert_eq!((&*topic.name, &topic.partitions[0].adding_replicas), ("moved", &others));
        assert_eq!(topic.partitions[0].removing_replicas, [holder.0]);
    }
    until("it has moved", async || {
        let now = partition(&nodes[0], "moved").unwrap();
        if now.is_reassigned() {
            say_in_sync(nodes[0].controller(), "moved", &now.replicas).await;
        }
        now.replicas.iter().map(|node| node.0).collect::<Vec<_>>() == others && now.leader.is_some()
    })
    .await;
    let listed = wire.call(0, &ListPartitionReassignmentsRequest::default()).await;
    assert!(listed.topics.is_empty(), "{listed:?}");

    let gone = nodes.iter().position(|node| node.id == holder).unwrap();
    nodes.remove(gone).stop().await;
    let forget = UnregisterBrokerRequest { broker_id: holder.0 };
    until("it is forgotten", async || {
        let leader = leader_of(&nodes).await;
        Wire::connect(nodes[leader].address()).await.call(0, &forget).await;
        nodes.iter().all(|node| !node.controller().image().brokers().contains_key(&holder))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_can_tell_where_its_replicas_are() {
    let cluster = Cluster::of(3);
    let second: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let starting = (1..=3).map(|id| {
        let mut config = cluster.config(id);
        config.log_dirs.log_dirs.push(second[id as usize - 1].path().to_owned());
        async move { Node::start(&config).await.unwrap() }
    });
    let nodes = futures::future::join_all(starting).await;
    all_serve(&nodes, 3).await;
    make_replicated(&nodes, "t", 3).await;
    until("all know of it", async || nodes.iter().all(|node| partition(node, "t").is_some())).await;
    for node in &nodes {
        let image = node.controller().image();
        let was = partition(node, "t").unwrap().directory_of(node.id);
        let other = *image.brokers()[&node.id].log_dirs.iter().find(|dir| Some(**dir) != was).unwrap();
        let topic_id = image.topic("t").unwrap().id;
        let moved = Assignment { topic_id, partition: 0, directory_id: other };
        until("it is recorded", async || node.controller().assign(moved).await.is_ok()).await;
        until("everybody knows", async || {
            nodes
                .iter()
                .all(|other_node| partition(other_node, "t").unwrap().directory_of(node.id) == Some(other))
        })
        .await;
    }
}
