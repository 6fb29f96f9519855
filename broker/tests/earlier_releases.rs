//! What earlier releases have written is read as they meant it (`docs/decisions/0016-nodes-of-two-releases.md`). `fixtures/make.py` has made the data
//! directories.

mod fixtures;

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_broker::{Broker, BrokerConfig};
use ottla_client::{
    Client, ClientConfig, ConfigResource, Consumer, ConsumerConfig, IsolationLevel, OFFSET_EARLIEST,
    ProducerConfig, Record, TopicPartition,
};

/// Offset and value of each committed record of a partition, up to so many.
async fn read(consumer: &Consumer, topic: &str, partition: i32, count: usize) -> Vec<(i64, String)> {
    let place = TopicPartition::new(topic, partition);
    consumer.assign(BTreeMap::from([(place, OFFSET_EARLIEST)]).into_iter().collect()).await.unwrap();
    let mut read = Vec::new();
    while read.len() < count {
        for record in consumer
            .poll(Duration::from_secs(1))
            .await
            .unwrap()
            .into_iter()
            .flat_map(|fetched| fetched.records)
        {
            read.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        }
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_the_first_release_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    fixtures::copy("0.1-first/alone", &dir.path().join("data"));
    let mut config = BrokerConfig::new(dir.path().join("data"));
    // The committed offsets are older each day.
    config.offsets_retention_minutes = u64::from(u32::MAX);
    config.offsets_topic_partitions = 2;
    config.transaction_topic_partitions = 2;
    let broker = Broker::start(config).await.expect("the broker starts");
    let servers = vec![broker.address().to_string()];
    let client = Client::connect(ClientConfig { bootstrap_servers: servers, ..ClientConfig::default() })
        .await
        .unwrap();
    let admin = client.admin();

    let topics = admin.list_topics().await.unwrap();
    let names: Vec<(&str, usize)> =
        topics.iter().map(|topic| (topic.name.as_str(), topic.partitions.len())).collect();
    assert_eq!(names, [("__consumer_offsets", 2), ("__transaction_state", 2), ("latest", 1), ("orders", 2)]);
    let configs = admin.describe_configs(&ConfigResource::Topic("orders".to_owned())).await.unwrap();
    let value = |name: &str| {
        configs.iter().find(|config| config.name == name).and_then(|config| config.value.clone())
    };
    assert_eq!(value("retention.ms").as_deref(), Some("-1"));
    assert_eq!(value("max.message.bytes").as_deref(), Some("2000000"), "set for all brokers");
    let users: Vec<String> = admin.scram_users().await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(users, ["anna"]);

    let isolation_level = IsolationLevel::ReadCommitted;
    let consumer =
        client.consumer(ConsumerConfig { isolation_level, ..ConsumerConfig::default() }).await.unwrap();
    // Five kinds of compression; what is below 3 was deleted.
    let whole: Vec<(i64, String)> = (3..50).map(|number| (number, number.to_string())).collect();
    assert_eq!(read(&consumer, "orders", 0, 47).await, whole);
    // A committed transaction, an aborted one and a committed one, each with its marker.
    let committed = (0..5)
        .map(|at| (at, (100 + at).to_string()))
        .chain((0..5).map(|at| (12 + at, (300 + at).to_string())));
    assert_eq!(read(&consumer, "orders", 1, 10).await, committed.collect::<Vec<_>>());
    let latest: BTreeMap<String, i64> =
        read(&consumer, "latest", 0, 2).await.into_iter().map(|(offset, value)| (value, offset)).collect();
    assert!(latest.contains_key("a") && latest.contains_key("b"), "{latest:?}");
    let offsets = admin.list_group_offsets("readers").await.unwrap();
    let offsets: Vec<(i32, i64, &str)> = offsets
        .iter()
        .map(|(place, stored)| (place.partition, stored.offset, stored.metadata.as_str()))
        .collect();
    assert_eq!(offsets, [(0, 42, "so far\0"), (1, 6, "")], "librdkafka ends it with a zero");

    // The transactional id goes on in its next epoch.
    let transactional_id = Some("mover".to_owned());
    let producer =
        client.producer(ProducerConfig { transactional_id, ..ProducerConfig::default() }).await.unwrap();
    producer.init_transactions().await.unwrap();
    producer.begin_transaction().unwrap();
    let delivery = producer.send("orders", Some(1), Record::new("k", "now")).await.unwrap();
    producer.commit_transaction().await.unwrap();
    delivery.await.unwrap();
    assert_eq!(read(&consumer, "orders", 1, 11).await.last().unwrap(), &(18, "now".to_owned()));
    broker.shutdown().await.unwrap();
}
