//! Snapshots of the metadata: what a start reads stays little, however much was changed.

mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ottla_broker::ids::Offset;
use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::messages::*;
use wire::Wire;
use wire::requests::{batch, create, fetch, produce, values};

async fn broker(dir: &Path) -> Broker {
    let mut config = BrokerConfig::new(dir);
    config.snapshots.record_bytes_max = 4096;
    Broker::start(config).await.expect("the broker starts")
}

fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("__cluster_metadata-0")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(".checkpoint"));
    paths.sort();
    paths
}

fn with_partitions(topic: &str, count: i32) -> CreateTopicsRequest {
    let mut request = create(topic);
    request.topics[0].num_partitions = count;
    request
}

fn topics(broker: &Broker) -> Vec<String> {
    let image = broker.context().controller.image();
    image.invariants().unwrap();
    image.topics().map(|topic| format!("{} {}", topic.name, topic.partitions.len())).collect()
}

/// Makes and removes topics until the log begins past its first record.
async fn churn(broker: &Broker) {
    let mut wire = Wire::connect(broker.address()).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let metadata = broker.context().controller.log().clone();
    let begun = metadata.log().log_start();
    for round in 0.. {
        let name = format!("passing-{round}");
        wire.call(7, &with_partitions(&name, 20)).await;
        let request = DeleteTopicsRequest {
            topics: vec![k20_delete_topics::DeleteTopicState {
                name: Some(name.into()),
                ..Default::default()
            }],
            timeout_ms: 5000,
            ..DeleteTopicsRequest::default()
        };
        wire.call(6, &request).await;
        if metadata.log().log_start() > begun {
            return;
        }
        assert!(Instant::now() < deadline, "no snapshot has shortened the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_reads_a_snapshot_and_what_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    wire.call(7, &with_partitions("kept", 3)).await;
    wire.call(9, &produce("kept", batch(&["v"], None), -1)).await;
    churn(&first).await;
    let before = topics(&first);
    assert!(before.contains(&"kept 3".to_owned()));
    first.shutdown().await.unwrap();
    let found = checkpoints(dir.path());
    assert_eq!(found.len(), 2, "{found:?}");

    let second = broker(dir.path()).await;
    assert_eq!(topics(&second), before);
    let mut wire = Wire::connect(second.address()).await;
    assert_eq!(values(&wire.call(12, &fetch("kept", 0, 0)).await), ["v"]);
    churn(&second).await;
    second.shutdown().await.unwrap();

    // The newest is damaged: the one before it and the log tell the same.
    let newest = checkpoints(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let third = broker(dir.path()).await;
    assert_eq!(topics(&third), before);
    assert!(third.context().controller.log().log().log_start() > Offset::ZERO);
    third.shutdown().await.unwrap();

    // Without any, a log that does not begin at its beginning tells too little to start.
    for checkpoint in checkpoints(dir.path()) {
        fs::remove_file(checkpoint).unwrap();
    }
    let refused = Broker::start(BrokerConfig::new(dir.path())).await;
    assert!(refused.err().unwrap().to_string().contains("no snapshot"));
}
