//! A stage's cluster through the client: a consumer for the input, and a transaction for the output and the offsets.

use std::time::Duration;

use async_trait::async_trait;
use ottla_client::{
    Client, ClientError, CommittedOffset, Consumer, ConsumerConfig, FetchedPartition, IsolationLevel, Record,
    TopicPartition,
};
use ottla_connect::TransactionalWriter;
use tokio::sync::Mutex;

use super::cluster::{Fetched, Positions, StageCluster};

pub struct KafkaStageCluster {
    client: Client,
    group_id: String,
    input: Consumer,
    /// There from `take_over` until an error.
    writer: Mutex<Option<TransactionalWriter>>,
}

impl KafkaStageCluster {
    /// `group_id` is where the input's offsets are kept, and names the transactions.
    pub async fn open(client: &Client, group_id: &str) -> Result<KafkaStageCluster, ClientError> {
        let config = ConsumerConfig {
            enable_auto_commit: false,
            isolation_level: IsolationLevel::ReadCommitted,
            group_id: Some(group_id.to_owned()),
            ..ConsumerConfig::default()
        };
        let input = client.consumer(config).await?;
        let (client, group_id) = (client.clone(), group_id.to_owned());
        Ok(KafkaStageCluster { client, group_id, input, writer: Mutex::default() })
    }
}

#[async_trait]
impl StageCluster for KafkaStageCluster {
    async fn partitions(&self, topic: &str) -> Result<Option<i32>, ClientError> {
        let admin = self.client.admin();
        if !admin.topic_exists(topic).await? {
            return Ok(None);
        }
        Ok(Some(admin.describe_topic(topic).await?.partition_count()))
    }

    async fn take_over(&self) -> Result<(), ClientError> {
        let transactional_id = format!("ottla-stage-{}", self.group_id);
        let writer = TransactionalWriter::open(&self.client, &transactional_id).await?;
        *self.writer.lock().await = Some(writer);
        Ok(())
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<Positions, ClientError> {
        let committed = self.input.committed(partitions).await?;
        let stored = committed.into_iter().filter(|(_, commit)| commit.offset >= 0);
        Ok(stored.map(|(partition, commit)| (partition, commit.offset)).collect())
    }

    async fn begins(&self, partitions: &[TopicPartition]) -> Result<Positions, ClientError> {
        self.input.beginning_offsets(partitions).await
    }

    async fn ends(&self, partitions: &[TopicPartition]) -> Result<Positions, ClientError> {
        self.input.end_offsets(partitions).await
    }

    async fn seek(&self, positions: &Positions) -> Result<(), ClientError> {
        let places = positions.iter().map(|(partition, offset)| (partition.clone(), *offset));
        self.input.assign(places.collect()).await
    }

    async fn poll(&self, timeout: Duration) -> Result<Vec<Fetched>, ClientError> {
        let fetched = |polled: FetchedPartition| {
            let FetchedPartition { topic_partition: partition, records, next_offset, .. } = polled;
            Fetched { partition, records, next_offset }
        };
        Ok(self.input.poll(timeout).await?.into_iter().map(fetched).collect())
    }

    async fn send(&self, partition: &TopicPartition, records: Vec<Record>) -> Result<(), ClientError> {
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or(ClientError::Closed("writer"))?;
        writer.send(&partition.topic, partition.partition, &records).await
    }

    async fn commit(&self, positions: Positions) -> Result<(), ClientError> {
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or(ClientError::Closed("writer"))?;
        let committed = |offset| CommittedOffset { offset, leader_epoch: -1, metadata: String::new() };
        let offsets: Vec<_> =
            positions.into_iter().map(|(partition, offset)| (partition, committed(offset))).collect();
        writer.send_offsets(&self.group_id, &offsets).await?;
        writer.commit().await
    }

    async fn give_up(&self) {
        if let Some(writer) = self.writer.lock().await.take() {
            // On its own, as the cluster may be away for long; the next writer ends what this one left open.
            tokio::spawn(writer.close());
        }
    }
}
