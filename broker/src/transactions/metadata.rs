//! What is known of one transactional id.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Producer, TopicPartition};
use crate::machine::WallMs;

/// "None" for ids and epochs of producers.
pub(super) const NONE: i64 = -1;
/// "None" for epochs.
pub(super) const NO_EPOCH: i16 = -1;
/// The last epoch that a producer may use: the one above it is kept for fencing it.
pub(super) const EPOCH_LAST: i16 = i16::MAX - 1;

/// A producer's name that outlives its instances.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionalId(Arc<str>);

impl TransactionalId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TransactionalId {
    fn from(text: &str) -> TransactionalId {
        TransactionalId(text.into())
    }
}

impl fmt::Display for TransactionalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A level of the feature `transaction.version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionVersion(pub i16);

impl TransactionVersion {
    /// KIP-98.
    pub const V1: TransactionVersion = TransactionVersion(0);
    /// KIP-890.
    pub const V2: TransactionVersion = TransactionVersion(2);

    /// Each transaction has an epoch of its own.
    pub fn bumps_epoch(self) -> bool {
        self >= TransactionVersion::V2
    }
}

/// Kafka's states, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum TransactionState {
    Empty = 0,
    Ongoing = 1,
    PrepareCommit = 2,
    PrepareAbort = 3,
    CompleteCommit = 4,
    CompleteAbort = 5,
    Dead = 6,
    PrepareEpochFence = 7,
}

impl TransactionState {
    /// All of them, by number.
    pub const ALL: [TransactionState; 8] = [
        TransactionState::Empty,
        TransactionState::Ongoing,
        TransactionState::PrepareCommit,
        TransactionState::PrepareAbort,
        TransactionState::CompleteCommit,
        TransactionState::CompleteAbort,
        TransactionState::Dead,
        TransactionState::PrepareEpochFence,
    ];

    /// The state with this number.
    pub fn from_code(code: i8) -> Option<TransactionState> {
        TransactionState::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// The number Kafka gives it.
    pub fn code(self) -> i8 {
        self as i8
    }

    /// As Kafka's tools show it.
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::PrepareCommit => "PrepareCommit",
            TransactionState::PrepareAbort => "PrepareAbort",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
            TransactionState::Dead => "Dead",
            TransactionState::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// Decided, and the markers are on their way.
    pub fn is_prepared(self) -> bool {
        matches!(self, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    /// Nothing is under way.
    pub fn is_idle(self) -> bool {
        matches!(
            self,
            TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort
        )
    }
}

/// One transactional id as it stands. A record of the log has all of it but `last_epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMetadata {
    /// Who has the id.
    pub producer: Producer,
    /// The producer id before the last change; -1 if there was none.
    pub previous_producer_id: i64,
    /// With what the producer goes on once this transaction is complete, as its epochs are used up; -1 if they are not.
    pub next_producer_id: i64,
    /// The epoch before the last bump that the producer asked for, by which a retry of it is known; -1 if there is none.
    pub last_epoch: i16,
    /// How long a transaction may take.
    pub timeout: Duration,
    /// See [`TransactionState`].
    pub state: TransactionState,
    /// Where the transaction has written, or is about to.
    pub partitions: BTreeSet<TopicPartition>,
    /// When the transaction began; -1 before the first.
    pub started_at: WallMs,
    /// When this was last changed.
    pub updated_at: WallMs,
    /// What the producer speaks.
    pub client_version: TransactionVersion,
}

impl TransactionMetadata {
    /// An id that nobody has used.
    pub(super) fn new(producer_id: i64, now: WallMs) -> TransactionMetadata {
        TransactionMetadata {
            producer: Producer { id: producer_id, epoch: NO_EPOCH },
            previous_producer_id: NONE,
            next_producer_id: NONE,
            last_epoch: NO_EPOCH,
            timeout: Duration::ZERO,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            started_at: WallMs(NONE),
            updated_at: now,
            client_version: TransactionVersion::default(),
        }
    }

    /// Whether no epoch is left to be given out.
    pub(super) fn is_exhausted(&self) -> bool {
        self.producer.epoch >= EPOCH_LAST
    }

    /// When an ongoing transaction has taken too long.
    pub(super) fn times_out_at(&self) -> Option<WallMs> {
        let timeout_ms = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        (self.state == TransactionState::Ongoing)
            .then(|| WallMs(self.started_at.0.saturating_add(timeout_ms)))
    }

    /// Goes on from here: another state at another time.
    pub(super) fn changed(&self, state: TransactionState, now: WallMs) -> TransactionMetadata {
        TransactionMetadata { state, updated_at: now, previous_producer_id: self.producer.id, ..self.clone() }
    }

    /// # Panics
    /// When something that must hold does not.
    pub fn invariants(&self) {
        assert!(self.producer.id >= 0, "{self:?}: the id has a producer");
        if self.state.is_idle() {
            assert!(self.partitions.is_empty(), "{self:?}: what is over has no partitions");
            assert_eq!(self.next_producer_id, NONE, "{self:?}: a completed transaction has moved on");
        }
        if self.state == TransactionState::Ongoing {
            assert!(self.started_at.0 >= 0, "{self:?}: it began at some time");
            assert!(!self.partitions.is_empty(), "{self:?}: it began with a partition");
        }
        if self.producer.epoch == i16::MAX {
            assert!(self.state != TransactionState::Ongoing, "{self:?}: nobody uses the epoch that fences");
        }
    }
}
