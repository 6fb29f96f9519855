//! Records are on several nodes, and outlive each of them.

use bytes::Bytes;
use ottla_broker::ids::Offset;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k19_create_topics::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::messages::k23_offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use ottla_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
};

use crate::nodes::{Cluster, Node, until};
use crate::wire::Wire;
use crate::wire::requests::{batch, fetch, produce, values};

fn topic(name: &str, replication_factor: i16, min_isr: &str) -> CreateTopicsRequest {
    let config =
        CreatableTopicConfig { name: "min.insync.replicas".into(), value: Some(min_isr.to_owned().into()) };
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.to_owned().into(),
            num_partitions: 1,
            replication_factor,
            configs: vec![config],
            ..CreatableTopic::default()
        }],
        timeout_ms: 5000,
        ..CreateTopicsRequest::default()
    }
}

/// Has it made, once all brokers are there.
async fn make(nodes: &[Node], wanted: &CreateTopicsRequest) {
    until("the topic can be made", async || {
        for node in nodes {
            let answer = node.create(wanted).await;
            match ErrorCode::from_code(answer.topics[0].error_code) {
                ErrorCode::None | ErrorCode::TopicAlreadyExists => return true,
                ErrorCode::NotController | ErrorCode::InvalidReplicationFactor => {}
                other => panic!("{other:?} {:?}", answer.topics[0].error_message),
            }
        }
        false
    })
    .await;
}

/// Leader and in-sync replicas of the topic's only partition, as a node tells.
async fn leader_and_isr(node: &Node, topic: &str) -> Option<(i32, Vec<i32>)> {
    let metadata = Wire::connect(node.address()).await.call(12, &MetadataRequest::default()).await;
    let topic = metadata.topics.into_iter().find(|found| found.name.as_deref() == Some(topic))?;
    let partition = topic.partitions.into_iter().next()?;
    let mut isr = partition.isr_nodes;
    isr.sort();
    Some((partition.leader_id, isr))
}

/// Waits until one of these nodes leads and so many are in sync, by what all of them tell; gives its place.
async fn settled(nodes: &[Node], topic: &str, in_sync: usize) -> usize {
    let mut place = 0;
    until("a leader and its followers are there", async || {
        let Some(known) = leader_and_isr(&nodes[0], topic).await else { return false };
        for node in nodes {
            if leader_and_isr(node, topic).await.as_ref() != Some(&known) {
                return false;
            }
        }
        let found = nodes.iter().position(|node| node.id.0 == known.0);
        place = found.unwrap_or_default();
        found.is_some() && known.1.len() == in_sync
    })
    .await;
    place
}

async fn produced(node: &Node, topic: &str, value: &str) -> ErrorCode {
    sent(node, topic, batch(&[value], None)).await.0
}

/// The answer to a batch, and its offset.
async fn sent(node: &Node, topic: &str, records: Bytes) -> (ErrorCode, i64) {
    let answer = Wire::connect(node.address()).await.call(9, &produce(topic, records, -1)).await;
    let answer = &answer.responses[0].partition_responses[0];
    (ErrorCode::from_code(answer.error_code), answer.base_offset)
}

async fn read(node: &Node, topic: &str) -> Vec<String> {
    values(&Wire::connect(node.address()).await.call(10, &fetch(topic, 0, 100)).await)
}

/// The bytes of a node's own copy, as far as it knows them to be committed.
fn copy(node: &Node, topic: &str) -> Vec<u8> {
    let open = node.partitions().get(topic, 0).unwrap();
    let end = open.partition.high_watermark();
    match end {
        Offset::ZERO => Vec::new(),
        end => open.partition.log().read(Offset::ZERO, end, 1 << 20, true).unwrap().to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_outlive_their_leader_and_are_the_same_everywhere() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    make(&nodes, &topic("kept", 3, "2")).await;
    let mut leader = settled(&nodes, "kept", 3).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            let value = format!("{round}-{number}");
            assert_eq!(produced(&nodes[leader], "kept", &value).await, ErrorCode::None);
            expected.push(value);
        }
        let other = (leader + 1) % nodes.len();
        assert_eq!(produced(&nodes[other], "kept", "elsewhere").await, ErrorCode::NotLeaderOrFollower);
        // Once by a crash, once in good order.
        let gone = nodes.remove(leader);
        let id = gone.id.0;
        if round == 1 {
            gone.stop().await;
        } else {
            gone.kill();
        }
        leader = settled(&nodes, "kept", 2).await;
        // What the new leader knows to be committed may be less at first.
        until("all of it can be read", async || read(&nodes[leader], "kept").await.len() >= expected.len())
            .await;
        assert_eq!(read(&nodes[leader], "kept").await, expected);
        let value = format!("{round}-without-{id}");
        assert_eq!(produced(&nodes[leader], "kept", &value).await, ErrorCode::None);
        expected.push(value);
        nodes.push(cluster.start(id).await);
        leader = settled(&nodes, "kept", 3).await;
    }
    assert_eq!(read(&nodes[leader], "kept").await, expected);
    until("all copies are the same", async || {
        let copies: Vec<Vec<u8>> = nodes.iter().map(|node| copy(node, "kept")).collect();
        !copies[0].is_empty() && copies.windows(2).all(|pair| pair[0] == pair[1])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_too_few_in_sync_acks_all_is_refused_and_what_is_there_can_be_read() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    make(&nodes, &topic("scarce", 2, "2")).await;
    let leader = settled(&nodes, "scarce", 2).await;
    assert_eq!(produced(&nodes[leader], "scarce", "first").await, ErrorCode::None);
    let (leads, isr) = leader_and_isr(&nodes[0], "scarce").await.unwrap();
    let follower = *isr.iter().find(|id| **id != leads).unwrap();
    let place = nodes.iter().position(|node| node.id.0 == follower).unwrap();
    nodes.remove(place).kill();
    let leader = settled(&nodes, "scarce", 1).await;
    assert_eq!(produced(&nodes[leader], "scarce", "refused").await, ErrorCode::NotEnoughReplicas);
    assert_eq!(read(&nodes[leader], "scarce").await, ["first"]);
    nodes.push(cluster.start(follower).await);
    let leader = settled(&nodes, "scarce", 2).await;
    assert_eq!(produced(&nodes[leader], "scarce", "second").await, ErrorCode::None);
    assert_eq!(read(&nodes[leader], "scarce").await, ["first", "second"]);
}

/// A node that starts knows nothing of its cluster's topics at first, but what it has noted of its partitions is theirs.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_stay_deleted_when_all_nodes_start_again() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    make(&nodes, &topic("short", 3, "2")).await;
    let leader = settled(&nodes, "short", 3).await;
    for value in ["gone", "gone too", "kept"] {
        assert_eq!(produced(&nodes[leader], "short", value).await, ErrorCode::None);
    }
    let log_start =
        |node: &Node| node.partitions().get("short", 0).map(|open| open.partition.log().log_start());
    let partition = nodes[leader].partitions().get("short", 0).unwrap().partition;
    assert_eq!(partition.delete_records(Offset(2)).await, Ok(Offset(2)));
    drop(partition);
    until("all nodes have deleted", async || nodes.iter().all(|node| log_start(node) == Some(Offset(2))))
        .await;
    futures::future::join_all(nodes.drain(..).map(Node::stop)).await;
    let nodes = cluster.start_all().await;
    let leader = settled(&nodes, "short", 3).await;
    let mut wire = Wire::connect(nodes[leader].address()).await;
    assert_eq!(values(&wire.call(10, &fetch("short", 2, 100)).await), ["kept"]);
    for node in &nodes {
        assert_eq!(log_start(node), Some(Offset(2)), "node {}", node.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_while_a_topic_was_made_again_follows_the_new_one() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    make(&nodes, &topic("again", 3, "2")).await;
    let leader = settled(&nodes, "again", 3).await;
    for value in ["old", "older", "oldest"] {
        assert_eq!(produced(&nodes[leader], "again", value).await, ErrorCode::None);
    }
    let away = nodes.remove((leader + 1) % 3);
    let id = away.id.0;
    away.stop().await;
    let delete = DeleteTopicsRequest {
        topic_names: vec!["again".into()],
        timeout_ms: 5000,
        ..DeleteTopicsRequest::default()
    };
    let deleted = Wire::connect(nodes[0].address()).await.call(4, &delete).await;
    assert_eq!(ErrorCode::from_code(deleted.responses[0].error_code), ErrorCode::None);
    make(&nodes, &topic("again", 3, "2")).await;
    nodes.push(cluster.start(id).await);
    let leader = settled(&nodes, "again", 3).await;
    assert_eq!(produced(&nodes[leader], "again", "new").await, ErrorCode::None);
    until("all copies are the same", async || {
        let copies: Vec<Vec<u8>> = nodes.iter().map(|node| copy(node, "again")).collect();
        !copies[0].is_empty() && copies.windows(2).all(|pair| pair[0] == pair[1])
    })
    .await;
    assert_eq!(read(&nodes[leader], "again").await, ["new"]);
}

/// A producer that is refused what is in the log already may send it again under another epoch, as librdkafka does, and it is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn with_too_few_in_sync_a_second_try_of_what_is_there_is_granted() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    make(&nodes, &topic("twice", 2, "2")).await;
    let leader = settled(&nodes, "twice", 2).await;
    let [first, second] = [0, 1].map(|sequence| batch(&["v"], Some((7, sequence))));
    assert_eq!(sent(&nodes[leader], "twice", first.clone()).await, (ErrorCode::None, 0));
    let (leads, isr) = leader_and_isr(&nodes[0], "twice").await.unwrap();
    let follower = *isr.iter().find(|id| **id != leads).unwrap();
    let place = nodes.iter().position(|node| node.id.0 == follower).unwrap();
    nodes.remove(place).kill();
    let leader = settled(&nodes, "twice", 1).await;
    assert_eq!(sent(&nodes[leader], "twice", first).await, (ErrorCode::None, 0));
    assert_eq!(sent(&nodes[leader], "twice", second).await, (ErrorCode::NotEnoughReplicas, -1));
    assert_eq!(read(&nodes[leader], "twice").await, ["v"]);
}

/// A producer has several batches under way. That the first was refused is no gap of the next: librdkafka would go on in a new epoch, and
/// write again what is there and not acknowledged yet.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_a_refused_batch_is_refused_like_it() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    make(&nodes, &topic("behind", 2, "2")).await;
    let leader = settled(&nodes, "behind", 2).await;
    let [first, second, third] = [0, 1, 2].map(|sequence| batch(&["v"], Some((7, sequence))));
    assert_eq!(sent(&nodes[leader], "behind", first).await, (ErrorCode::None, 0));
    let (leads, isr) = leader_and_isr(&nodes[0], "behind").await.unwrap();
    let follower = *isr.iter().find(|id| **id != leads).unwrap();
    let place = nodes.iter().position(|node| node.id.0 == follower).unwrap();
    nodes.remove(place).kill();
    let leader = settled(&nodes, "behind", 1).await;
    assert_eq!(sent(&nodes[leader], "behind", second.clone()).await, (ErrorCode::NotEnoughReplicas, -1));
    nodes.push(cluster.start(follower).await);
    let leader = settled(&nodes, "behind", 2).await;
    assert_eq!(sent(&nodes[leader], "behind", third.clone()).await, (ErrorCode::NotEnoughReplicas, -1));
    assert_eq!(sent(&nodes[leader], "behind", second).await, (ErrorCode::None, 1));
    assert_eq!(sent(&nodes[leader], "behind", third).await, (ErrorCode::None, 2));
}

/// A leader may know less to be committed than its readers have been given by the one before, but has all of it.
#[tokio::test(flavor = "multi_thread")]
async fn readers_past_what_a_leader_knows_to_be_committed_are_not_told_of_lost_records() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    make(&nodes, &topic("ahead", 2, "2")).await;
    let leader = settled(&nodes, "ahead", 2).await;
    assert_eq!(produced(&nodes[leader], "ahead", "first").await, ErrorCode::None);
    let (leads, isr) = leader_and_isr(&nodes[0], "ahead").await.unwrap();
    let follower = *isr.iter().find(|id| **id != leads).unwrap();
    let place = nodes.iter().position(|node| node.id.0 == follower).unwrap();
    nodes.remove(place).kill();
    let leader = settled(&nodes, "ahead", 1).await;
    let mut wire = Wire::connect(nodes[leader].address()).await;
    wire.call(9, &produce("ahead", batch(&["second"], None), 1)).await;
    let open = nodes[leader].partitions().get("ahead", 0).unwrap();
    assert_eq!((open.partition.high_watermark(), open.partition.log().log_end()), (Offset(1), Offset(2)));
    let written = open.partition.latest_epoch().unwrap().0;
    let current = nodes[leader].image().topic("ahead").unwrap().partitions[0].leader_epoch.0;
    for epoch in [written, current] {
        let partition = OffsetForLeaderPartition { leader_epoch: epoch, ..Default::default() };
        let topics = vec![OffsetForLeaderTopic { topic: "ahead".into(), partitions: vec![partition] }];
        let answer = wire.call(4, &OffsetForLeaderEpochRequest { replica_id: -1, topics }).await;
        assert_eq!(answer.topics[0].partitions[0].end_offset, 2, "epoch {epoch} of {current}");
        let mut ahead = fetch("ahead", 2, 0);
        ahead.topics[0].partitions[0].last_fetched_epoch = epoch;
        let answer = wire.call(12, &ahead).await;
        let found = &answer.responses[0].partitions[0];
        assert_eq!((found.error_code, found.diverging_epoch.epoch), (0, -1), "epoch {epoch} of {current}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_at_a_new_leader_and_a_reader_at_a_follower_see_what_is_committed() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    make(&nodes, &topic("read", 3, "2")).await;
    let leader = settled(&nodes, "read", 3).await;
    let address = nodes[leader].address();
    let polls = tokio::spawn(async move {
        values(&Wire::connect(address).await.call(10, &fetch("read", 0, 30_000)).await)
    });
    assert_eq!(produced(&nodes[leader], "read", "news").await, ErrorCode::None);
    assert_eq!(polls.await.unwrap(), ["news"]);
    let follower = (leader + 1) % nodes.len();
    until("the follower knows that it is committed", async || {
        let answer = Wire::connect(nodes[follower].address()).await.call(11, &fetch("read", 0, 100)).await;
        let code = ErrorCode::from_code(answer.responses[0].partitions[0].error_code);
        assert_eq!(code, ErrorCode::None, "from version 11 on followers serve readers");
        values(&answer) == ["news"]
    })
    .await;
    let refused = Wire::connect(nodes[follower].address()).await.call(10, &fetch("read", 0, 100)).await;
    let code = ErrorCode::from_code(refused.responses[0].partitions[0].error_code);
    assert_eq!(code, ErrorCode::NotLeaderOrFollower);
}
