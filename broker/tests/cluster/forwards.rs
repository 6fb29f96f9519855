//! Asking at any node what only the active controller decides.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ottla_protocol::messages::k20_delete_topics::DeleteTopicState;
use ottla_protocol::messages::k37_create_partitions::CreatePartitionsTopic;
use ottla_protocol::messages::k44_incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use ottla_protocol::messages::k49_alter_client_quotas::{EntityData, EntryData, OpData};
use ottla_protocol::messages::{
    AlterClientQuotasRequest, CreateAclsRequest, CreatePartitionsRequest, DeleteTopicsRequest,
    FindCoordinatorRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, MetadataRequest,
    k03_metadata::MetadataRequestTopic, k30_create_acls::AclCreation,
};
use ottla_protocol::{ErrorCode, Request};

use crate::nodes::{Cluster, Node, leader_of, until};
use crate::registers::all_tell_of;
use crate::wire::Wire;
use crate::wire::requests::create;

async fn ask<R: Request>(node: &Node, version: i16, request: &R) -> R::Response {
    Wire::connect(node.address()).await.call(version, request).await
}

fn set(resource_type: i8, name: &str, config: &str, value: &str) -> IncrementalAlterConfigsRequest {
    let config = AlterableConfig { name: config.into(), config_operation: 0, value: Some(value.into()) };
    let resource = AlterConfigsResource { resource_type, resource_name: name.into(), configs: vec![config] };
    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_what_the_controller_decides_and_knows_of_it_at_once() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    all_tell_of(&nodes).await;
    let mut blocks = BTreeSet::new();
    for node in &nodes {
        let name = format!("of-{}", node.id);
        let made = node.create(&create(&name)).await;
        assert_eq!(made.topics[0].error_code, 0, "{:?}", made.topics[0]);
        assert!(node.topics().contains(&name), "{:?}", node.topics());
        let again = node.create(&create(&name)).await;
        assert_eq!(again.topics[0].error_code, ErrorCode::TopicAlreadyExists.code());
        let grown = CreatePartitionsTopic { name: name.as_str().into(), count: 3, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![grown], timeout_ms: 5000, validate_only: false };
        assert_eq!(ask(node, 3, &request).await.results[0].error_code, 0);
        let altered = ask(node, 1, &set(2, &name, "retention.ms", "777")).await;
        assert_eq!(altered.responses[0].error_code, 0);
        // Of itself, as an administrator's client does.
        let of_broker = set(4, &node.id.to_string(), "log.retention.ms", "888");
        let altered = ask(node, 1, &of_broker).await;
        assert_eq!(altered.responses[0].error_code, 0, "{:?}", altered.responses[0].error_message);
        let image = node.image();
        let topic = image.topic(&name).unwrap();
        assert_eq!((topic.partitions.len(), topic.configs["retention.ms"].as_str()), (3, "777"));
        // Where the ids of producers come from is nobody's business; that none comes twice is.
        let request = InitProducerIdRequest { transaction_timeout_ms: 1000, ..Default::default() };
        let producer = ask(node, 4, &request).await;
        assert_eq!(producer.error_code, 0);
        assert!(blocks.insert(producer.producer_id), "{blocks:?}");
        // On first use.
        let wanted = format!("used-at-{}", node.id);
        let topic = MetadataRequestTopic { name: Some(wanted.as_str().into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        let answer = ask(node, 12, &request).await;
        assert_eq!(answer.topics[0].partitions.len(), 1, "{:?}", answer.topics[0]);
        let request = FindCoordinatorRequest {
            key: "somebody".into(),
            key_type: 1,
            ..FindCoordinatorRequest::default()
        };
        let found = ask(node, 3, &request).await;
        assert_eq!(found.error_code, 0, "{:?}", found.error_message);
        let gone = DeleteTopicState { name: Some(name.as_str().into()), ..DeleteTopicState::default() };
        let request = DeleteTopicsRequest { topics: vec![gone], timeout_ms: 5000, ..Default::default() };
        assert_eq!(ask(node, 6, &request).await.responses[0].error_code, 0);
        assert!(!node.topics().contains(&name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_amid_an_election_waits_for_who_is_elected() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all().await;
    all_tell_of(&nodes).await;
    for round in 0..2 {
        let leader = leader_of(&nodes).await;
        let killed = nodes.remove(leader);
        let id = killed.id;
        killed.kill();
        let name = format!("amid-{round}");
        let made = nodes[round].create(&create(&name)).await;
        let code = ErrorCode::from_code(made.topics[0].error_code);
        // The old one may have been asked, and have decided, before it went.
        assert!(matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists), "{:?}", made.topics[0]);
        assert!(nodes[round].topics().contains(&name));
        nodes.push(cluster.start(id.0).await);
        all_tell_of(&nodes).await;
    }
}

/// Makes a topic from an address of this machine.
async fn make_from(source: &str, node: SocketAddr, topic: &str) -> ErrorCode {
    let mut client = Wire::connect_from(source, node).await;
    let made = client.call(7, &create(topic)).await;
    ErrorCode::from_code(made.topics[0].error_code)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_judges_the_client_and_not_the_broker_that_passed_its_request_on() {
    let cluster = Cluster::of(3);
    let start = |id: i32| {
        let mut config = cluster.config(id);
        for (name, value) in [
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("allow.everyone.if.no.acl.found", "true"),
        ] {
            config.set(name, value).unwrap();
        }
        async move { Node::start(&config).await.unwrap() }
    };
    let nodes = futures::future::join_all((1..=3).map(start)).await;
    all_tell_of(&nodes).await;
    let leader = leader_of(&nodes).await;
    let (asked, other) = (&nodes[(leader + 1) % 3], &nodes[(leader + 2) % 3]);
    let denied = AclCreation {
        resource_type: 2,
        resource_name: "kept".into(),
        resource_pattern_type: 4,
        principal: "User:ANONYMOUS".into(),
        host: "127.0.0.9".into(),
        operation: 5,
        permission_type: 2,
    };
    let allowed = AclCreation { host: "*".into(), permission_type: 3, ..denied.clone() };
    // Whoever may make topics of any name need not be asked about one.
    let any_name = AclCreation {
        resource_type: 4,
        resource_name: "kafka-cluster".into(),
        resource_pattern_type: 3,
        principal: "User:admin".into(),
        ..allowed.clone()
    };
    // What is said of the cluster concerns the nodes too, which say nothing of who they are here.
    let nodes_work_together =
        AclCreation { principal: "User:ANONYMOUS".into(), operation: 9, ..any_name.clone() };
    let request = CreateAclsRequest { creations: vec![denied, allowed, any_name, nodes_work_together] };
    let made = ask(asked, 3, &request).await;
    assert!(made.results.iter().all(|result| result.error_code == 0), "{made:?}");
    for node in [asked, other, &nodes[leader]] {
        until("all nodes know the entries", async || node.image().acls().iter().count() == 4).await;
        let name = format!("kept-{}", node.id);
        assert_eq!(make_from("127.0.0.9", node.address(), &name).await, ErrorCode::TopicAuthorizationFailed);
        assert_eq!(make_from("127.0.0.1", node.address(), &name).await, ErrorCode::None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_too_much_is_told_to_wait_wherever_they_ask() {
    let cluster = Cluster::of(3);
    let nodes = cluster.start_all().await;
    all_tell_of(&nodes).await;
    let follower = &nodes[(leader_of(&nodes).await + 1) % 3];
    let entity = EntityData { entity_type: "client-id".into(), entity_name: Some("wire".into()) };
    let limit = OpData { key: "controller_mutation_rate".into(), value: 0.01, remove: false };
    let entry = EntryData { entity: vec![entity], ops: vec![limit] };
    let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
    let altered = ask(follower, 1, &request).await;
    assert!(altered.entries.iter().all(|entry| entry.error_code == 0), "{altered:?}");
    let mut waits = Vec::new();
    let mut made = 0;
    // A request more than the rate allows is taken at once, the next is refused.
    while waits.is_empty() && made < 20 {
        let answer = follower.create(&create(&format!("many-{made}"))).await;
        if answer.topics[0].error_code == ErrorCode::ThrottlingQuotaExceeded.code() {
            waits.push(answer.throttle_time_ms);
        }
        made += 1;
    }
    assert!(waits[0] > 0, "{waits:?}");
}
