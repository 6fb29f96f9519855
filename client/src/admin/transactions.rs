//! Transactions: which there are, what coordinators and partitions know of them, and ending those that nobody else will.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_protocol::messages::k27_write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic};
use ottla_protocol::messages::k61_describe_producers::TopicRequest;
use ottla_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, InitProducerIdRequest, ListTransactionsRequest,
    WriteTxnMarkersRequest,
};
use ottla_protocol::{ErrorCode, Request, Str};

use super::Admin;
use crate::TopicPartition;
use crate::coordinator::Coordinator;
use crate::error::{ClientError, check, check_with};
use crate::pool::Lane;

/// Which transactional ids are listed: those that every part agrees with.
#[derive(Debug, Clone, Default)]
pub struct TransactionFilter {
    /// In one of these states; in any when there is none.
    pub states: Vec<String>,
    /// Of one of these producers; of any when there is none.
    pub producer_ids: Vec<i64>,
    /// In a transaction that has been going on for longer.
    pub running_longer_than: Option<Duration>,
}

/// A transactional id as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionListing {
    pub transactional_id: String,
    /// The broker that coordinates it.
    pub coordinator_id: i32,
    pub producer_id: i64,
    /// In Kafka's words: `Empty`, `Ongoing`, `PrepareCommit`, `PrepareAbort`, `CompleteCommit`, `CompleteAbort`, …
    pub state: String,
}

/// What a coordinator knows of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub state: String,
    pub timeout: Duration,
    /// When the transaction began, in milliseconds since 1970; none where none is open.
    pub start_time_ms: Option<i64>,
    /// What it has written to.
    pub partitions: Vec<TopicPartition>,
}

/// A producer that a partition remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i32,
    /// -1 when it is not known.
    pub coordinator_epoch: i32,
    pub last_sequence: i32,
    /// Of its last batch, in milliseconds since 1970.
    pub last_timestamp_ms: i64,
    /// Where its open transaction begins.
    pub open_since_offset: Option<i64>,
}

impl Admin {
    /// The transactional ids of all coordinators, by id.
    ///
    /// # Errors
    /// What any broker answers; [`ClientError::InvalidConfig`] for states that it does not know, and where it is too old for
    /// the filter.
    pub async fn list_transactions(
        &self,
        filter: &TransactionFilter,
    ) -> Result<Vec<TransactionListing>, ClientError> {
        let cluster = &self.cluster;
        cluster
            .retry(|| "listing transactions".to_owned(), async || cluster.refresh(Some(&[]), false).await)
            .await?;
        let brokers: Vec<i32> = cluster.metadata().brokers.keys().copied().collect();
        let mut listed = Vec::new();
        for broker in brokers {
            let what = || format!("listing the transactions of broker {broker}");
            let attempt = async || {
                let connection = cluster.broker(broker, Lane::Control).await?;
                let version = connection.version_of::<ListTransactionsRequest>(i16::MAX)?;
                let duration = filter.running_longer_than.map(|longer| longer.as_millis());
                if duration.is_some() && version < 1 {
                    let reason = format!("broker {broker} cannot list transactions by how long they run");
                    return Err(ClientError::InvalidConfig(reason));
                }
                let request = ListTransactionsRequest {
                    state_filters: filter.states.iter().map(|state| Str::from(state.as_str())).collect(),
                    producer_id_filters: filter.producer_ids.clone(),
                    duration_filter: duration.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX)),
                    ..ListTransactionsRequest::default()
                };
                let timeout = cluster.config.request_timeout;
                let response = connection.submit(&request, version, timeout)?.await?;
                check(response.error_code, what)?;
                Ok(response)
            };
            let response = cluster.retry(what, attempt).await?;
            if let Some(unknown) = response.unknown_state_filters.first() {
                return Err(ClientError::InvalidConfig(format!("{unknown} is no state of transactions")));
            }
            listed.extend(response.transaction_states.iter().map(|state| TransactionListing {
                transactional_id: state.transactional_id.to_string(),
                coordinator_id: broker,
                producer_id: state.producer_id,
                state: state.transaction_state.to_string(),
            }));
        }
        listed.sort_by(|left, right| left.transactional_id.cmp(&right.transactional_id));
        Ok(listed)
    }

    /// What its coordinator knows of a transactional id.
    ///
    /// # Errors
    /// What the coordinator answers, such as `TRANSACTIONAL_ID_NOT_FOUND`.
    pub async fn describe_transaction(
        &self,
        transactional_id: &str,
    ) -> Result<TransactionDescription, ClientError> {
        let coordinator = Coordinator::of_transactional_id(self.cluster.clone(), transactional_id);
        let request = |_| DescribeTransactionsRequest { transactional_ids: vec![transactional_id.into()] };
        let code = |response: &<DescribeTransactionsRequest as Request>::Response| {
            response.transaction_states.first().map_or(0, |state| state.error_code)
        };
        let response = coordinator.send_retrying(i16::MAX, request, code).await?;
        let missing = || {
            let what = format!("describing transactional id {transactional_id}");
            ClientError::broker(what, ErrorCode::TransactionalIdNotFound)
        };
        let state = response.transaction_states.first().ok_or_else(missing)?;
        let partitions = state.topics.iter().flat_map(|topic| {
            let places = topic.partitions.iter();
            places.map(|partition| TopicPartition::new(topic.topic.as_str(), *partition))
        });
        let mut partitions: Vec<TopicPartition> = partitions.collect();
        partitions.sort();
        Ok(TransactionDescription {
            transactional_id: state.transactional_id.to_string(),
            producer_id: state.producer_id,
            producer_epoch: state.producer_epoch,
            state: state.transaction_state.to_string(),
            timeout: Duration::from_millis(u64::try_from(state.transaction_timeout_ms).unwrap_or(0)),
            start_time_ms: Some(state.transaction_start_time_ms).filter(|ms| *ms >= 0),
            partitions,
        })
    }

    /// The producers that a partition remembers, by id.
    ///
    /// # Errors
    /// [`ClientError::UnknownPartition`], or what its leader answers.
    pub async fn describe_producers(
        &self,
        place: &TopicPartition,
    ) -> Result<Vec<ProducerState>, ClientError> {
        let topic =
            TopicRequest { name: place.topic.as_str().into(), partition_indexes: vec![place.partition] };
        let request = DescribeProducersRequest { topics: vec![topic] };
        let what = || format!("describing the producers of {place}");
        let response = self
            .at_leader(place, &request, |response| {
                let answer = response.topics.iter().flat_map(|topic| &topic.partitions).next();
                answer.map_or(Ok(()), |answer| {
                    check_with(answer.error_code, answer.error_message.as_deref(), what)
                })
            })
            .await?;
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let producers = partitions.flat_map(|partition| &partition.active_producers);
        let mut producers: Vec<ProducerState> = producers
            .map(|producer| ProducerState {
                producer_id: producer.producer_id,
                producer_epoch: producer.producer_epoch,
                coordinator_epoch: producer.coordinator_epoch,
                last_sequence: producer.last_sequence,
                last_timestamp_ms: producer.last_timestamp,
                open_since_offset: Some(producer.current_txn_start_offset).filter(|offset| *offset >= 0),
            })
            .collect();
        producers.sort_by_key(|producer| producer.producer_id);
        Ok(producers)
    }

    /// Ends what a producer has open in one partition, as if its coordinator had aborted it. Only for what its coordinator
    /// knows nothing of (a hanging transaction): of another one records that it goes on to commit would be lost.
    ///
    /// # Errors
    /// [`ClientError::UnknownPartition`], or what its leader answers.
    pub async fn abort_hanging_transaction(
        &self,
        place: &TopicPartition,
        producer: &ProducerState,
    ) -> Result<(), ClientError> {
        let what = || format!("aborting the transaction of producer {} in {place}", producer.producer_id);
        let wrong_epoch = |_| ClientError::broker(what(), ErrorCode::InvalidProducerEpoch);
        let marker = WritableTxnMarker {
            producer_id: producer.producer_id,
            producer_epoch: i16::try_from(producer.producer_epoch).map_err(wrong_epoch)?,
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic {
                name: place.topic.as_str().into(),
                partition_indexes: vec![place.partition],
            }],
            // A partition that has never heard of a coordinator takes any.
            coordinator_epoch: producer.coordinator_epoch.max(0),
        };
        let request = WriteTxnMarkersRequest { markers: vec![marker] };
        self.at_leader(place, &request, |response| {
            let topics = response.markers.iter().flat_map(|marker| &marker.topics);
            let answer = topics.flat_map(|topic| &topic.partitions).next();
            answer.map_or(Ok(()), |answer| check(answer.error_code, what))
        })
        .await
        .map(drop)
    }

    /// Fences the producers of a transactional id: whoever uses it can do nothing more, and what it left open is aborted.
    ///
    /// # Errors
    /// What the coordinator answers.
    pub async fn fence_producers(&self, transactional_id: &str) -> Result<(), ClientError> {
        let coordinator = Coordinator::of_transactional_id(self.cluster.clone(), transactional_id);
        let request = |_| InitProducerIdRequest {
            transactional_id: Some(transactional_id.into()),
            // Nothing is begun, so that it ends soon does not matter; Kafka's own tool says the same.
            transaction_timeout_ms: 1,
            ..InitProducerIdRequest::default()
        };
        coordinator.send_retrying(i16::MAX, request, |response| response.error_code).await.map(drop)
    }

    /// Asks the partition's leader, and again while it moves.
    async fn at_leader<R: Request>(
        &self,
        place: &TopicPartition,
        request: &R,
        outcome: impl Fn(&R::Response) -> Result<(), ClientError>,
    ) -> Result<R::Response, ClientError> {
        let cluster = &self.cluster;
        let attempt = async || {
            let topic = cluster.topic(&place.topic).await?;
            let partition =
                topic.partition(place.partition).ok_or_else(|| ClientError::UnknownPartition {
                    topic_partition: place.clone(),
                    partitions: topic.partition_count(),
                })?;
            let no_leader = || ClientError::NoLeader { topic_partition: place.clone() };
            let answered = async {
                let connection =
                    cluster.broker(partition.leader.ok_or_else(no_leader)?, Lane::Control).await?;
                let response = connection.send(request, cluster.config.request_timeout).await?;
                outcome(&response)?;
                Ok(response)
            };
            let answered = answered.await;
            if answered.as_ref().is_err_and(ClientError::is_retriable) {
                cluster.forget_topics(&[place.topic.as_str()]);
            }
            answered
        };
        cluster.retry(|| format!("asking the leader of {place}"), attempt).await
    }

    /// The open transactions of partitions that no coordinator will end, because it knows nothing of them: of those that have
    /// been open for longer than `open_for`, which must be longer than any transaction may take.
    ///
    /// # Errors
    /// What the brokers answer.
    pub async fn find_hanging_transactions(
        &self,
        places: &[TopicPartition],
        open_for: Duration,
        now_ms: i64,
    ) -> Result<Vec<(TopicPartition, ProducerState)>, ClientError> {
        let open_for_ms = i64::try_from(open_for.as_millis()).unwrap_or(i64::MAX);
        let mut candidates: BTreeMap<i64, Vec<(TopicPartition, ProducerState)>> = BTreeMap::new();
        for place in places {
            for producer in self.describe_producers(place).await? {
                let is_old = now_ms.saturating_sub(producer.last_timestamp_ms) > open_for_ms;
                if producer.open_since_offset.is_some() && is_old {
                    candidates.entry(producer.producer_id).or_default().push((place.clone(), producer));
                }
            }
        }
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let producer_ids = candidates.keys().copied().collect();
        let filter = TransactionFilter { producer_ids, ..TransactionFilter::default() };
        for listing in self.list_transactions(&filter).await? {
            let described = match self.describe_transaction(&listing.transactional_id).await {
                Ok(described) => described,
                Err(error) if error.code() == Some(ErrorCode::TransactionalIdNotFound) => continue,
                Err(error) => return Err(error),
            };
            if let Some(found) = candidates.get_mut(&described.producer_id) {
                found.retain(|(place, _)| !described.partitions.contains(place));
            }
        }
        Ok(candidates.into_values().flatten().collect())
    }
}
