//! Consumers read at the nearest replica (KIP-392).

use ottla_broker::ids::{NodeId, Offset};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{FetchRequest, MetadataRequest};

use crate::nodes::{Cluster, Node, all_serve, make_replicated, until};
use crate::wire::Wire;
use crate::wire::requests::{batch, fetch, produce, values};

const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
const TOPIC: &str = "t";

/// Each in a rack of its own, called as the node.
async fn start(cluster: &Cluster, id: i32) -> Node {
    let mut config = cluster.config(id);
    config.set("broker.rack", &format!("rack-{id}")).unwrap();
    config.set("replica.selector.class", RACK_AWARE).unwrap();
    Node::start(&config).await.unwrap_or_else(|error| panic!("node {id}: {error}"))
}

fn from_rack(rack: &str, offset: i64) -> FetchRequest {
    FetchRequest { rack_id: rack.to_owned().into(), ..fetch(TOPIC, offset, 200) }
}

fn leader_and_isr(node: &Node) -> Option<(NodeId, Vec<NodeId>)> {
    let image = node.image();
    let partition = image.topic(TOPIC)?.partitions.first()?;
    Some((partition.leader?, partition.isr.clone()))
}

async fn settled(nodes: &[Node], in_sync: usize) -> usize {
    until("a leader and its followers are there", async || {
        let known = leader_and_isr(&nodes[0]);
        known.as_ref().is_some_and(|(_, isr)| isr.len() == in_sync)
            && nodes.iter().all(|node| leader_and_isr(node) == known)
    })
    .await;
    let leader = leader_and_isr(&nodes[0]).unwrap().0;
    nodes.iter().position(|node| node.id == leader).unwrap()
}

/// Where a consumer is sent by the leader, and what it is given there.
async fn asked(leader: &Node, rack: &str, offset: i64) -> (i32, Vec<String>) {
    let answer = Wire::connect(leader.address()).await.call(11, &from_rack(rack, offset)).await;
    let found = &answer.responses[0].partitions[0];
    assert_eq!(ErrorCode::from_code(found.error_code), ErrorCode::None);
    (found.preferred_read_replica, values(&answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_sent_to_the_replica_of_its_rack_while_that_is_in_sync_and_serves() {
    let cluster = Cluster::of(3);
    let mut nodes = futures::future::join_all((1..=3).map(|id| start(&cluster, id))).await;
    all_serve(&nodes, 3).await;
    make_replicated(&nodes, TOPIC, 3).await;
    let leader = settled(&nodes, 3).await;
    let mut racks: Vec<Option<String>> = Wire::connect(nodes[0].address())
        .await
        .call(12, &MetadataRequest::default())
        .await
        .brokers
        .into_iter()
        .map(|broker| broker.rack.map(|rack| rack.to_string()))
        .collect();
    racks.sort();
    assert_eq!(racks, ["rack-1", "rack-2", "rack-3"].map(|rack| Some(rack.to_owned())));

    let mut wire = Wire::connect(nodes[leader].address()).await;
    let sent = wire.call(9, &produce(TOPIC, batch(&["first"], None), -1)).await;
    assert_eq!(sent.responses[0].partition_responses[0].error_code, 0);
    let follower = (leader + 1) % 3;
    let (own, other) = (format!("rack-{}", nodes[leader].id), format!("rack-{}", nodes[follower].id));
    let id = nodes[follower].id.0;
    assert_eq!(asked(&nodes[leader], &own, 0).await, (-1, vec!["first".to_owned()]));
    assert_eq!(asked(&nodes[leader], "rack-9", 0).await.0, -1);
    assert_eq!(asked(&nodes[leader], "", 0).await.0, -1);
    until("the leader knows how far its follower is", async || {
        asked(&nodes[leader], &other, 1).await == (id, Vec::new())
    })
    .await;
    assert_eq!(asked(&nodes[leader], &other, 0).await, (id, Vec::new()));
    // Past what is committed the leader says itself what is wrong.
    let past = wire.call(11, &from_rack(&other, 9)).await;
    let past = &past.responses[0].partitions[0];
    assert_eq!((past.error_code, past.preferred_read_replica), (ErrorCode::OffsetOutOfRange.code(), -1));
    // Older consumers know of no other replica.
    assert_eq!(values(&wire.call(10, &from_rack("", 0)).await), ["first"]);
    until("the follower gives it", async || {
        let answer = Wire::connect(nodes[follower].address()).await.call(11, &from_rack(&other, 0)).await;
        answer.responses[0].partitions[0].preferred_read_replica == -1 && values(&answer) == ["first"]
    })
    .await;

    nodes.remove(follower).kill();
    let leader = settled(&nodes, 2).await;
    assert_eq!(asked(&nodes[leader], &other, 0).await, (-1, vec!["first".to_owned()]));
    nodes.push(start(&cluster, id).await);
    let leader = settled(&nodes, 3).await;
    until("it is sent there again", async || asked(&nodes[leader], &other, 1).await.0 == id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_what_its_rack_has_deleted_stays_at_the_leader() {
    let cluster = Cluster::of(2);
    let nodes = futures::future::join_all((1..=2).map(|id| start(&cluster, id))).await;
    all_serve(&nodes, 2).await;
    make_replicated(&nodes, TOPIC, 2).await;
    let leader = settled(&nodes, 2).await;
    let follower = 1 - leader;
    let mut wire = Wire::connect(nodes[leader].address()).await;
    for value in ["first", "second"] {
        let sent = wire.call(9, &produce(TOPIC, batch(&[value], None), -1)).await;
        assert_eq!(sent.responses[0].partition_responses[0].error_code, 0);
    }
    let rack = format!("rack-{}", nodes[follower].id);
    until("it is sent there", async || asked(&nodes[leader], &rack, 0).await.0 >= 0).await;
    // As retention may, which every replica sees to for itself.
    let copy = nodes[follower].partitions().get(TOPIC, 0).unwrap().partition;
    until("the follower knows what is committed", async || copy.high_watermark() == Offset(2)).await;
    assert_eq!(copy.delete_records(Offset(1)).await, Ok(Offset(1)));
    // By its next fetch the leader knows.
    let sent = wire.call(9, &produce(TOPIC, batch(&["third"], None), -1)).await;
    assert_eq!(sent.responses[0].partition_responses[0].error_code, 0);
    until("it stays", async || asked(&nodes[leader], &rack, 0).await.0 == -1).await;
    assert_eq!(asked(&nodes[leader], &rack, 1).await.0, nodes[follower].id.0);
}
