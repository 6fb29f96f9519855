//! The topic `ottla-sql`: the statements that last, by the name of what they made. Compacted, one partition.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use ottla_client::{
    Client, ClientError, ErrorCode, IsolationLevel, NewTopic, Producer, ProducerConfig, Record,
};

use super::EngineError;
use super::objects::Kept;
use crate::runtime::topics;
use crate::state::changelog::Offsets;

/// Where statements are kept.
pub(super) const TOPIC: &str = "ottla-sql";

/// The topic, open for writing.
pub(super) struct Store {
    producer: Producer,
}

impl Store {
    /// Makes the topic where it is missing and reads it: what is kept, in the order in which it was made.
    pub(super) async fn open(client: &Client) -> Result<(Store, Vec<Kept>), EngineError> {
        let configs = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        let topic = NewTopic { name: TOPIC.to_owned(), partitions: 1, replication_factor: 1, configs };
        match client.admin().create_topics(&[topic]).await {
            Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => return Err(error.into()),
            _ => {}
        }
        let partitions = topics::partitions(client, TOPIC).await?;
        let consumer = topics::reader(client, IsolationLevel::ReadCommitted).await?;
        let ends = topics::end_offsets(&consumer, &partitions).await?;
        consumer.close().await?;
        let mut newest: BTreeMap<Bytes, (i64, Option<Bytes>)> = BTreeMap::new();
        let begin = Offsets::new();
        let read =
            topics::read_range(client, IsolationLevel::ReadCommitted, TOPIC, &begin, &ends, |_, records| {
                for record in records {
                    newest.insert(record.key.unwrap_or_default(), (record.offset, record.value));
                }
                ControlFlow::Continue(())
            });
        let _all_of_it = read.await?;
        let mut kept: Vec<(i64, Kept)> = Vec::new();
        for (offset, value) in newest.into_values() {
            let Some(value) = value else { continue };
            let statement = serde_json::from_slice(&value)
                .map_err(|error| EngineError::Store { topic: TOPIC, reason: error.to_string() })?;
            kept.push((offset, statement));
        }
        kept.sort_by_key(|(offset, _)| *offset);
        let producer = client.producer(ProducerConfig::default()).await?;
        Ok((Store { producer }, kept.into_iter().map(|(_, kept)| kept).collect()))
    }

    /// Keeps a statement; it is durable when this returns.
    pub(super) async fn keep(&self, kept: &Kept) -> Result<(), ClientError> {
        let mut value = serde_json::json!({ "name": kept.name, "sql": kept.sql });
        if let Some(module) = &kept.module {
            value["module"] = module.as_str().into();
        }
        self.write(&kept.name, Some(Bytes::from(value.to_string()))).await
    }

    /// Forgets the statement that made this.
    pub(super) async fn forget(&self, name: &str) -> Result<(), ClientError> {
        self.write(name, None).await
    }

    async fn write(&self, name: &str, value: Option<Bytes>) -> Result<(), ClientError> {
        let record =
            Record { key: Some(Bytes::copy_from_slice(name.as_bytes())), value, ..Record::default() };
        self.producer.send_batch(TOPIC, 0, vec![record]).await?.await.map(|_| ())
    }
}
