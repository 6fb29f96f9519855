//! Static members (KIP-345) and skip_assignment (KIP-814).

use super::*;

fn join_static(name: &str, instance: &str) -> JoinGroup {
    JoinGroup { instance_id: Some(InstanceId::from(instance)), ..join(name) }
}

fn ask_join(bench: &mut Bench, request: JoinGroup) -> ReplyId {
    bench.ask(Request::JoinGroup(Box::new(request)))
}

/// A stable group of static members `one` (which leads) and `two`.
fn stable_pair(bench: &mut Bench) -> GenerationId {
    let first = ask_join(bench, join_static("a", "one"));
    let second = ask_join(bench, join_static("b", "two"));
    bench.pass(Duration::from_secs(1));
    let generation = bench.joined(first).generation;
    bench.joined(second);
    let (a, b) = (MemberId::from("a-id"), MemberId::from("b-id"));
    let leader = bench.sync_leader(generation, &a, &[&a, &b]);
    let follower = bench.sync(generation, &b);
    assert_eq!(bench.synced(leader), Ok(work_of(&a)));
    assert_eq!(bench.synced(follower), Ok(work_of(&b)));
    generation
}

#[test]
fn a_static_member_is_let_in_without_the_round_trip() {
    let mut bench = Bench::new();
    let id = ask_join(&mut bench, join_static("a", "one"));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.joined(id).members[0].instance_id, Some(InstanceId::from("one")));
}

#[test]
fn a_restarted_static_follower_takes_its_assignment_over_without_a_rebalance() {
    let mut bench = Bench::new();
    let generation = stable_pair(&mut bench);
    let again = ask_join(&mut bench, join_static("c", "two"));
    let joined = bench.joined(again);
    assert_eq!((joined.generation, &joined.member_id), (generation, &MemberId::from("c-id")));
    assert!(!joined.skip_assignment && joined.members.is_empty());
    assert_eq!(bench.state(), GroupState::Stable);
    let sync = bench.sync(generation, &MemberId::from("c-id"));
    assert_eq!(bench.synced(sync), Ok(work_of(&MemberId::from("b-id"))));
}

#[test]
fn a_restarted_static_leader_is_told_the_members_and_to_skip_the_assignment() {
    let mut bench = Bench::new();
    stable_pair(&mut bench);
    let again = ask_join(&mut bench, join_static("c", "one"));
    let joined = bench.joined(again);
    assert_eq!(joined.leader, Some(MemberId::from("c-id")));
    assert!(joined.skip_assignment);
    assert_eq!(joined.members.len(), 2);
}

#[test]
fn a_restarted_static_leader_of_an_older_version_is_not_told_that_it_leads() {
    let mut bench = Bench::new();
    stable_pair(&mut bench);
    let again = ask_join(&mut bench, JoinGroup { knows_skip_assignment: false, ..join_static("c", "one") });
    let joined = bench.joined(again);
    assert_eq!(joined.leader, Some(MemberId::from("a-id")));
    assert!(!joined.skip_assignment && joined.members.is_empty());
}

#[test]
fn the_replacement_is_in_the_log_when_it_is_told() {
    let mut bench = Bench::new();
    stable_pair(&mut bench);
    ask_join(&mut bench, join_static("c", "two"));
    let Some(Record::Group { value: Some(stored), .. }) = bench.log.last() else { panic!("{:?}", bench.log) };
    assert!(stored.members.iter().any(|member| member.id == MemberId::from("c-id")));
}

#[test]
fn the_replaced_member_is_fenced_everywhere() {
    let mut bench = Bench::new();
    let generation = stable_pair(&mut bench);
    ask_join(&mut bench, join_static("c", "two"));
    let old = MemberId::from("b-id");
    let instance_id = Some(InstanceId::from("two"));

    let request = Heartbeat { instance_id: instance_id.clone(), ..heartbeat(generation, &old) };
    assert_eq!(
        bench.ask_now(Request::Heartbeat(request)),
        Reply::Heartbeat(Err(GroupError::FencedInstanceId))
    );

    let request = SyncGroup { instance_id: instance_id.clone(), ..sync(generation, &old) };
    let id = bench.ask(Request::SyncGroup(request));
    assert_eq!(bench.synced(id), Err(GroupError::FencedInstanceId));

    let request = CommitOffsets { instance_id: instance_id.clone(), ..commit(generation, Some(&old), 1) };
    let answer = bench.ask_now(Request::CommitOffsets(request));
    assert_eq!(answer, Reply::CommitOffsets(Err(GroupError::FencedInstanceId)));

    let id = ask_join(&mut bench, JoinGroup { member_id: Some(old.clone()), ..join_static("b", "two") });
    assert_eq!(bench.join_refused(id), GroupError::FencedInstanceId);

    let members = vec![LeavingMember { member_id: Some(old), instance_id }];
    let answer = bench.ask_now(Request::LeaveGroup(LeaveGroup { group: group(), members }));
    assert_eq!(answer, Reply::LeaveGroup(Ok(vec![Err(GroupError::FencedInstanceId)])));
}

#[test]
fn a_join_that_waits_is_fenced_when_another_takes_its_place() {
    let mut bench = Bench::new();
    let first = ask_join(&mut bench, join_static("a", "one"));
    let second = ask_join(&mut bench, join_static("b", "one"));
    assert_eq!(bench.join_refused(first), GroupError::FencedInstanceId);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.joined(second).members.len(), 1);
}

#[test]
fn a_replacement_while_the_leader_assigns_makes_all_join_again() {
    let mut bench = Bench::new();
    let first = ask_join(&mut bench, join_static("a", "one"));
    let second = ask_join(&mut bench, join_static("b", "two"));
    bench.pass(Duration::from_secs(1));
    let generation = bench.joined(first).generation;
    bench.joined(second);
    let waiting = bench.sync(generation, &MemberId::from("b-id"));
    ask_join(&mut bench, join_static("c", "two"));
    assert_eq!(bench.synced(waiting), Err(GroupError::FencedInstanceId));
    assert_eq!(bench.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_replacement_that_changes_the_chosen_protocol_makes_all_join_again() {
    let mut bench = Bench::new();
    stable_pair(&mut bench);
    ask_join(&mut bench, JoinGroup { protocols: protocols(&["sticky"]), ..join_static("c", "two") });
    assert_eq!(bench.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_static_member_that_is_late_keeps_its_place_until_its_session_ends() {
    let mut bench = Bench::new();
    let generation = stable_pair(&mut bench);
    let request = JoinGroup { member_id: Some(MemberId::from("a-id")), ..join_static("a", "one") };
    let waiting = ask_join(&mut bench, JoinGroup { rebalance_timeout: Duration::from_secs(4), ..request });
    let request = Heartbeat {
        instance_id: Some(InstanceId::from("two")),
        ..heartbeat(generation, &MemberId::from("b-id"))
    };
    for _ in 0..5 {
        bench.pass(Duration::from_secs(6));
        bench.ask(Request::Heartbeat(request.clone()));
    }
    assert_eq!(bench.joined(waiting).members.len(), 2, "b did not rejoin but is still counted on");
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut bench = Bench::new();
    stable_pair(&mut bench);
    let leaving =
        |instance: &str| LeavingMember { member_id: None, instance_id: Some(InstanceId::from(instance)) };
    let members = vec![leaving("two"), leaving("nobody")];
    let answer = bench.ask_now(Request::LeaveGroup(LeaveGroup { group: group(), members }));
    assert_eq!(answer, Reply::LeaveGroup(Ok(vec![Ok(()), Err(GroupError::UnknownMemberId)])));
}

#[test]
fn an_instance_id_that_nobody_bears_is_unknown() {
    let mut bench = Bench::new();
    let generation = stable_pair(&mut bench);
    let request = Heartbeat {
        instance_id: Some(InstanceId::from("three")),
        ..heartbeat(generation, &MemberId::from("b-id"))
    };
    assert_eq!(
        bench.ask_now(Request::Heartbeat(request)),
        Reply::Heartbeat(Err(GroupError::UnknownMemberId))
    );
}

#[test]
fn a_restarted_static_member_finds_room_in_a_full_group() {
    let mut bench = Bench::with(GroupConfig { size_max: 2, ..GroupConfig::default() });
    let generation = stable_pair(&mut bench);
    let again = ask_join(&mut bench, join_static("c", "two"));
    assert_eq!(bench.joined(again).generation, generation);
}

#[test]
fn a_replaced_member_of_a_full_group_is_told_that_it_is_fenced() {
    let mut bench = Bench::with(GroupConfig { size_max: 2, ..GroupConfig::default() });
    stable_pair(&mut bench);
    ask_join(&mut bench, join_static("c", "two"));
    let request = JoinGroup { member_id: Some(MemberId::from("b-id")), ..join_static("b", "two") };
    let late = ask_join(&mut bench, request);
    assert_eq!(bench.join_refused(late), GroupError::FencedInstanceId);
}
