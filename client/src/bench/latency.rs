//! How long things took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time that is told apart.
const MICROS_MAX: u64 = 60_000_000;

/// A histogram of times, exact to three digits.
#[derive(Debug, Clone)]
pub struct Latencies {
    micros: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Latencies {
        let micros = Histogram::new_with_bounds(1, MICROS_MAX, 3);
        Latencies { micros: micros.expect("the bounds are in order") }
    }
}

impl Latencies {
    pub(super) fn record(&mut self, time: Duration) {
        self.micros.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn add(&mut self, other: &Latencies) {
        // Bounds are the same, so everything fits.
        let _ = self.micros.add(&other.micros);
    }

    /// The time that so many of a hundred stayed at or below, milliseconds.
    pub fn percentile_ms(&self, percentile: f64) -> f64 {
        self.micros.value_at_percentile(percentile) as f64 / 1000.0
    }

    /// The mean, milliseconds.
    pub fn mean_ms(&self) -> f64 {
        self.micros.mean() / 1000.0
    }

    /// The longest, milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.micros.max() as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let (mut all, mut more) = (Latencies::default(), Latencies::default());
        (1..=99).for_each(|ms| all.record(Duration::from_millis(ms)));
        more.record(Duration::from_secs(3600));
        all.add(&more);
        assert!((all.percentile_ms(50.0) - 50.0).abs() < 0.1);
        assert!((all.percentile_ms(99.0) - 99.0).abs() < 0.1);
        assert!(all.max_ms() >= 59_000.0);
    }
}
