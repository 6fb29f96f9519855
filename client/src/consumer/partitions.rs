//! The partitions assigned to a consumer: where each one stands and what was read ahead of the caller. Pure.
//!
//! ```text
//!          consumed by the caller      read ahead, in `buffered`
//!   ─────────────────────────────┬────────────────────────────┬──────────▶ offset
//!                             position              next fetch begins here
//! ```
//! The position only moves when records are handed out, so committing it never covers a record the caller has not
//! been given. Every seek and assignment gives the partition a new version; what comes back from the broker for an
//! older version is dropped.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::FetchedPartition;
use super::fetch::Chunk;
use crate::TopicPartition;
use crate::error::ClientError;
use crate::group_offsets::CommittedOffset;
use crate::list_offsets::{OFFSET_EARLIEST, OFFSET_LATEST};

/// As a position: what the group has committed, or else what `auto_offset_reset` says.
pub const OFFSET_STORED: i64 = -1000;

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// What the group has committed, not looked up yet.
    Stored,
    /// At this timestamp, not looked up yet.
    AtTime(i64),
    /// Before this offset.
    Offset { offset: i64, leader_epoch: i32 },
}

impl Place {
    /// From a number as callers give it.
    pub(crate) fn from_offset(offset: i64) -> Option<Place> {
        match offset {
            OFFSET_STORED => Some(Place::Stored),
            OFFSET_LATEST | OFFSET_EARLIEST => Some(Place::AtTime(offset)),
            0.. => Some(Place::Offset { offset, leader_epoch: -1 }),
            _ => None,
        }
    }

    fn offset(self) -> Option<i64> {
        match self {
            Place::Offset { offset, .. } => Some(offset),
            Place::Stored | Place::AtTime(_) => None,
        }
    }
}

/// Identifies one stay of a partition at one place.
pub(crate) type Version = u64;

#[derive(Debug)]
struct PartitionState {
    version: Version,
    place: Place,
    is_paused: bool,
    /// Someone waits for the first records after a seek: it does not queue behind a long poll of the others.
    is_urgent: bool,
    is_looking_up: bool,
    buffered: Option<(Chunk, i64)>,
    not_before: Option<Instant>,
    high_watermark: i64,
    error: Option<ClientError>,
    committed: Option<i64>,
    /// The position that the caller knows of.
    told: Option<i64>,
}

/// A partition that can be fetched now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetchable {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) version: Version,
    pub(crate) offset: i64,
    pub(crate) is_urgent: bool,
}

/// All assigned partitions.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    states: BTreeMap<TopicPartition, PartitionState>,
    next_version: Version,
}

impl Partitions {
    /// Replaces the assignment; nothing of the one before is kept.
    pub(crate) fn assign(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, Place)>) {
        self.states.clear();
        for (topic_partition, place) in partitions {
            let state = PartitionState {
                version: self.new_version(),
                place,
                is_paused: false,
                is_urgent: true,
                is_looking_up: false,
                buffered: None,
                not_before: None,
                high_watermark: -1,
                error: None,
                committed: None,
                told: place.offset(),
            };
            self.states.insert(topic_partition, state);
        }
    }

    fn new_version(&mut self) -> Version {
        self.next_version += 1;
        self.next_version
    }

    pub(crate) fn assigned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.states.keys()
    }

    /// Goes somewhere else; what was read ahead is dropped. False if the partition is not assigned.
    pub(crate) fn seek(&mut self, topic_partition: &TopicPartition, place: Place) -> bool {
        let version = self.new_version();
        let Some(state) = self.states.get_mut(topic_partition) else { return false };
        state.version = version;
        state.place = place;
        state.told = place.offset();
        state.buffered = None;
        state.error = None;
        state.not_before = None;
        state.is_looking_up = false;
        state.is_urgent = true;
        true
    }

    /// Stops or resumes handing out records; what was read ahead is kept.
    pub(crate) fn set_paused(&mut self, topic_partition: &TopicPartition, is_paused: bool) -> bool {
        let Some(state) = self.states.get_mut(topic_partition) else { return false };
        state.is_urgent |= state.is_paused && !is_paused;
        state.is_paused = is_paused;
        true
    }

    /// The offset of the next record to be handed out, once it is known.
    pub(crate) fn position(
        &self,
        topic_partition: &TopicPartition,
    ) -> Option<Result<Option<i64>, ClientError>> {
        let state = self.states.get(topic_partition)?;
        Some(match (&state.error, state.place) {
            (Some(error), _) => Err(error.clone()),
            (None, Place::Offset { offset, .. }) => Ok(Some(offset)),
            (None, Place::Stored | Place::AtTime(_)) => Ok(None),
        })
    }

    /// What is to be committed: positions, with the leader epoch before each, that were not committed already.
    pub(crate) fn uncommitted(&self) -> Vec<(TopicPartition, CommittedOffset)> {
        let mut uncommitted = Vec::new();
        for (topic_partition, state) in &self.states {
            if let Place::Offset { offset, leader_epoch } = state.place
                && state.committed != Some(offset)
            {
                let committed = CommittedOffset { offset, leader_epoch, metadata: String::new() };
                uncommitted.push((topic_partition.clone(), committed));
            }
        }
        uncommitted
    }

    /// Remembers that the offset needs no further commit.
    pub(crate) fn on_committed(&mut self, topic_partition: &TopicPartition, offset: i64) {
        if let Some(state) = self.states.get_mut(topic_partition) {
            state.committed = Some(offset);
        }
    }

    /// Hands out what was read ahead, and moves the positions behind it. An error of any partition comes first.
    pub(crate) fn take(&mut self) -> Result<Vec<FetchedPartition>, ClientError> {
        if let Some(error) = self.states.values_mut().find_map(|state| state.error.take()) {
            return Err(error);
        }
        let mut taken = Vec::new();
        for (topic_partition, state) in &mut self.states {
            if state.is_paused {
                continue;
            }
            if let Some((chunk, high_watermark)) = state.buffered.take() {
                let next_offset = chunk.next_offset;
                state.place = Place::Offset { offset: next_offset, leader_epoch: chunk.leader_epoch };
                state.told = Some(next_offset);
                let (topic_partition, records) = (topic_partition.clone(), chunk.records);
                taken.push(FetchedPartition { topic_partition, records, next_offset, high_watermark });
            }
        }
        Ok(taken)
    }

    /// The partitions whose position has moved, or was found, without a record that could have told the caller.
    pub(crate) fn take_passed(&mut self) -> Vec<FetchedPartition> {
        let mut passed = Vec::new();
        for (topic_partition, state) in &mut self.states {
            let Some(next_offset) = state.place.offset() else { continue };
            if !state.is_paused && state.buffered.is_none() && state.told != Some(next_offset) {
                state.told = Some(next_offset);
                let (topic_partition, high_watermark) = (topic_partition.clone(), state.high_watermark);
                let records = Vec::new();
                passed.push(FetchedPartition { topic_partition, records, next_offset, high_watermark });
            }
        }
        passed
    }

    /// Partitions whose place must be looked up now, marked as being so.
    pub(crate) fn start_lookups(&mut self, now: Instant) -> Vec<(TopicPartition, Version, Place)> {
        let mut lookups = Vec::new();
        for (topic_partition, state) in &mut self.states {
            let is_known = matches!(state.place, Place::Offset { .. });
            if !is_known && !state.is_looking_up && state.error.is_none() && state.is_due(now) {
                state.is_looking_up = true;
                lookups.push((topic_partition.clone(), state.version, state.place));
            }
        }
        lookups
    }

    /// A lookup is done, or is to be done again later.
    pub(crate) fn on_looked_up(
        &mut self,
        topic_partition: &TopicPartition,
        version: Version,
        found: Result<Place, LookupFailed>,
    ) {
        let Some(state) = self.current(topic_partition, version) else { return };
        state.is_looking_up = false;
        match found {
            Ok(place) => state.place = place,
            Err(LookupFailed::For(error)) => state.error = Some(error),
            Err(LookupFailed::Until(not_before)) => state.not_before = Some(not_before),
        }
    }

    /// Partitions that can be fetched now, with `true` for those whose records still wait to be handed out.
    pub(crate) fn fetchable(&self, now: Instant) -> impl Iterator<Item = (Fetchable, bool)> {
        self.states.iter().filter_map(move |(topic_partition, state)| {
            let Place::Offset { offset, .. } = state.place else { return None };
            if state.is_paused || state.error.is_some() || !state.is_due(now) {
                return None;
            }
            let fetchable = Fetchable {
                topic_partition: topic_partition.clone(),
                version: state.version,
                offset,
                is_urgent: state.is_urgent,
            };
            Some((fetchable, state.buffered.is_some()))
        })
    }

    /// The fetch is on its way.
    pub(crate) fn on_fetching(&mut self, topic_partition: &TopicPartition) {
        if let Some(state) = self.states.get_mut(topic_partition) {
            state.is_urgent = false;
        }
    }

    /// Whether this is still where the partition stands.
    pub(crate) fn is_current(&self, topic_partition: &TopicPartition, version: Version) -> bool {
        self.states.get(topic_partition).is_some_and(|state| state.version == version)
    }

    /// Records were read. True if there is something to hand out.
    pub(crate) fn on_fetched(
        &mut self,
        topic_partition: &TopicPartition,
        version: Version,
        chunk: Chunk,
        high_watermark: i64,
    ) -> bool {
        let Some(state) = self.current(topic_partition, version) else { return false };
        state.high_watermark = high_watermark;
        if chunk.records.is_empty() {
            if let Place::Offset { offset, leader_epoch } = &mut state.place
                && chunk.next_offset > *offset
            {
                (*offset, *leader_epoch) = (chunk.next_offset, chunk.leader_epoch);
            }
            return false;
        }
        state.buffered = Some((chunk, high_watermark));
        true
    }

    /// The offset is no longer, or not yet, there: look up another place.
    pub(crate) fn on_out_of_range(
        &mut self,
        topic_partition: &TopicPartition,
        version: Version,
        place: Place,
    ) {
        if let Some(state) = self.current(topic_partition, version) {
            state.place = place;
        }
    }

    /// Fetching failed for now.
    pub(crate) fn on_retry_later(
        &mut self,
        topic_partition: &TopicPartition,
        version: Version,
        not_before: Instant,
    ) {
        if let Some(state) = self.current(topic_partition, version) {
            state.not_before = Some(not_before);
        }
    }

    /// Fetching failed in a way the caller must know.
    pub(crate) fn on_error(
        &mut self,
        topic_partition: &TopicPartition,
        version: Version,
        error: ClientError,
    ) {
        if let Some(state) = self.current(topic_partition, version) {
            state.error = Some(error);
        }
    }

    /// When the next partition that was put off is due.
    pub(crate) fn wakeup(&self, now: Instant) -> Option<Instant> {
        self.states.values().filter_map(|state| state.not_before).filter(|at| *at > now).min()
    }

    /// The topics of all assigned partitions.
    pub(crate) fn topics(&self) -> BTreeSet<String> {
        self.states.keys().map(|each| each.topic.clone()).collect()
    }

    fn current(&mut self, topic_partition: &TopicPartition, version: Version) -> Option<&mut PartitionState> {
        self.states.get_mut(topic_partition).filter(|state| state.version == version)
    }
}

/// Why a place is not known yet.
#[derive(Debug)]
pub(crate) enum LookupFailed {
    For(ClientError),
    Until(Instant),
}

impl PartitionState {
    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| now >= not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ConsumerRecord;

    fn partition() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    fn chunk(offsets: std::ops::Range<i64>) -> Chunk {
        let record = |offset| ConsumerRecord {
            offset,
            timestamp_ms: 0,
            key: None,
            value: None,
            headers: Vec::new(),
            leader_epoch: 2,
        };
        Chunk { next_offset: offsets.end, records: offsets.map(record).collect(), leader_epoch: 2 }
    }

    fn assigned(offset: i64) -> (Partitions, Version) {
        let mut partitions = Partitions::default();
        partitions.assign([(partition(), Place::from_offset(offset).unwrap())]);
        let version = partitions.states[&partition()].version;
        (partitions, version)
    }

    fn uncommitted(partitions: &Partitions) -> Vec<(i64, i32)> {
        let uncommitted = partitions.uncommitted().into_iter();
        uncommitted.map(|(_, committed)| (committed.offset, committed.leader_epoch)).collect()
    }

    #[test]
    fn the_position_moves_only_when_records_are_handed_out() {
        let (mut partitions, version) = assigned(5);
        assert!(partitions.on_fetched(&partition(), version, chunk(5..8), 10));
        assert_eq!(uncommitted(&partitions), [(5, -1)]);
        let taken = partitions.take().unwrap();
        assert_eq!((taken[0].records.len(), taken[0].next_offset, taken[0].high_watermark), (3, 8, 10));
        assert!(partitions.take_passed().is_empty());
        assert_eq!(uncommitted(&partitions), [(8, 2)]);
        partitions.on_committed(&partition(), 8);
        assert_eq!(uncommitted(&partitions), []);
    }

    #[test]
    fn what_was_fetched_before_a_seek_is_dropped() {
        let (mut partitions, version) = assigned(5);
        partitions.on_fetched(&partition(), version, chunk(5..8), 10);
        assert!(partitions.seek(&partition(), Place::from_offset(2).unwrap()));
        assert!(!partitions.on_fetched(&partition(), version, chunk(5..8), 10));
        assert_eq!(partitions.take().unwrap().len(), 0);
        assert!(matches!(partitions.position(&partition()), Some(Ok(Some(2)))));
    }

    #[test]
    fn a_paused_partition_keeps_what_was_read_ahead() {
        let (mut partitions, version) = assigned(5);
        partitions.on_fetched(&partition(), version, chunk(5..8), 10);
        partitions.set_paused(&partition(), true);
        assert_eq!(partitions.take().unwrap().len(), 0);
        assert_eq!(partitions.fetchable(Instant::now()).count(), 0);
        partitions.set_paused(&partition(), false);
        assert_eq!(partitions.take().unwrap().len(), 1);
    }

    #[test]
    fn a_place_is_looked_up_once_and_again_after_a_pause() {
        let (mut partitions, version) = assigned(OFFSET_EARLIEST);
        let now = Instant::now();
        assert_eq!(partitions.start_lookups(now).len(), 1);
        assert_eq!(partitions.start_lookups(now).len(), 0);
        let later = now + std::time::Duration::from_secs(1);
        partitions.on_looked_up(&partition(), version, Err(LookupFailed::Until(later)));
        assert_eq!(partitions.start_lookups(now).len(), 0);
        assert_eq!(partitions.wakeup(now), Some(later));
        assert_eq!(partitions.start_lookups(later).len(), 1);
        partitions.on_looked_up(&partition(), version, Ok(Place::Offset { offset: 3, leader_epoch: 0 }));
        assert_eq!(partitions.fetchable(later).next().map(|(each, _)| each.offset), Some(3));
    }

    #[test]
    fn records_that_are_not_for_consumers_move_the_position_at_once() {
        let (mut partitions, version) = assigned(5);
        let skipped = Chunk { records: Vec::new(), next_offset: 6, leader_epoch: 2 };
        assert!(!partitions.on_fetched(&partition(), version, skipped, 6));
        assert!(matches!(partitions.position(&partition()), Some(Ok(Some(6)))));
        assert!(partitions.take().unwrap().is_empty());
        let passed = partitions.take_passed();
        assert_eq!((passed[0].records.len(), passed[0].next_offset, passed[0].high_watermark), (0, 6, 6));
        assert!(partitions.take_passed().is_empty(), "it is told once");
    }

    #[test]
    fn a_position_is_told_when_it_was_found_and_not_when_the_caller_gave_it() {
        let (mut partitions, _) = assigned(5);
        assert!(partitions.take_passed().is_empty());
        let (mut partitions, version) = assigned(OFFSET_EARLIEST);
        assert!(partitions.take_passed().is_empty());
        partitions.on_looked_up(&partition(), version, Ok(Place::Offset { offset: 3, leader_epoch: 0 }));
        let passed = partitions.take_passed();
        assert_eq!((passed[0].next_offset, passed[0].high_watermark), (3, -1));
    }

    #[test]
    fn an_error_is_told_once_and_before_any_records() {
        let (mut partitions, version) = assigned(5);
        partitions.on_error(&partition(), version, ClientError::Closed("consumer"));
        assert!(partitions.take().is_err());
        assert!(partitions.take().is_ok());
    }
}
