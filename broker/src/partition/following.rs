//! How a follower's log comes to be its leader's: what the leader has answered to a fetch is appended, or the log is cut back
//! to where both are the same, and the fetcher is told from where to go on once the disk has what it will say it has.

use thiserror::Error;
use tokio::sync::oneshot;

use super::handle::now_ms;
use super::owner::{Flush, Owner};
use super::registry::off_the_runtime;
use crate::ids::{LeaderEpoch, Offset};
use crate::log::{Checked, LogError};
use crate::replica::{FetchPosition, Replica};

/// Who waits to fetch on.
pub(super) type PositionReply = oneshot::Sender<Result<FetchPosition, NotFollowing>>;

/// Why nothing can be fetched.
#[derive(Debug, Error)]
pub enum NotFollowing {
    /// It does not follow that leader, in that epoch, or is closed.
    #[error("the partition does not follow that leader any more")]
    Elsewhere,
    /// The log refuses.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a leader has answered.
#[derive(Debug)]
pub enum FetchAnswer {
    /// Records from where it was fetched on, maybe none.
    Records {
        /// In the leader's order; each was checked to be whole.
        batches: Vec<Checked>,
        /// What the leader knows to be committed.
        high_watermark: Offset,
        /// Where the leader's log begins.
        log_start: Offset,
    },
    /// The follower's last record is of an epoch that ended earlier in the leader's log.
    Diverges {
        /// The newest epoch of the leader's that is not past it.
        epoch: LeaderEpoch,
        /// Where that ended.
        end: Offset,
    },
    /// Nothing of the log is in the leader's, which begins here.
    StartsAnew {
        /// The leader's first offset.
        log_start: Offset,
    },
}

impl FetchAnswer {
    /// Before anything is asked: only from where to fetch is wanted.
    pub fn nothing() -> FetchAnswer {
        FetchAnswer::Records { batches: Vec::new(), high_watermark: Offset::ZERO, log_start: Offset::ZERO }
    }

    /// What the leader knows to be committed, where it has said.
    pub fn high_watermark(&self) -> Option<Offset> {
        match self {
            FetchAnswer::Records { high_watermark, .. } if *high_watermark > Offset::ZERO => {
                Some(*high_watermark)
            }
            FetchAnswer::Records { .. } | FetchAnswer::Diverges { .. } | FetchAnswer::StartsAnew { .. } => {
                None
            }
        }
    }
}

/// An answer, and who waits to fetch on.
pub(super) struct Replicate {
    pub leader_epoch: LeaderEpoch,
    pub answer: FetchAnswer,
    pub reply: PositionReply,
}

impl Replicate {
    /// Whether files may go.
    pub fn cuts(&self) -> bool {
        !matches!(self.answer, FetchAnswer::Records { .. })
    }
}

impl Owner {
    pub(super) fn on_replicate(&mut self, wanted: Replicate) {
        let Replicate { leader_epoch, answer, reply } = wanted;
        let follows = matches!(&self.replica, Replica::Follows(follower)
            if follower.leader_and_isr().leader_epoch == leader_epoch && follower.leader_and_isr().leader.is_some());
        if !follows {
            let _ = reply.send(Err(NotFollowing::Elsewhere));
            return;
        }
        let taken = match answer {
            FetchAnswer::Records { batches, high_watermark, log_start } => {
                self.append_fetched(&batches, high_watermark, log_start)
            }
            FetchAnswer::Diverges { epoch, end } => self.cut_to_common(epoch, end),
            FetchAnswer::StartsAnew { log_start } => self.start_anew(log_start),
        };
        match taken {
            Ok(()) => {
                self.position_wanted = Some(reply);
                self.tell_position();
            }
            // Whoever asked may have gone.
            Err(error) => drop(reply.send(Err(error.into()))),
        }
    }

    fn append_fetched(
        &mut self,
        batches: &[Checked],
        leader_high_watermark: Offset,
        leader_log_start: Offset,
    ) -> Result<(), LogError> {
        let (Some(log), Replica::Follows(follower)) = (&mut self.log, &mut self.replica) else {
            return Err(LogError::Abandoned);
        };
        let log_end = log.append_fetched(batches)?;
        let flush = Flush::of(log.config());
        // More than by these batches, where an earlier append failed after a part of it was written.
        let has_grown = log_end > follower.log().log_end;
        let has_advanced = follower.appended(log_end, leader_high_watermark);
        let is_durable = follower.log().durable_end == log_end;
        let is_new_start =
            leader_log_start > log.log_start() && leader_log_start <= follower.log().high_watermark;
        if is_new_start {
            log.delete_before(leader_log_start);
            let log_start = log.log_start();
            self.publish_log_start(log_start);
        }
        if has_grown {
            let bytes = batches.iter().map(|batch| batch.batch().bytes.len()).sum();
            let records = batches.iter().map(|batch| batch.batch().header.record_count.max(0) as u64).sum();
            self.note_appended(bytes, records);
        }
        if has_advanced {
            self.publish_high_watermark();
        }
        if !is_durable {
            self.sync_in_time(self.fetches_durably(), flush);
        }
        Ok(())
    }

    /// Whether where it fetches says what is on its disk: so `acks=all` means on disk everywhere.
    fn fetches_durably(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.config().flush_messages <= 1)
    }

    /// Tells the fetcher from where to go on, once it may be told.
    pub(super) fn tell_position(&mut self) {
        if self.position_wanted.is_none() {
            return;
        }
        let durably = self.fetches_durably();
        let (Some(log), Replica::Follows(follower)) = (&self.log, &self.replica) else {
            self.position_wanted = None;
            return;
        };
        if !follower.may_fetch(durably) {
            return;
        }
        let position = FetchPosition {
            leader_epoch: follower.leader_and_isr().leader_epoch,
            offset: log.log_end(),
            log_start: log.log_start(),
            last_epoch: log.leader_epochs().latest().unwrap_or(LeaderEpoch(-1)),
        };
        if let Some(reply) = self.position_wanted.take() {
            let _ = reply.send(Ok(position));
        }
    }

    fn cut_to_common(&mut self, epoch: LeaderEpoch, end: Offset) -> Result<(), LogError> {
        let (Some(log), Replica::Follows(follower)) = (&self.log, &self.replica) else {
            return Err(LogError::Abandoned);
        };
        let end = follower.end_in_common(log.leader_epochs(), log.log_start(), epoch, end);
        if end < follower.log().high_watermark {
            tracing::error!(
                partition = %self.place.points.name(), high_watermark = %follower.log().high_watermark, %end,
                "records that were committed are cut, since the leader does not have them: it was elected uncleanly"
            );
        }
        self.cut(end, |owner, end| {
            owner.log.as_mut().map_or(Err(LogError::Abandoned), |log| log.truncate_to(end))
        })
    }

    fn start_anew(&mut self, log_start: Offset) -> Result<(), LogError> {
        self.cut(Offset::ZERO, |owner, _| {
            let log = owner.log.as_mut().ok_or(LogError::Abandoned)?;
            log.start_anew_at(log_start)?;
            owner.place.points.recovery(log_start);
            owner.publish_log_start(log_start);
            Ok(log_start)
        })
    }

    /// Cuts the log, durably, so that a crash finds it before or after the cut and trusts no more than there is.
    fn cut(
        &mut self,
        end: Offset,
        cut: impl FnOnce(&mut Owner, Offset) -> Result<Offset, LogError>,
    ) -> Result<(), LogError> {
        let begun = now_ms();
        self.point = self.point.min(end);
        self.saved_point = None;
        self.cuts += 1;
        let trusted = self.place.points.known().trusted_to.unwrap_or_default();
        self.place.points.recovery(trusted.min(end));
        let done = off_the_runtime(|| {
            self.place.points.save()?;
            cut(self, end)
        })?;
        if let Replica::Follows(follower) = &mut self.replica {
            follower.cut(done);
        }
        self.publish_high_watermark();
        tracing::debug!(partition = %self.place.points.name(), %done, ms = now_ms() - begun, "cut a follower's log");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ottla_protocol::records::{Batch, BatchBuilder, BatchOptions};
    use tokio::sync::mpsc;

    use super::super::Opening;
    use super::super::committer::Committer;
    use super::super::housekeeping::HousekeepingConfig;
    use super::super::owner::Place;
    use super::super::points::Points;
    use super::*;
    use crate::ids::{NodeId, TopicPartition};
    use crate::log::{LogConfig, PartitionLog};
    use crate::replica::LeaderAndIsr;

    #[tokio::test]
    async fn what_a_failed_append_has_left_is_synced_before_the_follower_fetches_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = PartitionLog::open(&dir.path().join("t-0"), LogConfig::default(), None).unwrap();
        let follows = LeaderAndIsr {
            leader: Some(NodeId(2)),
            replicas: vec![NodeId(1), NodeId(2)],
            ..LeaderAndIsr::alone(NodeId(1), LeaderEpoch(3))
        };
        let (commands, mut inbox) = mpsc::unbounded_channel();
        let place = Place {
            key: 0,
            committer: Committer::start(crate::metrics::Metrics::new().sync_seconds).unwrap(),
            points: Points::of_test(dir.path(), TopicPartition::new("t", 0)),
        };
        let mut owner = Owner::new(
            place,
            log,
            Opening { assignment: Arc::new(follows), ..Opening::of_test() },
            HousekeepingConfig::default(),
            commands.downgrade(),
            Arc::default(),
        );
        let mut builder = BatchBuilder::default();
        builder.push(1, None, Some(b"v"), &[]);
        let options = BatchOptions { leader_epoch: 3, ..BatchOptions::default() };
        let batch = Checked::fetched(Batch::parse(&builder.build(options)).unwrap());
        // As if the batches behind it had failed: the follower has not heard of it.
        owner.log.as_mut().unwrap().append_fetched(&[batch]).unwrap();
        let (reply, mut position) = oneshot::channel();
        let nothing = FetchAnswer::Records {
            batches: Vec::new(),
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
        };
        owner.on_replicate(Replicate { leader_epoch: LeaderEpoch(3), answer: nothing, reply });
        assert!(position.try_recv().is_err(), "it is not on the disk");
        let synced = tokio::time::timeout(Duration::from_secs(120), inbox.recv()).await;
        owner.on_command(synced.expect("a sync was asked for").unwrap());
        assert_eq!(position.try_recv().unwrap().unwrap().offset, Offset(1));
    }
}
