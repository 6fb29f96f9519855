//! What administrators ask for over the wire: configs, log dirs, records, producers, leaders, the quorum.

mod wire;

use std::time::Duration;

use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use ottla_protocol::records::Batches;
use uuid::Uuid;
use wire::Wire;
use wire::requests::{batch, create, fetch, produce, values};

async fn broker(dir: &std::path::Path) -> (Broker, Wire) {
    let broker = Broker::start(BrokerConfig::new(dir)).await.expect("the broker starts");
    let wire = Wire::connect(broker.address()).await;
    (broker, wire)
}

async fn send(wire: &mut Wire, topic: &str, value: &str) -> i16 {
    let response = wire.call(9, &produce(topic, batch(&[value], None), -1)).await;
    response.responses[0].partition_responses[0].error_code
}

fn edit(kind: i8, name: &str, edits: &[(&str, i8, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    let configs =
        edits.iter().map(|(name, operation, value)| k44_incremental_alter_configs::AlterableConfig {
            name: (*name).into(),
            config_operation: *operation,
            value: value.map(Into::into),
        });
    let resource = k44_incremental_alter_configs::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: configs.collect(),
    };
    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
}

/// Value, source and the sources of all synonyms.
async fn described(wire: &mut Wire, kind: i8, name: &str, config: &str) -> Option<(String, i8, Vec<i8>)> {
    let resource = k32_describe_configs::DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: Some(vec![config.into()]),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        ..DescribeConfigsRequest::default()
    };
    let mut answer = wire.call(4, &request).await;
    let found = answer.results.remove(0).configs.into_iter().next()?;
    let sources = found.synonyms.iter().map(|synonym| synonym.source).collect();
    Some((found.value.unwrap_or_default().to_string(), found.config_source, sources))
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_change_while_the_broker_runs_and_outlive_it() {
    let dir = tempfile::tempdir().unwrap();
    let (first, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    assert_eq!(send(&mut wire, "t", "small").await, 0);
    let code = |answer: &IncrementalAlterConfigsResponse| answer.responses[0].error_code;
    // A topic's own value counts at once.
    let answer = wire.call(1, &edit(2, "t", &[("max.message.bytes", 0, Some("70"))])).await;
    assert_eq!(code(&answer), 0);
    assert_eq!(send(&mut wire, "t", "small").await, ErrorCode::MessageTooLarge.code());
    // Taken away, the broker's counts, which is the default of every topic.
    let answer = wire.call(1, &edit(4, "", &[("message.max.bytes", 0, Some("80"))])).await;
    assert_eq!(code(&answer), 0);
    let answer = wire.call(1, &edit(2, "t", &[("max.message.bytes", 1, None)])).await;
    assert_eq!(code(&answer), 0);
    let of_topic = ("80".to_owned(), 3, vec![3, 5]);
    assert_eq!(described(&mut wire, 2, "t", "max.message.bytes").await, Some(of_topic.clone()));
    assert_eq!(send(&mut wire, "t", "a little longer than that").await, ErrorCode::MessageTooLarge.code());
    // Lists grow and shrink.
    let answer = wire.call(1, &edit(2, "t", &[("cleanup.policy", 2, Some("compact"))])).await;
    assert_eq!(code(&answer), 0);
    let of_list = ("delete,compact".to_owned(), 1, vec![1, 5]);
    assert_eq!(described(&mut wire, 2, "t", "cleanup.policy").await, Some(of_list.clone()));
    // A record without a key cannot be compacted.
    assert_eq!(send(&mut wire, "t", "x").await, ErrorCode::InvalidRecord.code());
    // Nothing wrong is stored, and a dry run stores nothing.
    let answer = wire.call(1, &edit(2, "t", &[("retention.ms", 0, Some("a day"))])).await;
    assert_eq!(code(&answer), ErrorCode::InvalidConfig.code());
    let mut dry = edit(2, "t", &[("retention.ms", 0, Some("5"))]);
    dry.validate_only = true;
    assert_eq!(code(&wire.call(1, &dry).await), 0);
    let retention = ("604800000".to_owned(), 5, vec![]);
    assert_eq!(described(&mut wire, 2, "t", "retention.ms").await, Some(retention));
    first.shutdown().await.unwrap();

    let (second, mut wire) = broker(dir.path()).await;
    assert_eq!(described(&mut wire, 2, "t", "max.message.bytes").await, Some(of_topic));
    assert_eq!(described(&mut wire, 2, "t", "cleanup.policy").await, Some(of_list));
    // The old way replaces everything.
    let resource = k33_alter_configs::AlterConfigsResource {
        resource_type: 2,
        resource_name: "t".into(),
        configs: vec![k33_alter_configs::AlterableConfig {
            name: "segment.ms".into(),
            value: Some("9".into()),
        }],
    };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(wire.call(2, &request).await.responses[0].error_code, 0);
    let policy = described(&mut wire, 2, "t", "cleanup.policy").await.unwrap();
    assert_eq!((policy.0.as_str(), policy.1), ("delete", 5));
    let fixed = wire.call(1, &edit(4, "1", &[("node.id", 0, Some("7"))])).await;
    assert_eq!(code(&fixed), ErrorCode::InvalidRequest.code());
    let node = described(&mut wire, 4, "1", "node.id").await.unwrap();
    assert_eq!((node.0.as_str(), node.1), ("1", 4));
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (first, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    for value in ["a", "b", "c"] {
        assert_eq!(send(&mut wire, "t", value).await, 0);
    }
    let deletion = |offset| DeleteRecordsRequest {
        topics: vec![k21_delete_records::DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![k21_delete_records::DeleteRecordsPartition { partition_index: 0, offset }],
        }],
        timeout_ms: 5000,
    };
    let outcome = |answer: DeleteRecordsResponse| {
        (answer.topics[0].partitions[0].error_code, answer.topics[0].partitions[0].low_watermark)
    };
    let out_of_range = (ErrorCode::OffsetOutOfRange.code(), -1);
    assert_eq!(outcome(wire.call(2, &deletion(4)).await), out_of_range);
    assert_eq!(outcome(wire.call(2, &deletion(2)).await), (0, 2));
    assert_eq!(outcome(wire.call(2, &deletion(1)).await), (0, 2), "nothing comes back");
    assert_eq!(values(&wire.call(11, &fetch("t", 2, 0)).await), ["c"]);
    let early = wire.call(11, &fetch("t", 1, 0)).await;
    assert_eq!(early.responses[0].partitions[0].error_code, ErrorCode::OffsetOutOfRange.code());
    first.shutdown().await.unwrap();

    let (second, mut wire) = broker(dir.path()).await;
    let early = wire.call(11, &fetch("t", 1, 0)).await;
    assert_eq!(early.responses[0].partitions[0].error_code, ErrorCode::OffsetOutOfRange.code());
    assert_eq!(outcome(wire.call(0, &deletion(-1)).await), (0, 3));
    let answer = wire.call(1, &edit(2, "t", &[("cleanup.policy", 0, Some("compact"))])).await;
    assert_eq!(answer.responses[0].error_code, 0);
    assert_eq!(outcome(wire.call(2, &deletion(3)).await), (ErrorCode::PolicyViolation.code(), -1));
    second.shutdown().await.unwrap();
}

/// Every value of a topic, fetch by fetch.
async fn whole(wire: &mut Wire, topic: &str) -> Vec<String> {
    let (mut all, mut next) = (Vec::new(), 0);
    loop {
        let response = wire.call(11, &fetch(topic, next, 0)).await;
        let more = values(&response);
        let records = response.responses[0].partitions[0].records.clone().unwrap_or_default();
        let Some(last) = Batches::new(records.into_bytes()).last() else { return all };
        next = last.unwrap().header.next_offset();
        all.extend(more);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_segments_go_and_the_last_value_of_a_key_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = BrokerConfig::new(dir.path());
    config.housekeeping.retention_check_interval = Duration::from_millis(50);
    config.housekeeping.cleaner_backoff = Duration::from_millis(50);
    let broker = Broker::start(config.clone()).await.unwrap();
    let mut wire = Wire::connect(broker.address()).await;
    let with = |name: &str, configs: &[(&str, &str)]| {
        let mut request = create(name);
        let set = configs.iter().map(|(name, value)| k19_create_topics::CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
        });
        request.topics[0].configs = set.collect();
        request
    };
    wire.call(7, &with("old", &[("internal.segment.bytes", "1024"), ("retention.ms", "1000")])).await;
    let compacted = [
        ("internal.segment.bytes", "1024"),
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    wire.call(7, &with("table", &compacted)).await;
    for round in 0..100 {
        assert_eq!(send(&mut wire, "old", &"x".repeat(100)).await, 0);
        let records = wire::requests::keyed(&format!("k{}", round % 3), &format!("v{round}"));
        let response = wire.call(9, &produce("table", records, -1)).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let old = wire.call(11, &fetch("old", 0, 0)).await;
        let gone = old.responses[0].partitions[0].error_code == ErrorCode::OffsetOutOfRange.code();
        if gone && whole(&mut wire, "table").await.len() < 50 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "retention or compaction did nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = |values: Vec<String>| values[values.len() - 3..].to_vec();
    let expected = ["v97", "v98", "v99"];
    assert_eq!(last(whole(&mut wire, "table").await), expected);
    broker.shutdown().await.unwrap();
    let broker = Broker::start(config).await.unwrap();
    let mut wire = Wire::connect(broker.address()).await;
    assert_eq!(last(whole(&mut wire, "table").await), expected);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_dirs_tell_sizes_and_take_no_other_place() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    send(&mut wire, "t", "a").await;
    let all = wire.call(4, &DescribeLogDirsRequest { topics: None }).await;
    let path = dir.path().display().to_string();
    assert_eq!(&*all.results[0].log_dir, path.as_str());
    let topic = all.results[0].topics.iter().find(|topic| &*topic.name == "t").unwrap();
    assert_eq!(topic.partitions[0].partition_size, 69);
    assert!(all.results[0].usable_bytes > 0 && all.results[0].total_bytes >= all.results[0].usable_bytes);
    let asked =
        vec![k35_describe_log_dirs::DescribableLogDirTopic { topic: "u".into(), partitions: vec![0] }];
    let none = wire.call(1, &DescribeLogDirsRequest { topics: Some(asked) }).await;
    assert!(none.results[0].topics.is_empty());
    let moving = |path: &str, topic: &str| AlterReplicaLogDirsRequest {
        dirs: vec![k34_alter_replica_log_dirs::AlterReplicaLogDir {
            path: path.into(),
            topics: vec![k34_alter_replica_log_dirs::AlterReplicaLogDirTopic {
                name: topic.into(),
                partitions: vec![0],
            }],
        }],
    };
    for (path, topic, code) in [
        (path.as_str(), "t", ErrorCode::None),
        (path.as_str(), "u", ErrorCode::UnknownTopicOrPartition),
        ("/elsewhere", "t", ErrorCode::LogDirNotFound),
    ] {
        let moved = wire.call(2, &moving(path, topic)).await;
        assert_eq!(moved.results[0].partitions[0].error_code, code.code(), "{path} {topic}");
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_leaders_reassignments_quorum_and_features_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    wire.call(9, &produce("t", batch(&["a", "b"], Some((77, 0))), -1)).await;
    let request = DescribeProducersRequest {
        topics: vec![k61_describe_producers::TopicRequest {
            name: "t".into(),
            partition_indexes: vec![0, 1],
        }],
    };
    let told = wire.call(0, &request).await;
    let producer = &told.topics[0].partitions[0].active_producers[0];
    assert_eq!((producer.producer_id, producer.producer_epoch, producer.last_sequence), (77, 0, 1));
    assert_eq!(producer.last_timestamp, 1_700_000_000_000);
    assert_eq!(told.topics[0].partitions[1].error_code, ErrorCode::UnknownTopicOrPartition.code());

    let partitions = vec![k43_elect_leaders::TopicPartitions { topic: "t".into(), partitions: vec![0, 5] }];
    let request =
        ElectLeadersRequest { topic_partitions: Some(partitions), ..ElectLeadersRequest::default() };
    let elected = wire.call(2, &request).await;
    let codes: Vec<i16> =
        elected.replica_election_results[0].partition_result.iter().map(|result| result.error_code).collect();
    assert_eq!(
        codes,
        [ErrorCode::ElectionNotNeeded, ErrorCode::UnknownTopicOrPartition].map(ErrorCode::code)
    );
    let all = wire.call(2, &ElectLeadersRequest::default()).await;
    assert!(all.replica_election_results.is_empty());

    let wanted = |replicas: Option<Vec<i32>>| AlterPartitionReassignmentsRequest {
        topics: vec![k45_alter_partition_reassignments::ReassignableTopic {
            name: "t".into(),
            partitions: vec![k45_alter_partition_reassignments::ReassignablePartition {
                partition_index: 0,
                replicas,
            }],
        }],
        ..AlterPartitionReassignmentsRequest::default()
    };
    for (replicas, code) in [
        (Some(vec![1]), ErrorCode::None),
        (Some(vec![2]), ErrorCode::InvalidReplicaAssignment),
        (Some(vec![1, 1]), ErrorCode::InvalidReplicaAssignment),
        (Some(vec![]), ErrorCode::InvalidReplicaAssignment),
        (None, ErrorCode::NoReassignmentInProgress),
    ] {
        let answer = wire.call(1, &wanted(replicas.clone())).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, code.code(), "{replicas:?}");
    }
    let under_way = wire.call(0, &ListPartitionReassignmentsRequest::default()).await;
    assert_eq!((under_way.error_code, under_way.topics.len()), (0, 0));

    let forgotten = wire.call(0, &UnregisterBrokerRequest { broker_id: 9 }).await;
    assert_eq!(forgotten.error_code, ErrorCode::BrokerIdNotRegistered.code());

    let of = |topic: &str| DescribeQuorumRequest {
        topics: vec![k55_describe_quorum::TopicData {
            topic_name: topic.into(),
            partitions: vec![k55_describe_quorum::PartitionData { partition_index: 0 }],
        }],
    };
    for version in 0..=2 {
        let quorum = wire.call(version, &of("__cluster_metadata")).await;
        let partition = &quorum.topics[0].partitions[0];
        assert_eq!((partition.leader_id, partition.current_voters.len()), (1, 1));
        assert!(partition.high_watermark > 0);
        assert_eq!(partition.current_voters[0].log_end_offset, partition.high_watermark);
    }
    assert_ne!(wire.call(2, &of("t")).await.error_code, 0);

    // Who is alone has nobody to vote with.
    let other = AddRaftVoterRequest {
        voter_id: 2,
        listeners: vec![k80_add_raft_voter::Listener { host: "h".into(), port: 1, ..Default::default() }],
        ..AddRaftVoterRequest::default()
    };
    assert_eq!(wire.call(0, &other).await.error_code, ErrorCode::RequestTimedOut.code(), "nobody is there");
    let removal = RemoveRaftVoterRequest { voter_id: 1, ..RemoveRaftVoterRequest::default() };
    assert_eq!(wire.call(0, &removal).await.error_code, ErrorCode::UnsupportedVersion.code());
    let of_others = RemoveRaftVoterRequest { cluster_id: Some("other".into()), ..removal };
    assert_eq!(wire.call(0, &of_others).await.error_code, ErrorCode::InconsistentClusterId.code());

    let update = |feature: &str, level| UpdateFeaturesRequest {
        feature_updates: vec![k57_update_features::FeatureUpdateKey {
            feature: feature.into(),
            max_version_level: level,
            ..Default::default()
        }],
        ..UpdateFeaturesRequest::default()
    };
    let versions =
        ApiVersionsRequest { client_software_name: "wire".into(), client_software_version: "1".into() };
    let features = wire.call(3, &versions).await.finalized_features;
    let level =
        features.iter().find(|feature| &*feature.name == "metadata.version").unwrap().max_version_level;
    assert_eq!(wire.call(2, &update("metadata.version", level)).await.error_code, 0);
    let refused = ErrorCode::InvalidUpdateVersion.code();
    assert_eq!(wire.call(2, &update("metadata.version", level + 1)).await.error_code, refused);
    assert_eq!(wire.call(1, &update("no.such", 1)).await.results[0].error_code, refused);

    let lower = |feature: &str, level| {
        let mut request = update(feature, level);
        request.feature_updates[0].upgrade_type = 2;
        request
    };
    assert_eq!(
        wire.call(2, &update("transaction.version", 1)).await.error_code,
        refused,
        "not without saying so"
    );
    let mut both = lower("transaction.version", 1);
    both.feature_updates.push(update("no.such", 1).feature_updates.remove(0));
    assert_eq!(wire.call(2, &both).await.error_code, refused, "all or none");
    let mut dry_run = lower("transaction.version", 1);
    dry_run.validate_only = true;
    assert_eq!(wire.call(2, &dry_run).await.error_code, 0);
    let levels = async |wire: &mut Wire| -> Vec<(String, i16)> {
        let features = wire.call(4, &versions).await.finalized_features;
        let levels = features.iter().map(|feature| (feature.name.to_string(), feature.max_version_level));
        levels.filter(|(name, _)| name != "metadata.version").collect()
    };
    let named = |levels: &[(&str, i16)]| -> Vec<(String, i16)> {
        levels.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect()
    };
    assert_eq!(levels(&mut wire).await, named(&[("group.version", 1), ("transaction.version", 2)]));
    assert_eq!(wire.call(2, &lower("transaction.version", 1)).await.error_code, 0);
    assert_eq!(wire.call(1, &lower("group.version", 0)).await.results[0].error_code, 0);
    broker.shutdown().await.unwrap();

    let (broker, mut wire) = self::broker(dir.path()).await;
    assert_eq!(levels(&mut wire).await, named(&[("transaction.version", 1)]), "also after a restart");
    let joins = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        rebalance_timeout_ms: 1000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let unsupported = ErrorCode::UnsupportedVersion.code();
    assert_eq!(wire.call(1, &joins).await.error_code, unsupported);
    assert_eq!(wire.call(2, &update("group.version", 1)).await.error_code, 0);
    assert_eq!(wire.call(1, &joins).await.error_code, 0);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_described_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    for (topic, partitions) in [("b", 3), ("a", 2), ("c", 1)] {
        let mut request = create(topic);
        request.topics[0].num_partitions = partitions;
        wire.call(7, &request).await;
    }
    let mut request = DescribeTopicPartitionsRequest {
        response_partition_limit: 2,
        ..DescribeTopicPartitionsRequest::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = wire.call(0, &request).await;
        let names = page.topics.iter().flat_map(|topic| {
            let name = topic.name.clone().unwrap();
            topic.partitions.iter().map(move |partition| format!("{}{}", &*name, partition.partition_index))
        });
        pages.push(names.collect::<Vec<_>>().join(" "));
        let Some(cursor) = page.next_cursor else { break };
        request.cursor = Some(cursor);
    }
    assert_eq!(pages, ["a0 a1", "b0 b1", "b2 c0"]);
    request.cursor = None;
    request.topics = vec![k75_describe_topic_partitions::TopicRequest { name: "x".into() }];
    let unknown = wire.call(0, &request).await;
    assert_eq!(unknown.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let listed = wire.call(1, &ListConfigResourcesRequest { resource_types: vec![2, 4] }).await;
    let names: Vec<_> = listed
        .config_resources
        .iter()
        .map(|resource| (&*resource.resource_name, resource.resource_type))
        .collect();
    assert_eq!(names, [("a", 2), ("b", 2), ("c", 2), ("1", 4)]);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_push_the_metrics_that_a_subscription_names() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    let ask = GetTelemetrySubscriptionsRequest { client_instance_id: Uuid::nil() };
    let nothing = wire.call(0, &ask).await;
    assert!(nothing.requested_metrics.is_empty() && !nothing.client_instance_id.is_nil());
    let subscription = [("metrics", 0, Some("org.apache.kafka.")), ("match", 0, Some("client_id=wi.*"))];
    let answer = wire.call(1, &edit(16, "all", &subscription)).await;
    assert_eq!(answer.responses[0].error_code, 0);
    let ask = GetTelemetrySubscriptionsRequest { client_instance_id: nothing.client_instance_id };
    let wanted = wire.call(0, &ask).await;
    assert_eq!(&*wanted.requested_metrics[0], "org.apache.kafka.");
    let push = |subscription_id, compression_type, metrics: &'static [u8]| PushTelemetryRequest {
        client_instance_id: wanted.client_instance_id,
        subscription_id,
        compression_type,
        metrics: metrics.into(),
        ..PushTelemetryRequest::default()
    };
    let stale = wire.call(0, &push(nothing.subscription_id, 0, b"otlp")).await;
    assert_eq!(stale.error_code, ErrorCode::UnknownSubscriptionId.code());
    let unknown = wire.call(0, &push(wanted.subscription_id, 7, b"otlp")).await;
    assert_eq!(unknown.error_code, ErrorCode::UnsupportedCompressionType.code());
    let damaged = wire.call(0, &push(wanted.subscription_id, 4, b"otlp")).await;
    assert_eq!(damaged.error_code, ErrorCode::InvalidRecord.code());
    assert_eq!(wire.call(0, &push(wanted.subscription_id, 0, b"otlp")).await.error_code, 0);
    assert_eq!(values(&wire.call(11, &fetch("__client_metrics", 0, 0)).await), ["otlp"]);
    broker.shutdown().await.unwrap();
}
