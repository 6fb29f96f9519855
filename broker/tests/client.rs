//! Ottla's own client against the broker, over TCP and in one process: producing, consuming in groups, administering,
//! and going on after the broker was restarted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla_broker::{Broker, BrokerConfig};
use ottla_client::{
    Client, ClientConfig, Compression, ConfigResource, ConfigSource, ConsumerConfig, ErrorCode, NewTopic,
    OFFSET_EARLIEST, OffsetReset, ProducerConfig, Record, TopicPartition,
};

const POLL: Duration = Duration::from_millis(200);

async fn over_tcp(broker: &Broker) -> Client {
    let config =
        ClientConfig { bootstrap_servers: vec![broker.address().to_string()], ..ClientConfig::default() };
    Client::connect(config).await.unwrap()
}

async fn in_process(broker: &Broker) -> Client {
    let config =
        ClientConfig { bootstrap_servers: vec![broker.address().to_string()], ..ClientConfig::default() };
    Client::connect_with(config, Arc::new(broker.in_process())).await.unwrap()
}

async fn produce(client: &Client, topic: &str, numbers: std::ops::Range<usize>, compression: Compression) {
    let producer =
        client.producer(ProducerConfig { compression, ..ProducerConfig::default() }).await.unwrap();
    let mut deliveries = Vec::new();
    for number in numbers {
        let record = Record::new(format!("k{}", number % 17), number.to_string());
        deliveries.push(producer.send(topic, None, record).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close().await.unwrap();
}

async fn read_all(client: &Client, topic: &str, partitions: i32, count: usize) -> Vec<usize> {
    let consumer = client.consumer(ConsumerConfig::default()).await.unwrap();
    let assigned = (0..partitions).map(|p| (TopicPartition::new(topic, p), OFFSET_EARLIEST)).collect();
    consumer.assign(assigned).await.unwrap();
    let mut read = Vec::new();
    let mut next = vec![0; partitions as usize];
    while read.len() < count {
        for fetched in consumer.poll(POLL).await.unwrap() {
            for record in fetched.records {
                let expected = &mut next[fetched.topic_partition.partition as usize];
                assert_eq!(record.offset, *expected, "offsets have no gaps");
                *expected += 1;
                read.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap().parse().unwrap());
            }
        }
    }
    consumer.close().await.unwrap();
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_round_trips_over_tcp_and_in_process() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    for (transport, client) in [("tcp", over_tcp(&broker).await), ("in-process", in_process(&broker).await)] {
        for compression in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let topic = format!("{transport}-{compression:?}");
            client.admin().create_topics(&[NewTopic::new(&topic, 3)]).await.unwrap();
            produce(&client, &topic, 0..2000, compression).await;
            let mut read = read_all(&client, &topic, 3, 2000).await;
            read.sort_unstable();
            assert_eq!(read, (0..2000).collect::<Vec<_>>(), "{topic}");
        }
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_a_topic_and_a_third_run_finds_their_commits() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let client = over_tcp(&broker).await;
    client.admin().create_topics(&[NewTopic::new("t", 4)]).await.unwrap();
    produce(&client, "t", 0..1000, Compression::Lz4).await;
    let config = ConsumerConfig {
        group_id: Some("g".into()),
        auto_offset_reset: OffsetReset::Earliest,
        enable_auto_commit: false,
        ..ConsumerConfig::default()
    };
    let members =
        [client.consumer(config.clone()).await.unwrap(), client.consumer(config.clone()).await.unwrap()];
    for member in &members {
        member.subscribe(&["t"]).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 1000 {
        let (first, second) = tokio::join!(members[0].poll(POLL), members[1].poll(POLL));
        for fetched in [first.unwrap(), second.unwrap()].concat() {
            for record in fetched.records {
                seen.insert((fetched.topic_partition.clone(), record.offset));
            }
        }
    }
    for member in members {
        member.commit().await.unwrap();
        member.close().await.unwrap();
    }
    let committed = client.admin().list_group_offsets("g").await.unwrap();
    assert_eq!(committed.values().map(|committed| committed.offset).sum::<i64>(), 1000);
    let again = client.consumer(config).await.unwrap();
    again.subscribe(&["t"]).await.unwrap();
    for _ in 0..5 {
        let fetched = again.poll(POLL).await.unwrap();
        assert!(fetched.iter().all(|fetched| fetched.records.is_empty()), "what was committed came again");
    }
    again.close().await.unwrap();
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_commits_outlive_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let first = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let client = over_tcp(&first).await;
    client.admin().create_topics(&[NewTopic::new("t", 2)]).await.unwrap();
    produce(&client, "t", 0..500, Compression::Zstd).await;
    let place = TopicPartition::new("t", 1);
    client.admin().alter_group_offsets("g", &[(place.clone(), 7)]).await.unwrap();
    let topic_id = client.admin().describe_topic("t").await.unwrap().topic_id;
    first.shutdown().await.unwrap();

    let second = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let client = over_tcp(&second).await;
    assert_eq!(client.admin().describe_topic("t").await.unwrap().topic_id, topic_id);
    assert_eq!(client.admin().list_group_offsets("g").await.unwrap()[&place].offset, 7);
    produce(&client, "t", 500..1000, Compression::None).await;
    let mut read = read_all(&client, "t", 2, 1000).await;
    read.sort_unstable();
    assert_eq!(read, (0..1000).collect::<Vec<_>>());
    let groups = client.admin().list_groups().await.unwrap();
    assert_eq!(groups.iter().map(|group| group.group_id.as_str()).collect::<Vec<_>>(), ["g"]);
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_and_changes_configs_and_sees_log_dirs_and_features() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let client = over_tcp(&broker).await;
    let admin = client.admin();
    admin.create_topics(&[NewTopic::new("t", 2)]).await.unwrap();
    produce(&client, "t", 0..10, Compression::None).await;
    for (resource, name, refused_by) in [
        (ConfigResource::Topic("t".into()), "retention.ms", ErrorCode::InvalidConfig),
        (ConfigResource::Broker(1), "log.retention.ms", ErrorCode::InvalidRequest),
        (ConfigResource::AllBrokers, "log.retention.ms", ErrorCode::InvalidRequest),
    ] {
        let value = async || {
            let configs = admin.describe_configs(&resource).await.unwrap();
            configs.into_iter().find(|entry| entry.name == name).and_then(|entry| entry.value)
        };
        let before = value().await;
        admin.alter_configs(&resource, &[(name.into(), Some("1234567".into()))]).await.unwrap();
        assert_eq!(value().await.as_deref(), Some("1234567"), "{resource}");
        let wrong = admin.alter_configs(&resource, &[(name.into(), Some("x".into()))]).await.unwrap_err();
        assert_eq!(wrong.code(), Some(refused_by), "{resource}: {wrong}");
        admin.alter_configs(&resource, &[(name.into(), None)]).await.unwrap();
        assert_eq!(value().await, before, "{resource}");
    }
    let configs = admin.describe_configs(&ConfigResource::Broker(1)).await.unwrap();
    let node_id = configs.iter().find(|entry| entry.name == "node.id").unwrap();
    assert_eq!((node_id.source, node_id.is_read_only), (ConfigSource::StaticBroker, true));
    let all = admin.describe_log_dirs(1, None).await.unwrap();
    assert_eq!((all.len(), all[0].error), (1, ErrorCode::None));
    assert!(all[0].usable_bytes < all[0].total_bytes);
    let some = admin.describe_log_dirs(1, Some(("t", &[1]))).await.unwrap();
    let places: Vec<_> = some[0].replicas.keys().cloned().collect();
    assert_eq!(places, [TopicPartition::new("t", 1)]);
    assert!(all[0].replicas.values().any(|replica| replica.size_bytes > 0));
    assert!(admin.finalized_features().await.unwrap()["metadata.version"] > 0);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_topic_is_found_by_all_who_ask_for_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let client = in_process(&broker).await;
    client.admin().create_topics(&[NewTopic::new("t", 1)]).await.unwrap();
    // Each of them has the others' answers forgotten, so that it asks the cluster itself.
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    client.admin().describe_topic("t").await.unwrap();
                }
            })
        })
        .collect();
    for asked in asking {
        asked.await.unwrap();
    }
    drop(client);
    broker.shutdown().await.unwrap();
}
