//! `uniform`: as even as the subscriptions allow, and sticky: a partition moves only where that makes it more even.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{AssignorInput, AssignorMember};
use crate::groups::consumer::PartitionSet;
use crate::groups::names::MemberId;

pub(super) fn assign(input: &AssignorInput) -> BTreeMap<MemberId, PartitionSet> {
    let Some(first) = input.members.values().next() else { return BTreeMap::new() };
    let (mut target, unassigned) = keep_what_may_stay(input);
    if input.members.values().all(|member| member.topics == first.topics) {
        assign_alike(input, &mut target, unassigned);
    } else {
        assign_unlike(input, &mut target, unassigned);
    }
    target
}

/// What members had, still exists and is still asked for; and all other partitions, topic by topic.
fn keep_what_may_stay(input: &AssignorInput) -> (BTreeMap<MemberId, PartitionSet>, Vec<(Uuid, i32)>) {
    let mut taken: BTreeSet<(Uuid, i32)> = BTreeSet::new();
    let mut target = BTreeMap::new();
    for (member_id, member) in &input.members {
        let may_stay = |(topic, partition): &(Uuid, i32)| {
            member.topics.contains(topic) && input.topics.get(topic).is_some_and(|count| partition < count)
        };
        let kept = member.before.iter().filter(may_stay).filter(|partition| taken.insert(*partition));
        target.insert(member_id.clone(), kept.collect::<PartitionSet>());
    }
    let wanted: BTreeSet<Uuid> =
        input.members.values().flat_map(|member| member.topics.iter().copied()).collect();
    let all = wanted.iter().flat_map(|topic| {
        let count = input.topics.get(topic).copied().unwrap_or(0);
        (0..count).map(|partition| (*topic, partition))
    });
    let unassigned = all.filter(|partition| !taken.contains(partition)).collect();
    (target, unassigned)
}

/// All members ask for the same: each gets the same number, give or take one. Those that have more keep it as long as
/// there is a larger share to have.
fn assign_alike(
    input: &AssignorInput,
    target: &mut BTreeMap<MemberId, PartitionSet>,
    mut unassigned: Vec<(Uuid, i32)>,
) {
    let total = unassigned.len() + target.values().map(PartitionSet::len).sum::<usize>();
    let (share, mut larger_shares) = (total / input.members.len(), total % input.members.len());
    let mut room = Vec::new();
    for (member_id, partitions) in target.iter_mut() {
        let has = partitions.len();
        let quota = if has > share && larger_shares > 0 {
            larger_shares -= 1;
            share + 1
        } else {
            share
        };
        let too_many: Vec<_> = partitions.iter().skip(quota).collect();
        for (topic, partition) in too_many {
            partitions.remove(topic, partition);
            unassigned.push((topic, partition));
        }
        room.push((member_id.clone(), quota));
    }
    unassigned.sort_unstable();
    let mut unassigned = unassigned.into_iter();
    for (member_id, quota) in room {
        let Some(partitions) = target.get_mut(&member_id) else { continue };
        let quota = if quota == share && larger_shares > 0 {
            larger_shares -= 1;
            share + 1
        } else {
            quota
        };
        let missing = quota.saturating_sub(partitions.len());
        partitions.extend(unassigned.by_ref().take(missing));
    }
}

/// Members ask for different topics: the least loaded subscriber gets each partition, those with the fewest subscribers
/// first; then partitions move to subscribers that have at least two fewer, until there is none.
fn assign_unlike(
    input: &AssignorInput,
    target: &mut BTreeMap<MemberId, PartitionSet>,
    mut unassigned: Vec<(Uuid, i32)>,
) {
    let mut subscribers: BTreeMap<Uuid, Vec<&MemberId>> = BTreeMap::new();
    for (member_id, AssignorMember { topics, .. }) in &input.members {
        for topic in topics.iter() {
            subscribers.entry(*topic).or_default().push(member_id);
        }
    }
    let mut loads: BTreeMap<MemberId, usize> =
        target.iter().map(|(member_id, partitions)| (member_id.clone(), partitions.len())).collect();
    unassigned
        .sort_by_key(|(topic, partition)| (subscribers.get(topic).map_or(0, Vec::len), *topic, *partition));
    for (topic, partition) in unassigned {
        if let Some(member_id) = least_loaded(&subscribers, &loads, topic) {
            give(target, &mut loads, member_id, topic, partition);
        }
    }
    // Each move lessens the sum of the squares of the loads, so this ends.
    loop {
        let mut moved = false;
        let members: Vec<MemberId> = target.keys().cloned().collect();
        for from in &members {
            let has: Vec<(Uuid, i32)> = target.get(from).into_iter().flat_map(PartitionSet::iter).collect();
            for (topic, partition) in has {
                let Some(to) = least_loaded(&subscribers, &loads, topic) else { continue };
                let load = |member_id| loads.get(member_id).copied().unwrap_or(0);
                if load(from) < load(&to) + 2 {
                    continue;
                }
                if let Some(partitions) = target.get_mut(from) {
                    partitions.remove(topic, partition);
                }
                if let Some(load) = loads.get_mut(from) {
                    *load -= 1;
                }
                give(target, &mut loads, to, topic, partition);
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}

fn least_loaded(
    subscribers: &BTreeMap<Uuid, Vec<&MemberId>>,
    loads: &BTreeMap<MemberId, usize>,
    topic: Uuid,
) -> Option<MemberId> {
    let of_topic = subscribers.get(&topic)?;
    of_topic
        .iter()
        .min_by_key(|member_id| loads.get(**member_id).copied().unwrap_or(0))
        .map(|id| (*id).clone())
}

fn give(
    target: &mut BTreeMap<MemberId, PartitionSet>,
    loads: &mut BTreeMap<MemberId, usize>,
    member_id: MemberId,
    topic: Uuid,
    partition: i32,
) {
    *loads.entry(member_id.clone()).or_default() += 1;
    target.entry(member_id).or_default().insert(topic, partition);
}
