//! Writing the markers that end transactions: to the logs of partitions, and through the group coordinator where a
//! transaction committed offsets, since those count with the marker.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use ottla_protocol::ErrorCode;
use ottla_protocol::records::EndTxnMarker;

use crate::controller::{Controller, OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use crate::coordinator::{GroupCoordinator, WriteMarkers};
use crate::groups::GroupError;
use crate::ids::{Producer, TopicPartition};
use crate::log::{LogError, SequenceError};
use crate::partition::{AppendError, Partitions};
use crate::transactions::Markers;

/// A partition that cannot take its marker now, as its disk is full, say, is asked again after this.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct MarkerWriter {
    partitions: Arc<Partitions>,
    controller: Controller,
    groups: GroupCoordinator,
}

/// Why a partition has no marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmarked {
    /// There is no such partition, so nothing is left to be decided.
    Gone,
    /// A newer transaction of the producer, or a newer coordinator, has been there.
    Fenced(ErrorCode),
    /// Not now.
    NotNow(ErrorCode),
}

impl MarkerWriter {
    /// Over the broker's partitions and groups.
    pub fn new(
        partitions: Arc<Partitions>,
        controller: Controller,
        groups: GroupCoordinator,
    ) -> MarkerWriter {
        MarkerWriter { partitions, controller, groups }
    }

    /// Writes one marker, durably.
    ///
    /// # Errors
    /// When it is not there; see [`Unmarked`].
    pub async fn write_one(
        &self,
        to: &TopicPartition,
        producer: Producer,
        marker: EndTxnMarker,
    ) -> Result<(), Unmarked> {
        if !self.exists(to) {
            return Err(Unmarked::Gone);
        }
        if to.topic == OFFSETS_TOPIC {
            let EndTxnMarker { commit, coordinator_epoch } = marker;
            let ended = self.groups.end_transaction(to.partition, producer, coordinator_epoch, commit).await;
            return ended.map_err(|error: GroupError| Unmarked::NotNow(error.into()));
        }
        let unserved = Unmarked::NotNow(ErrorCode::NotLeaderOrFollower);
        let open = self.partitions.get(&to.topic, to.partition).ok_or(unserved)?;
        match open.partition.end_transaction(producer, marker).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(AppendError::Log(LogError::Sequence(SequenceError::StaleEpoch { .. })))) => {
                Err(Unmarked::Fenced(ErrorCode::InvalidProducerEpoch))
            }
            Ok(Err(AppendError::Log(LogError::Sequence(SequenceError::CoordinatorFenced { .. })))) => {
                Err(Unmarked::Fenced(ErrorCode::TransactionCoordinatorFenced))
            }
            Ok(Err(AppendError::Log(error))) => {
                tracing::warn!(partition = %to, %error, "a marker was not written");
                Err(Unmarked::NotNow(ErrorCode::KafkaStorageError))
            }
            Ok(Err(AppendError::Transaction(_) | AppendError::NotLeader | AppendError::Closed)) | Err(_) => {
                Err(unserved)
            }
        }
    }

    fn exists(&self, partition: &TopicPartition) -> bool {
        let image = self.controller.image();
        let count = image.topic(&partition.topic).map_or(0, |topic| topic.partitions.len());
        usize::try_from(partition.partition).is_ok_and(|number| number < count)
    }

    async fn write_until_done(&self, to: &TopicPartition, producer: Producer, marker: EndTxnMarker) {
        loop {
            match self.write_one(to, producer, marker).await {
                Ok(()) => return,
                Err(Unmarked::Gone) => {
                    return tracing::info!(partition = %to, %producer, "the partition of a transaction is gone");
                }
                Err(Unmarked::Fenced(code)) => {
                    return tracing::warn!(partition = %to, %producer, ?code, "a marker came too late");
                }
                Err(Unmarked::NotNow(_)) => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
    }
}

impl WriteMarkers for MarkerWriter {
    fn write(&self, coordinator_partition: i32, markers: Markers) -> BoxFuture<'static, ()> {
        let this = self.clone();
        async move {
            let image = this.controller.image();
            let partition = image
                .topic(TRANSACTIONS_TOPIC)
                .and_then(|topic| topic.partitions.get(usize::try_from(coordinator_partition).ok()?));
            let coordinator_epoch = partition.map_or(0, |partition| partition.leader_epoch.0);
            let marker = EndTxnMarker { commit: markers.commit, coordinator_epoch };
            let written = markers
                .partitions
                .iter()
                .map(|partition| this.write_until_done(partition, markers.producer, marker));
            join_all(written).await;
        }
        .boxed()
    }
}
