//! Those who do not belong.

use ottla_broker::BrokerConfig;
use ottla_broker::ids::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::nodes::{Cluster, Node, leader_of, make, port};

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
