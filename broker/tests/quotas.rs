//! Clients that take more than their quotas wait, whether they like it or not; others do not notice.

mod wire;

use std::time::{Duration, Instant};

use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k19_create_topics::CreatableTopic;
use ottla_protocol::messages::k49_alter_client_quotas::{EntityData, EntryData, OpData};
use ottla_protocol::messages::*;
use wire::Wire;
use wire::requests::{batch, create, fetch, produce};

async fn started(dir: &tempfile::TempDir, settings: &[(&str, &str)]) -> (Broker, Wire) {
    let mut config = BrokerConfig::new(dir.path());
    for (name, value) in settings {
        config.set(name, value).unwrap();
    }
    let broker = Broker::start(config).await.unwrap();
    let mut wire = Wire::connect(broker.address()).await;
    assert_eq!(wire.call(7, &create("t")).await.topics[0].error_code, 0);
    (broker, wire)
}

/// A quota of the client id that [`Wire`] has, or of all addresses.
async fn set(wire: &mut Wire, entity_type: &str, key: &str, value: f64) {
    let name = (entity_type == "client-id").then(|| "wire".into());
    let entry = EntryData {
        entity: vec![EntityData { entity_type: entity_type.into(), entity_name: name }],
        ops: vec![OpData { key: key.into(), value, remove: false }],
    };
    let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
    assert_eq!(wire.call(1, &request).await.entries[0].error_code, 0);
}

/// How long a request takes to be answered.
async fn time_of_metadata(wire: &mut Wire) -> Duration {
    let since = Instant::now();
    wire.call(12, &MetadataRequest::default()).await;
    since.elapsed()
}

/// How long requests of new connections of another client take to be answered when they are lucky: a machine that
/// is busy with something else may be late once, but somebody who is made to wait is late each time.
async fn time_of_others(broker: &Broker) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let mut other = Wire::connect_as(broker.address(), "other").await;
        fastest = fastest.min(time_of_metadata(&mut other).await);
    }
    fastest
}

/// What a counter without labels stands at.
fn counted(broker: &Broker, name: &str) -> u64 {
    let text = broker.context().metrics.render(Default::default());
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
}

#[tokio::test]
async fn a_producer_over_its_quota_is_told_to_wait_and_not_read_from_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = started(&dir, &[]).await;
    let value = "7".repeat(100_000);
    let request = produce("t", batch(&[&value], None), 1);
    assert_eq!(wire.call(9, &request).await.throttle_time_ms, 0);
    set(&mut wire, "client-id", "producer_byte_rate", 9_700.0).await;
    // Ten seconds' worth and a little: what is over is waited for.
    let since = Instant::now();
    let answer = wire.call(9, &request).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "records are taken all the same");
    let told = Duration::from_millis(answer.throttle_time_ms as u64);
    assert!(told > Duration::from_millis(200) && told < Duration::from_secs(1), "{told:?}");
    assert!(time_of_others(&broker).await < told, "connections without the client's requests go on");
    time_of_metadata(&mut wire).await;
    assert!(since.elapsed() >= told, "{:?} instead of {told:?}", since.elapsed());
    assert_eq!(counted(&broker, "ottla_throttled_total"), 1);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_consumer_over_its_quota_gets_its_records_and_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = started(&dir, &[]).await;
    let value = "7".repeat(100_000);
    wire.call(9, &produce("t", batch(&[&value], None), 1)).await;
    set(&mut wire, "client-id", "consumer_byte_rate", 9_700.0).await;
    let since = Instant::now();
    let answer = wire.call(11, &fetch("t", 0, 0)).await;
    assert!(answer.responses[0].partitions[0].records.as_ref().unwrap().len() > 100_000);
    assert!(answer.throttle_time_ms > 200, "{}", answer.throttle_time_ms);
    time_of_metadata(&mut wire).await;
    assert!(
        since.elapsed() >= Duration::from_millis(answer.throttle_time_ms as u64),
        "{:?}",
        since.elapsed()
    );
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_makes_too_many_partitions_is_refused_and_told_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("quota.window.num", "2"), ("quota.window.size.seconds", "1")];
    let (broker, mut wire) = started(&dir, &settings).await;
    set(&mut wire, "client-id", "controller_mutation_rate", 5.0).await;
    let wide = |name: &str| CreatableTopic {
        name: name.into(),
        num_partitions: 18,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![wide("a"), wide("b")], ..create("x") };
    let answer = wire.call(7, &request).await;
    let code = |name: &str| answer.topics.iter().find(|topic| &*topic.name == name).unwrap().error_code;
    assert_eq!((code("a"), code("b")), (0, ErrorCode::ThrottlingQuotaExceeded.code()));
    assert!((1..=1600).contains(&answer.throttle_time_ms), "{}", answer.throttle_time_ms);
    assert!(broker.context().image().topic("b").is_none());
    let answer = wire.call(7, &create("c")).await;
    assert_eq!(answer.topics[0].error_code, 0, "the wait is over when the next request is read");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_address_that_opens_connections_too_fast_waits_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("quota.window.num", "2"), ("max.connections.per.ip.overrides", "127.0.0.1:3")];
    let (broker, mut wire) = started(&dir, &settings).await;
    set(&mut wire, "ip", "connection_creation_rate", 1.0).await;
    let since = Instant::now();
    let mut first = Wire::connect(broker.address()).await;
    time_of_metadata(&mut first).await;
    assert_eq!(counted(&broker, "ottla_connections_delayed_total"), 0);
    let mut second = Wire::connect(broker.address()).await;
    time_of_metadata(&mut second).await;
    assert_eq!(counted(&broker, "ottla_connections_delayed_total"), 1);
    assert!(since.elapsed() > Duration::from_millis(500));
    let mut beyond = Wire::connect(broker.address()).await;
    assert!(beyond.receive_raw().await.is_none(), "there are three already");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_listener_takes_no_more_connections_than_it_may_and_the_others_do_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("listeners", "INSIDE://127.0.0.1:0,OUTSIDE://127.0.0.1:0"),
        ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT"),
        ("listener.name.outside.max.connections", "1"),
    ];
    let (broker, mut inside) = started(&dir, &settings).await;
    let outside = broker.addresses()[1].1;
    let mut first = Wire::connect(outside).await;
    time_of_metadata(&mut first).await;
    let mut waiting = Wire::connect(outside).await;
    waiting.send(12, 1, &MetadataRequest::default()).await;
    assert!(waiting.receive_nothing_within_ms(200).await.is_ok());
    time_of_metadata(&mut inside).await;
    time_of_metadata(&mut Wire::connect(broker.address()).await).await;
    drop(first);
    assert_eq!(waiting.receive::<MetadataRequest>(12).await.1.brokers.len(), 1);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_floods_a_listener_with_connections_waits_and_the_others_do_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("listeners", "INSIDE://127.0.0.1:0,OUTSIDE://127.0.0.1:0"),
        ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT"),
        ("listener.name.outside.max.connection.creation.rate", "5"),
        ("quota.window.num", "2"),
    ];
    let (broker, _) = started(&dir, &settings).await;
    let outside = broker.addresses()[1].1;
    let flood: Vec<Wire> = {
        let mut flood = Vec::new();
        for _ in 0..20 {
            flood.push(Wire::connect(outside).await);
        }
        flood
    };
    let since = Instant::now();
    let late = tokio::spawn(async move {
        let mut last = Wire::connect(outside).await;
        time_of_metadata(&mut last).await;
        since.elapsed()
    });
    assert!(time_of_others(&broker).await < Duration::from_millis(500));
    // Twenty-one at five a second, the first seconds' worth of them at once.
    assert!(late.await.unwrap() > Duration::from_secs(1));
    drop(flood);
    assert!(counted(&broker, "ottla_connections_delayed_total") > 0);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_floods_with_requests_is_throttled_and_counted_and_the_others_do_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("quota.window.num", "2"), ("quota.window.size.seconds", "1")];
    let (broker, mut admin) = started(&dir, &settings).await;
    set(&mut admin, "client-id", "producer_byte_rate", 50_000.0).await;
    let request = produce("t", batch(&["7".repeat(1000).as_str()], None), 1);
    let mut flooding = Wire::connect(broker.address()).await;
    let since = Instant::now();
    for number in 0..200 {
        flooding.send(9, number, &request).await;
    }
    // Everybody else has another client id than what is limited.
    assert!(time_of_others(&broker).await < Duration::from_millis(500));
    for _ in 0..200 {
        flooding.receive::<ProduceRequest>(9).await;
    }
    assert!(since.elapsed() > Duration::from_secs(1), "{:?}", since.elapsed());
    assert!(counted(&broker, "ottla_throttled_total") > 0);
    broker.shutdown().await.unwrap();
}
