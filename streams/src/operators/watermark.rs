//! Event time: how far it has come in each partition, and what that closes.
//!
//! ```text
//! partition 0   ───────────────●  newest row
//! partition 1   ─────────●        newest row
//!                     ◀──┘ delay
//!                     ▲ watermark: no row before this is expected any more
//! ```
//!
//! The watermark of an epoch is computed from all epochs before it, so a row is late or not by what is in the
//! changelog, never by the clock.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::max;
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};

use super::rows::{Rejected, Rows};
use crate::planner::EventTime;

/// The event time up to which everything is expected to have come, in ticks of the event-time column; `None` before
/// there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Watermark(pub Option<i64>);

impl Watermark {
    /// Behind everything: windows are all open.
    pub const NONE: Watermark = Watermark(None);
    /// Past everything: windows are all closed.
    pub const END: Watermark = Watermark(Some(i64::MAX));

    /// Whether a window that ends here (exclusive) is complete.
    pub fn has_passed(self, window_end: i64) -> bool {
        self.0.is_some_and(|watermark| window_end <= watermark)
    }
}

/// The newest event time of each input partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventClock {
    newest: BTreeMap<i32, i64>,
}

impl EventClock {
    /// A clock at the times that a commit recorded.
    pub fn new(newest: BTreeMap<i32, i64>) -> Self {
        EventClock { newest }
    }

    /// The times to record.
    pub fn newest(&self) -> &BTreeMap<i32, i64> {
        &self.newest
    }

    /// The least of the partitions' newest times, less the delay.
    ///
    /// A partition that has never had a row does not count, unless it is among `unread`: then its rows are known to
    /// come, and nothing may close before them.
    pub fn watermark(&self, delay: Option<i64>, unread: &[i32]) -> Watermark {
        let Some(delay) = delay else { return Watermark::NONE };
        if unread.iter().any(|partition| !self.newest.contains_key(partition)) {
            return Watermark::NONE;
        }
        Watermark(self.newest.values().min().map(|oldest| oldest.saturating_sub(delay)))
    }

    /// Takes in rows of one partition and takes out those without event time.
    ///
    /// # Errors
    /// Never for a planned query: the event-time column is a timestamp.
    pub(super) fn observe(
        &mut self,
        event_time: &EventTime,
        partition: i32,
        rows: Rows,
        rejected: &mut Vec<Rejected>,
    ) -> datafusion::common::Result<Rows> {
        let times = rows.batch.column(event_time.column);
        if let Some(newest) = newest_of(times.as_ref()) {
            let known = self.newest.entry(partition).or_insert(newest);
            *known = newest.max(*known);
        }
        let Some(nulls) = times.nulls().filter(|nulls| nulls.null_count() > 0) else { return Ok(rows) };
        let column = rows.batch.schema().field(event_time.column).name().clone();
        for (row, origin) in rows.origins.values().iter().enumerate() {
            if nulls.is_null(row) {
                let reason = format!("its {column} is null, so it belongs to no window");
                rejected.push(Rejected { origin: *origin, reason, is_late: false });
            }
        }
        let keep = BooleanArray::new(nulls.inner().clone(), None);
        Ok(rows.filtered(&keep)?)
    }
}

fn newest_of(times: &dyn Array) -> Option<i64> {
    match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => max(times.as_primitive::<TimestampSecondType>()),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            max(times.as_primitive::<TimestampMillisecondType>())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            max(times.as_primitive::<TimestampMicrosecondType>())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => max(times.as_primitive::<TimestampNanosecondType>()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_partition_holds_the_watermark_back() {
        let clock = EventClock::new(BTreeMap::from([(0, 100), (1, 70)]));
        assert_eq!(clock.watermark(Some(10), &[]), Watermark(Some(60)));
        assert_eq!(clock.watermark(None, &[]), Watermark::NONE);
    }

    #[test]
    fn a_partition_with_unread_rows_and_no_time_yet_keeps_every_window_open() {
        let clock = EventClock::new(BTreeMap::from([(0, 100)]));
        assert_eq!(clock.watermark(Some(0), &[1]), Watermark::NONE);
        assert_eq!(clock.watermark(Some(0), &[0]), Watermark(Some(100)));
    }

    #[test]
    fn a_window_closes_when_the_watermark_reaches_its_end() {
        assert!(Watermark(Some(60)).has_passed(60));
        assert!(!Watermark(Some(59)).has_passed(60));
        assert!(!Watermark::NONE.has_passed(i64::MIN));
        assert!(Watermark::END.has_passed(i64::MAX));
    }
}
