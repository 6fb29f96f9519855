//! The coordinator's clocks: the only place where it reads the time.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::machine::{Monotonic, Now, WallMs};

/// Monotonic time counts from the clock's creation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { origin: Instant::now() }
    }

    pub(super) fn now(self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: Monotonic(self.origin.elapsed()),
            wall: WallMs(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)),
        }
    }

    /// The moment as tokio's timers understand it. Too far ahead to be said means a month.
    pub(super) fn instant(self, at: Monotonic) -> Instant {
        const MONTH: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);
        self.origin.checked_add(at.0).unwrap_or_else(|| Instant::now() + MONTH)
    }
}
