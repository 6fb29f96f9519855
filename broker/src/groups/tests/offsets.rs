//! OffsetCommit and OffsetFetch.

use uuid::Uuid;

use super::*;

fn ask_commit(bench: &mut Bench, request: CommitOffsets) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    match bench.ask_now(Request::CommitOffsets(request)) {
        Reply::CommitOffsets(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn fetch(bench: &mut Bench, topic_id: Uuid) -> Option<CommittedOffset> {
    let selection = OffsetSelection::Partitions(vec![(TopicName::from("events"), topic_id, 0)]);
    match bench.ask_now(Request::FetchOffsets(FetchOffsets { group: group(), selection, member: None })) {
        Reply::FetchOffsets(Ok(mut fetched)) => fetched.remove(0).committed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn offset_epoch_and_metadata_come_back_as_committed() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    assert_eq!(ask_commit(&mut bench, commit(generation, Some(&ids[0]), 42)), Ok(vec![Ok(())]));
    let committed = fetch(&mut bench, Uuid::nil()).unwrap();
    assert_eq!((committed.offset, committed.leader_epoch, &*committed.metadata), (42, 4, "note"));
}

#[test]
fn what_was_never_committed_is_none() {
    let mut bench = Bench::new();
    assert_eq!(fetch(&mut bench, Uuid::nil()), None);
}

#[test]
fn a_consumer_without_a_group_commits_while_there_are_no_members() {
    let mut bench = Bench::new();
    assert_eq!(ask_commit(&mut bench, commit(GenerationId::NONE, None, 7)), Ok(vec![Ok(())]));
    assert_eq!(fetch(&mut bench, Uuid::nil()).map(|committed| committed.offset), Some(7));
    let (_, ids) = bench.stable(&["a"]);
    assert_eq!(ask_commit(&mut bench, commit(GenerationId::NONE, None, 8)), Err(GroupError::UnknownMemberId));
    assert_eq!(bench.leave(&ids[0]), Ok(()));
    assert_eq!(ask_commit(&mut bench, commit(GenerationId::NONE, None, 9)), Ok(vec![Ok(())]));
}

#[test]
fn a_generation_of_a_group_that_is_gone_is_told_so() {
    let mut bench = Bench::new();
    let member = MemberId::from("a-id");
    let new = commit(GenerationId(3), Some(&member), 1);
    assert_eq!(ask_commit(&mut bench, new.clone()), Err(GroupError::GroupIdNotFound));
    let old = CommitOffsets { knows_group_id_not_found: false, ..new };
    assert_eq!(ask_commit(&mut bench, old), Err(GroupError::IllegalGeneration));
}

#[test]
fn only_members_of_the_present_generation_commit() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    let stranger = MemberId::from("stranger");
    let ask = ask_commit(&mut bench, commit(generation, Some(&stranger), 1));
    assert_eq!(ask, Err(GroupError::UnknownMemberId));
    let ask = ask_commit(&mut bench, commit(GenerationId(0), Some(&ids[0]), 1));
    assert_eq!(ask, Err(GroupError::IllegalGeneration));
    let ask = ask_commit(&mut bench, commit(generation, None, 1));
    assert_eq!(ask, Err(GroupError::UnknownMemberId));
    assert_eq!(fetch(&mut bench, Uuid::nil()), None);
}

#[test]
fn members_commit_what_they_finished_while_a_rebalance_gathers_them() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    bench.join_new("b");
    assert_eq!(ask_commit(&mut bench, commit(generation, Some(&ids[0]), 5)), Ok(vec![Ok(())]));
}

#[test]
fn nobody_commits_while_the_leader_assigns() {
    let mut bench = Bench::new();
    let (a, reply) = bench.join_new("a");
    bench.pass(Duration::from_secs(1));
    let generation = bench.joined(reply).generation;
    let ask = ask_commit(&mut bench, commit(generation, Some(&a), 5));
    assert_eq!(ask, Err(GroupError::RebalanceInProgress));
}

#[test]
fn metadata_that_is_too_long_costs_its_own_partition_only() {
    let mut bench = Bench::new();
    let mut request = commit(GenerationId::NONE, None, 1);
    let long =
        CommitOffset { partition: 1, metadata: Arc::from("x".repeat(4097)), ..request.offsets[0].clone() };
    let longest =
        CommitOffset { partition: 2, metadata: Arc::from("x".repeat(4096)), ..request.offsets[0].clone() };
    request.offsets.extend([long, longest]);
    let ask = ask_commit(&mut bench, request);
    assert_eq!(ask, Ok(vec![Ok(()), Err(GroupError::OffsetMetadataTooLarge), Ok(())]));
    assert_eq!(bench.log.len(), 2);
}

#[test]
fn all_offsets_of_a_group_can_be_fetched() {
    let mut bench = Bench::new();
    let mut request = commit(GenerationId::NONE, None, 1);
    request.offsets.push(CommitOffset { partition: 9, offset: 10, ..request.offsets[0].clone() });
    ask_commit(&mut bench, request).unwrap();
    let all =
        Request::FetchOffsets(FetchOffsets { group: group(), selection: OffsetSelection::All, member: None });
    let Reply::FetchOffsets(Ok(fetched)) = bench.ask_now(all) else { panic!("not fetched") };
    let found: Vec<(i32, i64)> =
        fetched.iter().map(|f| (f.partition, f.committed.as_ref().unwrap().offset)).collect();
    assert_eq!(found, vec![(0, 1), (9, 10)]);
}

#[test]
fn an_offset_of_an_earlier_topic_of_the_same_name_is_not_an_offset() {
    let mut bench = Bench::new();
    let (before, after) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut request = commit(GenerationId::NONE, None, 1);
    request.offsets[0].topic_id = before;
    ask_commit(&mut bench, request).unwrap();
    assert!(fetch(&mut bench, before).is_some());
    assert!(fetch(&mut bench, Uuid::nil()).is_some());
    assert_eq!(fetch(&mut bench, after), None);
}

#[test]
fn a_retention_that_was_asked_for_is_kept_as_an_expiry_time() {
    let mut bench = Bench::new();
    let retention = Some(Duration::from_secs(60));
    ask_commit(&mut bench, CommitOffsets { retention, ..commit(GenerationId::NONE, None, 1) }).unwrap();
    let committed = fetch(&mut bench, Uuid::nil()).unwrap();
    assert_eq!(committed.expires_at, Some(WallMs(bench.now.wall.0 + 60_000)));
}
