//! What the runtime asks of the machine that it drives. Implemented for `groups::Groups` in `group_machine.rs` and for
//! `transactions::Transactions` in `transaction_machine.rs`: those files know both sides, the machines know none.

use std::fmt::Debug;

use bytes::Bytes;
use ottla_protocol::EncodeError;

use crate::ids::Producer;
use crate::machine::{Decision, Monotonic, Now, ReplyId};

/// What a machine decides.
pub(super) type Decided<M> = Decision<<M as Machine>::Change, <M as Machine>::Reply, <M as Machine>::Effect>;

/// A recorded machine: `decide` changes nothing, `apply` is the only mutator, and recovery is `apply` of what the log
/// gives.
pub trait Machine: Sized + Send + 'static {
    /// Limits and delays.
    type Config: Clone + Send + Sync + 'static;
    /// What can be asked.
    type Request: Send + 'static;
    /// And every answer.
    type Reply: Clone + Debug + Send + 'static;
    /// One step of the machine's state.
    type Change: Send;
    /// What is to be done outside once what was decided is durable. Its outcome comes back as a request.
    type Effect: Send;

    /// A machine that knows nothing yet.
    fn empty(config: &Self::Config) -> Self;
    /// What follows from a request.
    fn decide(&self, now: Now, reply: ReplyId, request: &Self::Request) -> Decided<Self>;
    /// What follows from the log having been read to its end.
    fn on_loaded(&self, now: Now) -> Decided<Self>;
    /// What follows from time having passed.
    fn on_deadline(&self, now: Now) -> Decided<Self>;
    /// The next moment for [`Machine::on_deadline`].
    fn next_deadline(&self) -> Option<Monotonic>;
    /// Makes one change.
    fn apply(&mut self, change: &Self::Change);

    /// How a change lies in the log; `None` when it is kept in memory only.
    ///
    /// # Errors
    /// When a text is longer than the format can say.
    fn to_entry(change: &Self::Change) -> Result<Option<LogEntry>, EncodeError>;
    /// The change that an entry of the log is; `None` when it is of a kind that is not known.
    ///
    /// # Errors
    /// When it is not what its key promises. Reading goes on without it.
    fn to_change(entry: LogEntry) -> Result<Option<Self::Change>, UnreadableEntry>;

    /// The answer that only says why there is none.
    fn refuse(request: &Self::Request, why: Unavailable) -> Self::Reply;
    /// What is answered in a decided reply's stead when the log refused the records that it rests on.
    fn refuse_decided(reply: &Self::Reply, why: Unavailable) -> Self::Reply;
    /// Tells operators of a change that they want to know of.
    fn tell(change: &Self::Change);
}

/// Why a shard does not answer what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Its log is still being read.
    Loading,
    /// Its log cannot be used now, or too many wait.
    NotNow,
    /// Another broker's, or this one stops.
    NotHere,
}

/// What lies in a coordinator partition's log: a record, or the end of a producer's transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEntry {
    /// A record; with a producer it is part of its transaction.
    Record {
        /// Never null in these logs.
        key: Option<Bytes>,
        /// Null for a tombstone.
        value: Option<Bytes>,
        /// Whose transaction it belongs to.
        producer: Option<Producer>,
    },
    /// A marker (KIP-98).
    Marker {
        /// Whose transaction ends.
        producer: Producer,
        /// Of the transaction coordinator.
        coordinator_epoch: i32,
        /// Or abort.
        commit: bool,
    },
}

/// An entry that is not what its key promises.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableEntry(pub String);
