//! The log as a whole: what was appended is read, before and after crashes of every kind.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches};
use proptest::prelude::*;

use super::*;
use crate::ids::LeaderEpoch;

const EPOCH: LeaderEpoch = LeaderEpoch(0);

fn batch(timestamp_ms: i64, values: &[&[u8]]) -> Bytes {
    sequenced(timestamp_ms, values, -1, -1)
}

pub(super) fn sequenced(timestamp_ms: i64, values: &[&[u8]], producer_id: i64, base_sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::default();
    for value in values {
        builder.push(timestamp_ms, Some(b"k"), Some(value), &[]);
    }
    let producer_epoch = if producer_id >= 0 { 0 } else { -1 };
    builder.build(BatchOptions { producer_id, producer_epoch, base_sequence, ..BatchOptions::default() })
}

pub(super) fn open(dir: &Path, trusted_to: Option<i64>) -> PartitionLog {
    PartitionLog::open(dir, small_segments(), trusted_to.map(Offset)).unwrap()
}

pub(super) fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 4096, ..LogConfig::default() }
}

/// Checks and appends, with one answer for each.
fn append_all(log: &mut PartitionLog, batches: &[Bytes], now_ms: i64) -> Vec<Result<AppendInfo, LogError>> {
    let checked: Vec<_> = batches.iter().map(|batch| log.config().check(batch, now_ms)).collect();
    let good: Vec<Checked> = checked.iter().flatten().cloned().collect();
    let mut appended = log.append(&good, EPOCH).into_iter();
    checked.into_iter().map(|checked| checked.and_then(|_| appended.next().unwrap())).collect()
}

pub(super) fn append(log: &mut PartitionLog, batch: Bytes) -> AppendInfo {
    append_all(log, &[batch], 0).remove(0).unwrap()
}

/// All values from an offset on, read in small fetches.
fn values(log: &PartitionLog, from: i64) -> Vec<(i64, Bytes)> {
    let reader = log.reader();
    let mut next = Offset(from);
    let mut values = Vec::new();
    while next < reader.log_end() {
        let bytes = reader.read(next, reader.log_end(), 300, true).unwrap();
        assert!(!bytes.is_empty(), "a read below the end must give something");
        for batch in Batches::new(bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                if record.offset >= next.0 {
                    values.push((record.offset, record.value.unwrap()));
                }
            }
            next = Offset(batch.header.next_offset());
        }
    }
    values
}

pub(super) fn filled(dir: &Path, batches: usize) -> PartitionLog {
    let mut log = open(dir, None);
    for i in 0..batches {
        let text = format!("value {i} {}", "x".repeat(i * 37 % 400));
        append(&mut log, sequenced(1000 + i as i64, &[text.as_bytes(), b"second"], 7, i as i32 * 2));
    }
    log
}

#[test]
fn reads_back_what_was_appended_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 100);
    let read = values(&log, 0);
    assert_eq!(read.len(), 200);
    assert!(read.iter().enumerate().all(|(i, (offset, _))| *offset == i as i64));
    assert_eq!(values(&log, 131).first().map(|(offset, _)| *offset), Some(131));
    assert!(fs::read_dir(dir.path()).unwrap().count() > 10, "segments were rolled");
}

#[test]
fn a_read_stops_below_the_bound_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 10);
    let bytes = log.reader().read(Offset(0), Offset(6), 1 << 20, true).unwrap();
    let last = Batches::new(bytes).last().unwrap().unwrap();
    assert_eq!(last.header.next_offset(), 6);
    assert!(log.reader().read(Offset(6), Offset(6), 1 << 20, true).unwrap().is_empty());
    let error = log.reader().read(Offset(21), Offset(20), 1, true).unwrap_err();
    assert!(matches!(error, ReadError::OutOfRange { end: Offset(20), .. }));
}

#[test]
fn finds_records_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 100);
    let reader = log.reader();
    let at = |timestamp| reader.offset_for_time(timestamp, reader.log_end()).unwrap();
    assert_eq!(at(0).unwrap().offset, Offset(0));
    for i in [1, 50, 99] {
        assert_eq!(at(1000 + i).unwrap().offset, Offset(i * 2));
    }
    assert_eq!(at(1100), None);
    assert_eq!(reader.max_timestamp(reader.log_end()).unwrap().unwrap().offset, Offset(198));
}

#[test]
fn a_clean_close_is_trusted_and_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let mut log = filled(dir.path(), 60);
        log.close().unwrap();
        values(&log, 0)
    };
    let mut log = open(dir.path(), None);
    assert_eq!(values(&log, 0), before);
    let again = append(&mut log, sequenced(5, &[b"late", b"second"], 7, 118));
    assert!(again.duplicate, "the snapshot remembers the last batch of each producer");
    assert_eq!(append(&mut log, sequenced(5, &[b"new"], 7, 120)).base_offset, Offset(120));
}

#[test]
fn missing_and_damaged_indexes_are_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let mut log = filled(dir.path(), 60);
        log.close().unwrap();
        values(&log, 0)
    };
    for (i, entry) in fs::read_dir(dir.path()).unwrap().enumerate() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("index") if i % 2 == 0 => fs::remove_file(path).unwrap(),
            Some("index" | "timeindex" | "snapshot") => fs::write(path, b"\xff\xff nonsense").unwrap(),
            _ => {}
        }
    }
    for trusted_to in [None, Some(0), Some(50)] {
        assert_eq!(values(&open(dir.path(), trusted_to), 0), before);
    }
}

#[test]
fn a_refused_batch_does_not_keep_the_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), None);
    let mut damaged = batch(1, &[b"damaged"]).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let two = [batch(1, &[b"a"]), batch(1, &[b"b"])].concat();
    let answers = append_all(
        &mut log,
        &[batch(1, &[b"first"]), Bytes::from(damaged), Bytes::from(two), batch(1, &[b"second"])],
        0,
    );
    let offsets: Vec<Option<i64>> =
        answers.iter().map(|answer| answer.as_ref().ok().map(|info| info.base_offset.0)).collect();
    assert_eq!(offsets, [Some(0), None, None, Some(1)]);
}

#[test]
fn log_append_time_is_stamped_and_the_crc_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { log_append_time: true, ..LogConfig::default() };
    let mut log = PartitionLog::open(dir.path(), config, None).unwrap();
    let info = append_all(&mut log, &[batch(1, &[b"v"])], 777).remove(0).unwrap();
    assert_eq!(info.log_append_time_ms, Some(777));
    let bytes = log.reader().read(Offset(0), Offset(1), 1024, true).unwrap();
    let stored = Batches::new(bytes).next().unwrap().unwrap();
    stored.check_crc().unwrap();
    assert_eq!(stored.records(1024).unwrap().next().unwrap().unwrap().timestamp_ms, 777);
}

#[test]
fn a_deleted_log_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(&dir.path().join("t-0"), 5);
    log.delete().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_was_written_before_a_roll_failed_stays_and_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), None);
    let large = |sequence| sequenced(1, &[&[7; 3000]], 7, sequence);
    let in_the_way = dir.path().join("00000000000000000001.log");
    fs::create_dir(&in_the_way).unwrap();
    let answers = append_all(&mut log, &[large(0), large(1), large(2)], 0);
    assert_eq!(answers[0].as_ref().unwrap().base_offset, Offset(0));
    assert!(matches!(answers[1], Err(LogError::Io { .. })), "{:?}", answers[1]);
    assert!(answers[2].is_err() && answers.len() == 3, "every batch has an answer");
    assert!(append(&mut log, large(0)).duplicate, "a retry must not write it a second time");
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(append(&mut log, large(1)).base_offset, Offset(1));
    assert_eq!(values(&log, 0).len(), 2);
}

#[test]
fn a_second_copy_of_a_batch_that_was_not_written_is_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), None);
    let in_the_way = dir.path().join("leader-epoch-checkpoint.tmp");
    fs::create_dir(&in_the_way).unwrap();
    let first = || sequenced(1, &[b"a", b"b"], 7, 0);
    let answers = append_all(&mut log, &[first(), first()], 0);
    assert!(answers.iter().all(|answer| matches!(answer, Err(LogError::Io { .. }))), "{answers:?}");
    fs::remove_dir(&in_the_way).unwrap();
    let info = append(&mut log, first());
    assert!(!info.duplicate && info.base_offset == Offset(0));
    assert_eq!(log.leader_epochs(), &LeaderEpochs::load(dir.path()), "the epoch is on disk");
    assert_eq!(values(&log, 0).len(), 2);
}

/// A leader that took an end with records of its own epoch for the end of an older one would believe a follower that has others there.
#[test]
fn readers_know_the_epoch_of_every_record_below_the_end_they_saw_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), None);
    let reader = log.reader();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                let end = reader.log_end();
                let newest = reader.leader_epochs().latest().map_or(-1, |epoch| epoch.0);
                assert!(i64::from(newest) >= end.0 - 1, "the epoch {newest} of a log that ends at {end}");
            }
        });
        for epoch in 0..200 {
            // The record at each offset is the first of an epoch.
            let checked = log.config().check(&batch(1, &[b"v"]), 0).unwrap();
            log.append(&[checked], LeaderEpoch(epoch)).remove(0).unwrap();
        }
        is_over.store(true, Ordering::Release);
    });
    assert_eq!(
        reader.leader_epochs().end_offset(LeaderEpoch(7), reader.log_end()),
        Some((LeaderEpoch(7), Offset(8)))
    );
}

#[test]
fn what_a_new_producer_sent_behind_a_batch_that_was_not_written_does_not_get_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), None);
    let in_the_way = dir.path().join("leader-epoch-checkpoint.tmp");
    fs::create_dir(&in_the_way).unwrap();
    let (first, second) = (|| sequenced(1, &[b"a", b"b"], 7, 0), || sequenced(1, &[b"c"], 7, 2));
    assert!(append_all(&mut log, &[first()], 0).remove(0).is_err());
    fs::remove_dir(&in_the_way).unwrap();
    let early = append_all(&mut log, &[second()], 0).remove(0);
    assert!(matches!(early, Err(LogError::Sequence(_))), "{early:?}");
    assert_eq!(append(&mut log, first()).base_offset, Offset(0));
    assert_eq!(append(&mut log, second()).base_offset, Offset(2));
}

#[test]
fn a_header_that_lies_about_its_records_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), None);
    let patched_in = |batch: Bytes, at: usize, bytes: &[u8]| {
        let mut batch = batch.to_vec();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(batch)
    };
    let patched = |at: usize, bytes: &[u8]| patched_in(sequenced(1, &[b"a"], 7, 0), at, bytes);
    for batch in [
        patched(23, &i32::MAX.to_be_bytes()), // last offset delta
        patched(57, &i32::MAX.to_be_bytes()), // record count
        patched(51, &(-1i16).to_be_bytes()),  // producer epoch
        patched_in(batch(1, &[b"a"]), 21, &(1i16 << 4).to_be_bytes()), // transactional, of no producer
    ] {
        assert!(matches!(append_all(&mut log, &[batch], 0).remove(0), Err(LogError::Invalid(_))));
    }
}

#[test]
fn a_record_out_of_time_order_is_still_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut log = PartitionLog::open(dir.path(), LogConfig::default(), None).unwrap();
        for i in 0..40 {
            append(&mut log, batch(if i == 3 { 5000 } else { 10 }, &[&[1; 1000]]));
        }
        log.close().unwrap();
    }
    for trusted_to in [None, Some(Offset(40))] {
        let log = PartitionLog::open(dir.path(), LogConfig::default(), trusted_to).unwrap();
        let found = log.reader().offset_for_time(1000, Offset(40)).unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp_ms), (Offset(3), 5000));
    }
}

#[test]
fn all_batches_that_may_be_in_flight_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let in_flight = |i: i32| sequenced(1, &[b"a"], 7, i);
    {
        let mut log = open(dir.path(), None);
        (0..9).for_each(|i| _ = append(&mut log, in_flight(i)));
        log.close().unwrap();
    }
    let mut log = open(dir.path(), None);
    for i in 4..9 {
        let info = append(&mut log, in_flight(i));
        assert_eq!((info.duplicate, info.base_offset), (true, Offset(i64::from(i))));
    }
}

/// Segments of a log, the file of the first one and what all of them hold.
fn crashed(dir: &Path) -> (Vec<Offset>, std::path::PathBuf, Vec<(i64, Bytes)>) {
    let log = filled(dir, 60);
    let bases = super::recover::tests_base_offsets(dir);
    assert!(bases.len() > 3);
    (bases, super::index::log_path(dir, Offset(0)), values(&log, 0))
}

#[test]
fn room_that_comes_back_after_a_sealed_segment_costs_no_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_, first, before) = crashed(dir.path());
    // The roll cut the preallocated room away, and a power cut undid that.
    let file = OpenOptions::new().write(true).open(first).unwrap();
    file.set_len(file.metadata().unwrap().len() + 100_000).unwrap();
    assert_eq!(values(&open(dir.path(), Some(0)), 0), before);
    assert_eq!(values(&open(dir.path(), Some(0)), 0), before);
}

#[test]
fn a_sealed_segment_that_lost_its_last_batch_leaves_no_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (bases, first, before) = crashed(dir.path());
    let bytes = Bytes::from(fs::read(&first).unwrap());
    let whole: Vec<_> = Batches::new(bytes).map(Result::unwrap).collect();
    let (last, kept) = whole.split_last().unwrap();
    OpenOptions::new()
        .write(true)
        .open(first)
        .unwrap()
        .set_len(kept.iter().map(|b| b.bytes.len() as u64).sum())
        .unwrap();
    let log = open(dir.path(), Some(0));
    assert_eq!(log.log_end(), Offset(last.header.base_offset));
    assert_eq!(values(&log, 0), before[..last.header.base_offset as usize]);
    assert!(!super::index::log_path(dir.path(), bases[1]).exists());
}

#[test]
fn damage_to_what_was_durable_is_refused_alone_and_cuts_nothing() {
    for trusted_to in [None, Some(Offset(120)), Some(Offset(100))] {
        let dir = tempfile::tempdir().unwrap();
        let (bases, first, _) = crashed(dir.path());
        let sizes = |dir: &Path| -> Vec<u64> {
            bases.iter().map(|base| fs::metadata(super::index::log_path(dir, *base)).unwrap().len()).collect()
        };
        let before = sizes(dir.path());
        // The magic of the second batch.
        let mut bytes = Bytes::from(fs::read(&first).unwrap());
        let at = Batches::new(bytes.split_off(0)).next().unwrap().unwrap().bytes.len() as u64 + 16;
        OpenOptions::new().write(true).open(first).unwrap().write_all_at(&[9], at).unwrap();
        let _ = fs::remove_file(super::index::index_path(dir.path(), Offset(0)));
        let log = PartitionLog::open(dir.path(), small_segments(), trusted_to).unwrap();
        assert_eq!(log.log_end(), Offset(120));
        for offset in [2, 3] {
            let error = log.reader().read(Offset(offset), Offset(120), 1, true).unwrap_err();
            let ReadError::Log(LogError::Corrupt { offset: at, .. }) = error else { panic!("{error}") };
            assert_eq!(at, Offset(offset));
        }
        assert_eq!(values(&log, 4).len(), 116);
        // The last one had room to spare.
        assert_eq!(sizes(dir.path())[..4], before[..4]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A crash leaves any prefix of the unsynced bytes, perhaps with garbage behind it.
    #[test]
    fn after_a_torn_write_the_log_is_a_prefix(
        batches in 1usize..40, trusted in 0usize..40, cut in 0u64..6000, garbage in any::<u8>(), keep_index in any::<bool>()
    ) {
        let dir = tempfile::tempdir().unwrap();
        let trusted = trusted.min(batches);
        let mut log = open(dir.path(), None);
        let mut trusted_size = 0;
        for i in 0..batches {
            if i == trusted {
                log.checkpoint(Offset(0)).unwrap();
                trusted_size = log.reader().size_bytes();
            }
            append(&mut log, sequenced(i as i64, &[&[i as u8; 90], b"second"], 7, i as i32 * 2));
        }
        if trusted == batches {
            trusted_size = log.reader().size_bytes();
        }
        let before = values(&log, 0);
        let size = log.reader().size_bytes();
        let mut bases = super::recover::tests_base_offsets(dir.path());
        drop(log);
        // Damage the newest segments from a byte past the trusted ones on.
        let keep = trusted_size + cut % (size - trusted_size + 1);
        let mut position = 0;
        bases.sort();
        for base in bases {
            let path = super::index::log_path(dir.path(), base);
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            let length = file.metadata().unwrap().len();
            if position + length > keep {
                let from = keep.saturating_sub(position);
                file.write_all_at(&vec![garbage; (length - from).min(5000) as usize], from).unwrap();
                file.set_len((from + 5000).min(length)).unwrap();
            }
            position += length;
            if !keep_index {
                let _ = fs::remove_file(super::index::index_path(dir.path(), base));
            }
        }
        let log = open(dir.path(), Some(trusted as i64 * 2));
        let after = values(&log, 0);
        prop_assert!(after.len() >= trusted * 2, "{} of {} trusted", after.len(), trusted * 2);
        prop_assert_eq!(&before[..after.len()], &after[..]);
        prop_assert_eq!(log.log_end(), Offset(after.len() as i64));
        let mut log = log;
        let next = append(&mut log, sequenced(1, &[b"goes on"], 7, after.len() as i32));
        prop_assert_eq!(next.base_offset, Offset(after.len() as i64));
    }
}

/// How many entries an offset index has on disk, and where the segments begin.
fn index_entries(dir: &Path) -> (u64, Vec<String>) {
    let mut bases = Vec::new();
    let mut entries = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("index") => entries += fs::metadata(&path).unwrap().len() / 8,
            Some("log") => bases.push(path.file_stem().unwrap().to_string_lossy().into_owned()),
            _ => {}
        }
    }
    bases.sort();
    (entries, bases)
}

#[test]
fn index_entries_are_as_far_apart_as_the_config_says_and_a_full_index_ends_its_segment() {
    let of = |index_interval_bytes, segment_index_bytes| {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { index_interval_bytes, segment_index_bytes, ..LogConfig::default() };
        let mut log = PartitionLog::open(dir.path(), config, None).unwrap();
        for i in 0..20 {
            append(&mut log, batch(i, &[&[b'v'; 100]]));
        }
        log.close().unwrap();
        let log = PartitionLog::open(dir.path(), LogConfig::default(), None).unwrap();
        assert_eq!(values(&log, 0).len(), 20);
        let (entries, bases) = index_entries(dir.path());
        (entries, bases.len())
    };
    assert_eq!(of(4096, 10 << 20), (0, 1));
    assert_eq!(of(400, 10 << 20), (6, 1));
    assert_eq!(of(0, 10 << 20), (19, 1), "all but the first batch");
    let (entries, segments) = of(0, 60);
    assert!(segments >= 4 && entries >= 12, "{entries} entries in {segments} segments");
}

#[test]
fn what_retention_lets_go_has_another_name_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_ms: Some(1), file_delete_delay_ms: 7, ..small_segments() };
    let mut log = PartitionLog::open(dir.path(), config, None).unwrap();
    for i in 0..6 {
        append(&mut log, batch(i, &[&[b'v'; 1500]]));
    }
    let reader = log.reader();
    let old = reader.locate(Offset(0), reader.log_end(), 5000, true, DiskWait::Allowed).unwrap().unwrap();
    let removed = log.retain(log.log_end(), 1000).unwrap();
    assert_eq!(removed.delay(), std::time::Duration::from_millis(7));
    let renamed = removed.rename().unwrap();
    let name = "00000000000000000000.log.deleted";
    assert!(renamed.contains(&dir.path().join(name)) && renamed.iter().all(|path| path.exists()));
    assert!(!old.read().unwrap().is_empty(), "a reader that is under way goes on");
    log.close().unwrap();
    let log = PartitionLog::open(dir.path(), small_segments(), None).unwrap();
    assert_eq!(log.log_start(), log.log_end());
    assert!(renamed.iter().all(|path| !path.exists()), "the opening ends what a stop interrupted");
}

#[test]
fn a_time_index_that_a_disk_has_changed_misleads_neither_look_ups_nor_retention() {
    let time_index = "00000000000000000000.timeindex";
    let config = LogConfig { index_interval_bytes: 0, retention_ms: Some(500), ..LogConfig::default() };
    let write = |dir: &Path| {
        let mut log = PartitionLog::open(dir, config.clone(), None).unwrap();
        for i in 0..10 {
            append(&mut log, batch(1000 + 10 * i, &[b"v"]));
        }
        log.close().unwrap();
    };
    let entries = {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        fs::read(dir.path().join(time_index)).unwrap().len() / 12
    };
    assert!(entries > 5);
    for entry in 0..entries {
        for (byte, bit) in [(6, 0), (6, 1), (7, 1), (7, 3), (11, 0), (11, 1)] {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path());
            let path = dir.path().join(time_index);
            let mut bytes = fs::read(&path).unwrap();
            bytes[entry * 12 + byte] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            let log = PartitionLog::open(dir.path(), config.clone(), None).unwrap();
            let what = format!("entry {entry}, byte {byte}, bit {bit}");
            for i in 0..10 {
                let wanted = 1000 + 10 * i;
                let found = log.reader().offset_for_time(wanted - 5, log.log_end()).unwrap().unwrap();
                assert_eq!((found.offset, found.timestamp_ms), (Offset(i), wanted), "{what}");
            }
            assert_eq!(log.quiet_until_ms(log.log_end(), 1100), 1090 + 501, "{what}");
        }
    }
}
