//! Compaction against a model, and what it must leave alone.

use std::collections::BTreeMap;
use std::path::Path;

use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches, EndTxnMarker};
use proptest::prelude::*;

use super::super::{Checked, Known};
use super::*;
use crate::ids::{LeaderEpoch, Producer};

type Record = (i64, u8, Option<u8>);

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

fn open(dir: &Path, known: impl Into<Known>) -> PartitionLog {
    PartitionLog::open(dir, config(), known).unwrap()
}

fn append(log: &mut PartitionLog, records: &[(u8, Option<u8>)], producer: Option<i32>) {
    let mut builder = BatchBuilder::default();
    for (key, value) in records {
        let value = value.map(|value| vec![value; 20]);
        builder.push(0, Some(&[*key]), value.as_deref(), &[]);
    }
    let options = match producer {
        None => BatchOptions::default(),
        Some(base_sequence) => {
            BatchOptions { producer_id: 7, producer_epoch: 0, base_sequence, ..BatchOptions::default() }
        }
    };
    let batch = log.config.check(&builder.build(options), 0).unwrap();
    log.append(&[batch], LeaderEpoch(0)).remove(0).unwrap();
}

fn records(log: &PartitionLog) -> Vec<Record> {
    let reader = log.reader();
    let (mut next, end) = (reader.log_start(), reader.log_end());
    let mut records = Vec::new();
    while next < end {
        let bytes = reader.read(next, end, 300, true).unwrap();
        if bytes.is_empty() {
            break;
        }
        for batch in Batches::new(bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let value = record.value.map(|value| value[0]);
                records.push((record.offset, record.key.unwrap()[0], value));
            }
            next = Offset(batch.header.next_offset());
        }
    }
    records
}

fn compact(log: &PartitionLog, cleaned_to: Offset, now_ms: i64, keys_max: usize) -> Option<Offset> {
    let mut round = log.compaction(cleaned_to, log.log_end(), now_ms)?;
    round.keys_max = keys_max;
    Some(round.run(|| Ok(())).unwrap())
}

/// What must be there, and what may be there besides: superseded records of the open segment.
fn check(before: &[Record], after: &[Record], open_from: i64, tombstones_may_go: bool) -> Result<(), String> {
    let last: BTreeMap<u8, &Record> = before.iter().map(|record| (record.1, record)).collect();
    for (key, record) in &last {
        let may_go = tombstones_may_go && record.2.is_none();
        if !may_go && !after.contains(record) {
            return Err(format!("the last record of key {key} is gone"));
        }
    }
    let last_closed: BTreeMap<u8, i64> =
        before.iter().filter(|record| record.0 < open_from).map(|record| (record.1, record.0)).collect();
    for record in after {
        if !before.contains(record) {
            return Err(format!("{record:?} was never written"));
        }
        if record.0 < open_from && last_closed.get(&record.1) != Some(&record.0) {
            return Err(format!("{record:?} is superseded"));
        }
    }
    let in_order = after.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if in_order { Ok(()) } else { Err("out of order".to_owned()) }
}

fn open_from(log: &PartitionLog) -> i64 {
    log.active().base_offset.0
}

proptest! {
    #[test]
    fn the_last_value_of_every_key_stays_and_superseded_ones_go(
        history in proptest::collection::vec(
            proptest::collection::vec((0u8..6, proptest::option::weighted(0.8, any::<u8>())), 1..4), 1..60
        ),
        more in proptest::collection::vec((0u8..6, proptest::option::weighted(0.8, any::<u8>())), 1..40),
        crash: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), None);
        history.iter().for_each(|records| append(&mut log, records, None));
        let before = records(&log);
        let cleaned_to = compact(&log, Offset(0), 1000, KEYS_MAX);
        let after = records(&log);
        if cleaned_to.is_some() {
            check(&before, &after, open_from(&log), false).map_err(TestCaseError::fail)?;
        }
        // Opened again, cleanly or after a crash, it is the same; and a second round takes what came since.
        let cleaned_to = cleaned_to.unwrap_or_default();
        let trusted_to = crash.then_some(cleaned_to);
        if !crash {
            log.close().unwrap();
        }
        drop(log);
        let mut log = open(dir.path(), Known { trusted_to, cleaned_to, ..Known::default() });
        prop_assert_eq!(records(&log), after.clone());
        more.iter().for_each(|record| append(&mut log, &[*record], None));
        let before = records(&log);
        if compact(&log, cleaned_to, 2000, KEYS_MAX).is_some() {
            check(&before, &records(&log), open_from(&log), true).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn rounds_of_few_keys_end_where_one_of_many_does(
        history in proptest::collection::vec((0u8..9, any::<u8>()), 20..120), keys_max in 1usize..5
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), None);
        for (key, value) in &history {
            append(&mut log, &[(*key, Some(*value))], None);
        }
        let before = records(&log);
        let mut cleaned_to = Offset(0);
        while let Some(next) = compact(&log, cleaned_to, 1000, keys_max) {
            prop_assert!(next > cleaned_to);
            cleaned_to = next;
        }
        check(&before, &records(&log), open_from(&log), false).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn a_tombstone_stays_until_its_horizon() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), None);
    append(&mut log, &[(1, Some(1))], None);
    append(&mut log, &[(1, None)], None);
    (0..20).for_each(|value| append(&mut log, &[(2, Some(value))], None));
    let tombstones = |log: &PartitionLog| records(log).iter().filter(|record| record.2.is_none()).count();
    let first = compact(&log, Offset(0), 1000, KEYS_MAX).unwrap();
    assert_eq!(tombstones(&log), 1);
    assert!(records(&log).iter().all(|record| record.0 != 0), "what it deletes is gone");
    let more = |log: &mut PartitionLog| (0..20).for_each(|value| append(log, &[(2, Some(value))], None));
    more(&mut log);
    let second = compact(&log, first, 1099, KEYS_MAX).unwrap();
    assert_eq!(tombstones(&log), 1);
    more(&mut log);
    compact(&log, second, 1100, KEYS_MAX).unwrap();
    assert_eq!(tombstones(&log), 0);
}

#[test]
fn the_last_batch_of_a_producer_stays_if_only_as_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), None);
    append(&mut log, &[(1, Some(1))], Some(0));
    append(&mut log, &[(1, Some(2))], Some(1));
    (0..20).for_each(|value| append(&mut log, &[(1, Some(value))], None));
    let cleaned_to = compact(&log, Offset(0), 1000, KEYS_MAX).unwrap();
    log.close().unwrap();
    drop(log);
    // Without the snapshot the producer is known from the log alone.
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "snapshot") {
            fs::remove_file(path).unwrap();
        }
    }
    let log = open(dir.path(), Known { cleaned_to, ..Known::default() });
    let last: Vec<Offset> = log.producers.last_offsets().collect();
    assert_eq!(last, [Offset(1)]);
}

#[test]
fn a_crash_at_any_moment_of_a_swap_leaves_a_whole_log() {
    let fill = |dir: &Path| {
        let mut log = open(dir, None);
        (0..40).for_each(|value| append(&mut log, &[(value % 3, Some(value))], None));
        log
    };
    // How the files look just before and just after the commit point of the first group.
    for committed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = fill(dir.path());
        let before = records(&log);
        let round = log.compaction(Offset(0), log.log_end(), 1000).unwrap();
        let mut transactions = Transactions::default();
        let (latest, gathered_to) = round.gather(&transactions).unwrap();
        let group = round.groups(gathered_to)[0];
        round.clean(group, &latest, gathered_to, &mut transactions).unwrap().unwrap();
        let base = group[0].base_offset;
        if committed {
            let cleaned = swap::cleaned_path(dir.path(), base);
            fs::rename(&cleaned, cleaned.with_extension("swap")).unwrap();
        }
        log.close().unwrap();
        let open_from = open_from(&log);
        drop((round, log));
        let log = open(dir.path(), Known { cleaned_to: gathered_to, ..Known::default() });
        let after = records(&log);
        if committed {
            assert!(after.len() < before.len());
            let first_group: Vec<Record> =
                after.iter().copied().filter(|record| record.0 >= open_from).collect();
            assert!(before.ends_with(&first_group));
        } else {
            assert_eq!(after, before);
        }
        let names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.iter().all(|name| !name.ends_with("swap") && !name.ends_with("cleaned")), "{names:?}");
    }
}

#[test]
fn a_round_waits_until_enough_is_dirty_or_too_old() {
    let segment = |end, bytes, ms| Candidate { end: Offset(end), bytes, first_ms: ms, newest_ms: ms };
    let segments = [segment(10, 100, 0), segment(20, 30, 500), segment(30, 30, 900)];
    let config = |ratio, min_lag, max_lag| LogConfig {
        min_cleanable_dirty_ratio: ratio,
        min_compaction_lag_ms: min_lag,
        max_compaction_lag_ms: max_lag,
        ..config()
    };
    let taken = |config: LogConfig, limit| worthwhile(&segments, Offset(10), Offset(limit), &config, 1000);
    assert_eq!(taken(config(0.3, 0, i64::MAX), 30), 3);
    assert_eq!(taken(config(0.3, 0, i64::MAX), 29), 0, "30 of 130 bytes are dirty");
    assert_eq!(taken(config(0.2, 0, i64::MAX), 29), 2);
    assert_eq!(taken(config(0.2, 200, i64::MAX), 30), 2, "the last is too young");
    assert_eq!(taken(config(0.9, 0, 400), 30), 3, "overdue");
    assert_eq!(taken(config(0.9, 0, 600), 30), 0);
}

#[test]
fn what_was_aborted_is_known_after_segments_were_merged_and_the_log_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), None);
    for transaction in 0..6 {
        let mut builder = BatchBuilder::default();
        builder.push(0, Some(&[transaction]), Some(&[1; 20]), &[]);
        let options = BatchOptions {
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: i32::from(transaction),
            transactional: true,
            ..BatchOptions::default()
        };
        let batch = log.config.check(&builder.build(options), 0).unwrap();
        let marker = EndTxnMarker { commit: transaction % 2 == 0, coordinator_epoch: 0 };
        let marker = Checked::marker(marker, Producer { id: 7, epoch: 0 }, 0).unwrap();
        for batch in [batch, marker] {
            log.append(&[batch], LeaderEpoch(0)).remove(0).unwrap();
        }
        // Superseded by the next, so that segments shrink and are merged.
        (0..4).for_each(|value| append(&mut log, &[(99, Some(value))], None));
    }
    let aborted = |log: &PartitionLog| log.reader().aborted_within(Offset::ZERO, log.log_end());
    let before = aborted(&log);
    assert_eq!(before.len(), 3);
    let segments = super::super::recover::tests_base_offsets(dir.path()).len();
    compact(&log, Offset::ZERO, 0, usize::MAX).unwrap();
    assert!(super::super::recover::tests_base_offsets(dir.path()).len() < segments);
    assert_eq!(aborted(&log), before);
    log.close().unwrap();
    drop(log);
    assert_eq!(aborted(&open(dir.path(), None)), before);
}
