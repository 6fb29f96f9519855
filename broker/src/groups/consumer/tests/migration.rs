//! Groups with members that go over to the other protocol.

use bytes::Bytes;
use ottla_protocol::Message;
use ottla_protocol::messages::consumer_protocol::TopicPartition;
use ottla_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};

use super::*;
use crate::groups::classic::{Heartbeat, JoinGroup, Joined, LeaveGroup, LeavingMember, Protocol, SyncGroup};

fn subscription(owned: &[i32], generation_id: i32) -> Bytes {
    let owned_partitions = vec![TopicPartition { topic: "t".into(), partitions: owned.to_vec() }];
    ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        owned_partitions,
        generation_id,
        ..Default::default()
    }
    .encode_versioned(3)
    .unwrap()
}

fn assignment(partitions: &[i32]) -> Bytes {
    let assigned_partitions = vec![TopicPartition { topic: "t".into(), partitions: partitions.to_vec() }];
    ConsumerProtocolAssignment { assigned_partitions, user_data: None }.encode_versioned(3).unwrap()
}

impl Bench {
    fn classic_join(&self, member: &str, owned: &[i32], generation_id: i32) -> JoinGroup {
        JoinGroup {
            group: group(),
            member_id: (!member.is_empty()).then(|| MemberId::from(member)),
            instance_id: None,
            client_id: Arc::from("old client"),
            client_host: Arc::from("/127.0.0.1"),
            protocol_type: Arc::from("consumer"),
            protocols: [Protocol { name: "range".into(), metadata: subscription(owned, generation_id) }]
                .into(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            fresh_member_id: MemberId::from(format!("fresh-{}", self.replies)),
            knows_member_id_required: false,
            knows_skip_assignment: false,
            topics: Some(Topics(Arc::new(self.topics.clone()))),
        }
    }

    fn join_classic(&mut self, member: &str, owned: &[i32], generation: i32) -> Joined {
        let join = self.classic_join(member, owned, generation);
        match self.ask(Request::JoinGroup(Box::new(join))) {
            Reply::JoinGroup(Ok(joined)) => joined,
            other => panic!("{other:?}"),
        }
    }

    fn sync_classic(&mut self, joined: &Joined, assigns: &[(&MemberId, Bytes)]) -> Vec<i32> {
        let sync = SyncGroup {
            group: group(),
            generation: joined.generation,
            member_id: joined.member_id.clone(),
            instance_id: None,
            protocol_type: Some("consumer".into()),
            protocol_name: joined.protocol_name.clone(),
            assignments: assigns.iter().map(|(id, bytes)| ((*id).clone(), bytes.clone())).collect(),
            topics: Some(Topics(Arc::new(self.topics.clone()))),
        };
        let Reply::SyncGroup(Ok(synced)) = self.ask(Request::SyncGroup(sync)) else { panic!() };
        let assignment = ConsumerProtocolAssignment::decode_versioned(synced.assignment).unwrap();
        assignment.assigned_partitions.iter().flat_map(|topic| topic.partitions.clone()).collect()
    }

    fn beat_classic(&mut self, joined: &Joined) -> Result<(), GroupError> {
        let heartbeat = Heartbeat {
            group: group(),
            generation: joined.generation,
            member_id: joined.member_id.clone(),
            instance_id: None,
        };
        match self.ask(Request::Heartbeat(heartbeat)) {
            Reply::Heartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }
}

/// A classic group of one that reads all four partitions.
fn classic_group(config: GroupConfig) -> (Bench, Joined) {
    let mut bench = Bench::with(GroupConfig { initial_rebalance_delay: Duration::ZERO, ..config });
    let join = bench.classic_join("", &[], -1);
    let id = ReplyId(1_000_000);
    let decision = bench.groups.decide(bench.now(), id, &Request::JoinGroup(Box::new(join)));
    bench.take(&decision);
    let decision = bench.groups.on_deadline(bench.now());
    bench.take(&decision);
    let Some((_, Reply::JoinGroup(Ok(joined)))) = decision.replies.into_iter().next() else { panic!() };
    let all = assignment(&[0, 1, 2, 3]);
    assert_eq!(bench.sync_classic(&joined, &[(&joined.member_id.clone(), all)]), [0, 1, 2, 3]);
    (bench, joined)
}

#[test]
fn a_classic_group_takes_in_a_member_of_the_consumer_protocol_and_its_own_goes_on() {
    let (mut bench, old) = classic_group(GroupConfig::default());
    let joining = bench.joining("new");
    assert_eq!(told(bench.send(joining).unwrap()), (2, Some(vec![])), "the other still owns all of it");
    assert_eq!(bench.beat_classic(&old), Err(GroupError::RebalanceInProgress));
    // It owns all of it still, and is told what it may keep.
    let rejoined = bench.join_classic(old.member_id.as_str(), &[0, 1, 2, 3], 1);
    assert_eq!(rejoined.generation, GenerationId(1));
    assert_eq!(bench.sync_classic(&rejoined, &[]).len(), 2);
    assert_eq!(bench.owns("new", 2, &[]).1, None);
    // Having given up the rest it joins again, and the newcomer gets it.
    let rejoined = bench.join_classic(old.member_id.as_str(), &[0, 1], 1);
    assert_eq!(rejoined.generation, GenerationId(2));
    assert_eq!(bench.sync_classic(&rejoined, &[]), [0, 1]);
    assert_eq!(bench.owns("new", 2, &[]), (2, Some(vec![2, 3])));
    assert_eq!(bench.beat_classic(&rejoined), Ok(()));
    assert_eq!(bench.state(), "Stable");
    bench.restart();
    assert_eq!(bench.beat_classic(&rejoined), Ok(()), "nobody need rejoin");
}

#[test]
fn a_member_of_the_classic_protocol_joins_a_group_of_the_consumer_protocol() {
    let mut bench = Bench::new();
    let joining = bench.joining("new");
    bench.send(joining).unwrap();
    assert_eq!(bench.owns("new", 1, &[0, 1, 2, 3]).0, 1);
    let joined = bench.join_classic("", &[], -1);
    assert_eq!((joined.generation, joined.leader.clone()), (GenerationId(2), None));
    assert_eq!(bench.sync_classic(&joined, &[]), [] as [i32; 0]);
    assert_eq!(bench.beat_classic(&joined), Ok(()), "there is nothing to get yet");
    let (_, kept) = bench.owns("new", 1, &[0, 1, 2, 3]);
    bench.owns("new", 1, &kept.unwrap());
    assert_eq!(bench.beat_classic(&joined), Err(GroupError::RebalanceInProgress));
    let joined = bench.join_classic(joined.member_id.as_str(), &[], 2);
    assert_eq!(bench.sync_classic(&joined, &[]).len(), 2);
    let gibberish = JoinGroup {
        protocols: [Protocol { name: "range".into(), metadata: Bytes::from_static(b"?") }].into(),
        ..bench.classic_join("", &[], -1)
    };
    let Reply::JoinGroup(Err(refused)) = bench.ask(Request::JoinGroup(Box::new(gibberish))) else { panic!() };
    assert_eq!(refused.error, GroupError::InconsistentGroupProtocol);
}

#[test]
fn a_group_in_which_only_classic_members_are_left_is_a_classic_one_again() {
    let (mut bench, old) = classic_group(GroupConfig::default());
    let joining = bench.joining("new");
    bench.send(joining).unwrap();
    let leaving = bench.beat("new", -1);
    bench.send(leaving).unwrap();
    assert!(bench.groups.consumer_groups().is_empty());
    let group_now = bench.groups.group(&group()).unwrap();
    assert_eq!((group_now.members.len(), group_now.state().as_str()), (1, "PreparingRebalance"));
    bench.restart();
    assert!(bench.groups.group(&group()).unwrap().members.contains_key(&old.member_id));
}

#[test]
fn a_classic_member_that_leaves_or_is_silent_gives_up_what_it_had() {
    for is_silent in [true, false] {
        let (mut bench, old) = classic_group(GroupConfig::default());
        let joining = bench.joining("new");
        bench.send(joining).unwrap();
        if is_silent {
            bench.pass(10_000);
        } else {
            let members = vec![LeavingMember { member_id: Some(old.member_id.clone()), instance_id: None }];
            let leave = LeaveGroup { group: group(), members };
            assert_eq!(bench.ask(Request::LeaveGroup(leave)), Reply::LeaveGroup(Ok(vec![Ok(())])));
        }
        assert_eq!(bench.owns("new", 2, &[]).1, Some(vec![0, 1, 2, 3]));
    }
}

#[test]
fn the_migration_policy_is_kept() {
    let mut config = GroupConfig::default();
    config.consumer.migration_policy = MigrationPolicy::Disabled;
    let (mut bench, old) = classic_group(config);
    let joining = bench.joining("new");
    assert_eq!(bench.refused(joining), GroupError::GroupIdNotFound);
    assert_eq!(bench.beat_classic(&old), Ok(()));
}
