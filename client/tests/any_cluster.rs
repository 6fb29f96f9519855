//! The client against a real cluster, whichever `OTTLA_TEST_BOOTSTRAP` names (`kafka.sh` beside this file starts an
//! Apache Kafka for it). Without it the suite says that it is skipped. Topics and groups have random names, so that it can
//! run twice against the same cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ottla_client::{
    Client, ClientConfig, ClientError, Compression, ConfigResource, ConfigSource, Consumer, ConsumerConfig,
    ErrorCode, Header, NewTopic, OFFSET_EARLIEST, OFFSET_LATEST, OffsetReset, ProducerConfig, Record,
    TopicPartition, partition_of_key,
};

async fn client() -> Option<Client> {
    let Ok(bootstrap) = std::env::var("OTTLA_TEST_BOOTSTRAP") else {
        eprintln!("skipped: OTTLA_TEST_BOOTSTRAP names no cluster");
        return None;
    };
    let config = ClientConfig { bootstrap_servers: vec![bootstrap], ..ClientConfig::default() };
    Some(Client::connect(config).await.unwrap())
}

fn unique(name: &str) -> String {
    format!("{name}-{:08x}", rand::random::<u32>())
}

fn value(index: usize) -> String {
    format!("{{\"flight\":{index},\"origin\":\"JFK\",\"dest\":\"LAX\",\"carrier\":\"AA\"}}")
}

fn group_config(group: &str) -> ConsumerConfig {
    ConsumerConfig {
        group_id: Some(group.to_owned()),
        auto_offset_reset: OffsetReset::Earliest,
        heartbeat_interval: Duration::from_millis(200),
        session_timeout: Duration::from_secs(10),
        ..ConsumerConfig::default()
    }
}

/// Polls until `count` records came; gives their values.
async fn read(consumer: &Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while values.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came", values.len());
        for fetched in consumer.poll(Duration::from_millis(500)).await.unwrap() {
            let texts = fetched.records.iter().map(|record| {
                String::from_utf8(record.value.as_deref().unwrap_or_default().to_vec()).unwrap()
            });
            values.extend(texts);
        }
    }
    values
}

#[tokio::test]
async fn records_of_every_codec_come_back_as_they_were_sent() {
    let Some(client) = client().await else { return };
    let topic = unique("codecs");
    client.admin().create_topics(&[NewTopic::new(&topic, 1)]).await.unwrap();
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (index, compression) in codecs.into_iter().enumerate() {
        let config = ProducerConfig { compression, ..ProducerConfig::default() };
        let producer = client.producer(config).await.unwrap();
        let records = (0..100).map(|each| Record {
            headers: vec![Header::new("codec", format!("{compression:?}")), Header::new("codec", "twice")],
            timestamp_ms: Some(1_000 + each),
            ..Record::new("key", value(index))
        });
        let delivery = producer.send_batch(&topic, 0, records.collect::<Vec<_>>()).await.unwrap();
        assert_eq!(delivery.await.unwrap().offset, index as i64 * 100);
        producer.close().await.unwrap();
    }
    let consumer = client.consumer(ConsumerConfig::default()).await.unwrap();
    let partition = TopicPartition::new(&*topic, 0);
    consumer.assign(vec![(partition.clone(), 50)]).await.unwrap();
    let mut records = Vec::new();
    while records.len() < 450 {
        let fetched = consumer.poll(Duration::from_secs(5)).await.unwrap();
        records.extend(fetched.into_iter().flat_map(|fetched| fetched.records));
    }
    for (record, offset) in records.iter().zip(50i64..) {
        assert_eq!(record.offset, offset);
        assert_eq!(record.timestamp_ms, 1_000 + offset % 100);
        assert_eq!(record.headers.len(), 2);
        assert_eq!(record.value.as_deref(), Some(value(offset as usize / 100).as_bytes()));
    }
    assert_eq!(consumer.position(&partition).await.unwrap(), 500);
    let times = [(partition.clone(), 1_042), (partition.clone(), 9_999)];
    let found = consumer.offsets_for_times(&times[..1]).await.unwrap();
    assert_eq!(found[&partition].offset, 42);
    assert!(consumer.offsets_for_times(&times[1..]).await.unwrap().is_empty());
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn a_year_of_flights_goes_in_and_out_quickly_once_and_in_order() {
    const COUNT: usize = 336_776;
    let Some(client) = client().await else { return };
    let topic = unique("flights");
    client.admin().create_topics(&[NewTopic::new(&topic, 4)]).await.unwrap();
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let records: Vec<Record> = (0..COUNT).map(|index| Record::of_value(value(index))).collect();
    let started_at = Instant::now();
    for (index, record) in records.into_iter().enumerate() {
        drop(producer.send(&topic, Some(index as i32 % 4), record).await.unwrap());
    }
    producer.flush().await.unwrap();
    println!("produced {COUNT} records in {:?}", started_at.elapsed());
    let consumer = client.consumer(ConsumerConfig::default()).await.unwrap();
    let partitions = (0..4).map(|each| TopicPartition::new(&*topic, each));
    consumer.assign(partitions.clone().map(|each| (each, OFFSET_EARLIEST)).collect()).await.unwrap();
    let started_at = Instant::now();
    let mut next: BTreeMap<i32, usize> = BTreeMap::new();
    let mut count = 0;
    while count < COUNT {
        for fetched in consumer.poll(Duration::from_secs(10)).await.unwrap() {
            let partition = fetched.topic_partition.partition;
            let next = next.entry(partition).or_insert(partition as usize);
            for record in &fetched.records {
                assert_eq!(record.value.as_deref(), Some(value(*next).as_bytes()));
                *next += 4;
                count += 1;
            }
        }
    }
    println!("consumed {COUNT} records in {:?}", started_at.elapsed());
    let ends = consumer.end_offsets(&partitions.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(ends.values().sum::<i64>(), COUNT as i64);
    producer.close().await.unwrap();
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn a_group_divides_a_topic_hands_over_and_goes_on_where_it_stopped() {
    let Some(client) = client().await else { return };
    let (topic, group) = (unique("shared"), unique("readers"));
    client.admin().create_topics(&[NewTopic::new(&topic, 4)]).await.unwrap();
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    for index in 0..200 {
        let record = Record::new(format!("key {index}"), value(index));
        drop(producer.send(&topic, None, record).await.unwrap());
    }
    producer.flush().await.unwrap();

    let first = client.consumer(group_config(&group)).await.unwrap();
    first.subscribe(&[&topic]).await.unwrap();
    let read_first: BTreeSet<String> = read(&first, 200).await.into_iter().collect();
    assert_eq!(read_first, (0..200).map(value).collect());
    assert_eq!(first.assignment().await.len(), 4);

    // A second member takes its half over while the first keeps polling.
    let second = client.consumer(group_config(&group)).await.unwrap();
    second.subscribe(&[&topic]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while first.assignment().await.len() != 2 || second.assignment().await.len() != 2 {
        assert!(Instant::now() < deadline, "the group did not settle");
        for consumer in [&first, &second] {
            let again = consumer.poll(Duration::from_millis(100)).await.unwrap();
            let has_records = again.iter().any(|fetched| !fetched.records.is_empty());
            assert!(!has_records, "what was read before the rebalance was committed: {again:?}");
        }
    }
    let described = client.admin().describe_groups(&[&group]).await.unwrap();
    assert_eq!((described[0].state.as_str(), described[0].members.len()), ("Stable", 2));
    assert!(described[0].members.iter().all(|member| member.assignment.len() == 2));

    second.close().await.unwrap();
    first.close().await.unwrap();
    let offsets = client.admin().list_group_offsets(&group).await.unwrap();
    assert_eq!(offsets.values().map(|committed| committed.offset).sum::<i64>(), 200);

    // A third begins after all of it.
    drop(producer.send(&topic, Some(3), Record::of_value("last")).await.unwrap());
    producer.close().await.unwrap();
    let third = client.consumer(group_config(&group)).await.unwrap();
    third.subscribe(&[&topic]).await.unwrap();
    assert_eq!(read(&third, 1).await, ["last"]);
    let partition = TopicPartition::new(&*topic, 3);
    let position = third.position(&partition).await.unwrap();
    third.commit_offsets(&[(partition.clone(), position, "a note".to_owned())]).await.unwrap();
    let committed = third.committed(std::slice::from_ref(&partition)).await.unwrap();
    assert_eq!((committed[&partition].offset, &*committed[&partition].metadata), (position, "a note"));
    third.close().await.unwrap();
    let groups = client.admin().list_groups().await.unwrap();
    assert!(groups.iter().any(|listed| listed.group_id == group));
    client.admin().delete_groups(&[&group]).await.unwrap();
    assert!(client.admin().list_group_offsets(&group).await.unwrap().is_empty());
}

#[tokio::test]
async fn topics_are_made_widened_described_and_deleted() {
    let Some(client) = client().await else { return };
    let (admin, topic) = (client.admin(), unique("made"));
    let wanted = NewTopic::new(&topic, 2).with_config("retention.ms", "-1");
    let made = admin.create_topics(std::slice::from_ref(&wanted)).await.unwrap();
    assert_eq!(made[0].partitions, 2);
    let again = admin.create_topics(&[wanted]).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TopicAlreadyExists), "{again}");
    admin.create_partitions(&topic, 3).await.unwrap();
    let described = admin.describe_topic(&topic).await.unwrap();
    assert_eq!((described.partitions.len(), described.topic_id), (3, made[0].topic_id));
    let resource = ConfigResource::Topic(topic.clone());
    let retention = async || {
        let configs = admin.describe_configs(&resource).await.unwrap();
        configs.into_iter().find(|entry| entry.name == "retention.ms").unwrap()
    };
    assert_eq!(retention().await.value.as_deref(), Some("-1"));
    admin.alter_configs(&resource, &[("retention.ms".into(), Some("1000".into()))]).await.unwrap();
    assert_eq!(retention().await.value.as_deref(), Some("1000"));
    let wrong =
        admin.alter_configs(&resource, &[("retention.ms".into(), Some("x".into()))]).await.unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::InvalidConfig), "{wrong}");
    admin.alter_configs(&resource, &[("retention.ms".into(), None)]).await.unwrap();
    assert_ne!(retention().await.source, ConfigSource::Topic);
    let partitions: Vec<i32> = described.partitions.iter().map(|partition| partition.partition).collect();
    let leader = described.partitions[0].leader.unwrap();
    assert!(!admin.describe_configs(&ConfigResource::Broker(leader)).await.unwrap().is_empty());
    let dirs = admin.describe_log_dirs(leader, Some((&topic, &partitions))).await.unwrap();
    let replicas = dirs.iter().flat_map(|dir| &dir.replicas);
    assert!(replicas.into_iter().any(|(place, _)| *place == TopicPartition::new(topic.as_str(), 0)));
    assert!(admin.finalized_features().await.unwrap().contains_key("metadata.version"));
    assert!(admin.list_topics().await.unwrap().iter().any(|listed| listed.name == topic));
    assert!(!admin.describe_cluster().await.unwrap().brokers.is_empty());
    admin.delete_topics(&[&topic]).await.unwrap();
    assert!(!admin.topic_exists(&topic).await.unwrap());
    let gone = admin.delete_topics(&[&topic]).await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UnknownTopicOrPartition), "{gone}");
}

#[tokio::test]
async fn a_topic_is_made_on_first_use_and_keys_find_their_partition() {
    let Some(client) = client().await else { return };
    let topic = unique("auto");
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let sent = producer.send(&topic, None, Record::new("JFK", "1")).await.unwrap().await.unwrap();
    let partitions = client.admin().describe_topic(&topic).await.unwrap().partition_count();
    assert_eq!(sent.partition, partition_of_key(b"JFK", partitions));
    assert_eq!(producer.partition_for(&topic, Some(b"JFK")).await.unwrap(), sent.partition);
    let wrong = producer.send(&topic, Some(99), Record::of_value("x")).await.unwrap_err();
    assert!(matches!(wrong, ClientError::UnknownPartition { .. }), "{wrong}");
    producer.close().await.unwrap();
}

#[tokio::test]
async fn a_position_out_of_range_is_told_or_reset() {
    let Some(client) = client().await else { return };
    let topic = unique("range");
    client.admin().create_topics(&[NewTopic::new(&topic, 1)]).await.unwrap();
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    producer.send(&topic, Some(0), Record::of_value("first")).await.unwrap().await.unwrap();
    let partition = TopicPartition::new(&*topic, 0);
    let config = ConsumerConfig { auto_offset_reset: OffsetReset::None, ..ConsumerConfig::default() };
    let strict = client.consumer(config.clone()).await.unwrap();
    strict.assign(vec![(partition.clone(), 77)]).await.unwrap();
    let error = strict.poll(Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(error, ClientError::OffsetOutOfRange { offset: 77, .. }), "{error}");
    strict.seek(&partition, 0).await.unwrap();
    assert_eq!(read(&strict, 1).await, ["first"]);
    let config = ConsumerConfig { auto_offset_reset: OffsetReset::Earliest, ..config };
    let lenient = client.consumer(config).await.unwrap();
    lenient.assign(vec![(partition.clone(), 77)]).await.unwrap();
    assert_eq!(read(&lenient, 1).await, ["first"]);
    lenient.seek(&partition, OFFSET_LATEST).await.unwrap();
    assert_eq!(lenient.position(&partition).await.unwrap(), 1);
    lenient.pause(std::slice::from_ref(&partition)).await.unwrap();
    producer.send(&topic, Some(0), Record::of_value("second")).await.unwrap().await.unwrap();
    assert!(lenient.poll(Duration::from_millis(200)).await.unwrap().is_empty());
    lenient.resume(std::slice::from_ref(&partition)).await.unwrap();
    assert_eq!(read(&lenient, 1).await, ["second"]);
}
