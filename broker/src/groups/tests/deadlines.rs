//! What silence does.

use super::*;

#[test]
fn a_silent_member_is_out_after_its_session_timeout() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a", "b"]);
    bench.pass(SESSION - Duration::from_millis(1));
    assert_eq!(bench.heartbeat(generation, &ids[1]), Ok(()));
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.heartbeat(generation, &ids[0]), Err(GroupError::UnknownMemberId));
    assert_eq!(bench.heartbeat(generation, &ids[1]), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_group_whose_members_are_all_silent_becomes_empty() {
    let mut bench = Bench::new();
    bench.stable(&["a", "b"]);
    bench.pass(SESSION);
    assert_eq!(bench.state(), GroupState::Empty);
    assert_eq!(bench.groups.next_deadline(), None, "nothing is left to wait for");
}

#[test]
fn members_late_for_the_rebalance_are_left_behind() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a", "b"]);
    let waiting = bench.rejoin("a", &ids[0]);
    for _ in 0..4 {
        bench.pass(REBALANCE / 4);
        let _ = bench.heartbeat(generation, &ids[1]);
    }
    let joined = bench.joined(waiting);
    assert_eq!(joined.members.len(), 1);
    assert_eq!(bench.heartbeat(joined.generation, &ids[1]), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_late_leader_is_replaced_by_one_that_joined() {
    let mut bench = Bench::new();
    let (_, ids) = bench.stable(&["a", "b"]);
    let request =
        JoinGroup { member_id: Some(ids[1].clone()), protocols: protocols(&["range"]), ..join("b") };
    let waiting = bench.ask(Request::JoinGroup(Box::new(request)));
    bench.pass(SESSION);
    assert_eq!(bench.joined(waiting).leader, Some(ids[1].clone()));
}

#[test]
fn a_member_that_waits_for_the_rebalance_may_be_silent() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a", "b"]);
    let waiting = bench.rejoin("a", &ids[0]);
    for _ in 0..3 {
        bench.pass(Duration::from_secs(9));
        assert_eq!(bench.heartbeat(generation, &ids[1]), Err(GroupError::RebalanceInProgress));
    }
    bench.rejoin("b", &ids[1]);
    assert_eq!(bench.joined(waiting).members.len(), 2, "27 s is longer than the session of a");
}

#[test]
fn a_new_member_is_given_up_after_the_join_timeout() {
    let mut bench = Bench::new();
    let patient = |name: &str| JoinGroup {
        rebalance_timeout: Duration::from_secs(3_600),
        session_timeout: Duration::from_secs(1_800),
        knows_member_id_required: false,
        ..join(name)
    };
    let first = bench.ask(Request::JoinGroup(Box::new(patient("a"))));
    bench.pass(Duration::from_secs(1));
    let generation = bench.joined(first).generation;
    bench.sync_leader(generation, &MemberId::from("a-id"), &[]);
    let new = bench.ask(Request::JoinGroup(Box::new(patient("b"))));
    bench.pass(Duration::from_secs(5 * 60));
    assert_eq!(bench.join_refused(new), GroupError::UnknownMemberId);
}

#[test]
fn an_id_that_never_comes_back_is_forgotten_with_its_group() {
    let mut bench = Bench::new();
    bench.ask(Request::JoinGroup(Box::new(join("a"))));
    bench.pass(SESSION);
    assert_eq!(bench.state(), GroupState::Dead);
    let late = bench.rejoin("a", &MemberId::from("a-id"));
    assert_eq!(bench.join_refused(late), GroupError::UnknownMemberId);
}

#[test]
fn a_rebalance_goes_on_without_an_id_that_never_comes_back() {
    let mut bench = Bench::new();
    let (_, ids) = bench.stable(&["a"]);
    bench.ask(Request::JoinGroup(Box::new(join("b"))));
    let waiting = bench.rejoin("a", &ids[0]);
    bench.pass(SESSION);
    bench.joined(waiting);
}
