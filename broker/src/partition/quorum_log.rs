//! The log that the metadata quorum writes: the log code of every partition, driven by the quorum's runtime instead of an
//! owner of its own, since there it is the quorum that decides what is appended, cut and readable.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::records::{Batch, Batches};

use super::committer::SyncRequest;
use super::handle::now_ms;
use super::log_dir::LogDir;
use super::owner::Place;
use crate::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::log::{Checked, LogConfig, LogError, LogReader, PartitionLog, ReadError};
use crate::quorum::{Epoch, EpochLog, LogEnd, Voters, voters_in};

/// Bytes that are read at once where the log itself must say of which epochs it is.
const READ_BYTES: usize = 1 << 20;

/// See the module. Every call may block: for the page cache, or where it says so for the disk.
pub struct QuorumLog {
    log: PartitionLog,
    place: Place,
}

impl LogDir {
    /// Opens the log of the quorum, creating it when it is new. Blocking: recovery may read much.
    pub fn open_quorum_log(
        &self,
        name: TopicPartition,
        config: Arc<LogConfig>,
    ) -> Result<QuorumLog, LogError> {
        let log = self.open_log(&name, config)?;
        Ok(QuorumLog { log, place: self.place_of(name) })
    }
}

impl QuorumLog {
    /// A handle for readers.
    pub fn reader(&self) -> LogReader {
        self.log.reader()
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.log.dir()
    }

    /// Which epoch each part of the log is of. `snapshots` are the ends of those beside it.
    pub fn epochs(&self, snapshots: &[LogEnd]) -> Result<EpochLog, LogError> {
        let (begin, end) = (self.log.log_start(), self.log.log_end());
        let mut starts: Vec<(Epoch, Offset)> =
            self.log.leader_epochs().iter().map(|(epoch, from)| (Epoch(epoch.0), from)).collect();
        if begin < end && starts.first().is_none_or(|(_, from)| *from > begin) {
            // `leader-epoch-checkpoint` is missing or damaged.
            starts = self.read_epochs()?;
        }
        let passed = starts.partition_point(|(_, from)| *from <= begin).saturating_sub(1);
        starts.drain(..passed);
        let start = match snapshots.iter().find(|snapshot| snapshot.offset == begin) {
            Some(snapshot) => *snapshot,
            None if begin == Offset::ZERO => LogEnd::default(),
            // No snapshot says of which epoch the record before is: not of a later one than the first that is there.
            None => LogEnd { epoch: starts.first().map_or(Epoch(0), |(epoch, _)| *epoch), offset: begin },
        };
        let mut epochs = EpochLog::starting_at(start);
        for (place, (epoch, _)) in starts.iter().enumerate() {
            let until = starts.get(place + 1).map_or(end, |(_, next)| *next);
            epochs.append(*epoch, until);
        }
        Ok(epochs)
    }

    fn read_epochs(&self) -> Result<Vec<(Epoch, Offset)>, LogError> {
        let mut starts = Vec::new();
        self.each_batch(|batch| {
            let (epoch, from) = (Epoch(batch.header.leader_epoch), Offset(batch.header.base_offset));
            if starts.last().is_none_or(|(last, _)| *last < epoch) {
                starts.push((epoch, from));
            }
            Ok(())
        })?;
        Ok(starts)
    }

    /// Who votes, by each record of it in the log.
    pub fn voters(&self) -> Result<Vec<(Offset, Voters)>, LogError> {
        let mut found = Vec::new();
        self.each_batch(|batch| {
            found.extend(voters_in(batch)?);
            Ok(())
        })?;
        Ok(found)
    }

    fn each_batch(&self, mut look: impl FnMut(&Batch) -> Result<(), LogError>) -> Result<(), LogError> {
        let (reader, end) = (self.log.reader(), self.log.log_end());
        let mut next = self.log.log_start();
        while next < end {
            let before = next;
            let bytes = reader.read(next, end, READ_BYTES, true).map_err(|error| match error {
                ReadError::Log(error) => error,
                _ => LogError::Invalid("the metadata log cannot be read where it should go on"),
            })?;
            for batch in Batches::new(bytes) {
                let batch = batch?;
                look(&batch)?;
                next = Offset(batch.header.next_offset());
            }
            if next == before {
                return Err(LogError::Invalid("no whole batch where the metadata log goes on"));
            }
        }
        Ok(())
    }

    /// Appends a leader's batch; gives where the log ends then.
    pub fn append(&mut self, batch: &Bytes, epoch: LeaderEpoch) -> Result<Offset, LogError> {
        self.append_all(&[Checked::of_coordinator(batch)?], epoch)
    }

    /// Appends whole batches as a leader has sent them, where they belong and with their epochs.
    pub fn append_fetched(&mut self, batches: &[Batch]) -> Result<Offset, LogError> {
        let mut end = self.log.log_end();
        for run in batches.chunk_by(|a, b| a.header.leader_epoch == b.header.leader_epoch) {
            let checked: Result<Vec<Checked>, LogError> = run
                .iter()
                .map(|batch| {
                    let header = &batch.header;
                    if header.base_offset != end.0 || header.next_offset() <= header.base_offset {
                        return Err(LogError::Invalid("a fetched batch does not follow the log's end"));
                    }
                    end = Offset(header.next_offset());
                    Checked::of_coordinator(&batch.bytes)
                })
                .collect();
            let epoch = run.first().map_or(0, |batch| batch.header.leader_epoch);
            self.append_all(&checked?, LeaderEpoch(epoch))?;
        }
        Ok(self.log.log_end())
    }

    fn append_all(&mut self, batches: &[Checked], epoch: LeaderEpoch) -> Result<Offset, LogError> {
        self.log.append(batches, epoch).into_iter().try_for_each(|answer| answer.map(drop))?;
        Ok(self.log.log_end())
    }

    /// Has everything appended so far made durable with the next group commit, and says so to `done` with where that ends.
    pub fn flush(&mut self, done: impl FnOnce(Offset) + Send + 'static) {
        self.place.committer.request(SyncRequest {
            partition: self.place.key,
            segments: self.log.take_dirty(),
            end: self.log.log_end(),
            done: Box::new(done),
        });
    }

    /// Cuts the records from `end` on. Waits for the disk.
    pub fn truncate(&mut self, end: Offset) -> Result<Offset, LogError> {
        self.trust_at_most(end)?;
        self.log.truncate_to(end)
    }

    /// Removes all records, so that the log goes on at `start`, behind a snapshot. Waits for the disk.
    pub fn start_anew_at(&mut self, start: Offset) -> Result<(), LogError> {
        self.trust_at_most(Offset::ZERO)?;
        self.log.start_anew_at(start)?;
        self.place.points.recovery(start);
        self.place.points.log_start(start);
        Ok(())
    }

    /// Records from `end` on are about to go: a crash must not find them missing.
    fn trust_at_most(&self, end: Offset) -> Result<(), LogError> {
        let known = self.place.points.known().trusted_to.unwrap_or_default();
        self.place.points.recovery(known.min(end));
        self.place.points.save()
    }

    /// Records before `start` are in a snapshot: whole segments of them go. `durable` is how far the log is on the disk.
    pub fn trim(&mut self, start: Offset, durable: Offset) -> Result<(), LogError> {
        self.log.delete_before(start);
        let removed = self.log.retain(start.min(durable), now_ms())?;
        self.place.points.log_start(self.log.log_start());
        for file in removed.rename()? {
            // One that stays only takes room; the next opening removes it.
            let _ = fs::remove_file(file);
        }
        if let Ok(end) = self.log.checkpoint(durable)
            && end <= durable
        {
            self.place.points.recovery(end);
        }
        Ok(())
    }

    /// Makes everything durable and closes the log.
    pub fn close(mut self) -> Result<(), LogError> {
        self.log.close()?;
        self.place.points.recovery(self.log.log_end());
        self.place.points.log_start(self.log.log_start());
        Ok(())
    }
}

/// The whole batches that bytes begin with, each with the right checksum; what is cut off at the end is left out.
pub fn whole_batches(bytes: Bytes) -> Result<Vec<Batch>, LogError> {
    let mut whole = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch?;
        batch.check_crc()?;
        whole.push(batch);
    }
    Ok(whole)
}
