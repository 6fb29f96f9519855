//! The groups of this broker: [`Groups`] on the shards of `__consumer_offsets`.

use std::future::Future;
use std::sync::Arc;

use super::shards::Shards;
use super::{CoordinatorConfig, CoordinatorLog, TopicLookup};
use crate::groups::{GroupConfig, GroupError, GroupId, Groups, Reply, Request, TopicName, partition_for};
use crate::ids::Producer;

/// The groups of this broker. Cheap to clone; must be used within a tokio runtime.
#[derive(Clone)]
pub struct GroupCoordinator {
    pub(super) topics: Arc<dyn TopicLookup>,
    shards: Shards<Groups>,
}

impl GroupCoordinator {
    /// A coordinator that has started no shard yet.
    pub fn new(
        log: Arc<dyn CoordinatorLog>,
        topics: Arc<dyn TopicLookup>,
        config: CoordinatorConfig<GroupConfig>,
    ) -> GroupCoordinator {
        GroupCoordinator { topics, shards: Shards::new(log, config, Arc::new(|_, never| match never {})) }
    }

    /// The partition of `__consumer_offsets` that holds the group.
    pub fn partition_for(&self, group: &str) -> i32 {
        partition_for(group, self.shards.partitions())
    }

    /// Hands a request about one group to its shard **before it returns**, so that requests of one connection keep
    /// their order, and gives the reply later. Never fails: refusals are replies.
    pub fn handle(&self, group: &GroupId, request: Request) -> impl Future<Output = Reply> + Send + use<> {
        self.shards.ask(self.partition_for(group.as_str()), request)
    }

    /// Forgets all offsets committed in these topics. To be called when topics are deleted.
    ///
    /// # Errors
    /// When not every shard could do it; what was done stays done.
    pub async fn on_topics_deleted(&self, topics: &[&str]) -> Result<(), GroupError> {
        let topics: Vec<TopicName> = topics.iter().map(|topic| TopicName::from(*topic)).collect();
        let replies = self.ask_all(|| Request::DeleteTopics(topics.clone())).await;
        replies.into_iter().try_for_each(|reply| match reply {
            Reply::DeleteTopics(done) => done,
            other => unreachable!("a shard answers what it was asked, not {other:?}"),
        })
    }

    /// Ends a producer's transaction in one partition of `__consumer_offsets`: the offsets that were committed in it
    /// count, or are forgotten.
    ///
    /// # Errors
    /// When the marker may not be there; it may be asked for again.
    pub async fn end_transaction(
        &self,
        partition: i32,
        producer: Producer,
        coordinator_epoch: i32,
        commit: bool,
    ) -> Result<(), GroupError> {
        let request = Request::EndTransaction { producer, coordinator_epoch, commit };
        match self.shards.ask(partition, request).await {
            Reply::EndTransaction(ended) => ended,
            other => unreachable!("a shard answers what it was asked, not {other:?}"),
        }
    }

    /// Starts every shard, so that all groups are loaded before anyone asks.
    pub fn load_all(&self) {
        self.shards.load_all();
    }

    /// Takes no more requests, makes what was decided durable, and ends the tasks. Members that wait are told to look
    /// for another coordinator.
    pub async fn close(&self) {
        self.shards.close().await;
    }

    /// Asks every shard and gives their replies in the order of partitions.
    pub(super) async fn ask_all(&self, request: impl Fn() -> Request) -> Vec<Reply> {
        self.shards.ask_all(request).await
    }
}
