//! Fetch (1): reads record batches, waiting for more when there are few. Versions 4 to 18.
//!
//! Records are only located here; the connection sends them straight out of their files, unless they are few. Sessions (7) are KIP-227,
//! topic ids (13) KIP-516, leader epochs (9) and diverging epochs (12) KIP-320 and KIP-595. With read_committed (KIP-98)
//! records end at the last stable offset, and the reader is told which transactions among them were aborted. A follower reads
//! to the end of the log, and by where it reads tells the leader what it has; from version 11 on consumers may read at followers, and
//! are sent there where `replica.selector.class` says so (KIP-392). Throttled replicas that are not in sync get what the broker's rate
//! leaves (KIP-73).

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k01_fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse,
    PartitionData,
};
use ottla_protocol::records::Compression;
use ottla_protocol::wire::{Records, Str};
use tokio::time::Instant;

use super::super::access::Access;
use super::super::context::Context;
use super::super::dispatch::Call;
use super::super::fetch_sessions::{
    Answer, Asked, Begun, FetchKey, FetchKind, FetchSessions, View, Wanted, named,
};
use super::super::leader_throttle::LeaderThrottle;
use super::super::replica_selector::{ReplicaSelector, nearest};
use super::{check_epoch, leader_epoch, open_partition, open_replica, topic_name};
use crate::controller::ClusterImage;
use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::log::{DiskWait, FileRange, LogError, ReadError};
use crate::metrics::Waits;
use crate::partition::{News, OpenPartition, Partition, UpTo, now_ms};
use crate::security::Operation;

const TOPIC_ID_VERSION_MIN: i16 = 13;
const ZSTD_VERSION_MIN: i16 = 10;
const DIVERGING_EPOCH_VERSION_MIN: i16 = 12;
const FOLLOWERS_SERVE_VERSION_MIN: i16 = 11;
const REPLICA_STATE_VERSION_MIN: i16 = 15;

/// Up to so many bytes of a partition are copied: the calls that send from a file cost more.
const COPIED_BYTES_MAX: usize = 32 << 10;

/// Records of one partition.
enum Found {
    None,
    Copied(Bytes),
    InFile(FileRange),
}

/// What the request says for all partitions.
#[derive(Debug, Clone, Copy)]
struct Limits {
    version: i16,
    bytes_max: usize,
    bytes_min: usize,
    /// Of consumers.
    read_committed: bool,
    /// A follower asks.
    follower: Option<FollowerRun>,
}

impl Limits {
    fn up_to(&self) -> UpTo {
        match self {
            Limits { follower: Some(_), .. } => UpTo::LogEnd,
            Limits { read_committed: true, .. } => UpTo::LastStable,
            _ => UpTo::HighWatermark,
        }
    }

    /// What all answers depend on, as it is now.
    fn view(&self, context: &Context) -> View {
        let broker_epoch = self.follower.map(|follower| follower.broker_epoch);
        View { image: Arc::downgrade(&context.image()), up_to: self.up_to(), broker_epoch }
    }
}

/// A follower, with the epoch of its registration as a broker.
#[derive(Debug, Clone, Copy)]
struct FollowerRun {
    id: NodeId,
    broker_epoch: Offset,
}

impl FollowerRun {
    fn of(request: &FetchRequest, version: i16) -> Option<FollowerRun> {
        let (id, broker_epoch) = match version {
            REPLICA_STATE_VERSION_MIN.. => {
                (request.replica_state.replica_id, request.replica_state.replica_epoch)
            }
            _ => (request.replica_id, -1),
        };
        (id >= 0).then_some(FollowerRun { id: NodeId(id), broker_epoch: Offset(broker_epoch) })
    }
}

/// One pass over what is wanted.
#[derive(Default)]
struct Pass {
    answers: Vec<(Answer, Option<FileRange>)>,
    bytes: usize,
    failed: bool,
    /// Some records are not in the page cache.
    would_wait: bool,
    /// Bytes of throttled replicas.
    throttled_bytes: usize,
    /// When more of throttled replicas may be given, where some of it was held back.
    held_for: Option<Duration>,
}

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<FetchRequest>,
) -> (FetchResponse, Vec<FileRange>) {
    let version = call.version();
    let (request, waits, access) = (call.request, call.waits, Arc::new(call.access));
    let by_id = version >= TOPIC_ID_VERSION_MIN;
    let follower = FollowerRun::of(&request, version);
    if follower.is_some() && !access.cluster(&context, Operation::ClusterAction) {
        return refused(ErrorCode::ClusterAuthorizationFailed);
    }
    let bytes_max = (request.max_bytes.max(0) as usize).min(context.config.fetch_bytes_max);
    let limits = Limits {
        version,
        bytes_max,
        // More than an answer can hold would never come.
        bytes_min: (request.min_bytes.max(0) as usize).min(bytes_max),
        read_committed: request.isolation_level == 1,
        follower,
    };
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let view = limits.view(&context);
    let begun = sessions(&context).begin(&request, by_id, &view, now_ms().unsigned_abs());
    let Begun { kind, wanted, forgotten, news, all_places_count } = match begun {
        Ok(begun) => begun,
        Err(code) => return refused(code),
    };
    leave(&context, by_id, &forgotten, &news);
    match all_places_count {
        true => {
            let wanted = wanted.iter().map(|wanted| (wanted.key.clone(), wanted.asked.clone()));
            note_follower(&context, &access, wanted, limits);
        }
        false => note_follower(&context, &access, named(&request), limits),
    }
    let rack = (!request.rack_id.is_empty()).then(|| request.rack_id.clone());
    let mut reading =
        Arc::new(Reading { wanted: Vec::new(), elsewhere: HashMap::new(), news, rack, kind, deadline });
    let endpoint = &call.peer.endpoint.name;
    look_at(&context, &access, endpoint, &mut reading, wanted, limits).await;
    let pass = gather(&context, &access, endpoint, &mut reading, limits, &waits).await;
    respond(&context, &reading, (by_id, view), pass)
}

fn refused(code: ErrorCode) -> (FetchResponse, Vec<FileRange>) {
    (FetchResponse { error_code: code.code(), ..FetchResponse::default() }, Vec::new())
}

/// What is not read any more needs to tell nothing.
fn leave(context: &Context, by_id: bool, forgotten: &[FetchKey], news: &Arc<News>) {
    let image = context.image();
    for key in forgotten {
        let topic = topic_name(&image, by_id, &key.topic, key.topic_id).ok();
        if let Some(open) = topic.and_then(|topic| context.partitions.get(&topic, key.partition)) {
            open.partition.tell_no_news(news);
        }
    }
}

/// What is to be read.
#[derive(Clone)]
struct Reading {
    wanted: Wanted,
    /// Partitions whose reader is sent to another replica.
    elsewhere: HashMap<FetchKey, NodeId>,
    /// What the partitions tell.
    news: Arc<News>,
    /// Where the reader is.
    rack: Option<Str>,
    kind: FetchKind,
    deadline: Instant,
}

/// Adds to what is to be read.
async fn look_at(
    context: &Context,
    access: &Access,
    listener: &str,
    reading: &mut Arc<Reading>,
    wanted: Wanted,
    limits: Limits,
) {
    let elsewhere = match &reading.rack {
        Some(rack) if !wanted.is_empty() => {
            read_elsewhere(context, access, (rack, listener), &wanted, limits).await
        }
        _ => HashMap::new(),
    };
    let reading = Arc::make_mut(reading);
    reading.wanted.extend(wanted);
    reading.elsewhere.extend(elsewhere);
}

/// Which partitions a consumer in a rack should read at a follower, by what this node as their leader knows: one in sync that serves,
/// can be reached by the consumer's listener, and has what is at its offset (KIP-392).
async fn read_elsewhere(
    context: &Context,
    access: &Access,
    (rack, listener): (&str, &str),
    wanted: &Wanted,
    limits: Limits,
) -> HashMap<FetchKey, NodeId> {
    let selects = context.config.replica_selector == Some(ReplicaSelector::RackAware);
    // Who reads in the leader's rack is in the right place.
    if !selects
        || limits.follower.is_some()
        || limits.version < FOLLOWERS_SERVE_VERSION_MIN
        || context.config.rack.as_deref() == Some(rack)
    {
        return HashMap::new();
    }
    let image = context.image();
    let is_there = |id: &NodeId| {
        let broker = image.brokers().get(id);
        broker.is_some_and(|broker| {
            broker.is_active() && broker.rack.as_deref() == Some(rack) && broker.endpoint(listener).is_some()
        })
    };
    let asked = wanted.iter().filter_map(|Asked { key, asked, .. }| {
        let open = find(context, access, &image, key, asked.current_leader_epoch, limits).ok()?;
        let offset = Offset(asked.fetch_offset);
        let is_readable =
            (open.partition.log().log_start()..=open.partition.high_watermark()).contains(&offset);
        let nearby = open.leader_and_isr.isr.iter().copied().filter(is_there).collect::<Vec<_>>();
        let is_asked = open.leader_and_isr.leads() && is_readable && !nearby.is_empty();
        is_asked.then_some(async move {
            let places = open.partition.follower_places().await.into_iter();
            let nearest = nearest(places.filter(|place| nearby.contains(&place.id)), offset)?;
            Some((key.clone(), nearest))
        })
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn sessions(context: &Context) -> MutexGuard<'_, FetchSessions> {
    context.fetch_sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until there is enough, something failed or the time is over.
async fn gather(
    context: &Arc<Context>,
    access: &Arc<Access>,
    listener: &str,
    reading: &mut Arc<Reading>,
    limits: Limits,
    waits: &Waits,
) -> Pass {
    let (kind, deadline, news) = (reading.kind, reading.deadline, reading.news.clone());
    // Without a session nothing can come to what is read.
    let is_nothing = reading.wanted.is_empty() && !matches!(kind, FetchKind::Incremental(_));
    let mut last_try = limits.bytes_min == 0 || is_nothing;
    loop {
        // The partitions are looked up anew for each pass: a topic may have gone while its records were waited for.
        let mut pass = read(context, access, reading, limits, DiskWait::Refused);
        if pass.would_wait {
            let (context, access, reading) = (context.clone(), access.clone(), reading.clone());
            let waiting = move || read(&context, &access, &reading, limits, DiskWait::Allowed);
            pass = tokio::task::spawn_blocking(waiting).await.unwrap_or_default();
        }
        if pass.bytes >= limits.bytes_min || pass.failed || last_try {
            context.throttles.leader.spend(pass.throttled_bytes, std::time::Instant::now());
            return pass;
        }
        let waits_since = Instant::now();
        let held_until = pass.held_for.map(|held_for| waits_since + held_for);
        let until = held_until.map_or(deadline, |held_until| held_until.min(deadline));
        let is_over = tokio::time::timeout_at(until, news.more()).await.is_err();
        last_try = is_over && until == deadline;
        waits.add_wait(waits_since.elapsed());
        let FetchKind::Incremental(turn) = kind else {
            news.take();
            continue;
        };
        let heard = sessions(context).hear(turn, &limits.view(context));
        match heard {
            Some(woken) => look_at(context, access, listener, reading, woken, limits).await,
            None => {
                // What was heard is for the request that has the session now.
                news.wake();
                last_try = true;
            }
        }
    }
}

/// Tells the leaders of what a follower has by where it reads on, unless its log and theirs part before.
fn note_follower(
    context: &Context,
    access: &Access,
    wanted: impl Iterator<Item = (FetchKey, FetchPartition)>,
    limits: Limits,
) {
    let Some(FollowerRun { id, broker_epoch }) = limits.follower else { return };
    let image = context.image();
    for (key, asked) in wanted {
        let Ok(open) = find(context, access, &image, &key, asked.current_leader_epoch, limits) else {
            continue;
        };
        let partition = open.partition;
        let from = Offset(asked.fetch_offset);
        let is_within = (partition.log().log_start()..=partition.log().log_end()).contains(&from);
        if is_within && diverging(&partition, asked.last_fetched_epoch, from).is_none() {
            partition.fetched(id, broker_epoch, from, Offset(asked.log_start_offset));
        }
    }
}

/// One pass within the byte budget.
fn read(context: &Context, access: &Access, reading: &Reading, limits: Limits, wait: DiskWait) -> Pass {
    let image = context.image();
    let wanted = &reading.wanted;
    let mut pass = Pass { answers: Vec::with_capacity(wanted.len()), ..Pass::default() };
    let follower = limits.follower.map(|follower| follower.id);
    let mut throttle = LeaderThrottle::of(&context.throttles.leader, &image, context.node_id(), follower);
    for Asked { key, asked, number } in wanted {
        let (mut is_throttled, mut is_all) = (false, false);
        let mut data = PartitionData {
            partition_index: key.partition,
            high_watermark: -1,
            aborted_transactions: limits.read_committed.then(Vec::new),
            ..PartitionData::default()
        };
        let left = limits.bytes_max.saturating_sub(pass.bytes);
        let bytes_max = (asked.partition_max_bytes.max(0) as usize).min(left);
        let found = find(context, access, &image, key, asked.current_leader_epoch, limits).and_then(|open| {
            let partition = open.partition;
            // Before anything of it is looked at, so that what comes meanwhile is not missed.
            partition.tell_news(&reading.news, *number, limits.up_to());
            // In this order, as the one never passes the other.
            let last_stable = partition.last_stable();
            let high_watermark = partition.high_watermark();
            data.high_watermark = high_watermark.0;
            data.last_stable_offset = last_stable.0;
            data.log_start_offset = partition.log().log_start().0;
            let from = Offset(asked.fetch_offset);
            if limits.version >= DIVERGING_EPOCH_VERSION_MIN
                && let Some(diverging) = diverging(&partition, asked.last_fetched_epoch, from)
            {
                data.diverging_epoch = diverging;
                return Ok(Found::None);
            }
            if let Some(replica) = reading.elsewhere.get(key) {
                data.preferred_read_replica = replica.0;
                return Ok(Found::None);
            }
            if let Some(throttle) = &mut throttle {
                is_throttled = throttle.counts(partition.name(), &open.leader_and_isr.isr);
                if is_throttled && throttle.holds(std::time::Instant::now()) {
                    return Ok(Found::None);
                }
            }
            // The very first batch is given even when it is larger than all bounds: a consumer could never get
            // past it otherwise (KIP-74).
            let up_to = match limits.up_to() {
                UpTo::LogEnd => partition.log().log_end(),
                UpTo::HighWatermark => high_watermark,
                UpTo::LastStable => last_stable,
            };
            // Where a follower that is not in sync is must be told again, until it is.
            is_all = from >= up_to && follower.is_none_or(|id| open.leader_and_isr.isr.contains(&id));
            let found = locate(&partition, from, up_to, bytes_max, pass.bytes == 0, wait)?;
            if let Some(aborted) = &mut data.aborted_transactions {
                *aborted = aborted_among(&partition, from, up_to);
            }
            Ok(found)
        });
        let found = found.unwrap_or_else(|problem| {
            match problem {
                Problem::WouldWait => pass.would_wait = true,
                Problem::Code(code) => {
                    data.error_code = code.code();
                    (pass.failed, is_all) = (true, false);
                }
            }
            Found::None
        });
        if pass.would_wait {
            return pass;
        }
        let (records, range) = match found {
            Found::None => (Records::default(), None),
            Found::Copied(bytes) => (Records::Held(bytes), None),
            Found::InFile(range) => (Records::Elsewhere { length: range.len() }, Some(range)),
        };
        pass.bytes += records.len();
        if let Some(throttle) = throttle.as_mut().filter(|_| is_throttled) {
            throttle.gives(records.len());
        }
        data.records = Some(records);
        // News that must not wait for records.
        pass.failed |= data.diverging_epoch.epoch >= 0 || data.preferred_read_replica >= 0;
        pass.answers.push((Answer { key: key.clone(), data, is_all }, range));
    }
    if let Some(throttle) = throttle {
        (pass.throttled_bytes, pass.held_for) = throttle.done();
    }
    pass
}

/// What the reader must leave out. More than the records it gets would tell does no harm.
fn aborted_among(partition: &Partition, from: Offset, up_to: Offset) -> Vec<AbortedTransaction> {
    let aborted = partition.log().aborted_within(from, up_to).into_iter();
    aborted
        .map(|aborted| AbortedTransaction {
            producer_id: aborted.producer_id,
            first_offset: aborted.first_offset.0,
        })
        .collect()
}

enum Problem {
    WouldWait,
    Code(ErrorCode),
}

fn find(
    context: &Context,
    access: &Access,
    image: &ClusterImage,
    key: &FetchKey,
    claimed_epoch: i32,
    limits: Limits,
) -> Result<OpenPartition, Problem> {
    let version = limits.version;
    let topic = topic_name(image, version >= TOPIC_ID_VERSION_MIN, &key.topic, key.topic_id);
    let found = topic.and_then(|topic| {
        if limits.follower.is_none() && !access.topic(context, Operation::Read, &topic) {
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
        let open = match limits.follower {
            None if version >= FOLLOWERS_SERVE_VERSION_MIN => open_replica(context, &topic, key.partition)?,
            _ => open_partition(context, &topic, key.partition)?,
        };
        if limits.follower.is_some_and(|follower| !open.leader_and_isr.replicas.contains(&follower.id)) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let epoch = leader_epoch(image.topic(&topic).map(|topic| &**topic), key.partition);
        check_epoch(claimed_epoch, epoch)?;
        // Older clients cannot read it (KIP-110).
        if version < ZSTD_VERSION_MIN && open.partition.config().compression == Some(Compression::Zstd) {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        Ok(open)
    });
    found.map_err(Problem::Code)
}

/// Where the reader's log and ours part, if its last record is of an epoch that ended earlier here.
fn diverging(partition: &Partition, last_fetched_epoch: i32, from: Offset) -> Option<EpochEndOffset> {
    let found = partition.diverging(LeaderEpoch(last_fetched_epoch), from);
    found.map(|(epoch, end)| EpochEndOffset { epoch: epoch.0, end_offset: end.0 })
}

fn locate(
    partition: &Partition,
    from: Offset,
    up_to: Offset,
    bytes_max: usize,
    at_least_one: bool,
    wait: DiskWait,
) -> Result<Found, Problem> {
    let located = partition.log().locate(from, up_to, bytes_max, at_least_one, wait);
    let found = located.and_then(|range| match (range, wait) {
        (None, _) => Ok(Found::None),
        (Some(range), wait) if range.len() <= COPIED_BYTES_MAX => Ok(Found::Copied(range.read_within(wait)?)),
        (Some(range), DiskWait::Refused) if !range.is_cached() => Err(ReadError::WouldWait),
        (Some(range), _) => Ok(Found::InFile(range)),
    });
    found.map_err(|error| match error {
        ReadError::WouldWait => Problem::WouldWait,
        ReadError::OutOfRange { .. } => Problem::Code(ErrorCode::OffsetOutOfRange),
        // The log has told of it already. Consumers stop at such a record; they can be moved past it.
        ReadError::Log(LogError::Corrupt { .. }) => Problem::Code(ErrorCode::CorruptMessage),
        ReadError::Log(error) => {
            tracing::error!(partition = %partition.name(), %error, "read failed");
            Problem::Code(ErrorCode::KafkaStorageError)
        }
    })
}

/// Makes the response of what was read, and of what the session says its reader knows already.
fn respond(
    context: &Context,
    reading: &Reading,
    (by_id, view): (bool, View),
    pass: Pass,
) -> (FetchResponse, Vec<FileRange>) {
    let (answers, files): (Vec<Answer>, Vec<Option<FileRange>>) = pass.answers.into_iter().unzip();
    let files = files.into_iter().flatten().collect();
    let (session_id, answers) = match reading.kind {
        FetchKind::Sessionless => (0, answers),
        FetchKind::New => {
            let begun = (reading.wanted.clone(), reading.news.clone());
            let now_ms = now_ms().unsigned_abs();
            let id = sessions(context).create(begun, &answers, (by_id, view), rand::random(), now_ms);
            (id, answers)
        }
        // What has records is always news, so the files stay in line.
        FetchKind::Incremental(turn) => (turn.id, sessions(context).news(turn, answers)),
    };
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for Answer { key, data, .. } in answers {
        match responses.last_mut() {
            Some(topic) if topic.topic == key.topic && topic.topic_id == key.topic_id => {
                topic.partitions.push(data);
            }
            _ => responses.push(FetchableTopicResponse {
                topic: key.topic,
                topic_id: key.topic_id,
                partitions: vec![data],
            }),
        }
    }
    (FetchResponse { session_id, responses, ..FetchResponse::default() }, files)
}
