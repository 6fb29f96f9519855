//! The topic `ottla-pipelines`: what was applied, by the pipeline's name. Compacted, one partition.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_client::{Client, ClientError, ErrorCode, NewTopic, Producer, ProducerConfig, Record};
use tokio::sync::OnceCell;

use super::ServiceError;
use super::document::Kept;
use crate::topic_log;

pub(super) const TOPIC: &str = "ottla-pipelines";

/// The topic, made by the first pipeline.
pub(super) struct Store {
    client: Client,
    producer: OnceCell<Producer>,
}

impl Store {
    pub(super) fn new(client: Client) -> Store {
        Store { client, producer: OnceCell::new() }
    }

    /// All that was applied and not deleted. A record that cannot be read is an error: what it stands for would be forgotten.
    pub(super) async fn load(&self) -> Result<BTreeMap<String, Kept>, ServiceError> {
        if !self.client.admin().topic_exists(TOPIC).await? {
            return Ok(BTreeMap::new());
        }
        let records = topic_log::last_of_each_key(topic_log::read(&self.client, TOPIC).await?);
        let read = |(key, value): (Bytes, Bytes)| {
            let name = String::from_utf8_lossy(&key).into_owned();
            let kept = serde_json::from_slice(&value)
                .map_err(|error| ServiceError::Store { name: name.clone(), reason: error.to_string() })?;
            Ok((name, kept))
        };
        records.into_iter().map(read).collect()
    }

    /// Keeps what was applied, or nothing any more; it is durable when this returns.
    pub(super) async fn keep(&self, name: &str, kept: Option<&Kept>) -> Result<(), ServiceError> {
        let value = kept.map(serde_json::to_vec).transpose();
        let value = value
            .map_err(|error| ServiceError::Store { name: name.to_owned(), reason: error.to_string() })?;
        let producer = self.producer.get_or_try_init(|| self.open()).await?;
        let key = Some(Bytes::copy_from_slice(name.as_bytes()));
        let record = Record { key, value: value.map(Bytes::from), ..Record::default() };
        producer.send_batch(TOPIC, 0, vec![record]).await?.await?;
        Ok(())
    }

    async fn open(&self) -> Result<Producer, ClientError> {
        let configs = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        let topic = NewTopic { configs, ..NewTopic::new(TOPIC, 1) };
        match self.client.admin().create_topics(&[topic]).await {
            Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => return Err(error),
            _ => {}
        }
        self.client.producer(ProducerConfig::default()).await
    }
}
