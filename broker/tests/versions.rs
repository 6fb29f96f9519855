//! Every API of topics and records, at every version that is advertised: answers and refusals fit the version.

mod wire;

use bytes::Bytes;
use ottla_broker::server::SERVED;
use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::messages::*;
use ottla_protocol::wire::Request;
use ottla_protocol::{ApiKey, ErrorCode};
use wire::Wire;
use wire::requests::{batch, create, fetch, produce};

fn versions<R: Request>() -> std::ops::RangeInclusive<i16> {
    let served = SERVED.iter().find(|served| served.key == R::API_KEY).expect("it is served");
    // Produce 0 to 2 are advertised and refused.
    let first = if R::API_KEY == ApiKey::Produce { 3 } else { served.versions.0 };
    first..=served.versions.1
}

/// A broker with a topic `t`, and a connection to it.
async fn with_topic(dir: &std::path::Path) -> (Broker, Wire, CreateTopicsResponse) {
    let broker = Broker::start(BrokerConfig::new(dir)).await.expect("the broker starts");
    let mut wire = Wire::connect(broker.address()).await;
    let created = wire.call(7, &create("t")).await;
    (broker, wire, created)
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_grown_described_and_deleted_at_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire, _) = with_topic(dir.path()).await;
    for version in versions::<CreateTopicsRequest>() {
        let made = wire.call(version, &create(&format!("made-{version}"))).await;
        assert_eq!(made.topics[0].error_code, 0, "version {version}");
        let refused = wire.call(version, &create("t")).await;
        assert_eq!(refused.topics[0].error_code, ErrorCode::TopicAlreadyExists.code(), "version {version}");
    }
    for (count, version) in (2..).zip(versions::<CreatePartitionsRequest>()) {
        let topic = |name: &str| k37_create_partitions::CreatePartitionsTopic {
            name: name.into(),
            count,
            ..Default::default()
        };
        let topics = vec![topic("t"), topic("unknown")];
        let grown = wire
            .call(version, &CreatePartitionsRequest { topics, timeout_ms: 5000, validate_only: false })
            .await;
        let codes: Vec<i16> = grown.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()], "version {version}");
    }
    for version in versions::<DescribeConfigsRequest>() {
        let resource = |resource_type, name: &str| k32_describe_configs::DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource(2, "t"), resource(4, "1"), resource(2, "unknown")],
            include_synonyms: true,
            ..DescribeConfigsRequest::default()
        };
        let response = wire.call(version, &request).await;
        assert!(response.results[0].configs.len() > 20 && response.results[1].configs.len() > 5);
        assert_eq!(response.results[2].error_code, ErrorCode::UnknownTopicOrPartition.code());
    }
    for version in versions::<MetadataRequest>() {
        let topic =
            |name: &str| k03_metadata::MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
        let topics = Some(vec![topic("t"), topic("no/such")]);
        let response = wire.call(version, &MetadataRequest { topics, ..Default::default() }).await;
        let codes: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::InvalidTopicException.code()], "version {version}");
        assert_eq!(response.topics[0].partitions.len(), 5);
    }
    for version in versions::<DescribeClusterRequest>() {
        let request = DescribeClusterRequest { endpoint_type: 1, ..Default::default() };
        assert_eq!(wire.call(version, &request).await.brokers.len(), 1, "version {version}");
    }
    for version in versions::<DeleteTopicsRequest>() {
        let names = [format!("made-{}", version + 1), "unknown".to_owned()];
        let request = match version {
            ..6 => DeleteTopicsRequest {
                topic_names: names.iter().map(|name| name.as_str().into()).collect(),
                ..Default::default()
            },
            _ => DeleteTopicsRequest {
                topics: names
                    .iter()
                    .map(|name| k20_delete_topics::DeleteTopicState {
                        name: Some(name.as_str().into()),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            },
        };
        let deleted = wire.call(version, &request).await;
        let codes: Vec<i16> = deleted.responses.iter().map(|response| response.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()], "version {version}");
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_refused_and_looked_up_at_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire, created) = with_topic(dir.path()).await;
    let topic_id = created.topics[0].topic_id;
    wire.call(9, &produce("t", batch(&["a", "b"], None), -1)).await;
    for version in versions::<ProduceRequest>() {
        let mut request = produce("t", Bytes::from_static(b"nonsense"), -1);
        request.topic_data[0].topic_id = topic_id;
        let response = wire.call(version, &request).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, ErrorCode::CorruptMessage.code(), "version {version}");
    }
    for version in versions::<FetchRequest>() {
        let mut request = fetch("t", 99, 0);
        request.topics[0].topic_id = topic_id;
        request.isolation_level = 1;
        let mut unknown = request.topics[0].clone();
        unknown.topic = "unknown".into();
        unknown.topic_id = ottla_protocol::wire::Uuid::from_u128(7);
        request.topics.push(unknown);
        let response = wire.call(version, &request).await;
        let codes: Vec<_> = response
            .responses
            .iter()
            .map(|topic| ErrorCode::from_code(topic.partitions[0].error_code))
            .collect();
        let unknown =
            if version < 13 { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::UnknownTopicId };
        assert_eq!(codes, [ErrorCode::OffsetOutOfRange, unknown], "version {version}");
    }
    for version in versions::<ListOffsetsRequest>() {
        let topic = |name: &str, timestamp| k02_list_offsets::ListOffsetsTopic {
            name: name.into(),
            partitions: vec![k02_list_offsets::ListOffsetsPartition { timestamp, ..Default::default() }],
        };
        let topics = vec![topic("t", -1), topic("t", -2), topic("t", 5), topic("unknown", -1)];
        let response =
            wire.call(version, &ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }).await;
        let answers: Vec<(i16, i64)> = response
            .topics
            .iter()
            .map(|topic| (topic.partitions[0].error_code, topic.partitions[0].offset))
            .collect();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(answers, [(0, 2), (0, 0), (0, 0), (unknown, -1)], "version {version}");
    }
    for version in versions::<OffsetForLeaderEpochRequest>() {
        let topic = |name: &str| k23_offset_for_leader_epoch::OffsetForLeaderTopic {
            topic: name.into(),
            partitions: vec![k23_offset_for_leader_epoch::OffsetForLeaderPartition {
                current_leader_epoch: -1,
                leader_epoch: 0,
                ..Default::default()
            }],
        };
        let request =
            OffsetForLeaderEpochRequest { topics: vec![topic("t"), topic("unknown")], ..Default::default() };
        let response = wire.call(version, &request).await;
        assert_eq!(response.topics[0].partitions[0].end_offset, 2, "version {version}");
        let code = response.topics[1].partitions[0].error_code;
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition.code(), "version {version}");
    }
    for version in versions::<InitProducerIdRequest>() {
        let response = wire.call(version, &InitProducerIdRequest::default()).await;
        assert_eq!(response.error_code, 0, "version {version}");
        let transactional_id = Some("tx".into());
        let request = InitProducerIdRequest { transactional_id, ..Default::default() };
        let refused = wire.call(version, &request).await;
        assert_ne!(refused.error_code, 0, "version {version}");
    }
    for version in versions::<FindCoordinatorRequest>() {
        for (key_type, is_served) in [(0, true), (1, true), (3, false)] {
            let mut request = FindCoordinatorRequest { key_type, ..Default::default() };
            match version {
                ..4 => request.key = "group".into(),
                _ => request.coordinator_keys = vec!["group".into()],
            }
            if version == 0 && key_type != 0 {
                continue;
            }
            let response = wire.call(version, &request).await;
            let code = response.coordinators.first().map_or(response.error_code, |found| found.error_code);
            assert_eq!(code == 0, is_served, "version {version}");
        }
    }
    broker.shutdown().await.unwrap();
}
