//! Who is there, as clients are told.

use ottla_broker::BrokerConfig;
use ottla_broker::ids::NodeId;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k09_offset_fetch::OffsetFetchRequestGroup;
use ottla_protocol::messages::{
    DescribeClusterRequest, FindCoordinatorRequest, MetadataRequest, OffsetFetchRequest,
};
use ottla_protocol::wire::Str;

use crate::nodes::{Cluster, Node, all_know, leader_of, make, until};
use crate::wire::Wire;
use crate::wire::requests::create;

/// The brokers that a node's clients are told of.
async fn brokers(node: &Node) -> Vec<(i32, i32)> {
    let metadata = Wire::connect(node.address()).await.call(12, &MetadataRequest::default()).await;
    metadata.brokers.iter().map(|broker| (broker.node_id, broker.port)).collect()
}

pub async fn all_tell_of(nodes: &[Node]) {
    let mut expected: Vec<(i32, i32)> =
        nodes.iter().map(|node| (node.id.0, i32::from(node.address().port()))).collect();
    expected.sort();
    until("every node tells of every living broker", async || {
        for node in nodes {
            if brokers(node).await != expected {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_tells_of_the_brokers_that_live_and_of_the_one_that_decides() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    all_tell_of(&nodes).await;
    let leader = leader_of(&nodes).await;
    for node in &nodes {
        let mut wire = Wire::connect(node.address()).await;
        let metadata = wire.call(12, &MetadataRequest::default()).await;
        assert_eq!(metadata.controller_id, nodes[leader].id.0);
        let described = wire.call(2, &DescribeClusterRequest::default()).await;
        assert_eq!((described.controller_id, described.brokers.len()), (nodes[leader].id.0, 3));
    }
    // One that is killed is missed after a while, also where it decided who is missed; one that stops says so.
    let id = nodes.remove(leader).id;
    all_tell_of(&nodes).await;
    nodes.push(cluster.start(id.0).await);
    all_tell_of(&nodes).await;
    nodes.remove(0).stop().await;
    all_tell_of(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_led_by_nobody_while_its_broker_is_away() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    all_tell_of(&nodes).await;
    make(&nodes, "kept").await;
    let leader_of_partition = async |node: &Node| {
        let metadata = Wire::connect(node.address()).await.call(12, &MetadataRequest::default()).await;
        metadata.topics.first().map(|topic| topic.partitions[0].leader_id)
    };
    let mut holder = -1;
    until("somebody leads the partition", async || {
        holder = leader_of_partition(&nodes[0]).await.unwrap_or(-1);
        holder >= 0
    })
    .await;
    let place = nodes.iter().position(|node| node.id == NodeId(holder)).unwrap();
    nodes.remove(place).kill();
    until("nobody leads it", async || leader_of_partition(&nodes[0]).await == Some(-1)).await;
    nodes.push(cluster.start(holder).await);
    until("it is led again", async || leader_of_partition(&nodes[0]).await == Some(holder)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_a_vote_joins_and_one_with_an_id_that_is_taken_is_not_let_in() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    let spare = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let observer = |at: usize| {
        let mut config = cluster.config(1);
        config.node_id = NodeId(9);
        config.roles.controller = false;
        config.log_dirs.log_dirs[0] = spare[at].path().to_owned();
        config
    };
    nodes.push(Node::start(&observer(0)).await.unwrap());
    all_tell_of(&nodes).await;
    make(&nodes[..3], "seen-by-all").await;
    all_know(&nodes, &["seen-by-all"]).await;
    let impostor = Node::start(&observer(1)).await.unwrap();
    make(&nodes[..3], "undisturbed").await;
    all_know(&nodes, &["undisturbed"]).await;
    all_tell_of(&nodes).await;
    impostor.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_coordinated_where_its_partition_is_led_and_nowhere_else() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    all_tell_of(&nodes).await;
    let keys: Vec<Str> = (0..12).map(|number| format!("group-{number}").into()).collect();
    let request = FindCoordinatorRequest {
        key_type: 0,
        coordinator_keys: keys.clone(),
        ..FindCoordinatorRequest::default()
    };
    // Where the topic is not there yet, the one that decides makes it.
    let leader = leader_of(&nodes).await;
    Wire::connect(nodes[leader].address()).await.call(4, &request).await;
    let mut found: Vec<i32> = Vec::new();
    until("all nodes tell of the same coordinators", async || {
        let mut told = Vec::new();
        for node in &nodes {
            let answer = Wire::connect(node.address()).await.call(4, &request).await;
            if answer.coordinators.iter().any(|coordinator| coordinator.error_code != 0) {
                return false;
            }
            told.push(answer.coordinators.iter().map(|coordinator| coordinator.node_id).collect::<Vec<_>>());
        }
        found = told[0].clone();
        told.iter().all(|one| *one == found)
    })
    .await;
    assert!(found.iter().any(|id| *id != found[0]), "not one for all: {found:?}");
    for (key, coordinator) in keys.iter().zip(&found) {
        for node in &nodes {
            let group =
                OffsetFetchRequestGroup { group_id: key.clone(), ..OffsetFetchRequestGroup::default() };
            let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
            let expected =
                if node.id.0 == *coordinator { ErrorCode::None } else { ErrorCode::NotCoordinator };
            until("the group's state is read where it is, and only there", async || {
                let answer = Wire::connect(node.address()).await.call(8, &request).await;
                answer.groups[0].error_code == expected.code()
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_are_no_brokers_lead_a_cluster_of_brokers_that_are_no_controllers() {
    let cluster = Cluster::of(3);
    let spare: Vec<tempfile::TempDir> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let controllers = (1..=3).map(|id| {
        let mut config = cluster.config(id);
        config.roles.broker = false;
        config
    });
    let brokers = (4..=5).map(|id| {
        let mut config = cluster.config(1);
        config.node_id = NodeId(id);
        config.roles.controller = false;
        config.log_dirs.log_dirs[0] = spare[id as usize - 4].path().to_owned();
        config
    });
    let configs: Vec<BrokerConfig> = controllers.chain(brokers).collect();
    let nodes = futures::future::join_all(configs.iter().map(Node::start)).await;
    let mut nodes: Vec<Node> = nodes.into_iter().map(Result::unwrap).collect();
    let brokers_from = 3;
    all_tell_of(&nodes[brokers_from..]).await;
    for round in 0..2 {
        for (at, node) in nodes[nodes.len() - 2..].iter().enumerate() {
            let name = format!("round-{round}-at-{at}");
            // A busy machine may have let a broker's session end.
            until("a topic can be made there", async || {
                let code = ErrorCode::from_code(node.create(&create(&name)).await.topics[0].error_code);
                matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists)
            })
            .await;
        }
        let all = ["round-0-at-0", "round-0-at-1", "round-1-at-0", "round-1-at-1"];
        all_know(&nodes, &all[..2 * round + 2]).await;
        if round == 0 {
            let leader = leader_of(&nodes).await;
            assert!(leader < brokers_from, "only controllers lead the quorum");
            nodes.remove(leader).kill();
        }
    }
    // They hold no partition.
    for controller in &nodes[..2] {
        assert!(controller.image().brokers().keys().all(|id| id.0 >= 4));
    }
}
