//! Reading the metadata log back into the image: the newest snapshot that goes with the log, if there is one, then what
//! came after it. A damaged snapshot is passed over where an older one, or the log itself, still tells everything.
//!
//! ```text
//!    older snapshot   newest snapshot
//!   ------|----------------|-------|
//!      ^ log start              log end
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use ottla_protocol::records::{Batch, BatchError, Batches, ControlType};

use super::error::ControllerError;
use super::image::ClusterImage;
use super::records::{MetadataRecord, Stored};
use super::snapshot::snapshots_in;
use crate::ids::{LeaderEpoch, Offset};
use crate::log::{LogError, LogReader};

const READ_BYTES: usize = 1 << 20;

/// Changes `image`, which knows only the node's own settings, by everything that the log in `dir` says below `up_to`, what is in
/// its snapshots included.
pub(super) fn replay(
    log: &LogReader,
    dir: &Path,
    image: ClusterImage,
    up_to: Offset,
) -> Result<Replay, ControllerError> {
    let mut replay = begin(log, dir, image)?;
    replay.read_log(log, up_to)?;
    if !replay.without_effect.is_empty() {
        let kinds: Vec<&str> = std::mem::take(&mut replay.without_effect).into_iter().collect();
        tracing::warn!(
            kinds = kinds.join(", "),
            "the metadata log has records that this release gives no effect"
        );
    }
    Ok(replay)
}

/// What the newest usable snapshot says.
fn begin(log: &LogReader, dir: &Path, image: ClusterImage) -> Result<Replay, ControllerError> {
    let mut first_error = None;
    for (id, path) in snapshots_in(dir)? {
        if !(log.log_start()..=log.log_end()).contains(&id.end) {
            continue;
        }
        let mut replay = Replay::of(image.clone());
        match replay.read_snapshot(&path) {
            Ok(()) => {
                (replay.next, replay.epoch) = (id.end, id.epoch);
                return Ok(replay);
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a snapshot of the metadata cannot be used");
                first_error.get_or_insert(error);
            }
        }
    }
    match (log.log_start(), first_error) {
        (Offset::ZERO, _) => Ok(Replay::of(image)),
        (_, Some(error)) => Err(error),
        (log_start, None) => Err(ControllerError::NoSnapshot { dir: dir.to_owned(), log_start }),
    }
}

/// An image on its way through the log.
#[derive(Debug)]
pub(super) struct Replay {
    /// As far as it has come.
    pub image: ClusterImage,
    /// The first offset that it has not read.
    pub next: Offset,
    /// Of the record before.
    pub epoch: LeaderEpoch,
    /// Bytes of the log that it has read.
    pub bytes: u64,
    /// Changes that count only once their transaction ends (KIP-868).
    transaction: Option<Vec<MetadataRecord>>,
    /// Kinds of records that mean something to Kafka and nothing here.
    without_effect: BTreeSet<&'static str>,
}

impl Replay {
    fn of(image: ClusterImage) -> Replay {
        Replay {
            image,
            next: Offset::ZERO,
            epoch: LeaderEpoch(0),
            bytes: 0,
            transaction: None,
            without_effect: BTreeSet::new(),
        }
    }

    /// Whether what was read is the image of a moment at which a snapshot can be taken: no transaction is open.
    pub fn is_whole(&self) -> bool {
        self.transaction.is_none()
    }

    /// Reads on, up to an offset at which a batch ends. Gives whether a change was among it.
    pub fn read_log(&mut self, log: &LogReader, up_to: Offset) -> Result<bool, ControllerError> {
        let mut has_changed = false;
        while self.next < up_to {
            let bytes = log.read(self.next, up_to, READ_BYTES, true)?;
            let before = self.next;
            for batch in Batches::new(bytes) {
                let batch = batch.map_err(|error| ControllerError::Batch { offset: self.next, error })?;
                // All of them or none: what is read twice must not count twice.
                let records: Vec<_> = records_of(&batch)?.collect::<Result<_, _>>()?;
                for (offset, stored) in records {
                    // A snapshot may end within a batch.
                    if offset >= before {
                        self.read(stored);
                        has_changed = true;
                    }
                }
                self.bytes += batch.bytes.len() as u64;
                self.next = Offset(batch.header.next_offset());
                self.epoch = LeaderEpoch(batch.header.leader_epoch);
            }
            if self.next == before {
                // An image that lacks the rest of the log must decide nothing.
                let error = BatchError::BadHeader("no whole batch where the log goes on");
                return Err(ControllerError::Batch { offset: self.next, error });
            }
        }
        Ok(has_changed)
    }

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
        let mut is_ended = false;
        let mut partitions = Vec::new();
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|error| ControllerError::Batch { offset: Offset::ZERO, error })?;
            whole += batch.bytes.len();
            is_ended = batch.control_type() == Some(ControlType::SnapshotFooter);
            for record in records_of(&batch)? {
                match record?.1 {
                    Stored::Change(MetadataRecord::Partition(partition)) => partitions.push(partition),
                    stored => self.read(stored),
                }
            }
        }
        if whole != size || !is_ended {
            let reason = format!("no whole batch, and no end, at byte {whole}");
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

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::metadata_records::{PartitionRecord, TopicRecord};
    use ottla_protocol::records::{BatchBuilder, BatchOptions};
    use uuid::Uuid;

    use super::*;
    use crate::controller::snapshot::{SnapshotId, write_snapshot};
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
        let path = |name: &str| dir.path().join(name);
        let snapshot = |end, epoch, name: &str| {
            let id = SnapshotId { end: Offset(end), epoch: LeaderEpoch(epoch) };
            let parts = [topic(name), partition(name, 1), partition(name, 0)];
            let records = parts.map(|part| MetadataRecord::decode(part).unwrap());
            write_snapshot(dir.path(), id, &records, None, 7).unwrap();
        };
        let replayed = || replay(&log, dir.path(), ClusterImage::default(), log.log_end()).unwrap().image;
        let replayed = || names(&replayed()).join(" ");
        snapshot(9, 1, "past-the-end");
        assert_eq!(replayed(), "a bb ccc");
        snapshot(1, 1, "xx");
        snapshot(2, 1, "x");
        fs::write(path("00000000000000000003-0000000001.checkpoint.part"), "not whole").unwrap();
        let image = replay(&log, dir.path(), ClusterImage::default(), log.log_end()).unwrap().image;
        assert_eq!(names(&image), ["ccc", "x"]);
        assert_eq!(image.topic("x").unwrap().partitions.len(), 2);
        // Half a snapshot is none, and one without its end neither.
        let newest = path("00000000000000000002-0000000001.checkpoint");
        let bytes = fs::read(&newest).unwrap();
        let footer =
            BatchBuilder::control(7, ControlType::SnapshotFooter, &[0, 0, 0], BatchOptions::default());
        for len in [bytes.len() - 9, bytes.len() - footer.len()] {
            fs::write(&newest, &bytes[..len]).unwrap();
            assert_eq!(replayed(), "bb ccc xx");
        }
        fs::write(path("00000000000000000001-0000000001.checkpoint"), "damaged too").unwrap();
        assert_eq!(replayed(), "a bb ccc");
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
        let image = replay(&log, dir.path(), ClusterImage::default(), log.log_end()).unwrap().image;
        assert_eq!(names(&image), ["a", "bb"]);
    }
}
