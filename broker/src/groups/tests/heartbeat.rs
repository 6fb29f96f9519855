//! Heartbeat.

use super::*;

#[test]
fn a_member_of_a_stable_group_is_well() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    assert_eq!(bench.heartbeat(generation, &ids[0]), Ok(()));
}

#[test]
fn a_heartbeat_while_the_leader_assigns_is_well() {
    let mut bench = Bench::new();
    let (a, reply) = bench.join_new("a");
    bench.pass(Duration::from_secs(1));
    let generation = bench.joined(reply).generation;
    assert_eq!(bench.heartbeat(generation, &a), Ok(()));
}

#[test]
fn strangers_are_unknown_and_other_generations_illegal() {
    let mut bench = Bench::new();
    assert_eq!(bench.heartbeat(GenerationId(1), &MemberId::from("a-id")), Err(GroupError::UnknownMemberId));
    let (generation, ids) = bench.stable(&["a"]);
    assert_eq!(bench.heartbeat(generation, &MemberId::from("b")), Err(GroupError::UnknownMemberId));
    assert_eq!(bench.heartbeat(generation.next(), &ids[0]), Err(GroupError::IllegalGeneration));
}

#[test]
fn a_member_that_was_only_given_an_id_is_unknown() {
    let mut bench = Bench::new();
    bench.ask(Request::JoinGroup(Box::new(join("a"))));
    assert_eq!(bench.heartbeat(GenerationId(0), &MemberId::from("a-id")), Err(GroupError::UnknownMemberId));
}

#[test]
fn heartbeats_keep_a_member() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    for _ in 0..10 {
        bench.pass(SESSION - Duration::from_millis(1));
        assert_eq!(bench.heartbeat(generation, &ids[0]), Ok(()));
    }
}

#[test]
fn commits_keep_a_member_too() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    for offset in 0..10 {
        bench.pass(SESSION - Duration::from_millis(1));
        bench.ask(Request::CommitOffsets(commit(generation, Some(&ids[0]), offset)));
    }
    assert_eq!(bench.heartbeat(generation, &ids[0]), Ok(()));
}
