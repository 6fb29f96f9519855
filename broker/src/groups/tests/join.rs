//! JoinGroup.

use super::*;

fn ask_join(bench: &mut Bench, request: JoinGroup) -> ReplyId {
    bench.ask(Request::JoinGroup(Box::new(request)))
}

#[test]
fn a_first_join_is_told_its_id_and_to_come_back_with_it() {
    let mut bench = Bench::new();
    let id = ask_join(&mut bench, join("a"));
    let refused =
        JoinRefused { error: GroupError::MemberIdRequired, member_id: Some(MemberId::from("a-id")) };
    assert_eq!(bench.answer(id), Some(Reply::JoinGroup(Err(refused))));
    assert_eq!(bench.state(), GroupState::Empty, "it is no member yet");
}

#[test]
fn an_old_client_is_let_in_without_the_round_trip() {
    let mut bench = Bench::new();
    let id = ask_join(&mut bench, JoinGroup { knows_member_id_required: false, ..join("a") });
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.joined(id).member_id, MemberId::from("a-id"));
}

#[test]
fn an_empty_group_waits_the_initial_delay_for_more_members() {
    let mut bench = Bench::new();
    let (_, first) = bench.join_new("a");
    bench.pass(Duration::from_millis(90));
    assert!(bench.answer(first).is_none());
    let (_, second) = bench.join_new("b");
    bench.pass(Duration::from_millis(100));
    assert!(bench.answer(first).is_none(), "the second member extended the wait");
    bench.pass(Duration::from_millis(10));
    let (first, second) = (bench.joined(first), bench.joined(second));
    assert_eq!((first.generation, second.generation), (GenerationId(1), GenerationId(1)));
}

#[test]
fn the_initial_delay_is_not_extended_beyond_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let slow = |name: &str| JoinGroup {
        rebalance_timeout: Duration::from_millis(250),
        knows_member_id_required: false,
        ..join(name)
    };
    let first = ask_join(&mut bench, slow("m0"));
    for number in 1..10 {
        bench.pass(Duration::from_millis(50));
        ask_join(&mut bench, slow(&format!("m{number}")));
    }
    assert!(matches!(bench.answer(first), Some(Reply::JoinGroup(Ok(_)))));
}

#[test]
fn only_the_leader_is_told_the_members() {
    let mut bench = Bench::new();
    let (a, first) = bench.join_new("a");
    let (b, second) = bench.join_new("b");
    bench.pass(Duration::from_secs(1));
    let (leader, follower) = (bench.joined(first), bench.joined(second));
    assert_eq!(leader.leader, Some(a.clone()));
    assert_eq!(follower.leader, Some(a.clone()));
    assert_eq!(leader.members.iter().map(|m| m.member_id.clone()).collect::<Vec<_>>(), vec![a, b]);
    assert_eq!(leader.members[0].metadata, Bytes::from("range metadata"));
    assert_eq!(follower.members, vec![]);
}

#[test]
fn the_generation_is_in_the_log_before_it_is_told() {
    let mut bench = Bench::new();
    let (_, reply) = bench.join_new("a");
    assert_eq!(bench.log, vec![]);
    bench.pass(Duration::from_secs(1));
    let generation = bench.joined(reply).generation;
    let Some(Record::Group { value: Some(stored), .. }) = bench.log.last() else { panic!("{:?}", bench.log) };
    assert_eq!((stored.generation, stored.members.len()), (generation, 0));
}

#[test]
fn a_member_id_that_no_group_gave_is_unknown() {
    let mut bench = Bench::new();
    let id = bench.rejoin("a", &MemberId::from("stranger"));
    assert_eq!(bench.join_refused(id), GroupError::UnknownMemberId);
    assert_eq!(bench.state(), GroupState::Dead, "and it founds none");
    bench.stable(&["a"]);
    let id = bench.rejoin("a", &MemberId::from("stranger"));
    assert_eq!(bench.join_refused(id), GroupError::UnknownMemberId);
}

#[test]
fn the_group_id_may_not_be_empty() {
    let mut bench = Bench::new();
    let id = ask_join(&mut bench, JoinGroup { group: GroupId::from(""), ..join("a") });
    assert_eq!(bench.join_refused(id), GroupError::InvalidGroupId);
}

#[test]
fn session_timeouts_outside_the_limits_are_refused() {
    let mut bench = Bench::new();
    for session_timeout in [Duration::ZERO, Duration::from_millis(5_999), Duration::from_millis(1_800_001)] {
        let id = ask_join(&mut bench, JoinGroup { session_timeout, ..join("a") });
        assert_eq!(bench.join_refused(id), GroupError::InvalidSessionTimeout);
    }
}

#[test]
fn a_member_must_share_the_protocol_type_and_a_protocol_with_all_others() {
    let mut bench = Bench::new();
    for request in [
        JoinGroup { protocol_type: Arc::from(""), ..join("a") },
        JoinGroup { protocols: protocols(&[]), ..join("a") },
    ] {
        let id = ask_join(&mut bench, request);
        assert_eq!(bench.join_refused(id), GroupError::InconsistentGroupProtocol);
    }
    bench.stable(&["a"]);
    for request in [
        JoinGroup { protocol_type: Arc::from("connect"), ..join("b") },
        JoinGroup { protocols: protocols(&["roundrobin"]), ..join("b") },
    ] {
        let id = ask_join(&mut bench, request);
        assert_eq!(bench.join_refused(id), GroupError::InconsistentGroupProtocol);
    }
}

#[test]
fn the_protocol_most_members_prefer_wins() {
    let mut bench = Bench::new();
    let mut replies = Vec::new();
    for (name, order) in [("a", ["range", "sticky"]), ("b", ["sticky", "range"]), ("c", ["sticky", "range"])]
    {
        let request =
            JoinGroup { protocols: protocols(&order), knows_member_id_required: false, ..join(name) };
        replies.push(ask_join(&mut bench, request));
    }
    bench.pass(Duration::from_secs(1));
    for reply in replies {
        assert_eq!(bench.joined(reply).protocol_name.as_deref(), Some("sticky"));
    }
}

#[test]
fn of_equally_many_votes_the_leaders_order_decides() {
    let mut bench = Bench::new();
    for (name, order) in [("b", ["sticky", "range"]), ("a", ["range", "sticky"])] {
        let request =
            JoinGroup { protocols: protocols(&order), knows_member_id_required: false, ..join(name) };
        ask_join(&mut bench, request);
    }
    bench.pass(Duration::from_secs(1));
    let group = bench.groups.group(&group()).unwrap();
    assert_eq!(group.leader, Some(MemberId::from("b-id")));
    assert_eq!(group.protocol_name.as_deref(), Some("sticky"));
}

#[test]
fn a_new_member_makes_the_others_rejoin_and_the_generation_grow() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a"]);
    let (_, new) = bench.join_new("b");
    assert_eq!(bench.heartbeat(generation, &ids[0]), Err(GroupError::RebalanceInProgress));
    assert!(bench.answer(new).is_none());
    let old = bench.rejoin("a", &ids[0]);
    assert_eq!(bench.joined(old).generation, generation.next());
    assert_eq!(bench.joined(new).generation, generation.next());
}

#[test]
fn a_rebalance_waits_for_members_that_were_given_an_id() {
    let mut bench = Bench::new();
    let (_, ids) = bench.stable(&["a"]);
    let named = ask_join(&mut bench, join("b"));
    assert_eq!(bench.join_refused(named), GroupError::MemberIdRequired);
    let old = bench.rejoin("a", &ids[0]);
    assert!(bench.answer(old).is_none(), "b is on its way");
    let new = bench.rejoin("b", &MemberId::from("b-id"));
    assert_eq!(bench.joined(old).generation, bench.joined(new).generation);
}

#[test]
fn a_follower_that_rejoins_a_stable_group_unchanged_gets_the_generation_again() {
    let mut bench = Bench::new();
    let (generation, ids) = bench.stable(&["a", "b"]);
    let again = bench.rejoin("b", &ids[1]);
    assert_eq!(bench.joined(again).generation, generation);
    assert_eq!(bench.state(), GroupState::Stable);
}

#[test]
fn a_leader_that_rejoins_a_stable_group_forces_a_rebalance() {
    let mut bench = Bench::new();
    let (_, ids) = bench.stable(&["a", "b"]);
    bench.rejoin("a", &ids[0]);
    assert_eq!(bench.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_follower_that_changes_its_metadata_forces_a_rebalance() {
    let mut bench = Bench::new();
    let (_, ids) = bench.stable(&["a", "b"]);
    let request =
        JoinGroup { member_id: Some(ids[1].clone()), protocols: protocols(&["range"]), ..join("b") };
    ask_join(&mut bench, request);
    assert_eq!(bench.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_member_that_missed_its_answer_gets_it_again_while_the_leader_assigns() {
    let mut bench = Bench::new();
    let (a, first) = bench.join_new("a");
    bench.pass(Duration::from_secs(1));
    let joined = bench.joined(first);
    let again = bench.rejoin("a", &a);
    assert_eq!(bench.joined(again), joined);
    assert_eq!(bench.state(), GroupState::CompletingRebalance);
}

#[test]
fn a_join_asked_twice_is_answered_twice() {
    let mut bench = Bench::new();
    let (_, ids) = bench.stable(&["a", "b"]);
    let first = bench.rejoin("a", &ids[0]);
    let second = bench.rejoin("a", &ids[0]);
    assert_eq!(bench.join_refused(first), GroupError::RebalanceInProgress);
    bench.rejoin("b", &ids[1]);
    bench.joined(second);
}

#[test]
fn a_full_group_takes_no_more_members() {
    let mut bench = Bench::with(GroupConfig { size_max: 1, ..GroupConfig::default() });
    let (generation, ids) = bench.stable(&["a"]);
    let id = ask_join(&mut bench, join("b"));
    assert_eq!(bench.join_refused(id), GroupError::GroupMaxSizeReached);
    assert_eq!(bench.heartbeat(generation, &ids[0]), Ok(()), "the present members are not disturbed");
}

#[test]
fn a_full_gathering_sheds_those_who_come_last() {
    let mut bench = Bench::with(GroupConfig { size_max: 1, ..GroupConfig::default() });
    for name in ["a", "b"] {
        ask_join(&mut bench, join(name));
    }
    let first = bench.rejoin("a", &MemberId::from("a-id"));
    let second = bench.rejoin("b", &MemberId::from("b-id"));
    assert_eq!(bench.join_refused(second), GroupError::GroupMaxSizeReached);
    bench.pass(Duration::from_secs(1));
    bench.joined(first);
}
