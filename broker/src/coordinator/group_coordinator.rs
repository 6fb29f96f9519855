//! The groups of this broker: [`Groups`] on the shards of `__consumer_offsets`.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shards::Shards;
use super::{CoordinatorConfig, CoordinatorLog, TopicLookup};
use crate::groups::offsets::CommitOffsets;
use crate::groups::{GroupConfig, GroupError, GroupId, Groups, Reply, Request, TopicName, partition_for};
use crate::ids::Producer;
use crate::transactions::{Question, Verifications};

/// The groups of this broker. Cheap to clone; must be used within a tokio runtime.
#[derive(Clone)]
pub struct GroupCoordinator {
    pub(super) topics: Arc<dyn TopicLookup>,
    shards: Shards<Groups>,
    verifications: Arc<Mutex<Verifications>>,
}

/// That a transaction's coordinator is asked about a group's partition. While it is held, markers that overtake the
/// question are known.
pub struct Verification {
    question: Question,
    verifications: Arc<Mutex<Verifications>>,
}

impl Drop for Verification {
    fn drop(&mut self) {
        locked(&self.verifications).end(self.question);
    }
}

/// The lock is held for a few lines that cannot leave it half changed.
fn locked(verifications: &Mutex<Verifications>) -> MutexGuard<'_, Verifications> {
    verifications.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GroupCoordinator {
    /// A coordinator that has started no shard yet.
    pub fn new(
        log: Arc<dyn CoordinatorLog>,
        topics: Arc<dyn TopicLookup>,
        config: CoordinatorConfig<GroupConfig>,
    ) -> GroupCoordinator {
        let shards = Shards::new(log, config, Arc::new(|_, never| match never {}));
        GroupCoordinator { topics, shards, verifications: Arc::default() }
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

    /// To be called before a transaction's coordinator is asked whether the group's partition is part of it.
    pub fn begin_verification(&self, group: &str, producer: Producer) -> Verification {
        let question = locked(&self.verifications).begin(self.partition_for(group), producer.id);
        Verification { question, verifications: self.verifications.clone() }
    }

    /// Hands over a commit whose transaction's coordinator has agreed, as [`GroupCoordinator::handle`] does; it is refused
    /// when a marker has overtaken the question, as the transaction is over then.
    pub(super) fn commit_in_transaction(
        &self,
        producer: Producer,
        commit: CommitOffsets,
        verification: &Verification,
    ) -> impl Future<Output = Reply> + Send + use<> {
        let group = commit.group.clone();
        let request = Request::CommitOffsetsInTransaction(producer, commit);
        let overtaken = request.refused(GroupError::InvalidTxnState);
        // Held until the commit has its place in the shard's queue, where markers are as well.
        let verifications = locked(&self.verifications);
        let reply = verifications.is_open(verification.question).then(|| self.handle(&group, request));
        async move {
            match reply {
                Some(reply) => reply.await,
                None => overtaken,
            }
        }
    }

    /// Forgets all offsets committed in these topics, as far as they are this node's. To be called when topics are deleted.
    ///
    /// # Errors
    /// When not every shard that is here could do it; what was done stays done.
    pub async fn on_topics_deleted(&self, topics: &[&str]) -> Result<(), GroupError> {
        let topics: Vec<TopicName> = topics.iter().map(|topic| TopicName::from(*topic)).collect();
        let replies = self.ask_all(|| Request::DeleteTopics(topics.clone())).await;
        replies.into_iter().try_for_each(|reply| match reply {
            Reply::DeleteTopics(Err(GroupError::NotCoordinator)) => Ok(()),
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
        let reply = {
            let mut verifications = locked(&self.verifications);
            verifications.on_marker(partition, producer.id);
            self.shards.ask(partition, request)
        };
        match reply.await {
            Reply::EndTransaction(ended) => ended,
            other => unreachable!("a shard answers what it was asked, not {other:?}"),
        }
    }

    /// The leader of a partition of the internal topic, or its epoch, has changed.
    pub fn leader_changed(&self, partition: i32, leads: bool) {
        self.shards.leader_changed(partition, leads);
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
