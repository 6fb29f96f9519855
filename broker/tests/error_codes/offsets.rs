//! Offsets of groups, and what is asked about groups: OffsetCommit, OffsetFetch, OffsetDelete, DeleteGroups,
//! DescribeGroups.

use ottla_protocol::messages::*;

use super::groups::stable;
use super::probe::{Probe, names};

pub fn commit(group: &str, generation: i32, member: &str, topic: &str) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![k08_offset_commit::OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![k08_offset_commit::OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: 3,
                committed_metadata: Some("".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..OffsetCommitRequest::default()
    }
}

fn said(answer: &OffsetCommitResponse) -> String {
    names(answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code))
}

pub async fn ask(probe: &mut Probe) {
    let without = async |probe: &mut Probe, name: &str, change: fn(&mut OffsetCommitRequest)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let mut request = commit(&probe.fresh("offsets"), -1, "", "t");
            change(&mut request);
            said(&probe.call(version, &request).await)
        };
        probe.each(&format!("OffsetCommit without a group, {name}"), 2..=9, ask).await;
    };
    without(probe, "well", |_| {}).await;
    without(probe, "no group", |request| request.group_id = "".into()).await;
    without(probe, "a generation", |request| request.generation_id_or_member_epoch = 1).await;
    without(probe, "generation 0", |request| request.generation_id_or_member_epoch = 0).await;
    without(probe, "a member", |request| request.member_id = "forged".into()).await;
    without(probe, "no such topic", |request| request.topics[0].name = "nothing".into()).await;
    without(probe, "no such partition", |request| request.topics[0].partitions[0].partition_index = 9).await;
    without(probe, "negative offset", |request| request.topics[0].partitions[0].committed_offset = -2).await;
    without(probe, "metadata too large", |request| {
        request.topics[0].partitions[0].committed_metadata = Some("x".repeat(4097).as_str().into());
    })
    .await;
    let within = async |probe: &mut Probe, name: &str, first: i16, change: fn(&mut OffsetCommitRequest)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let (group, mut wire) = (probe.fresh("offsets"), probe.another().await);
            let (generation, member) = stable(&mut wire, &group, Some("i")).await;
            let mut request = commit(&group, generation, &member, "t");
            change(&mut request);
            said(&probe.call(version, &request).await)
        };
        probe.each(&format!("OffsetCommit, {name}"), first..=9, ask).await;
    };
    within(probe, "well", 2, |_| {}).await;
    within(probe, "forged member", 2, |request| request.member_id = "forged".into()).await;
    within(probe, "no member", 2, |request| request.member_id = "".into()).await;
    within(probe, "from outside", 2, |request| {
        (request.member_id, request.generation_id_or_member_epoch) = ("".into(), -1);
    })
    .await;
    within(probe, "a member without generation", 2, |request| request.generation_id_or_member_epoch = -1)
        .await;
    within(probe, "stale generation", 2, |request| request.generation_id_or_member_epoch -= 1).await;
    within(probe, "future generation", 2, |request| request.generation_id_or_member_epoch += 1).await;
    within(probe, "unknown instance", 7, |request| request.group_instance_id = Some("other".into())).await;
    within(probe, "fenced instance", 7, |request| {
        (request.member_id, request.group_instance_id) = ("forged".into(), Some("i".into()));
    })
    .await;
    ask_fetch(probe).await;
    ask_about_groups(probe).await;
}

fn fetched(answer: &OffsetFetchResponse) -> String {
    let mut said = Vec::new();
    for group in &answer.groups {
        said.push(names([group.error_code]));
        for partition in group.topics.iter().flat_map(|topic| &topic.partitions) {
            said.push(format!("{} {}", names([partition.error_code]), partition.committed_offset));
        }
    }
    if answer.groups.is_empty() {
        said.push(names([answer.error_code]));
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            said.push(format!("{} {}", names([partition.error_code]), partition.committed_offset));
        }
    }
    said.join(", ")
}

fn fetch(version: i16, group: &str, topic: &str) -> OffsetFetchRequest {
    if version < 8 {
        return OffsetFetchRequest {
            group_id: group.into(),
            topics: Some(vec![k09_offset_fetch::OffsetFetchRequestTopic {
                name: topic.into(),
                partition_indexes: vec![0],
            }]),
            ..OffsetFetchRequest::default()
        };
    }
    let topics = vec![k09_offset_fetch::OffsetFetchRequestTopics {
        name: topic.into(),
        partition_indexes: vec![0],
        ..Default::default()
    }];
    let group = k09_offset_fetch::OffsetFetchRequestGroup {
        group_id: group.into(),
        topics: Some(topics),
        ..Default::default()
    };
    OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }
}

async fn ask_fetch(probe: &mut Probe) {
    for (name, group, topic) in
        [("no such group", "nothing", "t"), ("no group", "", "t"), ("no such topic", "nothing", "nothing")]
    {
        let case = format!("OffsetFetch, {name}");
        probe
            .each(&case, 1..=9, async |probe, version| {
                fetched(&probe.call(version, &fetch(version, group, topic)).await)
            })
            .await;
    }
    probe
        .each("OffsetFetch of a classic group by a member", 9..=9, async |probe, version| {
            let (group, mut wire) = (probe.fresh("offsets"), probe.another().await);
            let (generation, member) = stable(&mut wire, &group, None).await;
            let mut said = Vec::new();
            for (member, epoch) in
                [(&*member, generation), (&*member, generation + 1), ("forged", generation)]
            {
                let mut request = fetch(version, &group, "t");
                request.groups[0].member_id = Some(member.into());
                request.groups[0].member_epoch = epoch;
                said.push(fetched(&probe.call(version, &request).await));
            }
            said.join("; ")
        })
        .await;
}

async fn ask_about_groups(probe: &mut Probe) {
    let delete = |group: &str| DeleteGroupsRequest { groups_names: vec![group.into()] };
    probe
        .each(
            "DeleteGroups, no such group, no group, a group with a member, one without",
            0..=2,
            async |probe, version| {
                let (group, mut wire) = (probe.fresh("delete"), probe.another().await);
                stable(&mut wire, &group, None).await;
                let simple = probe.fresh("delete");
                probe.call(7, &commit(&simple, -1, "", "t")).await;
                let mut codes = Vec::new();
                for group in ["nothing", "", &group, &simple, &simple] {
                    codes.push(probe.call(version, &delete(group)).await.results[0].error_code);
                }
                names(codes)
            },
        )
        .await;
    let forget = |group: &str, topic: &str| OffsetDeleteRequest {
        group_id: group.into(),
        topics: vec![k47_offset_delete::OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![k47_offset_delete::OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    probe
        .each("OffsetDelete", 0..=0, async |probe, version| {
            let (group, mut wire) = (probe.fresh("delete"), probe.another().await);
            stable(&mut wire, &group, None).await;
            let simple = probe.fresh("delete");
            probe.call(7, &commit(&simple, -1, "", "t")).await;
            let mut said = Vec::new();
            for (group, topic) in
                [("nothing", "t"), ("", "t"), (&*group, "t"), (&*simple, "nothing"), (&*simple, "t")]
            {
                let answer = probe.call(version, &forget(group, topic)).await;
                let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
                let partitions = names(partitions.map(|partition| partition.error_code));
                said.push(format!("{} [{partitions}]", names([answer.error_code])));
            }
            said.join(", ")
        })
        .await;
    probe
        .each("DescribeGroups, no such group, no group, a group", 0..=6, async |probe, version| {
            let (group, mut wire) = (probe.fresh("describe"), probe.another().await);
            stable(&mut wire, &group, None).await;
            let mut said = Vec::new();
            for group in ["nothing", "", &group] {
                let request =
                    DescribeGroupsRequest { groups: vec![group.into()], ..DescribeGroupsRequest::default() };
                let answer = probe.call(version, &request).await;
                let group = &answer.groups[0];
                said.push(format!("{} {}", names([group.error_code]), group.group_state));
            }
            said.join(", ")
        })
        .await;
}
