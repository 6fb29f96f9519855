//! Running tasks: their handles, status and counters, and starting them again after errors that may pass.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::ConnectError;

/// The first pause before a task is started again; it doubles up to the longest.
const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });

/// How errors that may pass are met: by starting the task again from its last committed place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long a task may be without any progress (records written) before it fails for good; without it, it never does.
    /// Kafka Connect's `errors.retry.timeout`.
    pub timeout: Option<Duration>,
    /// The longest pause between two attempts. Kafka Connect's `errors.retry.delay.max.ms`.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    /// Ten minutes, with pauses of ten seconds at most.
    fn default() -> Self {
        Self { timeout: Some(Duration::from_secs(600)), pause_max: Duration::from_secs(10) }
    }
}

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Opening its connector and finding its place.
    Starting,
    /// Moving records.
    Running,
    /// Waiting to start again after an error that may pass.
    Retrying,
    /// A bounded source is drained, or a sink has taken all that was there when it was told to finish.
    Done,
    /// Ended because it was told to stop.
    Stopped,
    /// Ended by an error.
    Failed,
}

impl TaskState {
    /// Whether the task has ended.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Stopped | Self::Failed)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

/// A task's state and counters at one moment. Counters are of this run of the process and count only what is certain:
/// acknowledged by the cluster, or committed in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStatus {
    /// The connector's name.
    pub name: String,
    /// What the task is doing.
    pub state: TaskState,
    /// Records taken from the source or topic, good and bad.
    pub records_in: u64,
    /// Records written to the topic or target.
    pub records_out: u64,
    /// Records that went to the dead-letter topic.
    pub records_bad: u64,
    /// Times the task was started again after an error.
    pub retries: u64,
    /// For a source that knows its end: where it is; for a sink, offsets consumed (summed over partitions).
    pub position: u64,
    /// Where `position` will be at the end, as far as it is known.
    pub position_end: Option<u64>,
    /// The last error, also one that was overcome.
    pub last_error: Option<String>,
}

/// The counters that a running task writes and its handle reads.
#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    state: watch::Sender<TaskState>,
    pub(crate) records_in: AtomicU64,
    pub(crate) records_out: AtomicU64,
    pub(crate) records_bad: AtomicU64,
    retries: AtomicU64,
    position: AtomicU64,
    /// `u64::MAX` stands for not known.
    position_end: AtomicU64,
    last_error: Mutex<Option<String>>,
    outcome: Mutex<Option<Result<(), ConnectError>>>,
}

impl Shared {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: watch::Sender::new(TaskState::Starting),
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            records_bad: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            position: AtomicU64::new(0),
            position_end: AtomicU64::new(u64::MAX),
            last_error: Mutex::new(None),
            outcome: Mutex::new(None),
        }
    }

    pub(crate) fn set_state(&self, state: TaskState) {
        let before = self.state.send_replace(state);
        if before != state {
            tracing::info!(connector = %self.name, %state, "task is {state}");
        }
    }

    pub(crate) fn set_position(&self, position: u64, end: Option<u64>) {
        self.position.store(position, Ordering::Relaxed);
        self.position_end.store(end.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn add(&self, counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    fn status(&self) -> TaskStatus {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TaskStatus {
            name: self.name.clone(),
            state: *self.state.borrow(),
            records_in: load(&self.records_in),
            records_out: load(&self.records_out),
            records_bad: load(&self.records_bad),
            retries: load(&self.retries),
            position: load(&self.position),
            position_end: Some(load(&self.position_end)).filter(|end| *end != u64::MAX),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn end(&self, outcome: Result<End, ConnectError>) {
        let (state, outcome) = match outcome {
            Ok(End::Drained) => (TaskState::Done, Ok(())),
            Ok(End::Stopped) => (TaskState::Stopped, Ok(())),
            Err(error) => {
                self.note_error(&error);
                (TaskState::Failed, Err(error))
            }
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.set_state(state);
    }

    fn note_error(&self, error: &ConnectError) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

/// What a task has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Go on.
    Run,
    /// Take what is there now, then end.
    Finish,
    /// Write out and commit what has been taken, then end.
    Stop,
}

/// How an attempt ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Drained,
    Stopped,
}

/// The task's side of its handle.
#[derive(Clone)]
pub(crate) struct Orders(watch::Receiver<Order>);

impl Orders {
    /// The order in force. When every handle is gone nobody can give another, so that is an order to stop.
    pub(crate) fn current(&self) -> Order {
        if self.0.has_changed().is_err() { Order::Stop } else { *self.0.borrow() }
    }

    /// Resolves when the order in force is beyond `order`; cancel safe.
    pub(crate) async fn beyond(&mut self, order: Order) -> Order {
        // An error says that every handle is gone.
        match self.0.wait_for(|now| *now > order).await {
            Ok(now) => *now,
            Err(_) => Order::Stop,
        }
    }
}

/// A running task. Clones are the same task; when the last one is dropped the task stops.
#[derive(Clone)]
pub struct TaskHandle {
    shared: Arc<Shared>,
    order: Arc<watch::Sender<Order>>,
}

impl TaskHandle {
    /// The task's state and counters now.
    #[must_use]
    pub fn status(&self) -> TaskStatus {
        self.shared.status()
    }

    /// Tells the task to take what is there now, then end as [`TaskState::Done`]. A sink looks up the end of its topic
    /// when it hears this, so call it when everything upstream has ended. A bounded source needs no such order.
    pub fn finish(&self) {
        self.give(Order::Finish);
    }

    /// Tells the task to write out and commit what it has taken, and waits until it has.
    ///
    /// # Errors
    /// What ended the task, if that was an error.
    pub async fn stop(&self) -> Result<TaskStatus, ConnectError> {
        self.give(Order::Stop);
        self.wait().await
    }

    /// Waits until the task ends: a bounded source by itself, a sink after [`TaskHandle::finish`].
    ///
    /// # Errors
    /// What ended the task, if that was an error.
    pub async fn wait(&self) -> Result<TaskStatus, ConnectError> {
        let mut state = self.shared.state.subscribe();
        // The sender lives in `shared`, so waiting cannot fail before the state is an end.
        let _ = state.wait_for(|state| state.is_ended()).await;
        let outcome = self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match outcome {
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(self.status()),
        }
    }

    fn give(&self, order: Order) {
        // An order is never taken back: stop is beyond finish.
        self.order.send_if_modified(|now| {
            let is_new = order > *now;
            *now = (*now).max(order);
            is_new
        });
    }
}

/// Spawns a task that makes attempts until one ends by itself. After an error that may pass the next attempt starts
/// from what was committed; progress in between (records written) makes the count of retries start over.
pub(crate) fn spawn<A, F>(name: &str, retry: RetryPolicy, mut attempt: A) -> TaskHandle
where
    A: FnMut(Arc<Shared>, Orders) -> F + Send + 'static,
    F: Future<Output = Result<End, ConnectError>> + Send + 'static,
{
    let shared = Arc::new(Shared::new(name));
    let (order, orders) = watch::channel(Order::Run);
    let handle = TaskHandle { shared: Arc::clone(&shared), order: Arc::new(order) };
    let mut orders = Orders(orders);
    let name = name.to_owned();
    tokio::spawn(async move {
        let mut retries_in_a_row = 0;
        let mut failing_since: Option<Instant> = None;
        let outcome = loop {
            let written_before = shared.records_out.load(Ordering::Relaxed);
            shared.set_state(TaskState::Starting);
            // A task of its own, so that a panic in a connector ends this task's status as failed and not silently.
            let result =
                tokio::spawn(attempt(Arc::clone(&shared), orders.clone())).await.unwrap_or_else(|lost| {
                    Err(ConnectError::TaskLost { name: name.clone(), reason: lost.to_string() })
                });
            let error = match result {
                Err(error) if error.is_retriable() => error,
                other => break other,
            };
            if shared.records_out.load(Ordering::Relaxed) > written_before {
                (retries_in_a_row, failing_since) = (0, None);
            }
            retries_in_a_row += 1;
            let failing_for = failing_since.get_or_insert_with(Instant::now).elapsed();
            if retry.timeout.is_some_and(|timeout| failing_for >= timeout) {
                break Err(error);
            }
            shared.note_error(&error);
            shared.add(&shared.retries, 1);
            shared.set_state(TaskState::Retrying);
            tracing::warn!(connector = %name, retry = retries_in_a_row, %error, "task starts again after an error");
            tokio::select! {
                () = tokio::time::sleep(retry_pause(retries_in_a_row).min(retry.pause_max)) => {}
                Order::Stop = orders.beyond(Order::Finish) => break Err(error),
            }
        };
        shared.end(outcome);
    });
    handle
}

fn retry_pause(retry: u32) -> Duration {
    RETRY_PAUSE_FIRST.saturating_mul(1 << retry.saturating_sub(1).min(16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ConnectorError;
    use std::sync::atomic::AtomicU32;

    fn error(retriable: bool) -> ConnectError {
        let error = if retriable {
            ConnectorError::retriable("reading x", "busy")
        } else {
            ConnectorError::fatal("reading x", "gone")
        };
        ConnectError::Connector { name: "c".to_owned(), error }
    }

    #[tokio::test]
    async fn an_error_that_may_pass_starts_the_task_again() {
        let attempts = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&attempts);
        let handle = spawn("c", RetryPolicy::default(), move |_, _| {
            let attempt = seen.fetch_add(1, Ordering::SeqCst);
            async move { if attempt < 3 { Err(error(true)) } else { Ok(End::Drained) } }
        });
        let status = handle.wait().await.unwrap();
        assert_eq!((status.state, status.retries), (TaskState::Done, 3));
        assert_eq!(status.last_error.as_deref(), Some("connector 'c': reading x: busy"));
    }

    #[tokio::test]
    async fn an_error_that_stays_fails_the_task_at_once_and_others_after_a_bounded_time() {
        let handle = spawn("c", RetryPolicy::default(), |_, _| async { Err(error(false)) });
        assert!(handle.wait().await.is_err());
        assert_eq!((handle.status().state, handle.status().retries), (TaskState::Failed, 0));

        let bounded = |timeout| RetryPolicy { timeout: Some(timeout), pause_max: Duration::from_millis(1) };
        let handle = spawn("c", bounded(Duration::from_millis(20)), |_, _| async { Err(error(true)) });
        assert!(handle.wait().await.is_err());
        assert!(handle.status().retries > 0);
        let handle = spawn("c", bounded(Duration::ZERO), |_, _| async { Err(error(true)) });
        assert!(handle.wait().await.is_err());
        assert_eq!(handle.status().retries, 0);
    }

    #[tokio::test]
    async fn a_panic_in_an_attempt_fails_the_task_and_not_the_process() {
        let handle = spawn("c", RetryPolicy::default(), |_, _| async { panic!("a connector's bug") });
        let error = handle.wait().await.unwrap_err();
        assert!(matches!(error, ConnectError::TaskLost { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_task_hears_stop_also_while_it_waits_to_retry_and_when_all_handles_are_gone() {
        let handle = spawn("c", RetryPolicy::default(), |_, _| async { Err(error(true)) });
        assert!(handle.stop().await.is_err());

        let started = Arc::new(tokio::sync::Notify::new());
        let (told, hears) = tokio::sync::oneshot::channel();
        let (mut told, starts) = (Some(told), Arc::clone(&started));
        let handle = spawn("c", RetryPolicy::default(), move |_, mut orders: Orders| {
            let told = told.take();
            starts.notify_one();
            async move {
                let order = orders.beyond(Order::Run).await;
                told.map(|told| told.send(order));
                Ok(End::Stopped)
            }
        });
        started.notified().await;
        drop(handle);
        assert_eq!(hears.await, Ok(Order::Stop));
    }
}
