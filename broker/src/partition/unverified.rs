//! Batches of transactions that are not known here yet: they wait until the transaction's coordinator has said that the
//! partition is part of it (KIP-890), so that no record is written that no marker will ever decide about.
//!
//! ```text
//!   first batch ──▶ held ── the coordinator is asked ──▶ yes: appended, and all that came behind it
//!                    │                                   no: refused, and all that came behind it
//!                    └── a marker of the producer comes first: refused, for the answer is about a transaction that is over
//! ```

use std::collections::BTreeMap;

use futures::future::BoxFuture;

use super::handle::Append;
use crate::ids::Producer;
use crate::transactions::TransactionError;

/// Asks the transaction's coordinator; called at most once.
pub type Verify = Box<dyn FnOnce() -> BoxFuture<'static, Result<(), TransactionError>> + Send>;

/// Tells one question from the next about the same producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

struct Held {
    ticket: Ticket,
    batches: Vec<Append>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Unverified {
    by_producer: BTreeMap<Producer, Held>,
    tickets: u64,
}

impl Unverified {
    /// Whether batches of this producer wait.
    pub fn holds(&self, producer: Producer) -> bool {
        self.by_producer.contains_key(&producer)
    }

    /// Holds a batch behind those that wait already. With a ticket the coordinator is to be asked.
    pub fn hold(&mut self, producer: Producer, append: Append) -> Option<Ticket> {
        if let Some(held) = self.by_producer.get_mut(&producer) {
            held.batches.push(append);
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.by_producer.insert(producer, Held { ticket, batches: vec![append] });
        Some(ticket)
    }

    /// The coordinator has answered: what waited for that, in order.
    pub fn answered(&mut self, producer: Producer, ticket: Ticket) -> Vec<Append> {
        match self.by_producer.get(&producer) {
            Some(held) if held.ticket == ticket => {
                self.by_producer.remove(&producer).map(|held| held.batches).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// The producer's transaction is over: what waited must not be written.
    pub fn overtaken(&mut self, producer_id: i64) -> Vec<Append> {
        let instances =
            Producer { id: producer_id, epoch: i16::MIN }..=Producer { id: producer_id, epoch: i16::MAX };
        let instances: Vec<Producer> =
            self.by_producer.range(instances).map(|(producer, _)| *producer).collect();
        let held = instances.iter().filter_map(|producer| self.by_producer.remove(producer));
        held.flat_map(|held| held.batches).collect()
    }
}
