//! The shards of one internal topic and the way to each: they are started when they are first asked, and again after
//! one has ended.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::CoordinatorConfig;
use super::log::CoordinatorLog;
use super::machine::{Machine, Unavailable};
use super::task::{self, Asked, Perform};

/// Requests that may wait for one shard. Beyond it clients are told to come back, which they do after a backoff.
const REQUESTS_WAITING_MAX: usize = 16 * 1024;

/// Cheap to clone; must be used within a tokio runtime.
pub(super) struct Shards<M: Machine> {
    inner: Arc<Inner<M>>,
}

impl<M: Machine> Clone for Shards<M> {
    fn clone(&self) -> Shards<M> {
        Shards { inner: self.inner.clone() }
    }
}

struct Inner<M: Machine> {
    log: Arc<dyn CoordinatorLog>,
    config: CoordinatorConfig<M::Config>,
    perform: Perform<M>,
    running: Mutex<Running<M>>,
}

struct Running<M: Machine> {
    /// By partition.
    shards: Vec<Option<RunningShard<M>>>,
    closed: bool,
}

struct RunningShard<M: Machine> {
    requests: mpsc::Sender<Asked<M>>,
    task: JoinHandle<()>,
}

impl<M: Machine> Shards<M> {
    /// No shard is started yet.
    pub(super) fn new(
        log: Arc<dyn CoordinatorLog>,
        config: CoordinatorConfig<M::Config>,
        perform: Perform<M>,
    ) -> Shards<M> {
        let mut shards = Vec::new();
        shards.resize_with(usize::try_from(config.partitions).unwrap_or(0), || None);
        let running = Mutex::new(Running { shards, closed: false });
        Shards { inner: Arc::new(Inner { log, config, perform, running }) }
    }

    /// How many partitions the topic has.
    pub(super) fn partitions(&self) -> i32 {
        self.inner.config.partitions
    }

    /// Starts a shard, unless it runs.
    pub(super) fn load(&self, partition: i32) {
        let _ = self.sender(partition);
    }

    /// Another node leads a partition now, or this one does so anew: what its shard knows counts no more. Where this node
    /// leads, another shard is started, which reads the log.
    pub(super) fn leader_changed(&self, partition: i32, leads: bool) {
        let slot = usize::try_from(partition).ok();
        if let Some(slot) = slot.and_then(|slot| self.running().shards.get_mut(slot).map(Option::take)) {
            // Its task ends when it hears that nobody can ask it any more; the log refuses what it may still append.
            drop(slot);
        }
        if leads {
            let _ = self.sender(partition);
        }
    }

    /// Takes no more requests, makes what was decided durable, and ends the tasks. Who waits is told to look for
    /// another coordinator.
    pub(super) async fn close(&self) {
        let running = {
            let mut running = self.running();
            running.closed = true;
            std::mem::take(&mut running.shards)
        };
        for shard in running.into_iter().flatten() {
            drop(shard.requests);
            if let Err(error) = shard.task.await {
                tracing::error!(%error, "a coordinator shard ended badly");
            }
        }
    }

    /// Asks every shard and gives their replies in the order of partitions.
    pub(super) async fn ask_all(&self, request: impl Fn() -> M::Request) -> Vec<M::Reply> {
        let asked = (0..self.partitions()).map(|partition| self.ask(partition, request()));
        futures::future::join_all(asked.collect::<Vec<_>>()).await
    }

    /// Hands a request to a shard **before it returns**, and gives the reply later. Never fails: refusals are replies.
    pub(super) fn ask(
        &self,
        partition: i32,
        request: M::Request,
    ) -> impl Future<Output = M::Reply> + Send + use<M> {
        let (reply, answered) = oneshot::channel();
        let lost = M::refuse(&request, Unavailable::NotHere);
        let overloaded = M::refuse(&request, Unavailable::NotNow);
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
    fn sender(&self, partition: i32) -> Option<mpsc::Sender<Asked<M>>> {
        let mut running = self.running();
        if running.closed {
            return None;
        }
        let slot = running.shards.get_mut(usize::try_from(partition).ok()?)?;
        if slot.as_ref().is_none_or(|shard| shard.requests.is_closed()) {
            let (requests, received) = mpsc::channel(REQUESTS_WAITING_MAX);
            let Inner { log, config, perform, .. } = &*self.inner;
            let task = tokio::spawn(task::run::<M>(
                partition,
                log.clone(),
                config.clone(),
                perform.clone(),
                received,
            ));
            *slot = Some(RunningShard { requests, task });
        }
        slot.as_ref().map(|shard| shard.requests.clone())
    }

    fn running(&self) -> MutexGuard<'_, Running<M>> {
        // The lock is held for a few lines that cannot leave it half changed.
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
