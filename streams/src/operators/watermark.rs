//! Event time: how far it has come in each partition, and what that closes. All in milliseconds since 1970.
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

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::max;

use super::evaluate::millis;
use super::rows::{Rejected, Rows};
use crate::planner::{EventTime, SourceNode};
use crate::state::changelog::{InputOffsets, InputPartition};

/// The event time up to which everything is expected to have come; `None` before there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Watermark(pub Option<i64>);

impl Watermark {
    /// Behind everything: windows are all open.
    pub const NONE: Watermark = Watermark(None);
    /// Past everything: windows are all closed.
    pub const END: Watermark = Watermark(Some(i64::MAX));

    /// Whether what ends here (exclusive) is complete.
    pub fn has_passed(self, end_ms: i64) -> bool {
        self.0.is_some_and(|watermark| end_ms <= watermark)
    }
}

/// The newest event time of each input partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventClock {
    newest: InputOffsets,
}

impl EventClock {
    /// A clock at the times that a commit recorded.
    pub fn new(newest: InputOffsets) -> Self {
        EventClock { newest }
    }

    /// The times to record.
    pub fn newest(&self) -> &InputOffsets {
        &self.newest
    }

    /// The least, over all sources with a watermark, of the partitions' newest times less the delay.
    ///
    /// A partition that has never had a row does not count, unless it is among `unread`: then its rows are known to
    /// come, and nothing may close before them. A source that has never had a row keeps everything open.
    pub fn watermark(&self, sources: &[SourceNode], unread: &[InputPartition]) -> Watermark {
        let mut least: BTreeMap<u16, i64> = BTreeMap::new();
        for (place, source) in (0u16..).zip(sources) {
            let Some(delay) = source.event_time.as_ref().and_then(|time| time.delay_ms) else { continue };
            let is_unheard = |partition: &&InputPartition| {
                partition.source == place && !self.newest.contains_key(partition)
            };
            if unread.iter().any(|partition| is_unheard(&partition)) {
                return Watermark::NONE;
            }
            let times = self.newest.iter().filter(|(partition, _)| partition.source == place);
            let Some(oldest) = times.map(|(_, newest)| *newest).min() else { return Watermark::NONE };
            least.insert(place, oldest.saturating_sub(delay));
        }
        Watermark(least.into_values().min())
    }

    /// Takes in rows of one partition; takes out those without event time, where windows need it.
    ///
    /// # Errors
    /// Never for a planned query: the event-time column is a timestamp.
    pub(super) fn observe(
        &mut self,
        event_time: &EventTime,
        partition: InputPartition,
        rows: Rows,
        rejected: &mut Vec<Rejected>,
    ) -> datafusion::common::Result<Rows> {
        let times: &ArrayRef = rows.batch.column(event_time.column);
        if let Some(newest) = max(&millis(times, false)?) {
            let known = self.newest.entry(partition).or_insert(newest);
            *known = newest.max(*known);
        }
        let Some(nulls) = times.nulls().filter(|nulls| event_time.is_required && nulls.null_count() > 0)
        else {
            return Ok(rows);
        };
        let column = rows.batch.schema().field(event_time.column).name().clone();
        for row in (0..rows.len()).filter(|row| nulls.is_null(*row)) {
            if let Some(origin) = rows.origin(row) {
                let reason = format!("its {column} is null, so it belongs to no window");
                rejected.push(Rejected { origin, reason, is_late: false });
            }
        }
        let keep = BooleanArray::new(nulls.inner().clone(), None);
        Ok(rows.filtered(&keep)?)
    }
}

/// Takes out the rows that are complete already: `time` and `after_ms` milliseconds later have been passed.
///
/// # Errors
/// Never for a planned query.
pub(super) fn reject_late(
    watermark: Watermark,
    times: &ArrayRef,
    after_ms: i64,
    rows: Rows,
    rejected: &mut Vec<Rejected>,
) -> datafusion::common::Result<Rows> {
    if watermark == Watermark::NONE {
        return Ok(rows);
    }
    let ends = millis(times, true)?;
    let is_open =
        |time: Option<i64>| time.is_some_and(|time| !watermark.has_passed(time.saturating_add(after_ms)));
    let keep: BooleanArray = ends.iter().map(|time| Some(is_open(time))).collect();
    if keep.true_count() == rows.len() {
        return Ok(rows);
    }
    for row in (0..rows.len()).filter(|row| !keep.value(*row)) {
        if let Some(origin) = rows.origin(row) {
            let reason = match ends.is_null(row) {
                true => "its event time is too far from the others to have a window".to_owned(),
                false => "it came late: its window had closed, and its result was final".to_owned(),
            };
            rejected.push(Rejected { origin, reason, is_late: true });
        }
    }
    Ok(rows.filtered(&keep)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;

    fn source(delay_ms: Option<i64>) -> SourceNode {
        SourceNode {
            stream: "s".to_owned(),
            topic: "s".to_owned(),
            format: "json".to_owned(),
            schema: Arc::new(Schema::empty()),
            primary_key: None,
            event_time: Some(EventTime { column: 0, delay_ms, is_required: true }),
        }
    }

    fn clock(times: &[(u16, i32, i64)]) -> EventClock {
        let entry = |(source, partition, time): &(u16, i32, i64)| {
            (InputPartition { source: *source, partition: *partition }, *time)
        };
        EventClock::new(times.iter().map(entry).collect())
    }

    #[test]
    fn the_slowest_partition_holds_the_watermark_back() {
        let clock = clock(&[(0, 0, 100), (0, 1, 70)]);
        assert_eq!(clock.watermark(&[source(Some(10))], &[]), Watermark(Some(60)));
        assert_eq!(clock.watermark(&[source(None)], &[]), Watermark::NONE);
    }

    #[test]
    fn the_slowest_source_holds_the_watermark_back_and_a_silent_one_keeps_all_open() {
        let both = clock(&[(0, 0, 100), (1, 0, 70)]);
        assert_eq!(both.watermark(&[source(Some(40)), source(Some(0))], &[]), Watermark(Some(60)));
        assert_eq!(both.watermark(&[source(Some(40)), source(None)], &[]), Watermark(Some(60)));
        let one = clock(&[(0, 0, 100)]);
        assert_eq!(one.watermark(&[source(Some(40)), source(Some(0))], &[]), Watermark::NONE);
    }

    #[test]
    fn a_partition_with_unread_rows_and_no_time_yet_keeps_every_window_open() {
        let clock = clock(&[(0, 0, 100)]);
        let partition = |partition| InputPartition { source: 0, partition };
        assert_eq!(clock.watermark(&[source(Some(0))], &[partition(1)]), Watermark::NONE);
        assert_eq!(clock.watermark(&[source(Some(0))], &[partition(0)]), Watermark(Some(100)));
    }

    #[test]
    fn a_window_closes_when_the_watermark_reaches_its_end() {
        assert!(Watermark(Some(60)).has_passed(60));
        assert!(!Watermark(Some(59)).has_passed(60));
        assert!(!Watermark::NONE.has_passed(i64::MIN));
        assert!(Watermark::END.has_passed(i64::MAX));
    }
}
