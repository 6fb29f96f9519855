//! The transactional ids of this broker: [`Transactions`] on the shards of `__transaction_state`.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::shards::Shards;
use super::{CoordinatorConfig, CoordinatorLog};
use crate::groups::partition_for;
use crate::ids::Producer;
use crate::transactions::{
    AddPartitions, DescribedTransaction, Effect, EndTransaction, InitProducerId, ListTransactions,
    ListedTransaction, Markers, Reply, Request, TransactionConfig, TransactionError, TransactionState,
    TransactionalId, Transactions,
};

/// Writes the markers of prepared transactions.
pub trait WriteMarkers: Send + Sync {
    /// Writes a marker to every partition, for as long as it takes; one that is gone counts as written.
    /// `coordinator_partition` is the partition of `__transaction_state` that decided.
    fn write(&self, coordinator_partition: i32, markers: Markers) -> BoxFuture<'static, ()>;
}

/// Gives out producer ids.
pub trait ProducerIds: Send + Sync {
    /// One that was never given out; `None` while none can be had.
    fn next(&self) -> BoxFuture<'static, Option<i64>>;
}

/// The transactions of this broker. Cheap to clone; must be used within a tokio runtime.
#[derive(Clone)]
pub struct TransactionCoordinator {
    shards: Shards<Transactions>,
    producer_ids: Arc<dyn ProducerIds>,
}

impl TransactionCoordinator {
    /// A coordinator that has started no shard yet.
    pub fn new(
        log: Arc<dyn CoordinatorLog>,
        producer_ids: Arc<dyn ProducerIds>,
        markers: Arc<dyn WriteMarkers>,
        config: CoordinatorConfig<TransactionConfig>,
    ) -> TransactionCoordinator {
        let perform = move |partition, effect| match effect {
            Effect::WriteMarkers(wanted) => {
                let (transactional_id, producer) = (wanted.transactional_id.clone(), wanted.producer);
                let written = markers.write(partition, wanted);
                written.map(move |()| Request::MarkersWritten { transactional_id, producer }).boxed()
            }
        };
        TransactionCoordinator { shards: Shards::new(log, config, Arc::new(perform)), producer_ids }
    }

    /// The partition of `__transaction_state` that holds the id. Kafka's rule is that of groups.
    pub fn partition_for(&self, id: &TransactionalId) -> i32 {
        partition_for(id.as_str(), self.shards.partitions())
    }

    /// Gives a producer its id and epoch.
    ///
    /// # Errors
    /// As the machine says.
    pub async fn init_producer_id(&self, mut request: InitProducerId) -> Result<Producer, TransactionError> {
        loop {
            let id = request.transactional_id.clone();
            let answer = match self.ask(&id, Request::InitProducerId(request.clone())).await {
                Reply::InitProducerId(answer) => answer,
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            };
            if answer != Err(TransactionError::ProducerIdNeeded) {
                return answer;
            }
            request.fresh_producer_id = Some(self.fresh_producer_id().await?);
        }
    }

    /// Adds partitions to a transaction.
    ///
    /// # Errors
    /// As the machine says.
    pub async fn add_partitions(&self, request: AddPartitions) -> Result<(), TransactionError> {
        let id = request.transactional_id.clone();
        match self.ask(&id, Request::AddPartitions(request)).await {
            Reply::AddPartitions(answer) => answer,
            other => unreachable!("a shard answers what it was asked, not {other:?}"),
        }
    }

    /// Whether partitions are part of a transaction, in the request's order.
    ///
    /// # Errors
    /// As the machine says.
    pub async fn verify_partitions(
        &self,
        request: AddPartitions,
    ) -> Result<Vec<Result<(), TransactionError>>, TransactionError> {
        let id = request.transactional_id.clone();
        match self.ask(&id, Request::VerifyPartitions(request)).await {
            Reply::VerifyPartitions(answer) => answer,
            other => unreachable!("a shard answers what it was asked, not {other:?}"),
        }
    }

    /// Whether a producer's transaction may begin in one partition: version 2 adds it, version 1 has added it (KIP-890).
    ///
    /// # Errors
    /// As the machine says.
    pub async fn begin_in_partition(&self, request: AddPartitions) -> Result<(), TransactionError> {
        if request.version.bumps_epoch() {
            return self.add_partitions(request).await;
        }
        self.verify_partitions(request).await?.into_iter().collect()
    }

    /// Commits or aborts.
    ///
    /// # Errors
    /// As the machine says.
    pub async fn end_transaction(&self, mut request: EndTransaction) -> Result<Producer, TransactionError> {
        loop {
            let id = request.transactional_id.clone();
            let answer = match self.ask(&id, Request::EndTransaction(request.clone())).await {
                Reply::EndTransaction(answer) => answer,
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            };
            if answer != Err(TransactionError::ProducerIdNeeded) {
                return answer;
            }
            request.fresh_producer_id = Some(self.fresh_producer_id().await?);
        }
    }

    /// How an id stands.
    ///
    /// # Errors
    /// As the machine says.
    pub async fn describe(&self, id: TransactionalId) -> Result<DescribedTransaction, TransactionError> {
        match self.ask(&id, Request::DescribeTransaction(id.clone())).await {
            Reply::DescribeTransaction(answer) => answer,
            other => unreachable!("a shard answers what it was asked, not {other:?}"),
        }
    }

    /// The ids of this broker that match. Those that are no more are not told of.
    ///
    /// # Errors
    /// When a shard that is here cannot answer.
    pub async fn list(&self, filter: &ListTransactions) -> Result<Vec<ListedTransaction>, TransactionError> {
        let mut all = Vec::new();
        for reply in self.shards.ask_all(|| Request::ListTransactions(filter.clone())).await {
            match reply {
                // What other brokers coordinate is asked of them.
                Reply::ListTransactions(Err(TransactionError::NotCoordinator)) => {}
                Reply::ListTransactions(listed) => all.extend(listed?),
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            }
        }
        all.retain(|listed| listed.state != TransactionState::Dead);
        Ok(all)
    }

    /// Has a partition of the internal topic read, unless it was.
    pub fn load(&self, partition: i32) {
        self.shards.load(partition);
    }

    /// The leader of a partition of the internal topic, or its epoch, has changed.
    pub fn leader_changed(&self, partition: i32, leads: bool) {
        self.shards.leader_changed(partition, leads);
    }

    /// Takes no more requests, makes what was decided durable, and ends the tasks.
    pub async fn close(&self) {
        self.shards.close().await;
    }

    async fn fresh_producer_id(&self) -> Result<i64, TransactionError> {
        self.producer_ids.next().await.ok_or(TransactionError::CoordinatorNotAvailable)
    }

    fn ask(&self, id: &TransactionalId, request: Request) -> impl Future<Output = Reply> + Send + use<> {
        self.shards.ask(self.partition_for(id), request)
    }
}
