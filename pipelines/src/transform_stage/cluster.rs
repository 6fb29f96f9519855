//! What a stage asks of the cluster. The decisions are elsewhere, so that they can be tested on a cluster in
//! memory.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use ottla_client::{ClientError, ConsumerRecord, Record, TopicPartition};

/// A topic as a stage needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub id: String,
    pub partitions: i32,
}

/// Records of one input partition, in order and following those fetched before.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub partition: TopicPartition,
    pub records: Vec<ConsumerRecord>,
    /// Where reading goes on: after the last record, and after what is given to nobody, as the ends of transactions are.
    pub next_offset: i64,
}

/// What was stored for an input partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCommit {
    /// The next record to read.
    pub offset: i64,
    pub metadata: String,
}

/// Resolves to the offset of an acknowledged record, or -1 when the broker does not remember it.
pub type Acknowledged = BoxFuture<'static, Result<i64, ClientError>>;

#[async_trait]
pub trait StageCluster: Send + Sync {
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>, ClientError>;

    /// What the stage's group has stored.
    async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, StoredCommit>, ClientError>;

    /// Stores all of it in one request.
    async fn commit(&self, commits: BTreeMap<TopicPartition, StoredCommit>) -> Result<(), ClientError>;

    async fn begins(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError>;

    async fn ends(&self, partitions: &[TopicPartition])
    -> Result<BTreeMap<TopicPartition, i64>, ClientError>;

    /// Shows each record of a partition from one offset until another.
    async fn read(
        &self,
        partition: &TopicPartition,
        from: i64,
        until: i64,
        see: &mut (dyn for<'record> FnMut(&'record ConsumerRecord) + Send),
    ) -> Result<(), ClientError>;

    /// Polls go on from here.
    async fn seek(&self, positions: &BTreeMap<TopicPartition, i64>) -> Result<(), ClientError>;

    async fn poll(&self, timeout: Duration) -> Result<Vec<Fetched>, ClientError>;

    /// Hands a record to the producer; waits only for room.
    async fn send(&self, partition: &TopicPartition, record: Record) -> Result<Acknowledged, ClientError>;
}
