//! A stage's cluster through the client: a consumer for the input, another for tails, and an idempotent
//! producer.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use ottla_client::{
    Client, ClientError, Consumer, ConsumerConfig, ConsumerRecord, FetchedPartition, IsolationLevel,
    Producer, ProducerConfig, Record, TopicPartition,
};
use tokio::sync::Mutex;

use super::cluster::{Acknowledged, Fetched, StageCluster, StoredCommit, TopicInfo};

/// How long one poll of a tail waits.
const TAIL_POLL: Duration = Duration::from_millis(500);

pub struct KafkaStageCluster {
    client: Client,
    input: Consumer,
    /// What the input is read from.
    inputs: Mutex<Vec<TopicPartition>>,
    /// Apart from the input's, so that reading a tail moves no position.
    tails: Consumer,
    producer: Producer,
}

impl KafkaStageCluster {
    /// `group_id` is where the input's offsets are kept.
    pub async fn open(client: &Client, group_id: &str) -> Result<KafkaStageCluster, ClientError> {
        let config = ConsumerConfig {
            enable_auto_commit: false,
            isolation_level: IsolationLevel::ReadCommitted,
            ..ConsumerConfig::default()
        };
        let input =
            client.consumer(ConsumerConfig { group_id: Some(group_id.to_owned()), ..config.clone() }).await?;
        let tails = client.consumer(config).await?;
        let producer = client.producer(ProducerConfig::default()).await?;
        Ok(KafkaStageCluster { client: client.clone(), input, inputs: Mutex::default(), tails, producer })
    }
}

#[async_trait]
impl StageCluster for KafkaStageCluster {
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>, ClientError> {
        let admin = self.client.admin();
        if !admin.topic_exists(name).await? {
            return Ok(None);
        }
        let topic = admin.describe_topic(name).await?;
        Ok(Some(TopicInfo { id: topic.topic_id.to_string(), partitions: topic.partition_count() }))
    }

    async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, StoredCommit>, ClientError> {
        let committed = self.input.committed(partitions).await?;
        let stored = committed.into_iter().filter(|(_, commit)| commit.offset >= 0);
        Ok(stored
            .map(|(partition, commit)| {
                (partition, StoredCommit { offset: commit.offset, metadata: commit.metadata })
            })
            .collect())
    }

    async fn commit(&self, commits: BTreeMap<TopicPartition, StoredCommit>) -> Result<(), ClientError> {
        let offsets: Vec<_> = commits
            .into_iter()
            .map(|(partition, commit)| (partition, commit.offset, commit.metadata))
            .collect();
        self.input.commit_offsets(&offsets).await
    }

    async fn begins(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        self.tails.beginning_offsets(partitions).await
    }

    async fn ends(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        self.tails.end_offsets(partitions).await
    }

    async fn read(
        &self,
        partition: &TopicPartition,
        from: i64,
        until: i64,
        see: &mut (dyn for<'record> FnMut(&'record ConsumerRecord) + Send),
    ) -> Result<(), ClientError> {
        self.tails.assign(vec![(partition.clone(), from)]).await?;
        // The position, not the last record, says how far it is: the end may be behind a gap that compaction
        // left.
        while self.tails.position(partition).await? < until {
            for fetched in self.tails.poll(TAIL_POLL).await? {
                fetched.records.iter().filter(|record| record.offset < until).for_each(&mut *see);
            }
        }
        self.tails.assign(Vec::new()).await
    }

    async fn seek(&self, positions: &BTreeMap<TopicPartition, i64>) -> Result<(), ClientError> {
        *self.inputs.lock().await = positions.keys().cloned().collect();
        self.input
            .assign(positions.iter().map(|(partition, offset)| (partition.clone(), *offset)).collect())
            .await
    }

    async fn poll(&self, timeout: Duration) -> Result<Vec<Fetched>, ClientError> {
        let mut fetched = Vec::new();
        for FetchedPartition { topic_partition, records, .. } in self.input.poll(timeout).await? {
            let Some(last) = records.last() else { continue };
            let next_offset = last.offset + 1;
            fetched.push(Fetched { partition: topic_partition, records, next_offset });
        }
        if fetched.is_empty() {
            for partition in self.inputs.lock().await.iter() {
                let next_offset = self.input.position(partition).await?;
                fetched.push(Fetched { partition: partition.clone(), records: Vec::new(), next_offset });
            }
        }
        Ok(fetched)
    }

    async fn send(&self, partition: &TopicPartition, record: Record) -> Result<Acknowledged, ClientError> {
        let delivery = self.producer.send(&partition.topic, Some(partition.partition), record).await?;
        Ok(async move { delivery.await.map(|metadata| metadata.offset) }.boxed())
    }
}
