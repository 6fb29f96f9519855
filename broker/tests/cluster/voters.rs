//! Changing who votes (KIP-853).

use ottla_broker::quorum::{ReplicaKey, Voter, VoterChange, VoterEndpoint};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k55_describe_quorum::{DescribedQuorum, PartitionData, TopicData};
use ottla_protocol::messages::k80_add_raft_voter::Listener;
use ottla_protocol::messages::{AddRaftVoterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest};

use crate::nodes::{Cluster, Node, all_know, leader_of, make, until};
use crate::wire::Wire;

fn key(node: &Node) -> ReplicaKey {
    node.controller().log().membership().config.me
}

async fn described(node: &Node) -> DescribedQuorum {
    let partitions = vec![PartitionData { partition_index: 0 }];
    let topic = TopicData { topic_name: "__cluster_metadata".into(), partitions };
    let request = DescribeQuorumRequest { topics: vec![topic] };
    let answer = Wire::connect(node.address()).await.call(2, &request).await;
    answer.topics.into_iter().flat_map(|topic| topic.partitions).next().unwrap_or_default()
}

fn voters(described: &DescribedQuorum) -> Vec<i32> {
    described.current_voters.iter().map(|voter| voter.replica_id).collect()
}

/// Asks any node for a vote for another, until it is given: it may not have caught up yet.
async fn add(cluster: &Cluster, asked: &Node, new: &Node) {
    let (at, key) = (&cluster.controllers[new.id.0 as usize - 1], key(new));
    let listener = Listener { name: "CONTROLLER".into(), host: at.host.as_str().into(), port: at.port };
    let request = AddRaftVoterRequest {
        timeout_ms: 5_000,
        voter_id: key.id.0,
        voter_directory_id: key.directory,
        listeners: vec![listener],
        ..AddRaftVoterRequest::default()
    };
    until("the node gets a vote", async || {
        let answer = Wire::connect(asked.address()).await.call(0, &request).await;
        match ErrorCode::from_code(answer.error_code) {
            // It was given by a request whose answer was lost.
            ErrorCode::None | ErrorCode::DuplicateVoter => true,
            ErrorCode::RequestTimedOut | ErrorCode::NotController | ErrorCode::NotLeaderOrFollower => false,
            other => panic!("{other:?} {:?}", answer.error_message),
        }
    })
    .await;
}

async fn remove(asked: &Node, lost: ReplicaKey) {
    let request = RemoveRaftVoterRequest {
        voter_id: lost.id.0,
        voter_directory_id: lost.directory,
        ..RemoveRaftVoterRequest::default()
    };
    until("the vote is taken", async || {
        let answer = Wire::connect(asked.address()).await.call(0, &request).await;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None | ErrorCode::VoterNotFound => true,
            ErrorCode::RequestTimedOut | ErrorCode::NotController | ErrorCode::NotLeaderOrFollower => false,
            other => panic!("{other:?} {:?}", answer.error_message),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_controller_becomes_three_which_do_without_the_first() {
    let mut cluster = Cluster::of(1);
    let mut nodes = cluster.start_all().await;
    make(&nodes, "first").await;
    for _ in 0..2 {
        let id = cluster.grow();
        nodes.push(cluster.start(id).await);
        let joined = nodes.last().unwrap();
        until("it is an observer", async || {
            let described = described(&nodes[0]).await;
            described.observers.iter().any(|observer| observer.replica_id == id)
        })
        .await;
        add(&cluster, joined, joined).await;
    }
    all_know(&nodes, &["first"]).await;
    for node in &nodes {
        until("everybody knows the voters", async || voters(&described(node).await) == [1, 2, 3]).await;
    }
    // The one that leads leaves, and says so.
    let leader = leader_of(&nodes).await;
    let left = key(&nodes[leader]);
    remove(&nodes[(leader + 1) % 3], left).await;
    let observer = nodes.remove(leader);
    leader_of(&nodes).await;
    until("it follows without a vote", async || {
        let described = described(&nodes[0]).await;
        described.observers.iter().any(|known| known.replica_id == left.id.0)
            && !voters(&described).contains(&left.id.0)
    })
    .await;
    // What is recorded outlasts the processes, and the snapshots that they write.
    make(&nodes, "second").await;
    observer.kill();
    let ids: Vec<i32> = nodes.iter().map(|node| node.id.0).collect();
    for node in nodes {
        node.stop().await;
    }
    let again = futures::future::join_all(ids.iter().map(|id| cluster.start(*id))).await;
    leader_of(&again).await;
    all_know(&again, &["first", "second"]).await;
    assert_eq!(voters(&described(&again[0]).await), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_has_lost_its_disk_follows_without_a_vote_until_it_gets_one() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    let leader = leader_of(&nodes).await;
    let lost = nodes.remove((leader + 1) % 3);
    let lost_key = key(&lost);
    lost.kill();
    cluster.replace_disk(lost_key.id.0);
    nodes.push(cluster.start(lost_key.id.0).await);
    leader_of(&nodes).await;
    let new = nodes.last().unwrap();
    assert_ne!(key(new), lost_key);
    let before = described(&nodes[0]).await;
    assert!(before.current_voters.iter().any(|voter| voter.replica_directory_id == lost_key.directory));
    // Its id has a vote still, so that it cannot get a second one.
    let voter = Voter { key: key(new), endpoints: Vec::<VoterEndpoint>::new() };
    let leader = nodes.iter().find(|node| node.leads()).unwrap();
    leader.controller().log().change_voters(VoterChange::Add(voter)).await.unwrap_err();
    remove(new, lost_key).await;
    add(&cluster, new, new).await;
    make(&nodes, "afterwards").await;
    all_know(&nodes, &["afterwards"]).await;
    let after = described(&nodes[0]).await;
    assert!(after.current_voters.iter().any(|voter| voter.replica_directory_id == key(new).directory));
    assert_eq!(voters(&after), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_is_started_elsewhere_is_found_there() {
    let mut cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    let leader = leader_of(&nodes).await;
    let moved = nodes.remove((leader + 1) % 3);
    let id = moved.id.0;
    moved.stop().await;
    cluster.controllers[id as usize - 1].port = crate::nodes::port();
    nodes.push(cluster.start(id).await);
    let port = cluster.controllers[id as usize - 1].port;
    until("the quorum knows where it is", async || {
        let state = nodes[0].controller().log().describe().await.unwrap();
        let recorded = state.voters.recorded().find(|voter| voter.key.id.0 == id).unwrap();
        recorded.endpoints[0].port == port
    })
    .await;
    make(&nodes, "afterwards").await;
    all_know(&nodes, &["afterwards"]).await;
}
