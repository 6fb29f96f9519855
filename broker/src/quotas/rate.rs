//! How fast something was taken lately: a sum over windows of time, as Kafka measures it.
//!
//! ```text
//!   |-- size --|-- size --|-- size --| now
//!      oldest                 current
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Over which time a rate is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// `quota.window.num`.
    pub count: u32,
    /// `quota.window.size.seconds`.
    pub size: Duration,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows { count: 11, size: Duration::from_secs(1) }
    }
}

impl Windows {
    /// All of them together.
    pub fn seconds(&self) -> f64 {
        (self.size * self.count).as_secs_f64()
    }
}

/// What was taken, by windows; the last is the current one.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    samples: VecDeque<(Instant, f64)>,
}

impl Rate {
    /// Notes that so much was taken now.
    pub fn record(&mut self, windows: &Windows, amount: f64, now: Instant) {
        self.forget(windows, now);
        match self.samples.back_mut() {
            Some((since, sum)) if now.saturating_duration_since(*since) < windows.size => *sum += amount,
            _ => self.samples.push_back((now, amount)),
        }
    }

    /// How long to take nothing until the rate is down at the limit, in units a second.
    pub fn wait(&mut self, windows: &Windows, limit: f64, now: Instant) -> Duration {
        self.forget(windows, now);
        let Some((oldest, _)) = self.samples.front() else { return Duration::ZERO };
        // Right after the start too little time has passed to judge by it: all but one window count as full.
        let elapsed =
            now.saturating_duration_since(*oldest).max(windows.size * windows.count.saturating_sub(1));
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let rate = self.samples.iter().map(|(_, sum)| sum).sum::<f64>() / seconds;
        if rate <= limit {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64((rate - limit) / limit * seconds).unwrap_or(Duration::MAX)
    }

    /// Whether nothing was taken for all windows.
    pub fn is_idle(&self, windows: &Windows, now: Instant) -> bool {
        self.samples.back().is_none_or(|(since, _)| *since + windows.size * windows.count <= now)
    }

    fn forget(&mut self, windows: &Windows, now: Instant) {
        let all = windows.size * windows.count;
        while self.samples.front().is_some_and(|(since, _)| *since + all <= now) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_in_one_go_is_waited_for() {
        let (windows, now) = (Windows::default(), Instant::now());
        let mut rate = Rate::default();
        rate.record(&windows, 10_000.0, now);
        assert_eq!(rate.wait(&windows, 1000.0, now), Duration::ZERO, "ten seconds' worth in ten seconds");
        rate.record(&windows, 10_000.0, now);
        assert_eq!(rate.wait(&windows, 1000.0, now), Duration::from_secs(10));
        let later = now + Duration::from_secs(11);
        assert_eq!(rate.wait(&windows, 1000.0, later), Duration::ZERO);
        assert!(rate.is_idle(&windows, later));
    }
}
