//! The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use ottla_protocol::Str;
use ottla_protocol::messages::*;

use super::probe::{Probe, names, settled};
use super::wire::Wire;

const JOIN: std::ops::RangeInclusive<i16> = 0..=9;
const STATIC_JOIN: std::ops::RangeInclusive<i16> = 5..=9;

pub fn join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range")],
        ..JoinGroupRequest::default()
    }
}

fn protocol(name: &str) -> k11_join_group::JoinGroupRequestProtocol {
    k11_join_group::JoinGroupRequestProtocol { name: name.into(), metadata: bytes::Bytes::new() }
}

fn instance(name: &str) -> Option<Str> {
    Some(name.into())
}

pub fn sync(group: &str, generation: i32, member: &str) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        ..SyncGroupRequest::default()
    }
}

fn heartbeat(group: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        ..HeartbeatRequest::default()
    }
}

/// A stable group of one member: its generation and member.
pub async fn stable(wire: &mut Wire, group: &str, instance_id: Option<&str>) -> (i32, String) {
    let mut request = JoinGroupRequest { group_instance_id: instance_id.map(Into::into), ..join(group, "") };
    let mut answer = wire.call(9, &request).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while answer.error_code != 0 && std::time::Instant::now() < deadline {
        request.member_id = answer.member_id.clone();
        answer = wire.call(9, &request).await;
    }
    assert_eq!(answer.error_code, 0, "{group} is joined");
    let (generation, member) = (answer.generation_id, answer.member_id.to_string());
    let mut assign = sync(group, generation, &member);
    assign.assignments = vec![k14_sync_group::SyncGroupRequestAssignment {
        member_id: answer.member_id,
        assignment: bytes::Bytes::from_static(b"all"),
    }];
    assert_eq!(wire.call(3, &assign).await.error_code, 0, "{group} is assigned");
    (generation, member)
}

pub async fn ask(probe: &mut Probe) {
    // The first group makes the topic of groups, which takes a moment.
    let mut wire = probe.another().await;
    let find = FindCoordinatorRequest { key: "first".into(), ..FindCoordinatorRequest::default() };
    assert_eq!(settled(async || wire.call(1, &find).await.error_code).await, 0);
    stable(&mut wire, "first", None).await;
    ask_join(probe).await;
    ask_sync(probe).await;
    ask_heartbeat(probe).await;
    ask_leave(probe).await;
}

async fn ask_join(probe: &mut Probe) {
    let case = async |probe: &mut Probe, name: &str, change: fn(&mut JoinGroupRequest)| {
        let said = async |probe: &mut Probe, version: i16| {
            let mut request = join(&probe.fresh("join"), "");
            change(&mut request);
            let answer = probe.call(version, &request).await;
            let id = if answer.member_id.is_empty() { "without an id" } else { "with an id" };
            format!("{} {id}", names([answer.error_code]))
        };
        probe.each(&format!("JoinGroup, {name}"), JOIN, said).await;
    };
    case(probe, "new", |_| {}).await;
    case(probe, "no group", |request| request.group_id = "".into()).await;
    case(probe, "session timeout too short", |request| request.session_timeout_ms = 5).await;
    case(probe, "session timeout too long", |request| request.session_timeout_ms = 1_900_000).await;
    case(probe, "forged member", |request| request.member_id = "forged".into()).await;
    case(probe, "no protocols", |request| request.protocols = Vec::new()).await;
    case(probe, "no protocol type", |request| request.protocol_type = "".into()).await;
    let in_group = async |probe: &mut Probe, name: &str, change: fn(&mut JoinGroupRequest, &str)| {
        let said = async |probe: &mut Probe, version: i16| {
            let (group, mut wire) = (probe.fresh("join"), probe.another().await);
            let (_, member) = stable(&mut wire, &group, None).await;
            let mut request = join(&group, "");
            change(&mut request, &member);
            names([probe.call(version, &request).await.error_code])
        };
        probe.each(&format!("JoinGroup of a stable group, {name}"), JOIN, said).await;
    };
    in_group(probe, "forged member", |request, _| request.member_id = "forged".into()).await;
    in_group(probe, "other protocol type", |request, _| request.protocol_type = "connect".into()).await;
    in_group(probe, "other protocol", |request, _| request.protocols = vec![protocol("other")]).await;
    in_group(probe, "the only member with another protocol", |request, member| {
        request.member_id = member.into();
        request.protocols = vec![protocol("other")];
    })
    .await;
    in_group(probe, "the only member with another protocol type", |request, member| {
        request.member_id = member.into();
        request.protocol_type = "connect".into();
    })
    .await;
    in_group(probe, "the member again", |request, member| request.member_id = member.into()).await;

    probe
        .each("JoinGroup, static, twice", STATIC_JOIN, async |probe, version| {
            let (group, mut wire) = (probe.fresh("join"), probe.another().await);
            let (generation, first) = stable(&mut wire, &group, Some("i")).await;
            let mut request = join(&group, "");
            request.group_instance_id = instance("i");
            let again = probe.call(version, &request).await;
            let replaced = if again.member_id == first.as_str() { "same id" } else { "new id" };
            let went_on =
                if again.generation_id == generation { "same generation" } else { "new generation" };
            let mut fenced = join(&group, &first);
            fenced.group_instance_id = instance("i");
            let late = probe.call(version, &fenced).await;
            format!(
                "{} {replaced} {went_on}, the first {}",
                names([again.error_code]),
                names([late.error_code])
            )
        })
        .await;
    probe
        .each("JoinGroup, static, unknown instance with a member id", STATIC_JOIN, async |probe, version| {
            let (group, mut wire) = (probe.fresh("join"), probe.another().await);
            let (_, member) = stable(&mut wire, &group, None).await;
            let mut request = join(&group, &member);
            request.group_instance_id = instance("other");
            names([probe.call(version, &request).await.error_code])
        })
        .await;
    probe
        .each("JoinGroup of a full group", 4..=9, async |probe, version| {
            let group = probe.fresh("join");
            let mut waiting = Vec::new();
            for _ in 0..3 {
                let mut wire = probe.another().await;
                let (request, id) = (join(&group, ""), wire.call(9, &join(&group, "")).await.member_id);
                let request = JoinGroupRequest { member_id: id, ..request };
                waiting.push(tokio::spawn(async move { wire.call(9, &request).await }));
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            let said = probe.call(version, &join(&group, "")).await.error_code;
            waiting.iter().for_each(tokio::task::JoinHandle::abort);
            names([said])
        })
        .await;
}

async fn ask_sync(probe: &mut Probe) {
    let versions = 0..=5;
    probe
        .each("SyncGroup, no such group", versions.clone(), async |probe, version| {
            names([probe.call(version, &sync("nothing", 1, "forged")).await.error_code])
        })
        .await;
    probe
        .each("SyncGroup, no group", versions.clone(), async |probe, version| {
            names([probe.call(version, &sync("", 1, "forged")).await.error_code])
        })
        .await;
    let case = async |probe: &mut Probe, name: &str, first: i16, change: fn(&mut SyncGroupRequest)| {
        let said = async |probe: &mut Probe, version: i16| {
            let (group, mut wire) = (probe.fresh("sync"), probe.another().await);
            let (generation, member) = stable(&mut wire, &group, Some("i")).await;
            let mut request = sync(&group, generation, &member);
            if version >= 5 {
                request.protocol_type = Some("consumer".into());
                request.protocol_name = Some("range".into());
            }
            change(&mut request);
            let answer = probe.call(version, &request).await;
            format!("{} {} bytes", names([answer.error_code]), answer.assignment.len())
        };
        probe.each(&format!("SyncGroup, {name}"), first..=5, said).await;
    };
    case(probe, "the member again", 0, |_| {}).await;
    case(probe, "forged member", 0, |request| request.member_id = "forged".into()).await;
    case(probe, "no member", 0, |request| request.member_id = "".into()).await;
    case(probe, "stale generation", 0, |request| request.generation_id -= 1).await;
    case(probe, "future generation", 0, |request| request.generation_id += 1).await;
    case(probe, "unknown instance", 3, |request| request.group_instance_id = instance("other")).await;
    case(probe, "fenced instance", 3, |request| {
        request.group_instance_id = instance("i");
        request.member_id = "forged".into();
    })
    .await;
    case(probe, "other protocol type", 5, |request| request.protocol_type = Some("connect".into())).await;
    case(probe, "other protocol", 5, |request| request.protocol_name = Some("other".into())).await;
    case(probe, "no protocol", 5, |request| (request.protocol_type, request.protocol_name) = (None, None))
        .await;
}

async fn ask_heartbeat(probe: &mut Probe) {
    let versions = 0..=4;
    for (name, group) in [("no such group", "nothing"), ("no group", "")] {
        let case = format!("Heartbeat, {name}");
        probe
            .each(&case, versions.clone(), async |probe, version| {
                names([probe.call(version, &heartbeat(group, 1, "forged")).await.error_code])
            })
            .await;
    }
    let case = async |probe: &mut Probe, name: &str, first: i16, change: fn(&mut HeartbeatRequest)| {
        let said = async |probe: &mut Probe, version: i16| {
            let (group, mut wire) = (probe.fresh("heartbeat"), probe.another().await);
            let (generation, member) = stable(&mut wire, &group, Some("i")).await;
            let mut request = heartbeat(&group, generation, &member);
            change(&mut request);
            names([probe.call(version, &request).await.error_code])
        };
        probe.each(&format!("Heartbeat, {name}"), first..=4, said).await;
    };
    case(probe, "well", 0, |_| {}).await;
    case(probe, "forged member", 0, |request| request.member_id = "forged".into()).await;
    case(probe, "stale generation", 0, |request| request.generation_id -= 1).await;
    case(probe, "negative generation", 0, |request| request.generation_id = -1).await;
    case(probe, "unknown instance", 3, |request| request.group_instance_id = instance("other")).await;
    case(probe, "fenced instance", 3, |request| {
        request.group_instance_id = instance("i");
        request.member_id = "forged".into();
    })
    .await;
    probe
        .each("Heartbeat, Sync, OffsetCommit while another joins", versions, async |probe, version| {
            let (group, mut wire) = (probe.fresh("heartbeat"), probe.another().await);
            let (generation, member) = stable(&mut wire, &group, None).await;
            let mut other = probe.another().await;
            let id = other.call(9, &join(&group, "")).await.member_id;
            let request = JoinGroupRequest { member_id: id, ..join(&group, "") };
            let joining = tokio::spawn(async move { other.call(9, &request).await });
            let beat = heartbeat(&group, generation, &member);
            let mut code = 0;
            for _ in 0..100 {
                code = probe.call(version, &beat).await.error_code;
                if code != 0 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let synced = probe.call(version, &sync(&group, generation, &member)).await.error_code;
            let commit = super::offsets::commit(&group, generation, &member, "t");
            let committed = probe.call(7, &commit).await.topics[0].partitions[0].error_code;
            let stale = super::offsets::commit(&group, generation - 1, &member, "t");
            let stale = probe.call(7, &stale).await.topics[0].partitions[0].error_code;
            joining.abort();
            names([code, synced, committed, stale])
        })
        .await;
}

async fn ask_leave(probe: &mut Probe) {
    let leave = |version: i16, group: &str, member: &str, instance_id: Option<&str>| match version {
        0..=2 => LeaveGroupRequest {
            group_id: group.into(),
            member_id: member.into(),
            ..LeaveGroupRequest::default()
        },
        _ => LeaveGroupRequest {
            group_id: group.into(),
            members: vec![k13_leave_group::MemberIdentity {
                member_id: member.into(),
                group_instance_id: instance_id.map(Into::into),
                reason: None,
            }],
            ..LeaveGroupRequest::default()
        },
    };
    let said = |answer: LeaveGroupResponse| {
        let members = names(answer.members.iter().map(|member| member.error_code));
        format!("{} [{members}]", names([answer.error_code]))
    };
    for (name, group) in [("no such group", "nothing"), ("no group", "")] {
        let case = format!("LeaveGroup, {name}");
        probe
            .each(&case, 0..=5, async |probe, version| {
                said(probe.call(version, &leave(version, group, "forged", None)).await)
            })
            .await;
    }
    probe
        .each("LeaveGroup, forged member, then the member, then again", 0..=5, async |probe, version| {
            let (group, mut wire) = (probe.fresh("leave"), probe.another().await);
            let (_, member) = stable(&mut wire, &group, None).await;
            let mut all = Vec::new();
            for member in ["forged", &member, &member] {
                all.push(said(probe.call(version, &leave(version, &group, member, None)).await));
            }
            all.join(" ")
        })
        .await;
    probe
        .each(
            "LeaveGroup, unknown instance, fenced instance, the instance alone",
            3..=5,
            async |probe, version| {
                let (group, mut wire) = (probe.fresh("leave"), probe.another().await);
                stable(&mut wire, &group, Some("i")).await;
                let mut all = Vec::new();
                for (member, instance_id) in [("", "other"), ("forged", "i"), ("", "i")] {
                    let request = leave(version, &group, member, Some(instance_id));
                    all.push(said(probe.call(version, &request).await));
                }
                all.join(" ")
            },
        )
        .await;
    probe
        .each(
            "a group that is left: Heartbeat, Sync, commits by the member and by nobody",
            3..=3,
            async |probe, _| {
                let (group, mut wire) = (probe.fresh("leave"), probe.another().await);
                let (generation, member) = stable(&mut wire, &group, None).await;
                probe.call(3, &leave(3, &group, &member, None)).await;
                let beat = probe.call(3, &heartbeat(&group, generation, &member)).await.error_code;
                let synced = probe.call(3, &sync(&group, generation, &member)).await.error_code;
                let mut codes = vec![beat, synced];
                for (generation, member) in [(generation, &*member), (-1, ""), (-1, "forged"), (0, "forged")]
                {
                    let commit = super::offsets::commit(&group, generation, member, "t");
                    codes.push(probe.call(7, &commit).await.topics[0].partitions[0].error_code);
                }
                names(codes)
            },
        )
        .await;
}
