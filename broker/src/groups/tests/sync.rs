//! SyncGroup.

use super::*;

/// A group whose leader is to assign: its generation, the leader and a follower.
fn completing(bench: &mut Bench) -> (GenerationId, MemberId, MemberId) {
    let (a, first) = bench.join_new("a");
    let (b, second) = bench.join_new("b");
    bench.pass(Duration::from_secs(1));
    let generation = bench.joined(first).generation;
    bench.joined(second);
    (generation, a, b)
}

#[test]
fn a_follower_waits_for_the_leaders_assignments() {
    let mut bench = Bench::new();
    let (generation, a, b) = completing(&mut bench);
    let follower = bench.sync(generation, &b);
    assert!(bench.answer(follower).is_none());
    let leader = bench.sync_leader(generation, &a, &[&a, &b]);
    assert_eq!(bench.synced(leader), Ok(work_of(&a)));
    assert_eq!(bench.synced(follower), Ok(work_of(&b)));
    assert_eq!(bench.state(), GroupState::Stable);
}

#[test]
fn a_long_assignment_is_not_cut() {
    let mut bench = Bench::new();
    let (generation, a, _) = completing(&mut bench);
    let long = Bytes::from(vec![7; 300_000]);
    let assignments = vec![(a.clone(), long.clone())];
    let id = bench.ask(Request::SyncGroup(SyncGroup { assignments, ..sync(generation, &a) }));
    assert_eq!(bench.synced(id), Ok(long));
}

#[test]
fn a_member_the_leader_forgot_gets_nothing_and_a_stranger_is_left_out() {
    let mut bench = Bench::new();
    let (generation, a, b) = completing(&mut bench);
    let stranger = MemberId::from("stranger");
    bench.sync_leader(generation, &a, &[&a, &stranger]);
    let follower = bench.sync(generation, &b);
    assert_eq!(bench.synced(follower), Ok(Bytes::new()));
}

#[test]
fn a_stable_group_answers_with_the_assignment_again() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a", "b"]);
    let again = bench.sync(generation, &ids[1]);
    assert_eq!(bench.synced(again), Ok(work_of(&ids[1])));
}

#[test]
fn the_assignments_are_in_the_log_when_they_are_told() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a", "b"]);
    let Some(Record::Group { value: Some(stored), .. }) = bench.log.last() else { panic!("{:?}", bench.log) };
    assert_eq!(stored.generation, generation);
    assert_eq!(stored.protocol_name.as_deref(), Some("range"));
    assert_eq!(stored.leader, Some(ids[0].clone()));
    let assignments: Vec<Bytes> = stored.members.iter().map(|member| member.assignment.clone()).collect();
    assert_eq!(assignments, vec![work_of(&ids[0]), work_of(&ids[1])]);
}

#[test]
fn the_answer_names_the_protocol_type_and_name() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    let Reply::SyncGroup(Ok(synced)) = bench.ask_now(Request::SyncGroup(sync(generation, &ids[0]))) else {
        panic!("not synced")
    };
    assert_eq!(synced.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(synced.protocol_name.as_deref(), Some("range"));
}

#[test]
fn another_protocol_than_the_groups_is_inconsistent() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    for request in [
        SyncGroup { protocol_type: Some(Arc::from("connect")), ..sync(generation, &ids[0]) },
        SyncGroup { protocol_name: Some(Arc::from("sticky")), ..sync(generation, &ids[0]) },
    ] {
        let id = bench.ask(Request::SyncGroup(request));
        assert_eq!(bench.synced(id), Err(GroupError::InconsistentGroupProtocol));
    }
}

#[test]
fn another_generation_is_illegal_and_a_stranger_unknown() {
    let mut bench = Bench::new();
    let id = bench.sync(GenerationId(1), &MemberId::from("a-id"));
    assert_eq!(bench.synced(id), Err(GroupError::UnknownMemberId), "there is no group");
    let (generation, ids) = bench.stable(&["a"]);
    for other in [generation.next(), GenerationId(0), GenerationId::NONE] {
        let id = bench.sync(other, &ids[0]);
        assert_eq!(bench.synced(id), Err(GroupError::IllegalGeneration));
    }
    let id = bench.sync(generation, &MemberId::from("stranger"));
    assert_eq!(bench.synced(id), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_sync_during_a_rebalance_is_told_to_join_again() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    bench.join_new("b");
    let id = bench.sync(generation, &ids[0]);
    assert_eq!(bench.synced(id), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_rebalance_calls_off_syncs_that_wait() {
    let mut bench = Bench::new();
    let (generation, _, b) = completing(&mut bench);
    let waiting = bench.sync(generation, &b);
    bench.join_new("c");
    assert_eq!(bench.synced(waiting), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_sync_asked_twice_is_answered_twice() {
    let mut bench = Bench::new();
    let (generation, a, b) = completing(&mut bench);
    let first = bench.sync(generation, &b);
    let second = bench.sync(generation, &b);
    assert_eq!(bench.synced(first), Err(GroupError::RebalanceInProgress));
    bench.sync_leader(generation, &a, &[&a, &b]);
    assert_eq!(bench.synced(second), Ok(work_of(&b)));
}

#[test]
fn members_that_never_sync_are_removed_after_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let (generation, a, b) = completing(&mut bench);
    bench.sync_leader(generation, &a, &[&a, &b]);
    for _ in 0..4 {
        bench.pass(Duration::from_secs(8));
        let _ = bench.heartbeat(generation, &a);
        let _ = bench.heartbeat(generation, &b);
    }
    assert_eq!(bench.heartbeat(generation, &b), Err(GroupError::UnknownMemberId));
    assert_eq!(bench.heartbeat(generation, &a), Err(GroupError::RebalanceInProgress));
}
