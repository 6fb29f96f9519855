//! What holds of every assignment, for random groups.

use proptest::prelude::*;

use super::*;

/// Topics 1 to 5 with up to 12 partitions each, and up to 8 members that each want some of them.
fn an_input() -> impl Strategy<Value = AssignorInput> {
    let topics = proptest::collection::vec(0i32..12, 1..5);
    let members = proptest::collection::vec((any::<u8>(), any::<bool>()), 1..8);
    (topics, members, any::<bool>()).prop_map(|(topics, members, alike)| {
        let topics: BTreeMap<Uuid, i32> = (1..).map(Uuid::from_u128).zip(topics).collect();
        let members = members.iter().enumerate().map(|(place, (wishes, is_static))| {
            let wishes = if alike { 0xff } else { *wishes };
            let wanted = topics.keys().enumerate().filter(|(bit, _)| wishes & (1 << bit) != 0);
            let member = AssignorMember {
                instance_id: is_static.then(|| InstanceId::from(format!("i{place}"))),
                topics: Arc::new(wanted.map(|(_, topic)| *topic).collect()),
                before: Arc::default(),
            };
            (MemberId::from(format!("m{place}")), member)
        });
        AssignorInput { members: members.collect(), topics: topics.clone() }
    })
}

/// The same group as it is after the assignment.
fn after(input: &AssignorInput, target: &BTreeMap<MemberId, PartitionSet>) -> AssignorInput {
    let mut input = input.clone();
    for (member_id, member) in &mut input.members {
        member.before = Arc::new(target.get(member_id).cloned().unwrap_or_default());
    }
    input
}

fn check_valid(input: &AssignorInput, target: &BTreeMap<MemberId, PartitionSet>) {
    assert!(target.keys().eq(input.members.keys()), "every member is told");
    let mut owners: BTreeMap<(Uuid, i32), &MemberId> = BTreeMap::new();
    for (member_id, partitions) in target {
        for (topic, partition) in partitions.iter() {
            assert!(input.members[member_id].topics.contains(&topic), "only what it asked for");
            assert!(partition < input.topics[&topic], "only what exists");
            assert_eq!(owners.insert((topic, partition), member_id), None, "one owner each");
        }
    }
    for (topic, count) in &input.topics {
        let wanted = input.members.values().any(|member| member.topics.contains(topic));
        let owned = (0..*count).filter(|partition| owners.contains_key(&(*topic, *partition))).count();
        assert_eq!(owned, if wanted { *count as usize } else { 0 }, "everything that is wanted has an owner");
    }
}

/// Nothing can be moved to make it more even.
fn check_balanced(input: &AssignorInput, target: &BTreeMap<MemberId, PartitionSet>) {
    for (owner, partitions) in target {
        for (topic, _) in partitions.iter() {
            for (other, member) in &input.members {
                if member.topics.contains(&topic) {
                    assert!(
                        partitions.len() <= target[other].len() + 1,
                        "{owner} has too many, {other} too few"
                    );
                }
            }
        }
    }
}

fn moved(before: &BTreeMap<MemberId, PartitionSet>, now: &BTreeMap<MemberId, PartitionSet>) -> usize {
    before.iter().map(|(id, had)| had.difference(now.get(id).unwrap_or(&PartitionSet::default())).len()).sum()
}

proptest! {
    #[test]
    fn each_wanted_partition_has_one_owner_that_wants_it(input in an_input()) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            check_valid(&input, &assignor.assign(&input));
        }
    }

    #[test]
    fn uniform_is_balanced_and_moves_nothing_without_need(input in an_input()) {
        let first = Assignor::Uniform.assign(&input);
        check_balanced(&input, &first);
        let again = Assignor::Uniform.assign(&after(&input, &first));
        prop_assert_eq!(first, again);
    }

    #[test]
    fn uniform_moves_the_least_when_members_come_and_go(
        partitions in 0i32..40, members in 1usize..10, leave in 0usize..10, join in 0usize..10,
    ) {
        let topic = Uuid::from_u128(1);
        let wants = Arc::new(BTreeSet::from([topic]));
        let member = || AssignorMember { topics: wants.clone(), ..AssignorMember::default() };
        let mut input = AssignorInput::default();
        input.topics.insert(topic, partitions);
        input.members.extend((0..members).map(|place| (MemberId::from(format!("m{place}")), member())));
        let first = Assignor::Uniform.assign(&input);
        let mut changed = after(&input, &first);
        for place in 0..leave.min(members) {
            changed.members.remove(&MemberId::from(format!("m{place}")));
        }
        changed.members.extend((0..join).map(|place| (MemberId::from(format!("n{place}")), member())));
        if changed.members.is_empty() {
            return Ok(());
        }
        let second = Assignor::Uniform.assign(&changed);
        check_valid(&changed, &second);
        check_balanced(&changed, &second);
        // Whoever stays gives up no more than what is above its new share.
        let (share, larger) = (partitions as usize / changed.members.len(), partitions as usize % changed.members.len());
        let stayed: Vec<usize> =
            changed.members.values().map(|member| member.before.len()).collect();
        let mut larger_left = larger;
        let must_move: usize = stayed.iter().map(|had| {
            let quota = if *had > share && larger_left > 0 { larger_left -= 1; share + 1 } else { share };
            had.saturating_sub(quota)
        }).sum();
        let kept: BTreeMap<_, _> =
            first.into_iter().filter(|(id, _)| changed.members.contains_key(id)).collect();
        prop_assert_eq!(moved(&kept, &second), must_move);
    }

    #[test]
    fn range_gives_the_same_numbers_of_like_topics_to_one_member(count in 0i32..20, members in 1usize..9) {
        let topics = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let wants = Arc::new(BTreeSet::from(topics));
        let mut input = AssignorInput { topics: topics.iter().map(|id| (*id, count)).collect(), ..Default::default() };
        for place in 0..members {
            let member = AssignorMember { topics: wants.clone(), ..AssignorMember::default() };
            input.members.insert(MemberId::from(format!("m{place}")), member);
        }
        for partitions in Assignor::Range.assign(&input).values() {
            let of = |id: Uuid| partitions.topics().find(|(topic, _)| *topic == id).map(|(_, set)| set.clone());
            prop_assert_eq!(of(topics[0]), of(topics[1]));
        }
    }
}
