//! What a transactional producer promises, on whatever cluster the client is connected to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ottla_client::{
    Client, ClientError, CommittedOffset, Consumer, ConsumerConfig, GroupMetadata, IsolationLevel, NewTopic,
    OFFSET_EARLIEST, OffsetReset, Producer, ProducerConfig, Record, TopicPartition,
};

/// Long, because the internal topics of transactions and groups may have to be made first.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn unique(name: &str) -> String {
    format!("{name}-{:08x}", rand::random::<u32>())
}

async fn topic(client: &Client, name: &str, partitions: i32) -> String {
    let topic = unique(name);
    client.admin().create_topics(&[NewTopic::new(&*topic, partitions)]).await.unwrap();
    topic
}

async fn started(client: &Client, transactional_id: &str) -> Producer {
    let transactional_id = Some(transactional_id.to_owned());
    let config = ProducerConfig { transactional_id, ..ProducerConfig::default() };
    let producer = client.producer(config).await.unwrap();
    producer.init_transactions().await.unwrap();
    producer
}

async fn send(producer: &Producer, topic: &str, partition: i32, value: &str) {
    // Whether it was written is what commit tells.
    drop(producer.send(topic, Some(partition), Record::of_value(value.to_owned())).await.unwrap());
}

/// The values of committed records in all partitions, in order, up to the ends of the partitions now.
async fn committed(client: &Client, topic: &str, partitions: i32) -> Vec<Vec<String>> {
    let config =
        ConsumerConfig { isolation_level: IsolationLevel::ReadCommitted, ..ConsumerConfig::default() };
    let consumer = client.consumer(config).await.unwrap();
    let places: Vec<TopicPartition> = (0..partitions).map(|each| TopicPartition::new(topic, each)).collect();
    consumer.assign(places.iter().map(|place| (place.clone(), OFFSET_EARLIEST)).collect()).await.unwrap();
    let ends = consumer.end_offsets(&places).await.unwrap();
    let mut values = vec![Vec::new(); partitions as usize];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut is_at_end = true;
        for place in &places {
            is_at_end &= consumer.position(place).await.unwrap() >= ends[place];
        }
        if is_at_end {
            consumer.close().await.unwrap();
            return values;
        }
        assert!(Instant::now() < deadline, "{topic} is not read to its end: {values:?}");
        for fetched in consumer.poll(Duration::from_millis(200)).await.unwrap() {
            let texts = fetched.records.iter().map(|record| {
                String::from_utf8(record.value.as_deref().unwrap_or_default().to_vec()).unwrap()
            });
            values[fetched.topic_partition.partition as usize].extend(texts);
        }
    }
}

pub async fn what_is_committed_is_read_and_what_is_aborted_is_not(client: &Client) {
    let topic = topic(client, "ends", 2).await;
    let producer = started(client, &unique("ends")).await;
    let mut expected = vec![Vec::new(), Vec::new()];
    for number in 0..20 {
        producer.begin_transaction().unwrap();
        for (partition, expected) in expected.iter_mut().enumerate() {
            // Some transactions are of one partition only.
            if number % 5 == 4 && partition == 1 {
                continue;
            }
            for part in 0..3 {
                let value = format!("{number}/{part}");
                send(&producer, &topic, partition as i32, &value).await;
                if number % 3 != 1 {
                    expected.push(value);
                }
            }
        }
        if number % 3 == 1 {
            // Written before it is aborted, or not.
            if number % 2 == 0 {
                producer.flush().await.unwrap();
            }
            producer.abort_transaction().await.unwrap();
        } else {
            producer.commit_transaction().await.unwrap();
        }
    }
    // Transactions in which nothing happens.
    producer.begin_transaction().unwrap();
    producer.commit_transaction().await.unwrap();
    producer.begin_transaction().unwrap();
    producer.abort_transaction().await.unwrap();
    producer.close().await.unwrap();
    assert_eq!(committed(client, &topic, 2).await, expected);
}

/// Copies what there is in transactions of five records, with the offsets; every third one is aborted and done again.
async fn copy(client: &Client, producer: &Producer, from: &str, to: &str, group: &str, count: usize) {
    let consumer = group_member(client, group).await;
    consumer.subscribe(&[from]).await.unwrap();
    let mut seen: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let mut transactions = 0;
    let mut copied = 0;
    let deadline = Instant::now() + PATIENCE;
    while copied < count {
        assert!(Instant::now() < deadline, "{copied} of {count} copied");
        for fetched in consumer.poll(Duration::from_millis(200)).await.unwrap() {
            for records in fetched.records.chunks(5) {
                for is_aborted in [transactions % 3 == 2, false] {
                    transactions += 1;
                    producer.begin_transaction().unwrap();
                    for record in records {
                        let value = record.value.clone().unwrap();
                        drop(producer.send(to, Some(0), Record::of_value(value)).await.unwrap());
                    }
                    let next = records.last().unwrap().offset + 1;
                    let offset = CommittedOffset { offset: next, leader_epoch: -1, metadata: String::new() };
                    let offsets = [(fetched.topic_partition.clone(), offset)];
                    let metadata = consumer.group_metadata().await.unwrap();
                    assert!(metadata.generation_id >= 0 && !metadata.member_id.is_empty());
                    producer.send_offsets_to_transaction(&offsets, &metadata).await.unwrap();
                    if is_aborted {
                        producer.abort_transaction().await.unwrap();
                    } else {
                        producer.commit_transaction().await.unwrap();
                        seen.insert(fetched.topic_partition.clone(), next);
                        break;
                    }
                }
                copied += records.len();
            }
        }
    }
    for (place, offset) in seen {
        let stored = consumer.committed(std::slice::from_ref(&place)).await.unwrap();
        assert_eq!(stored[&place].offset, offset, "{place}");
    }
    consumer.close().await.unwrap();
}

async fn group_member(client: &Client, group: &str) -> Consumer {
    let config = ConsumerConfig {
        group_id: Some(group.to_owned()),
        isolation_level: IsolationLevel::ReadCommitted,
        auto_offset_reset: OffsetReset::Earliest,
        enable_auto_commit: false,
        ..ConsumerConfig::default()
    };
    client.consumer(config).await.unwrap()
}

pub async fn records_and_the_offsets_they_came_from_are_written_together(client: &Client) {
    let (from, to) = (topic(client, "from", 2).await, topic(client, "to", 1).await);
    let (group, id) = (unique("copier"), unique("copier"));
    let writer = client.producer(ProducerConfig::default()).await.unwrap();
    let mut all = Vec::new();
    for half in 0..2 {
        for number in 0..60 {
            let value = format!("{half}/{number}");
            let delivery =
                writer.send(&from, Some(number % 2), Record::of_value(value.clone())).await.unwrap();
            delivery.await.unwrap();
            all.push(value);
        }
        // A copier that comes after another one goes on where that one committed.
        let producer = started(client, &id).await;
        copy(client, &producer, &from, &to, &group, 60).await;
        producer.close().await.unwrap();
    }
    let mut copied = committed(client, &to, 1).await.remove(0);
    copied.sort();
    all.sort();
    assert_eq!(copied, all, "each once");
}

pub async fn a_later_producer_of_the_same_id_fences_the_one_before(client: &Client) {
    let topic = topic(client, "fenced", 1).await;
    let id = unique("fenced");
    let old = started(client, &id).await;
    old.begin_transaction().unwrap();
    send(&old, &topic, 0, "old").await;
    old.flush().await.unwrap();
    let new = started(client, &id).await;
    new.begin_transaction().unwrap();
    send(&new, &topic, 0, "new").await;
    new.commit_transaction().await.unwrap();
    let error = old.commit_transaction().await.unwrap_err();
    assert!(matches!(error, ClientError::ProducerFenced { .. }) && error.is_fatal(), "{error}");
    for error in [old.begin_transaction().unwrap_err(), old.abort_transaction().await.unwrap_err()] {
        assert!(error.is_fatal(), "{error}");
    }
    assert_eq!(committed(client, &topic, 1).await, [["new"]]);
}

pub async fn a_record_that_cannot_be_written_fails_its_transaction_and_no_other(client: &Client) {
    let topic = unique("small");
    let config = [("max.message.bytes".to_owned(), "1000".to_owned())].into();
    let made = NewTopic { configs: config, ..NewTopic::new(&*topic, 1) };
    client.admin().create_topics(&[made]).await.unwrap();
    let producer = started(client, &unique("small")).await;
    for _ in 0..2 {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 0, "lost").await;
        producer.flush().await.unwrap();
        let refused = producer.send(&topic, Some(0), Record::of_value("x".repeat(5000))).await.unwrap();
        let error = producer.commit_transaction().await.unwrap_err();
        assert!(error.must_abort() && !error.is_fatal(), "{error}");
        assert!(refused.await.is_err());
        assert!(producer.send(&topic, Some(0), Record::of_value("later")).await.is_err());
        assert!(producer.begin_transaction().is_err());
        producer.abort_transaction().await.unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 0, "kept").await;
        producer.commit_transaction().await.unwrap();
    }
    assert_eq!(committed(client, &topic, 1).await, [["kept", "kept"]]);
}

pub async fn a_member_that_the_group_does_not_know_commits_nothing(client: &Client) {
    let topic = topic(client, "strange", 1).await;
    let group = unique("strange");
    let producer = started(client, &unique("strange")).await;
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 0, "lost").await;
    let stranger = GroupMetadata {
        generation_id: 7,
        member_id: "nobody".to_owned(),
        ..GroupMetadata::of_group(group.clone())
    };
    let place = TopicPartition::new(&*topic, 0);
    let offset = CommittedOffset { offset: 1, leader_epoch: -1, metadata: "m".to_owned() };
    let offsets = [(place.clone(), offset.clone())];
    let error = producer.send_offsets_to_transaction(&offsets, &stranger).await.unwrap_err();
    let ClientError::TransactionAbortable { reason, .. } = &error else { panic!("{error}") };
    assert!(matches!(**reason, ClientError::CommitFenced { .. }), "{reason}");
    producer.abort_transaction().await.unwrap();
    // Who is no member commits by the transactional id alone.
    producer.begin_transaction().unwrap();
    producer.send_offsets_to_transaction(&offsets, &GroupMetadata::of_group(group.clone())).await.unwrap();
    producer.commit_transaction().await.unwrap();
    let reader = group_member(client, &group).await;
    assert_eq!(reader.committed(std::slice::from_ref(&place)).await.unwrap()[&place], offset);
    assert!(committed(client, &topic, 1).await[0].is_empty());
}

pub async fn calls_in_a_wrong_order_are_refused_and_change_nothing(client: &Client) {
    let topic = topic(client, "order", 1).await;
    let plain = client.producer(ProducerConfig::default()).await.unwrap();
    assert!(matches!(plain.init_transactions().await, Err(ClientError::InvalidConfig(_))));
    let config = ProducerConfig { transactional_id: Some(unique("order")), ..ProducerConfig::default() };
    let producer = client.producer(config).await.unwrap();
    let is_order = |error: &ClientError| matches!(error, ClientError::TransactionOrder { .. });
    assert!(is_order(&producer.begin_transaction().unwrap_err()));
    producer.init_transactions().await.unwrap();
    assert!(is_order(&producer.init_transactions().await.unwrap_err()));
    assert!(is_order(&producer.send(&topic, Some(0), Record::of_value("x")).await.unwrap_err()));
    assert!(is_order(&producer.commit_transaction().await.unwrap_err()));
    assert!(is_order(&producer.abort_transaction().await.unwrap_err()));
    producer.begin_transaction().unwrap();
    assert!(is_order(&producer.begin_transaction().unwrap_err()));
    send(&producer, &topic, 0, "kept").await;
    producer.commit_transaction().await.unwrap();
    // Closing ends what is open, without waiting for its timeout.
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 0, "lost").await;
    producer.flush().await.unwrap();
    producer.close().await.unwrap();
    assert_eq!(committed(client, &topic, 1).await, [["kept"]]);
}

pub async fn a_transaction_that_takes_too_long_is_aborted(client: &Client) {
    let topic = topic(client, "slow", 1).await;
    let config = ProducerConfig {
        transactional_id: Some(unique("slow")),
        transaction_timeout: Duration::from_millis(500),
        ..ProducerConfig::default()
    };
    let producer = client.producer(config).await.unwrap();
    producer.init_transactions().await.unwrap();
    producer.begin_transaction().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline, "the transaction is still open");
        match producer.send(&topic, Some(0), Record::of_value("lost")).await {
            Ok(delivery) => drop(delivery.await),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // In version 2 it may go on once it knows that the transaction is aborted (KIP-890).
    match error.must_abort() {
        false => assert!(error.is_fatal(), "{error}"),
        true => match producer.abort_transaction().await {
            Err(error) => assert!(error.is_fatal(), "{error}"),
            Ok(()) => {
                producer.begin_transaction().unwrap();
                producer.abort_transaction().await.unwrap();
            }
        },
    }
    assert!(committed(client, &topic, 1).await[0].is_empty());
}
