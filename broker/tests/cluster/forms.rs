//! Coming to be.

use std::fs;

use ottla_protocol::messages::k55_describe_quorum::{PartitionData, TopicData};
use ottla_protocol::messages::{DescribeClusterRequest, DescribeQuorumRequest};

use crate::nodes::{Cluster, all_know, leader_of, make, until};
use crate::wire::Wire;

fn describe() -> DescribeQuorumRequest {
    let topic = TopicData {
        topic_name: "__cluster_metadata".into(),
        partitions: vec![PartitionData { partition_index: 0 }],
    };
    DescribeQuorumRequest { topics: vec![topic] }
}

fn cluster_id(cluster: &Cluster, id: i32) -> String {
    let text = fs::read_to_string(cluster.dir(id).join("meta.properties")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("cluster.id=")).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_new_controllers_are_one_cluster_and_any_of_them_tells_how_it_is() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    let leader = leader_of(&nodes).await;
    make(&nodes, "first").await;
    all_know(&nodes, &["first"]).await;
    let ids: Vec<String> = (1..=3).map(|id| cluster_id(&cluster, id)).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    for node in &nodes {
        let mut wire = Wire::connect(node.address()).await;
        until("the leader hears of both followers", async || {
            let described = wire.call(2, &describe()).await;
            let Some(partition) = described.topics.first().and_then(|topic| topic.partitions.first()) else {
                return false;
            };
            let ends: Vec<i64> = partition.current_voters.iter().map(|voter| voter.log_end_offset).collect();
            described.nodes.len() == 3
                && partition.leader_id == nodes[leader].id.0
                && partition.current_voters.len() == 3
                && partition.high_watermark > 1
                && ends.iter().all(|end| *end == partition.high_watermark)
        })
        .await;
    }
    let address = (cluster.controllers[leader].host.as_str(), cluster.controllers[leader].port);
    let address = tokio::net::lookup_host(address).await.unwrap().next().unwrap();
    let request = DescribeClusterRequest { endpoint_type: 2, ..DescribeClusterRequest::default() };
    let described = Wire::connect(address).await.call(1, &request).await;
    assert_eq!(described.cluster_id.to_string(), ids[0]);
    assert_eq!((described.controller_id, described.brokers.len()), (nodes[leader].id.0, 3));
    for node in nodes {
        node.stop().await;
    }
}
