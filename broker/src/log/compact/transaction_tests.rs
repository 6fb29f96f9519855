//! Compaction of transactions against a model: whoever reads what is committed finds the same last values as before, and
//! in time nothing is left of what was aborted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ottla_protocol::records::{Batch, BatchBuilder, BatchOptions, Batches};
use proptest::prelude::*;

use super::super::{Checked, Known};
use super::*;
use crate::ids::{LeaderEpoch, Producer};

const PRODUCERS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Write(u8, Option<u8>),
    /// In the transaction of one of the producers.
    WriteWithin(usize, u8, Option<u8>),
    End(usize, bool),
    /// After so many milliseconds more.
    Compact(i64),
    OpenAgain {
        after_a_crash: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (key, value) = (|| 0u8..6, || proptest::option::weighted(0.8, any::<u8>()));
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Step::Write(key, value)),
        6 => (0..PRODUCERS, key(), value()).prop_map(|(producer, key, value)| Step::WriteWithin(producer, key, value)),
        4 => (0..PRODUCERS, any::<bool>()).prop_map(|(producer, commit)| Step::End(producer, commit)),
        1 => (0i64..150).prop_map(Step::Compact),
        1 => any::<bool>().prop_map(|after_a_crash| Step::OpenAgain { after_a_crash }),
    ]
}

struct World<'a> {
    dir: &'a Path,
    log: Option<PartitionLog>,
    cleaned_to: Offset,
    now_ms: i64,
    producers: Vec<Writer>,
    aborted: BTreeSet<i64>,
}

#[derive(Default)]
struct Writer {
    epoch: i16,
    sequence: i32,
    /// Offsets of the records of its open transaction.
    open: Vec<i64>,
}

/// A record as a reader gets it.
type Seen = (i64, Option<u8>);

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 400,
        compacted: true,
        deleted: false,
        delete_retention_ms: 100,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    }
}

impl World<'_> {
    fn new(dir: &Path) -> World<'_> {
        let log = Some(PartitionLog::open(dir, config(), None).unwrap());
        let producers = (0..PRODUCERS).map(|_| Writer::default()).collect();
        World { dir, log, cleaned_to: Offset::ZERO, now_ms: 1000, producers, aborted: BTreeSet::new() }
    }

    fn log(&self) -> &PartitionLog {
        self.log.as_ref().unwrap()
    }

    fn append(&mut self, batch: Checked) -> i64 {
        let log = self.log.as_mut().unwrap();
        log.append(&[batch], LeaderEpoch(0)).remove(0).unwrap().base_offset.0
    }

    fn write(&mut self, key: u8, value: Option<u8>, options: BatchOptions) -> i64 {
        let mut builder = BatchBuilder::default();
        let value = value.map(|value| vec![value; 20]);
        builder.push(0, Some(&[key]), value.as_deref(), &[]);
        let batch = self.log().config.check(&builder.build(options), 0).unwrap();
        self.append(batch)
    }

    fn write_within(&mut self, producer: usize, key: u8, value: Option<u8>) {
        let writer = &mut self.producers[producer];
        let options = BatchOptions {
            producer_id: producer as i64,
            producer_epoch: writer.epoch,
            base_sequence: writer.sequence,
            transactional: true,
            ..BatchOptions::default()
        };
        writer.sequence += 1;
        let offset = self.write(key, value, options);
        self.producers[producer].open.push(offset);
    }

    /// The last producer speaks version 2: its markers begin the next epoch.
    fn end(&mut self, producer: usize, commit: bool) {
        let writer = &mut self.producers[producer];
        if producer == PRODUCERS - 1 {
            (writer.epoch, writer.sequence) = (writer.epoch + 1, 0);
        }
        let ended = std::mem::take(&mut writer.open);
        let by = Producer { id: producer as i64, epoch: writer.epoch };
        if !commit {
            self.aborted.extend(ended);
        }
        self.append(Checked::marker(EndTxnMarker { commit, coordinator_epoch: 0 }, by, 0).unwrap());
    }

    fn compact(&mut self) {
        let round = self.log().compaction(self.cleaned_to, self.log().log_end(), self.now_ms);
        if let Some(round) = round {
            self.cleaned_to = round.run(|| Ok(())).unwrap();
        }
    }

    fn open_again(&mut self, after_a_crash: bool) {
        let mut log = self.log.take().unwrap();
        let trusted_to = after_a_crash.then_some(self.cleaned_to);
        if !after_a_crash {
            log.close().unwrap();
        }
        drop(log);
        let known = Known { trusted_to, cleaned_to: self.cleaned_to, ..Known::default() };
        self.log = Some(PartitionLog::open(self.dir, config(), known).unwrap());
    }

    fn batches(&self, from: Offset) -> Vec<Batch> {
        let (reader, end) = (self.log().reader(), self.log().log_end());
        let (mut next, mut batches) = (from.max(reader.log_start()), Vec::new());
        while next < end {
            let bytes = reader.read(next, end, 300, true).unwrap();
            if bytes.is_empty() {
                break;
            }
            batches.extend(Batches::new(bytes).map(Result::unwrap));
            next = batches.last().map_or(end, |batch| Offset(batch.header.next_offset()));
        }
        batches
    }

    /// The last record of each key from an offset on, as a consumer of what is committed finds it.
    fn last_values(&self, from: Offset) -> BTreeMap<u8, Seen> {
        let end = self.log().log_end();
        let stable = self.log().first_unstable(end).unwrap_or(end);
        let mut aborted = self.log().reader().aborted_within(from, end).into_iter().peekable();
        let (mut left_out, mut found) = (BTreeSet::new(), BTreeMap::new());
        for batch in self.batches(from) {
            let header = batch.header;
            if header.base_offset >= stable.0 {
                break;
            }
            while let Some(entry) = aborted.next_if(|entry| entry.first_offset.0 <= header.last_offset()) {
                left_out.insert(entry.producer_id);
            }
            if header.is_control() {
                if EndTxnMarker::from_batch(&batch).is_some_and(|marker| !marker.commit) {
                    left_out.remove(&header.producer_id);
                }
                continue;
            }
            if header.is_transactional() && left_out.contains(&header.producer_id) {
                continue;
            }
            for record in batch.records(1 << 20).unwrap().map(Result::unwrap) {
                if record.offset >= from.0 {
                    let value = record.value.map(|value| value[0]);
                    found.insert(record.key.unwrap()[0], (record.offset, value));
                }
            }
        }
        found
    }

    /// Makes a step that must change nothing for readers.
    fn quietly(&mut self, step: impl FnOnce(&mut Self)) -> Result<(), TestCaseError> {
        let middle = Offset(self.log().log_end().0 / 2);
        let before = [Offset::ZERO, middle].map(|from| self.last_values(from));
        step(self);
        let after = [Offset::ZERO, middle].map(|from| self.last_values(from));
        for (before, after) in before.iter().zip(&after) {
            for (key, seen) in before {
                // Only a tombstone may go.
                let may_be_gone = seen.1.is_none() && !after.contains_key(key);
                prop_assert!(
                    may_be_gone || after.get(key) == Some(seen),
                    "{key}: {seen:?} {:?}",
                    after.get(key)
                );
            }
            prop_assert!(after.keys().all(|key| before.contains_key(key)), "{before:?} {after:?}");
        }
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Write(key, value) => {
                self.write(*key, *value, BatchOptions::default());
            }
            Step::WriteWithin(producer, key, value) => self.write_within(*producer, *key, *value),
            Step::End(producer, commit) => self.end(*producer, *commit),
            Step::Compact(later_ms) => {
                self.now_ms += later_ms;
                self.quietly(World::compact)?;
            }
            Step::OpenAgain { after_a_crash } => self.quietly(|world| world.open_again(*after_a_crash))?,
        }
        Ok(())
    }

    /// Nothing of an aborted transaction, and no marker that says nothing, but for the last that is known of a producer.
    fn check_clean(&self) -> Result<(), TestCaseError> {
        let closed_to = self.log().active().base_offset;
        let mut with_records = BTreeSet::new();
        let mut markers = BTreeSet::new();
        for batch in self.batches(Offset::ZERO) {
            let header = batch.header;
            if header.base_offset >= closed_to.0 {
                break;
            }
            if header.is_control() {
                let tells_epoch = self
                    .log()
                    .producers
                    .marked_epochs()
                    .any(|(id, epoch)| id == header.producer_id && epoch == header.producer_epoch);
                let had_records = with_records.remove(&header.producer_id);
                prop_assert!(had_records || tells_epoch, "the marker at {} is left over", header.base_offset);
                markers.insert(header.base_offset);
                continue;
            }
            if header.is_transactional() {
                with_records.insert(header.producer_id);
            }
            for record in batch.records(1 << 20).unwrap().map(Result::unwrap) {
                prop_assert!(!self.aborted.contains(&record.offset), "{} was aborted", record.offset);
            }
        }
        for entry in self.log().reader().aborted_within(Offset::ZERO, closed_to) {
            let is_known = entry.last_offset >= closed_to || markers.contains(&entry.last_offset.0);
            prop_assert!(is_known, "{entry:?} has no marker");
        }
        Ok(())
    }
}

proptest! {
    // Each syncs many files.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn readers_of_what_is_committed_find_the_same_and_nothing_aborted_stays(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::new(dir.path());
        for step in &steps {
            world.take(step)?;
        }
        (0..PRODUCERS).for_each(|producer| world.end(producer, false));
        for _ in 0..4 {
            // So that there is something to do, and what was there lies in closed segments.
            for value in 0..12 {
                world.write(7, Some(value), BatchOptions::default());
            }
            world.now_ms += 1000;
            world.quietly(World::compact)?;
        }
        world.quietly(|world| world.open_again(false))?;
        world.check_clean()?;
    }
}
