//! All transactional ids of one coordinator partition as one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::config::TransactionConfig;
use super::decide::{Change, Decision, Effect};
use super::end::{abort_by_coordinator, markers, on_end_transaction, on_markers_written};
use super::error::TransactionError;
use super::init::on_init_producer_id;
use super::metadata::{TransactionMetadata, TransactionState, TransactionalId};
use super::partitions::{on_add_partitions, on_verify_partitions};
use super::request::{DescribedTransaction, ListTransactions, ListedTransaction, Reply, Request};
use crate::machine::{Monotonic, Now, ReplyId, WallMs};

/// The transactional ids of one partition of `__transaction_state`.
#[derive(Clone, Debug)]
pub struct Transactions {
    config: TransactionConfig,
    by_id: BTreeMap<TransactionalId, Arc<TransactionMetadata>>,
    /// Ongoing ones by when they have taken too long; follows from `by_id`.
    timeouts: BTreeSet<(WallMs, TransactionalId)>,
    /// Idle ones by when they were last used; follows from `by_id`.
    idle: BTreeSet<(WallMs, TransactionalId)>,
    looked_for_timeouts: Monotonic,
    looked_for_expired: Monotonic,
}

impl Transactions {
    /// No ids yet.
    pub fn new(config: TransactionConfig) -> Transactions {
        Transactions {
            config,
            by_id: BTreeMap::new(),
            timeouts: BTreeSet::new(),
            idle: BTreeSet::new(),
            looked_for_timeouts: Monotonic::default(),
            looked_for_expired: Monotonic::default(),
        }
    }

    /// What follows from a request. Changes nothing.
    pub fn decide(&self, now: Now, reply: ReplyId, request: &Request) -> Decision {
        match request {
            Request::InitProducerId(init) => {
                on_init_producer_id(self.get(&init.transactional_id), &self.config, now, reply, init)
            }
            Request::AddPartitions(add) => {
                on_add_partitions(self.get(&add.transactional_id), now, reply, add)
            }
            Request::VerifyPartitions(verify) => {
                on_verify_partitions(self.get(&verify.transactional_id), reply, verify)
            }
            Request::EndTransaction(end) => {
                on_end_transaction(self.get(&end.transactional_id), now, reply, end)
            }
            Request::MarkersWritten { transactional_id, producer } => {
                let mut decision =
                    on_markers_written(self.get(transactional_id), now, transactional_id, *producer);
                decision.replies.push((reply, Reply::MarkersWritten));
                decision
            }
            Request::DescribeTransaction(id) => {
                Decision::reply(reply, Reply::DescribeTransaction(self.describe(id)))
            }
            Request::ListTransactions(filter) => {
                Decision::reply(reply, Reply::ListTransactions(Ok(self.list(filter, now.wall))))
            }
        }
    }

    /// The next moment at which [`Transactions::on_deadline`] has something to do.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let timeouts =
            (!self.timeouts.is_empty()).then(|| self.looked_for_timeouts + self.config.abort_interval);
        let expired = (!self.idle.is_empty()).then(|| self.looked_for_expired + self.config.expire_interval);
        timeouts.into_iter().chain(expired).min()
    }

    /// What follows from time having passed. Changes nothing.
    pub fn on_deadline(&self, now: Now) -> Decision {
        let mut decision = Decision::default();
        if self.looked_for_timeouts + self.config.abort_interval <= now.monotonic {
            for (_, id) in self.timeouts.iter().take_while(|(at, _)| *at < now.wall) {
                if let Some(metadata) = self.get(id) {
                    decision.extend(abort_by_coordinator(id, metadata, now.wall));
                }
            }
            decision.changes.push(Change::LookedForTimeouts(now.monotonic));
        }
        if self.looked_for_expired + self.config.expire_interval <= now.monotonic {
            let expired_before = WallMs(now.wall.0.saturating_sub(to_ms(self.config.id_expiration)));
            for (_, id) in self.idle.iter().take_while(|(used_at, _)| *used_at <= expired_before) {
                decision.changes.push(Change::Record { transactional_id: id.clone(), value: None });
            }
            decision.changes.push(Change::LookedForExpired(now.monotonic));
        }
        decision
    }

    /// What follows from the log having been read to its end: what is prepared is completed. Changes nothing.
    pub fn on_loaded(&self) -> Decision {
        let mut decision = Decision::default();
        let prepared = self.by_id.iter().filter(|(_, metadata)| metadata.state.is_prepared());
        decision.effects.extend(prepared.map(|(id, metadata)| Effect::WriteMarkers(markers(id, metadata))));
        decision
    }

    /// Makes one change. The only way the machine changes.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Record { transactional_id, value } => {
                if let Some(before) = self.by_id.remove(transactional_id) {
                    self.timeouts
                        .remove(&(before.times_out_at().unwrap_or_default(), transactional_id.clone()));
                    self.idle.remove(&(before.updated_at, transactional_id.clone()));
                }
                if let Some(value) = value {
                    let timeout = value.times_out_at().map(|at| (at, transactional_id.clone()));
                    self.timeouts.extend(timeout);
                    let idle = value.state.is_idle().then(|| (value.updated_at, transactional_id.clone()));
                    self.idle.extend(idle);
                    self.by_id.insert(transactional_id.clone(), value.clone());
                }
            }
            Change::LookedForTimeouts(at) => self.looked_for_timeouts = *at,
            Change::LookedForExpired(at) => self.looked_for_expired = *at,
        }
    }

    /// Makes every change of a decision.
    pub fn apply_all(&mut self, decision: &Decision) {
        for change in &decision.changes {
            self.apply(change);
        }
    }

    /// What is known of an id.
    pub fn get(&self, id: &TransactionalId) -> Option<&TransactionMetadata> {
        self.by_id.get(id).map(|metadata| &**metadata)
    }

    /// What the log would give again.
    pub fn image(&self) -> &BTreeMap<TransactionalId, Arc<TransactionMetadata>> {
        &self.by_id
    }

    /// # Panics
    /// When something that must hold does not.
    pub fn invariants(&self) {
        let (mut timeouts, mut idle) = (BTreeSet::new(), BTreeSet::new());
        let mut producers = BTreeSet::new();
        for (id, metadata) in &self.by_id {
            metadata.invariants();
            assert!(producers.insert(metadata.producer.id), "{id}: a producer id has one transactional id");
            timeouts.extend(metadata.times_out_at().map(|at| (at, id.clone())));
            idle.extend(metadata.state.is_idle().then(|| (metadata.updated_at, id.clone())));
        }
        assert_eq!(timeouts, self.timeouts, "every ongoing transaction is looked at in time");
        assert_eq!(idle, self.idle, "every idle id is forgotten in time");
    }

    fn describe(&self, id: &TransactionalId) -> Result<DescribedTransaction, TransactionError> {
        if id.as_str().is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        let metadata = self.get(id).ok_or(TransactionError::TransactionalIdNotFound)?.clone();
        Ok(DescribedTransaction { transactional_id: id.clone(), metadata })
    }

    fn list(&self, filter: &ListTransactions, now: WallMs) -> Vec<ListedTransaction> {
        let is_wanted = |metadata: &TransactionMetadata| {
            let runs_for = now.0.saturating_sub(metadata.started_at.0);
            let is_running = metadata.state == TransactionState::Ongoing || metadata.state.is_prepared();
            (filter.states.is_empty() || filter.states.contains(&metadata.state))
                && (filter.producer_ids.is_empty() || filter.producer_ids.contains(&metadata.producer.id))
                && filter.longer_than.is_none_or(|than| is_running && runs_for > to_ms(than))
        };
        let wanted = self.by_id.iter().filter(|(_, metadata)| is_wanted(metadata));
        let listed = wanted.map(|(id, metadata)| ListedTransaction {
            transactional_id: id.clone(),
            producer_id: metadata.producer.id,
            state: metadata.state,
        });
        listed.collect()
    }
}

fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
