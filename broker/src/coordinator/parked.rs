//! Replies that wait for records to become durable, in the order of what they wait for. Rejections wait too: what a
//! request was refused for may itself not be durable yet.

use std::collections::VecDeque;

use crate::groups::{Reply, ReplyId};

/// Counts the records a shard has decided, from 1. Not an offset: those are given by the log, later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordCount(pub u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Parked {
    replies: VecDeque<(RecordCount, ReplyId, Reply)>,
}

impl Parked {
    /// Holds a reply until `after` records are durable. `after` never goes back.
    pub(super) fn park(&mut self, after: RecordCount, id: ReplyId, reply: Reply) {
        debug_assert!(self.replies.back().is_none_or(|(last, _, _)| *last <= after));
        self.replies.push_back((after, id, reply));
    }

    /// The next reply that need wait no longer.
    pub(super) fn release(&mut self, durable: RecordCount) -> Option<(ReplyId, Reply)> {
        let (after, _, _) = self.replies.front()?;
        if *after > durable {
            return None;
        }
        self.replies.pop_front().map(|(_, id, reply)| (id, reply))
    }

    /// Everything that still waits, as the log has failed.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (ReplyId, Reply)> {
        self.replies.drain(..).map(|(_, id, reply)| (id, reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_order_once_what_they_wait_for_is_durable() {
        let mut parked = Parked::default();
        for (after, id) in [(0, 1), (2, 2), (2, 3), (5, 4)] {
            parked.park(RecordCount(after), ReplyId(id), Reply::Heartbeat(Ok(())));
        }
        let mut leave = |durable| std::iter::from_fn(|| parked.release(RecordCount(durable))).count();
        assert_eq!((leave(1), leave(2), leave(4), leave(5)), (1, 2, 0, 1));
    }
}
