//! The topic `_schemas` on a Kafka cluster, in one trait, so that tests can have it in memory.

use std::time::Duration;

use async_trait::async_trait;
use ottla_client::{
    Client, ClientError, ConfigResource, Consumer, ConsumerConfig, ErrorCode, NewTopic, OFFSET_LATEST,
    OffsetReset, Producer, ProducerConfig, Record, TopicPartition,
};

use super::records::TOPIC;

/// A record as it was read.
#[derive(Debug, Clone)]
pub struct Logged {
    pub offset: i64,
    pub record: Record,
}

/// The log of all changes, from its beginning.
#[async_trait]
pub trait SchemaLog: Send + 'static {
    /// Finds the topic, or makes it; says whether it is there.
    async fn open(&mut self, may_create: bool) -> Result<bool, ClientError>;

    /// The offset of the next record to be written by anybody.
    async fn end(&mut self) -> Result<i64, ClientError>;

    /// The next records, or none after `wait`. Cancel safe.
    async fn poll(&mut self, wait: Duration) -> Result<Vec<Logged>, ClientError>;

    /// The offset that reading goes on with: before it everything was polled.
    async fn position(&mut self) -> Result<i64, ClientError>;

    /// Writes all of the records or none; gives the offset of the last when every in-sync replica has them.
    async fn append(&mut self, records: Vec<Record>) -> Result<i64, ClientError>;
}

/// The topic behind a client.
pub struct KafkaLog {
    client: Client,
    opened: Option<(Consumer, Producer)>,
}

impl KafkaLog {
    /// Nothing is read or made before it is opened.
    #[must_use]
    pub fn new(client: Client) -> KafkaLog {
        KafkaLog { client, opened: None }
    }

    fn opened(&self) -> Result<&(Consumer, Producer), ClientError> {
        self.opened.as_ref().ok_or(ClientError::Closed("the topic of the schema registry"))
    }

    async fn find(&self, may_create: bool) -> Result<bool, ClientError> {
        let admin = self.client.admin();
        let described = match admin.describe_topic(TOPIC).await {
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                if !may_create {
                    return Ok(false);
                }
                // What is no longer the last word on a key may go; the last word must stay, however old.
                let topic = NewTopic::new(TOPIC, 1).with_config("cleanup.policy", "compact");
                match admin.create_topics(&[topic]).await {
                    Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => return Err(error),
                    _ => admin.describe_topic(TOPIC).await?,
                }
            }
            other => other?,
        };
        let wrong = |why: String| Err(ClientError::InvalidConfig(format!("topic {TOPIC}: {why}")));
        if described.partition_count() != 1 {
            return wrong(format!("it has {} partitions and must have one", described.partition_count()));
        }
        let resource = ConfigResource::Topic(TOPIC.to_owned());
        // Whoever may not read configs must trust that it is right.
        let configs = admin.describe_configs(&resource).await.unwrap_or_default();
        let policy = configs.iter().find(|entry| entry.name == "cleanup.policy");
        match policy.and_then(|entry| entry.value.as_deref()) {
            Some(policy) if policy != "compact" => wrong(format!(
                "its cleanup.policy is {policy}, by which schemas would be lost; set it to compact"
            )),
            _ => Ok(true),
        }
    }
}

fn partition() -> TopicPartition {
    TopicPartition::new(TOPIC, 0)
}

#[async_trait]
impl SchemaLog for KafkaLog {
    async fn open(&mut self, may_create: bool) -> Result<bool, ClientError> {
        if self.opened.is_some() {
            return Ok(true);
        }
        if !self.find(may_create).await? {
            return Ok(false);
        }
        let config = ConsumerConfig {
            auto_offset_reset: OffsetReset::Earliest,
            enable_auto_commit: false,
            ..ConsumerConfig::default()
        };
        let consumer = self.client.consumer(config).await?;
        consumer.assign(vec![(partition(), 0)]).await?;
        let producer =
            self.client.producer(ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() });
        self.opened = Some((consumer, producer.await?));
        Ok(true)
    }

    async fn end(&mut self) -> Result<i64, ClientError> {
        let ends = self.client.admin().list_offsets(&[(partition(), OFFSET_LATEST)]).await?;
        Ok(ends.get(&partition()).map_or(0, |end| end.offset))
    }

    async fn poll(&mut self, wait: Duration) -> Result<Vec<Logged>, ClientError> {
        let (consumer, _) = self.opened()?;
        let fetched = consumer.poll(wait).await?;
        let records = fetched.into_iter().flat_map(|fetched| fetched.records);
        Ok(records
            .map(|record| Logged {
                offset: record.offset,
                record: Record { key: record.key, value: record.value, ..Record::default() },
            })
            .collect())
    }

    async fn position(&mut self) -> Result<i64, ClientError> {
        let (consumer, _) = self.opened()?;
        consumer.position(&partition()).await
    }

    async fn append(&mut self, records: Vec<Record>) -> Result<i64, ClientError> {
        let (_, producer) = self.opened()?;
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        let first = producer.send_batch(TOPIC, 0, records).await?.await?;
        Ok(first.offset + count - 1)
    }
}
