//! How far a source is safely written, and which of its records are already there. Pure: no cluster, clock or task.
//!
//! ```text
//!   positions of a source partition:
//!      committed P          acknowledged                    read
//!   ───────┴──── a ─── b ─────┴────── c ────── d ─────────────┴──►
//!                             ^ next commit: the longest run of batches all of whose records are acknowledged
//! ```
//! After a crash the source is read again from P. What was written beyond P is still in the topics, behind the ends
//! stored with P; its positions (in headers) are given to [`SourceLedger::recover`] and skipped when they come again. A
//! set of positions, rather than the highest one per partition, stays exact when partitions have been added meanwhile.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::connector::SourceOffset;
use crate::worker::offsets::{SourceCommit, TopicEnds};

/// One batch of the source on its way.
struct Unit {
    resume: SourceOffset,
    /// Writes that are not acknowledged yet.
    open: usize,
    /// Per topic and partition, the offset after this unit's records.
    ends: BTreeMap<(String, i32), i64>,
}

/// Names a unit until it is committed; they grow by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnitId(u64);

/// The books of one source partition.
pub(crate) struct SourceLedger {
    committed: SourceCommit,
    /// Positions beyond the committed one that are in a topic already.
    written: HashSet<u64>,
    units: VecDeque<Unit>,
    first_unit: u64,
    /// `committed` is beyond what [`SourceLedger::next_commit`] last gave.
    is_ahead: bool,
}

impl SourceLedger {
    /// Starts from the last commit and the positions found behind its ends.
    pub(crate) fn recover(committed: SourceCommit, found: impl IntoIterator<Item = u64>) -> Self {
        let resume = committed.resume.as_ref().map_or(0, |resume| resume.position);
        // Position 0 is before every record, so nothing is lost by leaving out what is not beyond `resume`.
        let written = found.into_iter().filter(|position| *position > resume).collect();
        Self { committed, written, units: VecDeque::new(), first_unit: 0, is_ahead: false }
    }

    /// Whether the record at this position is in a topic already. Each is asked for once, so the set shrinks.
    pub(crate) fn take_written(&mut self, position: u64) -> bool {
        !self.written.is_empty() && self.written.remove(&position)
    }

    /// Notes a batch that was read; `writes` acknowledgements will come for it, each told by [`SourceLedger::acknowledged`].
    pub(crate) fn sent(&mut self, resume: SourceOffset, writes: usize) -> UnitId {
        let id = UnitId(self.first_unit + self.units.len() as u64);
        self.units.push_back(Unit { resume, open: writes, ends: BTreeMap::new() });
        self.settle();
        id
    }

    /// Notes that one write of a unit is acknowledged. `next_offset`: the offset after its records, at least; `None`
    /// when the cluster cannot tell.
    pub(crate) fn acknowledged(
        &mut self,
        unit: UnitId,
        topic: &str,
        partition: i32,
        next_offset: Option<i64>,
    ) {
        let index = unit.0.checked_sub(self.first_unit).and_then(|index| usize::try_from(index).ok());
        if let Some(unit) = index.and_then(|index| self.units.get_mut(index)) {
            unit.open = unit.open.saturating_sub(1);
            if let Some(next_offset) = next_offset {
                unit.ends.insert((topic.to_owned(), partition), next_offset);
            }
        }
        self.settle();
    }

    /// Units that are not wholly acknowledged, or wait behind one that is not.
    pub(crate) fn units_open(&self) -> usize {
        self.units.len()
    }

    /// Up to where everything is acknowledged.
    pub(crate) fn position(&self) -> Option<u64> {
        self.committed.resume.as_ref().map(|resume| resume.position)
    }

    /// The commit that may be written now, if it is beyond the last one.
    pub(crate) fn next_commit(&mut self) -> Option<SourceCommit> {
        std::mem::take(&mut self.is_ahead).then(|| self.committed.clone())
    }

    /// Moves the commit past the units at the front that are wholly acknowledged.
    fn settle(&mut self) {
        while let Some(unit) = self.units.pop_front_if(|unit| unit.open == 0) {
            self.first_unit += 1;
            self.is_ahead = true;
            for ((topic, partition), next_offset) in unit.ends {
                let ends = &mut self.committed.topics.entry(topic).or_default().ends;
                let end = ends.entry(partition).or_insert(next_offset);
                *end = (*end).max(next_offset);
            }
            self.committed.resume = Some(unit.resume);
        }
    }
}

/// What of a stored commit still holds, given the ids of the topics as they are now.
///
/// A topic that was made anew is empty of what was written before. If that is the task's own topic the source starts
/// over, since its records are gone; if it is only the dead-letter topic, its tail is read from the beginning.
pub(crate) fn still_valid(
    stored: Option<SourceCommit>,
    topic: &str,
    ids: &BTreeMap<String, String>,
) -> Option<SourceCommit> {
    let mut commit = stored?;
    if commit.topics.get(topic).map(|ends| &ends.topic_id) != ids.get(topic) {
        return None;
    }
    commit.topics.retain(|name, _| ids.contains_key(name));
    for (name, id) in ids {
        let ends = commit.topics.entry(name.clone()).or_default();
        if ends.topic_id != *id {
            *ends = TopicEnds { topic_id: id.clone(), ends: BTreeMap::new() };
        }
    }
    Some(commit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Map;

    fn offset(position: u64) -> SourceOffset {
        SourceOffset { position, state: Map::new() }
    }

    fn empty() -> SourceCommit {
        SourceCommit { resume: None, topics: BTreeMap::new() }
    }

    fn position(commit: &SourceCommit) -> u64 {
        commit.resume.as_ref().map_or(0, |resume| resume.position)
    }

    #[test]
    fn commits_only_up_to_the_first_batch_that_is_not_acknowledged() {
        let mut ledger = SourceLedger::recover(empty(), []);
        let first = ledger.sent(offset(10), 2);
        let second = ledger.sent(offset(20), 1);
        ledger.acknowledged(second, "t", 0, Some(7));
        ledger.acknowledged(first, "t", 0, Some(5));
        assert_eq!(ledger.next_commit(), None);
        ledger.acknowledged(first, "t", 1, Some(3));
        let commit = ledger.next_commit().unwrap();
        assert_eq!(position(&commit), 20);
        assert_eq!(commit.topics["t"].ends, [(0, 7), (1, 3)].into());
        assert_eq!(ledger.next_commit(), None);
    }

    #[test]
    fn a_batch_of_which_nothing_is_written_still_moves_the_commit() {
        let mut ledger = SourceLedger::recover(empty(), []);
        ledger.sent(offset(10), 0);
        assert_eq!(position(&ledger.next_commit().unwrap()), 10);
    }

    #[test]
    fn an_end_that_nobody_knows_does_not_move() {
        let mut ledger = SourceLedger::recover(empty(), []);
        for (resume, end) in [(10, Some(4)), (20, None)] {
            let unit = ledger.sent(offset(resume), 1);
            ledger.acknowledged(unit, "t", 0, end);
        }
        assert_eq!(ledger.next_commit().unwrap().topics["t"].ends, [(0, 4)].into());
    }

    #[test]
    fn a_topic_made_anew_starts_the_source_over_and_a_dead_letter_topic_does_not() {
        let ends = |id: &str| TopicEnds { topic_id: id.to_owned(), ends: [(0, 9)].into() };
        let stored = SourceCommit {
            resume: Some(offset(5)),
            topics: [("t".to_owned(), ends("t1")), ("dlq".to_owned(), ends("d1"))].into(),
        };
        let ids =
            |t: &str, dlq: &str| [("t".to_owned(), t.to_owned()), ("dlq".to_owned(), dlq.to_owned())].into();
        assert_eq!(still_valid(Some(stored.clone()), "t", &ids("t1", "d1")), Some(stored.clone()));
        assert_eq!(still_valid(Some(stored.clone()), "t", &ids("t2", "d1")), None);
        let kept = still_valid(Some(stored), "t", &ids("t1", "d2")).unwrap();
        assert_eq!(kept.topics["dlq"], TopicEnds { topic_id: "d2".to_owned(), ends: BTreeMap::new() });
        assert_eq!(position(&kept), 5);
    }

    /// A cluster as the ledger sees it: partitions in which our records and others' stand in order.
    #[derive(Default)]
    struct World {
        partitions: Vec<Vec<Option<u64>>>,
        stored: Option<SourceCommit>,
    }

    impl World {
        /// What a restart finds behind the stored ends.
        fn tail(&self) -> Vec<u64> {
            let ends = self.stored.as_ref().and_then(|stored| stored.topics.get("t"));
            let mut found = Vec::new();
            for (partition, records) in (0_i32..).zip(&self.partitions) {
                let end = ends.and_then(|ends| ends.ends.get(&partition)).copied().unwrap_or(0);
                found.extend(records.iter().skip(usize::try_from(end).unwrap()).flatten().copied());
            }
            found
        }

        /// One run of a source of `total` records that is killed after `steps` steps, or ends by itself.
        ///
        /// `dice` chooses each step among: read a batch, let the oldest write of some partition be appended, tell the ledger of an
        /// append (in any order), let someone else write, commit. Writes of one partition are appended in order, as an
        /// idempotent producer does; a kill loses what is not appended and what was not told.
        fn run(&mut self, total: u64, mut steps: usize, dice: &mut impl FnMut(usize) -> usize) -> bool {
            let stored = self.stored.clone().unwrap_or_else(empty);
            let mut next = position(&stored) + 1;
            let mut ledger = SourceLedger::recover(stored, self.tail());
            let mut queues: Vec<VecDeque<(UnitId, Vec<u64>)>> = vec![VecDeque::new(); self.partitions.len()];
            let mut appended: Vec<(UnitId, usize, i64)> = Vec::new();
            loop {
                if steps == 0 {
                    return false;
                }
                steps -= 1;
                match dice(5) {
                    0 if next <= total => {
                        let last = (next + dice(4) as u64).min(total);
                        let mut writes: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
                        for position in next..=last {
                            if !ledger.take_written(position) {
                                let partition =
                                    usize::try_from(position * 7 % 5).unwrap() % self.partitions.len();
                                writes.entry(partition).or_default().push(position);
                            }
                        }
                        let unit = ledger.sent(offset(last), writes.len());
                        for (partition, positions) in writes {
                            queues[partition].push_back((unit, positions));
                        }
                        next = last + 1;
                    }
                    1 => {
                        let partition = dice(queues.len());
                        if let Some((unit, positions)) = queues[partition].pop_front() {
                            self.partitions[partition].extend(positions.into_iter().map(Some));
                            let end = i64::try_from(self.partitions[partition].len()).unwrap();
                            appended.push((unit, partition, end));
                        }
                    }
                    2 if !appended.is_empty() => {
                        let (unit, partition, end) = appended.swap_remove(dice(appended.len()));
                        let end = (dice(4) > 0).then_some(end);
                        ledger.acknowledged(unit, "t", i32::try_from(partition).unwrap(), end);
                    }
                    3 => {
                        let partition = dice(self.partitions.len());
                        self.partitions[partition].push(None);
                    }
                    _ => {
                        if let Some(commit) = ledger.next_commit() {
                            self.stored = Some(commit);
                        }
                        if position(self.stored.as_ref().unwrap_or(&empty())) == total {
                            return true;
                        }
                    }
                }
            }
        }
    }

    proptest! {
        /// The promise of the whole scheme: wherever it is killed and however often, each record is there once, in order.
        #[test]
        fn every_record_is_written_once_wherever_the_task_is_killed(
            seed: u64,
            total in 1_u64..40,
            kills in proptest::collection::vec(0_usize..120, 0..6),
            partitions in 1_usize..4,
        ) {
            let mut state = seed;
            let mut dice = move |sides: usize| {
                // SplitMix64: small, and the seed is printed by proptest.
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
            };
            let mut world = World { partitions: vec![Vec::new(); partitions], stored: None };
            for steps in kills {
                world.run(total, steps, &mut dice);
            }
            prop_assert!(world.run(total, usize::MAX, &mut dice));
            let mut all: Vec<u64> = Vec::new();
            for records in &world.partitions {
                let ours: Vec<u64> = records.iter().flatten().copied().collect();
                prop_assert!(ours.is_sorted(), "{:?}", ours);
                all.extend(ours);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (1..=total).collect::<Vec<_>>());
        }
    }
}
