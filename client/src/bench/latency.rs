//! How long things took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time that is told apart.
const MICROS_MAX: u64 = 60_000_000;
/// The bound of the first bucket.
const FIRST_BUCKET_MICROS: u64 = 64;

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

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.micros.len()
    }

    /// Buckets that double in width: the upper bound of each in milliseconds and how many times are in it. Empty ones
    /// before the first and after the last are left out.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let buckets = self.micros.iter_log(FIRST_BUCKET_MICROS, 2.0);
        let buckets = buckets.map(|bucket| (bucket.value_iterated_to(), bucket.count_since_last_iteration()));
        // The iterator gives each bucket's last value, not the bound.
        let buckets = buckets.map(|(last, count)| ((last + 1) as f64 / 1000.0, count));
        buckets.skip_while(|(_, count)| *count == 0).collect()
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

    #[test]
    fn buckets_hold_every_time_once() {
        let mut latencies = Latencies::default();
        (1..=100).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let buckets = latencies.buckets();
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), latencies.count());
        assert_eq!(buckets.first(), Some(&(1.024, 1)));
        assert!(buckets.windows(2).all(|pair| pair[1].0 == 2.0 * pair[0].0), "{buckets:?}");
    }
}
