//! The broker and its disk: full disks, crashes at any moment, many partitions, topics that come and go.

mod wire;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use wire::Wire;
use wire::requests::{batch, create, fetch, produce, values};

async fn broker(dir: &Path) -> Broker {
    Broker::start(BrokerConfig::new(dir)).await.expect("the broker starts")
}

async fn produced(wire: &mut Wire, topic: &str, value: &str) -> (ErrorCode, i64) {
    let response = wire.call(9, &produce(topic, batch(&[value], None), -1)).await;
    let answer = &response.responses[0].partition_responses[0];
    (ErrorCode::from_code(answer.error_code), answer.base_offset)
}

async fn all_values(wire: &mut Wire, topic: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let more = values(&wire.call(12, &fetch(topic, all.len() as i64, 0)).await);
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

async fn delete(wire: &mut Wire, topic: &str) {
    let request = DeleteTopicsRequest {
        topics: vec![k20_delete_topics::DeleteTopicState { name: Some(topic.into()), ..Default::default() }],
        timeout_ms: 5000,
        ..DeleteTopicsRequest::default()
    };
    assert_eq!(wire.call(6, &request).await.responses[0].error_code, 0);
}

/// What a kill leaves: the files as they are at some moment. Checkpoints come first, because nothing that they name
/// is ever taken back.
fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort_by_key(|path| (path.is_dir(), path.extension().is_some_and(|end| end == "log")));
    for path in entries {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else if let Err(error) = fs::copy(&path, &target) {
            // A temporary file that was renamed meanwhile.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}

/// A small file system of its own, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let mounting = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(dir.path())
            .output();
        mounting.is_ok_and(|mounted| mounted.status.success()).then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_records_and_serves_again_once_there_is_room() {
    let Some(disk) = SmallDisk::mount("size=3m") else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let dir = disk.0.path();
    let first = broker(dir).await;
    let mut wire = Wire::connect(first.address()).await;
    assert_eq!(wire.call(7, &create("t")).await.topics[0].error_code, 0);
    fs::write(dir.join("ballast"), vec![1; 1 << 20]).unwrap();
    let mut kept: Vec<String> = Vec::new();
    let refused_at = loop {
        let value = format!("{} {}", kept.len(), "x".repeat(50_000));
        match produced(&mut wire, "t", &value).await {
            (ErrorCode::None, offset) => assert_eq!(offset, kept.len() as i64),
            (code, _) => {
                assert_eq!(code, ErrorCode::KafkaStorageError);
                break kept.len();
            }
        }
        kept.push(value);
        assert!(kept.len() < 100, "three mebibytes must be full by now");
    };
    assert!(refused_at > 5, "only {refused_at} records fit");
    for _ in 0..3 {
        assert_eq!(produced(&mut wire, "t", &"y".repeat(60_000)).await.0, ErrorCode::KafkaStorageError);
    }
    assert_eq!(all_values(&mut wire, "t").await, kept, "reads go on");
    fs::remove_file(dir.join("ballast")).unwrap();
    for i in 0..5 {
        let value = format!("after {i}");
        assert_eq!(produced(&mut wire, "t", &value).await, (ErrorCode::None, kept.len() as i64));
        kept.push(value);
    }
    assert_eq!(all_values(&mut wire, "t").await, kept);
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    first.shutdown().await.unwrap();
    // After a clean stop and after a crash alike.
    for dir in [dir, copy.path()] {
        let second = broker(dir).await;
        let mut wire = Wire::connect(second.address()).await;
        assert_eq!(all_values(&mut wire, "t").await, kept);
        second.shutdown().await.unwrap();
    }
}

async fn committed(wire: &mut Wire, offset: i64) -> ErrorCode {
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![k08_offset_commit::OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![k08_offset_commit::OffsetCommitRequestPartition {
                committed_offset: offset,
                // Large enough to find no room in what is allocated already.
                committed_metadata: Some("m".repeat(4000).into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..OffsetCommitRequest::default()
    };
    ErrorCode::from_code(wire.call(8, &request).await.topics[0].partitions[0].error_code)
}

/// Tries until it succeeds; that it does so at all is what a test waits for.
async fn until_it_succeeds(what: &str, mut attempt: impl AsyncFnMut() -> ErrorCode) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let code = attempt().await;
        if code == ErrorCode::None {
            return;
        }
        assert!(Instant::now() < deadline, "{what} still fails with {code:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_wedges_neither_the_metadata_log_nor_groups() {
    let Some(disk) = SmallDisk::mount("size=8m") else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let dir = disk.0.path();
    let first = Broker::start(BrokerConfig { offsets_topic_partitions: 1, ..BrokerConfig::new(dir) });
    let first = first.await.expect("the broker starts");
    let mut wire = Wire::connect(first.address()).await;
    assert_eq!(wire.call(7, &create("t")).await.topics[0].error_code, 0);
    assert_eq!(produced(&mut wire, "t", "before").await, (ErrorCode::None, 0));
    until_it_succeeds("a commit", async || committed(&mut wire, 1).await).await;
    assert!(fs::write(dir.join("ballast"), vec![1; 16 << 20]).is_err(), "the disk is full now");
    let mut refused = Vec::new();
    for i in 0..40 {
        if wire.call(7, &create(&format!("full-{i}"))).await.topics[0].error_code != 0 {
            refused.push("topic");
        }
        if committed(&mut wire, 2 + i).await != ErrorCode::None {
            refused.push("commit");
        }
        if produced(&mut wire, "t", &"x".repeat(20_000)).await.0 != ErrorCode::None {
            refused.push("record");
        }
    }
    for what in ["topic", "commit", "record"] {
        assert!(refused.contains(&what), "no {what} was refused: {refused:?}");
    }
    assert_eq!(values(&wire.call(12, &fetch("t", 0, 0)).await)[0], "before", "reads go on");
    fs::remove_file(dir.join("ballast")).unwrap();
    until_it_succeeds("a topic", async || {
        ErrorCode::from_code(wire.call(7, &create("after")).await.topics[0].error_code)
    })
    .await;
    until_it_succeeds("a commit", async || committed(&mut wire, 99).await).await;
    until_it_succeeds("a record", async || produced(&mut wire, "after", "x").await.0).await;
    let kept = all_values(&mut wire, "t").await;
    first.shutdown().await.unwrap();
    let second = broker(dir).await;
    let mut wire = Wire::connect(second.address()).await;
    assert_eq!(all_values(&mut wire, "t").await, kept);
    assert_eq!(all_values(&mut wire, "after").await, ["x"]);
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crash_while_records_are_written_loses_and_reorders_none_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    let mut request = create("t");
    let segment_bytes = k19_create_topics::CreatableTopicConfig {
        name: "internal.segment.bytes".into(),
        value: Some("20000".into()),
    };
    request.topics[0].configs.push(segment_bytes);
    assert_eq!(wire.call(7, &request).await.topics[0].error_code, 0);
    let init = wire.call(4, &InitProducerIdRequest::default()).await;
    let acknowledged = Arc::new(AtomicI64::new(0));
    let count = acknowledged.clone();
    let mut writer = Wire::connect(first.address()).await;
    let value = |i: i32| format!("{i} {}", "z".repeat((i as usize * 37) % 900));
    // Five requests in flight, as the idempotent producer of every client has.
    let writing = tokio::spawn(async move {
        let send = |i: i32| produce("t", batch(&[&value(i)], Some((init.producer_id, i))), -1);
        for i in 0..5 {
            writer.send(9, i, &send(i)).await;
        }
        for i in 0.. {
            let (_, response) = writer.receive::<ProduceRequest>(9).await;
            let answer = &response.responses[0].partition_responses[0];
            if answer.error_code != 0 {
                return;
            }
            assert_eq!(answer.base_offset, i64::from(i));
            count.store(answer.base_offset + 1, Ordering::SeqCst);
            writer.send(9, i + 5, &send(i + 5)).await;
        }
    });
    let copies = tempfile::tempdir().unwrap();
    let mut rounds = Vec::new();
    for round in 0..4 {
        while acknowledged.load(Ordering::SeqCst) < 60 * (round + 1) {
            assert!(!writing.is_finished(), "the writer goes on");
            tokio::task::yield_now().await;
        }
        let (from, to) = (dir.path().to_owned(), copies.path().join(round.to_string()));
        let before = acknowledged.load(Ordering::SeqCst);
        let target = to.clone();
        tokio::task::spawn_blocking(move || copy_dir(&from, &target)).await.unwrap();
        rounds.push((to, before));
    }
    writing.abort();
    for (copy, acknowledged) in rounds {
        let second = broker(&copy).await;
        let mut wire = Wire::connect(second.address()).await;
        let found = all_values(&mut wire, "t").await;
        assert!(found.len() as i64 >= acknowledged, "{} of {acknowledged}", found.len());
        let expected: Vec<String> = (0..found.len() as i32).map(value).collect();
        assert!(found == expected, "what is there is there once and in order");
        // The producer goes on where it was: its unanswered requests are known or taken.
        for i in found.len() as i32 - 3..found.len() as i32 + 3 {
            let again = produce("t", batch(&[&value(i)], Some((init.producer_id, i))), -1);
            let response = wire.call(9, &again).await;
            let answer = &response.responses[0].partition_responses[0];
            assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(i)));
        }
        second.shutdown().await.unwrap();
    }
    first.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_partitions_are_made_and_opened_again_within_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    let mut request = create("wide");
    request.topics[0].num_partitions = 1000;
    request.timeout_ms = 60_000;
    assert_eq!(wire.call(7, &request).await.topics[0].error_code, 0);
    let mut records = produce("wide", batch(&["x"], None), -1);
    records.topic_data[0].partition_data = (0..1000)
        .step_by(10)
        .map(|index| k00_produce::PartitionProduceData {
            index,
            records: Some(batch(&[&index.to_string()], None)),
        })
        .collect();
    let answers = wire.call(9, &records).await;
    assert!(answers.responses[0].partition_responses.iter().all(|answer| answer.error_code == 0));
    let made = started.elapsed();
    first.shutdown().await.unwrap();
    let stopped = started.elapsed();
    let second = broker(dir.path()).await;
    let mut wire = Wire::connect(second.address()).await;
    let mut read = fetch("wide", 0, 0);
    read.topics[0].partitions = (0..1000)
        .map(|partition| k01_fetch::FetchPartition {
            partition,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        })
        .collect();
    let response = wire.call(12, &read).await;
    for answer in &response.responses[0].partitions {
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.high_watermark, i64::from(answer.partition_index % 10 == 0));
    }
    println!(
        "made in {made:?}, stopped after {:?}, open again after {:?}",
        stopped - made,
        started.elapsed() - stopped
    );
    // The machine may be slow and busy; what must not happen is a disk round trip per partition, one after the other.
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    delete(&mut wire, "wide").await;
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_starts_empty_however_long_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    let long = "t".repeat(249);
    for _ in 0..3 {
        assert_eq!(wire.call(7, &create(&long)).await.topics[0].error_code, 0);
        assert_eq!(produced(&mut wire, &long, "x").await, (ErrorCode::None, 0));
        delete(&mut wire, &long).await;
        assert!(!dir.path().join(format!("{long}-0")).exists());
    }
    first.shutdown().await.unwrap();
}

/// The recovery point says up to where a crash needs no check. That of an earlier topic would hide a torn tail.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_is_not_trusted_as_far_as_the_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let points = dir.path().join("recovery-point-offset-checkpoint");
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    wire.call(7, &create("t")).await;
    for i in 0..5 {
        produced(&mut wire, "t", &i.to_string()).await;
    }
    first.shutdown().await.unwrap();
    assert!(fs::read_to_string(&points).unwrap().contains("t 0 5"));
    let second = broker(dir.path()).await;
    let mut wire = Wire::connect(second.address()).await;
    delete(&mut wire, "t").await;
    wire.call(7, &create("t")).await;
    assert!(!fs::read_to_string(&points).unwrap().contains("t 0 5"));
    second.shutdown().await.unwrap();
}

/// A partition that could not be opened was not recovered either.
#[tokio::test(flavor = "multi_thread")]
async fn no_clean_stop_is_recorded_while_a_partition_is_offline() {
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join(".kafka_cleanshutdown");
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    wire.call(7, &create("t")).await;
    produced(&mut wire, "t", "x").await;
    first.shutdown().await.unwrap();
    assert!(marker.exists());
    let log = dir.path().join("t-0/00000000000000000000.log");
    fs::rename(&log, dir.path().join("aside")).unwrap();
    fs::create_dir(&log).unwrap();
    let second = broker(dir.path()).await;
    let mut wire = Wire::connect(second.address()).await;
    assert_eq!(produced(&mut wire, "t", "y").await.0, ErrorCode::KafkaStorageError);
    second.shutdown().await.unwrap();
    assert!(!marker.exists());
    fs::remove_dir(&log).unwrap();
    fs::rename(dir.path().join("aside"), &log).unwrap();
    let third = broker(dir.path()).await;
    let mut wire = Wire::connect(third.address()).await;
    assert_eq!(all_values(&mut wire, "t").await, ["x"]);
    third.shutdown().await.unwrap();
    assert!(marker.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_when_its_topic_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let mut reader = Wire::connect(broker.address()).await;
    let mut wire = Wire::connect(broker.address()).await;
    wire.call(7, &create("t")).await;
    reader.send(12, 1, &fetch("t", 0, 300_000)).await;
    delete(&mut wire, "t").await;
    let (_, response) = tokio::time::timeout(Duration::from_secs(20), reader.receive::<FetchRequest>(12))
        .await
        .expect("the poll does not wait for what cannot come");
    let code = response.responses[0].partitions[0].error_code;
    assert_eq!(ErrorCode::from_code(code), ErrorCode::UnknownTopicOrPartition);
    broker.shutdown().await.unwrap();
}

fn open_logs(dir: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter(|target| target.starts_with(dir) && target.extension().is_some_and(|end| end == "log"))
        .count()
}

/// After a clean stop nothing of a partition is opened before somebody asks for it.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn partitions_sleep_after_a_clean_stop_until_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    for topic in ["read", "written", "deleted", "lost", "left"] {
        wire.call(7, &create(topic)).await;
        produced(&mut wire, topic, "x").await;
    }
    let sizes = first.context().partitions.states();
    first.shutdown().await.unwrap();
    fs::remove_dir_all(dir.path().join("lost-0")).unwrap();

    let second = broker(dir.path()).await;
    let mut wire = Wire::connect(second.address()).await;
    assert_eq!(open_logs(dir.path()), 1, "the metadata log");
    let asleep = second.context().partitions.states();
    let known = |states: &[ottla_broker::partition::PartitionState]| -> Vec<_> {
        states.iter().filter(|state| state.name.topic != "lost").cloned().collect()
    };
    assert_eq!(known(&asleep), known(&sizes), "what is told of them does not need them open");
    assert_eq!(open_logs(dir.path()), 1);

    assert_eq!(all_values(&mut wire, "read").await, ["x"]);
    assert_eq!(produced(&mut wire, "written", "y").await, (ErrorCode::None, 1));
    delete(&mut wire, "deleted").await;
    assert!(!dir.path().join("deleted-0").exists());
    assert_eq!(
        produced(&mut wire, "lost", "y").await.0,
        ErrorCode::KafkaStorageError,
        "an empty log would lie"
    );
    assert_eq!(open_logs(dir.path()), 3);
    wire.call(7, &create("deleted")).await;
    assert_eq!(all_values(&mut wire, "deleted").await, Vec::<String>::new());
    second.shutdown().await.unwrap();

    // The third stop was not clean, since a partition is offline: everything is opened and checked.
    let third = broker(dir.path()).await;
    let mut wire = Wire::connect(third.address()).await;
    assert_eq!(all_values(&mut wire, "left").await, ["x"]);
    assert_eq!(all_values(&mut wire, "written").await, ["x", "y"]);
    third.shutdown().await.unwrap();
}

/// Retention wakes those for which something is due, and only those.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn old_records_of_a_sleeping_partition_go_too() {
    let dir = tempfile::tempdir().unwrap();
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    for topic in ["old", "empty", "young"] {
        wire.call(7, &create(topic)).await;
    }
    // The batches of these tests are from the first seconds of 1970.
    produced(&mut wire, "old", "x").await;
    let mut young = ottla_protocol::records::BatchBuilder::default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    young.push(now.as_millis() as i64, None, Some(b"y"), &[]);
    let young = young.build(ottla_protocol::records::BatchOptions::default());
    wire.call(9, &produce("young", young, -1)).await;
    first.shutdown().await.unwrap();

    let mut config = BrokerConfig::new(dir.path());
    config.housekeeping.retention_check_interval = Duration::from_millis(20);
    let second = Broker::start(config).await.unwrap();
    let start = || second.context().partitions.state("old", 0).unwrap().log_start.0;
    let deadline = Instant::now() + Duration::from_secs(20);
    while start() < 1 {
        assert!(Instant::now() < deadline, "the old record is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Its old segment is open until it is removed.
    while open_logs(dir.path()) > 2 {
        assert!(Instant::now() < deadline, "more is open than the metadata log and the one that was too old");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(open_logs(dir.path()), 2);
    second.shutdown().await.unwrap();
}
