//! What a stage asks of the cluster. The decisions are elsewhere, so that they can be tested on a cluster in
//! memory.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use ottla_client::{ClientError, ConsumerRecord, Record, TopicPartition};

/// Records of one input partition, in order and following those fetched before.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub partition: TopicPartition,
    pub records: Vec<ConsumerRecord>,
    /// Where reading goes on: after the last record, and after what is given to nobody, as the ends of transactions are.
    pub next_offset: i64,
}

/// The next record to read, by input partition.
pub type Positions = BTreeMap<TopicPartition, i64>;

#[async_trait]
pub trait StageCluster: Send + Sync {
    /// The partitions of a topic, if it exists.
    async fn partitions(&self, topic: &str) -> Result<Option<i32>, ClientError>;

    /// Becomes the only one that writes for this stage: nobody who did so before commits anything from here on.
    async fn take_over(&self) -> Result<(), ClientError>;

    /// What the stage has committed last.
    async fn committed(&self, partitions: &[TopicPartition]) -> Result<Positions, ClientError>;

    async fn begins(&self, partitions: &[TopicPartition]) -> Result<Positions, ClientError>;

    async fn ends(&self, partitions: &[TopicPartition]) -> Result<Positions, ClientError>;

    /// Polls go on from here.
    async fn seek(&self, positions: &Positions) -> Result<(), ClientError>;

    /// The next records of committed transactions, waiting up to `timeout` for the first.
    async fn poll(&self, timeout: Duration) -> Result<Vec<Fetched>, ClientError>;

    /// Adds records to the transaction; waits only for room.
    async fn send(&self, partition: &TopicPartition, records: Vec<Record>) -> Result<(), ClientError>;

    /// Commits, all together or nothing, what was sent since the last commit and these positions.
    async fn commit(&self, positions: Positions) -> Result<(), ClientError>;

    /// Gives up what was sent since the last commit.
    async fn give_up(&self);
}
