//! Pauses between retries: exponential, bounded, with jitter so that clients do not return in step (KIP-580).

use std::time::Duration;

use rand::Rng;

/// Counts failures and says how long to pause.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, failures: 0 }
    }

    /// The pause after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = backoff(self.first, self.longest, self.failures);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The pause after `failures` earlier ones: `first * 2^failures`, at most `longest`, give or take a fifth.
pub(crate) fn backoff(first: Duration, longest: Duration, failures: u32) -> Duration {
    let doubled = first.saturating_mul(1u32 << failures.min(16));
    doubled.min(longest).mul_f64(rand::rng().random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(pauses[0] >= Duration::from_millis(80) && pauses[0] <= Duration::from_millis(120));
        assert!(pauses[2] > pauses[0]);
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(1200)));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(120));
    }
}
