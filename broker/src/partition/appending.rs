//! How what producers send comes into a partition's log: gathered out of the queue, refused or held where it must be, written with as few
//! writes as can be, and answered at once or when it is committed.

use std::time::Instant;

use tokio::sync::oneshot;

use super::handle::{Acks, Append, AppendError, Appended, Command, monotonic};
use super::owner::{Flush, Owner};
use super::unverified::{Ticket, Verify};
use crate::ids::{Offset, Producer};
use crate::log::{AppendInfo, Checked};
use crate::replica::{AckId, Park, Replica};
use crate::transactions::TransactionError;

/// Who waits for a batch of the next write.
pub(super) struct Waiting {
    acks: Acks,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Owner {
    /// Puts a batch behind those of the next write, unless its transaction must be asked about first.
    pub(super) fn gather(&mut self, append: Append, batches: &mut Vec<Checked>, waiting: &mut Vec<Waiting>) {
        let producer = append.producer();
        if append.verify.is_some() && append.batch.batch().header.is_transactional() {
            // What was gathered may begin or end the transaction.
            self.append(batches, waiting);
            let is_open = self.log.as_ref().is_none_or(|log| log.has_open_transaction(producer));
            if !is_open || self.unverified.holds(producer) {
                return self.hold(producer, append);
            }
        }
        if append.batch.end_of_transaction().is_some() {
            for late in self.unverified.overtaken(producer) {
                late.refuse(AppendError::Transaction(TransactionError::InvalidTxnState));
            }
        }
        if self.has_too_few_in_sync(&append) {
            self.refusals.note();
            return append.refuse(AppendError::NotEnoughReplicas);
        }
        let Append { batch, acks, reply, leader_epoch, .. } = append;
        if leader_epoch.is_some_and(|epoch| epoch != self.replica.leader_and_isr().leader_epoch) {
            let _ = reply.send(Err(AppendError::NotLeader));
            return;
        }
        batches.push(batch);
        waiting.push(Waiting { acks, reply });
    }

    /// Whether fewer replicas are in sync than a producer that waits for all of them counts on. What is in the log already is not refused:
    /// if its producer sent what came behind it first, under another epoch, it would be there twice.
    fn has_too_few_in_sync(&self, append: &Append) -> bool {
        let (Replica::Leads(leader), Some(log)) = (&self.replica, &self.log) else { return false };
        let is_few = leader.leader_and_isr().isr.len() < log.config().min_insync_replicas;
        is_few && append.is_of_client_for_all() && !log.has(&append.batch)
    }

    fn hold(&mut self, producer: Producer, mut append: Append) {
        let Some(Verify { bumps_epoch, ask }) = append.verify.take() else { return };
        let Some(ticket) = self.unverified.hold(producer, bumps_epoch, append) else { return };
        let own = self.own_commands.clone();
        tokio::spawn(async move {
            let result = ask().await;
            if let Some(own) = own.upgrade() {
                let _ = own.send(Command::Verified { producer, ticket, result });
            }
        });
    }

    pub(super) fn on_verified(
        &mut self,
        producer: Producer,
        ticket: Ticket,
        result: Result<(), TransactionError>,
    ) {
        let (mut batches, mut waiting) = (Vec::new(), Vec::new());
        for held in self.unverified.answered(producer, ticket) {
            match result {
                Ok(()) if self.has_too_few_in_sync(&held) => {
                    self.refusals.note();
                    held.refuse(AppendError::NotEnoughReplicas);
                }
                Ok(()) => {
                    batches.push(held.batch);
                    waiting.push(Waiting { acks: held.acks, reply: held.reply });
                }
                Err(error) => held.refuse(AppendError::Transaction(error)),
            }
        }
        self.append(&mut batches, &mut waiting);
    }

    /// Writes everything that was gathered with as few writes as can be, then asks for the shared sync.
    pub(super) fn append(&mut self, batches: &mut Vec<Checked>, waiting: &mut Vec<Waiting>) {
        if batches.is_empty() {
            return;
        }
        let Some(log) = self.log.as_mut().filter(|_| matches!(self.replica, Replica::Leads(_))) else {
            let is_closed = self.log.is_none();
            for Waiting { reply, .. } in waiting.drain(..) {
                let _ = reply.send(Err(if is_closed { AppendError::Closed } else { AppendError::NotLeader }));
            }
            batches.clear();
            return;
        };
        let assignment = self.replica.leader_and_isr();
        let is_alone = assignment.is_alone();
        let answers = log.append(batches, assignment.leader_epoch);
        let (log_end, log_start) = (log.log_end(), log.log_start());
        let bytes = batches.iter().map(|batch| batch.batch().bytes.len()).sum::<usize>();
        let records = batches.iter().map(|batch| batch.batch().header.record_count as u64).sum::<u64>();
        let flush = Flush::of(log.config());
        batches.clear();
        self.note_appended(bytes, records);
        let (mut replies, mut anybody_waits) = (Vec::with_capacity(answers.len()), false);
        for (Waiting { acks, reply }, answer) in waiting.drain(..).zip(answers) {
            match (answer, acks) {
                (Err(error), _) if self.refusals.explain(&error) => {
                    replies.push((reply, Err(AppendError::Overtakes)));
                }
                (Err(error), _) => replies.push((reply, Err(error.into()))),
                (Ok(info), Acks::All { durable }) if durable || !is_alone => {
                    anybody_waits |= durable;
                    self.park(info, durable, log_start, reply);
                }
                (Ok(info), _) => replies.push((reply, Ok(Appended::new(info, log_start)))),
            }
        }
        self.tell_replica(|replica, effects| {
            if let Replica::Leads(leader) = replica {
                leader.appended(log_end, monotonic(), effects);
            }
        });
        if !is_alone {
            self.published.log_end_moved();
        }
        // After the high watermark, so that who has an answer can read the record.
        for (reply, answer) in replies {
            // Whoever asked may have gone; the records stay.
            let _ = reply.send(answer);
        }
        self.sync_in_time(anybody_waits, flush);
    }

    /// Keeps an answer until its records are committed.
    fn park(
        &mut self,
        info: AppendInfo,
        durable: bool,
        log_start: Offset,
        reply: oneshot::Sender<Result<Appended, AppendError>>,
    ) {
        let ack = AckId(self.next_ack);
        self.next_ack += 1;
        self.parked.insert(ack, (reply, Appended::new(info, log_start), Instant::now()));
        let base = (!info.duplicate).then_some(info.base_offset);
        self.tell_replica(|replica, effects| {
            if let Replica::Leads(leader) = replica {
                leader.park(Park { ack, base, end: info.end_offset, durable }, effects);
            }
        });
    }
}
