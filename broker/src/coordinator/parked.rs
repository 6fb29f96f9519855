//! What waits for entries of the log to become durable, in the order of what it waits for: replies, rejections too,
//! since what a request was refused for may itself not be durable yet, and what is to be done outside.

use std::collections::VecDeque;

use crate::machine::ReplyId;

/// Counts the entries a shard has decided, from 1. Not an offset: those are given by the log, later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryCount(pub u64);

/// What follows once its entries are durable.
#[derive(Debug)]
pub(super) enum Outcome<R, E> {
    /// Give this answer.
    Reply(ReplyId, R),
    /// Have this done.
    Effect(E),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Parked<R, E> {
    outcomes: VecDeque<(EntryCount, Outcome<R, E>)>,
}

impl<R, E> Default for Parked<R, E> {
    fn default() -> Parked<R, E> {
        Parked { outcomes: VecDeque::new() }
    }
}

impl<R, E> Parked<R, E> {
    /// Holds an outcome until `after` entries are durable. `after` never goes back.
    pub(super) fn park(&mut self, after: EntryCount, outcome: Outcome<R, E>) {
        debug_assert!(self.outcomes.back().is_none_or(|(last, _)| *last <= after));
        self.outcomes.push_back((after, outcome));
    }

    /// The next outcome that need wait no longer.
    pub(super) fn release(&mut self, durable: EntryCount) -> Option<Outcome<R, E>> {
        let (after, _) = self.outcomes.front()?;
        if *after > durable {
            return None;
        }
        self.outcomes.pop_front().map(|(_, outcome)| outcome)
    }

    /// Everything that still waits, as the log has failed.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Outcome<R, E>> {
        self.outcomes.drain(..).map(|(_, outcome)| outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_leave_in_order_once_what_they_wait_for_is_durable() {
        let mut parked: Parked<(), ()> = Parked::default();
        for (after, id) in [(0, 1), (2, 2), (2, 3), (5, 4)] {
            parked.park(EntryCount(after), Outcome::Reply(ReplyId(id), ()));
        }
        let mut leave = |durable| std::iter::from_fn(|| parked.release(EntryCount(durable))).count();
        assert_eq!((leave(1), leave(2), leave(4), leave(5)), (1, 2, 0, 1));
    }
}
