//! Transactions whose partitions, groups and coordinators are on different nodes.

#[path = "../../../client/tests/transactional_producer/scenarios.rs"]
#[allow(dead_code, reason = "those that a single broker passes as well are run against one")]
mod scenarios;

use ottla_client::{
    Client, ClientConfig, ConsumerConfig, IsolationLevel, NewTopic, OFFSET_EARLIEST, ProducerConfig, Record,
    TopicPartition,
};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k03_metadata::MetadataRequestTopic;
use ottla_protocol::messages::{EndTxnRequest, FindCoordinatorRequest, MetadataRequest, OffsetFetchRequest};

use crate::nodes::{Cluster, Node, leader_of, until};
use crate::registers::all_tell_of;
use crate::wire::Wire;

const PARTITIONS: i32 = 9;

fn start_one(cluster: &Cluster, id: i32) -> impl Future<Output = Node> {
    let mut config = cluster.config(id);
    config.set("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200").unwrap();
    for (name, value) in [
        ("transaction.state.log.num.partitions", "6"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("offsets.topic.num.partitions", "6"),
        ("offsets.topic.replication.factor", "1"),
    ] {
        config.set(name, value).unwrap();
    }
    async move { Node::start(&config).await.unwrap() }
}

async fn start(cluster: &Cluster) -> Vec<Node> {
    let nodes = futures::future::join_all((1..=3).map(|id| start_one(cluster, id))).await;
    all_tell_of(&nodes).await;
    nodes
}

async fn client(nodes: &[Node]) -> Client {
    let bootstrap_servers = nodes.iter().map(|node| node.address().to_string()).collect();
    Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap()
}

/// The nodes that lead the topic's partitions, as one of them tells.
fn leaders(node: &Node, topic: &str) -> Vec<i32> {
    let image = node.image();
    let partitions = &image.topic(topic).unwrap().partitions;
    partitions.iter().map(|partition| partition.leader.map_or(-1, |leader| leader.0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_holds_wherever_its_partitions_and_its_group_are() {
    let cluster = Cluster::of(3);
    let nodes = start(&cluster).await;
    let client = client(&nodes).await;
    scenarios::what_is_committed_is_read_and_what_is_aborted_is_not(&client).await;
    scenarios::records_and_the_offsets_they_came_from_are_written_together(&client).await;
    scenarios::a_later_producer_of_the_same_id_fences_the_one_before(&client).await;
    scenarios::a_transaction_that_takes_too_long_is_aborted(&client).await;
}

/// One that knows of no group and no transaction would have consumers begin anew and producers forget what they have committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_know_its_cluster_yet_does_not_answer_for_it() {
    let cluster = Cluster::of(3);
    let nodes = start(&cluster).await;
    for key_type in [0, 1] {
        let request = FindCoordinatorRequest { key: "mine".into(), key_type, ..Default::default() };
        until("there is a coordinator", async || {
            Wire::connect(nodes[0].address()).await.call(3, &request).await.error_code == 0
        })
        .await;
    }
    nodes.into_iter().for_each(Node::kill);
    let node = start_one(&cluster, 1).await;
    let mut wire = Wire::connect(node.address()).await;
    let topic = MetadataRequestTopic { name: Some("__consumer_offsets".into()), ..Default::default() };
    let metadata = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let code = wire.call(9, &metadata).await.topics[0].error_code;
    assert_eq!(ErrorCode::from_code(code), ErrorCode::LeaderNotAvailable);
    let may_be =
        [ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorLoadInProgress, ErrorCode::NotCoordinator];
    // It has nobody to hear of the others' topics from.
    let offsets = OffsetFetchRequest { group_id: "mine".into(), topics: None, ..Default::default() };
    let code = ErrorCode::from_code(wire.call(5, &offsets).await.error_code);
    assert!(may_be.contains(&code), "offsets: {code:?}");
    let end =
        EndTxnRequest { transactional_id: "mine".into(), producer_id: 7, producer_epoch: 0, committed: true };
    let code = ErrorCode::from_code(wire.call(3, &end).await.error_code);
    assert!(may_be.contains(&code), "the end of a transaction: {code:?}");
}

/// Values of the partition that readers of committed records see; waits a moment for the first.
async fn committed(client: &Client, place: &TopicPartition) -> usize {
    let config =
        ConsumerConfig { isolation_level: IsolationLevel::ReadCommitted, ..ConsumerConfig::default() };
    let consumer = client.consumer(config).await.unwrap();
    consumer.assign([(place.clone(), OFFSET_EARLIEST)].into_iter().collect()).await.unwrap();
    // On a busy machine a consumer takes its time to find the partition's leader.
    let fetched = consumer.poll(std::time::Duration::from_secs(3)).await.unwrap_or_default();
    let count = fetched.iter().map(|fetched| fetched.records.len()).sum();
    let _ = consumer.close().await;
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_away_when_a_transaction_ended_gets_its_marker_when_it_is_back() {
    let cluster = Cluster::of(3);
    let mut nodes = start(&cluster).await;
    let topic = "spread";
    let client = client(&nodes).await;
    // Of one replica each: what is away is nowhere else.
    client.admin().create_topics(&[NewTopic::new(topic, PARTITIONS)]).await.unwrap();
    let config = ProducerConfig { transactional_id: Some("mover".to_owned()), ..ProducerConfig::default() };
    let producer = client.producer(config).await.unwrap();
    producer.init_transactions().await.unwrap();
    let request = FindCoordinatorRequest { key: "mover".into(), key_type: 1, ..Default::default() };
    let coordinator = Wire::connect(nodes[0].address()).await.call(3, &request).await.node_id;
    // Neither the one that decides about the cluster, nor the one that decides about the transaction.
    let controller = nodes[leader_of(&nodes).await].id.0;
    let away = (1..=3).find(|id| *id != coordinator && *id != controller).unwrap();
    let leaders = leaders(&nodes[0], topic);
    assert!(leaders.contains(&away) && leaders.iter().any(|leader| *leader != away), "{leaders:?}");
    producer.begin_transaction().unwrap();
    for partition in 0..PARTITIONS {
        let sent = producer.send(topic, Some(partition), Record::of_value("moved")).await.unwrap();
        sent.await.unwrap();
    }
    let place = nodes.iter().position(|node| node.id.0 == away).unwrap();
    nodes.remove(place).kill();
    producer.commit_transaction().await.unwrap();
    let (here, there) = (0..PARTITIONS).partition::<Vec<i32>, _>(|at| leaders[*at as usize] != away);
    for partition in here {
        let place = TopicPartition::new(topic, partition);
        until("what was written elsewhere is committed", async || committed(&client, &place).await == 1)
            .await;
    }
    nodes.push(start_one(&cluster, away).await);
    for partition in there {
        let place = TopicPartition::new(topic, partition);
        until("what was written there is committed too", async || committed(&client, &place).await == 1)
            .await;
    }
}
