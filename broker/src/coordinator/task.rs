//! The task that owns a shard: one closed event enum, one `select!`, everything else in [`Shard`].

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use super::CoordinatorConfig;
use super::clock::Clock;
use super::log::{CoordinatorLog, LogError, LogSlice};
use super::machine::Machine;
use super::shard::Shard;

/// How much of the log is read at once while loading.
const READ_BYTES_MAX: usize = 1 << 20;

/// How many waiting requests are taken before the next append begins.
const REQUESTS_PER_APPEND_MAX: usize = 1024;

/// A request on its way to its shard.
pub(super) struct Asked<M: Machine> {
    pub(super) request: M::Request,
    pub(super) reply: oneshot::Sender<M::Reply>,
}

/// Does what a machine of some partition wants done; the outcome is a request to it.
pub(super) type Perform<M> =
    Arc<dyn Fn(i32, <M as Machine>::Effect) -> BoxFuture<'static, <M as Machine>::Request> + Send + Sync>;

/// Everything that can happen to a shard.
enum Event<M: Machine> {
    /// The batch being appended is durable, or failed.
    Appended(Result<i64, LogError>),
    /// The read is done.
    Read(Result<LogSlice, LogError>),
    /// The shard's next deadline has come.
    DeadlinePassed,
    /// A client asks.
    Asked(Asked<M>),
    /// Something outside is done.
    Performed(M::Request),
    /// All handles are gone.
    Closed,
}

/// Runs the shard of `partition` until its requests end and what they decided is durable.
pub(super) async fn run<M: Machine>(
    partition: i32,
    log: Arc<dyn CoordinatorLog>,
    config: CoordinatorConfig<M::Config>,
    perform: Perform<M>,
    mut requests: mpsc::Receiver<Asked<M>>,
) {
    let clock = Clock::new();
    let mut shard = Shard::<M>::new(config, clock.now());
    let mut performing: FuturesUnordered<BoxFuture<'static, M::Request>> = FuturesUnordered::new();
    let mut append: Option<BoxFuture<'static, Result<i64, LogError>>> = None;
    let mut read: Option<BoxFuture<'static, Result<LogSlice, LogError>>> = None;
    let mut closing = false;
    loop {
        if read.is_none() && !closing {
            read = shard.next_read().map(|from| log.read(partition, from, READ_BYTES_MAX));
        }
        if append.is_none() {
            let leader_epoch = shard.leader_epoch();
            append = shard.next_batch().map(|batch: Bytes| log.append(partition, leader_epoch, batch));
        }
        while let Some(effect) = shard.next_effect() {
            performing.push(perform(partition, effect));
        }
        // What is still being done outside the next start begins again.
        if closing && append.is_none() {
            debug_assert!(shard.is_settled());
            return;
        }
        let deadline = shard.next_deadline().map(|at| clock.instant(at));
        // Durable first, so that replies do not wait behind a flood of requests.
        let event = tokio::select! {
            biased;
            result = done(&mut append) => Event::Appended(result),
            result = done(&mut read) => Event::Read(result),
            () = passed(deadline) => Event::DeadlinePassed,
            Some(request) = performing.next(), if !performing.is_empty() => Event::Performed(request),
            asked = requests.recv(), if !closing => asked.map_or(Event::Closed, Event::Asked),
        };
        let now = clock.now();
        match event {
            Event::Appended(result) => {
                append = None;
                shard.on_appended(now, result);
            }
            Event::Read(result) => {
                read = None;
                shard.on_read(now, result);
            }
            Event::DeadlinePassed => shard.on_deadline(now),
            Event::Asked(asked) => {
                shard.on_request(now, asked.request, Some(asked.reply));
                // What waits already joins the same append.
                for _ in 1..REQUESTS_PER_APPEND_MAX {
                    let Ok(asked) = requests.try_recv() else { break };
                    shard.on_request(now, asked.request, Some(asked.reply));
                }
            }
            Event::Performed(request) => shard.on_request(now, request, None),
            Event::Closed => closing = true,
        }
    }
}

async fn done<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn passed(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
