//! The fetch task: keeps one fetch per broker under way, looks up places, and puts what comes into the partitions'
//! state, from where `poll` takes it. So the next fetch runs while the caller works on the records of the last.
//!
//! A broker with records that still wait to be handed out is left alone: a fetch without those partitions would sit
//! in a long poll while they become fetchable again. Only partitions that were just assigned, sought or resumed go
//! at once, over another connection if need be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use ottla_protocol::messages::k01_fetch::{FetchPartition, FetchTopic, PartitionData};
use ottla_protocol::messages::{FetchRequest, FetchResponse};
use ottla_protocol::wire::Records;
use ottla_protocol::{ErrorCode, Str, Uuid};
use tokio::time::Instant;
use tracing::{debug, info};

use super::Shared;
use super::config::{ConsumerConfig, IsolationLevel};
use super::fetch::{ReadOptions, read_records};
use super::partitions::{Fetchable, LookupFailed, Place, Version};
use crate::TopicPartition;
use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::error::ClientError;
use crate::group_offsets;
use crate::list_offsets::list_offsets;
use crate::pool::Lane;

/// Topics are named by id from here on, and by name in all versions before.
const FETCH_BY_ID_VERSION_MIN: i16 = 13;
const FETCH_VERSION_MAX: i16 = 16;
/// Fetches to one broker that may overlap: one long poll and some for partitions that cannot wait for it.
const LANES: u8 = 4;

/// Everything that can happen to the fetch task.
enum Event {
    /// The partitions' state may have changed, or the consumer closes.
    Woken,
    /// It is time to look again.
    TimerExpired,
    /// A fetch was answered, or lost.
    Fetched { key: FetchKey, result: Result<Answer, ClientError> },
    /// Places were looked up, or not.
    LookedUp { looked_up: Vec<(TopicPartition, Version)>, result: Result<Found, ClientError> },
    /// Metadata was asked for; the cache has what came.
    MetadataRefreshed { result: Result<(), ClientError> },
}

/// Broker and lane.
type FetchKey = (i32, u8);
type Found = BTreeMap<TopicPartition, Place>;

struct Answer {
    response: FetchResponse,
    /// The names that go with topic ids, when the request used ids.
    names: HashMap<Uuid, String>,
}

pub(super) struct Fetcher {
    shared: Arc<Shared>,
    in_flight: BTreeMap<FetchKey, Vec<Fetchable>>,
    work: FuturesUnordered<BoxFuture<'static, Event>>,
    is_refreshing: bool,
    refresh_not_before: Option<Instant>,
    refresh_backoff: Backoff,
    stale_topics: BTreeSet<String>,
    wakeup: Option<Instant>,
}

impl Fetcher {
    pub(super) fn new(shared: Arc<Shared>) -> Fetcher {
        Fetcher {
            refresh_backoff: shared.cluster.backoff(),
            shared,
            in_flight: BTreeMap::new(),
            work: FuturesUnordered::new(),
            is_refreshing: false,
            refresh_not_before: None,
            stale_topics: BTreeSet::new(),
            wakeup: None,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.shared.is_closed() {
            self.advance();
            let wakeup = self.wakeup;
            let event = tokio::select! {
                Some(event) = self.work.next() => event,
                () = self.shared.wake_fetcher.notified() => Event::Woken,
                () = tokio::time::sleep_until(wakeup.unwrap_or_else(Instant::now)), if wakeup.is_some() => {
                    Event::TimerExpired
                }
            };
            match event {
                Event::Woken | Event::TimerExpired => {}
                Event::Fetched { key, result } => self.on_fetched(key, result),
                Event::LookedUp { looked_up, result } => self.on_looked_up(looked_up, result),
                Event::MetadataRefreshed { result } => self.on_metadata_refreshed(result),
            }
        }
    }

    fn advance(&mut self) {
        let now = Instant::now();
        self.start_lookups(now);
        self.start_fetches(now);
        self.refresh_stale(now);
        let put_off = self.shared.partitions().wakeup(now);
        let refresh =
            self.refresh_not_before.filter(|_| !self.stale_topics.is_empty() && !self.is_refreshing);
        self.wakeup = put_off.into_iter().chain(refresh).min();
    }

    /// Sends to each broker what may be fetched from it now.
    fn start_fetches(&mut self, now: Instant) {
        let mut by_leader: BTreeMap<i32, Vec<Fetchable>> = BTreeMap::new();
        let mut waiting_for_poll: BTreeSet<i32> = BTreeSet::new();
        {
            let metadata = self.shared.cluster.metadata();
            let partitions = self.shared.partitions();
            for (fetchable, is_buffered) in partitions.fetchable(now) {
                let topic_partition = &fetchable.topic_partition;
                let Some((leader, _)) = metadata.leader(&topic_partition.topic, topic_partition.partition)
                else {
                    self.stale_topics.insert(topic_partition.topic.clone());
                    continue;
                };
                if is_buffered {
                    waiting_for_poll.insert(leader);
                } else if !self.is_in_flight(&fetchable) {
                    by_leader.entry(leader).or_default().push(fetchable);
                }
            }
        }
        for (broker, mut fetchable) in by_leader {
            let is_busy = (0..LANES).any(|lane| self.has_current_fetch((broker, lane)));
            if is_busy || waiting_for_poll.contains(&broker) {
                fetchable.retain(|each| each.is_urgent);
            }
            let free_lane = (0..LANES).find(|lane| !self.in_flight.contains_key(&(broker, *lane)));
            if let Some(lane) = free_lane
                && !fetchable.is_empty()
            {
                self.fetch((broker, lane), fetchable);
            }
        }
    }

    fn is_in_flight(&self, wanted: &Fetchable) -> bool {
        self.in_flight
            .values()
            .flatten()
            .any(|each| each.version == wanted.version && each.topic_partition == wanted.topic_partition)
    }

    /// Whether a fetch is under way there that anyone still waits for.
    fn has_current_fetch(&self, key: FetchKey) -> bool {
        let Some(fetched) = self.in_flight.get(&key) else { return false };
        let partitions = self.shared.partitions();
        fetched.iter().any(|each| partitions.is_current(&each.topic_partition, each.version))
    }

    fn fetch(&mut self, key: FetchKey, fetchable: Vec<Fetchable>) {
        {
            let mut partitions = self.shared.partitions();
            fetchable.iter().for_each(|each| partitions.on_fetching(&each.topic_partition));
        }
        let (cluster, config, owner) =
            (self.shared.cluster.clone(), self.shared.config.clone(), self.shared.owner);
        self.in_flight.insert(key, fetchable.clone());
        self.work.push(Box::pin(async move {
            Event::Fetched { key, result: fetch(&cluster, &config, owner, key, &fetchable).await }
        }));
    }

    fn on_fetched(&mut self, key: FetchKey, result: Result<Answer, ClientError>) {
        let fetched = self.in_flight.remove(&key).unwrap_or_default();
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => return self.on_fetch_failed(&fetched, &error),
        };
        let mut data: HashMap<(String, i32), PartitionData> = HashMap::new();
        for topic in answer.response.responses {
            let name = match answer.names.get(&topic.topic_id) {
                Some(name) => name.clone(),
                None => topic.topic.to_string(),
            };
            for partition in topic.partitions {
                data.insert((name.clone(), partition.partition_index), partition);
            }
        }
        let mut has_records = false;
        for each in &fetched {
            let partition = (each.topic_partition.topic.clone(), each.topic_partition.partition);
            match data.remove(&partition) {
                Some(data) => has_records |= self.on_partition_fetched(each, data),
                None => {
                    // An answer that leaves a partition out must not become a loop without pause.
                    let not_before = Instant::now() + self.shared.cluster.config.retry_backoff;
                    self.shared.partitions().on_retry_later(&each.topic_partition, each.version, not_before);
                }
            }
        }
        if has_records {
            self.shared.changed();
        }
    }

    /// True if there is something for the caller of `poll`.
    fn on_partition_fetched(&mut self, fetched: &Fetchable, mut data: PartitionData) -> bool {
        let Fetchable { topic_partition, version, offset, .. } = fetched;
        let config = &self.shared.config;
        match ErrorCode::from_code(data.error_code) {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => return self.on_out_of_range(fetched),
            code if code.is_retriable() => {
                debug!(%topic_partition, error = code.name(), "fetching again later");
                self.stale_topics.insert(topic_partition.topic.clone());
                let not_before = Instant::now() + self.shared.cluster.config.retry_backoff;
                self.shared.partitions().on_retry_later(topic_partition, *version, not_before);
                return false;
            }
            code => {
                let error =
                    ClientError::broker(format!("reading {topic_partition} at offset {offset}"), code);
                self.shared.partitions().on_error(topic_partition, *version, error);
                return true;
            }
        }
        let options = ReadOptions {
            check_crcs: config.check_crcs,
            decompressed_bytes_max: config.decompressed_batch_bytes_max,
            read_committed: config.isolation_level == IsolationLevel::ReadCommitted,
        };
        let aborted = data.aborted_transactions.take().unwrap_or_default();
        match read_records(
            data.records.map(Records::into_bytes).unwrap_or_default(),
            *offset,
            &aborted,
            options,
        ) {
            Ok(chunk) => {
                self.shared.partitions().on_fetched(topic_partition, *version, chunk, data.high_watermark)
            }
            Err(error) => {
                let error = ClientError::CorruptBatch {
                    topic_partition: topic_partition.clone(),
                    offset: error.offset,
                    reason: error.reason,
                };
                self.shared.partitions().on_error(topic_partition, *version, error);
                true
            }
        }
    }

    fn on_out_of_range(&mut self, fetched: &Fetchable) -> bool {
        let Fetchable { topic_partition, version, offset, .. } = fetched;
        let mut partitions = self.shared.partitions();
        match self.shared.config.auto_offset_reset.timestamp() {
            Some(timestamp) => {
                info!(%topic_partition, offset, "the offset is out of range and is reset");
                partitions.on_out_of_range(topic_partition, *version, Place::AtTime(timestamp));
                false
            }
            None => {
                let error = ClientError::OffsetOutOfRange {
                    topic_partition: topic_partition.clone(),
                    offset: *offset,
                };
                partitions.on_error(topic_partition, *version, error);
                true
            }
        }
    }

    fn on_fetch_failed(&mut self, fetched: &[Fetchable], error: &ClientError) {
        debug!(%error, "a fetch was lost");
        let not_before = Instant::now() + self.shared.cluster.config.retry_backoff;
        let mut partitions = self.shared.partitions();
        for each in fetched {
            if error.is_retriable() || error.is_connection() {
                self.stale_topics.insert(each.topic_partition.topic.clone());
                partitions.on_retry_later(&each.topic_partition, each.version, not_before);
            } else {
                partitions.on_error(&each.topic_partition, each.version, error.clone());
            }
        }
        drop(partitions);
        self.shared.changed();
    }

    /// Finds out where partitions begin that were given no offset.
    fn start_lookups(&mut self, now: Instant) {
        let lookups = self.shared.partitions().start_lookups(now);
        if lookups.is_empty() {
            return;
        }
        let shared = self.shared.clone();
        self.work.push(Box::pin(async move {
            let result = look_up(&shared, &lookups).await;
            let looked_up = lookups.into_iter().map(|(each, version, _)| (each, version)).collect();
            Event::LookedUp { looked_up, result }
        }));
    }

    fn on_looked_up(
        &mut self,
        looked_up: Vec<(TopicPartition, Version)>,
        result: Result<Found, ClientError>,
    ) {
        let mut partitions = self.shared.partitions();
        for (topic_partition, version) in looked_up {
            let found = match &result {
                Ok(found) => match found.get(&topic_partition) {
                    Some(place) => Ok(*place),
                    None => Err(LookupFailed::For(ClientError::NoOffset {
                        topic_partition: topic_partition.clone(),
                    })),
                },
                Err(error) if error.is_retriable() => {
                    debug!(%topic_partition, %error, "looking up the position again later");
                    let pause = self.shared.cluster.config.retry_backoff;
                    Err(LookupFailed::Until(Instant::now() + pause))
                }
                Err(error) => Err(LookupFailed::For(error.clone())),
            };
            partitions.on_looked_up(&topic_partition, version, found);
        }
        drop(partitions);
        self.shared.changed();
    }

    fn refresh_stale(&mut self, now: Instant) {
        let cluster = &self.shared.cluster;
        {
            let metadata = cluster.metadata();
            let age_max = cluster.config.metadata_max_age;
            let topics = self.shared.partitions().topics();
            self.stale_topics.retain(|topic| topics.contains(topic));
            let old = topics.into_iter().filter(|topic| metadata.topic(topic, now, age_max).is_none());
            self.stale_topics.extend(old);
        }
        let is_too_soon = self.refresh_not_before.is_some_and(|not_before| not_before > now);
        if self.is_refreshing || self.stale_topics.is_empty() || is_too_soon {
            return;
        }
        self.is_refreshing = true;
        let (cluster, topics) = (cluster.clone(), std::mem::take(&mut self.stale_topics));
        self.work.push(Box::pin(async move {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            // Never creating: a topic that was deleted must not come back because someone still reads it.
            Event::MetadataRefreshed { result: cluster.refresh(Some(&names), false).await.map(|_| ()) }
        }));
    }

    fn on_metadata_refreshed(&mut self, result: Result<(), ClientError>) {
        self.is_refreshing = false;
        let pause = self.refresh_backoff.next();
        self.refresh_not_before = Some(Instant::now() + pause);
        match result {
            Ok(()) => self.refresh_backoff.reset(),
            Err(error) => debug!(%error, "metadata was not refreshed"),
        }
    }
}

/// Sends one fetch and waits for its answer.
async fn fetch(
    cluster: &Cluster,
    config: &ConsumerConfig,
    owner: u64,
    (broker, lane): FetchKey,
    fetchable: &[Fetchable],
) -> Result<Answer, ClientError> {
    let connection = cluster.broker(broker, Lane::Fetch(owner, lane)).await?;
    let metadata = cluster.metadata();
    let mut names = HashMap::new();
    let mut has_ids = true;
    let mut topics: BTreeMap<&str, (Uuid, Vec<FetchPartition>)> = BTreeMap::new();
    for each in fetchable {
        let TopicPartition { topic, partition } = &each.topic_partition;
        let topic_id = metadata.topic_of_any_age(topic).map_or(Uuid::nil(), |topic| topic.topic_id);
        has_ids &= !topic_id.is_nil();
        names.insert(topic_id, topic.clone());
        let (_, partitions) = topics.entry(topic).or_insert_with(|| (topic_id, Vec::new()));
        partitions.push(FetchPartition {
            partition: *partition,
            current_leader_epoch: metadata.leader(topic, *partition).map_or(-1, |(_, epoch)| epoch),
            fetch_offset: each.offset,
            partition_max_bytes: config.max_partition_fetch_bytes,
            ..Default::default()
        });
    }
    let version_max = if has_ids { FETCH_VERSION_MAX } else { FETCH_BY_ID_VERSION_MIN - 1 };
    let version = connection.version_of::<FetchRequest>(version_max)?;
    if version < FETCH_BY_ID_VERSION_MIN {
        names.clear();
    }
    let max_wait = config.fetch_max_wait;
    let request = FetchRequest {
        max_wait_ms: max_wait.as_millis().min(i32::MAX as u128) as i32,
        min_bytes: config.fetch_min_bytes,
        max_bytes: config.fetch_max_bytes,
        isolation_level: i8::from(config.isolation_level == IsolationLevel::ReadCommitted),
        topics: topics
            .into_iter()
            .map(|(topic, (topic_id, partitions))| FetchTopic {
                topic: Str::from(topic),
                topic_id,
                partitions,
            })
            .collect(),
        ..Default::default()
    };
    let timeout = cluster.config.request_timeout.max(max_wait + Duration::from_secs(5));
    let response = connection.submit(&request, version, timeout)?.await?;
    crate::error::check(response.error_code, || format!("fetching from broker {broker}"))?;
    Ok(Answer { response, names })
}

/// Places of partitions: what the group has committed, else by the reset policy; a missing entry has neither.
async fn look_up(
    shared: &Shared,
    lookups: &[(TopicPartition, Version, Place)],
) -> Result<Found, ClientError> {
    let mut found = Found::new();
    let mut at_time: Vec<(TopicPartition, i64)> = Vec::new();
    let mut stored: Vec<TopicPartition> = Vec::new();
    for (topic_partition, _, place) in lookups {
        match place {
            Place::AtTime(timestamp) => at_time.push((topic_partition.clone(), *timestamp)),
            Place::Stored => stored.push(topic_partition.clone()),
            Place::Offset { .. } => {
                found.insert(topic_partition.clone(), *place);
            }
        }
    }
    if let Some(coordinator) = shared.coordinator.as_ref().filter(|_| !stored.is_empty()) {
        let committed =
            group_offsets::fetch(coordinator, Some(&stored), shared.requires_stable_offsets()).await?;
        stored.retain(|topic_partition| !committed.contains_key(topic_partition));
        found.extend(committed.into_iter().map(|(topic_partition, committed)| {
            let place = Place::Offset { offset: committed.offset, leader_epoch: committed.leader_epoch };
            (topic_partition, place)
        }));
    }
    if let Some(timestamp) = shared.config.auto_offset_reset.timestamp() {
        at_time.extend(stored.into_iter().map(|topic_partition| (topic_partition, timestamp)));
    }
    if !at_time.is_empty() {
        let offsets = list_offsets(&shared.cluster, &at_time, IsolationLevel::ReadUncommitted).await?;
        found.extend(offsets.into_iter().map(|(topic_partition, at)| {
            (topic_partition, Place::Offset { offset: at.offset, leader_epoch: -1 })
        }));
    }
    Ok(found)
}
