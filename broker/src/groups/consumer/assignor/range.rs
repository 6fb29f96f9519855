//! `range`: each topic's partitions in stretches, one a member, in the members' order. Topics with as many partitions and
//! the same subscribers are cut alike, so records of one key in all of them meet at one member.

use std::collections::BTreeMap;

use super::{AssignorInput, AssignorMember};
use crate::groups::consumer::PartitionSet;
use crate::groups::names::MemberId;

pub(super) fn assign(input: &AssignorInput) -> BTreeMap<MemberId, PartitionSet> {
    let mut target: BTreeMap<MemberId, PartitionSet> =
        input.members.keys().map(|member_id| (member_id.clone(), PartitionSet::default())).collect();
    for (topic, partition_count) in &input.topics {
        let mut subscribers: Vec<(&MemberId, &AssignorMember)> =
            input.members.iter().filter(|(_, member)| member.topics.contains(topic)).collect();
        // Static members first, by the name that outlives their member ids, so that they keep their place.
        subscribers.sort_by_key(|(member_id, member)| {
            (member.instance_id.is_none(), member.instance_id.clone(), (*member_id).clone())
        });
        let count = i32::try_from(subscribers.len()).unwrap_or(i32::MAX).max(1);
        let (share, larger_shares) = (partition_count / count, partition_count % count);
        let mut next = 0;
        for (place, (member_id, _)) in (0..).zip(subscribers) {
            let end = next + share + i32::from(place < larger_shares);
            if let Some(partitions) = target.get_mut(member_id) {
                partitions.extend((next..end).map(|partition| (*topic, partition)));
            }
            next = end;
        }
    }
    target
}
