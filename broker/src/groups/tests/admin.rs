//! DescribeGroups, ListGroups, DeleteGroups, and what the deletion of a topic leaves.

use super::*;

fn describe(bench: &mut Bench) -> DescribedGroup {
    match bench.ask_now(Request::DescribeGroup(group())) {
        Reply::DescribeGroup(Ok(described)) => described,
        other => panic!("{other:?}"),
    }
}

fn list(bench: &mut Bench) -> Vec<(String, &'static str, String)> {
    match bench.ask_now(Request::ListGroups) {
        Reply::ListGroups(Ok(groups)) => {
            groups.into_iter().map(|g| (g.group.to_string(), g.state, g.protocol_type.to_string())).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn delete(bench: &mut Bench) -> Reply {
    bench.ask_now(Request::DeleteGroup(group()))
}

fn commit_simple(bench: &mut Bench) {
    bench.ask(Request::CommitOffsets(commit(GenerationId::NONE, None, 1)));
}

#[test]
fn a_stable_group_is_described_with_protocol_metadata_and_assignments() {
    let mut bench = Bench::new();
    let (_, ids) = bench.stable(&["a"]);
    let described = describe(&mut bench);
    assert_eq!(described.state, GroupState::Stable);
    assert_eq!((&*described.protocol_type, &*described.protocol_name), ("consumer", "range"));
    assert_eq!(described.members.len(), 1);
    let member = &described.members[0];
    assert_eq!((&*member.client_id, &*member.client_host), ("a", "/127.0.0.1"));
    assert_eq!(member.metadata, Bytes::from("range metadata"));
    assert_eq!(member.assignment, work_of(&ids[0]));
}

#[test]
fn a_group_in_a_rebalance_is_described_without_metadata() {
    let mut bench = Bench::new();
    bench.stable(&["a"]);
    bench.join_new("b");
    let described = describe(&mut bench);
    assert_eq!((described.state, &*described.protocol_name), (GroupState::PreparingRebalance, ""));
    assert_eq!(described.members.len(), 2);
    assert!(
        described.members.iter().all(|member| member.metadata.is_empty() && member.assignment.is_empty())
    );
}

#[test]
fn a_group_that_does_not_exist_is_dead() {
    let mut bench = Bench::new();
    assert_eq!(describe(&mut bench).state, GroupState::Dead);
}

#[test]
fn groups_with_members_and_groups_with_offsets_only_are_listed() {
    let mut bench = Bench::new();
    assert_eq!(list(&mut bench), vec![]);
    commit_simple(&mut bench);
    assert_eq!(list(&mut bench), vec![("readers".to_owned(), "Empty", String::new())]);
    bench.stable(&["a"]);
    assert_eq!(list(&mut bench), vec![("readers".to_owned(), "Stable", "consumer".to_owned())]);
}

#[test]
fn only_groups_without_members_are_deleted() {
    let mut bench = Bench::new();
    assert_eq!(delete(&mut bench), Reply::DeleteGroup(Err(GroupError::GroupIdNotFound)));
    let (_, ids) = bench.stable(&["a"]);
    assert_eq!(delete(&mut bench), Reply::DeleteGroup(Err(GroupError::NonEmptyGroup)));
    bench.leave(&ids[0]).unwrap();
    commit_simple(&mut bench);
    assert_eq!(delete(&mut bench), Reply::DeleteGroup(Ok(())));
    assert_eq!(describe(&mut bench).state, GroupState::Dead);
    let restarted = bench.restarted();
    assert_eq!(
        restarted.groups.image(),
        Groups::new(GroupConfig::default()).image(),
        "the log has tombstones"
    );
}

#[test]
fn a_group_with_offsets_only_is_deleted_with_them() {
    let mut bench = Bench::new();
    commit_simple(&mut bench);
    assert_eq!(delete(&mut bench), Reply::DeleteGroup(Ok(())));
    assert_eq!(list(&mut bench), vec![]);
}

#[test]
fn the_offsets_in_a_deleted_topic_go_with_it() {
    let mut bench = Bench::new();
    commit_simple(&mut bench);
    let topics = vec![TopicName::from("other")];
    assert_eq!(bench.ask_now(Request::DeleteTopics(topics)), Reply::DeleteTopics(Ok(())));
    assert_eq!(list(&mut bench).len(), 1);
    let topics = vec![TopicName::from("events")];
    assert_eq!(bench.ask_now(Request::DeleteTopics(topics)), Reply::DeleteTopics(Ok(())));
    assert_eq!(list(&mut bench), vec![]);
}
