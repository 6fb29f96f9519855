//! What hostile and broken clients send: each gets its error code or loses its connection, costs a bounded amount of
//! memory and time, and a good client beside it notices nothing.

mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use ottla_protocol::records::{BatchBuilder, BatchOptions, Compression};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::Wire;
use wire::requests::{batch, create, fetch, produce, values};

async fn broker(dir: &Path) -> (Broker, Wire) {
    let broker = Broker::start(BrokerConfig::new(dir)).await.expect("the broker starts");
    let mut wire = Wire::connect(broker.address()).await;
    wire.call(7, &create("canary")).await;
    (broker, wire)
}

/// A good client: what it writes it reads again, within moments.
async fn sing(wire: &mut Wire) {
    let begun = Instant::now();
    let answer = wire.call(9, &produce("canary", batch(&["song"], None), -1)).await;
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, 0);
    assert_eq!(values(&wire.call(12, &fetch("canary", answer.base_offset, 0)).await), ["song"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "the good client waited {:?}", begun.elapsed());
}

async fn code_of(wire: &mut Wire, topic: &str, records: Bytes) -> ErrorCode {
    let response = wire.call(9, &produce(topic, records, -1)).await;
    ErrorCode::from_code(response.responses[0].partition_responses[0].error_code)
}

/// The batch with other bytes at a place, and with the CRC of what it is then.
fn with(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut changed = BytesMut::from(&batch[..]);
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&changed[21..]);
    changed[17..21].copy_from_slice(&crc.to_be_bytes());
    changed.freeze()
}

fn with_config(topic: &str, name: &str, value: &str) -> CreateTopicsRequest {
    let mut request = create(topic);
    let config = k19_create_topics::CreatableTopicConfig { name: name.into(), value: Some(value.into()) };
    request.topics[0].configs.push(config);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_contradicts_itself_gets_kafkas_error_code() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    wire.call(7, &with_config("c", "cleanup.policy", "compact")).await;
    let good = batch(&["a", "b"], None);
    let idempotent = batch(&["a", "b"], Some((7, 0)));
    let far_future = i64::MAX.to_be_bytes();
    let cases: Vec<(&str, Bytes, ErrorCode)> = vec![
        ("magic 0", with(&good, 16, &[0]), ErrorCode::UnsupportedForMessageFormat),
        ("magic 1", with(&good, 16, &[1]), ErrorCode::UnsupportedForMessageFormat),
        ("magic 3", with(&good, 16, &[3]), ErrorCode::UnsupportedForMessageFormat),
        ("a length beyond the bytes", with(&good, 8, &i32::MAX.to_be_bytes()), ErrorCode::CorruptMessage),
        ("a length of a header's half", with(&good, 8, &20i32.to_be_bytes()), ErrorCode::CorruptMessage),
        ("a negative length", with(&good, 8, &(-1i32).to_be_bytes()), ErrorCode::CorruptMessage),
        ("a last offset delta too large", with(&good, 23, &9i32.to_be_bytes()), ErrorCode::InvalidRecord),
        ("a negative last offset delta", with(&good, 23, &(-1i32).to_be_bytes()), ErrorCode::InvalidRecord),
        ("a count too large", with(&good, 57, &3i32.to_be_bytes()), ErrorCode::InvalidRecord),
        ("a negative count", with(&good, 57, &(-2i32).to_be_bytes()), ErrorCode::InvalidRecord),
        ("a count of two billion", with(&good, 57, &i32::MAX.to_be_bytes()), ErrorCode::InvalidRecord),
        ("no record at all", with(&with(&good, 57, &[0; 4]), 23, &[0xff; 4]), ErrorCode::InvalidRecord),
        ("a control batch", with(&good, 21, &0x20i16.to_be_bytes()), ErrorCode::InvalidRecord),
        (
            "a transaction of nobody",
            with(&good, 21, &0x10i16.to_be_bytes()),
            ErrorCode::TransactionalIdAuthorizationFailed,
        ),
        ("codec 7", with(&good, 21, &7i16.to_be_bytes()), ErrorCode::UnsupportedCompressionType),
        ("a time after the end of time", with(&good, 35, &far_future), ErrorCode::InvalidTimestamp),
        ("a negative sequence", with(&idempotent, 53, &(-5i32).to_be_bytes()), ErrorCode::InvalidRecord),
        ("a negative epoch", with(&idempotent, 51, &(-3i16).to_be_bytes()), ErrorCode::InvalidRecord),
        ("an empty record set", Bytes::new(), ErrorCode::CorruptMessage),
        ("a header alone", good.slice(..61), ErrorCode::CorruptMessage),
        ("bytes behind the batch", Bytes::from([&good[..], b"more"].concat()), ErrorCode::InvalidRecord),
    ];
    for (what, records, expected) in cases {
        assert_eq!(code_of(&mut wire, "t", records).await, expected, "{what}");
    }
    // Every byte that the CRC is over, and the CRC itself.
    for at in 17..good.len() {
        let mut flipped = good.to_vec();
        flipped[at] ^= 0x10;
        let code = code_of(&mut wire, "t", flipped.into()).await;
        let of_nobody = at == 22 && code == ErrorCode::TransactionalIdAuthorizationFailed;
        let damaged = matches!(code, ErrorCode::CorruptMessage | ErrorCode::InvalidRecord);
        assert!(damaged || of_nobody, "byte {at}: {code:?}");
    }
    // Where records are read, lies inside of them are found.
    let keyed = wire::requests::keyed("k", "v");
    for at in 61..keyed.len() {
        for lie in [0x7f, 0x80, 0xff] {
            let _ = code_of(&mut wire, "c", with(&keyed, at, &[lie])).await;
        }
    }
    assert_eq!(code_of(&mut wire, "c", with(&keyed, 61, &[0x7f])).await, ErrorCode::InvalidRecord);
    // An offset of the client's own is not taken for one of ours.
    assert_eq!(code_of(&mut wire, "t", with(&good, 0, &77i64.to_be_bytes())).await, ErrorCode::None);
    assert_eq!(values(&wire.call(12, &fetch("t", 0, 0)).await), ["a", "b"]);
    sing(&mut wire).await;
    broker.shutdown().await.unwrap();
}

/// A batch whose records are so many zeros, compressed.
fn bomb(codec: Compression, zeros: usize) -> Bytes {
    let mut builder = BatchBuilder::default();
    builder.push(1_700_000_000_000, Some(b"k"), Some(b"v"), &[]);
    let small = builder.build(BatchOptions::default());
    let mut packed = BytesMut::new();
    codec.compress(&vec![0; zeros], &mut packed);
    let mut whole = BytesMut::from(&small[..61]);
    whole.extend_from_slice(&packed);
    let length = (whole.len() - 12) as i32;
    whole[8..12].copy_from_slice(&length.to_be_bytes());
    with(&whole.freeze(), 21, &codec.attribute_bits().to_be_bytes())
}

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).map_or(0, |kib: u64| kib / 1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decompression_bomb_is_refused_for_a_bounded_price() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &with_config("compacted", "cleanup.policy", "compact")).await;
    wire.call(7, &with_config("recompressed", "compression.type", "lz4")).await;
    wire.call(7, &with_config("dated", "message.timestamp.before.max.ms", "99999999999999")).await;
    let bombs: Vec<(Compression, Bytes)> =
        [(Compression::Zstd, 600 << 20), (Compression::Gzip, 200 << 20), (Compression::Lz4, 200 << 20)]
            .map(|(codec, zeros)| (codec, bomb(codec, zeros)))
            .into();
    let before = peak_mib();
    for topic in ["compacted", "recompressed", "dated"] {
        for (codec, bomb) in &bombs {
            // One in the topic's own codec is stored as it is.
            if (topic, codec) == ("recompressed", &Compression::Lz4) {
                continue;
            }
            assert!(bomb.len() <= 1 << 20, "{codec:?} {}", bomb.len());
            let code = code_of(&mut wire, topic, bomb.clone()).await;
            assert_eq!(code, ErrorCode::InvalidRecord, "{codec:?} into {topic}");
            sing(&mut wire).await;
        }
    }
    let snappy_lie = [&[0x80, 0x80, 0x80, 0x80, 0x04][..], &[0; 30]].concat();
    let mut lying = BytesMut::from(&bomb(Compression::Snappy, 10)[..61]);
    lying.extend_from_slice(&snappy_lie);
    let length = (lying.len() - 12) as i32;
    lying[8..12].copy_from_slice(&length.to_be_bytes());
    let lying = with(&lying.freeze(), 21, &Compression::Snappy.attribute_bits().to_be_bytes());
    assert_eq!(code_of(&mut wire, "compacted", lying).await, ErrorCode::InvalidRecord);
    // A half-grown buffer and a whole one, on both threads.
    let taken = peak_mib() - before;
    assert!(taken < 600, "{taken} MiB were taken");
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_never_paths() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (broker, mut wire) = broker(&data).await;
    let long = "x".repeat(250);
    let names = [
        "",
        ".",
        "..",
        "../escape",
        "a/b",
        "a/../b",
        "a\0b",
        "a:b",
        "a b",
        "ünïcode",
        "a\n",
        "%2e%2e",
        &long,
    ];
    for name in names {
        let made = wire.call(7, &create(name)).await;
        assert_eq!(
            ErrorCode::from_code(made.topics[0].error_code),
            ErrorCode::InvalidTopicException,
            "{name:?}"
        );
        let asked = MetadataRequest {
            topics: Some(vec![k03_metadata::MetadataRequestTopic {
                name: Some(name.into()),
                ..Default::default()
            }]),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        assert_ne!(wire.call(12, &asked).await.topics[0].error_code, 0, "{name:?}");
        assert_ne!(code_of(&mut wire, name, batch(&["x"], None)).await, ErrorCode::None, "{name:?}");
        let found = wire.call(12, &fetch(name, 0, 0)).await;
        assert_ne!(found.responses[0].partitions[0].error_code, 0, "{name:?}");
        let joined = JoinGroupRequest {
            group_id: name.into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: name.into(),
            ..JoinGroupRequest::default()
        };
        let _ = wire.call(5, &joined).await;
    }
    let outside: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["data"], "nothing is made outside of the data directory");
    let strange = |name: &str| names[2..].contains(&name.trim_end_matches("-0"));
    for entry in std::fs::read_dir(&data).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!strange(&name), "{name}");
    }
    sing(&mut wire).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_ask_for_the_impossible_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    let large = "x".repeat(900_000);
    for _ in 0..4 {
        assert_eq!(code_of(&mut wire, "canary", batch(&[&large], None)).await, ErrorCode::None);
    }
    // All that there is, many thousand times over: the answer has a bound of its own.
    let mut greedy = fetch("canary", 0, 0);
    greedy.max_bytes = i32::MAX;
    greedy.topics[0].partitions = (0..20_000)
        .map(|number| k01_fetch::FetchPartition {
            partition: number % 3,
            fetch_offset: i64::from(number % 5) - 1,
            partition_max_bytes: i32::MAX,
            ..Default::default()
        })
        .collect();
    wire.send(12, 1, &greedy).await;
    let frame = wire.receive_raw().await.expect("an answer");
    assert!(frame.len() < 60 << 20, "{} bytes", frame.len());
    for offset in [i64::MIN, -1, 5, i64::MAX] {
        let response = wire.call(12, &fetch("canary", offset, 0)).await;
        let code = ErrorCode::from_code(response.responses[0].partitions[0].error_code);
        assert_eq!(code, ErrorCode::OffsetOutOfRange, "{offset}");
    }
    for partition in [-1, 1, i32::MIN, i32::MAX] {
        let mut request = fetch("canary", 0, 0);
        request.topics[0].partitions[0].partition = partition;
        let response = wire.call(12, &request).await;
        let code = ErrorCode::from_code(response.responses[0].partitions[0].error_code);
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition, "{partition}");
    }
    for timestamp in [i64::MIN, -7, -100, i64::MAX] {
        let request = ListOffsetsRequest {
            topics: vec![k02_list_offsets::ListOffsetsTopic {
                name: "canary".into(),
                partitions: vec![k02_list_offsets::ListOffsetsPartition { timestamp, ..Default::default() }],
            }],
            ..ListOffsetsRequest::default()
        };
        let _ = wire.call(7, &request).await;
    }
    for count in [0, -2, i32::MIN, 1_000_000, i32::MAX] {
        let mut request = create("many");
        request.topics[0].num_partitions = count;
        request.timeout_ms = 60_000;
        let made = wire.call(7, &request).await;
        assert_ne!(made.topics[0].error_code, 0, "{count} partitions");
    }
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![k08_offset_commit::OffsetCommitRequestTopic {
            name: "unknown".into(),
            partitions: (0..50_000)
                .map(|partition_index| k08_offset_commit::OffsetCommitRequestPartition {
                    partition_index,
                    committed_offset: i64::MAX,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let answered = wire.call(8, &commit).await;
    assert_eq!(answered.topics[0].partitions.len(), 50_000);
    sing(&mut wire).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_half_and_greedy_clients_hold_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    let address = broker.address();
    let versions = wire::frame(18, 0, 5, &[]);
    // Byte by byte it is a request like any other.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in &versions {
        slow.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let length = slow.read_i32().await.unwrap();
    assert!((10..5000).contains(&length));
    // Connections that promise and send nothing more, and ones that are cut in the middle of a frame.
    let mut half = Vec::new();
    for i in 0..200 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let promised = [&(50_000_000i32 + i).to_be_bytes()[..], &[0; 7]].concat();
        stream.write_all(&promised[..1 + i as usize % promised.len()]).await.unwrap();
        match i % 2 {
            0 => half.push(stream),
            _ => stream.set_zero_linger().unwrap(),
        }
    }
    sing(&mut wire).await;
    // Ten thousand requests from one that reads nothing: it waits in its socket, the others do not.
    let mut greedy = TcpStream::connect(address).await.unwrap();
    let flood = versions.repeat(10_000);
    let (mut receiving, mut sending) = greedy.split();
    let mut sent = 0;
    while let Ok(Ok(more)) =
        tokio::time::timeout(Duration::from_millis(200), sending.write(&flood[sent..])).await
        && more > 0
    {
        sent += more;
    }
    sing(&mut wire).await;
    // When it reads at last it gets every answer to what it sent.
    let whole = sent / versions.len();
    let mut answers = 0;
    while answers < whole {
        let length = receiving.read_i32().await.unwrap();
        let mut answer = vec![0; length as usize];
        receiving.read_exact(&mut answer).await.unwrap();
        answers += 1;
    }
    drop(half);
    sing(&mut wire).await;
    broker.shutdown().await.unwrap();
}
