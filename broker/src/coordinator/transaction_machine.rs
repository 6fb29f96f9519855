//! [`Transactions`] as the runtime sees it: its records as they lie in `__transaction_state`, its refusals in its own
//! words.

use ottla_protocol::EncodeError;

use super::machine::{Decided, LogEntry, Machine, Unavailable, UnreadableEntry};
use crate::machine::{Monotonic, Now, ReplyId};
use crate::transactions::{
    Change, Effect, Reply, Request, TransactionConfig, TransactionError, TransactionState, Transactions,
    records,
};

impl Machine for Transactions {
    type Config = TransactionConfig;
    type Request = Request;
    type Reply = Reply;
    type Change = Change;
    type Effect = Effect;

    fn empty(config: &TransactionConfig) -> Transactions {
        Transactions::new(config.clone())
    }

    fn decide(&self, now: Now, reply: ReplyId, request: &Request) -> Decided<Transactions> {
        self.decide(now, reply, request)
    }

    fn on_loaded(&self, _now: Now) -> Decided<Transactions> {
        self.on_loaded()
    }

    fn on_deadline(&self, now: Now) -> Decided<Transactions> {
        self.on_deadline(now)
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        self.next_deadline()
    }

    fn apply(&mut self, change: &Change) {
        self.apply(change);
    }

    fn to_entry(change: &Change) -> Result<Option<LogEntry>, EncodeError> {
        match change {
            Change::Record { transactional_id, value } => {
                let (key, value) = records::encode(transactional_id, value.as_deref())?;
                Ok(Some(LogEntry::Record { key: Some(key), value, producer: None }))
            }
            Change::LookedForTimeouts(_) | Change::LookedForExpired(_) => Ok(None),
        }
    }

    fn to_change(entry: LogEntry) -> Result<Option<Change>, UnreadableEntry> {
        let LogEntry::Record { key, value, .. } = entry else { return Ok(None) };
        let decoded = records::decode(key, value).map_err(|error| UnreadableEntry(error.to_string()))?;
        Ok(decoded.map(|(transactional_id, value)| Change::Record { transactional_id, value }))
    }

    fn refuse(request: &Request, why: Unavailable) -> Reply {
        request.refused(why.into())
    }

    fn refuse_decided(reply: &Reply, why: Unavailable) -> Reply {
        reply.refused(why.into())
    }

    fn tell(change: &Change) {
        let Change::Record { transactional_id: id, value } = change else { return };
        match value {
            Some(value) if value.state == TransactionState::Empty => {
                tracing::info!(transactional_id = %id, producer = %value.producer, "a producer has the id");
            }
            Some(value) => tracing::trace!(transactional_id = %id, state = value.state.name(), "changed"),
            None => tracing::info!(transactional_id = %id, "the id is forgotten"),
        }
    }
}

impl From<Unavailable> for TransactionError {
    fn from(why: Unavailable) -> TransactionError {
        match why {
            Unavailable::Loading => TransactionError::CoordinatorLoadInProgress,
            Unavailable::NotNow => TransactionError::CoordinatorNotAvailable,
            Unavailable::NotHere => TransactionError::NotCoordinator,
        }
    }
}
