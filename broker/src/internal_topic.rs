//! `__consumer_offsets` as the group coordinator sees it: over the broker's own partitions and its controller.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use ottla_protocol::ErrorCode;
use ottla_protocol::records::{BatchHeader, Batches};

use crate::active_controller::ActiveController;
use crate::controller::{ClusterImage, CreateTopic, Refusal};
use crate::coordinator::{CoordinatorLog, LogError, LogSlice};
use crate::groups::partition_for;
use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::log::{self, ReadError};
use crate::partition::{AppendError, Partitions};
use crate::replica::NodeRun;

/// The internal topic; cheap to clone.
#[derive(Clone)]
pub struct InternalTopic {
    name: &'static str,
    partitions: Arc<Partitions>,
    controller: ActiveController,
    partition_count: i32,
    run: NodeRun,
    /// Where somebody has said; else as of other topics.
    replication_factor: Option<i16>,
    min_insync_replicas: Option<i32>,
    skips_damage: bool,
}

impl InternalTopic {
    /// Over the broker's partitions; the topic gets `partition_count` of them when it is made.
    pub fn new(
        name: &'static str,
        partitions: Arc<Partitions>,
        controller: ActiveController,
        partition_count: i32,
        run: NodeRun,
    ) -> InternalTopic {
        InternalTopic {
            name,
            partitions,
            controller,
            partition_count,
            run,
            replication_factor: None,
            min_insync_replicas: None,
            skips_damage: false,
        }
    }

    /// How many replicas the topic gets when it is made.
    pub fn replicated(self, replication_factor: Option<i16>) -> InternalTopic {
        InternalTopic { replication_factor, ..self }
    }

    /// How many of them must be in sync.
    pub fn with_min_insync_replicas(self, min_insync_replicas: Option<i32>) -> InternalTopic {
        InternalTopic { min_insync_replicas, ..self }
    }

    /// Whether reads leave out what a disk has damaged.
    pub fn skipping_damage(self, skips_damage: bool) -> InternalTopic {
        InternalTopic { skips_damage, ..self }
    }

    fn image(&self) -> Arc<ClusterImage> {
        self.controller.local().image()
    }

    /// Makes the topic if it is not there: when the first group looks for its coordinator, as in Kafka.
    pub async fn make_topic(&self) -> Result<(), Refusal> {
        if self.image().topic(self.name).is_some() {
            return Ok(());
        }
        let mut configs = vec![
            ("cleanup.policy".to_owned(), Some("compact".to_owned())),
            ("segment.bytes".to_owned(), Some((100 << 20).to_string())),
        ];
        let min_isr = self.min_insync_replicas;
        configs.extend(min_isr.map(|min_isr| ("min.insync.replicas".to_owned(), Some(min_isr.to_string()))));
        let topic = CreateTopic {
            name: self.name.to_owned(),
            partitions: self.partition_count,
            replication_factor: self.replication_factor.unwrap_or(-1),
            assignments: Vec::new(),
            configs,
        };
        match self.controller.create_topics(vec![topic]).await.pop() {
            Some(Err(refusal)) if refusal.code != ErrorCode::TopicAlreadyExists => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Who leads the partition that a group's or a transactional id's state is in; `None` while nobody does, or there is no such topic.
    pub fn leader_for(&self, key: &str) -> Option<NodeId> {
        let image = self.image();
        let count = image.topic(self.name)?.partitions.len();
        leader_of(&image, self.name, partition_for(key, i32::try_from(count).ok()?))
    }

    /// Whether another node leads a partition, so that what is here of it says nothing.
    fn is_elsewhere(&self, partition: i32) -> bool {
        let leader = leader_of(&self.image(), self.name, partition);
        leader.is_some_and(|leader| leader != self.controller.local().log().membership().config.me.id)
    }

    /// What a partition without a log says: nothing, if there is no topic yet. Who was started a moment ago does not know that before it
    /// has heard what was decided before it registered; a coordinator that took it for granted would tell consumers that
    /// they have committed nothing, and producers that their transactions never were.
    fn nothing_yet(&self) -> Result<LogSlice, LogError> {
        let image = self.image();
        let why = match image.topic(self.name) {
            Some(_) => "its log is not open here",
            None if self.run.may_lead(&image) => return Ok(LogSlice::default()),
            None => "this node has not heard yet which topics there are",
        };
        Err(LogError::Unavailable(why.to_owned()))
    }

    fn read_blocking(&self, partition: i32, from: i64, bytes_max: usize) -> Result<LogSlice, LogError> {
        if self.is_elsewhere(partition) {
            return Err(LogError::NotLeader);
        }
        let Some(open) = self.partitions.get(self.name, partition) else {
            return self.nothing_yet();
        };
        let leadership = open.partition.leadership().ok_or(LogError::NotLeader)?;
        if open.partition.high_watermark() < leadership.begins_at {
            let message = "the replicas in sync do not have all of what earlier leaders wrote yet";
            return Err(LogError::Unavailable(message.to_owned()));
        }
        let reader = open.partition.log();
        let from = Offset(from).max(reader.log_start());
        let end = open.partition.high_watermark();
        let read = |from| reader.read(from, end, bytes_max, true);
        let mut batches = read(from);
        let mut next = from;
        while let Err(ReadError::Log(log::LogError::Corrupt { .. })) = &batches
            && self.skips_damage
            && next < end
        {
            next = next.plus(1);
            batches = read(next);
        }
        if next > from {
            tracing::error!(topic = self.name, partition, %from, to = %next, "went on without damaged records");
        }
        let batches = batches.map_err(|error| match error {
            ReadError::Log(log::LogError::Corrupt { .. }) => LogError::Unavailable(format!(
                "{error}; the coordinator does not serve this partition until the file is restored, or the broker started \
                 with ottla.coordinator.skip.damaged.records=true, which gives up what the damaged records said"
            )),
            error => LogError::Unavailable(error.to_string()),
        })?;
        let last: Option<BatchHeader> =
            Batches::new(batches.clone()).flatten().last().map(|batch| batch.header);
        // Nothing more to read means that the end is reached, even where it lies in a gap.
        let next_offset = last.map_or(end.0, |header| header.next_offset());
        let leader_epoch = leadership.epoch;
        Ok(LogSlice { batches, next_offset, end_offset: end.0, leader_epoch })
    }
}

/// Who leads a partition; `None` while nobody does, or there is no such partition.
pub fn leader_of(image: &ClusterImage, topic: &str, partition: i32) -> Option<NodeId> {
    image.topic(topic)?.partitions.get(usize::try_from(partition).ok()?)?.leader
}

impl CoordinatorLog for InternalTopic {
    fn append(
        &self,
        partition: i32,
        leader_epoch: LeaderEpoch,
        batch: Bytes,
    ) -> BoxFuture<'static, Result<i64, LogError>> {
        let this = self.clone();
        async move {
            this.make_topic().await.map_err(|refusal| LogError::Unavailable(refusal.message))?;
            let open = this.partitions.get(this.name, partition).ok_or(LogError::NotLeader)?;
            match open.partition.append_of_coordinator(&batch, leader_epoch).await {
                Ok(Ok(appended)) => Ok(appended.base_offset.0),
                Ok(Err(AppendError::NotLeader | AppendError::Closed)) => Err(LogError::NotLeader),
                Ok(Err(error)) => Err(LogError::Unavailable(error.to_string())),
                Err(_) => Err(LogError::NotLeader),
            }
        }
        .boxed()
    }

    fn read(
        &self,
        partition: i32,
        from: i64,
        bytes_max: usize,
    ) -> BoxFuture<'static, Result<LogSlice, LogError>> {
        let this = self.clone();
        async move {
            let reading = tokio::task::spawn_blocking(move || this.read_blocking(partition, from, bytes_max));
            reading.await.unwrap_or(Err(LogError::NotLeader))
        }
        .boxed()
    }
}
