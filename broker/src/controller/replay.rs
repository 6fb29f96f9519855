//! Reading the metadata log back into the image: the newest snapshot that goes with the log, if there is one, then what
//! came after it. Ottla writes no snapshots; Apache Kafka does, and removes the records that they cover, so a folder that
//! was Kafka's cannot be read without (KIP-630).
//!
//! ```text
//!   <end offset, 20 digits>-<epoch, 10 digits>.checkpoint     the image below that offset, as records
//!        snapshot's end
//!   ---------|------------------|
//!      ^ log start         log end
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_protocol::records::{Batch, BatchError, Batches};

use super::image::ClusterImage;
use super::records::{MetadataRecord, Stored};
use super::runtime::ControllerError;
use crate::ids::Offset;
use crate::log::{LogError, LogReader};

const READ_BYTES: usize = 1 << 20;

/// Changes `image`, which knows only the node's own settings, by everything that the log in `dir` says.
pub(super) fn replay(
    log: &LogReader,
    dir: &Path,
    image: ClusterImage,
) -> Result<ClusterImage, ControllerError> {
    let mut replay = Replay { image, transaction: None, without_effect: BTreeSet::new() };
    let mut next = log.log_start();
    if let Some((end, path)) = newest_snapshot(dir, log.log_end())? {
        replay.read_snapshot(&path)?;
        next = next.max(end);
    } else if next > Offset::ZERO {
        return Err(ControllerError::NoSnapshot { dir: dir.to_owned(), log_start: next });
    }
    while next < log.log_end() {
        let bytes = log.read(next, log.log_end(), READ_BYTES, true)?;
        let before = next;
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|error| ControllerError::Batch { offset: next, error })?;
            for record in records_of(&batch)? {
                let (offset, stored) = record?;
                // A snapshot may end within a batch.
                if offset >= before {
                    replay.read(stored);
                }
            }
            next = Offset(batch.header.next_offset());
        }
        if next == before {
            // An image that lacks the rest of the log must decide nothing.
            let error = BatchError::BadHeader("no whole batch where the log goes on");
            return Err(ControllerError::Batch { offset: next, error });
        }
    }
    if !replay.without_effect.is_empty() {
        let kinds: Vec<&str> = replay.without_effect.into_iter().collect();
        tracing::warn!(
            kinds = kinds.join(", "),
            "the metadata log has records that this release gives no effect"
        );
    }
    Ok(replay.image)
}

struct Replay {
    image: ClusterImage,
    /// Changes that count only once their transaction ends (KIP-868).
    transaction: Option<Vec<MetadataRecord>>,
    /// Kinds of records that mean something to Kafka and nothing here.
    without_effect: BTreeSet<&'static str>,
}

impl Replay {
    fn read(&mut self, stored: Stored) {
        match stored {
            Stored::Change(change) => match &mut self.transaction {
                Some(open) => open.push(change),
                None => self.image.apply(&change),
            },
            Stored::BeginTransaction => self.transaction = Some(Vec::new()),
            Stored::EndTransaction => {
                self.transaction
                    .take()
                    .unwrap_or_default()
                    .iter()
                    .for_each(|change| self.image.apply(change));
            }
            Stored::AbortTransaction => self.transaction = None,
            Stored::LeftOut { kind } => self.without_effect.extend(kind),
        }
    }

    fn read_snapshot(&mut self, path: &Path) -> Result<(), ControllerError> {
        let bytes = Bytes::from(fs::read(path).map_err(LogError::io("read", path))?);
        let size = bytes.len();
        let mut whole = 0;
        let mut partitions = Vec::new();
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|error| ControllerError::Batch { offset: Offset::ZERO, error })?;
            whole += batch.bytes.len();
            for record in records_of(&batch)? {
                match record?.1 {
                    Stored::Change(MetadataRecord::Partition(partition)) => partitions.push(partition),
                    stored => self.read(stored),
                }
            }
        }
        if whole != size {
            let reason = format!("no whole batch at byte {whole}");
            return Err(LogError::Corrupt { path: path.to_owned(), offset: Offset::ZERO, reason }.into());
        }
        // A snapshot tells a topic's partitions in no order.
        partitions.sort_by_key(|partition| partition.partition_id);
        for partition in partitions {
            self.image.apply(&MetadataRecord::Partition(partition));
        }
        Ok(())
    }
}

type Read = Result<(Offset, Stored), ControllerError>;

/// What a batch says; nothing where it is the quorum's own.
fn records_of(batch: &Batch) -> Result<impl Iterator<Item = Read>, ControllerError> {
    let fault = {
        let offset = Offset(batch.header.base_offset);
        move |error| ControllerError::Batch { offset, error }
    };
    batch.check_crc().map_err(fault)?;
    let is_control = batch.header.is_control();
    let records = batch.records(usize::MAX).map_err(fault)?;
    Ok(records.filter(move |_| !is_control).map(move |record| {
        let record = record.map_err(fault)?;
        let offset = Offset(record.offset);
        let stored = Stored::decode(record.value.unwrap_or_default());
        Ok((offset, stored.map_err(|error| ControllerError::Record { offset, error })?))
    }))
}

/// The newest snapshot of a folder that is not past the log's end, with its end offset.
fn newest_snapshot(dir: &Path, log_end: Offset) -> Result<Option<(Offset, PathBuf)>, LogError> {
    let mut newest: Option<(Offset, PathBuf)> = None;
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        let Some(end) = path.file_name().and_then(|name| name.to_str()).and_then(snapshot_end) else {
            continue;
        };
        if end <= log_end && newest.as_ref().is_none_or(|(found, _)| *found < end) {
            newest = Some((end, path));
        }
    }
    Ok(newest)
}

fn snapshot_end(name: &str) -> Option<Offset> {
    let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    let is_number =
        |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(end, 20) || !is_number(epoch, 10) {
        return None;
    }
    end.parse().ok().map(Offset)
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::metadata_records::{PartitionRecord, TopicRecord};
    use ottla_protocol::records::{BatchBuilder, BatchOptions};
    use uuid::Uuid;

    use super::*;
    use crate::ids::LeaderEpoch;
    use crate::log::{LogConfig, PartitionLog};

    fn topic(name: &str) -> Bytes {
        let topic_id = Uuid::from_u128(name.len() as u128);
        MetadataRecord::Topic(TopicRecord { name: name.into(), topic_id }).encode().unwrap()
    }

    fn partition(topic: &str, partition_id: i32) -> Bytes {
        let topic_id = Uuid::from_u128(topic.len() as u128);
        let record = PartitionRecord { partition_id, topic_id, ..PartitionRecord::default() };
        MetadataRecord::Partition(record).encode().unwrap()
    }

    fn batch(records: &[Bytes], base_offset: i64) -> Bytes {
        let mut builder = BatchBuilder::default();
        for record in records {
            builder.push(0, None, Some(record), &[]);
        }
        builder.build(BatchOptions { base_offset, ..BatchOptions::default() })
    }

    fn log_of(dir: &Path, batches: &[Bytes]) -> LogReader {
        let config = LogConfig::default();
        let mut log = PartitionLog::open(dir, config.clone(), None).unwrap();
        for batch in batches {
            let batch = config.check(batch, 0).unwrap();
            log.append(&[batch], LeaderEpoch(0)).remove(0).unwrap();
        }
        log.reader()
    }

    fn names(image: &ClusterImage) -> Vec<&str> {
        image.topics().map(|topic| topic.name.as_str()).collect()
    }

    #[test]
    fn the_log_counts_from_where_the_newest_snapshot_ends() {
        let dir = tempfile::tempdir().unwrap();
        let log = log_of(dir.path(), &[batch(&[topic("a"), topic("bb")], 0), batch(&[topic("ccc")], 0)]);
        let snapshot = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        let parts = [topic("x"), partition("x", 1), partition("x", 0)];
        snapshot("00000000000000000002-0000000001.checkpoint", &batch(&parts, 0));
        snapshot("00000000000000000001-0000000001.checkpoint", b"older");
        snapshot("00000000000000000009-0000000001.checkpoint", b"past the end");
        snapshot("00000000000000000003-0000000001.checkpoint.part", b"not whole");
        let image = replay(&log, dir.path(), ClusterImage::default()).unwrap();
        assert_eq!(names(&image), ["ccc", "x"]);
        assert_eq!(image.topic("x").unwrap().partitions.len(), 2);
        snapshot("00000000000000000003-0000000001.checkpoint", &batch(&parts, 0)[..70]);
        assert!(replay(&log, dir.path(), ClusterImage::default()).is_err(), "half a snapshot is none");
    }

    #[test]
    fn a_transaction_counts_when_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let frame = |number: u8| Bytes::from(vec![1, number, 0, 0]);
        let (begin, end, abort) = (frame(23), frame(24), frame(25));
        let records = [
            topic("a"),
            begin.clone(),
            topic("bb"),
            end,
            begin.clone(),
            topic("ccc"),
            abort,
            begin,
            topic("dddd"),
        ];
        let log = log_of(dir.path(), &[batch(&records, 0)]);
        let image = replay(&log, dir.path(), ClusterImage::default()).unwrap();
        assert_eq!(names(&image), ["a", "bb"]);
    }
}
