//! The broker's readers of what lies on its disk, as functions over bytes that must not panic, whatever a disk made of the
//! files. They work in a folder in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use ottla_broker::controller::{ClusterImage, Configs, MetadataRecord, TopicConfigs};
use ottla_broker::groups::records;
use ottla_broker::ids::{LeaderEpoch, NodeId, Offset};
use ottla_broker::log::{LeaderEpochs, LogConfig, OffsetCheckpoint, PartitionLog, ProducerStates, ReadError};
use ottla_broker::metrics::Metrics;
use ottla_broker::partition::{HousekeepingConfig, LogDir};
use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches};

thread_local! {
    static DIR: tempfile::TempDir =
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    /// The files of a log of two segments, in the order of their names.
    static LOG_FILES: Vec<(String, Vec<u8>)> = log_files();
}

const BATCHES: i32 = 14;

fn log_files() -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().expect("a folder");
    let config = LogConfig { segment_bytes: 6000, ..LogConfig::default() };
    let mut log = PartitionLog::open(dir.path(), config.clone(), None).expect("it opens");
    for i in 0..BATCHES {
        let mut builder = BatchBuilder::default();
        let value = vec![i as u8; 40 * i as usize % 900];
        builder.push(1_700_000_000_000 + i64::from(i), Some(b"key"), Some(&value), &[]);
        builder.push(1_700_000_000_000 + i64::from(i), Some(b"key"), Some(&[3; 300]), &[]);
        let producer =
            BatchOptions { producer_id: 5, producer_epoch: 0, base_sequence: i * 2, ..Default::default() };
        let batch = config.check(&builder.build(producer), 1_700_000_000_000).expect("it is whole");
        log.append(&[batch], LeaderEpoch(0)).remove(0).expect("it is appended");
    }
    log.close().expect("it closes");
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

fn empty(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let _ = fs::remove_file(entry.path());
    }
}

/// Recovery and reading of a log whose files were changed: the first byte says how the log was left, then each four bytes
/// change one, or with a high first bit cut a file there.
pub fn log_recovery(bytes: &[u8]) {
    let [left, changes @ ..] = bytes else { return };
    let mut files = LOG_FILES.with(Clone::clone);
    for change in changes.chunks_exact(4) {
        let (name, at) = (change[0] & 0x7f, usize::from(u16::from_be_bytes([change[1], change[2]])));
        let count = files.len();
        let (_, content) = &mut files[usize::from(name) % count];
        match content.len() {
            0 => {}
            length if change[0] & 0x80 != 0 => content.truncate(at % length),
            length => content[at % length] ^= change[3],
        }
    }
    let dir = DIR.with(|dir| dir.path().to_owned());
    empty(&dir);
    for (name, content) in &files {
        fs::write(dir.join(name), content).expect("it is written");
    }
    let trusted_to = (left & 1 != 0).then_some(Offset(i64::from(left >> 1) % 40));
    let config = LogConfig { compacted: left & 0x40 != 0, segment_bytes: 6000, ..LogConfig::default() };
    let Ok(log) = PartitionLog::open(&dir, config, trusted_to) else { return };
    let reader = log.reader();
    let mut next = reader.log_start();
    let mut refused = 0;
    while next < reader.log_end() && refused < 100 {
        match reader.read(next, reader.log_end(), 2000, true) {
            Ok(found) => {
                let mut after = next;
                for batch in Batches::new(found) {
                    let batch = batch.expect("only whole batches are given");
                    batch.check_crc().expect("no damaged batch is given");
                    after = Offset(batch.header.next_offset());
                }
                // Nothing comes where compaction left nothing.
                if after <= next {
                    return;
                }
                next = after;
            }
            Err(ReadError::Log(_)) => {
                refused += 1;
                next = next.plus(1);
            }
            Err(_) => return,
        }
    }
    let _ = reader.offset_for_time(1_700_000_000_005, reader.log_end());
    let _ = reader.max_timestamp(reader.log_end());
}

/// The small files of log dirs and partitions, each with these bytes as its content.
pub fn small_files(bytes: &[u8]) {
    let dir = DIR.with(|dir| dir.path().to_owned());
    for name in ["leader-epoch-checkpoint", "recovery-point-offset-checkpoint"] {
        fs::write(dir.join(name), bytes).expect("it is written");
    }
    let _ = LeaderEpochs::load(&dir);
    let _ = OffsetCheckpoint::load(&dir.join("recovery-point-offset-checkpoint"));
    if let Some(states) = ProducerStates::from_snapshot(bytes) {
        let again = ProducerStates::from_snapshot(&states.to_snapshot());
        assert_eq!(again, Some(states));
    }
}

/// A log dir whose own files hold these bytes.
pub fn log_dir(bytes: &[u8]) {
    let dir = DIR.with(|dir| dir.path().join("data"));
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("meta.properties"), bytes).expect("it is written");
    fs::write(dir.join("recovery-point-offset-checkpoint"), bytes).expect("it is written");
    let _ = LogDir::open(&dir, NodeId(1), None, HousekeepingConfig::default(), Metrics::new().sync_seconds);
}

/// The records of the metadata log, one after the other, each behind its length.
pub fn metadata_records(bytes: &[u8]) {
    let mut image = ClusterImage::default();
    let mut rest = bytes;
    while let [length, after @ ..] = rest {
        let (record, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        let Ok(record) = MetadataRecord::decode(Bytes::copy_from_slice(record)) else { continue };
        if let Ok(written) = record.encode() {
            let again = MetadataRecord::decode(written.clone()).expect("what was written can be read");
            // By their bytes: a quota may be no number, which differs from itself.
            assert_eq!(again.encode().expect("it was written before"), written);
            assert_eq!(format!("{again:?}"), format!("{record:?}"));
        }
        image.apply(&record);
    }
}

/// A record of `__consumer_offsets`: the length of its key, the key, the value.
pub fn group_records(bytes: &[u8]) {
    let [length, rest @ ..] = bytes else { return };
    let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let value = (!value.is_empty()).then(|| Bytes::copy_from_slice(value));
    let Ok(decoded) = records::decode(Some(Bytes::copy_from_slice(key)), value) else { return };
    if let records::Decoded::Record(record) = &decoded
        && let Ok((key, value)) = records::encode(record)
    {
        let again = records::decode(Some(key), value).expect("what was written can be read");
        assert_eq!(again, decoded);
    }
}

/// Config values that a metadata log holds: lines of a byte that chooses the config, and its value.
pub fn config_values(bytes: &[u8]) {
    let nothing = Configs::default();
    let of = |topic| TopicConfigs { topic, broker: &nothing, all_brokers: &nothing, started_with: &nothing };
    let names: Vec<&str> = of(&nothing).all().iter().map(|value| value.name).collect();
    let set: BTreeMap<String, String> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let (name, value) = line.split_first()?;
            let name = names[usize::from(*name) % names.len()];
            Some((name.to_owned(), String::from_utf8_lossy(value).into_owned()))
        })
        .collect();
    let set: Configs = set.into_iter().collect();
    let configs = of(&set);
    let _ = configs.log_config();
    let _ = configs.acks_all_is_durable();
    let _ = configs.all();
}
