//! What the recorded machines of `groups/` and `transactions/` share: clocks that are given to them, replies that are
//! named, and the shape of a decision. Pure; what drives them is in `coordinator/`.

use std::convert::Infallible;
use std::ops::Add;
use std::time::Duration;

/// Stands for whoever waits for a reply. The machine never sees a channel, so a parked reply is part of its state
/// like anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyId(pub u64);

/// A moment on a clock that never jumps, as the time since its owner started. All timeouts are measured on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// `ms` milliseconds after the start.
    pub const fn from_millis(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }
}

impl Add<Duration> for Monotonic {
    type Output = Monotonic;

    fn add(self, wait: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(wait))
    }
}

/// Milliseconds since 1970, as written into records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallMs(pub i64);

/// Both clocks, read once per event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timeouts.
    pub monotonic: Monotonic,
    /// For records.
    pub wall: WallMs,
}

/// The outcome of a request or of a deadline: changes `C`, replies `R`, and what `E` is to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<C, R, E = Infallible> {
    /// To be applied, in order.
    pub changes: Vec<C>,
    /// To be given once every record decided so far is durable: a rejection may rest on a change that is not yet.
    pub replies: Vec<(ReplyId, R)>,
    /// To be done once every record decided so far is durable.
    pub effects: Vec<E>,
}

impl<C, R, E> Default for Decision<C, R, E> {
    fn default() -> Decision<C, R, E> {
        Decision { changes: Vec::new(), replies: Vec::new(), effects: Vec::new() }
    }
}

impl<C, R, E> Decision<C, R, E> {
    /// Nothing but an answer.
    pub fn reply(to: ReplyId, reply: R) -> Decision<C, R, E> {
        Decision { replies: vec![(to, reply)], ..Decision::default() }
    }

    /// Adds a later decision's outcome.
    pub fn extend(&mut self, later: Decision<C, R, E>) {
        self.changes.extend(later.changes);
        self.replies.extend(later.replies);
        self.effects.extend(later.effects);
    }
}
