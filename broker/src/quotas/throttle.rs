//! A limit on the bytes a second of one kind of work of this broker's own, such as what followers fetch of throttled replicas (KIP-73).
//!
//! A second's worth may be taken at once. What was taken beyond that is waited for, so over time the rate is exact whatever the
//! pieces are in which it is taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::TokenBucket;

/// The rate of what is not limited, as Kafka's configs have it.
pub const UNLIMITED: u64 = i64::MAX as u64;

/// No wait is told to be longer: the rate may be changed meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: AtomicU64,
    bucket: Mutex<TokenBucket>,
}

impl Throttle {
    /// Nothing is limited.
    pub fn unlimited() -> Throttle {
        let bucket = Mutex::new(TokenBucket::full(0.0, Instant::now()));
        Throttle { bytes_per_second: AtomicU64::new(UNLIMITED), bucket }
    }

    /// From now on so many bytes a second. What was taken too much under another rate is still waited for.
    pub fn set_rate(&self, bytes_per_second: u64) {
        self.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.rate().is_some()
    }

    fn rate(&self) -> Option<f64> {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        (rate < UNLIMITED).then_some(rate as f64)
    }

    fn bucket(&self) -> MutexGuard<'_, TokenBucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to take nothing; zero where something may be taken. `unspent` bytes are taken and not noted yet.
    pub fn wait(&self, unspent: usize, now: Instant) -> Duration {
        let Some(rate) = self.rate() else { return Duration::ZERO };
        self.bucket().debt(rate, rate, unspent as f64, now).min(WAIT_MAX)
    }

    /// Notes that so many bytes were taken.
    pub fn spend(&self, bytes: usize, now: Instant) {
        let Some(rate) = self.rate() else { return };
        self.bucket().spend(rate, rate, bytes as f64, now);
    }
}

/// What this broker limits of its own work.
#[derive(Debug)]
pub struct ReplicationThrottles {
    /// What it gives to followers of throttled replicas.
    pub leader: Throttle,
    /// What it fetches for throttled replicas.
    pub follower: Throttle,
}

impl ReplicationThrottles {
    /// No limits.
    pub fn unlimited() -> ReplicationThrottles {
        ReplicationThrottles { leader: Throttle::unlimited(), follower: Throttle::unlimited() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_in_pieces_of_any_size_takes_the_time_that_the_rate_says() {
        for piece in [1, 1000, 70_000, 350_000] {
            let throttle = Throttle::unlimited();
            throttle.set_rate(100_000);
            let start = Instant::now() + Duration::from_secs(5);
            let (mut now, mut taken) = (start, 0);
            while taken < 2_100_000 {
                match throttle.wait(0, now) {
                    Duration::ZERO => {
                        throttle.spend(piece, now);
                        taken += piece;
                    }
                    wait => now += wait,
                }
            }
            now += throttle.wait(0, now);
            let seconds = (now - start).as_secs_f64();
            // The first second's worth comes at once.
            let expected = (taken - 100_000) as f64 / 100_000.0;
            assert!((seconds - expected).abs() < 0.05, "pieces of {piece}: {seconds} s, not {expected}");
        }
    }

    #[test]
    fn a_limit_counts_from_when_it_is_set_and_debt_is_paid_at_the_new_rate() {
        let throttle = Throttle::unlimited();
        let now = Instant::now() + Duration::from_secs(5);
        assert!(!throttle.is_limited());
        throttle.spend(1 << 40, now);
        throttle.set_rate(1000);
        assert_eq!(throttle.wait(0, now), Duration::ZERO, "what was taken without a limit does not count");
        assert_eq!(throttle.wait(3000, now), Duration::from_secs(2));
        throttle.spend(5000, now);
        assert_eq!(throttle.wait(0, now), Duration::from_secs(4));
        throttle.set_rate(4000);
        assert_eq!(throttle.wait(0, now), Duration::from_secs(1));
        throttle.set_rate(0);
        assert_eq!(throttle.wait(0, now), WAIT_MAX);
        throttle.set_rate(UNLIMITED);
        assert_eq!(throttle.wait(0, now), Duration::ZERO);
    }
}
