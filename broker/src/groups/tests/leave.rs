//! LeaveGroup.

use super::*;

#[test]
fn the_others_rejoin_when_one_leaves() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a", "b"]);
    assert_eq!(bench.leave(&ids[0]), Ok(()));
    assert_eq!(bench.heartbeat(generation, &ids[1]), Err(GroupError::RebalanceInProgress));
    let reply = bench.rejoin("b", &ids[1]);
    let joined = bench.joined(reply);
    assert_eq!(joined.leader, Some(ids[1].clone()), "the leader left, so the other leads");
}

#[test]
fn the_group_is_empty_in_a_new_generation_when_the_last_one_leaves() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    assert_eq!(bench.leave(&ids[0]), Ok(()));
    assert_eq!(bench.state(), GroupState::Empty);
    let Some(Record::Group { value: Some(stored), .. }) = bench.log.last() else { panic!("{:?}", bench.log) };
    assert_eq!((stored.generation, stored.members.len()), (generation.next(), 0));
    assert_eq!(bench.heartbeat(generation, &ids[0]), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_stranger_cannot_leave() {
    let mut bench = Bench::new();
    assert_eq!(bench.leave(&MemberId::from("a-id")), Err(GroupError::UnknownMemberId));
    bench.stable(&["a"]);
    assert_eq!(bench.leave(&MemberId::from("stranger")), Err(GroupError::UnknownMemberId));
    assert_eq!(bench.state(), GroupState::Stable);
}

#[test]
fn several_members_leave_at_once_and_each_is_answered() {
    let mut bench = Bench::new();
    let (_, ids) = bench.stable(&["a", "b", "c"]);
    let leaving = |id: &MemberId| LeavingMember { member_id: Some(id.clone()), instance_id: None };
    let members = vec![leaving(&ids[1]), leaving(&MemberId::from("stranger")), leaving(&ids[2])];
    let answer = bench.ask_now(Request::LeaveGroup(LeaveGroup { group: group(), members }));
    assert_eq!(answer, Reply::LeaveGroup(Ok(vec![Ok(()), Err(GroupError::UnknownMemberId), Ok(())])));
    assert_eq!(bench.groups.group(&group()).unwrap().members.len(), 1);
}

#[test]
fn a_member_that_leaves_while_it_waits_is_answered() {
    let mut bench = Bench::new();
    let (_, _) = bench.stable(&["a"]);
    let (b, waiting) = bench.join_new("b");
    assert_eq!(bench.leave(&b), Ok(()));
    assert_eq!(bench.join_refused(waiting), GroupError::UnknownMemberId);
}

#[test]
fn a_rebalance_goes_on_without_a_named_member_that_leaves() {
    let mut bench = Bench::new();
    let (_, ids) = bench.stable(&["a"]);
    bench.ask(Request::JoinGroup(Box::new(join("b"))));
    let waiting = bench.rejoin("a", &ids[0]);
    assert_eq!(bench.leave(&MemberId::from("b-id")), Ok(()));
    bench.joined(waiting);
}

#[test]
fn a_follower_that_leaves_while_its_sync_waits_is_answered() {
    let mut bench = Bench::new();
    let (_, first) = bench.join_new("a");
    let (b, _) = bench.join_new("b");
    bench.pass(Duration::from_secs(1));
    let generation = bench.joined(first).generation;
    let waiting = bench.sync(generation, &b);
    assert_eq!(bench.leave(&b), Ok(()));
    assert_eq!(bench.synced(waiting), Err(GroupError::UnknownMemberId));
}
