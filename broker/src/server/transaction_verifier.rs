//! Whether a transaction may begin in a partition: asked of the transactional id's coordinator, here or on the broker that leads
//! its partition of `__transaction_state` (KIP-890, AddPartitionsToTxn between brokers).

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::AddPartitionsToTxnRequest;
use ottla_protocol::messages::k24_add_partitions_to_txn::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};

use super::handlers::error_of;
use crate::controller::TRANSACTIONS_TOPIC;
use crate::coordinator::TransactionCoordinator;
use crate::internal_topic::{InternalTopic, leader_of};
use crate::other_brokers::OtherBrokers;
use crate::transactions::{AddPartitions, TransactionError};

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct TransactionVerifier {
    here: TransactionCoordinator,
    log: InternalTopic,
    brokers: OtherBrokers,
}

impl TransactionVerifier {
    /// Over this broker's coordinator, its log, and the other brokers.
    pub fn new(
        here: TransactionCoordinator,
        log: InternalTopic,
        brokers: OtherBrokers,
    ) -> TransactionVerifier {
        TransactionVerifier { here, log, brokers }
    }

    /// As [`TransactionCoordinator::begin_in_partition`], of an id that any broker may coordinate.
    ///
    /// # Errors
    /// As the coordinator says, or that it is not available.
    pub async fn begin_in_partition(&self, request: AddPartitions) -> Result<(), TransactionError> {
        let id = request.transactional_id.as_str();
        let coordinator = match self.log.leader_for(id) {
            // Whoever it is here says why not.
            None => return self.here.begin_in_partition(request).await,
            Some(leader) if leader == self.brokers.me() => {
                return self.here.begin_in_partition(request).await;
            }
            Some(leader) => leader,
        };
        let partition = self.here.partition_for(&request.transactional_id);
        let topics = request.partitions.iter().map(|partition| AddPartitionsToTxnTopic {
            name: partition.topic.as_str().into(),
            partitions: vec![partition.partition],
        });
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: id.into(),
            producer_id: request.producer.id,
            producer_epoch: request.producer.epoch,
            verify_only: !request.version.bumps_epoch(),
            topics: topics.collect(),
        };
        let wanted = AddPartitionsToTxnRequest {
            transactions: vec![transaction],
            ..AddPartitionsToTxnRequest::default()
        };
        let leads = |image: &_| leader_of(image, TRANSACTIONS_TOPIC, partition) == Some(coordinator);
        let answer = self.brokers.ask(coordinator, &wanted, leads).await;
        let answer = answer.ok_or(TransactionError::CoordinatorNotAvailable)?;
        check(answer.error_code)?;
        let result = answer.results_by_transaction.iter().find(|result| *result.transactional_id == *id);
        let result = result.ok_or(TransactionError::CoordinatorNotAvailable)?;
        let mut codes = result.topic_results.iter().flat_map(|topic| &topic.results_by_partition);
        codes.try_for_each(|partition| check(partition.partition_error_code))
    }
}

fn check(code: i16) -> Result<(), TransactionError> {
    ErrorCode::check(code).map_err(error_of)
}
