//! What broke clients of other brokers, and must not break them here. What is not below has its test elsewhere:
//!
//! | pitfall | tests |
//! |---|---|
//! | versions advertised from 0 | here; `server.rs`: `every_served_version_is_answered_and_no_other` |
//! | topic ids stay; a topic made again is another | here; `storage.rs`: `a_topic_made_again_…` |
//! | whole batches, a first batch beyond the bounds, last stable offset | here |
//! | leader epochs agree; unknown ones | here |
//! | special timestamps, search by time | here; `versions.rs` at every version |
//! | members: id round trip, fencing, assignments | `src/groups/tests/{join,static_members,sync,leave}.rs` |
//! | commits with metadata and epochs | `src/coordinator/tests/api.rs`: `every_version_commits_and_fetches` |
//! | configs with default, type, source, synonyms | `settings.rs` |
//! | lists of configs grow and shrink | `admin.rs`: `configs_change_while_the_broker_runs_and_outlive_it` |
//! | topics made on first use | `server.rs`: `a_topic_is_made_on_first_use_unless_the_client_says_no` |
//! | an IPv4 address, no answer to acks=0, blamed records | here |
//! | configs that act: sizes, codecs, times, replicas | here; retention and segments in `admin.rs` |
//! | order of answers | `server.rs`: `pipelined_requests_are_answered_in_order_and_appended_in_order` |

mod wire;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::messages::*;
use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches, Compression};
use ottla_protocol::wire::Uuid;
use ottla_protocol::{ApiKey, ErrorCode};
use wire::Wire;
use wire::requests::{batch, create, fetch, keyed, produce, values};

struct Served {
    broker: Broker,
    wire: Wire,
    dir: tempfile::TempDir,
}

async fn broker() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.expect("the broker starts");
    let wire = Wire::connect(broker.address()).await;
    Served { broker, wire, dir }
}

impl Served {
    /// Makes a topic of one partition; gives its id.
    async fn topic(&mut self, name: &str, configs: &[(&str, &str)]) -> Uuid {
        let mut request = create(name);
        request.topics[0].configs = configs
            .iter()
            .map(|(name, value)| k19_create_topics::CreatableTopicConfig {
                name: (*name).into(),
                value: Some((*value).into()),
            })
            .collect();
        let made = self.wire.call(7, &request).await;
        assert_eq!(made.topics[0].error_code, 0, "{:?}", made.topics[0].error_message);
        made.topics[0].topic_id
    }

    async fn produce(
        &mut self,
        version: i16,
        topic: &str,
        records: Bytes,
    ) -> k00_produce::PartitionProduceResponse {
        self.produce_with_acks(version, topic, records, -1).await
    }

    async fn produce_with_acks(
        &mut self,
        version: i16,
        topic: &str,
        records: Bytes,
        acks: i16,
    ) -> k00_produce::PartitionProduceResponse {
        let response = self.wire.call(version, &produce(topic, records, acks)).await;
        assert_eq!(response.throttle_time_ms, 0);
        response.responses[0].partition_responses[0].clone()
    }

    async fn delete(&mut self, topic: &str) {
        let request =
            DeleteTopicsRequest { topic_names: vec![topic.into()], timeout_ms: 5000, ..Default::default() };
        assert_eq!(self.wire.call(5, &request).await.responses[0].error_code, 0);
    }

    async fn offset_at(&mut self, version: i16, topic: &str, timestamp: i64) -> (i64, i64, i32) {
        let partition = k02_list_offsets::ListOffsetsPartition { timestamp, ..Default::default() };
        self.ask_offset(version, topic, partition).await.expect("there is an answer")
    }

    async fn ask_offset(
        &mut self,
        version: i16,
        topic: &str,
        partition: k02_list_offsets::ListOffsetsPartition,
    ) -> Result<(i64, i64, i32), ErrorCode> {
        let topics =
            vec![k02_list_offsets::ListOffsetsTopic { name: topic.into(), partitions: vec![partition] }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        let answer = self.wire.call(version, &request).await.topics[0].partitions[0].clone();
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => Ok((answer.offset, answer.timestamp, answer.leader_epoch)),
            code => Err(code),
        }
    }

    async fn metadata(&mut self, topic: &str) -> MetadataResponse {
        let topic = k03_metadata::MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        self.wire.call(12, &MetadataRequest { topics: Some(vec![topic]), ..Default::default() }).await
    }

    async fn end(self) {
        self.broker.shutdown().await.unwrap();
        drop(self.dir);
    }
}

fn partition(response: &FetchResponse) -> &k01_fetch::PartitionData {
    &response.responses[0].partitions[0]
}

fn code(response: &FetchResponse) -> ErrorCode {
    ErrorCode::from_code(partition(response).error_code)
}

fn batches(response: &FetchResponse) -> Vec<ottla_protocol::records::Batch> {
    let records = partition(response).records.clone().unwrap_or_default();
    Batches::new(records.into_bytes()).map(Result::unwrap).collect()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn at(timestamps_ms: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::default();
    for timestamp_ms in timestamps_ms {
        builder.push(*timestamp_ms, None, Some(b"x"), &[]);
    }
    builder.build(BatchOptions::default())
}

fn compressed(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::default();
    for _ in 0..100 {
        builder.push(1_700_000_000_000, None, Some(b"the same again and again"), &[]);
    }
    builder.build(BatchOptions { compression, ..BatchOptions::default() })
}

/// Old librdkafka turns compression off where Produce 0 is missing (KAFKA-18659), and old clients with Kerberos need
/// JoinGroup 0 (KAFKA-19444).
#[tokio::test(flavor = "multi_thread")]
async fn produce_and_join_group_are_advertised_from_version_0() {
    let mut served = broker().await;
    let versions = served.wire.call(0, &ApiVersionsRequest::default()).await;
    for key in [ApiKey::Produce, ApiKey::JoinGroup] {
        let found = versions.api_keys.iter().find(|api| api.api_key == key.code());
        assert_eq!(found.unwrap().min_version, 0, "{}", key.name());
    }
    served.end().await;
}

/// A client that does not know the newest version reads the answer in version 0, and finds there what it may ask for.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_versions_answer_has_the_oldest_header_and_lists_itself_when_refused() {
    let mut served = broker().await;
    let request =
        ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() };
    served.wire.send(3, 5, &request).await;
    let flexible = served.wire.receive_raw().await.unwrap();
    assert_eq!(&flexible[..4], 5i32.to_be_bytes());
    assert_eq!(&flexible[4..6], [0, 0], "the error code follows at once: no tags in the header");
    served.wire.send_raw(&wire::frame(ApiKey::ApiVersions.code(), 77, 6, &[0])).await;
    let refused = served.wire.receive_raw().await.unwrap();
    assert_eq!(&refused[4..6], ErrorCode::UnsupportedVersion.code().to_be_bytes());
    let count = i32::from_be_bytes(refused[6..10].try_into().unwrap()) as usize;
    assert_eq!(refused.len(), 10 + 6 * count, "version 0 ends with the list");
    let own = refused[10..].chunks(6).find(|api| api[..2] == ApiKey::ApiVersions.code().to_be_bytes());
    assert_eq!(own.unwrap()[2..], [0, 0, 0, 4]);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_is_refused_to_clients_that_cannot_know_it() {
    let mut served = broker().await;
    served.topic("plain", &[]).await;
    served.topic("zstd", &[("compression.type", "zstd")]).await;
    let old = served.produce(6, "plain", compressed(Compression::Zstd)).await;
    assert_eq!(ErrorCode::from_code(old.error_code), ErrorCode::UnsupportedCompressionType);
    assert_eq!(served.produce(7, "plain", compressed(Compression::Zstd)).await.error_code, 0);
    assert_eq!(served.produce(7, "zstd", compressed(Compression::None)).await.error_code, 0);
    assert_eq!(code(&served.wire.call(9, &fetch("zstd", 0, 0)).await), ErrorCode::UnsupportedCompressionType);
    assert_eq!(values(&served.wire.call(10, &fetch("zstd", 0, 0)).await).len(), 100);
    served.end().await;
}

/// Clients ask by id and loop where the id is zero or changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_keeps_its_id_and_one_made_again_is_unknown_by_the_old_one() {
    let mut served = broker().await;
    let first = served.topic("t", &[]).await;
    assert!(!first.is_nil());
    for _ in 0..2 {
        assert_eq!(served.metadata("t").await.topics[0].topic_id, first);
    }
    served.delete("t").await;
    let second = served.topic("t", &[]).await;
    assert_ne!(first, second);
    let mut by_id = fetch("t", 0, 0);
    by_id.topics[0].topic_id = first;
    assert_eq!(code(&served.wire.call(13, &by_id).await), ErrorCode::UnknownTopicId);
    by_id.topics[0].topic_id = second;
    assert_eq!(code(&served.wire.call(13, &by_id).await), ErrorCode::None);
    let mut by_id = produce("t", batch(&["x"], None), -1);
    by_id.topic_data[0].topic_id = first;
    let refused = served.wire.call(13, &by_id).await;
    let answer = &refused.responses[0];
    assert_eq!(answer.topic_id, first);
    assert_eq!(
        ErrorCode::from_code(answer.partition_responses[0].error_code),
        ErrorCode::UnknownTopicId,
        "not NOT_LEADER, after which clients look for the leader for ever"
    );
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_inside_a_batch_gives_the_whole_batch() {
    let mut served = broker().await;
    served.topic("t", &[]).await;
    served.produce(9, "t", batch(&["a", "b", "c"], None)).await;
    served.produce(9, "t", batch(&["d", "e"], None)).await;
    let answer = served.wire.call(12, &fetch("t", 1, 0)).await;
    assert_eq!(values(&answer), ["a", "b", "c", "d", "e"]);
    let answer = served.wire.call(12, &fetch("t", 4, 0)).await;
    assert_eq!(values(&answer), ["d", "e"]);
    let end = partition(&answer).clone();
    assert_eq!((end.high_watermark, end.last_stable_offset, end.log_start_offset), (5, 5, 0));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_batch_comes_even_when_it_is_larger_than_the_reader_asked_for() {
    let mut served = broker().await;
    served.topic("t", &[]).await;
    let large = "x".repeat(10_000);
    served.produce(9, "t", batch(&[&large], None)).await;
    served.produce(9, "t", batch(&["small"], None)).await;
    let mut request = fetch("t", 0, 0);
    (request.max_bytes, request.topics[0].partitions[0].partition_max_bytes) = (1, 1);
    assert_eq!(values(&served.wire.call(12, &request).await), [large]);
    request.topics[0].partitions[0].fetch_offset = 1;
    assert_eq!(values(&served.wire.call(12, &request).await), ["small"]);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_committed_without_transactions_reads_all_and_lists_none_as_aborted() {
    let mut served = broker().await;
    served.topic("t", &[]).await;
    served.produce(9, "t", batch(&["a"], None)).await;
    let request = FetchRequest { isolation_level: 1, ..fetch("t", 0, 0) };
    let answer = served.wire.call(12, &request).await;
    assert_eq!(values(&answer), ["a"]);
    assert!(partition(&answer).aborted_transactions.as_ref().is_some_and(Vec::is_empty));
    served.end().await;
}

/// A consumer compares the epochs of all of these; one that differs makes it think that its records are lost.
#[tokio::test(flavor = "multi_thread")]
async fn leader_epochs_agree_wherever_they_are_told() {
    let mut served = broker().await;
    served.topic("t", &[]).await;
    served.produce(9, "t", batch(&["a", "b"], None)).await;
    let epoch = served.metadata("t").await.topics[0].partitions[0].leader_epoch;
    assert!(epoch >= 0);
    assert_eq!(served.offset_at(4, "t", -1).await, (2, -1, epoch));
    assert_eq!(served.offset_at(4, "t", 0).await, (0, 1_700_000_000_000, epoch));
    let read = served.wire.call(12, &fetch("t", 0, 0)).await;
    assert_eq!(batches(&read)[0].header.leader_epoch, epoch);
    assert_eq!(served.end_of_epoch(-1, epoch).await, Ok((epoch, 2)));
    assert_eq!(served.end_of_epoch(epoch, epoch + 7).await, Ok((-1, -1)), "an epoch that never was");
    // Who claims to know a later leader waits for it; all three say the same.
    let newer = epoch + 1;
    assert_eq!(served.end_of_epoch(newer, epoch).await, Err(ErrorCode::UnknownLeaderEpoch));
    let asked = k02_list_offsets::ListOffsetsPartition {
        current_leader_epoch: newer,
        timestamp: -1,
        ..Default::default()
    };
    assert_eq!(served.ask_offset(4, "t", asked).await, Err(ErrorCode::UnknownLeaderEpoch));
    let mut request = fetch("t", 0, 0);
    request.topics[0].partitions[0].current_leader_epoch = newer;
    assert_eq!(code(&served.wire.call(12, &request).await), ErrorCode::UnknownLeaderEpoch);
    served.end().await;
}

impl Served {
    async fn end_of_epoch(&mut self, claimed: i32, epoch: i32) -> Result<(i32, i64), ErrorCode> {
        let partition = k23_offset_for_leader_epoch::OffsetForLeaderPartition {
            current_leader_epoch: claimed,
            leader_epoch: epoch,
            ..Default::default()
        };
        let topic = k23_offset_for_leader_epoch::OffsetForLeaderTopic {
            topic: "t".into(),
            partitions: vec![partition],
        };
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] };
        let answer = self.wire.call(4, &request).await.topics[0].partitions[0].clone();
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => Ok((answer.leader_epoch, answer.end_offset)),
            code => Err(code),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_special_timestamp_and_every_time_finds_its_offset() {
    let mut served = broker().await;
    served.topic("t", &[]).await;
    let t = 1_700_000_000_000;
    // The newest time is not in the last record.
    served.produce(9, "t", at(&[t, t + 10])).await;
    served.produce(9, "t", at(&[t + 30, t + 20])).await;
    served.produce(9, "t", at(&[t + 25])).await;
    for (version, timestamp, offset, found_ms) in [
        (1, -1, 5, -1),
        (1, -2, 0, -1),
        (7, -3, 2, t + 30),
        (8, -4, 0, -1),
        (9, -5, -1, -1),
        (11, -6, -1, -1),
        (1, 0, 0, t),
        (1, t, 0, t),
        (1, t + 1, 1, t + 10),
        (1, t + 10, 1, t + 10),
        (1, t + 11, 2, t + 30),
        (1, t + 30, 2, t + 30),
        (1, t + 31, -1, -1),
    ] {
        let (at, time, _) = served.offset_at(version, "t", timestamp).await;
        assert_eq!((at, time), (offset, found_ms), "timestamp {timestamp}");
    }
    served.topic("empty", &[]).await;
    for timestamp in [-3, t] {
        assert_eq!(served.offset_at(7, "empty", timestamp).await.0, -1, "timestamp {timestamp}");
    }
    served.end().await;
}

/// librdkafka tries ::1 first for a name like localhost.
#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_an_ipv4_address() {
    let mut served = broker().await;
    let metadata = served.metadata("t").await;
    assert!(metadata.brokers[0].host.parse::<std::net::Ipv4Addr>().is_ok(), "{}", metadata.brokers[0].host);
    assert_eq!(metadata.throttle_time_ms, 0);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_produce_without_acks_is_never_answered_even_when_it_is_refused() {
    let mut served = broker().await;
    served.topic("t", &[]).await;
    served.wire.send(9, 1, &produce("t", batch(&["x"], None), 0)).await;
    served.wire.send(9, 2, &produce("unknown", batch(&["x"], None), 0)).await;
    served.wire.send(12, 3, &fetch("t", 0, 10_000)).await;
    let (correlation_id, answer) = served.wire.receive::<FetchRequest>(12).await;
    assert_eq!((correlation_id, values(&answer)), (3, vec!["x".to_owned()]));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_key_are_blamed_one_by_one_in_a_compacted_topic() {
    let mut served = broker().await;
    served.topic("t", &[("cleanup.policy", "compact")]).await;
    let mut builder = BatchBuilder::default();
    for key in [Some(&b"k"[..]), None, Some(b"l"), None] {
        builder.push(1, key, Some(b"v"), &[]);
    }
    let refused = served.produce(9, "t", builder.build(BatchOptions::default())).await;
    assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::InvalidRecord);
    let blamed: Vec<i32> = refused.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!(blamed, [1, 3]);
    assert!(refused.error_message.is_some_and(|message| message.contains("without a key")));
    assert_eq!(served.produce(9, "t", keyed("k", "v")).await.error_code, 0);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_max_message_bytes_is_too_large_and_one_as_large_is_not() {
    let mut served = broker().await;
    let records = batch(&["exactly"], None);
    let fits = records.len().to_string();
    served.topic("fits", &[("max.message.bytes", &fits)]).await;
    assert_eq!(served.produce(9, "fits", records.clone()).await.error_code, 0);
    let small = (records.len() - 1).to_string();
    served.topic("small", &[("max.message.bytes", &small)]).await;
    let refused = served.produce(9, "small", records).await;
    assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::MessageTooLarge);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn min_insync_replicas_refuses_acks_all_and_nothing_else() {
    let mut served = broker().await;
    served.topic("t", &[("min.insync.replicas", "2")]).await;
    let refused = served.produce(9, "t", batch(&["x"], None)).await;
    assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::NotEnoughReplicas);
    assert_eq!(served.produce_with_acks(9, "t", batch(&["y"], None), 1).await.error_code, 0);
    assert_eq!(values(&served.wire.call(12, &fetch("t", 0, 1000)).await), ["y"]);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_type_is_how_batches_are_stored_whatever_the_producer_sent() {
    let mut served = broker().await;
    for (wanted, stored) in [
        ("producer", Compression::Lz4),
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        served.topic(wanted, &[("compression.type", wanted)]).await;
        assert_eq!(served.produce(9, wanted, compressed(Compression::Lz4)).await.error_code, 0);
        let answer = served.wire.call(12, &fetch(wanted, 0, 0)).await;
        assert_eq!(batches(&answer)[0].header.compression(), Ok(stored), "{wanted}");
        assert_eq!(values(&answer).len(), 100, "{wanted}");
    }
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_are_the_brokers_or_within_what_the_topic_allows() {
    let mut served = broker().await;
    served.topic("append", &[("message.timestamp.type", "LogAppendTime")]).await;
    let before = now_ms();
    let answer = served.produce(9, "append", at(&[5, 7])).await;
    assert!((before..=now_ms()).contains(&answer.log_append_time_ms), "{}", answer.log_append_time_ms);
    let read = served.wire.call(12, &fetch("append", 0, 0)).await;
    let records = batches(&read)[0].records(1 << 20).unwrap();
    let times: Vec<i64> = records.map(|record| record.unwrap().timestamp_ms).collect();
    assert_eq!(times, [answer.log_append_time_ms; 2]);
    let bounds = [("message.timestamp.before.max.ms", "60000"), ("message.timestamp.after.max.ms", "60000")];
    served.topic("bounded", &bounds).await;
    let now = now_ms();
    for (timestamps, expected) in [
        (vec![now], ErrorCode::None),
        (vec![now - 50_000, now + 50_000], ErrorCode::None),
        (vec![now, now - 120_000], ErrorCode::InvalidTimestamp),
        (vec![now, now + 120_000], ErrorCode::InvalidTimestamp),
    ] {
        let answer = served.produce(9, "bounded", at(&timestamps)).await;
        assert_eq!(ErrorCode::from_code(answer.error_code), expected, "{timestamps:?}");
        assert_eq!(answer.log_append_time_ms, -1);
    }
    served.end().await;
}
