//! The batches of one partition, from the one being filled to those under way. Pure: time comes in as an argument.
//!
//! ```text
//!   open ──closed──▶ waiting ──taken: gets a sequence──▶ under way ──▶ acknowledged
//!                                                          │   ▲
//!                                            lost, refused ▼   │ taken again, same sequence
//!                                                        retrying
//! ```
//! Order is kept through failures by one rule: after a failure nothing more is sent until all that was under way has
//! come back; then what has to be retried goes first, oldest first. So the broker never sees a later record of this
//! partition before an earlier one, and the sequences let it drop what it already has (KIP-98). It only knows the last
//! five batches again, so nothing is sent that far ahead of a batch whose fate is open, however often that is retried.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::records::{BatchBuilder, Header};
use tokio::time::Instant;

use super::batch::{Batch, ProducerIdentity, Sequence, sequence_after};
use super::delivery::Completion;

/// How many batches per producer and partition a broker knows again when they come twice (KIP-98).
const BATCHES_REMEMBERED: u64 = 5;

/// Limits that are the same for all partitions of a producer.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) batch_size: usize,
    pub(crate) linger: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) delivery_timeout: Duration,
    pub(crate) retry_backoff: Duration,
    pub(crate) retry_backoff_max: Duration,
}

/// A record as it is appended, borrowed from the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordRef<'a> {
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header],
}

impl RecordRef<'_> {
    /// Bytes it takes at most in a batch.
    pub(crate) fn size(&self) -> usize {
        BatchBuilder::size_of(self.key, self.value, self.headers)
    }
}

/// Where a record went.
pub(crate) struct Appended {
    pub(crate) completion: Arc<Completion>,
    pub(crate) index: u32,
    /// The sender has something new to look at: a first record to time, or a full batch.
    pub(crate) wake_sender: bool,
}

#[derive(Debug, Default)]
pub(crate) struct PartitionQueue {
    open: Option<Batch>,
    waiting: VecDeque<Batch>,
    retrying: VecDeque<Batch>,
    /// Order and completion of the batches that the sender has taken and not given back.
    under_way: Vec<(u64, Arc<Completion>)>,
    /// The broker they are under way to.
    broker: Option<i32>,
    /// Something failed: hold back until nothing is under way.
    recovering: bool,
    /// The identity that this partition's leader no longer accepts, or whose sequences have a gap here.
    rejected: Option<ProducerIdentity>,
    identity: Option<ProducerIdentity>,
    next_sequence: i32,
    failures: u32,
    not_before: Option<Instant>,
    next_order: u64,
}

impl PartitionQueue {
    /// Adds a record to the open batch, closing that first if the record does not fit any more.
    pub(crate) fn append(&mut self, record: RecordRef<'_>, limits: &Limits, now: Instant) -> Appended {
        let memory = record.size();
        let mut wake_sender = false;
        if self.open.as_ref().is_some_and(|open| open.size() + memory > limits.batch_size) {
            self.close_open();
            wake_sender = true;
        }
        let batch = self.open.get_or_insert_with(|| {
            wake_sender = true;
            self.next_order += 1;
            Batch::new(self.next_order, now)
        });
        let index = batch.push(record.timestamp_ms, record.key, record.value, record.headers, memory);
        let completion = batch.completion.clone();
        if batch.size() >= limits.batch_size {
            self.close_open();
            wake_sender = true;
        }
        Appended { completion, index, wake_sender }
    }

    /// Ends the open batch, so that it is sent without waiting for more.
    pub(crate) fn close_open(&mut self) {
        self.waiting.extend(self.open.take());
    }

    /// Whether a batch could be sent now if a broker and an identity are there.
    pub(crate) fn is_ready(&self, limits: &Limits, now: Instant) -> bool {
        self.wakeup(limits, now).is_some_and(|at| at <= now)
    }

    /// When a batch may be sent next, disregarding brokers; `None`: only after something else happens.
    pub(crate) fn wakeup(&self, limits: &Limits, now: Instant) -> Option<Instant> {
        let blocked =
            self.under_way.len() >= limits.max_in_flight || (self.recovering && !self.under_way.is_empty());
        if blocked || self.is_too_far_ahead() {
            return None;
        }
        let ready_at = if self.retrying.is_empty() && self.waiting.is_empty() {
            self.open.as_ref()?.created_at + limits.linger
        } else {
            now
        };
        Some(self.not_before.map_or(ready_at, |not_before| not_before.max(ready_at)))
    }

    /// Whether the broker might forget the oldest batch of open fate if it got the next one.
    fn is_too_far_ahead(&self) -> bool {
        let oldest = self.under_way.iter().map(|(order, _)| *order).min();
        match (oldest, self.oldest()) {
            (Some(oldest), Some(next)) => next.order >= oldest + BATCHES_REMEMBERED,
            _ => false,
        }
    }

    /// Whether this partition needs an identity other than `current` before it can go on.
    pub(crate) fn wants_new_identity(&self, current: Option<ProducerIdentity>) -> bool {
        self.rejected.is_some() && self.rejected == current
    }

    /// Takes the next batch to be sent to `broker`, if it may be sent now. `identity` is none without idempotence.
    pub(crate) fn take(
        &mut self,
        limits: &Limits,
        now: Instant,
        broker: i32,
        identity: Option<ProducerIdentity>,
    ) -> Option<Batch> {
        if !self.is_ready(limits, now) {
            return None;
        }
        // Two connections have no common order.
        if !self.under_way.is_empty() && self.broker != Some(broker) {
            return None;
        }
        if identity.is_some() && self.identity != identity && !self.adopt(identity) {
            return None;
        }
        if self.wants_new_identity(identity) {
            return None;
        }
        let mut batch = match self.retrying.pop_front() {
            Some(batch) => batch,
            None => {
                if self.waiting.is_empty() {
                    self.close_open();
                }
                self.waiting.pop_front()?
            }
        };
        if batch.sequence.is_none()
            && let Some(identity) = identity
        {
            batch.sequence = Some(Sequence { identity, base: self.next_sequence });
            self.next_sequence = sequence_after(self.next_sequence, batch.record_count);
        }
        self.recovering = false;
        self.not_before = None;
        self.broker = Some(broker);
        self.under_way.push((batch.order, batch.completion.clone()));
        Some(batch)
    }

    /// Changes to another identity; its sequences start at 0, for what is to be retried too. Not while batches
    /// with the old one are under way: their fate must be known first. Nor while batches of an identity that this
    /// partition's leader still accepts are to be retried: it may have them already, and knows them only by that.
    fn adopt(&mut self, identity: Option<ProducerIdentity>) -> bool {
        if !self.under_way.is_empty() {
            return false;
        }
        if !self.retrying.is_empty() && self.rejected.is_none() {
            // Retried under their old sequences; the new identity is adopted once they are through.
            return true;
        }
        self.identity = identity;
        self.rejected = None;
        self.next_sequence = 0;
        for batch in &mut self.retrying {
            batch.sequence = None;
        }
        true
    }

    /// The broker has the batch.
    pub(crate) fn on_acknowledged(&mut self, batch: &Batch) {
        self.no_longer_under_way(batch);
        self.failures = 0;
    }

    /// The batch may or may not have been written, or certainly not: it is to be sent again.
    pub(crate) fn on_retriable(&mut self, batch: Batch, limits: &Limits, now: Instant) {
        self.no_longer_under_way(&batch);
        if !self.recovering {
            let pause =
                crate::backoff::backoff(limits.retry_backoff, limits.retry_backoff_max, self.failures);
            self.failures = self.failures.saturating_add(1);
            self.not_before = Some(now + pause);
        }
        self.recovering = true;
        let place = self.retrying.partition_point(|each| each.order < batch.order);
        self.retrying.insert(place, batch);
    }

    /// The broker does not know the batch's identity, or misses records before it: it is to be sent again under
    /// another one.
    pub(crate) fn on_identity_rejected(&mut self, batch: Batch, limits: &Limits, now: Instant) {
        self.rejected = batch.sequence.map(|sequence| sequence.identity);
        self.on_retriable(batch, limits, now);
    }

    /// The batch is given up. Its sequences stay unused, so the partition needs another identity to go on.
    pub(crate) fn on_failed(&mut self, batch: &Batch) {
        self.no_longer_under_way(batch);
        if let Some(sequence) = batch.sequence {
            self.rejected = Some(sequence.identity);
            self.recovering = true;
        }
    }

    /// Whether a failure before this one explains why the broker misses records.
    pub(crate) fn is_recovering(&self) -> bool {
        self.recovering
    }

    fn no_longer_under_way(&mut self, batch: &Batch) {
        self.under_way.retain(|(order, _)| *order != batch.order);
        if self.under_way.is_empty() {
            self.broker = None;
        }
    }

    /// Takes out the batches that are older than the delivery timeout. Those under way are asked about first.
    pub(crate) fn expired(&mut self, limits: &Limits, now: Instant) -> Vec<Batch> {
        let is_expired = |batch: &Batch| now >= batch.created_at + limits.delivery_timeout;
        if !self.oldest().is_some_and(is_expired) {
            return Vec::new();
        }
        let mut expired = Vec::new();
        while let Some(batch) = self.retrying.pop_front_if(|batch| is_expired(batch)) {
            self.on_failed(&batch);
            expired.push(batch);
        }
        while let Some(batch) = self.waiting.pop_front_if(|batch| is_expired(batch)) {
            expired.push(batch);
        }
        expired.extend(self.open.take_if(|batch| is_expired(batch)));
        expired
    }

    /// When the oldest batch that is not under way reaches the delivery timeout.
    pub(crate) fn expires_at(&self, limits: &Limits) -> Option<Instant> {
        self.oldest().map(|batch| batch.created_at + limits.delivery_timeout)
    }

    fn oldest(&self) -> Option<&Batch> {
        self.retrying.front().or(self.waiting.front()).or(self.open.as_ref())
    }

    /// Takes out everything that is not under way, to be failed.
    pub(crate) fn drain(&mut self) -> Vec<Batch> {
        self.not_before = None;
        let queues = self.retrying.drain(..).chain(self.waiting.drain(..));
        queues.chain(self.open.take()).collect()
    }

    /// Whether no record is anywhere on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_none()
            && self.waiting.is_empty()
            && self.retrying.is_empty()
            && self.under_way.is_empty()
    }

    /// Who is to be told about everything not yet done, oldest first.
    pub(crate) fn completions(&self) -> impl Iterator<Item = &Arc<Completion>> {
        let queued = self.retrying.iter().chain(&self.waiting).chain(&self.open);
        self.under_way.iter().map(|(_, completion)| completion).chain(queued.map(|batch| &batch.completion))
    }

    /// What must hold at any time.
    #[cfg(test)]
    pub(crate) fn invariants(&self, limits: &Limits) {
        assert!(self.under_way.len() <= limits.max_in_flight);
        assert!(self.retrying.iter().zip(self.retrying.iter().skip(1)).all(|(a, b)| a.order < b.order));
        let retried_before_waiting = match (self.retrying.back(), self.waiting.front()) {
            (Some(retried), Some(waiting)) => retried.order < waiting.order,
            _ => true,
        };
        assert!(retried_before_waiting);
        assert!(self.waiting.iter().all(|batch| batch.sequence.is_none()));
        assert_eq!(self.broker.is_some(), !self.under_way.is_empty());
    }
}
