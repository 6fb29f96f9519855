//! The task that fetches from one other broker all that it leads and this node follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use ottla_protocol::messages::k01_fetch::{PartitionData, ReplicaState};
use ottla_protocol::messages::{FetchRequest, FetchResponse};
use ottla_protocol::wire::Records;
use ottla_protocol::{ErrorCode, Message};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::held::{Held, throttled};
use super::session::{Key, Session};
use super::{Change, Followed, Surroundings};
use crate::controller::ClusterImage;
use crate::ids::{LeaderEpoch, NodeId, Offset, TopicPartition};
use crate::log::{Checked, LogError};
use crate::partition::{FetchAnswer, NotFollowing, whole_batches};
use crate::quorum::{PeerAddress, PeerConnection};
use crate::replica::FetchPosition;

/// How long an answer may take beyond what the leader waits for news.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// How long what is held back is left alone at least, and at most before it is looked at the rate again.
const HELD_MIN: Duration = Duration::from_millis(5);
const HELD_MAX: Duration = Duration::from_secs(1);

/// A partition that is fetched, or will be.
struct Following {
    followed: Followed,
    has_warned: bool,
}

impl Following {
    fn key(&self, name: &TopicPartition) -> Key {
        (self.followed.topic_id, name.partition)
    }
}

/// See the module.
pub(super) struct Fetcher {
    around: Surroundings,
    leader: NodeId,
    partitions: BTreeMap<TopicPartition, Following>,
    names: BTreeMap<Key, TopicPartition>,
    /// Those of which the owner has not said from where they are fetched, and when it is asked.
    to_ask: BTreeMap<TopicPartition, Instant>,
    connection: Option<PeerConnection>,
    session: Session,
    held: Held,
    /// By which image, and since which change, it is known what is throttled.
    throttled_by: Option<Arc<ClusterImage>>,
}

/// What came first.
enum First {
    Answer(Result<FetchResponse, String>),
    Change(Option<Change>),
}

impl Fetcher {
    pub fn new(around: Surroundings, leader: NodeId) -> Fetcher {
        Fetcher {
            around,
            leader,
            partitions: BTreeMap::new(),
            names: BTreeMap::new(),
            to_ask: BTreeMap::new(),
            connection: None,
            session: Session::default(),
            held: Held::default(),
            throttled_by: None,
        }
    }

    /// Fetches until nobody can tell it anything any more.
    pub async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Change>) {
        loop {
            while let Ok(change) = inbox.try_recv() {
                self.take(change);
            }
            self.find_positions().await;
            let held_for = self.hold();
            if self.session.is_empty() {
                let rest = self.to_ask.values().min().copied();
                let rest = rest.into_iter().chain(held_for.map(|held_for| Instant::now() + held_for)).min();
                tokio::select! {
                    change = inbox.recv() => match change {
                        Some(change) => self.take(change),
                        None => return,
                    },
                    () = tokio::time::sleep_until(rest.unwrap_or_else(Instant::now)), if rest.is_some() => {}
                }
                continue;
            }
            let Some(connection) = self.connection.take().or_else(|| self.connect()) else {
                tokio::time::sleep(self.around.config.fetch_backoff).await;
                continue;
            };
            let first = self.ask(&connection, &mut inbox, held_for).await;
            match first {
                First::Answer(Ok(answer)) => {
                    self.connection = Some(connection);
                    self.take_answer(answer).await;
                }
                First::Answer(Err(why)) => {
                    tracing::debug!(leader = %self.leader, why, "a leader does not answer");
                    self.session.begin_anew();
                    // The connection is opened anew, to where the broker is then.
                    tokio::time::sleep(self.around.config.fetch_backoff).await;
                }
                First::Change(Some(change)) => {
                    // It shall not wait until the leader has news of something else.
                    self.session.begin_anew();
                    self.take(change);
                }
                First::Change(None) => return,
            }
        }
    }

    fn take(&mut self, change: Change) {
        self.throttled_by = None;
        match change {
            Change::Follow(name, followed) => {
                let following = Following { followed, has_warned: false };
                self.names.insert(following.key(&name), name.clone());
                self.to_ask.insert(name.clone(), Instant::now());
                self.partitions.insert(name, following);
            }
            Change::Leave(name) => {
                if let Some(left) = self.partitions.remove(&name) {
                    let key = left.key(&name);
                    self.names.remove(&key);
                    self.session.leave(key);
                    self.to_ask.remove(&name);
                }
            }
        }
    }

    /// Asks the owners of partitions that have just come, or come back, where they are.
    async fn find_positions(&mut self) {
        if self.to_ask.is_empty() {
            return;
        }
        let now = Instant::now();
        let nothing = FetchAnswer::nothing;
        let due = self.to_ask.iter().filter(|(_, when)| **when <= now).map(|(name, _)| name);
        let asked =
            due.filter_map(|name| Some((name.clone(), self.partitions.get(name)?.followed, nothing())));
        let asked: Vec<_> = asked.collect();
        self.replicate(asked).await;
    }

    /// Hands answers to the owners, and learns from where to go on.
    async fn replicate(&mut self, answers: Vec<(TopicPartition, Followed, FetchAnswer)>) {
        let partitions = &self.around.partitions;
        let handed = answers.into_iter().map(|(name, followed, answer)| {
            let open = partitions.get(&name.topic, name.partition);
            let committed = answer.high_watermark();
            async move {
                let position = match open {
                    Some(open) => open.partition.replicate(followed.leader_epoch, answer).await,
                    None => Err(NotFollowing::Log(LogError::Abandoned)),
                };
                (name, position, committed)
            }
        });
        for (name, position, committed) in join_all(handed).await {
            match position {
                Ok(position) => {
                    if let Some(following) = self.partitions.get_mut(&name) {
                        following.has_warned = false;
                        let key = following.key(&name);
                        if let Some(committed) = committed {
                            self.held.fetched(key, position.offset < committed);
                        }
                        self.session.want(key, position);
                        self.to_ask.remove(&name);
                    }
                }
                // The owner is told before this is, or hears of it in a moment.
                Err(NotFollowing::Elsewhere) => self.rest(&name, None),
                Err(NotFollowing::Log(error)) => self.rest(&name, Some(error.to_string())),
            }
        }
    }

    /// Leaves a partition alone for a moment.
    fn rest(&mut self, name: &TopicPartition, why: Option<String>) {
        let Some(following) = self.partitions.get_mut(name) else { return };
        self.session.leave(following.key(name));
        self.to_ask.insert(name.clone(), Instant::now() + self.around.config.fetch_backoff);
        if let Some(why) = why
            && !std::mem::replace(&mut following.has_warned, true)
        {
            tracing::warn!(partition = %name, leader = %self.leader, why, "a partition cannot be replicated");
        }
    }

    /// Sees to what is not fetched because of the broker's rate; gives for how long, where there is such.
    fn hold(&mut self) -> Option<Duration> {
        let around = self.around.clone();
        let throttle = &around.throttles.follower;
        if !throttle.is_limited() {
            if self.throttled_by.take().is_some() {
                self.held = Held::default();
                self.session.hold(BTreeSet::new());
            }
            return None;
        }
        let image = around.controller.image();
        if self.throttled_by.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &image)) {
            self.held.throttle(throttled(&image, around.node_id, self.partitions.keys()));
            self.throttled_by = Some(image);
        }
        let held_for = throttle.wait(0, std::time::Instant::now());
        let held = if held_for.is_zero() { BTreeSet::new() } else { self.held.while_over() };
        let held_for = (!held.is_empty()).then_some(held_for.clamp(HELD_MIN, HELD_MAX));
        self.session.hold(held);
        held_for
    }

    fn connect(&self) -> Option<PeerConnection> {
        let image = self.around.controller.image();
        let endpoint = image.brokers().get(&self.leader)?.endpoint(&self.around.listener)?;
        let address = PeerAddress { id: self.leader, host: endpoint.host.clone(), port: endpoint.port };
        Some(PeerConnection::new(address, &self.around.transport))
    }

    async fn ask(
        &mut self,
        connection: &PeerConnection,
        inbox: &mut mpsc::UnboundedReceiver<Change>,
        held_for: Option<Duration>,
    ) -> First {
        let config = self.around.config.clone();
        let wait = held_for.map_or(config.fetch_wait_max, |held_for| held_for.min(config.fetch_wait_max));
        let image = self.around.controller.image();
        let own = image.brokers().get(&self.around.node_id);
        let mut request = FetchRequest {
            replica_state: ReplicaState {
                replica_id: self.around.node_id.0,
                replica_epoch: own.map_or(-1, |own| own.epoch.0),
            },
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: config.fetch_bytes_max,
            ..FetchRequest::default()
        };
        self.session.ask(config.fetch_partition_bytes_max, &mut request);
        let within = config.fetch_wait_max + ANSWER_TIME_MAX;
        tokio::select! {
            answer = connection.call(&request, <FetchRequest as Message>::VERSIONS.1, within) => {
                First::Answer(answer.map_err(|error| error.to_string()))
            }
            change = inbox.recv() => First::Change(change),
        }
    }

    async fn take_answer(&mut self, answer: FetchResponse) {
        if let Err(code) = ErrorCode::check(answer.error_code) {
            tracing::debug!(leader = %self.leader, ?code, "a leader refuses a fetch");
            self.session.begin_anew();
            if !matches!(code, ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch) {
                tokio::time::sleep(self.around.config.fetch_backoff).await;
            }
            return;
        }
        self.session.answered(answer.session_id);
        let (mut taken, mut counted_bytes) = (Vec::new(), 0);
        for topic in answer.responses {
            for data in topic.partitions {
                let key = (topic.topic_id, data.partition_index);
                let Some(name) = self.names.get(&key).cloned() else { continue };
                let Some(following) = self.partitions.get(&name) else { continue };
                let Some(position) = self.session.position(key) else { continue };
                if self.held.counts(key) {
                    counted_bytes += data.records.as_ref().map_or(0, Records::len);
                }
                match read(data, position) {
                    Ok(answer) => taken.push((name, following.followed, answer)),
                    Err(why) => self.rest(&name, why),
                }
            }
        }
        self.around.throttles.follower.spend(counted_bytes, std::time::Instant::now());
        self.replicate(taken).await;
    }
}

/// What a leader has said of one partition. The error says why, unless it heals by itself: this node, or the leader, has not heard
/// yet who leads.
fn read(data: PartitionData, position: FetchPosition) -> Result<FetchAnswer, Option<String>> {
    match ErrorCode::from_code(data.error_code) {
        ErrorCode::None => {}
        ErrorCode::OffsetOutOfRange if data.log_start_offset >= 0 => {
            return Ok(FetchAnswer::StartsAnew { log_start: Offset(data.log_start_offset) });
        }
        ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownLeaderEpoch
        | ErrorCode::NotLeaderOrFollower
        | ErrorCode::UnknownTopicId
        | ErrorCode::UnknownTopicOrPartition => return Err(None),
        code => return Err(Some(code.message().to_owned())),
    }
    if data.diverging_epoch.epoch >= 0 || data.diverging_epoch.end_offset >= 0 {
        return Ok(FetchAnswer::Diverges {
            epoch: LeaderEpoch(data.diverging_epoch.epoch),
            end: Offset(data.diverging_epoch.end_offset),
        });
    }
    let bytes = match data.records {
        Some(Records::Held(bytes)) => bytes,
        _ => bytes::Bytes::new(),
    };
    let batches = whole_batches(bytes).map_err(|error| Some(error.to_string()))?;
    // The first may begin before what was asked for: it is there already.
    let new = batches.into_iter().filter(|batch| batch.header.next_offset() > position.offset.0);
    Ok(FetchAnswer::Records {
        batches: new.map(Checked::fetched).collect(),
        high_watermark: Offset(data.high_watermark),
        log_start: Offset(data.log_start_offset),
    })
}
