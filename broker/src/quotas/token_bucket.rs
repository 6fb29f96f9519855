//! Permission that grows with time up to a burst, and may be overdrawn once (KIP-599).

use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    tokens: f64,
    as_of: Instant,
}

impl TokenBucket {
    /// With all that it can hold.
    pub fn full(burst: f64, now: Instant) -> TokenBucket {
        TokenBucket { tokens: burst, as_of: now }
    }

    /// When something was last taken, or asked for.
    pub fn last_taken(&self) -> Instant {
        self.as_of
    }

    /// Takes so many tokens unless there is debt from before; the error is how long it takes to be paid.
    pub fn take(&mut self, per_second: f64, burst: f64, tokens: f64, now: Instant) -> Result<(), Duration> {
        match self.debt(per_second, burst, 0.0, now) {
            Duration::ZERO => {
                self.tokens -= tokens;
                Ok(())
            }
            debt => Err(debt),
        }
    }

    /// How long it takes until all debt is paid, were so many tokens taken now.
    pub fn debt(&mut self, per_second: f64, burst: f64, tokens: f64, now: Instant) -> Duration {
        self.grow(per_second, burst, now);
        let left = self.tokens - tokens;
        if left < 0.0 {
            return Duration::try_from_secs_f64(-left / per_second).unwrap_or(Duration::MAX);
        }
        Duration::ZERO
    }

    /// Takes so many tokens, debt or not.
    pub fn spend(&mut self, per_second: f64, burst: f64, tokens: f64, now: Instant) {
        self.grow(per_second, burst, now);
        self.tokens -= tokens;
    }

    fn grow(&mut self, per_second: f64, burst: f64, now: Instant) {
        let grown = now.saturating_duration_since(self.as_of).as_secs_f64() * per_second;
        self.tokens = (self.tokens + grown).min(burst);
        self.as_of = self.as_of.max(now);
    }
}
