//! The server over real sockets: what clients of every age see, and what hostile ones cannot do.

mod wire;

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use ottla_broker::server::SERVED;
use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::messages::*;
use ottla_protocol::{ApiKey, ErrorCode};
use wire::Wire;
use wire::requests::{batch, create, fetch, produce, values};

async fn broker(dir: &std::path::Path) -> Broker {
    Broker::start(BrokerConfig::new(dir)).await.expect("the broker starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_produced_is_fetched_at_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let mut wire = Wire::connect(broker.address()).await;
    let created = wire.call(7, &create("t")).await;
    let topic_id = created.topics[0].topic_id;
    let mut expected = Vec::new();
    for version in 3..=13 {
        let mut request = produce("t", batch(&["a", "b"], None), -1);
        request.topic_data[0].topic_id = topic_id;
        let response = wire.call(version, &request).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, expected.len() as i64), "version {version}");
        expected.extend(["a".to_owned(), "b".to_owned()]);
    }
    for version in 4..=18 {
        let mut request = fetch("t", 0, 0);
        request.topics[0].topic_id = topic_id;
        let response = wire.call(version, &request).await;
        assert_eq!(values(&response), expected, "version {version}");
        assert_eq!(response.responses[0].partitions[0].high_watermark, expected.len() as i64);
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_served_version_is_answered_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let mut wire = Wire::connect(broker.address()).await;
    let advertised = wire.call(3, &client_versions()).await;
    assert_eq!(advertised.api_keys.len(), SERVED.len());
    for version in 0..=4 {
        let response = wire.call(version, &client_versions()).await;
        assert_eq!(response.error_code, 0, "version {version}");
    }
    for version in 0..=13 {
        let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
        assert_eq!(wire.call(version, &request).await.brokers.len(), 1, "version {version}");
    }
    for version in 1..=11 {
        let response = wire.call(version, &ListOffsetsRequest { replica_id: -1, ..Default::default() }).await;
        assert!(response.topics.is_empty(), "version {version}");
    }
    // Produce 0 to 2 are advertised for old clients' sake and refused like any version that is not served.
    let mut old = Wire::connect(broker.address()).await;
    old.send_raw(&wire::frame(ApiKey::Produce.code(), 2, 9, &[0; 8])).await;
    assert_eq!(old.receive_raw().await, None);
    broker.shutdown().await.unwrap();
}

fn client_versions() -> ApiVersionsRequest {
    ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1.0".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_versions_request_from_the_future_is_answered_in_version_0() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let mut wire = Wire::connect(broker.address()).await;
    wire.send_raw(&wire::frame(ApiKey::ApiVersions.code(), 99, 77, &[0, 1, 2, 3])).await;
    let response = wire.receive_raw().await.expect("an answer");
    assert_eq!(&response[..4], 77i32.to_be_bytes());
    assert_eq!(&response[4..6], ErrorCode::UnsupportedVersion.code().to_be_bytes());
    // The connection goes on.
    assert_eq!(wire.call(0, &client_versions()).await.error_code, 0);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_and_appended_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let mut wire = Wire::connect(broker.address()).await;
    wire.call(7, &create("t")).await;
    let count = 40;
    for i in 0..count {
        wire.send(9, 1000 + i, &produce("t", batch(&[&i.to_string()], None), -1)).await;
    }
    for i in 0..count {
        let (correlation_id, response) = wire.receive::<ProduceRequest>(9).await;
        assert_eq!(correlation_id, 1000 + i);
        assert_eq!(response.responses[0].partition_responses[0].base_offset, i64::from(i));
    }
    let all: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    assert_eq!(values(&wire.call(12, &fetch("t", 0, 0)).await), all);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_answered_with_its_first_offset_and_a_gap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let mut wire = Wire::connect(broker.address()).await;
    wire.call(7, &create("t")).await;
    let init = wire.call(4, &InitProducerIdRequest::default()).await;
    assert_eq!(init.error_code, 0);
    let mut offsets = Vec::new();
    for sequence in [0, 2, 0, 2, 9] {
        let records = batch(&["x", "y"], Some((init.producer_id, sequence)));
        let response = wire.call(9, &produce("t", records, -1)).await;
        let answer = &response.responses[0].partition_responses[0];
        offsets.push((ErrorCode::from_code(answer.error_code), answer.base_offset));
    }
    let none = ErrorCode::None;
    assert_eq!(
        offsets,
        [(none, 0), (none, 2), (none, 0), (none, 2), (ErrorCode::OutOfOrderSequenceNumber, -1)]
    );
    let second = wire.call(4, &InitProducerIdRequest::default()).await;
    assert_ne!(second.producer_id, init.producer_id);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_wakes_when_records_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let mut reader = Wire::connect(broker.address()).await;
    let mut writer = Wire::connect(broker.address()).await;
    writer.call(7, &create("t")).await;
    reader.send(12, 1, &fetch("t", 0, 30_000)).await;
    writer.call(9, &produce("t", batch(&["now"], None), 1)).await;
    let (_, response) = tokio::time::timeout(Duration::from_secs(10), reader.receive::<FetchRequest>(12))
        .await
        .expect("the poll ends long before its time");
    assert_eq!(values(&response), ["now"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_records_outlive_a_restart_and_a_deleted_topic_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = broker(dir.path()).await;
    let mut wire = Wire::connect(first.address()).await;
    for topic in ["kept", "gone"] {
        wire.call(7, &create(topic)).await;
        wire.call(9, &produce(topic, batch(&[topic], None), -1)).await;
    }
    let delete = DeleteTopicsRequest {
        topics: vec![k20_delete_topics::DeleteTopicState { name: Some("gone".into()), ..Default::default() }],
        timeout_ms: 5000,
        ..DeleteTopicsRequest::default()
    };
    assert_eq!(wire.call(6, &delete).await.responses[0].error_code, 0);
    first.shutdown().await.unwrap();
    let second = broker(dir.path()).await;
    let mut wire = Wire::connect(second.address()).await;
    assert_eq!(values(&wire.call(12, &fetch("kept", 0, 0)).await), ["kept"]);
    let response = wire.call(12, &fetch("gone", 0, 0)).await;
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    assert!(!dir.path().join("gone-0").exists());
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_on_first_use_unless_the_client_says_no() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let mut wire = Wire::connect(broker.address()).await;
    let ask = |name: &str, allow_auto_topic_creation| MetadataRequest {
        topics: Some(vec![k03_metadata::MetadataRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        }]),
        allow_auto_topic_creation,
        ..MetadataRequest::default()
    };
    let refused = wire.call(12, &ask("new", false)).await;
    assert_eq!(refused.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let made = wire.call(12, &ask("new", true)).await;
    assert_eq!((made.topics[0].error_code, made.topics[0].partitions.len()), (0, 1));
    let again = wire.call(12, &ask("new", false)).await;
    assert_eq!(again.topics[0].topic_id, made.topics[0].topic_id);
    assert!(!again.topics[0].topic_id.is_nil());
    let invalid = wire.call(12, &ask("no/such", true)).await;
    assert_eq!(invalid.topics[0].error_code, ErrorCode::InvalidTopicException.code());
    broker.shutdown().await.unwrap();
}

/// Garbage, lying lengths and half frames cost their own connection and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_client_costs_its_own_connection_only() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let address = broker.address();
    let mut good = Wire::connect(address).await;
    good.call(7, &create("t")).await;
    let hostile: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00],
        (-1i32).to_be_bytes().to_vec(),
        i32::MAX.to_be_bytes().to_vec(),
        0i32.to_be_bytes().to_vec(),
        [&100i32.to_be_bytes()[..], &[0; 10]].concat(),
        wire::frame(999, 0, 1, &[]),
        wire::frame(ApiKey::Metadata.code(), 99, 1, &[]),
        wire::frame(ApiKey::Metadata.code(), 1, 1, &i32::MAX.to_be_bytes()),
        wire::frame(ApiKey::Fetch.code(), 12, 1, &[0xff; 40]),
        vec![0xff; 1000],
    ];
    for bytes in hostile {
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            // A reset is as good an end as a clean one.
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        let answer = answer.await.unwrap();
        assert!(answer.len() < 1000, "a hostile client gets no long answer");
        let response = good.call(9, &produce("t", batch(&["still here"], None), -1)).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_batches_and_clients_in_internal_topics_are_refused_by_their_code() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let mut wire = Wire::connect(broker.address()).await;
    wire.call(7, &create("t")).await;
    let good = batch(&["x"], None);
    let mut bad_crc = good.to_vec();
    *bad_crc.last_mut().unwrap() ^= 1;
    let mut old_magic = good.to_vec();
    old_magic[16] = 1;
    for (topic, records, code) in [
        ("t", Bytes::from(bad_crc), ErrorCode::CorruptMessage),
        ("t", Bytes::from(old_magic), ErrorCode::UnsupportedForMessageFormat),
        ("t", Bytes::from([&good[..], &good[..]].concat()), ErrorCode::InvalidRecord),
        ("t", good.slice(..40), ErrorCode::CorruptMessage),
        ("t", batch(&[&"x".repeat(2 << 20)], None), ErrorCode::MessageTooLarge),
        ("__consumer_offsets", good.clone(), ErrorCode::InvalidTopicException),
        ("unknown", good.clone(), ErrorCode::UnknownTopicOrPartition),
    ] {
        let response = wire.call(9, &produce(topic, records, -1)).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(ErrorCode::from_code(answer.error_code), code);
    }
    let empty = wire.call(12, &fetch("t", 0, 0)).await;
    assert!(values(&empty).is_empty());
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_serves_one_broker_and_one_node() {
    let dir = tempfile::tempdir().unwrap();
    let first = broker(dir.path()).await;
    let second = Broker::start(BrokerConfig::new(dir.path())).await;
    assert!(second.err().expect("it is locked").to_string().contains("in use"));
    let taken = BrokerConfig { listen: first.address(), ..BrokerConfig::new(dir.path().join("other")) };
    let error = Broker::start(taken).await.err().expect("the port is taken").to_string();
    assert!(error.contains("--listen"), "{error}");
    first.shutdown().await.unwrap();
    let other_node = BrokerConfig { node_id: ottla_broker::ids::NodeId(2), ..BrokerConfig::new(dir.path()) };
    let error = Broker::start(other_node).await.err().expect("it belongs to node 1").to_string();
    assert!(error.contains("belongs to node 1"), "{error}");
}
