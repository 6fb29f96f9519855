//! The protocol in which the coordinator assigns (KIP-848): ConsumerGroupHeartbeat, ConsumerGroupDescribe, and commits of
//! its members.

use ottla_protocol::messages::*;

use super::groups::{join, stable};
use super::offsets::commit;
use super::probe::{Probe, names};

type Beat = ConsumerGroupHeartbeatRequest;

fn first_beat(group: &str, member: &str) -> Beat {
    Beat {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..Beat::default()
    }
}

/// What a member says that has nothing new.
fn next_beat(group: &str, member: &str, epoch: i32) -> Beat {
    Beat { group_id: group.into(), member_id: member.into(), member_epoch: epoch, ..Beat::default() }
}

pub async fn ask(probe: &mut Probe) {
    let joins = async |probe: &mut Probe, name: &str, first: i16, change: fn(&mut Beat)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let mut request = first_beat(&probe.fresh("consumer"), "me");
            change(&mut request);
            let answer = probe.call(version, &request).await;
            format!("{} epoch {}", names([answer.error_code]), answer.member_epoch)
        };
        probe.each(&format!("ConsumerGroupHeartbeat that joins, {name}"), first..=1, ask).await;
    };
    joins(probe, "well", 0, |_| {}).await;
    joins(probe, "no group", 0, |beat| beat.group_id = "".into()).await;
    joins(probe, "no member", 0, |beat| beat.member_id = "".into()).await;
    joins(probe, "no rebalance timeout", 0, |beat| beat.rebalance_timeout_ms = -1).await;
    joins(probe, "no topics", 0, |beat| beat.subscribed_topic_names = None).await;
    joins(probe, "an empty list of topics", 0, |beat| beat.subscribed_topic_names = Some(Vec::new())).await;
    joins(probe, "no partitions", 0, |beat| beat.topic_partitions = None).await;
    joins(probe, "partitions", 0, |beat| {
        let owned =
            k68_consumer_group_heartbeat::TopicPartitions { partitions: vec![0], ..Default::default() };
        beat.topic_partitions = Some(vec![owned]);
    })
    .await;
    joins(probe, "no such assignor", 0, |beat| beat.server_assignor = Some("other".into())).await;
    joins(probe, "an empty assignor", 0, |beat| beat.server_assignor = Some("".into())).await;
    joins(probe, "an empty instance", 0, |beat| beat.instance_id = Some("".into())).await;
    joins(probe, "an empty rack", 0, |beat| beat.rack_id = Some("".into())).await;
    joins(probe, "a pattern that is none", 1, |beat| beat.subscribed_topic_regex = Some("(".into())).await;
    joins(probe, "an epoch in a group that is not there", 0, |beat| beat.member_epoch = 5).await;
    joins(probe, "leaves a group that is not there", 0, |beat| beat.member_epoch = -1).await;
    joins(probe, "a negative epoch", 0, |beat| beat.member_epoch = -3).await;
    joins(probe, "leaves as a static member without an instance", 0, |beat| beat.member_epoch = -2).await;

    let goes_on = async |probe: &mut Probe, name: &str, change: fn(&mut Beat)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let group = probe.fresh("consumer");
            let mut request = first_beat(&group, "me");
            request.instance_id = Some("i".into());
            let epoch = probe.call(version, &request).await.member_epoch;
            let mut request = next_beat(&group, "me", epoch);
            request.instance_id = Some("i".into());
            change(&mut request);
            let answer = probe.call(version, &request).await;
            format!("{} epoch {}", names([answer.error_code]), answer.member_epoch)
        };
        probe.each(&format!("ConsumerGroupHeartbeat, {name}"), 0..=1, ask).await;
    };
    goes_on(probe, "well", |_| {}).await;
    goes_on(probe, "forged member", |beat| (beat.member_id, beat.instance_id) = ("forged".into(), None))
        .await;
    goes_on(probe, "stale epoch", |beat| beat.member_epoch -= 1).await;
    goes_on(probe, "future epoch", |beat| beat.member_epoch += 1).await;
    // Not asked of a static member: Kafka takes the repeated first heartbeat of one, whose answer was lost, for another's.
    probe
        .each("ConsumerGroupHeartbeat, joins again", 0..=1, async |probe, version| {
            let request = first_beat(&probe.fresh("consumer"), "me");
            probe.call(version, &request).await;
            let answer = probe.call(version, &request).await;
            format!("{} epoch {}", names([answer.error_code]), answer.member_epoch)
        })
        .await;
    goes_on(probe, "unknown instance", |beat| beat.instance_id = Some("other".into())).await;
    goes_on(probe, "another joins with the instance", |beat| {
        let group = beat.group_id.clone();
        *beat = Beat { group_id: group, instance_id: beat.instance_id.clone(), ..first_beat("", "other") };
    })
    .await;
    goes_on(probe, "another goes on with the instance", |beat| beat.member_id = "other".into()).await;
    goes_on(probe, "no such assignor", |beat| beat.server_assignor = Some("other".into())).await;
    goes_on(probe, "leaves", |beat| beat.member_epoch = -1).await;
    goes_on(probe, "leaves for a while", |beat| beat.member_epoch = -2).await;
    goes_on(probe, "leaves for a while, forged", |beat| {
        (beat.member_id, beat.member_epoch) = ("forged".into(), -2);
    })
    .await;

    ask_commits(probe).await;
    ask_between_protocols(probe).await;
}

async fn ask_commits(probe: &mut Probe) {
    probe
        .each(
            "OffsetCommit of a member: well, stale, future, forged, outside",
            2..=9,
            async |probe, version| {
                let group = probe.fresh("consumer");
                let epoch = probe.call(0, &first_beat(&group, "me")).await.member_epoch;
                let mut codes = Vec::new();
                for (member, epoch) in [
                    ("me", epoch),
                    ("me", epoch - 1),
                    ("me", epoch + 1),
                    ("forged", epoch),
                    ("", -1),
                    ("me", -1),
                ] {
                    let answer = probe.call(version, &commit(&group, epoch, member, "t")).await;
                    codes.push(answer.topics[0].partitions[0].error_code);
                }
                names(codes)
            },
        )
        .await;
    probe
        .each(
            "OffsetFetch of a member: well, stale, future, forged, outside",
            9..=9,
            async |probe, version| {
                let group = probe.fresh("consumer");
                let epoch = probe.call(0, &first_beat(&group, "me")).await.member_epoch;
                let mut codes = Vec::new();
                for (member, epoch) in [
                    (Some("me"), epoch),
                    (Some("me"), epoch - 1),
                    (Some("me"), epoch + 1),
                    (Some("forged"), epoch),
                    (None, -1),
                    (Some(""), 0),
                ] {
                    let group = k09_offset_fetch::OffsetFetchRequestGroup {
                        group_id: group.as_str().into(),
                        member_id: member.map(Into::into),
                        member_epoch: epoch,
                        topics: None,
                    };
                    let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
                    codes.push(probe.call(version, &request).await.groups[0].error_code);
                }
                names(codes)
            },
        )
        .await;
    probe
        .each(
            "ConsumerGroupDescribe: no such group, no group, classic, consumer",
            0..=1,
            async |probe, version| {
                let (classic, group) = (probe.fresh("consumer"), probe.fresh("consumer"));
                let mut wire = probe.another().await;
                stable(&mut wire, &classic, None).await;
                probe.call(0, &first_beat(&group, "me")).await;
                let mut codes = Vec::new();
                for group in ["nothing", "", &classic, &group] {
                    let request = ConsumerGroupDescribeRequest {
                        group_ids: vec![group.into()],
                        ..ConsumerGroupDescribeRequest::default()
                    };
                    codes.push(probe.call(version, &request).await.groups[0].error_code);
                }
                names(codes)
            },
        )
        .await;
}

async fn ask_between_protocols(probe: &mut Probe) {
    probe
        .each(
            "JoinGroup of a group of the other protocol, without and with what it can read",
            9..=9,
            async |probe, version| {
                let group = probe.fresh("consumer");
                probe.call(0, &first_beat(&group, "me")).await;
                let unreadable = probe.call(version, &join(&group, "")).await.error_code;
                let mut other = join(&group, "forged");
                other.protocol_type = "connect".into();
                names([unreadable, probe.call(version, &other).await.error_code])
            },
        )
        .await;
    probe
        .each(
            "Heartbeat, SyncGroup, LeaveGroup of a member of the other protocol",
            3..=3,
            async |probe, version| {
                let group = probe.fresh("consumer");
                let epoch = probe.call(0, &first_beat(&group, "me")).await.member_epoch;
                let beat = HeartbeatRequest {
                    group_id: group.as_str().into(),
                    generation_id: epoch,
                    member_id: "me".into(),
                    ..HeartbeatRequest::default()
                };
                let synced = super::groups::sync(&group, epoch, "me");
                let leave = LeaveGroupRequest {
                    group_id: group.as_str().into(),
                    members: vec![k13_leave_group::MemberIdentity {
                        member_id: "me".into(),
                        group_instance_id: None,
                        reason: None,
                    }],
                    ..LeaveGroupRequest::default()
                };
                let codes = [
                    probe.call(version, &beat).await.error_code,
                    probe.call(version, &synced).await.error_code,
                ];
                let left = probe.call(version, &leave).await;
                format!(
                    "{} {} {}",
                    names(codes),
                    names([left.error_code]),
                    names(left.members.iter().map(|m| m.error_code))
                )
            },
        )
        .await;
    probe
        .each(
            "ConsumerGroupHeartbeat that joins a classic group with a member it cannot read",
            0..=1,
            async |probe, version| {
                let (group, mut wire) = (probe.fresh("consumer"), probe.another().await);
                stable(&mut wire, &group, None).await;
                names([probe.call(version, &first_beat(&group, "me")).await.error_code])
            },
        )
        .await;
}
