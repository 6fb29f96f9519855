//! What operators see of a cluster: lags of replicas, health, racks.

use ottla_broker::Problem;
use ottla_broker::metrics::PartitionSeries;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{DescribeClusterRequest, MetadataRequest, UnregisterBrokerRequest};

use crate::nodes::{Cluster, Node, all_serve, make_replicated, until};
use crate::wire::Wire;
use crate::wire::requests::{batch, produce};

/// The value of a series, as a node tells it.
async fn metric(node: &Node, series: &str) -> Option<i64> {
    let text = node.monitor().metrics(PartitionSeries::Auto).await;
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_tells_how_far_each_follower_is_behind() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    make_replicated(&nodes, "watched", 3).await;
    let mut leads = 0;
    until("a leader is known", async || {
        let image = nodes[0].image();
        let partition = image.topic("watched").map(|topic| topic.partitions[0].clone());
        let Some((leader, isr)) = partition.and_then(|found| Some((found.leader?, found.isr.len()))) else {
            return false;
        };
        leads = leader.0;
        isr == 3
    })
    .await;
    let away = nodes.iter().position(|node| node.id.0 != leads).unwrap();
    let away_id = nodes.remove(away).id.0;
    let leader = nodes.iter().position(|node| node.id.0 == leads).unwrap();
    let mut wire = Wire::connect(nodes[leader].address()).await;
    for value in ["a", "b", "c"] {
        let answer = wire.call(9, &produce("watched", batch(&[value], None), 1)).await;
        assert_eq!(
            ErrorCode::from_code(answer.responses[0].partition_responses[0].error_code),
            ErrorCode::None
        );
    }
    let lag =
        |id: i32| format!("ottla_replica_lag_records{{topic=\"watched\",partition=\"0\",replica=\"{id}\"}}");
    until("only who is away is behind", async || {
        let mut lags = Vec::new();
        for id in 1..=3 {
            lags.push((id, metric(&nodes[leader], &lag(id)).await));
        }
        lags.iter().all(|(id, lag)| match *id {
            id if id == leads => lag.is_none(),
            id => *lag == Some(if id == away_id { 3 } else { 0 }),
        })
    })
    .await;
    assert_eq!(metric(&nodes[leader], "ottla_replica_lag_max_records").await, Some(3));
    nodes.push(cluster.start(away_id).await);
    until("it has caught up", async || {
        metric(&nodes[leader], "ottla_replica_lag_max_records").await == Some(0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_serve_says_so_and_is_told_of_with_its_rack() {
    let cluster = Cluster::of(3);
    let starting = (1..=3).map(async |id| {
        let mut config = cluster.config(id);
        config.rack = Some(format!("rack-{id}"));
        Node::start(&config).await.unwrap()
    });
    let mut nodes = futures::future::join_all(starting).await;
    all_serve(&nodes, 3).await;
    for node in &nodes {
        until("it knows that it serves", async || node.monitor().problems().await.is_empty()).await;
    }
    nodes.pop().unwrap().kill();
    let described = DescribeClusterRequest { include_fenced_brokers: true, ..Default::default() };
    let mut wire = Wire::connect(nodes[0].address()).await;
    until("the third is missed", async || {
        let answer = wire.call(2, &described).await;
        let brokers = answer.brokers.iter();
        brokers.map(|broker| (broker.rack.as_deref(), broker.is_fenced)).eq([
            (Some("rack-1"), false),
            (Some("rack-2"), false),
            (Some("rack-3"), true),
        ])
    })
    .await;
    let metadata = wire.call(12, &MetadataRequest::default()).await;
    let racks: Vec<_> = metadata.brokers.iter().map(|broker| broker.rack.as_deref()).collect();
    assert_eq!(racks, [Some("rack-1"), Some("rack-2")]);
    // What the cluster has been told to forget serves nobody, until it has registered again.
    let image = nodes[1].image();
    let before = image.brokers()[&nodes[1].id].epoch;
    let answer = wire.call(0, &UnregisterBrokerRequest { broker_id: 2 }).await;
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::None);
    let mut was_fenced = false;
    until("it is back", async || {
        let problems = nodes[1].monitor().problems().await;
        was_fenced |= problems == [Problem::Fenced];
        let image = nodes[1].image();
        let is_new =
            image.brokers().get(&nodes[1].id).is_some_and(|own| own.epoch > before && !own.is_fenced);
        is_new && problems.is_empty()
    })
    .await;
    assert!(was_fenced);
}
