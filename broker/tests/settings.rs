//! What a broker is started with: the defaults of topics, limits, and what it tells of them.

mod wire;

use std::path::Path;

use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use wire::Wire;
use wire::requests::{batch, create, produce};

async fn started_with(dir: &Path, settings: &[(&str, &str)]) -> Broker {
    let mut config = BrokerConfig::new(dir);
    for (name, value) in settings {
        config.set(name, value).unwrap();
    }
    Broker::start(config).await.expect("the broker starts")
}

/// Every config of a resource with its synonyms.
async fn described(
    wire: &mut Wire,
    kind: i8,
    name: &str,
) -> Vec<k32_describe_configs::DescribeConfigsResourceResult> {
    let resource = k32_describe_configs::DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: None,
    };
    let resources = vec![resource];
    let request = DescribeConfigsRequest { resources, include_synonyms: true, ..Default::default() };
    wire.call(4, &request).await.results.remove(0).configs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_goes_by_what_its_broker_was_started_with_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("message.max.bytes", "80"), ("log.retention.hours", "2"), ("num.partitions", "3")];
    let broker = started_with(dir.path(), &settings).await;
    let mut wire = Wire::connect(broker.address()).await;
    let mut any = create("t");
    (any.topics[0].num_partitions, any.topics[0].replication_factor) = (-1, -1);
    let made = wire.call(7, &any).await;
    assert_eq!(made.topics[0].num_partitions, 3);
    let configs = made.topics[0].configs.clone().unwrap();
    let told = configs.iter().find(|config| &*config.name == "max.message.bytes").unwrap();
    assert_eq!((told.value.as_deref(), told.config_source), (Some("80"), 4));
    let large = wire.call(9, &produce("t", batch(&["more than fits into eighty bytes"], None), -1)).await;
    let code = large.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::MessageTooLarge.code());
    let of_topic = described(&mut wire, 2, "t").await;
    let retention = of_topic.iter().find(|config| &*config.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("7200000"), 4));
    let synonyms: Vec<_> =
        retention.synonyms.iter().map(|synonym| (&*synonym.name, synonym.source)).collect();
    assert_eq!(synonyms, [("log.retention.ms", 4)]);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_config_of_a_kafka_broker_is_told_with_type_source_and_whether_it_can_change() {
    let dir = tempfile::tempdir().unwrap();
    let broker = started_with(dir.path(), &[("log.retention.ms", "5000"), ("num.partitions", "3")]).await;
    let mut wire = Wire::connect(broker.address()).await;
    let configs = described(&mut wire, 4, "1").await;
    assert!(configs.len() > 300, "{}", configs.len());
    let found = |name: &str| {
        let config = configs.iter().find(|config| &*config.name == name);
        let config = config.unwrap_or_else(|| panic!("{name}"));
        (config.value.as_deref(), config.config_source, config.read_only, config.config_type)
    };
    assert_eq!(found("num.partitions"), (Some("3"), 4, true, 3));
    assert_eq!(found("log.retention.ms"), (Some("5000"), 4, false, 5));
    assert_eq!(found("log.retention.hours"), (Some("168"), 5, true, 3));
    assert_eq!(found("log.roll.ms"), (None, 5, false, 5));
    assert_eq!(found("log.cleaner.min.cleanable.ratio"), (Some("0.5"), 5, false, 6));
    assert_eq!(found("min.insync.replicas"), (Some("1"), 5, false, 3));
    assert_eq!(found("num.network.threads"), (Some("3"), 5, true, 3));
    assert_eq!(found("ssl.keystore.password"), (None, 5, true, 9));
    assert!(configs.iter().all(|config| config.is_sensitive == (config.config_type == 9)));
    assert!(configs.iter().all(|config| config.config_type > 0 && !config.name.is_empty()));
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_topics_can_be_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let broker = started_with(dir.path(), &[("delete.topic.enable", "false")]).await;
    let mut wire = Wire::connect(broker.address()).await;
    wire.call(7, &create("t")).await;
    let request =
        DeleteTopicsRequest { topic_names: vec!["t".into()], timeout_ms: 5000, ..Default::default() };
    let answer = wire.call(5, &request).await;
    assert_eq!(answer.responses[0].error_code, ErrorCode::TopicDeletionDisabled.code());
    assert_eq!(wire.call(7, &create("t")).await.topics[0].error_code, ErrorCode::TopicAlreadyExists.code());
    broker.shutdown().await.unwrap();
}

/// Whether the broker serves the connection, and does not close it at once.
async fn is_served(wire: &mut Wire) -> bool {
    wire.send(0, 1, &ApiVersionsRequest::default()).await;
    wire.receive_raw().await.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_gets_no_more_connections_than_it_may_have() {
    let dir = tempfile::tempdir().unwrap();
    let broker = started_with(dir.path(), &[("max.connections.per.ip", "2")]).await;
    let (mut first, mut second) =
        (Wire::connect(broker.address()).await, Wire::connect(broker.address()).await);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    let mut third = Wire::connect(broker.address()).await;
    assert!(third.receive_raw().await.is_none(), "the third is closed");
    drop(first);
    // Its end takes a moment to be noticed.
    while Wire::connect(broker.address()).await.receive_nothing_within_ms(100).await.is_err() {}
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let dir = tempfile::tempdir().unwrap();
    let broker = started_with(dir.path(), &[("max.connections", "1")]).await;
    let mut first = Wire::connect(broker.address()).await;
    assert!(is_served(&mut first).await);
    let mut second = Wire::connect(broker.address()).await;
    second.send(0, 7, &ApiVersionsRequest::default()).await;
    assert!(second.receive_nothing_within_ms(200).await.is_ok(), "it waits");
    drop(first);
    let (correlation_id, _) = second.receive::<ApiVersionsRequest>(0).await;
    assert_eq!(correlation_id, 7);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_sent_to_the_advertised_listener() {
    let dir = tempfile::tempdir().unwrap();
    let broker =
        started_with(dir.path(), &[("advertised.listeners", "PLAINTEXT://kafka.example:19092")]).await;
    let mut wire = Wire::connect(broker.address()).await;
    let answer = wire.call(9, &MetadataRequest { topics: Some(vec![]), ..Default::default() }).await;
    assert_eq!((&*answer.brokers[0].host, answer.brokers[0].port), ("kafka.example", 19092));
    broker.shutdown().await.unwrap();
}
