//! Losing nodes, and getting them back.

use ottla_protocol::messages::{DeleteTopicsRequest, k20_delete_topics::DeleteTopicState};

use crate::fixtures;
use crate::nodes::{Cluster, Node, all_know, all_serve, leader_of, make, until};
use crate::wire::Wire;
use crate::wire::requests::{create, fetch, values};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_without_its_leader_and_takes_it_back() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    let leader = leader_of(&nodes).await;
    make(&nodes, "before").await;
    let killed = nodes.remove(leader);
    let (id, epoch) = (killed.id, killed.state().epoch);
    killed.kill();
    make(&nodes, "meanwhile").await;
    let next = leader_of(&nodes).await;
    assert!(nodes[next].state().epoch > epoch);
    nodes.push(cluster.start(id.0).await);
    all_know(&nodes, &["before", "meanwhile"]).await;
    // One that is stopped in good order leaves its place to another.
    let leader = leader_of(&nodes).await;
    nodes.remove(leader).stop().await;
    make(&nodes, "after").await;
    all_know(&nodes, &["before", "meanwhile", "after"]).await;
    for node in nodes {
        node.kill();
    }
    // All of them at once.
    let nodes = cluster.start_all().await;
    all_know(&nodes, &["before", "meanwhile", "after"]).await;
    make(&nodes, "at-last").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_decides_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.request_timeout_ms = 1_000;
    let mut nodes = cluster.start_all().await;
    let leader = leader_of(&nodes).await;
    make(&nodes, "before").await;
    all_know(&nodes, &["before"]).await;
    let left = nodes.remove(leader);
    for node in nodes {
        node.kill();
    }
    until("a leader without followers steps down", async || !left.leads()).await;
    let answer = left.create(&create("alone")).await;
    assert_ne!(answer.topics[0].error_code, 0);
    let other = if left.id.0 == 1 { 2 } else { 1 };
    let nodes = vec![left, cluster.start(other).await];
    make(&nodes, "together").await;
    all_know(&nodes, &["before", "together"]).await;
}

async fn delete(node: &Node, topic: &str) {
    let state = DeleteTopicState { name: Some(topic.into()), ..DeleteTopicState::default() };
    let request =
        DeleteTopicsRequest { topics: vec![state], timeout_ms: 5000, ..DeleteTopicsRequest::default() };
    Wire::connect(node.address()).await.call(6, &request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_long_catches_up_by_a_snapshot() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    let leader = leader_of(&nodes).await;
    make(&nodes, "kept").await;
    all_know(&nodes, &["kept"]).await;
    let away = nodes.remove((leader + 1) % 3);
    let (id, end) = (away.id, away.state().high_watermark.0);
    away.kill();
    let mut round = 0;
    until("the log begins past what the absent node has", async || {
        let leader = leader_of(&nodes).await;
        let topic = format!("passing-{round}");
        round += 1;
        make(&nodes, &topic).await;
        delete(&nodes[leader], &topic).await;
        nodes[leader].log_start() > end + 1
    })
    .await;
    make(&nodes, "newest").await;
    nodes.push(cluster.start(id.0).await);
    all_know(&nodes, &["kept", "newest"]).await;
    let back = nodes.pop().unwrap();
    assert!(back.log_start() > end, "it has the leader's snapshot");
    // What it has now, it has after a crash too, with the others or as one of two.
    back.kill();
    nodes.remove(0).kill();
    nodes.push(cluster.start(id.0).await);
    make(&nodes, "with-two").await;
    all_know(&nodes, &["kept", "newest", "with-two"]).await;
}

/// Three nodes as the first release left them when they were killed, now elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_the_first_release_goes_on() {
    let cluster = Cluster::of(3);
    for id in 1..=3 {
        fixtures::copy(&format!("0.1-first/cluster/node-{id}"), &cluster.dir(id));
    }
    let nodes = cluster.start_all().await;
    all_serve(&nodes, 3).await;
    for partition in 0..3 {
        let mut request = fetch("kept", 0, 500);
        request.topics[0].partitions[0].partition = partition;
        let expected: Vec<String> = (0..20).map(|at| (100 * partition + at).to_string()).collect();
        until("all records are there", async || {
            for node in &nodes {
                if values(&Wire::connect(node.address()).await.call(10, &request).await) == expected {
                    return true;
                }
            }
            false
        })
        .await;
    }
    make(&nodes, "after").await;
}
