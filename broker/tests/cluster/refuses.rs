//! Those who do not belong.

use ottla_broker::BrokerConfig;
use ottla_broker::ids::NodeId;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{
    BeginQuorumEpochRequest, BrokerHeartbeatRequest, k53_begin_quorum_epoch as begin_quorum_epoch,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::nodes::{Cluster, Node, all_serve, leader_of, make, port};
use crate::wire::Wire;

async fn refusal(config: &BrokerConfig) -> String {
    match Node::start(config).await {
        Ok(node) => panic!("node {} was let in", node.id),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clusters_disk_and_one_that_was_alone_are_refused() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    leader_of(&nodes).await;
    nodes.remove(1).kill();

    let mut config = cluster.config(2);
    let kept = config.log_dirs.log_dirs[0].clone();
    let alone = tempfile::tempdir().unwrap();
    let mut single = BrokerConfig::new(alone.path());
    single.node_id = NodeId(2);
    Node::start(&single).await.unwrap().stop().await;
    config.log_dirs.log_dirs[0] = alone.path().to_owned();
    let foreign = refusal(&config).await;
    assert!(foreign.contains("the controllers of") && foreign.contains("are 2,"), "{foreign}");

    let others = Cluster::of(3);
    let theirs = others.start_all().await;
    for node in theirs {
        node.kill();
    }
    config.log_dirs.log_dirs[0] = others.dir(2);
    let foreign = refusal(&config).await;
    assert!(foreign.contains("belongs to cluster") && foreign.contains("to cluster"), "{foreign}");

    // Nor does one of several go on as if it were alone.
    config.log_dirs.log_dirs[0] = kept;
    config.controllers.clear();
    let deserted = refusal(&config).await;
    assert!(deserted.contains("are 1,2,3, and --controllers names none"), "{deserted}");
    make(&nodes, "undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_id_another_has_is_refused_while_that_is_at_work() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    let leader = leader_of(&nodes).await;
    // Started elsewhere: a controller that follows, and then the one that leads.
    let taken = [(leader + 1) % 3, leader].map(async |taken: usize| {
        let mut config = cluster.config(nodes[taken].id.0);
        let elsewhere = tempfile::tempdir().unwrap();
        config.log_dirs.log_dirs[0] = elsewhere.path().join("data");
        config.controllers[taken].port = port();
        let taken = refusal(&config).await;
        assert!(taken.contains("is there already") && taken.contains("the id is taken"), "{taken}");
    });
    futures::future::join_all(taken).await;
    make(&nodes, "undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_speaks_garbage_to_a_controller_is_closed_and_the_rest_goes_on() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    let leader = leader_of(&nodes).await;
    let controller = &cluster.controllers[leader];
    let length = |length: i32, rest: &[u8]| [&length.to_be_bytes()[..], rest].concat();
    let cases: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        length(-1, b""),
        length(i32::MAX, b"abc"),
        length(3, b"abc"),
        // A Vote of a version that there is not, one without a body, one of an API that controllers do not serve.
        length(10, &[0, 52, 0, 99, 0, 0, 0, 1, 255, 255]),
        length(10, &[0, 52, 0, 2, 0, 0, 0, 1, 255, 255]),
        length(10, &[0, 0, 0, 9, 0, 0, 0, 1, 255, 255]),
        [length(60, &[0, 1, 0, 17, 0, 0, 0, 1, 255, 255, 0]), vec![0xff; 49]].concat(),
    ];
    for case in cases {
        let mut stream = TcpStream::connect((controller.host.as_str(), controller.port)).await.unwrap();
        stream.write_all(&case).await.unwrap();
        let mut rest = Vec::new();
        // Closed, or reset because not all was read.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{case:?} was answered with {rest:?}");
    }
    make(&nodes, "undisturbed").await;
    assert_eq!(leader_of(&nodes).await, leader);
}

/// A node that has lost whose it is neither forms a cluster of its own around what it has, nor joins as if its disk were new.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_is_half_formatted_is_refused() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    make(&nodes, "before").await;
    nodes.remove(2).kill();
    let identity = cluster.dir(3).join("meta.properties");
    let whole = std::fs::read_to_string(&identity).unwrap();
    for (text, why) in [
        (None, "has __cluster_metadata-0 and no meta.properties"),
        (Some(""), "cluster.id is missing"),
        (Some("version=1\ncluster.id=abc\n"), "node.id is missing"),
    ] {
        match text {
            None => std::fs::remove_file(&identity).unwrap(),
            Some(text) => std::fs::write(&identity, text).unwrap(),
        }
        let refused = refusal(&cluster.config(3)).await;
        assert!(refused.contains(why) && refused.contains("restore"), "{refused}");
    }
    std::fs::write(&identity, whole).unwrap();
    nodes.push(cluster.start(3).await);
    all_serve(&nodes, 3).await;
    make(&nodes, "after").await;
}

/// One that led once, and has not heard that others decided without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_an_older_epoch_is_told_so_and_changes_nothing() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    let leader = leader_of(&nodes).await;
    let before = nodes[leader].state();
    let stale = nodes[(leader + 1) % 3].id.0;
    let follower = &cluster.controllers[(leader + 2) % 3];
    let address = format!("{}:{}", follower.host, follower.port).parse().unwrap();
    let mut wire = Wire::connect(address).await;
    let partition = begin_quorum_epoch::PartitionData {
        leader_id: stale,
        leader_epoch: before.epoch.0 - 1,
        ..Default::default()
    };
    let topic = begin_quorum_epoch::TopicData {
        topic_name: "__cluster_metadata".into(),
        partitions: vec![partition],
    };
    let request = BeginQuorumEpochRequest { topics: vec![topic], ..Default::default() };
    let answer = wire.call(1, &request).await;
    let answer = &answer.topics[0].partitions[0];
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::FencedLeaderEpoch);
    assert_eq!((answer.leader_id, answer.leader_epoch), (nodes[leader].id.0, before.epoch.0));
    // Nor does anybody who does not lead decide for brokers.
    let heartbeat = BrokerHeartbeatRequest { broker_id: 1, ..Default::default() };
    let answer = wire.call(1, &heartbeat).await;
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::NotController);
    make(&nodes, "undisturbed").await;
    assert_eq!(nodes[leader].state().epoch, before.epoch);
}
