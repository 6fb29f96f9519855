//! What operators watch: metrics and health.

mod wire;

use std::path::Path;

use ottla_broker::metrics::PartitionSeries;
use ottla_broker::{Broker, BrokerConfig, Problem};
use wire::Wire;
use wire::requests::{batch, create, fetch, produce};

async fn broker(dir: &Path) -> (Broker, Wire) {
    let broker = Broker::start(BrokerConfig::new(dir)).await.expect("the broker starts");
    let wire = Wire::connect(broker.address()).await;
    (broker, wire)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    wire.call(9, &produce("t", batch(&["x"], None), -1)).await;
    wire.call(12, &fetch("t", 0, 0)).await;
    let text = broker.monitor().metrics(PartitionSeries::Auto).await;
    for line in [
        "ottla_request_stage_seconds_count{api=\"Produce\",stage=\"fsync\"} 1",
        "ottla_log_end_offset{topic=\"t\",partition=\"0\"} 1",
        "ottla_high_watermark{topic=\"t\",partition=\"0\"} 1",
        "ottla_in_sync_replicas{topic=\"t\",partition=\"0\"} 1",
        "ottla_topic_log_end_offsets{topic=\"t\"} 1",
        "ottla_connections 1",
        "ottla_connections_opened_total 1",
        "ottla_topics 1",
        "ottla_offline_partitions 0",
        "ottla_under_replicated_partitions 0",
        "ottla_partition_series_left_out 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("{name}")).split(' ').nth(1).unwrap().parse().unwrap()
    };
    let size = value("ottla_log_size_bytes{topic=\"t\",partition=\"0\"}");
    assert!(size > 0.0 && value("ottla_broker_log_size_bytes") == size);
    assert!(value("ottla_request_bytes_total{api=\"Produce\"}") > size, "the batch and what is around it");
    assert!(value("ottla_reply_bytes_total{api=\"Fetch\"}") > size);
    assert!(value("process_resident_memory_bytes") > 1e6);
    let sums_only = broker.monitor().metrics(PartitionSeries::None).await;
    assert!(sums_only.contains("ottla_partition_series_left_out 1"), "{sums_only}");
    assert!(!sums_only.contains("ottla_log_end_offset{"), "{sums_only}");
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_write_says_so_and_is_well_again_when_it_can() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, aside) = (parent.path().join("data"), parent.path().join("aside"));
    let (broker, _wire) = broker(&dir).await;
    assert_eq!(broker.monitor().problems().await, []);
    std::fs::rename(&dir, &aside).unwrap();
    let problems = broker.monitor().problems().await;
    assert!(matches!(&problems[..], [Problem::Unwritable { path, .. }] if *path == dir), "{problems:?}");
    assert!(problems[0].to_string().contains("cannot be written: No such file"), "{}", problems[0]);
    std::fs::rename(&aside, &dir).unwrap();
    assert_eq!(broker.monitor().problems().await, []);
    assert!(!dir.join(".probe").exists());
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_partitions_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (first, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    wire.call(7, &create("u")).await;
    first.shutdown().await.unwrap();
    // A file where a folder has to be.
    std::fs::remove_dir_all(dir.path().join("t-0")).unwrap();
    std::fs::write(dir.path().join("t-0"), "x").unwrap();
    let (second, _wire) = broker(dir.path()).await;
    let problems = second.monitor().problems().await;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].to_string(), "offline partitions (1): t-0");
    let text = second.monitor().metrics(PartitionSeries::Auto).await;
    assert!(text.contains("ottla_offline_partitions 1\n"), "{text}");
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_many_partitions_gives_sums_unless_all_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    let mut many = create("many");
    many.topics[0].num_partitions = 2001;
    assert_eq!(wire.call(7, &many).await.topics[0].error_code, 0);
    let sums = broker.monitor().metrics(PartitionSeries::Auto).await;
    for line in [
        "ottla_partition_series_left_out 2001",
        "ottla_topic_partitions{topic=\"many\"} 2001",
        "ottla_partitions 2001",
        "ottla_offline_partitions 0",
    ] {
        assert!(sums.lines().any(|found| found == line), "{line} is not in\n{sums}");
    }
    assert!(sums.len() < 50_000, "{} bytes", sums.len());
    let all = broker.monitor().metrics(PartitionSeries::All).await;
    let ends = all.lines().filter(|line| line.starts_with("ottla_log_end_offset{"));
    assert_eq!(ends.count(), 2001);
    assert_eq!(broker.monitor().problems().await, []);
    broker.shutdown().await.unwrap();
}
