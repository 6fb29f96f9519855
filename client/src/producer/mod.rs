//! The producer: `send` puts records into the accumulator, the sender task takes batches out and sees them through.
//!
//! *Invariant:* a record is in exactly one batch from `send` until its delivery is resolved, and its bytes are
//! counted against `buffer_memory` for just as long.

mod accumulator;
mod batch;
mod config;
mod coordinating;
mod delivery;
mod partition_queue;
mod partitioner;
mod sender;
#[cfg(test)]
mod simulation;
mod stamp;
mod transaction;
mod transactional;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::debug;

pub use config::{Acks, ProducerConfig};
pub use delivery::Delivery;
pub use partitioner::{murmur2, partition_of_key};

use crate::cluster::Cluster;
use crate::coordinator::Coordinator;
use crate::error::ClientError;
use crate::{Record, TopicPartition};
use accumulator::{Accumulator, Choice, NotAppended};
use partition_queue::{Limits, RecordRef};
use transaction::Transaction;

/// Writes records to topics. Cheap to clone; clones share batches and connections.
///
/// What was sent is still delivered when all clones are dropped, as long as the runtime lives; [`close`] waits for it.
///
/// [`close`]: Producer::close
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Tells the sender when the last clone goes.
struct Handle {
    shared: Arc<Shared>,
    sender: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// What `send` and the sender task both see.
struct Shared {
    config: ProducerConfig,
    cluster: Arc<Cluster>,
    accumulator: Mutex<Accumulator>,
    /// Free bytes of `buffer_memory`.
    memory: Semaphore,
    wake: Notify,
    is_closed: AtomicBool,
    /// Why the producer cannot go on at all.
    fatal: OnceLock<ClientError>,
    /// Of the transactional id, if there is one.
    coordinator: Option<Coordinator>,
    /// There if `coordinator` is. Locked after the accumulator where both are.
    transaction: Option<Mutex<Transaction>>,
    /// Told whenever the coordinator has answered about partitions, and when nobody asks any more.
    enlisting_done: Notify,
    /// That of the group whose offsets were sent last.
    group_coordinator: Mutex<Option<Arc<Coordinator>>>,
}

impl Shared {
    fn accumulator(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn transaction(&self) -> Option<MutexGuard<'_, Transaction>> {
        let transaction = self.transaction.as_ref()?;
        Some(transaction.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.accumulator().close_open();
        self.wake.notify_one();
    }

    fn check_open(&self) -> Result<(), ClientError> {
        if let Some(error) = self.fatal.get() {
            return Err(error.clone());
        }
        if self.is_closed.load(Ordering::Acquire) {
            return Err(ClientError::Closed("producer"));
        }
        Ok(())
    }

    /// Waits for room for that many bytes. While someone waits, open batches do not linger: sending them is what
    /// makes room.
    async fn reserve(&self, bytes: usize) -> Result<tokio::sync::SemaphorePermit<'_>, ClientError> {
        let bytes = u32::try_from(bytes).map_err(|_| ClientError::Closed("producer"))?;
        if let Ok(permit) = self.memory.try_acquire_many(bytes) {
            return Ok(permit);
        }
        self.accumulator().close_open();
        self.wake.notify_one();
        let permit = self.memory.acquire_many(bytes).await.map_err(|_| ClientError::Closed("producer"))?;
        self.check_open()?;
        Ok(permit)
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Producer {
    pub(crate) fn new(cluster: Arc<Cluster>, config: ProducerConfig) -> Result<Producer, ClientError> {
        config.validate()?;
        let limits = Limits {
            batch_size: config.batch_size.min(config.max_request_size),
            linger: config.linger,
            max_in_flight: config.max_in_flight_per_partition(),
            delivery_timeout: config.delivery_timeout,
            retry_backoff: cluster.config.retry_backoff,
            retry_backoff_max: cluster.config.retry_backoff_max,
        };
        let id = config.transactional_id.as_deref();
        let shared = Arc::new(Shared {
            memory: Semaphore::new(config.buffer_memory),
            coordinator: id.map(|id| Coordinator::of_transactional_id(cluster.clone(), id)),
            transaction: id.map(|id| Mutex::new(Transaction::new(id))),
            enlisting_done: Notify::new(),
            group_coordinator: Mutex::default(),
            config,
            cluster,
            accumulator: Mutex::new(Accumulator::new(limits)),
            wake: Notify::new(),
            is_closed: AtomicBool::new(false),
            fatal: OnceLock::new(),
        });
        let sender = tokio::spawn(sender::Sender::new(shared.clone()).run());
        Ok(Producer { handle: Arc::new(Handle { shared, sender: Mutex::new(Some(sender)) }) })
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Appends one record to a batch; without a partition its key decides, as in Kafka. Waits only for room in
    /// `buffer_memory` and, the first time, for the topic to be known. The returned [`Delivery`] resolves when the
    /// broker has acknowledged the record.
    ///
    /// # Errors
    /// [`ClientError::RecordTooLarge`], [`ClientError::UnknownPartition`], and what finding the topic meets; of a
    /// transactional producer [`ClientError::TransactionOrder`] outside of a transaction, and why it can only be aborted.
    pub async fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        record: Record,
    ) -> Result<Delivery, ClientError> {
        let choice = partition.map_or(Choice::ByKey, Choice::Partition);
        self.append(topic, choice, std::slice::from_ref(&record)).await
    }

    /// Appends records to one partition, in order. The [`Delivery`] resolves when all are acknowledged, to the
    /// metadata of the first; it fails when any of them failed.
    ///
    /// # Errors
    /// As [`send`](Producer::send); [`ClientError::InvalidConfig`] for no records at all. Records before a too large
    /// one may have been sent.
    pub async fn send_batch(
        &self,
        topic: &str,
        partition: i32,
        records: impl AsRef<[Record]>,
    ) -> Result<Delivery, ClientError> {
        self.append(topic, Choice::Partition(partition), records.as_ref()).await
    }

    async fn append(&self, topic: &str, choice: Choice, records: &[Record]) -> Result<Delivery, ClientError> {
        let shared = self.shared();
        shared.check_open()?;
        let now_ms = now_ms();
        let mut delivery: Option<Delivery> = None;
        let mut rest = records;
        while !rest.is_empty() {
            let (piece, size) = self.next_piece(topic, rest, now_ms)?;
            let permit = shared.reserve(size).await?;
            self.append_piece(topic, choice, &rest[..piece], now_ms, &mut delivery).await?;
            // The batches own the memory now; the sender gives it back when they are done.
            permit.forget();
            rest = &rest[piece..];
        }
        delivery.ok_or_else(|| ClientError::InvalidConfig("send_batch needs at least one record".to_owned()))
    }

    /// How many of the records are appended in one go, and their size: about a batch.
    fn next_piece(
        &self,
        topic: &str,
        records: &[Record],
        now_ms: i64,
    ) -> Result<(usize, usize), ClientError> {
        let config = &self.shared().config;
        let mut total = 0;
        for (index, record) in records.iter().enumerate() {
            let size = record.as_ref(now_ms).size();
            if size > config.max_request_size {
                let limit = config.max_request_size;
                return Err(ClientError::RecordTooLarge { topic: topic.to_owned(), size, limit });
            }
            if index > 0 && total + size > config.batch_size.min(config.max_request_size) {
                return Ok((index, total));
            }
            total += size;
        }
        Ok((records.len(), total))
    }

    async fn append_piece(
        &self,
        topic: &str,
        choice: Choice,
        records: &[Record],
        now_ms: i64,
        delivery: &mut Option<Delivery>,
    ) -> Result<(), ClientError> {
        let shared = self.shared();
        let mut is_renewed = false;
        loop {
            match self.try_append(topic, choice, records, now_ms, delivery) {
                Ok(()) => return Ok(()),
                Err(NotAppended::UnknownTopic) => {
                    let (time, create) =
                        (shared.config.max_block, shared.cluster.config.allow_auto_create_topics);
                    let found = shared.cluster.topic_within(topic, time, create).await?;
                    shared.accumulator().set_partitions(topic, found.partition_count());
                }
                // Partitions may have been added since the topic was learnt: look once.
                Err(NotAppended::UnknownPartition { .. }) if !is_renewed => {
                    is_renewed = true;
                    shared.cluster.refresh(Some(&[topic]), false).await?;
                    if let Some(found) = shared.cluster.metadata().topic_of_any_age(topic) {
                        shared.accumulator().set_partitions(topic, found.partition_count());
                    }
                }
                Err(NotAppended::Transaction(error)) => return Err(error),
                Err(NotAppended::UnknownPartition { partitions }) => {
                    let partition = match choice {
                        Choice::Partition(partition) => partition,
                        Choice::ByKey => 0,
                    };
                    let topic_partition = TopicPartition::new(topic, partition);
                    return Err(ClientError::UnknownPartition { topic_partition, partitions });
                }
            }
        }
    }

    /// Appends all records under one lock, or none.
    fn try_append(
        &self,
        topic: &str,
        choice: Choice,
        records: &[Record],
        now_ms: i64,
        delivery: &mut Option<Delivery>,
    ) -> Result<(), NotAppended> {
        let shared = self.shared();
        let now = Instant::now();
        let mut wake_sender = false;
        {
            let mut accumulator = shared.accumulator();
            // Under the accumulator's lock: a transaction that is ended flushes what was appended before.
            if let Some(transaction) = shared.transaction() {
                transaction.check_open().map_err(NotAppended::Transaction)?;
            }
            for record in records {
                let record = record.as_ref(now_ms);
                let (partition, appended) = accumulator.append(topic, choice, record, now)?;
                wake_sender |= appended.wake_sender;
                match delivery {
                    None => {
                        *delivery = Some(Delivery {
                            first: appended.completion,
                            index: appended.index,
                            partition,
                            timestamp_ms: record.timestamp_ms,
                            rest: Vec::new(),
                        });
                    }
                    Some(delivery) => {
                        let last = delivery.rest.last().unwrap_or(&delivery.first);
                        if !Arc::ptr_eq(last, &appended.completion) {
                            delivery.rest.push(appended.completion);
                        }
                    }
                }
            }
        }
        if wake_sender {
            shared.wake.notify_one();
        }
        Ok(())
    }

    /// The partition a record would go to: murmur2 of the key as every Kafka client, or without a key the one that
    /// keyless records stick to at present.
    ///
    /// # Errors
    /// What finding the topic meets.
    pub async fn partition_for(&self, topic: &str, key: Option<&[u8]>) -> Result<i32, ClientError> {
        let shared = self.shared();
        shared.check_open()?;
        if let Ok(partition) = shared.accumulator().partition_for(topic, key) {
            return Ok(partition);
        }
        let (time, create) = (shared.config.max_block, shared.cluster.config.allow_auto_create_topics);
        let found = shared.cluster.topic_within(topic, time, create).await?;
        let partitions = found.partition_count();
        let mut accumulator = shared.accumulator();
        accumulator.set_partitions(topic, partitions);
        accumulator.partition_for(topic, key).map_err(|_| ClientError::UnknownPartition {
            topic_partition: TopicPartition::new(topic, 0),
            partitions,
        })
    }

    /// Waits until everything sent before is acknowledged or given up.
    ///
    /// # Errors
    /// The first failure among what was still on its way.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let completions = {
            let mut accumulator = self.shared().accumulator();
            accumulator.close_open();
            accumulator.completions()
        };
        self.shared().wake.notify_one();
        let mut first_failure = Ok(());
        for completion in completions {
            let outcome = completion.wait().await.map(|_| ());
            first_failure = first_failure.and(outcome);
        }
        first_failure
    }

    /// Flushes and ends the sender; a transaction that is open is aborted. Clones refuse records from now on.
    ///
    /// # Errors
    /// As [`flush`](Producer::flush).
    pub async fn close(self) -> Result<(), ClientError> {
        if self.has_open_transaction()
            && let Err(error) = self.abort_transaction().await
        {
            // Its coordinator will, when it has taken too long.
            debug!(%error, "the transaction of a producer that closes was not aborted");
        }
        self.shared().is_closed.store(true, Ordering::Release);
        let flushed = self.flush().await;
        self.shared().close();
        let sender = self.handle.sender.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(sender) = sender {
            // If it panicked, that was reported where it happened, and the deliveries were failed on its way out.
            let _ = sender.await;
        }
        flushed
    }
}

impl Record {
    fn as_ref(&self, now_ms: i64) -> RecordRef<'_> {
        RecordRef {
            timestamp_ms: self.timestamp_ms.unwrap_or(now_ms),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &self.headers,
        }
    }
}
