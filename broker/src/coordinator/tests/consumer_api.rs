//! The wire's side of groups of the consumer protocol.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k08_offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::messages::k09_offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_protocol::messages::k47_offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use ottla_protocol::messages::k68_consumer_group_heartbeat::TopicPartitions;
use ottla_protocol::messages::*;

use super::*;

fn caller(api_version: i16) -> Caller {
    Caller { api_version, client_id: Some("client".into()), client_host: "/127.0.0.1".into() }
}

fn joining(member_id: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: member_id.into(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["events".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn beat(member_id: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: member_id.into(),
        member_epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn commit(member_id: &str, epoch: i32) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: epoch,
        member_id: member_id.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "events".into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: 7,
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    }
}

async fn commit_code(coordinator: &GroupCoordinator, version: i16, request: OffsetCommitRequest) -> i16 {
    coordinator.offset_commit(&caller(version), &request).await.topics[0].partitions[0].error_code
}

#[tokio::test]
async fn a_member_joins_reads_commits_and_leaves() {
    let coordinator = coordinator(&MemoryLog::new());
    let joined = coordinator.consumer_group_heartbeat(&caller(1), &joining("m")).await;
    assert_eq!((joined.error_code, joined.member_epoch, joined.heartbeat_interval_ms), (0, 1, 5_000));
    let all = TopicPartitions { topic_id: EVENTS_ID, partitions: vec![0, 1, 2, 3] };
    assert_eq!(joined.assignment.unwrap().topic_partitions, vec![all]);
    let steady = coordinator.consumer_group_heartbeat(&caller(1), &beat("m", 1)).await;
    assert_eq!((steady.error_code, steady.assignment), (0, None));

    assert_eq!(commit_code(&coordinator, 9, commit("m", 1)).await, 0);
    assert_eq!(commit_code(&coordinator, 9, commit("m", 2)).await, ErrorCode::StaleMemberEpoch.code());
    assert_eq!(commit_code(&coordinator, 9, commit("n", 1)).await, ErrorCode::UnknownMemberId.code());
    assert_eq!(commit_code(&coordinator, 8, commit("m", 1)).await, ErrorCode::UnsupportedVersion.code());

    let fetch = |member_epoch| OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".into(),
            member_id: Some("m".into()),
            member_epoch,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "events".into(),
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopics::default()
            }]),
        }],
        ..OffsetFetchRequest::default()
    };
    let fetched = coordinator.offset_fetch(&caller(9), &fetch(1)).await;
    assert_eq!(fetched.groups[0].topics[0].partitions[0].committed_offset, 7);
    let stale = coordinator.offset_fetch(&caller(9), &fetch(5)).await;
    assert_eq!(stale.groups[0].error_code, ErrorCode::StaleMemberEpoch.code());

    let left = coordinator.consumer_group_heartbeat(&caller(1), &beat("m", -1)).await;
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
}

#[tokio::test]
async fn before_version_1_the_coordinator_names_the_member() {
    let coordinator = coordinator(&MemoryLog::new());
    let joined = coordinator.consumer_group_heartbeat(&caller(0), &joining("")).await;
    assert!(joined.member_id.is_some_and(|id| !id.is_empty()));
    let refused = coordinator.consumer_group_heartbeat(&caller(1), &joining("")).await;
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
}

#[tokio::test]
async fn heartbeats_that_make_no_sense_are_refused_as_kafka_refuses_them() {
    let coordinator = coordinator(&MemoryLog::new());
    let full = joining("m");
    let requests = [
        ConsumerGroupHeartbeatRequest { group_id: "".into(), ..full.clone() },
        ConsumerGroupHeartbeatRequest { instance_id: Some("".into()), ..full.clone() },
        ConsumerGroupHeartbeatRequest { rack_id: Some("".into()), ..full.clone() },
        ConsumerGroupHeartbeatRequest { member_epoch: -3, ..full.clone() },
        ConsumerGroupHeartbeatRequest { member_epoch: -2, ..full.clone() },
        ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..full.clone() },
        ConsumerGroupHeartbeatRequest { topic_partitions: None, ..full.clone() },
        // An empty list is one: of nothing.
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..full.clone() },
        ConsumerGroupHeartbeatRequest { group_id: "x".repeat(40_000).into(), ..full.clone() },
    ];
    for request in requests {
        let refused = coordinator.consumer_group_heartbeat(&caller(1), &request).await;
        assert_ne!(refused.error_code, 0, "{request:?}");
        assert!(refused.error_message.is_some());
    }
    let unknown = coordinator.consumer_group_heartbeat(&caller(1), &beat("m", 4)).await;
    assert_eq!(unknown.error_code, ErrorCode::GroupIdNotFound.code());
}

#[tokio::test]
async fn a_group_is_described_and_listed_by_type_and_state() {
    let coordinator = coordinator(&MemoryLog::new());
    coordinator.consumer_group_heartbeat(&caller(1), &joining("m")).await;
    let describe = ConsumerGroupDescribeRequest {
        group_ids: vec!["g".into(), "nobody".into()],
        ..ConsumerGroupDescribeRequest::default()
    };
    let described = coordinator.consumer_group_describe(&caller(1), &describe).await.groups;
    assert_eq!((&*described[0].group_state, described[0].group_epoch), ("Stable", 1));
    assert_eq!(&*described[0].assignor_name, "uniform");
    let member = &described[0].members[0];
    assert_eq!((member.member_type, &*member.client_host), (1, "/127.0.0.1"));
    assert_eq!(&*member.assignment.topic_partitions[0].topic_name, "events");
    assert_eq!(member.assignment, member.target_assignment);
    assert_eq!(described[1].error_code, ErrorCode::GroupIdNotFound.code());

    let classic = DescribeGroupsRequest { groups: vec!["g".into()], ..DescribeGroupsRequest::default() };
    let classic = coordinator.describe_groups(&caller(6), &classic).await;
    assert_eq!(classic.groups[0].error_code, ErrorCode::GroupIdNotFound.code());

    let list = |states: &[&'static str], types: &[&'static str]| ListGroupsRequest {
        states_filter: states.iter().map(|state| (*state).into()).collect(),
        types_filter: types.iter().map(|kind| (*kind).into()).collect(),
    };
    for (filter, count) in [
        (list(&[], &[]), 1),
        (list(&["stable"], &["Consumer"]), 1),
        (list(&[], &["classic"]), 0),
        (list(&["Empty"], &[]), 0),
    ] {
        assert_eq!(coordinator.list_groups(&caller(5), &filter).await.groups.len(), count, "{filter:?}");
    }
}

#[tokio::test]
async fn offsets_of_topics_that_the_group_does_not_read_are_deleted() {
    let coordinator = coordinator(&MemoryLog::new());
    let delete = || OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "events".into(),
            partitions: vec![
                OffsetDeleteRequestPartition { partition_index: 0 },
                OffsetDeleteRequestPartition { partition_index: 9 },
            ],
        }],
    };
    let missing = coordinator.offset_delete(&caller(0), &delete()).await;
    assert_eq!(missing.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(commit_code(&coordinator, 9, commit("", -1)).await, 0);
    coordinator.consumer_group_heartbeat(&caller(1), &joining("m")).await;
    let read = coordinator.offset_delete(&caller(0), &delete()).await;
    let codes: Vec<i16> = read.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes, [ErrorCode::GroupSubscribedToTopic.code(), unknown]);
    coordinator.consumer_group_heartbeat(&caller(1), &beat("m", -1)).await;
    let deleted = coordinator.offset_delete(&caller(0), &delete()).await;
    let codes: Vec<i16> = deleted.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!((deleted.error_code, codes), (0, vec![0, unknown]));
}

#[tokio::test]
async fn an_empty_group_goes_over_to_the_other_protocol_and_keeps_its_offsets() {
    let coordinator = coordinator(&MemoryLog::new());
    assert_eq!(commit_code(&coordinator, 9, commit("", -1)).await, 0);
    coordinator.consumer_group_heartbeat(&caller(1), &joining("m")).await;
    let join = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![k11_join_group::JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"topics"),
        }],
        ..JoinGroupRequest::default()
    };
    let refused = coordinator.join_group(&caller(3), &join).await;
    assert_eq!(refused.error_code, ErrorCode::InconsistentGroupProtocol.code());
    coordinator.consumer_group_heartbeat(&caller(1), &beat("m", -1)).await;
    let joined = coordinator.join_group(&caller(3), &join).await;
    assert_eq!(joined.error_code, 0);
    let refused = coordinator.consumer_group_heartbeat(&caller(1), &joining("m")).await;
    assert_eq!(refused.error_code, ErrorCode::GroupIdNotFound.code());
    let leave = LeaveGroupRequest {
        group_id: "g".into(),
        member_id: joined.member_id,
        ..LeaveGroupRequest::default()
    };
    coordinator.leave_group(&caller(0), &leave).await;
    let joined = coordinator.consumer_group_heartbeat(&caller(1), &joining("m")).await;
    assert_eq!(joined.error_code, 0);
    let all = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup { group_id: "g".into(), topics: None, ..Default::default() }],
        ..OffsetFetchRequest::default()
    };
    let fetched = coordinator.offset_fetch(&caller(8), &all).await;
    assert_eq!(fetched.groups[0].topics[0].partitions[0].committed_offset, 7);
}
