//! Batches of transactions that are not known here yet: they wait until the transaction's coordinator has said that the
//! partition is part of it (KIP-890), so that no record is written that no marker will ever decide about.
//!
//! ```text
//!   first batch ──▶ held ── the coordinator is asked ──▶ yes: appended, and all that came behind it
//!                    │                                   no: refused, and all that came behind it
//!                    └── the marker of its transaction comes first: refused, for the answer is about one that is over
//! ```
//!
//! In version 2 a transaction's marker has the epoch after its batches', which is that of the batches of the next one. Those
//! may come before it, for its producer goes on when the end is decided; so their question stays.

use std::collections::BTreeMap;

use futures::future::BoxFuture;

use super::handle::Append;
use crate::ids::Producer;
use crate::transactions::TransactionError;

/// How the transaction's coordinator is asked.
pub struct Verify {
    /// In version 2: batches of a transaction have the epoch before their marker's.
    pub bumps_epoch: bool,
    /// Called at most once.
    pub ask: Box<dyn FnOnce() -> BoxFuture<'static, Result<(), TransactionError>> + Send>,
}

/// Tells one question from the next about the same producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

struct Held {
    ticket: Ticket,
    bumps_epoch: bool,
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
    pub fn hold(&mut self, producer: Producer, bumps_epoch: bool, append: Append) -> Option<Ticket> {
        if let Some(held) = self.by_producer.get_mut(&producer) {
            held.batches.push(append);
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.by_producer.insert(producer, Held { ticket, bumps_epoch, batches: vec![append] });
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

    /// The producer's transaction is over: what waited to be part of it must not be written.
    pub fn overtaken(&mut self, marker: Producer) -> Vec<Append> {
        let instances = Producer { epoch: i16::MIN, ..marker }..=marker;
        let of_it = |(producer, held): (&Producer, &Held)| {
            let is_of_next = producer.epoch == marker.epoch && held.bumps_epoch;
            (!is_of_next).then_some(*producer)
        };
        let instances: Vec<Producer> = self.by_producer.range(instances).filter_map(of_it).collect();
        let held = instances.iter().filter_map(|producer| self.by_producer.remove(producer));
        held.flat_map(|held| held.batches).collect()
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::records::{BatchBuilder, BatchOptions};
    use tokio::sync::oneshot;

    use super::super::handle::Acks;
    use super::*;
    use crate::log::Checked;

    fn held(unverified: &mut Unverified, epoch: i16, bumps_epoch: bool) {
        let mut builder = BatchBuilder::default();
        builder.push(0, None, Some(b"v"), &[]);
        let batch = builder.build(BatchOptions {
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: 0,
            transactional: true,
            ..BatchOptions::default()
        });
        let batch = Checked::of_coordinator(&batch).unwrap();
        let append = Append {
            batch,
            acks: Acks::Leader,
            leader_epoch: None,
            reply: oneshot::channel().0,
            verify: None,
        };
        unverified.hold(append.producer(), bumps_epoch, append);
    }

    #[test]
    fn a_marker_overtakes_the_batches_of_its_transaction_and_no_others() {
        let marker = Producer { id: 7, epoch: 5 };
        for (epoch, bumps_epoch, is_overtaken) in
            [(4, true, true), (4, false, true), (5, false, true), (5, true, false), (6, true, false)]
        {
            let mut unverified = Unverified::default();
            held(&mut unverified, epoch, bumps_epoch);
            assert_eq!(unverified.overtaken(marker).len() == 1, is_overtaken, "{epoch} {bumps_epoch}");
            assert_eq!(unverified.holds(Producer { epoch, ..marker }), !is_overtaken);
            assert!(unverified.overtaken(Producer { id: 8, ..marker }).is_empty());
        }
    }
}
