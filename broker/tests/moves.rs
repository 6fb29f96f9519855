//! Partitions that move to another log dir while they are written and read, and what a crash or a full disk makes of it.

mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use wire::Wire;
use wire::requests::{batch, create, fetch, produce, values};

const UUID: &str = "0123456789abcdef0123456789abcdef";

/// A broker with the log dirs `a` and `b`, and topic `t` in `a`.
struct Dirs(tempfile::TempDir);

impl Dirs {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn start_at(root: &Path) -> (Broker, Wire) {
        let mut config = BrokerConfig::new("unused");
        let dirs = ["a", "b"].map(|name| root.join(name).display().to_string());
        config.set("log.dirs", &dirs.join(",")).unwrap();
        let broker = Broker::start(config).await.expect("the broker starts");
        let wire = Wire::connect(broker.address()).await;
        (broker, wire)
    }

    async fn start(&self) -> (Broker, Wire) {
        Dirs::start_at(self.0.path()).await
    }

    /// With these segments in the topic.
    async fn new(segment_bytes: u32) -> (Dirs, Broker, Wire) {
        let dirs = Dirs(tempfile::tempdir().unwrap());
        let (broker, mut wire) = dirs.start().await;
        let mut request = create("t");
        request.topics[0].configs = vec![k19_create_topics::CreatableTopicConfig {
            name: "internal.segment.bytes".into(),
            value: Some(segment_bytes.to_string().into()),
        }];
        assert_eq!(wire.call(7, &request).await.topics[0].error_code, 0);
        assert!(dirs.path("a").join("t-0").is_dir());
        (dirs, broker, wire)
    }

    fn alter(&self, to: &str) -> AlterReplicaLogDirsRequest {
        let topics = vec![k34_alter_replica_log_dirs::AlterReplicaLogDirTopic {
            name: "t".into(),
            partitions: vec![0],
        }];
        let path = self.path(to).display().to_string().into();
        AlterReplicaLogDirsRequest {
            dirs: vec![k34_alter_replica_log_dirs::AlterReplicaLogDir { path, topics }],
        }
    }

    async fn move_to(&self, wire: &mut Wire, to: &str) {
        let answer = wire.call(2, &self.alter(to)).await;
        assert_eq!(answer.results[0].partitions[0].error_code, 0);
    }
}

async fn produced(wire: &mut Wire, value: &str) -> (ErrorCode, i64) {
    let response = wire.call(9, &produce("t", batch(&[value], None), -1)).await;
    let answer = &response.responses[0].partition_responses[0];
    (ErrorCode::from_code(answer.error_code), answer.base_offset)
}

async fn all_values(wire: &mut Wire) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let more = values(&wire.call(12, &fetch("t", all.len() as i64, 0)).await);
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// The dirs that the partition is in, and those that it is on its way to.
async fn where_it_is(wire: &mut Wire) -> (Vec<String>, Vec<String>) {
    let response = wire.call(4, &DescribeLogDirsRequest { topics: None }).await;
    let (mut now, mut future) = (Vec::new(), Vec::new());
    for dir in &response.results {
        let name = Path::new(&*dir.log_dir).file_name().unwrap().to_string_lossy().into_owned();
        for partition in dir.topics.iter().flat_map(|topic| &topic.partitions) {
            if partition.is_future_key { future.push(name.clone()) } else { now.push(name.clone()) }
        }
    }
    (now, future)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not yet");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_it_is_in(wire: &mut Wire, dir: &str) {
    until(dir, async || where_it_is(wire).await == (vec![dir.to_owned()], vec![])).await;
}

/// The names of folders in a log dir that are about the partition.
fn folders(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("t-0")).collect();
    names.sort();
    names
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target)
        } else {
            let _ = fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_there_and_back_while_it_is_written_and_read() {
    let (dirs, broker, mut wire) = Dirs::new(20_000).await;
    let address = broker.address();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn(async move {
        let mut wire = Wire::connect(address).await;
        let mut count: i64 = 0;
        while !*stopped.borrow() {
            let value = format!("{count} {}", "x".repeat(300));
            assert_eq!(produced(&mut wire, &value).await, (ErrorCode::None, count));
            count += 1;
        }
        count
    });
    let reading = tokio::spawn(async move {
        let mut wire = Wire::connect(address).await;
        let mut next = 0;
        // As long as the broker answers; the first half of the values is theirs alone.
        loop {
            let response = wire.call(12, &fetch("t", next, 20)).await;
            assert_eq!(response.responses[0].partitions[0].error_code, 0, "at {next}");
            for value in values(&response) {
                assert!(value.starts_with(&format!("{next} ")), "{value} at {next}");
                next += 1;
            }
            if next > 0 && rand::random_ratio(1, 50) {
                next = rand::random_range(0..next);
            }
        }
    });
    until("records", async || all_values(&mut wire).await.len() > 300).await;
    for (to, from) in [("b", "a"), ("a", "b"), ("b", "a")] {
        dirs.move_to(&mut wire, to).await;
        until_it_is_in(&mut wire, to).await;
        until("nothing left behind", async || folders(&dirs.path(from)).is_empty()).await;
        assert_eq!(folders(&dirs.path(to)), ["t-0"]);
    }
    stop.send_replace(true);
    let count = writing.await.unwrap();
    assert!(!reading.is_finished(), "the reader has met something wrong");
    reading.abort();
    assert_eq!(all_values(&mut wire).await.len() as i64, count);
    // As a kill leaves it, and after a clean stop.
    let killed = tempfile::tempdir().unwrap();
    copy_dir(dirs.0.path(), killed.path());
    broker.shutdown().await.unwrap();
    for root in [killed.path(), dirs.0.path()] {
        let (broker, mut wire) = Dirs::start_at(root).await;
        let all = all_values(&mut wire).await;
        assert_eq!(all.len() as i64, count);
        assert!((0..count).zip(&all).all(|(number, value)| value.starts_with(&format!("{number} "))));
        assert_eq!(where_it_is(&mut wire).await.0, ["b"]);
        assert_eq!(produced(&mut wire, "more").await, (ErrorCode::None, count));
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_cancelled_by_naming_the_dir_where_the_partition_is() {
    let (dirs, broker, mut wire) = Dirs::new(1 << 20).await;
    for _ in 0..60 {
        produced(&mut wire, &"x".repeat(500_000)).await;
    }
    dirs.move_to(&mut wire, "b").await;
    dirs.move_to(&mut wire, "b").await;
    dirs.move_to(&mut wire, "a").await;
    until_it_is_in(&mut wire, "a").await;
    until("nothing left behind", async || folders(&dirs.path("b")).is_empty()).await;
    assert_eq!(produced(&mut wire, "more").await, (ErrorCode::None, 60));
    // And it is deleted in the middle of one.
    dirs.move_to(&mut wire, "b").await;
    let deleted = k20_delete_topics::DeleteTopicState { name: Some("t".into()), ..Default::default() };
    let request = DeleteTopicsRequest { topics: vec![deleted], timeout_ms: 5000, ..Default::default() };
    assert_eq!(wire.call(6, &request).await.responses[0].error_code, 0);
    until("nothing left", async || {
        folders(&dirs.path("a")).is_empty() && folders(&dirs.path("b")).is_empty()
    })
    .await;
    broker.shutdown().await.unwrap();
}

async fn set_rate(broker: &Broker, wire: &mut Wire, value: Option<&str>) {
    let config = k44_incremental_alter_configs::AlterableConfig {
        name: "replica.alter.log.dirs.io.max.bytes.per.second".into(),
        config_operation: if value.is_some() { 0 } else { 1 },
        value: value.map(|value| value.to_owned().into()),
    };
    let resource = k44_incremental_alter_configs::AlterConfigsResource {
        resource_type: 4,
        resource_name: "1".into(),
        configs: vec![config],
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(wire.call(1, &request).await.responses[0].error_code, 0);
    let throttle = broker.context().partitions.move_throttle();
    until("the rate counts", async || throttle.is_limited() == value.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_goes_on_at_the_rate_that_is_set_and_ends_when_it_is_cancelled() {
    let (dirs, broker, mut wire) = Dirs::new(1 << 20).await;
    for _ in 0..8 {
        produced(&mut wire, &"x".repeat(500_000)).await;
    }
    set_rate(&broker, &mut wire, Some("1000")).await;
    dirs.move_to(&mut wire, "b").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let on_its_way = (vec!["a".to_owned()], vec!["b".to_owned()]);
    assert_eq!(where_it_is(&mut wire).await, on_its_way);
    // Cancelled while it waits.
    dirs.move_to(&mut wire, "a").await;
    until_it_is_in(&mut wire, "a").await;
    dirs.move_to(&mut wire, "b").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(where_it_is(&mut wire).await, on_its_way);
    set_rate(&broker, &mut wire, None).await;
    until_it_is_in(&mut wire, "b").await;
    assert_eq!(produced(&mut wire, "more").await, (ErrorCode::None, 8));
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_stay_deleted_and_compacted_gaps_are_no_loss_where_a_log_has_moved() {
    let (dirs, broker, mut wire) = Dirs::new(20_000).await;
    for number in 0..100 {
        produced(&mut wire, &format!("{number} {}", "x".repeat(1000))).await;
    }
    let request = DeleteRecordsRequest {
        topics: vec![k21_delete_records::DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![k21_delete_records::DeleteRecordsPartition { partition_index: 0, offset: 33 }],
        }],
        timeout_ms: 5000,
    };
    assert_eq!(wire.call(2, &request).await.topics[0].partitions[0].error_code, 0);
    dirs.move_to(&mut wire, "b").await;
    until_it_is_in(&mut wire, "b").await;
    let killed = tempfile::tempdir().unwrap();
    copy_dir(dirs.0.path(), killed.path());
    broker.shutdown().await.unwrap();
    let (broker, mut wire) = Dirs::start_at(killed.path()).await;
    let below = wire.call(12, &fetch("t", 32, 0)).await;
    assert_eq!(below.responses[0].partitions[0].error_code, ErrorCode::OffsetOutOfRange.code());
    let first = values(&wire.call(12, &fetch("t", 33, 0)).await);
    assert!(first[0].starts_with("33 "), "{}", first[0]);
    broker.shutdown().await.unwrap();
}

/// A stopped broker with one record, in `a`.
async fn stopped() -> Dirs {
    let (dirs, broker, mut wire) = Dirs::new(20_000).await;
    assert_eq!(produced(&mut wire, "kept").await, (ErrorCode::None, 0));
    broker.shutdown().await.unwrap();
    dirs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_two_renames_is_ended_by_the_next_start() {
    let dirs = stopped().await;
    copy_dir(&dirs.path("a").join("t-0"), &dirs.path("b").join(format!("t-0.{UUID}-future")));
    fs::rename(dirs.path("a").join("t-0"), dirs.path("a").join(format!("t-0.{UUID}-delete"))).unwrap();
    // Meanwhile the disk that it moved to is away: nobody may take what is left behind for a leftover.
    fs::rename(dirs.path("b"), dirs.path("away")).unwrap();
    fs::write(dirs.path("b"), "no folder").unwrap();
    let (broker, mut wire) = dirs.start().await;
    assert_eq!(produced(&mut wire, "refused").await.0, ErrorCode::KafkaStorageError);
    broker.shutdown().await.unwrap();
    assert_eq!(folders(&dirs.path("a")), [format!("t-0.{UUID}-delete")]);
    fs::remove_file(dirs.path("b")).unwrap();
    fs::rename(dirs.path("away"), dirs.path("b")).unwrap();
    for count in 1..3 {
        let (broker, mut wire) = dirs.start().await;
        assert_eq!(where_it_is(&mut wire).await, (vec!["b".to_owned()], vec![]));
        assert_eq!(all_values(&mut wire).await.len(), count);
        assert_eq!(produced(&mut wire, "more").await, (ErrorCode::None, count as i64));
        assert!(folders(&dirs.path("a")).is_empty());
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_not_finished_is_begun_anew_and_never_served() {
    let dirs = stopped().await;
    let future = dirs.path("b").join(format!("t-0.{UUID}-future"));
    fs::create_dir_all(&future).unwrap();
    fs::write(future.join("00000000000000000000.log"), "half").unwrap();
    let of_nobody = dirs.path("b").join(format!("gone-3.{UUID}-future"));
    fs::create_dir_all(&of_nobody).unwrap();
    let (broker, mut wire) = dirs.start().await;
    assert_eq!(all_values(&mut wire).await, ["kept"]);
    until_it_is_in(&mut wire, "b").await;
    assert_eq!(all_values(&mut wire).await, ["kept"]);
    until("nothing left behind", async || folders(&dirs.path("a")).is_empty() && !of_nobody.exists()).await;
    assert_eq!(folders(&dirs.path("b")), ["t-0"]);
    broker.shutdown().await.unwrap();
    let (broker, mut wire) = dirs.start().await;
    assert_eq!(all_values(&mut wire).await, ["kept"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_a_full_disk_leaves_the_partition_where_it_is() {
    let (dirs, broker, mut wire) = Dirs::new(1 << 20).await;
    for _ in 0..10 {
        produced(&mut wire, &"x".repeat(500_000)).await;
    }
    broker.shutdown().await.unwrap();
    let mounting = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(dirs.path("b"))
        .output();
    if !mounting.is_ok_and(|mounted| mounted.status.success()) {
        println!("skipped: no file system can be mounted here");
        return;
    }
    let (broker, mut wire) = dirs.start().await;
    dirs.move_to(&mut wire, "b").await;
    until_it_is_in(&mut wire, "a").await;
    assert!(folders(&dirs.path("b")).is_empty(), "the room is given back");
    assert_eq!(produced(&mut wire, "more").await, (ErrorCode::None, 10));
    broker.shutdown().await.unwrap();
    let _ = std::process::Command::new("umount").arg("-l").arg(dirs.path("b")).status();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_moved_is_refused_with_kafkas_codes() {
    let (dirs, broker, mut wire) = Dirs::new(20_000).await;
    let mut unknown = dirs.alter("b");
    unknown.dirs[0].topics[0].name = "u".into();
    for (request, code) in [
        (dirs.alter("c"), ErrorCode::LogDirNotFound),
        (unknown, ErrorCode::UnknownTopicOrPartition),
        (dirs.alter("a"), ErrorCode::None),
        (dirs.alter("b/"), ErrorCode::None),
    ] {
        let answer = wire.call(1, &request).await;
        assert_eq!(answer.results[0].partitions[0].error_code, code.code(), "{request:?}");
    }
    until_it_is_in(&mut wire, "b").await;
    broker.shutdown().await.unwrap();
}
