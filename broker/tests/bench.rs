//! The loads of `ottla bench` against a broker: what they count is what is there.

use std::time::Duration;

use ottla_broker::{Broker, BrokerConfig};
use ottla_client::bench::{ConsumeLoad, EndToEndLoad, ProduceLoad, consume, end_to_end, produce};
use ottla_client::{Acks, Client, ClientConfig, Compression, NewTopic, OFFSET_LATEST, TopicPartition};

async fn with_topic(dir: &std::path::Path, partitions: i32) -> (Broker, Client) {
    let broker = Broker::start(BrokerConfig::new(dir)).await.unwrap();
    let bootstrap_servers = vec![broker.address().to_string()];
    let client =
        Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap();
    client.admin().create_topics(&[NewTopic::new("load", partitions)]).await.unwrap();
    (broker, client)
}

fn produce_load() -> ProduceLoad {
    ProduceLoad {
        topic: "load".to_owned(),
        records: 3000,
        duration: None,
        record_bytes: 100,
        batch_bytes: 1000,
        compression: Compression::None,
        acks: Acks::All,
        connections: 2,
        in_flight: 5,
        rate: None,
    }
}

fn consume_load() -> ConsumeLoad {
    ConsumeLoad {
        topic: "load".to_owned(),
        records: None,
        duration: None,
        from_beginning: true,
        fetch_bytes: 1 << 20,
        partition_bytes: 10_000,
        connections: 2,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_produced_is_counted_and_consumed_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = with_topic(dir.path(), 3).await;
    let produced = produce(&client, produce_load()).await.unwrap();
    assert!((3000..3100).contains(&produced.records), "{}", produced.records);
    let places: Vec<_> =
        (0..3).map(|partition| (TopicPartition::new("load", partition), OFFSET_LATEST)).collect();
    let ends = client.admin().list_offsets(&places).await.unwrap();
    assert_eq!(ends.values().map(|end| end.offset).sum::<i64>(), produced.records as i64);
    let consumed = consume(&client, consume_load()).await.unwrap();
    assert_eq!((consumed.records, consumed.bytes), (produced.records, produced.bytes));
    assert!(consumed.latencies.count() > 1);
    let some = consume(&client, ConsumeLoad { records: Some(500), ..consume_load() }).await.unwrap();
    assert!((500..3000).contains(&some.records), "{}", some.records);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_with_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = with_topic(dir.path(), 1).await;
    let duration = Some(Duration::from_millis(300));
    let load = ProduceLoad { records: u64::MAX, duration, rate: Some(1000.0), ..produce_load() };
    let produced = produce(&client, load).await.unwrap();
    assert!((100..=400).contains(&produced.records), "{}", produced.records);
    let load = ConsumeLoad { records: Some(u64::MAX), duration, from_beginning: false, ..consume_load() };
    assert_eq!(consume(&client, load).await.unwrap().records, 0);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_comes_back_and_its_time_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = with_topic(dir.path(), 2).await;
    let load = EndToEndLoad {
        topic: "load".to_owned(),
        rate: 200.0,
        duration: Duration::from_millis(500),
        record_bytes: 100,
        acks: Acks::All,
        compression: Compression::Lz4,
    };
    let report = end_to_end(&client, load).await.unwrap();
    assert_eq!((report.records, report.latencies.count()), (100, 100));
    broker.shutdown().await.unwrap();
}
