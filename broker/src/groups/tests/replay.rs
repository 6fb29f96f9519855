//! What a coordinator finds again after a crash.

use super::*;

#[test]
fn a_stable_group_goes_on_where_it_was() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a", "b"]);
    let mut restarted = bench.restarted();
    assert_eq!(restarted.groups.image(), bench.groups.image());
    assert_eq!(restarted.heartbeat(generation, &ids[0]), Ok(()));
    let sync = restarted.sync(generation, &ids[1]);
    assert_eq!(restarted.synced(sync), Ok(work_of(&ids[1])));
}

#[test]
fn members_have_a_session_timeout_from_the_load_on() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a", "b"]);
    bench.now.monotonic = bench.now.monotonic + SESSION * 100;
    let mut restarted = bench.restarted();
    restarted.pass(SESSION - Duration::from_millis(1));
    assert_eq!(restarted.heartbeat(generation, &ids[0]), Ok(()));
    restarted.pass(Duration::from_millis(1));
    assert_eq!(restarted.heartbeat(generation, &ids[1]), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_generation_lost_before_its_assignments_is_not_given_out_again() {
    let mut bench = Bench::new();
    let (a, reply) = bench.join_new("a");
    bench.pass(Duration::from_secs(1));
    let lost = bench.joined(reply).generation;
    let mut restarted = bench.restarted();
    assert_eq!(restarted.heartbeat(lost, &a), Err(GroupError::UnknownMemberId));
    let (generation, _) = restarted.stable(&["a"]);
    assert!(generation > lost);
}

#[test]
fn static_members_keep_their_names() {
    let mut bench = Bench::new();
    let request = JoinGroup { instance_id: Some(InstanceId::from("one")), ..join("a") };
    let reply = bench.ask(Request::JoinGroup(Box::new(request.clone())));
    bench.pass(Duration::from_secs(1));
    let generation = bench.joined(reply).generation;
    let a = MemberId::from("a-id");
    bench.sync_leader(generation, &a, &[&a]);
    let mut restarted = bench.restarted();
    let request = JoinGroup { fresh_member_id: MemberId::from("b-id"), ..request };
    let again = restarted.ask(Request::JoinGroup(Box::new(request)));
    assert_eq!(restarted.joined(again).generation, generation, "it takes its own place again");
}

#[test]
fn members_of_a_record_without_a_protocol_are_let_go() {
    let mut bench = Bench::new();
    let (generation, _) = bench.stable(&["a"]);
    let Some(Record::Group { value: Some(value), group }) = bench.log.last().cloned() else { panic!() };
    let value = GroupMetadata { protocol_name: None, ..(*value).clone() };
    bench.log.push(Record::Group { group, value: Some(Arc::new(value)) });
    let mut restarted = bench.restarted();
    assert_eq!(restarted.state(), GroupState::Empty);
    assert!(restarted.stable(&["a"]).0 > generation);
}
