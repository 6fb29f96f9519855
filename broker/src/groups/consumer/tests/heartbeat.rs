//! Joining, moving partitions, leaving, being fenced.

use super::*;

/// Two members that have two partitions each, in epoch 2.
fn two_members() -> Bench {
    let mut bench = Bench::new();
    let joining = bench.joining("a");
    assert_eq!(told(bench.send(joining).unwrap()), (1, Some(vec![0, 1, 2, 3])));
    assert_eq!(bench.owns("a", 1, &[0, 1, 2, 3]), (1, None));
    let joining = bench.joining("b");
    assert_eq!(told(bench.send(joining).unwrap()), (2, Some(vec![])));
    assert_eq!(bench.owns("a", 1, &[0, 1, 2, 3]), (1, Some(vec![0, 1])));
    assert_eq!(bench.owns("b", 2, &[]), (2, None), "a still owns them");
    assert_eq!(bench.owns("a", 1, &[0, 1]).0, 2);
    assert_eq!(bench.owns("b", 2, &[]), (2, Some(vec![2, 3])));
    assert_eq!(bench.state(), "Stable");
    bench
}

#[test]
fn partitions_move_without_ever_having_two_owners() {
    two_members();
}

#[test]
fn a_member_for_whom_nothing_changes_writes_nothing() {
    let mut bench = two_members();
    let written = bench.log.len();
    for _ in 0..20 {
        let (a, b) = (bench.beat("a", 2), bench.beat("b", 2));
        assert_eq!(told(bench.send(a).unwrap()), (2, None));
        assert_eq!(told(bench.send(b).unwrap()), (2, None));
        bench.pass(5_000);
    }
    assert_eq!(bench.log.len(), written);
}

#[test]
fn who_leaves_is_replaced() {
    let mut bench = two_members();
    let leaving = bench.beat("b", -1);
    assert_eq!(told(bench.send(leaving).unwrap()), (-1, None));
    assert_eq!(bench.state(), "Assigning");
    let heartbeat = bench.beat("a", 2);
    assert_eq!(told(bench.send(heartbeat).unwrap()), (3, Some(vec![0, 1, 2, 3])));
    let leaving = bench.beat("a", -1);
    bench.send(leaving).unwrap();
    assert_eq!(bench.state(), "Empty");
    let heartbeat = bench.beat("a", 3);
    assert_eq!(bench.refused(heartbeat), GroupError::UnknownMemberId);
}

#[test]
fn who_is_silent_for_a_session_is_out() {
    let mut bench = two_members();
    bench.pass(SESSION_MS - 1);
    let heartbeat = bench.beat("a", 2);
    bench.send(heartbeat).unwrap();
    bench.pass(1);
    assert_eq!(bench.groups.consumer_groups()[&group()].members.len(), 1);
    let heartbeat = bench.beat("b", 2);
    assert_eq!(bench.refused(heartbeat), GroupError::UnknownMemberId);
}

#[test]
fn who_does_not_give_up_what_it_must_in_time_is_out() {
    let mut bench = two_members();
    let joining = bench.joining("c");
    bench.send(joining).unwrap();
    let (epoch, assigned) = bench.owns("b", 2, &[2, 3]);
    assert_eq!((epoch, assigned), (2, Some(vec![2])));
    let mut epoch_of_a = 2;
    for _ in 0..6 {
        assert!(bench.groups.consumer_groups()[&group()].members.contains_key(&MemberId::from("b")));
        bench.owns("b", 2, &[2, 3]);
        let heartbeat = bench.beat("a", epoch_of_a);
        epoch_of_a = told(bench.send(heartbeat).unwrap()).0;
        bench.pass(5_000);
    }
    let heartbeat = bench.beat("b", 2);
    assert_eq!(bench.refused(heartbeat), GroupError::UnknownMemberId);
}

#[test]
fn epochs_that_are_not_the_members_own_are_fenced() {
    let mut bench = two_members();
    let ahead = bench.beat("a", 3);
    assert_eq!(bench.refused(ahead), GroupError::FencedMemberEpoch);
    let behind = bench.beat("a", 0);
    assert_eq!(bench.refused(behind), GroupError::FencedMemberEpoch);
    // The answer that took it to epoch 2 was lost: it is given again.
    assert_eq!(bench.owns("a", 1, &[0, 1]), (2, Some(vec![0, 1])));
    let too_much = ConsumerHeartbeat { owned: Some(set(&[0, 1, 2])), ..bench.beat("a", 1) };
    assert_eq!(bench.refused(too_much), GroupError::FencedMemberEpoch);
    let elsewhere = ConsumerHeartbeat { group: GroupId::from("other"), ..bench.beat("a", 2) };
    assert_eq!(bench.refused(elsewhere), GroupError::GroupIdNotFound);
}

#[test]
fn a_repeated_request_of_an_earlier_epoch_gives_nothing_up() {
    let mut bench = Bench::new();
    let joining = bench.joining("a");
    bench.send(joining.clone()).unwrap();
    let other = bench.joining("b");
    bench.send(other).unwrap();
    assert_eq!(bench.owns("a", 1, &[0, 1, 2, 3]), (1, Some(vec![0, 1])));
    // The first request arrives once more; it does not say that `a` gave up 2 and 3.
    assert_eq!(told(bench.send(joining).unwrap()).0, 1);
    assert_eq!(bench.owns("b", 2, &[]), (2, None));
}

#[test]
fn a_restart_loses_nothing_and_makes_nobody_rejoin() {
    let mut bench = two_members();
    let before = bench.groups.consumer_groups()[&group()].members.clone();
    bench.restart();
    assert_eq!(bench.groups.consumer_groups()[&group()].members, before);
    assert_eq!(bench.state(), "Stable");
    let (a, b) = (bench.beat("a", 2), bench.beat("b", 2));
    assert_eq!(told(bench.send(a).unwrap()), (2, None));
    assert_eq!(told(bench.send(b).unwrap()), (2, None));
    bench.pass(SESSION_MS - 1);
    assert_eq!(bench.groups.consumer_groups()[&group()].members.len(), 2);
    bench.pass(1);
    assert_eq!(bench.state(), "Empty");
}

#[test]
fn new_partitions_and_topics_that_go_are_noticed() {
    let mut bench = two_members();
    bench.topics.add("t", 1, 6);
    let heartbeat = bench.beat("a", 2);
    assert_eq!(told(bench.send(heartbeat).unwrap()), (3, Some(vec![0, 1, 4])));
    let heartbeat = bench.beat("b", 2);
    assert_eq!(told(bench.send(heartbeat).unwrap()), (3, Some(vec![2, 3, 5])));
    bench.topics.remove("t");
    let heartbeat = bench.beat("a", 3);
    assert_eq!(told(bench.send(heartbeat).unwrap()), (3, Some(vec![])));
    assert_eq!(bench.owns("a", 3, &[]).0, 4);
}

#[test]
fn a_topic_that_a_member_does_not_read_changes_nothing() {
    let mut bench = two_members();
    bench.topics.add("u", 2, 6);
    let heartbeat = bench.beat("a", 2);
    assert_eq!(told(bench.send(heartbeat).unwrap()), (2, None));
    assert_eq!(bench.state(), "Stable");
}

#[test]
fn a_pattern_stands_for_the_topics_whose_whole_names_match() {
    let mut bench = Bench::new();
    bench.topics.add("tt", 2, 1);
    bench.topics.add("u", 3, 1);
    let joining =
        ConsumerHeartbeat { topic_names: None, topic_regex: Some("t|u".into()), ..bench.joining("a") };
    let assigned = bench.send(joining).unwrap().assigned.unwrap();
    assert_eq!(assigned.len(), 5);
    assert!(assigned.contains(Uuid::from_u128(3), 0) && !assigned.contains(Uuid::from_u128(2), 0));
    for bad in ["(", "a)(b", "(?=a)"] {
        let joining =
            ConsumerHeartbeat { topic_names: None, topic_regex: Some(bad.into()), ..bench.joining("b") };
        assert_eq!(bench.refused(joining), GroupError::InvalidRegularExpression, "{bad}");
    }
    // A new topic is found; and the pattern is forgotten with its last member.
    bench.topics.remove("u");
    bench.topics.add("u", 4, 2);
    let heartbeat = bench.beat("a", 1);
    bench.send(heartbeat).unwrap();
    assert_eq!(bench.groups.consumer_groups()[&group()].regexes.len(), 1);
    let leaving = bench.beat("a", -1);
    bench.send(leaving).unwrap();
    assert!(bench.groups.consumer_groups()[&group()].regexes.is_empty());
}

#[test]
fn a_static_member_takes_its_place_again_without_a_new_epoch() {
    let mut bench = Bench::new();
    let with_name = |bench: &Bench, member: &str, heartbeat: ConsumerHeartbeat| ConsumerHeartbeat {
        instance_id: Some(InstanceId::from("one")),
        member_id: MemberId::from(member),
        topics: Topics(Arc::new(bench.topics.clone())),
        ..heartbeat
    };
    let joining = with_name(&bench, "a", bench.joining("a"));
    assert_eq!(told(bench.send(joining).unwrap()), (1, Some(vec![0, 1, 2, 3])));
    let twin = with_name(&bench, "b", bench.joining("b"));
    assert_eq!(bench.refused(twin.clone()), GroupError::UnreleasedInstanceId);
    let leaving = with_name(&bench, "a", bench.beat("a", -2));
    assert_eq!(told(bench.send(leaving).unwrap()).0, -2);
    assert_eq!(told(bench.send(twin).unwrap()), (1, Some(vec![0, 1, 2, 3])));
    let old = with_name(&bench, "a", bench.beat("a", 1));
    assert_eq!(bench.refused(old), GroupError::FencedInstanceId);
    let unknown = ConsumerHeartbeat {
        instance_id: Some(InstanceId::from("two")),
        ..with_name(&bench, "a", bench.beat("a", 1))
    };
    assert_eq!(bench.refused(unknown), GroupError::UnknownMemberId);
    let leaving = with_name(&bench, "b", bench.beat("b", -2));
    bench.send(leaving).unwrap();
    bench.pass(SESSION_MS);
    assert_eq!(bench.state(), "Empty", "it did not come back in time");
}

#[test]
fn limits_and_names_of_assignors_are_kept() {
    let mut config = GroupConfig::default();
    config.consumer.size_max = 1;
    let mut bench = Bench::with(config);
    let unknown = ConsumerHeartbeat { server_assignor: Some("best".into()), ..bench.joining("a") };
    assert_eq!(bench.refused(unknown), GroupError::UnsupportedAssignor);
    assert!(bench.groups.consumer_groups().is_empty());
    let joining = ConsumerHeartbeat { server_assignor: Some("range".into()), ..bench.joining("a") };
    bench.send(joining).unwrap();
    let Reply::DescribeConsumerGroup(Ok(described)) = bench.ask(Request::DescribeConsumerGroup(group()))
    else {
        panic!()
    };
    assert_eq!(&*described.assignor, "range");
    let joining = bench.joining("b");
    assert_eq!(bench.refused(joining), GroupError::GroupMaxSizeReached);
}
