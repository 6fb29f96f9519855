//! The runtime of group coordinators: a shard per partition of `__consumer_offsets`, each owned by one task that is
//! started by the first request for it.
//!
//! It owns tasks, timers and the order of replies; what is decided is decided by `groups/`. It knows the log only
//! through [`CoordinatorLog`] and topics only through [`TopicLookup`].
//!
//! ```text
//!   handler ── api/k11_join_group ──▶ shard's task ── decide, apply ──▶ records ──▶ outbox ──▶ CoordinatorLog
//!      ▲                                                replies ──▶ parked ◀── durable ──────────┘
//!      └──────────────────────────────────────────────────────────────┘
//! ```

mod api;
mod clock;
mod log;
mod outbox;
mod parked;
mod replay;
mod shard;
mod task;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ottla_protocol::{Str, Uuid};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::groups::{GroupConfig, GroupError, GroupId, Reply, Request, TopicName, partition_for};
use task::Asked;

pub use api::Caller;
pub use log::{CoordinatorLog, LogError, LogSlice};

/// Requests that may wait for one shard. Beyond it clients are told to come back, which they do after a backoff.
const REQUESTS_WAITING_MAX: usize = 16 * 1024;

/// Settings of the runtime.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// `offsets.topic.num.partitions`. Must not change once the topic exists.
    pub partitions: i32,
    /// Limits and delays of groups.
    pub groups: GroupConfig,
    /// The largest batch that is appended, in bytes; one record may be larger alone.
    pub batch_bytes_max: usize,
    /// How long a request waits for its shard to load before it is told `COORDINATOR_LOAD_IN_PROGRESS`. A small
    /// partition loads in less, and a client that is turned away waits far longer before it asks again.
    pub load_patience: Duration,
}

impl Default for CoordinatorConfig {
    fn default() -> CoordinatorConfig {
        CoordinatorConfig {
            partitions: 50,
            groups: GroupConfig::default(),
            batch_bytes_max: 1 << 20,
            load_patience: Duration::from_millis(200),
        }
    }
}

/// What a coordinator asks about topics.
pub trait TopicLookup: Send + Sync {
    /// The id of the topic of this name.
    fn topic_id(&self, name: &str) -> Option<Uuid>;
    /// The name of the topic with this id.
    fn topic_name(&self, id: Uuid) -> Option<Str>;
    /// Whether the topic is there and has the partition.
    fn has_partition(&self, name: &str, partition: i32) -> bool;
}

/// The groups of this broker. Cheap to clone; must be used within a tokio runtime.
#[derive(Clone)]
pub struct GroupCoordinator {
    inner: Arc<Inner>,
}

struct Inner {
    log: Arc<dyn CoordinatorLog>,
    topics: Arc<dyn TopicLookup>,
    config: CoordinatorConfig,
    shards: Mutex<Shards>,
}

#[derive(Default)]
struct Shards {
    running: Vec<Option<RunningShard>>,
    closed: bool,
}

struct RunningShard {
    requests: mpsc::Sender<Asked>,
    task: JoinHandle<()>,
}

impl GroupCoordinator {
    /// A coordinator that has started no shard yet.
    pub fn new(
        log: Arc<dyn CoordinatorLog>,
        topics: Arc<dyn TopicLookup>,
        config: CoordinatorConfig,
    ) -> GroupCoordinator {
        let mut shards = Shards::default();
        shards.running.resize_with(usize::try_from(config.partitions).unwrap_or(0), || None);
        GroupCoordinator { inner: Arc::new(Inner { log, topics, config, shards: Mutex::new(shards) }) }
    }

    /// The partition of `__consumer_offsets` that holds the group.
    pub fn partition_for(&self, group: &str) -> i32 {
        partition_for(group, self.inner.config.partitions)
    }

    /// Hands a request about one group to its shard **before it returns**, so that requests of one connection keep
    /// their order, and gives the reply later. Never fails: refusals are replies.
    pub fn handle(&self, group: &GroupId, request: Request) -> impl Future<Output = Reply> + Send + use<> {
        self.ask(self.partition_for(group.as_str()), request)
    }

    /// Forgets all offsets committed in these topics. To be called when topics are deleted.
    ///
    /// # Errors
    /// When not every shard could do it; what was done stays done.
    pub async fn on_topics_deleted(&self, topics: &[&str]) -> Result<(), GroupError> {
        let topics: Vec<TopicName> = topics.iter().map(|topic| TopicName::from(*topic)).collect();
        let replies = self.ask_all(|| Request::DeleteTopics(topics.clone())).await;
        replies.into_iter().try_for_each(|reply| match reply {
            Reply::DeleteTopics(done) => done,
            other => unreachable!("a shard answers what it was asked, not {other:?}"),
        })
    }

    /// Starts every shard, so that all groups are loaded before anyone asks.
    pub fn load_all(&self) {
        for partition in 0..self.inner.config.partitions {
            let _ = self.sender(partition);
        }
    }

    /// Takes no more requests, makes what was decided durable, and ends the tasks. Members that wait are told to look
    /// for another coordinator.
    pub async fn close(&self) {
        let running = {
            let mut shards = self.shards();
            shards.closed = true;
            std::mem::take(&mut shards.running)
        };
        for shard in running.into_iter().flatten() {
            drop(shard.requests);
            if let Err(error) = shard.task.await {
                tracing::error!(%error, "a coordinator shard ended badly");
            }
        }
    }

    /// Asks every shard and gives their replies in the order of partitions.
    async fn ask_all(&self, request: impl Fn() -> Request) -> Vec<Reply> {
        let asked = (0..self.inner.config.partitions).map(|partition| self.ask(partition, request()));
        futures::future::join_all(asked.collect::<Vec<_>>()).await
    }

    fn ask(&self, partition: i32, request: Request) -> impl Future<Output = Reply> + Send + use<> {
        let (reply, answered) = oneshot::channel();
        let lost = request.refused(GroupError::NotCoordinator);
        let overloaded = request.refused(GroupError::CoordinatorNotAvailable);
        let handed = match self.sender(partition) {
            None => Err(lost.clone()),
            Some(sender) => sender.try_send(Asked { request, reply }).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => overloaded,
                mpsc::error::TrySendError::Closed(_) => lost.clone(),
            }),
        };
        async move {
            match handed {
                Ok(()) => answered.await.unwrap_or(lost),
                Err(refused) => refused,
            }
        }
    }

    /// The way to a shard, which is started if it is not running. `None` when the coordinator is closed.
    fn sender(&self, partition: i32) -> Option<mpsc::Sender<Asked>> {
        let mut shards = self.shards();
        if shards.closed {
            return None;
        }
        let slot = shards.running.get_mut(usize::try_from(partition).ok()?)?;
        if slot.as_ref().is_none_or(|shard| shard.requests.is_closed()) {
            let (requests, received) = mpsc::channel(REQUESTS_WAITING_MAX);
            let Inner { log, config, .. } = &*self.inner;
            let task = tokio::spawn(task::run(partition, log.clone(), config.clone(), received));
            *slot = Some(RunningShard { requests, task });
        }
        slot.as_ref().map(|shard| shard.requests.clone())
    }

    fn shards(&self) -> MutexGuard<'_, Shards> {
        // The lock is held for a few lines that cannot leave it half changed.
        self.inner.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
