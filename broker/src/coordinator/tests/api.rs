//! The wire's side: what a client of each version is told.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k08_offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::messages::k09_offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_protocol::messages::k11_join_group::JoinGroupRequestProtocol;
use ottla_protocol::messages::k13_leave_group::MemberIdentity;
use ottla_protocol::messages::k14_sync_group::SyncGroupRequestAssignment;
use ottla_protocol::messages::*;
use ottla_protocol::{Message, Writer};

use super::*;

fn caller(api_version: i16) -> Caller {
    Caller { api_version, client_id: Some("client".into()), client_host: "/127.0.0.1".into() }
}

fn join(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"topics"),
        }],
        ..JoinGroupRequest::default()
    }
}

/// Every answer must be expressible in the version it answers.
fn encodes<M: Message>(message: &M, version: i16) {
    message.encode(&mut Writer::new(), version).unwrap();
}

/// A stable group of one: generation and member id.
async fn stable(coordinator: &GroupCoordinator) -> (i32, Str) {
    let named = coordinator.join_group(&caller(9), &join("")).await;
    assert_eq!(named.error_code, ErrorCode::MemberIdRequired.code());
    let joined = coordinator.join_group(&caller(9), &join(&named.member_id)).await;
    assert_eq!(joined.error_code, 0);
    assert_eq!(joined.leader, joined.member_id);
    let synced = coordinator.sync_group(&caller(5), &sync(joined.generation_id, &joined.member_id)).await;
    assert_eq!((synced.error_code, synced.assignment), (0, Bytes::from_static(b"all of it")));
    (joined.generation_id, joined.member_id)
}

fn sync(generation_id: i32, member_id: &Str) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id,
        member_id: member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member_id.clone(),
            assignment: Bytes::from_static(b"all of it"),
        }],
        ..SyncGroupRequest::default()
    }
}

#[tokio::test]
async fn a_member_joins_syncs_heartbeats_and_leaves() {
    let coordinator = coordinator(&MemoryLog::new());
    let (generation_id, member_id) = stable(&coordinator).await;
    assert!(member_id.starts_with("client-"), "{member_id:?} tells whose it is");
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id,
        member_id: member_id.clone(),
        ..HeartbeatRequest::default()
    };
    assert_eq!(coordinator.heartbeat(&caller(4), &request).await.error_code, 0);
    let members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
    let leave = LeaveGroupRequest { group_id: "g".into(), members, ..LeaveGroupRequest::default() };
    let left = coordinator.leave_group(&caller(5), &leave).await;
    assert_eq!((left.error_code, left.members[0].error_code), (0, 0));
    let gone = coordinator.heartbeat(&caller(4), &request).await;
    assert_eq!(gone.error_code, ErrorCode::UnknownMemberId.code());
}

#[tokio::test]
async fn every_version_of_a_refused_join_can_be_written() {
    let coordinator = coordinator(&MemoryLog::new());
    for version in 0..=9 {
        let refused = coordinator.join_group(&caller(version), &join("stranger")).await;
        assert_eq!(refused.error_code, ErrorCode::UnknownMemberId.code());
        assert_eq!(&*refused.member_id, "stranger");
        encodes(&refused, version);
    }
}

#[tokio::test]
async fn the_oldest_join_has_its_session_timeout_for_a_rebalance_timeout() {
    let coordinator = coordinator(&MemoryLog::new());
    let request = JoinGroupRequest { rebalance_timeout_ms: -1, ..join("") };
    let joined = coordinator.join_group(&caller(0), &request).await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    encodes(&joined, 0);
}

#[tokio::test]
async fn an_illegal_instance_id_is_refused() {
    let coordinator = coordinator(&MemoryLog::new());
    for instance in ["", "..", "a b", &"x".repeat(250)] {
        let request = JoinGroupRequest { group_instance_id: Some(instance.into()), ..join("") };
        let refused = coordinator.join_group(&caller(9), &request).await;
        assert_eq!(refused.error_code, ErrorCode::InvalidConfig.code(), "{instance:?}");
    }
}

#[tokio::test]
async fn names_that_no_record_can_hold_are_refused() {
    let coordinator = coordinator(&MemoryLog::new());
    let long = "x".repeat(40_000);
    let request = JoinGroupRequest { group_id: long.as_str().into(), ..join("") };
    let refused = coordinator.join_group(&caller(9), &request).await;
    assert_eq!(refused.error_code, ErrorCode::InvalidGroupId.code());
    let request = JoinGroupRequest { protocol_type: long.as_str().into(), ..join("") };
    let refused = coordinator.join_group(&caller(9), &request).await;
    assert_eq!(refused.error_code, ErrorCode::InconsistentGroupProtocol.code());
}

#[tokio::test]
async fn a_sync_of_version_5_must_name_the_protocol() {
    let coordinator = coordinator(&MemoryLog::new());
    let (generation_id, member_id) = stable(&coordinator).await;
    let request = SyncGroupRequest { protocol_name: None, ..sync(generation_id, &member_id) };
    let refused = coordinator.sync_group(&caller(5), &request).await;
    assert_eq!(refused.error_code, ErrorCode::InconsistentGroupProtocol.code());
    assert_eq!(coordinator.sync_group(&caller(4), &request).await.error_code, 0);
}

#[tokio::test]
async fn the_only_member_of_an_old_leave_bears_the_code() {
    let coordinator = coordinator(&MemoryLog::new());
    let (_, member_id) = stable(&coordinator).await;
    let leave = |member_id: Str| LeaveGroupRequest { group_id: "g".into(), member_id, ..Default::default() };
    let stranger = coordinator.leave_group(&caller(1), &leave("stranger".into())).await;
    assert_eq!(stranger.error_code, ErrorCode::UnknownMemberId.code());
    encodes(&stranger, 1);
    assert_eq!(coordinator.leave_group(&caller(1), &leave(member_id)).await.error_code, 0);
}

fn commit(topics: Vec<OffsetCommitRequestTopic>) -> OffsetCommitRequest {
    OffsetCommitRequest { group_id: "g".into(), topics, ..OffsetCommitRequest::default() }
}

fn commit_topic(
    name: &str,
    topic_id: Uuid,
    partition_index: i32,
    committed_offset: i64,
) -> OffsetCommitRequestTopic {
    let partition = OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        committed_leader_epoch: 3,
        committed_metadata: Some("note".into()),
    };
    OffsetCommitRequestTopic { name: name.into(), topic_id, partitions: vec![partition] }
}

#[tokio::test]
async fn every_version_commits_and_fetches() {
    let coordinator = coordinator(&MemoryLog::new());
    for version in 2..=10i16 {
        let by_id = version >= 10;
        let (name, id) = if by_id { ("", EVENTS_ID) } else { ("events", Uuid::nil()) };
        let offset = i64::from(version) * 100;
        let request = commit(vec![commit_topic(name, id, 1, offset)]);
        let answer = coordinator.offset_commit(&caller(version), &request).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        encodes(&answer, version);

        let request = if version < 8 {
            OffsetFetchRequest {
                group_id: "g".into(),
                topics: Some(vec![OffsetFetchRequestTopic {
                    name: name.into(),
                    partition_indexes: vec![1, 2],
                }]),
                ..OffsetFetchRequest::default()
            }
        } else {
            let topics = vec![OffsetFetchRequestTopics {
                name: name.into(),
                topic_id: id,
                partition_indexes: vec![1, 2],
            }];
            let group =
                OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(topics), ..Default::default() };
            OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }
        };
        let answer = coordinator.offset_fetch(&caller(version), &request).await;
        encodes(&answer, version);
        let partitions: Vec<(i32, i64, i32, Option<Str>)> = if version < 8 {
            let partitions = answer.topics[0].partitions.iter();
            partitions
                .map(|p| {
                    (p.partition_index, p.committed_offset, p.committed_leader_epoch, p.metadata.clone())
                })
                .collect()
        } else {
            assert_eq!(answer.groups[0].topics[0].topic_id, EVENTS_ID);
            let partitions = answer.groups[0].topics[0].partitions.iter();
            partitions
                .map(|p| {
                    (p.partition_index, p.committed_offset, p.committed_leader_epoch, p.metadata.clone())
                })
                .collect()
        };
        assert_eq!(partitions, vec![(1, offset, 3, Some("note".into())), (2, -1, -1, Some("".into()))]);
    }
}

#[tokio::test]
async fn topics_and_partitions_that_are_not_there_cost_their_own_commits_only() {
    let coordinator = coordinator(&MemoryLog::new());
    let by_name = commit(vec![
        commit_topic("nowhere", Uuid::nil(), 0, 1),
        commit_topic("events", Uuid::nil(), 99, 1),
        commit_topic("events", Uuid::nil(), 0, 1),
    ]);
    let answer = coordinator.offset_commit(&caller(8), &by_name).await;
    let codes: Vec<i16> = answer.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes, vec![unknown, unknown, 0]);

    let by_id = commit(vec![commit_topic("", Uuid::from_u128(9), 0, 1), commit_topic("", OTHER_ID, 0, 2)]);
    let answer = coordinator.offset_commit(&caller(10), &by_id).await;
    let codes: Vec<i16> = answer.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!(codes, vec![ErrorCode::UnknownTopicId.code(), 0]);
}

#[tokio::test]
async fn several_groups_and_all_topics_are_fetched_at_once() {
    let coordinator = coordinator(&MemoryLog::new());
    for group in ["one", "two"] {
        let topics =
            vec![commit_topic("events", Uuid::nil(), 0, 1), commit_topic("other", Uuid::nil(), 3, 2)];
        let request = OffsetCommitRequest { group_id: group.into(), ..commit(topics) };
        coordinator.offset_commit(&caller(9), &request).await;
    }
    let all =
        |group: &str| OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..Default::default() };
    let request =
        OffsetFetchRequest { groups: vec![all("one"), all("nobody"), all("two")], ..Default::default() };
    let answer = coordinator.offset_fetch(&caller(9), &request).await;
    let told: Vec<(&str, usize)> = answer.groups.iter().map(|g| (&*g.group_id, g.topics.len())).collect();
    assert_eq!(told, vec![("one", 2), ("nobody", 0), ("two", 2)]);
}

#[tokio::test]
async fn an_id_that_no_topic_has_is_said_when_fetching() {
    let coordinator = coordinator(&MemoryLog::new());
    let id = Uuid::from_u128(9);
    let topics =
        vec![OffsetFetchRequestTopics { topic_id: id, partition_indexes: vec![0], ..Default::default() }];
    let group = OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(topics), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
    let answer = coordinator.offset_fetch(&caller(10), &request).await;
    let topic = &answer.groups[0].topics[0];
    assert_eq!((topic.topic_id, topic.partitions[0].error_code), (id, ErrorCode::UnknownTopicId.code()));
}

#[tokio::test]
async fn groups_are_listed_by_state_and_type() {
    let coordinator = coordinator(&MemoryLog::new());
    stable(&coordinator).await;
    let list = async |states: &[&str], types: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| Str::from(*text)).collect();
        let request = ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
        let answer = coordinator.list_groups(&caller(5), &request).await;
        encodes(&answer, 5);
        answer.groups.iter().map(|g| (g.group_id.to_string(), g.group_state.to_string())).collect::<Vec<_>>()
    };
    let found = vec![("g".to_owned(), "Stable".to_owned())];
    assert_eq!(list(&[], &[]).await, found);
    assert_eq!(list(&["stable", "Empty"], &["CLASSIC"]).await, found);
    assert_eq!(list(&["Empty"], &[]).await, vec![]);
    assert_eq!(list(&[], &["consumer"]).await, vec![]);
}

#[tokio::test]
async fn groups_are_described() {
    let coordinator = coordinator(&MemoryLog::new());
    stable(&coordinator).await;
    let request = DescribeGroupsRequest {
        groups: vec!["g".into(), "nobody".into()],
        include_authorized_operations: true,
    };
    for version in 0..=6 {
        let answer = coordinator.describe_groups(&caller(version), &request).await;
        encodes(&answer, version);
        let (group, nobody) = (&answer.groups[0], &answer.groups[1]);
        assert_eq!((&*group.group_state, &*group.protocol_data, group.members.len()), ("Stable", "range", 1));
        assert_eq!(group.members[0].member_assignment, Bytes::from_static(b"all of it"));
        assert_eq!(&*nobody.group_state, "Dead");
        let expected = if version >= 6 { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
        assert_eq!(nobody.error_code, expected.code());
    }
}

#[tokio::test]
async fn groups_are_deleted_one_by_one() {
    let coordinator = coordinator(&MemoryLog::new());
    stable(&coordinator).await;
    let topics = vec![commit_topic("events", Uuid::nil(), 0, 1)];
    coordinator
        .offset_commit(&caller(9), &OffsetCommitRequest { group_id: "offsets only".into(), ..commit(topics) })
        .await;
    let groups_names = vec!["g".into(), "offsets only".into(), "nobody".into()];
    let answer = coordinator.delete_groups(&caller(2), &DeleteGroupsRequest { groups_names }).await;
    let codes: Vec<i16> = answer.results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, vec![ErrorCode::NonEmptyGroup.code(), 0, ErrorCode::GroupIdNotFound.code()]);
}
