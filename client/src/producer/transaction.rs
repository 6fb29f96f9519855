//! What a producer's transaction allows at present, and what an error means for it (KIP-98, KIP-890). Pure: no request is
//! made here.
//!
//! ```text
//!  uninitialised ──init──▶ ready ──begin──▶ open ──commit──▶ flushing ──all written──▶ committing ──▶ ready
//!                            ▲               │                  │ an error
//!                            │               └──an error──▶  failed
//!                            └───────── aborting ◀──abort──────┴── (or from open, flushing)
//!  from anywhere: fenced, or not allowed ──▶ fatal
//! ```
//! *Invariant:* a batch is only sent while the transaction is open or flushing, and in version 1 only to a partition that the
//! coordinator knows. So a marker ends whatever was written.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_protocol::ErrorCode;

use super::batch::ProducerIdentity;
use crate::error::ClientError;

/// How transactions are spoken of with the cluster: `transaction.version` of its features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionVersion {
    /// The coordinator is told of each partition before it is written to.
    One,
    /// Brokers tell the coordinator themselves, and each transaction has an epoch of its own (KIP-890).
    Two,
}

/// Where a transaction is.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    Uninitialised,
    Ready,
    Open,
    /// It is to be committed, when all that was sent is acknowledged.
    Flushing,
    /// The coordinator was asked to commit. Until it answers nobody knows whether it has.
    Committing,
    /// It can only be aborted, for this reason.
    Failed(ClientError),
    /// Nothing more is sent; what is under way is waited for, then the coordinator is asked.
    Aborting,
    /// This producer is done for.
    Fatal(ClientError),
}

/// What an error code means for a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It can be aborted, and another one begun.
    Abortable,
    /// Another producer has its transactional id, or its coordinator gave it up.
    Fenced,
    Fatal,
}

/// Of an answer that is not to a produce request.
pub(crate) fn severity_at_coordinator(code: ErrorCode) -> Severity {
    match code {
        ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch => Severity::Fenced,
        ErrorCode::InvalidTxnState
        | ErrorCode::InvalidProducerIdMapping
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::TransactionalIdNotFound
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::InvalidTransactionTimeout
        | ErrorCode::UnsupportedForMessageFormat => Severity::Fatal,
        _ => Severity::Abortable,
    }
}

/// Of an answer to a produce request. There an old epoch may be that of a transaction which the coordinator has aborted
/// meanwhile; whether the producer is fenced, its coordinator will say when this one is aborted.
pub(crate) fn severity_at_leader(code: ErrorCode) -> Severity {
    match code {
        ErrorCode::ProducerFenced => Severity::Fenced,
        ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::UnsupportedForMessageFormat => Severity::Fatal,
        _ => Severity::Abortable,
    }
}

/// A partition of a topic.
pub(crate) type Place = (Arc<str>, i32);

/// Partitions that the coordinator is being told of.
#[derive(Debug)]
pub(crate) struct Enlisting {
    pub(crate) places: Vec<Place>,
    pub(crate) identity: ProducerIdentity,
    number: u64,
}

/// The transaction of a producer, one after the other.
#[derive(Debug)]
pub(crate) struct Transaction {
    transactional_id: String,
    phase: Phase,
    version: TransactionVersion,
    identity: Option<ProducerIdentity>,
    /// The coordinator may know of it, so it must be told of its end.
    is_started: bool,
    /// Version 1: partitions that the coordinator knows.
    enlisted: BTreeSet<Place>,
    /// Version 1: partitions that the coordinator is to be told of.
    wanted: BTreeSet<Place>,
    is_enlisting: bool,
    /// Which transaction this is; an answer that was meant for another one is not heeded.
    number: u64,
}

impl Transaction {
    pub(crate) fn new(transactional_id: &str) -> Transaction {
        Transaction {
            transactional_id: transactional_id.to_owned(),
            phase: Phase::Uninitialised,
            version: TransactionVersion::One,
            identity: None,
            is_started: false,
            enlisted: BTreeSet::new(),
            wanted: BTreeSet::new(),
            is_enlisting: false,
            number: 0,
        }
    }

    pub(crate) fn transactional_id(&self) -> &str {
        &self.transactional_id
    }

    pub(crate) fn version(&self) -> TransactionVersion {
        self.version
    }

    pub(crate) fn identity(&self) -> Option<ProducerIdentity> {
        self.identity
    }

    pub(crate) fn is_started(&self) -> bool {
        self.is_started
    }

    fn wrong_order(&self, what: &'static str) -> ClientError {
        match &self.phase {
            Phase::Failed(error) | Phase::Fatal(error) => error.clone(),
            _ => ClientError::TransactionOrder { transactional_id: self.transactional_id.clone(), what },
        }
    }

    /// Whether the producer may still be initialised.
    pub(crate) fn check_uninitialised(&self) -> Result<(), ClientError> {
        match self.phase {
            Phase::Uninitialised => Ok(()),
            _ => Err(self.wrong_order("the producer is initialised already")),
        }
    }

    /// The coordinator gave the producer its identity, and ended whatever an earlier one had left open.
    pub(crate) fn on_initialised(&mut self, identity: ProducerIdentity, version: TransactionVersion) {
        self.identity = Some(identity);
        self.version = version;
        self.phase = Phase::Ready;
    }

    pub(crate) fn begin(&mut self) -> Result<(), ClientError> {
        match self.phase {
            Phase::Ready => {
                self.phase = Phase::Open;
                Ok(())
            }
            Phase::Uninitialised => Err(self.wrong_order("init_transactions comes before begin_transaction")),
            _ => Err(self.wrong_order("the transaction before has not ended")),
        }
    }

    /// Whether records and offsets may be added.
    pub(crate) fn check_open(&self) -> Result<(), ClientError> {
        match self.phase {
            Phase::Open => Ok(()),
            _ => Err(self.wrong_order("no transaction is open")),
        }
    }

    /// Whether a batch may be sent to the partition now. A partition that the coordinator has to be told of first is
    /// remembered for [`take_wanted`](Transaction::take_wanted).
    pub(crate) fn admits(&mut self, topic: &Arc<str>, partition: i32) -> bool {
        if !matches!(self.phase, Phase::Open | Phase::Flushing) {
            return false;
        }
        let place = (topic.clone(), partition);
        match self.version {
            TransactionVersion::Two => {
                self.is_started = true;
                true
            }
            TransactionVersion::One if self.enlisted.contains(&place) => true,
            TransactionVersion::One => {
                self.wanted.insert(place);
                false
            }
        }
    }

    /// The partitions that the coordinator is to be told of now. One request at a time.
    pub(crate) fn take_wanted(&mut self) -> Option<Enlisting> {
        if self.is_enlisting || self.wanted.is_empty() {
            return None;
        }
        self.is_enlisting = true;
        self.is_started = true;
        let places = std::mem::take(&mut self.wanted).into_iter().collect();
        Some(Enlisting { places, identity: self.identity?, number: self.number })
    }

    /// The coordinator knows the partitions, or refused.
    pub(crate) fn on_enlisted(&mut self, enlisting: Enlisting, result: Result<(), ClientError>) {
        if enlisting.number != self.number {
            return;
        }
        self.is_enlisting = false;
        match result {
            Ok(()) => {
                for place in enlisting.places {
                    self.wanted.remove(&place);
                    self.enlisted.insert(place);
                }
            }
            Err(error) => self.on_coordinator_error(error),
        }
    }

    /// Whether the coordinator is being told of partitions.
    pub(crate) fn is_enlisting(&self) -> bool {
        self.is_enlisting
    }

    /// The sender is gone: whatever it asked will not be heard of.
    pub(crate) fn on_sender_gone(&mut self) {
        self.is_enlisting = false;
    }

    /// Offsets are about to be added.
    pub(crate) fn on_offsets_sent(&mut self) {
        self.is_started = true;
    }

    /// Whether what is not acknowledged is to be given up, and why.
    pub(crate) fn gives_up(&self) -> Option<ClientError> {
        match &self.phase {
            Phase::Failed(error) | Phase::Fatal(error) => Some(error.clone()),
            Phase::Aborting => {
                Some(ClientError::TransactionAborted { transactional_id: self.transactional_id.clone() })
            }
            Phase::Uninitialised | Phase::Ready | Phase::Open | Phase::Flushing | Phase::Committing => None,
        }
    }

    /// A record was not written.
    pub(crate) fn on_batch_failed(&mut self, error: &ClientError) {
        let severity = error.code().map_or(Severity::Abortable, severity_at_leader);
        self.fail(severity, error.clone());
    }

    /// The coordinator, or that of a group, answered with an error, or not within the time there was.
    pub(crate) fn on_coordinator_error(&mut self, error: ClientError) {
        let severity = match &error {
            ClientError::Timeout { .. } => Severity::Abortable,
            _ => error.code().map_or(Severity::Abortable, severity_at_coordinator),
        };
        self.fail(severity, error);
    }

    fn fail(&mut self, severity: Severity, reason: ClientError) {
        let transactional_id = self.transactional_id.clone();
        let next = match (&self.phase, severity) {
            (Phase::Fatal(_), _) => return,
            (_, Severity::Fenced) => Phase::Fatal(ClientError::ProducerFenced { transactional_id }),
            (_, Severity::Fatal) => {
                let reason = Arc::new(reason);
                Phase::Fatal(ClientError::TransactionFatal { transactional_id, reason })
            }
            (Phase::Open | Phase::Flushing, Severity::Abortable) => {
                let reason = Arc::new(reason);
                Phase::Failed(ClientError::TransactionAbortable { transactional_id, reason })
            }
            // The first reason stays; while it is aborted nothing else is to be done; and what is committed is settled.
            (_, Severity::Abortable) => return,
        };
        self.phase = next;
    }

    /// Why the producer can do nothing, or nothing but abort.
    pub(crate) fn error(&self) -> Option<ClientError> {
        match &self.phase {
            Phase::Failed(error) | Phase::Fatal(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Begins, or goes on with, committing. Gives whether the coordinator was asked already.
    pub(crate) fn begin_commit(&mut self) -> Result<bool, ClientError> {
        match self.phase {
            Phase::Open | Phase::Flushing => {
                self.phase = Phase::Flushing;
                Ok(false)
            }
            Phase::Committing => Ok(true),
            _ => Err(self.wrong_order("no transaction is open")),
        }
    }

    /// Everything is acknowledged: the coordinator may be asked to commit.
    pub(crate) fn on_flushed(&mut self) -> Result<(), ClientError> {
        match self.phase {
            Phase::Flushing => {
                self.phase = Phase::Committing;
                Ok(())
            }
            Phase::Committing => Ok(()),
            _ => Err(self.wrong_order("no transaction is being committed")),
        }
    }

    /// The coordinator wants it aborted instead.
    pub(crate) fn on_commit_refused(&mut self, reason: ClientError) {
        if matches!(self.phase, Phase::Committing) {
            self.phase = Phase::Flushing;
        }
        self.on_coordinator_error(reason);
    }

    /// Whether there is something that can be aborted.
    pub(crate) fn may_abort(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Flushing | Phase::Failed(_) | Phase::Aborting)
    }

    /// Begins, or goes on with, aborting.
    pub(crate) fn begin_abort(&mut self) -> Result<(), ClientError> {
        match self.phase {
            Phase::Open | Phase::Flushing | Phase::Failed(_) | Phase::Aborting => {
                self.phase = Phase::Aborting;
                self.wanted.clear();
                Ok(())
            }
            Phase::Committing => Err(self.wrong_order(
                "it may be committed already: call commit_transaction again, or begin with a new producer",
            )),
            _ => Err(self.wrong_order("no transaction is open")),
        }
    }

    /// Aborting cannot be done by this producer.
    pub(crate) fn on_abort_refused(&mut self, reason: ClientError) {
        let code = reason.code().unwrap_or(ErrorCode::UnknownServerError);
        match severity_at_coordinator(code) {
            Severity::Fenced => self.fail(Severity::Fenced, reason),
            Severity::Abortable | Severity::Fatal => self.fail(Severity::Fatal, reason),
        }
    }

    /// The coordinator has ended it. `identity` is what comes after, where that changes.
    pub(crate) fn on_ended(&mut self, identity: Option<ProducerIdentity>) {
        if matches!(self.phase, Phase::Fatal(_)) {
            return;
        }
        self.identity = identity.or(self.identity);
        self.phase = Phase::Ready;
        self.is_started = false;
        self.is_enlisting = false;
        self.number += 1;
        self.enlisted.clear();
        self.wanted.clear();
    }

    /// What must hold at any time.
    #[cfg(test)]
    fn invariants(&self) {
        let is_unused = matches!(self.phase, Phase::Uninitialised | Phase::Ready);
        assert!(!is_unused || !self.is_started, "what was started was not ended");
        assert!(!is_unused || self.enlisted.is_empty());
        assert_eq!(matches!(self.phase, Phase::Uninitialised), self.identity.is_none());
        assert!(self.wanted.is_disjoint(&self.enlisted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: ProducerIdentity = ProducerIdentity { producer_id: 7, producer_epoch: 0 };

    fn open(version: TransactionVersion) -> Transaction {
        let mut transaction = Transaction::new("x");
        transaction.on_initialised(IDENTITY, version);
        transaction.begin().unwrap();
        transaction
    }

    fn broker_error(code: ErrorCode) -> ClientError {
        ClientError::broker("asking", code)
    }

    #[test]
    fn in_version_1_a_partition_waits_until_the_coordinator_knows_it() {
        let mut transaction = open(TransactionVersion::One);
        let topic: Arc<str> = "t".into();
        assert!(!transaction.admits(&topic, 0));
        let enlisting = transaction.take_wanted().unwrap();
        assert_eq!(enlisting.places, [(topic.clone(), 0)]);
        assert!(!transaction.admits(&topic, 1) && transaction.take_wanted().is_none(), "one at a time");
        transaction.on_enlisted(enlisting, Ok(()));
        assert!(transaction.admits(&topic, 0));
        assert_eq!(transaction.take_wanted().unwrap().places.len(), 1);
        transaction.invariants();
        assert!(open(TransactionVersion::Two).admits(&topic, 0));
    }

    #[test]
    fn an_answer_to_the_transaction_before_lets_nothing_into_this_one() {
        let mut transaction = open(TransactionVersion::One);
        let topic: Arc<str> = "t".into();
        assert!(!transaction.admits(&topic, 0));
        let late = transaction.take_wanted().unwrap();
        transaction.begin_abort().unwrap();
        transaction.on_ended(Some(IDENTITY));
        transaction.begin().unwrap();
        transaction.on_enlisted(late, Ok(()));
        assert!(!transaction.admits(&topic, 0));
        assert!(transaction.take_wanted().is_some());
    }

    #[test]
    fn what_was_never_started_needs_no_end_at_the_coordinator() {
        let mut transaction = open(TransactionVersion::Two);
        assert!(!transaction.is_started());
        transaction.begin_commit().unwrap();
        transaction.on_flushed().unwrap();
        transaction.on_ended(None);
        transaction.begin().unwrap();
        transaction.invariants();
    }

    #[test]
    fn a_failed_transaction_can_only_be_aborted() {
        let mut transaction = open(TransactionVersion::Two);
        transaction.on_batch_failed(&broker_error(ErrorCode::MessageTooLarge));
        for error in [
            transaction.begin().unwrap_err(),
            transaction.check_open().unwrap_err(),
            transaction.begin_commit().unwrap_err(),
        ] {
            assert!(matches!(error, ClientError::TransactionAbortable { .. }), "{error}");
            assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
        }
        transaction.begin_abort().unwrap();
        assert!(matches!(transaction.gives_up(), Some(ClientError::TransactionAborted { .. })));
        let next = ProducerIdentity { producer_epoch: 1, ..IDENTITY };
        transaction.on_ended(Some(next));
        assert_eq!(transaction.identity(), Some(next));
        transaction.begin().unwrap();
    }

    #[test]
    fn a_fenced_producer_stays_fenced() {
        let mut transaction = open(TransactionVersion::One);
        transaction.on_coordinator_error(broker_error(ErrorCode::InvalidProducerEpoch));
        transaction.on_batch_failed(&broker_error(ErrorCode::MessageTooLarge));
        transaction.on_ended(None);
        let error = transaction.begin_abort().unwrap_err();
        assert!(matches!(error, ClientError::ProducerFenced { .. }), "{error}");
        assert!(error.is_fatal());
    }

    #[test]
    fn a_commit_whose_answer_is_missing_is_asked_for_again_and_not_aborted() {
        let mut transaction = open(TransactionVersion::Two);
        assert!(!transaction.begin_commit().unwrap());
        transaction.on_flushed().unwrap();
        assert!(matches!(transaction.begin_abort(), Err(ClientError::TransactionOrder { .. })));
        assert!(transaction.begin_commit().unwrap());
        transaction.on_commit_refused(broker_error(ErrorCode::TransactionAbortable));
        transaction.begin_abort().unwrap();
    }

    /// Whatever is called and answered in whatever order: nothing is admitted outside of a transaction or to a partition that
    /// the coordinator does not know, what failed is never committed, and a producer that is done for stays so.
    #[test]
    fn any_order_of_calls_and_answers_keeps_the_promises() {
        use rand::rngs::StdRng;
        use rand::{Rng, SeedableRng};
        let topic: Arc<str> = "t".into();
        for seed in 0..400 {
            let mut random = StdRng::seed_from_u64(seed);
            let version = if seed % 2 == 0 { TransactionVersion::One } else { TransactionVersion::Two };
            let mut transaction = Transaction::new("x");
            let mut asked: Vec<Enlisting> = Vec::new();
            let (mut has_failed, mut was_fatal) = (false, false);
            for step in 0..300 {
                let code = match random.random_range(0..20) {
                    0 => ErrorCode::ProducerFenced,
                    1 => ErrorCode::TransactionalIdAuthorizationFailed,
                    _ => ErrorCode::TopicAuthorizationFailed,
                };
                match random.random_range(0..12) {
                    0 if transaction.check_uninitialised().is_ok() => {
                        transaction.on_initialised(IDENTITY, version);
                    }
                    1 => has_failed &= transaction.begin().is_err(),
                    2..5 => {
                        let is_open = matches!(transaction.phase, Phase::Open | Phase::Flushing);
                        let place = (topic.clone(), random.random_range(0..3));
                        let is_known = transaction.enlisted.contains(&place);
                        if transaction.admits(&place.0, place.1) {
                            assert!(is_open && transaction.is_started(), "seed {seed}, step {step}");
                            assert!(
                                is_known || version == TransactionVersion::Two,
                                "seed {seed}, step {step}"
                            );
                        }
                    }
                    5 => asked.extend(transaction.take_wanted()),
                    6 if !asked.is_empty() => {
                        let enlisting = asked.swap_remove(random.random_range(0..asked.len()));
                        let is_refused = random.random_range(0..8) == 0;
                        let result = if is_refused { Err(broker_error(code)) } else { Ok(()) };
                        transaction.on_enlisted(enlisting, result);
                    }
                    7 if random.random_range(0..4) == 0 => {
                        let was_open = matches!(transaction.phase, Phase::Open | Phase::Flushing);
                        transaction.on_batch_failed(&broker_error(code));
                        has_failed |= was_open;
                    }
                    8 => drop(transaction.begin_commit()),
                    9 => {
                        let may_commit = transaction.on_flushed().is_ok();
                        assert!(!may_commit || !has_failed, "seed {seed}, step {step}");
                    }
                    10 => drop(transaction.begin_abort()),
                    11 if matches!(transaction.phase, Phase::Committing | Phase::Aborting) => {
                        match random.random_range(0..6) {
                            0 => transaction.on_commit_refused(broker_error(code)),
                            1 if matches!(transaction.phase, Phase::Aborting) => {
                                transaction.on_abort_refused(broker_error(code));
                            }
                            _ => transaction.on_ended(None),
                        }
                    }
                    _ => {}
                }
                let is_fatal = matches!(transaction.phase, Phase::Fatal(_));
                assert!(is_fatal || !was_fatal, "seed {seed}, step {step}");
                was_fatal = is_fatal;
                if !is_fatal {
                    transaction.invariants();
                }
            }
        }
    }

    #[test]
    fn an_old_epoch_is_final_where_the_coordinator_says_it_and_not_where_a_leader_does() {
        assert_eq!(severity_at_leader(ErrorCode::InvalidProducerEpoch), Severity::Abortable);
        assert_eq!(severity_at_coordinator(ErrorCode::InvalidProducerEpoch), Severity::Fenced);
    }
}
