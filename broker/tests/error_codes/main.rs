//! What groups and transactions answer to requests that are wrong: code by code what Apache Kafka 4.1 answers, in every
//! version. `kafka.expected` is what Kafka said; `OTTLA_PROBE=127.0.0.1:PORT cargo test -p ottla-broker --test error_codes`
//! asks a broker that listens there and writes it again (`tests/conformance/kafka_error_codes.sh` starts a Kafka for that).

mod consumer;
mod groups;
mod offsets;
mod probe;
mod produce;
mod transactions;
#[path = "../wire/mod.rs"]
mod wire;

use std::path::Path;

use ottla_broker::{Broker, BrokerConfig};
use probe::Probe;

/// What both brokers are started with: `tests/conformance/kafka_error_codes.sh` has the same.
const SETTINGS: &[(&str, &str)] = &[
    ("group.max.size", "3"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "1"),
    ("transaction.state.log.num.partitions", "1"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
];

async fn ask_everything(address: std::net::SocketAddr) -> Vec<String> {
    let mut probe = Probe::connect(address).await;
    probe.call(7, &wire::requests::create("t")).await;
    groups::ask(&mut probe).await;
    offsets::ask(&mut probe).await;
    consumer::ask(&mut probe).await;
    transactions::ask(&mut probe).await;
    produce::ask(&mut probe).await;
    probe.into_lines()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_answered_as_apache_kafka_answers_them() {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/error_codes/kafka.expected");
    if let Ok(address) = std::env::var("OTTLA_PROBE") {
        let lines = ask_everything(address.parse().expect("OTTLA_PROBE is an address")).await;
        std::fs::write(expected, lines.join("\n") + "\n").expect("the file can be written");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = BrokerConfig::new(dir.path());
    for (name, value) in SETTINGS {
        config.set(name, value).unwrap();
    }
    let broker = Broker::start(config).await.unwrap();
    let said = ask_everything(broker.address()).await;
    broker.shutdown().await.unwrap();
    let wanted = std::fs::read_to_string(expected).expect("the file can be read");
    let different: Vec<String> = wanted
        .lines()
        .zip(&said)
        .filter(|(wanted, said)| wanted != said)
        .map(|(wanted, said)| format!("Kafka: {wanted}\nhere:  {said}"))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(wanted.lines().count(), said.len());
}
