//! Drives many members of groups against a broker and prints what it costs: see tests/bench/groups.sh.
//!
//! `groups rebalance ADDRESS PROTOCOL MEMBERS PARTITIONS` has members join one group one after the other, then measures from
//! the last join until every member has its share. `groups heartbeats ADDRESS MEMBERS SECONDS PID` keeps members, a hundred a
//! group, each with a heartbeat every five seconds, and measures the CPU time of the broker.

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_protocol::frame::{RequestHeader, ResponseHeader};
use ottla_protocol::messages::k11_join_group::JoinGroupRequestProtocol;
use ottla_protocol::messages::k14_sync_group::SyncGroupRequestAssignment;
use ottla_protocol::messages::k19_create_topics::CreatableTopic;
use ottla_protocol::messages::k68_consumer_group_heartbeat::TopicPartitions;
use ottla_protocol::messages::*;
use ottla_protocol::{Message, Reader, Request, Str, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, sleep};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const TOPIC: &str = "bench";
/// How often members ask while a group forms. Clients come every few seconds; what is measured is the coordinator.
const POLL: Duration = Duration::from_millis(50);

/// A connection that has one request under way.
struct Wire {
    stream: TcpStream,
    next: i32,
}

impl Wire {
    async fn connect(address: &str) -> Outcome<Wire> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, next: 0 })
    }

    async fn call<R: Request>(&mut self, version: i16, request: &R) -> Outcome<R::Response> {
        self.next += 1;
        let header = RequestHeader {
            api_key: R::API_KEY,
            api_version: version,
            correlation_id: self.next,
            client_id: Some("bench".into()),
        };
        let mut writer = Writer::new();
        header.encode(&mut writer)?;
        request.encode(&mut writer, version)?;
        let body = writer.finish_contiguous();
        let mut frame = Vec::with_capacity(body.len() + 4);
        frame.extend_from_slice(&u32::try_from(body.len())?.to_be_bytes());
        frame.extend_from_slice(&body);
        self.stream.write_all(&frame).await?;
        let length = usize::try_from(self.stream.read_u32().await?)?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        let mut reader = Reader::new(Bytes::from(answer));
        ResponseHeader::decode(&mut reader, R::API_KEY, version)?;
        Ok(R::Response::decode(&mut reader, version)?)
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["rebalance", address, protocol, members, partitions] => {
            rebalance(address, protocol, members.parse()?, partitions.parse()?).await
        }
        ["heartbeats", address, members, seconds, pid] => {
            heartbeats(address, members.parse()?, seconds.parse()?, pid).await
        }
        _ => Err("usage: groups rebalance ADDRESS PROTOCOL MEMBERS PARTITIONS | heartbeats ADDRESS MEMBERS SECONDS PID".into()),
    }
}

async fn create_topic(address: &str, partitions: i32) -> Outcome<()> {
    let topics = vec![CreatableTopic {
        name: TOPIC.into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    }];
    let request = CreateTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() };
    Wire::connect(address).await?.call(7, &request).await?;
    // Who looks for its coordinator first has the offsets topic made.
    let find = FindCoordinatorRequest { coordinator_keys: vec!["bench".into()], ..Default::default() };
    Wire::connect(address).await?.call(4, &find).await?;
    Ok(())
}

/// Whether a member has arrived is seen from its answers; the group's own view of it is asked at the end.
async fn rebalance(address: &str, protocol: &str, members: usize, partitions: i32) -> Outcome<()> {
    create_topic(address, partitions).await?;
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel::<(usize, usize)>();
    let mut last_join = Instant::now();
    for index in 0..members {
        let wire = Wire::connect(address).await?;
        last_join = Instant::now();
        // When nobody listens any more, the measurement is over.
        let arrived = arrived.clone();
        let tell = move |share| arrived.send((index, share)).unwrap_or_default();
        let speaks_consumer = protocol == "consumer";
        tokio::spawn(async move {
            let ended = match speaks_consumer {
                true => consumer_member(wire, index, tell).await,
                false => classic_member(wire, partitions, tell).await,
            };
            if let Err(error) = ended {
                eprintln!("member {index}: {error}");
            }
        });
        sleep(Duration::from_millis(20)).await;
    }
    let share = partitions as usize / members;
    let mut shares = vec![0; members];
    let wanted = |has: &usize| (share..=share + 1).contains(has);
    while !(shares.iter().all(wanted) && shares.iter().sum::<usize>() == partitions as usize) {
        let (index, has) =
            tokio::time::timeout(Duration::from_secs(60), arrivals.recv()).await?.ok_or("gone")?;
        shares[index] = has;
    }
    println!(
        "{protocol}: {members} members have {partitions} partitions {} ms after the last join",
        last_join.elapsed().as_millis()
    );
    Ok(())
}

async fn consumer_member(mut wire: Wire, index: usize, tell: impl Fn(usize)) -> Outcome<()> {
    let mut request = ConsumerGroupHeartbeatRequest {
        group_id: "bench".into(),
        member_id: format!("member-{index}").into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![TOPIC.into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let mut ticks = interval(POLL);
    loop {
        ticks.tick().await;
        let answer = wire.call(1, &request).await?;
        if answer.error_code != 0 {
            return Err(format!("{:?}", answer.error_message).into());
        }
        request = ConsumerGroupHeartbeatRequest {
            group_id: "bench".into(),
            member_id: request.member_id,
            member_epoch: answer.member_epoch,
            topic_partitions: None,
            ..Default::default()
        };
        if let Some(assignment) = answer.assignment {
            tell(assignment.topic_partitions.iter().map(|topic| topic.partitions.len()).sum());
            let owned = assignment.topic_partitions.into_iter();
            let owned = owned.map(|t| TopicPartitions { topic_id: t.topic_id, partitions: t.partitions });
            request.topic_partitions = Some(owned.collect());
        }
    }
}

async fn classic_member(mut wire: Wire, partitions: i32, tell: impl Fn(usize)) -> Outcome<()> {
    let mut member_id = Str::default();
    loop {
        let join = JoinGroupRequest {
            group_id: "bench".into(),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 60_000,
            member_id: member_id.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x05bench\xff\xff\xff\xff"),
            }],
            ..Default::default()
        };
        let joined = wire.call(5, &join).await?;
        member_id = joined.member_id.clone();
        if joined.error_code != 0 {
            continue;
        }
        let count = joined.members.len().max(1) as i32;
        let assignments = (0..).zip(&joined.members).map(|(place, member)| {
            // As many bytes as a real assignment of that share has.
            let share = (partitions * (place + 1) / count - partitions * place / count) as usize;
            SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: Bytes::from(vec![0; share * 4]),
            }
        });
        let sync = SyncGroupRequest {
            group_id: "bench".into(),
            generation_id: joined.generation_id,
            member_id: member_id.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        let synced = wire.call(3, &sync).await?;
        if synced.error_code != 0 {
            continue;
        }
        tell(synced.assignment.len() / 4);
        let heartbeat = HeartbeatRequest {
            group_id: "bench".into(),
            generation_id: joined.generation_id,
            member_id: member_id.clone(),
            ..Default::default()
        };
        while wire.call(3, &heartbeat).await?.error_code == 0 {
            sleep(POLL).await;
        }
    }
}

const MEMBERS_PER_GROUP: usize = 100;

async fn heartbeats(address: &str, members: usize, seconds: u64, pid: &str) -> Outcome<()> {
    create_topic(address, 100).await?;
    let mut connections = Vec::new();
    for index in 0..members {
        let mut wire = Wire::connect(address).await?;
        let group_id: Str = format!("group-{}", index / MEMBERS_PER_GROUP).into();
        let member_id: Str = format!("member-{index}").into();
        let join = ConsumerGroupHeartbeatRequest {
            group_id: group_id.clone(),
            member_id: member_id.clone(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec![TOPIC.into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let answer = wire.call(1, &join).await?;
        connections.push((wire, group_id, member_id, answer.member_epoch));
    }
    println!("{members} members have joined");
    for (index, (mut wire, group_id, member_id, mut member_epoch)) in connections.into_iter().enumerate() {
        tokio::spawn(async move {
            // Spread over the interval, as clients that started at different times are.
            sleep(Duration::from_millis((index as u64 * 5_000) / members as u64)).await;
            let mut ticks = interval(Duration::from_secs(5));
            let mut owned = Some(Vec::new());
            loop {
                ticks.tick().await;
                let request = ConsumerGroupHeartbeatRequest {
                    group_id: group_id.clone(),
                    member_id: member_id.clone(),
                    member_epoch,
                    topic_partitions: owned.take(),
                    ..Default::default()
                };
                let Ok(answer) = wire.call(1, &request).await else { return };
                if answer.error_code != 0 {
                    eprintln!("{member_id}: {:?}", answer.error_message);
                    return;
                }
                member_epoch = answer.member_epoch;
                owned = answer.assignment.map(|assignment| {
                    let topics = assignment.topic_partitions.into_iter();
                    topics
                        .map(|t| TopicPartitions { topic_id: t.topic_id, partitions: t.partitions })
                        .collect()
                });
            }
        });
    }
    // Until everybody has its share and only keeps it.
    sleep(Duration::from_secs(20)).await;
    let before = cpu_ticks(pid)?;
    let started = Instant::now();
    sleep(Duration::from_secs(seconds)).await;
    let after = cpu_ticks(pid)?;
    // Hundredths of a second, so that one in a second is a percent.
    let percent = |used: u64| used as f64 / started.elapsed().as_secs_f64();
    let (user, system) = (percent(after.0 - before.0), percent(after.1 - before.1));
    println!(
        "heartbeats of {members} members, one in 5 s each, cost {:.1} % of a core, {system:.1} % of it in the kernel",
        user + system
    );
    Ok(())
}

/// User and system time in hundredths of a second.
fn cpu_ticks(pid: &str) -> Outcome<(u64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let tick = |index: usize| -> Outcome<u64> { Ok(fields.get(index).ok_or("no such field")?.parse()?) };
    Ok((tick(11)?, tick(12)?))
}
