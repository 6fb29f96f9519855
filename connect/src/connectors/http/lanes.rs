//! Lanes: several requests under way, each lane with one at a time and its records in their order.
//!
//! ```text
//!   per_key   key ─ hash ─►  lane 0  [a a c]        a record never overtakes one of its key
//!                            lane 1  [b]            a lane that sends again holds no other
//!   none      ─► one queue ─►  whichever lane is free
//! ```
//! A lane puts records of several batches into one request, if they wait. How much waits is bounded by whoever gives the
//! records: each batch counts until it is answered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::bodies::{Limits, split};
use super::config::Order;
use super::delivery::Delivery;
use crate::connector::{Answers, Rejected};
use crate::error::ConnectorError;
use crate::fingerprint::fingerprint_bits;

/// Records that wait for a lane, and the lane or lanes that take them.
type Queue = mpsc::UnboundedSender<Vec<Item>>;

/// The lanes of a sink; they end when this is dropped.
pub(super) struct Lanes {
    /// One for each lane, or one for all.
    queues: Vec<Queue>,
    order: Order,
    limits: Limits,
    /// Why a lane has ended, if one has.
    failure: watch::Receiver<Option<ConnectorError>>,
    what: String,
    _tasks: JoinSet<()>,
}

/// A record on its way.
struct Item {
    row: usize,
    value: Bytes,
    batch: Arc<Batch>,
}

/// What is not answered of a batch.
struct Batch {
    is_json: bool,
    open: SyncMutex<Open>,
}

struct Open {
    records: usize,
    rejected: Vec<Rejected>,
    answered: Option<oneshot::Sender<Vec<Rejected>>>,
}

impl Batch {
    /// Hears that so many of its records are answered, and which of them are refused.
    fn settle(&self, records: usize, rejected: Vec<Rejected>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.records -= records;
        open.rejected.extend(rejected);
        if open.records == 0
            && let Some(answered) = open.answered.take()
        {
            // Nobody may be waiting any more.
            let _ = answered.send(std::mem::take(&mut open.rejected));
        }
    }
}

impl Lanes {
    /// Starts `count` lanes. Must be called on a runtime.
    pub(super) fn start(delivery: Delivery, count: usize, order: Order, limits: Limits) -> Self {
        let (fails, failure) = watch::channel(None);
        let what = delivery.what().to_owned();
        let (delivery, fails) = (Arc::new(delivery), Arc::new(fails));
        let mut tasks = JoinSet::new();
        let mut queues = Vec::new();
        let lanes_of_queue = match order {
            Order::PerKey => 1,
            Order::None => count,
        };
        for _ in 0..count / lanes_of_queue {
            let (queue, items) = mpsc::unbounded_channel();
            queues.push(queue);
            let items = Arc::new(Mutex::new(items));
            for _ in 0..lanes_of_queue {
                let lane = Lane { delivery: Arc::clone(&delivery), items: Arc::clone(&items), limits };
                tasks.spawn(lane.run(Arc::clone(&fails)));
            }
        }
        Self { queues, order, limits, failure, what, _tasks: tasks }
    }

    /// Gives records of a partition to the lanes: their rows, keys and values.
    pub(super) fn give(
        &self,
        partition: i32,
        is_json: bool,
        records: Vec<(usize, Option<Bytes>, Bytes)>,
    ) -> Answers {
        let (answered, answer) = oneshot::channel();
        let open = Open { records: records.len(), rejected: Vec::new(), answered: Some(answered) };
        let batch = Arc::new(Batch { is_json, open: SyncMutex::new(open) });
        if records.is_empty() {
            batch.settle(0, Vec::new());
        }
        match self.order {
            Order::PerKey => self.give_by_key(partition, &batch, records),
            Order::None => self.give_to_any(&batch, records),
        }
        let (mut failure, what) = (self.failure.clone(), self.what.clone());
        Box::pin(async move {
            let answered = tokio::select! {
                biased;
                answered = answer => answered.ok(),
                _ = failure.wait_for(Option::is_some) => None,
            };
            answered.ok_or_else(|| {
                let lost = || ConnectorError::fatal(what, "the lane that sent it was lost");
                failure.borrow().clone().unwrap_or_else(lost)
            })
        })
    }

    /// Records without a key are of one key for each partition.
    fn give_by_key(&self, partition: i32, batch: &Arc<Batch>, records: Vec<(usize, Option<Bytes>, Bytes)>) {
        let mut by_lane: Vec<Vec<Item>> = self.queues.iter().map(|_| Vec::new()).collect();
        let count = by_lane.len().max(1) as u64;
        let of_partition = fingerprint_bits([&b"partition "[..], &partition.to_be_bytes()]);
        for (row, key, value) in records {
            let hash = key.map_or(of_partition, |key| fingerprint_bits([&key[..]]));
            let lane = usize::try_from(hash % count).unwrap_or(0);
            if let Some(items) = by_lane.get_mut(lane) {
                items.push(Item { row, value, batch: Arc::clone(batch) });
            }
        }
        for (queue, items) in self.queues.iter().zip(by_lane) {
            give_items(queue, items);
        }
    }

    fn give_to_any(&self, batch: &Arc<Batch>, records: Vec<(usize, Option<Bytes>, Bytes)>) {
        let Some(queue) = self.queues.first() else { return };
        let values: Vec<Bytes> = records.iter().map(|(_, _, value)| value.clone()).collect();
        let mut records = records.into_iter();
        for run in split(&values, self.limits) {
            let items = records.by_ref().take(run.len());
            let items = items.map(|(row, _, value)| Item { row, value, batch: Arc::clone(batch) });
            give_items(queue, items.collect());
        }
    }
}

fn give_items(queue: &Queue, items: Vec<Item>) {
    if !items.is_empty() {
        // A lane that has ended has told why, and the batch is not answered.
        let _ = queue.send(items);
    }
}

/// One request at a time.
struct Lane {
    delivery: Arc<Delivery>,
    items: Arc<Mutex<mpsc::UnboundedReceiver<Vec<Item>>>>,
    limits: Limits,
}

impl Lane {
    /// Sends what comes until nothing will come any more, or the endpoint fails.
    async fn run(self, fails: Arc<watch::Sender<Option<ConnectorError>>>) {
        let mut waiting = VecDeque::new();
        while self.fill(&mut waiting).await {
            let items = self.cut(&mut waiting);
            if let Err(error) = self.deliver(items).await {
                fails.send_replace(Some(error));
                return;
            }
        }
    }

    /// Takes what is there for the next request, and waits when that is nothing; false when nothing will come.
    async fn fill(&self, waiting: &mut VecDeque<Item>) -> bool {
        if waiting.is_empty() {
            match self.items.lock().await.recv().await {
                Some(items) => waiting.extend(items),
                None => return false,
            }
        }
        // Whoever has the lock waits for more, so there is nothing.
        if let Ok(mut items) = self.items.try_lock() {
            while waiting.len() < self.limits.records_max
                && let Ok(more) = items.try_recv()
            {
                waiting.extend(more);
            }
        }
        true
    }

    /// The records of the next request.
    fn cut(&self, waiting: &mut VecDeque<Item>) -> Vec<Item> {
        let first: Vec<Bytes> =
            waiting.iter().take(self.limits.records_max).map(|item| item.value.clone()).collect();
        let length = split(&first, self.limits).first().map_or(0, |run| run.len());
        waiting.drain(..length).collect()
    }

    async fn deliver(&self, items: Vec<Item>) -> Result<(), ConnectorError> {
        let values: Vec<Bytes> = items.iter().map(|item| item.value.clone()).collect();
        let is_json = items.first().is_some_and(|item| item.batch.is_json);
        let mut refused = self.delivery.deliver(&values, is_json).await?.into_iter().peekable();
        let mut items = items.into_iter().enumerate().peekable();
        while let Some((first, Item { row, batch, .. })) = items.next() {
            let mut answered = vec![(first, row)];
            while let Some((index, item)) = items.next_if(|(_, item)| Arc::ptr_eq(&item.batch, &batch)) {
                answered.push((index, item.row));
            }
            let records = answered.len();
            let rejected = answered.into_iter().filter_map(|(index, row)| {
                let refused = refused.next_if(|refused| refused.row == index)?;
                Some(Rejected { row, reason: refused.reason })
            });
            batch.settle(records, rejected.collect());
        }
        Ok(())
    }
}
