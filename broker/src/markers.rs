//! Writing the markers that end transactions: to the logs of the partitions that this broker leads, through the group coordinator
//! where a transaction committed offsets, since those count with the marker, and by WriteTxnMarkers to the other brokers for what
//! they lead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::WriteTxnMarkersRequest;
use ottla_protocol::messages::k27_write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic};
use ottla_protocol::records::EndTxnMarker;

use crate::controller::{ClusterImage, Controller, OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use crate::coordinator::{GroupCoordinator, WriteMarkers};
use crate::groups::GroupError;
use crate::ids::{NodeId, Producer, TopicPartition};
use crate::internal_topic::leader_of;
use crate::log::{LogError, SequenceError};
use crate::other_brokers::OtherBrokers;
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
    brokers: OtherBrokers,
}

/// A partition, and what became of its marker.
type Written = (TopicPartition, Result<(), Unmarked>);

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
    /// Over the broker's partitions and groups, and the other brokers.
    pub fn new(
        partitions: Arc<Partitions>,
        controller: Controller,
        groups: GroupCoordinator,
        brokers: OtherBrokers,
    ) -> MarkerWriter {
        MarkerWriter { partitions, controller, groups, brokers }
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
        if self.leader(to).is_some_and(|leader| leader != self.brokers.me()) {
            return Err(Unmarked::NotNow(ErrorCode::NotLeaderOrFollower));
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
            Ok(Err(
                AppendError::Transaction(_)
                | AppendError::NotLeader
                | AppendError::NotEnoughReplicas
                | AppendError::Overtakes
                | AppendError::Closed,
            ))
            | Err(_) => Err(unserved),
        }
    }

    fn exists(&self, partition: &TopicPartition) -> bool {
        let image = self.controller.image();
        let count = image.topic(&partition.topic).map_or(0, |topic| topic.partitions.len());
        usize::try_from(partition.partition).is_ok_and(|number| number < count)
    }

    fn leader(&self, partition: &TopicPartition) -> Option<NodeId> {
        leader_of(&self.controller.image(), &partition.topic, partition.partition)
    }

    /// Writes a marker to every partition, those of each broker in one request, until none is left that could still get it.
    async fn write_until_done(
        &self,
        partitions: Vec<TopicPartition>,
        producer: Producer,
        marker: EndTxnMarker,
    ) {
        let mut missing = partitions;
        loop {
            let mut by_leader: BTreeMap<Option<NodeId>, Vec<TopicPartition>> = BTreeMap::new();
            for partition in missing {
                by_leader.entry(self.leader(&partition)).or_default().push(partition);
            }
            let writing = by_leader.into_iter().map(|(leader, partitions)| async move {
                match leader.filter(|leader| *leader != self.brokers.me()) {
                    Some(leader) => self.write_by(leader, partitions, producer, marker).await,
                    None => {
                        let writing = partitions.into_iter().map(|partition| async {
                            let written = self.write_one(&partition, producer, marker).await;
                            (partition, written)
                        });
                        join_all(writing).await
                    }
                }
            });
            let written: Vec<Written> = join_all(writing).await.into_iter().flatten().collect();
            missing = written
                .into_iter()
                .filter_map(|(partition, written)| {
                    self.is_missing(&partition, written, producer).then_some(partition)
                })
                .collect();
            if missing.is_empty() {
                return;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Whether it is worth trying again.
    fn is_missing(
        &self,
        partition: &TopicPartition,
        written: Result<(), Unmarked>,
        producer: Producer,
    ) -> bool {
        match written {
            Ok(()) => false,
            // A broker that does not know of it may not have heard yet; one that this node knows nothing of is gone.
            Err(Unmarked::Gone | Unmarked::NotNow(_)) if self.exists(partition) => true,
            Err(Unmarked::Gone | Unmarked::NotNow(_)) => {
                tracing::info!(%partition, %producer, "the partition of a transaction is gone");
                false
            }
            Err(Unmarked::Fenced(code)) => {
                tracing::warn!(%partition, %producer, ?code, "a marker came too late");
                false
            }
        }
    }

    /// Has the broker that leads these partitions write it, while it leads them.
    async fn write_by(
        &self,
        leader: NodeId,
        partitions: Vec<TopicPartition>,
        producer: Producer,
        marker: EndTxnMarker,
    ) -> Vec<Written> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in &partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition);
        }
        let topics = topics
            .into_iter()
            .map(|(name, partition_indexes)| WritableTxnMarkerTopic { name: name.into(), partition_indexes });
        let wanted = WritableTxnMarker {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            transaction_result: marker.commit,
            topics: topics.collect(),
            coordinator_epoch: marker.coordinator_epoch,
        };
        let request = WriteTxnMarkersRequest { markers: vec![wanted] };
        let leads = |image: &ClusterImage| {
            let is_leader = |at: &TopicPartition| leader_of(image, &at.topic, at.partition) == Some(leader);
            partitions.iter().all(is_leader)
        };
        let answer = self.brokers.ask(leader, &request, leads).await;
        let answers = answer.iter().flat_map(|answer| &answer.markers).flat_map(|marker| &marker.topics);
        let mut codes: BTreeMap<(&str, i32), ErrorCode> = BTreeMap::new();
        for topic in answers {
            codes.extend(topic.partitions.iter().map(|partition| {
                ((&*topic.name, partition.partition_index), ErrorCode::from_code(partition.error_code))
            }));
        }
        let written = |partition: &TopicPartition| match codes.get(&(&*partition.topic, partition.partition))
        {
            None => Err(Unmarked::NotNow(ErrorCode::NetworkException)),
            Some(ErrorCode::None) => Ok(()),
            Some(ErrorCode::UnknownTopicOrPartition) => Err(Unmarked::Gone),
            Some(code @ (ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced)) => {
                Err(Unmarked::Fenced(*code))
            }
            Some(code) => {
                if !code.is_retriable() {
                    tracing::warn!(%partition, broker = %leader, %code, "a broker does not write a marker; it is asked again");
                }
                Err(Unmarked::NotNow(*code))
            }
        };
        let written: Vec<Result<(), Unmarked>> = partitions.iter().map(written).collect();
        partitions.into_iter().zip(written).collect()
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
            this.write_until_done(markers.partitions.into_iter().collect(), markers.producer, marker).await;
        }
        .boxed()
    }
}
