//! A running stage: its handle, what it may be told, and its counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::StageError;

/// Where a stage is in its life.
#[derive(Clone, Debug, Default)]
pub enum StageState {
    /// Finding its place.
    #[default]
    Starting,
    Running,
    /// Waiting to start again after an error that may pass.
    Retrying,
    /// Everything that was in its input when it was told to finish is written.
    Done,
    /// Ended because it was told to stop.
    Stopped,
    Failed(StageError),
}

impl StageState {
    pub fn is_ended(&self) -> bool {
        match self {
            StageState::Starting | StageState::Running | StageState::Retrying => false,
            StageState::Done | StageState::Stopped | StageState::Failed(_) => true,
        }
    }
}

/// State and counters at one moment. They are of this run of the process and count only what is committed.
#[derive(Clone, Debug, Default)]
pub struct StageStatus {
    pub state: StageState,
    pub records_in: u64,
    pub records_out: u64,
    /// Dead letters.
    pub records_bad: u64,
}

/// What a stage has been told; an order is never taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Run,
    /// Take what is there now, then end.
    Finish,
    /// Commit what is in hand, then end.
    Stop,
}

/// A running stage. Clones are the same stage; when the last is dropped it stops.
#[derive(Clone)]
pub struct StageHandle {
    shared: Arc<Shared>,
    order: Arc<watch::Sender<Order>>,
}

impl StageHandle {
    pub(super) fn new() -> (StageHandle, Arc<Shared>, watch::Receiver<Order>) {
        let shared = Arc::new(Shared::default());
        let (order, orders) = watch::channel(Order::Run);
        (StageHandle { shared: shared.clone(), order: Arc::new(order) }, shared, orders)
    }

    pub fn status(&self) -> StageStatus {
        self.shared.status()
    }

    /// Take what is in the input now, then end as done. For when everything upstream has ended.
    pub fn finish(&self) {
        self.give(Order::Finish);
    }

    /// Commits what is in hand, ends, and waits for that.
    pub async fn stop(&self) -> StageStatus {
        self.give(Order::Stop);
        self.wait().await
    }

    /// Waits until the stage has ended.
    pub async fn wait(&self) -> StageStatus {
        let mut state = self.shared.state.subscribe();
        // The sender lives in `shared`: it cannot be gone.
        let _ = state.wait_for(StageState::is_ended).await;
        self.status()
    }

    fn give(&self, order: Order) {
        self.order.send_if_modified(|now| {
            let is_new = order > *now;
            *now = (*now).max(order);
            is_new
        });
    }
}

/// What the task writes and the handle reads.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) state: watch::Sender<StageState>,
    pub(super) records_in: AtomicU64,
    pub(super) records_out: AtomicU64,
    pub(super) records_bad: AtomicU64,
}

impl Shared {
    fn status(&self) -> StageStatus {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StageStatus {
            state: self.state.borrow().clone(),
            records_in: load(&self.records_in),
            records_out: load(&self.records_out),
            records_bad: load(&self.records_bad),
        }
    }
}
