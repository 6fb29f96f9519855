//! A broker whose files were damaged while it was down: what is damaged is refused or named, what is not is served, and
//! nothing false is ever given.

mod wire;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::Wire;
use wire::requests::{batch, create, fetch, produce, values};

fn config(dir: &Path) -> BrokerConfig {
    BrokerConfig { offsets_topic_partitions: 1, ..BrokerConfig::new(dir) }
}

async fn broker(dir: &Path) -> Broker {
    Broker::start(config(dir)).await.expect("the broker starts")
}

/// In memory where that is possible: many brokers are started and stopped.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

async fn fetched(wire: &mut Wire, topic: &str, offset: i64) -> (ErrorCode, Vec<String>) {
    let response = wire.call(12, &fetch(topic, offset, 0)).await;
    let code = ErrorCode::from_code(response.responses[0].partitions[0].error_code);
    (code, if code == ErrorCode::None { values(&response) } else { Vec::new() })
}

/// Makes topics with closed segments and fills them; gives the values by topic.
async fn fill(dir: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let first = broker(dir).await;
    let mut wire = Wire::connect(first.address()).await;
    let mut kept = BTreeMap::new();
    for topic in ["a", "b"] {
        let mut request = create(topic);
        request.topics[0].configs.push(k19_create_topics::CreatableTopicConfig {
            name: "internal.segment.bytes".into(),
            value: Some("20000".into()),
        });
        assert_eq!(wire.call(7, &request).await.topics[0].error_code, 0);
        let producer = wire.call(4, &InitProducerIdRequest::default()).await.producer_id;
        let all: Vec<String> =
            (0..60).map(|i| format!("{topic} {i} {}", "x".repeat(i * 97 % 1700))).collect();
        for (i, value) in all.iter().enumerate() {
            let request = produce(topic, batch(&[value], Some((producer, i as i32))), -1);
            let answer = wire.call(9, &request).await;
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
        kept.insert(topic, all);
    }
    first.shutdown().await.unwrap();
    kept
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_refused_by_its_code_and_its_neighbours_are_read() {
    let dir = memory_dir();
    let kept = fill(dir.path()).await;
    let log = dir.path().join("a-0/00000000000000000000.log");
    let text = fs::read(&log).unwrap();
    let at = text.windows(5).position(|window| window == b"a 7 x").expect("record 7 is in the first segment");
    flip(&log, at as u64 + 20, 3);
    let second = broker(dir.path()).await;
    let mut wire = Wire::connect(second.address()).await;
    assert_eq!(fetched(&mut wire, "a", 0).await, (ErrorCode::None, kept["a"][..7].to_vec()));
    // Time and again, not only when it is found.
    for _ in 0..3 {
        assert_eq!(fetched(&mut wire, "a", 7).await.0, ErrorCode::CorruptMessage);
        assert_eq!(fetched(&mut wire, "a", 3).await, (ErrorCode::None, kept["a"][3..7].to_vec()));
    }
    let (code, after) = fetched(&mut wire, "a", 8).await;
    assert_eq!((code, &after[0]), (ErrorCode::None, &kept["a"][8]));
    // Its partition takes records, and others notice nothing.
    let answer = wire.call(9, &produce("a", batch(&["new"], None), -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 60);
    assert_eq!(fetched(&mut wire, "b", 0).await.0, ErrorCode::None);
    second.shutdown().await.unwrap();
    // No start repairs it silently either.
    let third = broker(dir.path()).await;
    let mut wire = Wire::connect(third.address()).await;
    assert_eq!(fetched(&mut wire, "a", 7).await.0, ErrorCode::CorruptMessage);
    third.shutdown().await.unwrap();
}

#[derive(Debug, Clone, Copy)]
enum Mutilation {
    FlippedBit,
    Halved,
    Emptied,
    ZeroPage,
    Removed,
    Garbage,
}

impl Mutilation {
    const ALL: [Mutilation; 6] = [
        Mutilation::FlippedBit,
        Mutilation::Halved,
        Mutilation::Emptied,
        Mutilation::ZeroPage,
        Mutilation::Removed,
        Mutilation::Garbage,
    ];

    fn apply(self, path: &Path, random: &mut StdRng) {
        let length = fs::metadata(path).unwrap().len();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let page = random.random_range(0..=length / 4096) * 4096;
        match self {
            Mutilation::FlippedBit if length == 0 => {}
            Mutilation::FlippedBit => {
                flip(path, random.random_range(0..length), random.random_range(0..8));
            }
            Mutilation::Halved => file.set_len(length / 2).unwrap(),
            Mutilation::Emptied => file.set_len(0).unwrap(),
            Mutilation::ZeroPage => {
                let zeros = vec![0; (length - page.min(length)).min(4096) as usize];
                file.write_all_at(&zeros, page.min(length)).unwrap();
            }
            // Nobody could tell a first segment that is missing from one that retention has removed.
            Mutilation::Removed if path.extension().is_some_and(|extension| extension == "log") => {}
            Mutilation::Removed => fs::remove_file(path).unwrap(),
            Mutilation::Garbage => {
                let bytes: Vec<u8> = (0..length.min(4096)).map(|_| random.random()).collect();
                file.write_all_at(&bytes, page.min(length.saturating_sub(4096))).unwrap();
            }
        }
    }
}

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(all_files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn copy_dir(from: &Path, to: &Path) {
    for file in all_files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

/// What consumers of a topic find, who move past what is refused. `None` where the partition is offline.
async fn readable(wire: &mut Wire, topic: &str) -> Option<BTreeMap<i64, String>> {
    let mut found = BTreeMap::new();
    let mut next = 0;
    loop {
        let response = wire.call(12, &fetch(topic, next, 0)).await;
        let partition = &response.responses[0].partitions[0];
        match ErrorCode::from_code(partition.error_code) {
            ErrorCode::None if next >= partition.high_watermark => return Some(found),
            ErrorCode::None => {
                let batch = values(&response);
                assert!(!batch.is_empty(), "a fetch below the end gives something");
                for value in batch {
                    found.insert(next, value);
                    next += 1;
                }
            }
            ErrorCode::CorruptMessage => next += 1,
            ErrorCode::KafkaStorageError | ErrorCode::UnknownTopicOrPartition if next == 0 => return None,
            code => panic!("{code:?} at {next} of {topic}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_a_data_directory_may_be_mutilated_and_nothing_false_is_served() {
    let seed: u64 = std::env::var("OTTLA_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("OTTLA_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let cases: usize = std::env::var("OTTLA_CASES").map_or(40, |cases| cases.parse().unwrap());
    let original = memory_dir();
    let kept = fill(original.path()).await;
    let files = all_files(original.path());
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..cases {
        let file = files[random.random_range(0..files.len())].strip_prefix(original.path()).unwrap();
        let mutilation = Mutilation::ALL[random.random_range(0..Mutilation::ALL.len())];
        let was_clean: bool = random.random();
        let what = format!("{} {mutilation:?}, clean {was_clean}, OTTLA_SEED={seed}", file.display());
        let dir = memory_dir();
        copy_dir(original.path(), dir.path());
        mutilation.apply(&dir.path().join(file), &mut random);
        if !was_clean {
            let _ = fs::remove_file(dir.path().join(".kafka_cleanshutdown"));
        }
        *outcomes.entry(check(dir.path(), file, &kept, &what).await).or_default() += 1;
    }
    println!("{outcomes:?}");
}

async fn check(
    dir: &Path,
    file: &Path,
    kept: &BTreeMap<&'static str, Vec<String>>,
    what: &str,
) -> &'static str {
    let started = match Broker::start(config(dir)).await {
        Ok(started) => started,
        Err(error) => {
            let folder = file.parent().and_then(|folder| folder.to_str()).unwrap_or_default();
            let text = error.to_string();
            let names_it =
                text.contains(file.to_str().unwrap()) || text.contains("recovery-point-offset-checkpoint");
            assert!(names_it || text.contains(&dir.join(folder).display().to_string()), "{what}: {error}");
            return "refused to start";
        }
    };
    let mut wire = Wire::connect(started.address()).await;
    let mut outcome = "served everything";
    for (topic, values) in kept {
        let is_own = file.starts_with(format!("{topic}-0"));
        let Some(found) = readable(&mut wire, topic).await else {
            let by_checkpoint = file.to_str().is_some_and(|name| name.ends_with("checkpoint"));
            assert!(is_own || by_checkpoint, "{what}: {topic} is offline");
            outcome = "kept a partition offline";
            continue;
        };
        for (offset, value) in values.iter().enumerate() {
            match found.get(&(offset as i64)) {
                Some(found) => assert_eq!(found, value, "{what}: {topic} {offset}"),
                None => {
                    let is_log = file.extension().is_some_and(|extension| extension == "log");
                    assert!(is_own && is_log, "{what}: {topic} {offset} is gone");
                    outcome = "refused records";
                }
            }
        }
        let answer = wire.call(9, &produce(topic, batch(&["new"], None), -1)).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{what}: {topic} takes records");
    }
    started.shutdown().await.unwrap();
    outcome
}

async fn committed(wire: &mut Wire, group: &str) -> (ErrorCode, i64) {
    let topics =
        vec![k09_offset_fetch::OffsetFetchRequestTopic { name: "a".into(), partition_indexes: vec![0] }];
    let request =
        OffsetFetchRequest { group_id: group.into(), topics: Some(topics), ..OffsetFetchRequest::default() };
    let response = wire.call(7, &request).await;
    let offset = response.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset);
    (ErrorCode::from_code(response.error_code), offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_goes_on_without_damaged_records_only_where_it_is_told_to() {
    let dir = memory_dir();
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    assert_eq!(wire.call(7, &create("a")).await.topics[0].error_code, 0);
    for (number, group) in ["one", "two", "three"].into_iter().enumerate() {
        let partition = k08_offset_commit::OffsetCommitRequestPartition {
            committed_offset: number as i64,
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: -1,
            topics: vec![k08_offset_commit::OffsetCommitRequestTopic {
                name: "a".into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..OffsetCommitRequest::default()
        };
        // The internal topic is made by the first.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while wire.call(8, &request).await.topics[0].partitions[0].error_code != 0 {
            assert!(std::time::Instant::now() < deadline, "{group} cannot commit");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    first.shutdown().await.unwrap();
    let path = dir.path().join("__consumer_offsets-0/00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(3).position(|window| window == b"two").expect("the group's name is in its record");
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();

    let second = broker(dir.path()).await;
    let mut wire = Wire::connect(second.address()).await;
    assert_ne!(committed(&mut wire, "one").await.0, ErrorCode::None);
    second.shutdown().await.unwrap();

    let mut accepting = config(dir.path());
    accepting.set("ottla.coordinator.skip.damaged.records", "true").unwrap();
    let third = Broker::start(accepting).await.unwrap();
    let mut wire = Wire::connect(third.address()).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while committed(&mut wire, "one").await.0 == ErrorCode::CoordinatorLoadInProgress {
        assert!(std::time::Instant::now() < deadline, "it does not load");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(committed(&mut wire, "one").await, (ErrorCode::None, 0));
    assert_eq!(committed(&mut wire, "two").await, (ErrorCode::None, -1), "what it said is lost");
    assert_eq!(committed(&mut wire, "three").await, (ErrorCode::None, 2));
    third.shutdown().await.unwrap();
}
