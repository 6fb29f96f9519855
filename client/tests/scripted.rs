//! The client against a broker that misbehaves on purpose. Timeouts are short, so that a request that is never answered
//! costs little; a slow machine only makes the client retry more, and what is asserted holds all the same.

mod fake_broker;

use std::sync::Arc;
use std::time::Duration;

use fake_broker::{FakeBroker, Fault, TOPIC};
use ottla_client::{
    Acks, Client, ClientConfig, ClientError, ConsumerConfig, Delivery, ErrorCode, OFFSET_EARLIEST,
    OffsetReset, Producer, ProducerConfig, Record, TopicPartition,
};
use ottla_protocol::ApiKey;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn impatient() -> ClientConfig {
    ClientConfig {
        bootstrap_servers: vec!["fake:1".to_owned()],
        request_timeout: Duration::from_millis(60),
        retry_backoff: Duration::from_millis(1),
        retry_backoff_max: Duration::from_millis(5),
        ..ClientConfig::default()
    }
}

async fn client(broker: &FakeBroker) -> Client {
    Client::connect_with(impatient(), Arc::new(broker.clone())).await.unwrap()
}

/// Batches of a few records, so that many are under way.
fn small_batches() -> ProducerConfig {
    ProducerConfig { batch_size: 150, ..ProducerConfig::default() }
}

async fn send(producer: &Producer, partition: i32, value: impl ToString) -> Delivery {
    producer.send(TOPIC, Some(partition), Record::of_value(value.to_string())).await.unwrap()
}

/// Sends 150 records to each of two partitions, checks that each is where its delivery says, once and in order.
async fn produce_and_check(broker: &FakeBroker, seed: u64) {
    let client = client(broker).await;
    let producer = client.producer(small_batches()).await.unwrap();
    let mut deliveries = Vec::new();
    for index in 0..150 {
        for partition in 0..2 {
            deliveries.push((partition, index, send(&producer, partition, index).await));
        }
    }
    producer.flush().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let logs = [broker.log(0), broker.log(1)];
    for (partition, index, delivery) in deliveries {
        let metadata = delivery.await.unwrap();
        assert_eq!(metadata.partition, partition);
        let found = logs[partition as usize].get(metadata.offset as usize);
        assert_eq!(found, Some(&(metadata.offset, index.to_string())), "seed {seed}");
    }
    for log in logs {
        let values: Vec<String> = log.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, (0..150).map(|index| index.to_string()).collect::<Vec<_>>(), "seed {seed}");
    }
    producer.close().await.unwrap();
}

#[tokio::test]
async fn retries_keep_order_and_make_no_duplicates_whatever_fails() {
    for seed in 0..12 {
        let broker = FakeBroker::new(2);
        let mut random = StdRng::seed_from_u64(seed);
        broker.set_rule(move |api| match (api, random.random_range(0..100)) {
            (ApiKey::ApiVersions, _) => Fault::None,
            (_, 0..6) => Fault::LoseRequest,
            (_, 6..12) => Fault::LoseAnswer,
            (ApiKey::Produce, 12..24) => Fault::Error(ErrorCode::NotLeaderOrFollower),
            (ApiKey::Produce, 24..27) => Fault::Silence,
            (ApiKey::Produce, 27..30) => Fault::WrongCorrelation,
            (ApiKey::Metadata, 12..20) => Fault::Error(ErrorCode::LeaderNotAvailable),
            _ => Fault::None,
        });
        produce_and_check(&broker, seed).await;
    }
}

#[tokio::test]
async fn a_broker_that_forgot_the_producer_is_written_to_under_a_new_id() {
    let broker = FakeBroker::new(2);
    let mut produced = 0;
    broker.set_rule(move |api| {
        produced += usize::from(api == ApiKey::Produce);
        if api == ApiKey::Produce && produced == 4 { Fault::ForgetProducers } else { Fault::None }
    });
    produce_and_check(&broker, 0).await;
    assert!(broker.count(ApiKey::InitProducerId) >= 2);
}

#[tokio::test]
async fn a_leader_that_moves_is_followed() {
    let broker = FakeBroker::new(2);
    let moving = broker.clone();
    let client = client(&broker).await;
    let producer = client.producer(small_batches()).await.unwrap();
    for index in 0..30 {
        drop(send(&producer, 0, index).await);
        if index == 15 {
            let mut state = moving.state();
            (state.leader, state.leader_epoch) = (2, 1);
        }
    }
    producer.flush().await.unwrap();
    let values: Vec<String> = broker.log(0).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, (0..30).map(|index| index.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_that_is_refused_fails_alone_and_the_next_ones_are_written() {
    let broker = FakeBroker::new(1);
    let mut is_first = true;
    broker.set_rule(move |api| {
        let refuse = api == ApiKey::Produce && std::mem::take(&mut is_first);
        if refuse { Fault::Error(ErrorCode::MessageTooLarge) } else { Fault::None }
    });
    let client = client(&broker).await;
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let first = send(&producer, 0, "first").await;
    let error = producer.flush().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge), "{error}");
    assert!(first.await.is_err());
    let second = send(&producer, 0, "second").await.await.unwrap();
    assert_eq!((second.offset, broker.log(0)), (0, vec![(0, "second".to_owned())]));
}

#[tokio::test]
async fn records_without_a_leader_fail_after_the_delivery_timeout() {
    let broker = FakeBroker::new(1);
    let client = client(&broker).await;
    let delivery_timeout = Duration::from_millis(150);
    let config = ProducerConfig { delivery_timeout, ..ProducerConfig::default() };
    let producer = client.producer(config).await.unwrap();
    send(&producer, 0, "known").await.await.unwrap();
    broker.set_rule(|api| match api {
        ApiKey::Produce => Fault::Error(ErrorCode::NotLeaderOrFollower),
        _ => Fault::None,
    });
    let error = send(&producer, 0, "late").await.await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { waited, .. } if waited >= delivery_timeout), "{error}");
    broker.set_rule(|_| Fault::None);
    send(&producer, 0, "later").await.await.unwrap();
    let values: Vec<String> = broker.log(0).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["known", "later"]);
}

#[tokio::test]
async fn send_waits_when_the_buffer_is_full_and_goes_on_when_there_is_room() {
    let broker = FakeBroker::new(1);
    let client = client(&broker).await;
    let config = ProducerConfig {
        buffer_memory: 4000,
        max_request_size: 4000,
        batch_size: 1000,
        linger: Duration::from_secs(3600),
        ..ProducerConfig::default()
    };
    let producer = client.producer(config).await.unwrap();
    broker.set_rule(|api| if api == ApiKey::Produce { Fault::Silence } else { Fault::None });
    let filling = async {
        for _ in 0..8 {
            drop(send(&producer, 0, "x".repeat(900)).await);
        }
    };
    tokio::pin!(filling);
    let waited = tokio::time::timeout(Duration::from_millis(200), &mut filling).await;
    assert!(waited.is_err(), "8 records do not fit into the buffer");
    broker.set_rule(|_| Fault::None);
    filling.await;
    producer.flush().await.unwrap();
    assert_eq!(broker.log(0).len(), 8);
    let error = producer.send(TOPIC, Some(0), Record::of_value("x".repeat(5000))).await.unwrap_err();
    assert!(matches!(error, ClientError::RecordTooLarge { limit: 4000, .. }), "{error}");
}

#[tokio::test]
async fn one_future_covers_records_that_went_into_many_batches() {
    let broker = FakeBroker::new(1);
    let client = client(&broker).await;
    let producer = client.producer(small_batches()).await.unwrap();
    let records: Vec<Record> = (0..100).map(|index| Record::of_value(index.to_string())).collect();
    let metadata = producer.send_batch(TOPIC, 0, records).await.unwrap().await.unwrap();
    assert_eq!((metadata.offset, broker.log(0).len()), (0, 100));
    assert!(broker.count(ApiKey::Produce) > 10);
    assert!(producer.send_batch(TOPIC, 0, []).await.is_err());
}

#[tokio::test]
async fn nothing_is_asked_for_when_no_answer_was_wanted() {
    let broker = FakeBroker::new(1);
    broker.set_rule(|api| if api == ApiKey::Produce { Fault::Silence } else { Fault::None });
    let client = client(&broker).await;
    let config = ProducerConfig { acks: Acks::None, enable_idempotence: false, ..ProducerConfig::default() };
    let producer = client.producer(config).await.unwrap();
    assert_eq!(send(&producer, 0, "gone").await.await.unwrap().offset, -1);
    producer.close().await.unwrap();
    assert_eq!(broker.count(ApiKey::InitProducerId), 0);
}

#[tokio::test]
async fn a_dropped_producer_still_delivers_and_a_closed_one_refuses() {
    let broker = FakeBroker::new(1);
    let client = client(&broker).await;
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let delivery = send(&producer, 0, "last words").await;
    drop(producer);
    assert_eq!(delivery.await.unwrap().offset, 0);
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let clone = producer.clone();
    producer.close().await.unwrap();
    let refused = clone.send(TOPIC, None, Record::of_value("too late")).await.unwrap_err();
    assert!(matches!(refused, ClientError::Closed("producer")), "{refused}");
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_newest_api_versions_is_asked_in_the_oldest() {
    let broker = FakeBroker::new(1);
    broker.state().api_versions_max = 0;
    let client = client(&broker).await;
    client.admin().describe_topic(TOPIC).await.unwrap();
    let asked = broker.state().requests.iter().map(|header| header.api_version).take(2).collect::<Vec<_>>();
    assert_eq!(asked, [4, 0]);
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_given_up_after_the_api_timeout() {
    let broker = FakeBroker::new(1);
    broker.set_rule(|_| Fault::Silence);
    let config = ClientConfig { api_timeout: Duration::from_millis(200), ..impatient() };
    let Err(error) = Client::connect_with(config, Arc::new(broker)).await else { panic!("connected") };
    assert!(error.is_retriable());
    let text = error.to_string();
    assert!(text.contains("fake:1 did not answer ApiVersions within "), "{text}");
}

#[tokio::test]
async fn fetches_that_fail_are_repeated_and_no_record_is_lost_or_doubled() {
    for seed in 0..8 {
        let broker = FakeBroker::new(2);
        let client = client(&broker).await;
        let producer = client.producer(small_batches()).await.unwrap();
        for index in 0..100 {
            drop(send(&producer, index % 2, index).await);
        }
        producer.close().await.unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        broker.set_rule(move |api| match (api, random.random_range(0..100)) {
            (ApiKey::ApiVersions, _) => Fault::None,
            (_, 0..8) => Fault::LoseRequest,
            (_, 8..14) => Fault::LoseAnswer,
            (ApiKey::Fetch, 14..26) => Fault::Error(ErrorCode::NotLeaderOrFollower),
            (ApiKey::Fetch, 26..30) => Fault::Error(ErrorCode::FencedLeaderEpoch),
            _ => Fault::None,
        });
        let consumer = client.consumer(ConsumerConfig::default()).await.unwrap();
        let partitions = [0, 1].map(|partition| (TopicPartition::new(TOPIC, partition), OFFSET_EARLIEST));
        consumer.assign(partitions.to_vec()).await.unwrap();
        let mut read: [Vec<String>; 2] = Default::default();
        while read[0].len() + read[1].len() < 100 {
            for fetched in consumer.poll(Duration::from_secs(60)).await.unwrap() {
                assert_eq!(fetched.high_watermark, 50);
                let values = fetched
                    .records
                    .iter()
                    .map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap());
                read[fetched.topic_partition.partition as usize].extend(values);
            }
        }
        for (partition, values) in read.into_iter().enumerate() {
            let wanted: Vec<String> = (0..50).map(|index| (2 * index + partition).to_string()).collect();
            assert_eq!(values, wanted, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn the_next_fetch_is_under_way_while_the_caller_works() {
    let broker = FakeBroker::new(1);
    let client = client(&broker).await;
    let producer = client.producer(small_batches()).await.unwrap();
    for index in 0..100 {
        drop(send(&producer, 0, index).await);
    }
    producer.close().await.unwrap();
    let consumer = client.consumer(ConsumerConfig::default()).await.unwrap();
    consumer.assign(vec![(TopicPartition::new(TOPIC, 0), OFFSET_EARLIEST)]).await.unwrap();
    let first = consumer.poll(Duration::from_secs(5)).await.unwrap();
    assert!(first[0].records.len() < 100);
    // The caller works, and does not poll.
    while broker.count(ApiKey::Fetch) < 2 {
        tokio::task::yield_now().await;
    }
    let second = consumer.poll(Duration::from_secs(5)).await.unwrap();
    assert_eq!(second[0].records[0].offset, first[0].records.last().unwrap().offset + 1);
    assert!(broker.count(ApiKey::Fetch) <= 3, "one fetch ahead, no more");
}

#[tokio::test]
async fn a_position_that_is_gone_is_an_error_when_it_must_not_be_reset() {
    let broker = FakeBroker::new(1);
    let client = client(&broker).await;
    let config = ConsumerConfig { auto_offset_reset: OffsetReset::None, ..ConsumerConfig::default() };
    let consumer = client.consumer(config).await.unwrap();
    let partition = TopicPartition::new(TOPIC, 0);
    consumer.assign(vec![(partition.clone(), 9)]).await.unwrap();
    let error = consumer.poll(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, ClientError::OffsetOutOfRange { offset: 9, .. }), "{error}");
    let unassigned = consumer.seek(&TopicPartition::new(TOPIC, 5), 0).await.unwrap_err();
    assert!(matches!(unassigned, ClientError::NotAssigned { .. }), "{unassigned}");
    let without_group = consumer.subscribe(&[TOPIC]).await.unwrap_err();
    assert!(matches!(without_group, ClientError::InvalidConfig(_)), "{without_group}");
}

fn group_config() -> ConsumerConfig {
    ConsumerConfig {
        group_id: Some("readers".to_owned()),
        auto_offset_reset: OffsetReset::Earliest,
        enable_auto_commit: false,
        heartbeat_interval: Duration::from_millis(5),
        session_timeout: Duration::from_millis(500),
        ..ConsumerConfig::default()
    }
}

/// Reads on until all 50 records of both partitions were returned, committing after each poll. Checks that nothing is
/// left out, and that what was committed is never read again.
async fn read_as_a_group(broker: &FakeBroker, seed: u64, mut disturb: impl FnMut(&FakeBroker)) {
    let client = client(broker).await;
    let mut next = [0i64; 2];
    while next != [50, 50] {
        let consumer = client.consumer(group_config()).await.unwrap();
        consumer.subscribe(&[TOPIC]).await.unwrap();
        for _ in 0..12 {
            let committed = broker.state().group.committed.clone();
            for fetched in consumer.poll(Duration::from_millis(200)).await.unwrap() {
                let partition = fetched.topic_partition.partition;
                let next = &mut next[partition as usize];
                let committed = committed.get(&partition).copied().unwrap_or(0);
                for record in fetched.records {
                    assert!(record.offset <= *next, "seed {seed}: nothing is left out");
                    assert!(record.offset >= committed, "seed {seed}: what was committed is done");
                    *next = (*next).max(record.offset + 1);
                }
            }
            disturb(broker);
            if let Err(error) = consumer.commit().await {
                assert!(matches!(error, ClientError::CommitFenced { .. }), "seed {seed}: {error}");
            }
            for (partition, offset) in &broker.state().group.committed {
                assert!(
                    *offset <= next[*partition as usize],
                    "seed {seed}: only what was returned is committed"
                );
            }
        }
        consumer.close().await.unwrap();
    }
}

async fn fill(broker: &FakeBroker) {
    let producer = client(broker).await.producer(small_batches()).await.unwrap();
    for index in 0..100 {
        drop(send(&producer, index % 2, index).await);
    }
    producer.close().await.unwrap();
}

#[tokio::test]
async fn a_group_member_reads_everything_and_leaves() {
    let broker = FakeBroker::new(2);
    fill(&broker).await;
    read_as_a_group(&broker, 0, |_| {}).await;
    assert!(broker.count(ApiKey::Heartbeat) > 0);
    assert!(broker.state().group.left > 0);
    let committed = broker.state().group.committed.clone();
    assert_eq!(committed.into_iter().collect::<Vec<_>>(), [(0, 50), (1, 50)]);
}

#[tokio::test]
async fn a_member_that_is_put_out_or_refused_comes_back_and_loses_nothing() {
    for seed in 0..8 {
        let broker = FakeBroker::new(2);
        fill(&broker).await;
        let mut random = StdRng::seed_from_u64(seed);
        broker.set_rule(move |api| match (api, random.random_range(0..100)) {
            (ApiKey::ApiVersions, _) => Fault::None,
            (_, 0..4) => Fault::LoseRequest,
            (_, 4..8) => Fault::LoseAnswer,
            (ApiKey::JoinGroup, 8..16) => Fault::Error(ErrorCode::CoordinatorLoadInProgress),
            (ApiKey::JoinGroup, 16..22) => Fault::Error(ErrorCode::UnknownMemberId),
            (ApiKey::SyncGroup, 8..20) => Fault::Error(ErrorCode::RebalanceInProgress),
            (ApiKey::Heartbeat, 8..20) => Fault::Error(ErrorCode::RebalanceInProgress),
            (ApiKey::Heartbeat, 20..25) => Fault::Error(ErrorCode::IllegalGeneration),
            (ApiKey::OffsetCommit | ApiKey::OffsetFetch, 8..20) => Fault::Error(ErrorCode::NotCoordinator),
            _ => Fault::None,
        });
        let mut random = StdRng::seed_from_u64(seed);
        let disturb = |broker: &FakeBroker| {
            if random.random_range(0..10) == 0 {
                broker.state().group.expire();
            }
        };
        read_as_a_group(&broker, seed, disturb).await;
    }
}

#[tokio::test]
async fn positions_are_committed_by_themselves_on_close_and_before_a_rebalance() {
    let broker = FakeBroker::new(2);
    fill(&broker).await;
    let client = client(&broker).await;
    let config = ConsumerConfig { enable_auto_commit: true, ..group_config() };
    let consumer = client.consumer(config).await.unwrap();
    consumer.subscribe(&[TOPIC]).await.unwrap();
    let first = consumer.poll(Duration::from_secs(10)).await.unwrap();
    assert!(!first.is_empty());
    let returned = first[0].records.last().unwrap().offset + 1;
    let partition = first[0].topic_partition.partition;
    broker.set_rule({
        let mut is_first = true;
        move |api| {
            let rebalance = api == ApiKey::Heartbeat && std::mem::take(&mut is_first);
            if rebalance { Fault::Error(ErrorCode::RebalanceInProgress) } else { Fault::None }
        }
    });
    let heartbeats = broker.count(ApiKey::Heartbeat);
    while broker.count(ApiKey::Heartbeat) == heartbeats {
        tokio::task::yield_now().await;
    }
    assert_eq!(broker.state().group.committed.get(&partition), None);
    let joins = broker.count(ApiKey::JoinGroup);
    while broker.count(ApiKey::JoinGroup) == joins {
        let _ = consumer.poll(Duration::from_millis(10)).await.unwrap();
    }
    assert!(broker.state().group.committed.get(&partition) >= Some(&returned));
    while consumer.assignment().await.is_empty() {
        let _ = consumer.poll(Duration::from_millis(10)).await.unwrap();
    }
    let position = consumer.position(&TopicPartition::new(TOPIC, partition)).await.unwrap();
    consumer.close().await.unwrap();
    assert_eq!(broker.state().group.committed.get(&partition), Some(&position));
}
