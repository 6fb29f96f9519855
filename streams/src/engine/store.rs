//! The topic `ottla-sql`: the statements that last, by the name of what they made. Compacted, one partition.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use ottla_client::{Client, ClientError, ErrorCode, NewTopic, Producer, ProducerConfig, Record};

use super::EngineError;
use super::objects::Kept;
use crate::runtime::topics;
use crate::state::changelog::Offsets;

/// Where statements are kept.
pub(super) const TOPIC: &str = "ottla-sql";

/// What the key begins with of a record that says that a query rests: apart from its statement's, whose place in the topic is
/// the order in which statements are run again. No name begins so.
const PAUSED: &[u8] = b"\0paused ";

/// The topic, open for writing.
pub(super) struct Store {
    producer: Producer,
}

impl Store {
    /// Makes the topic where it is missing and reads it: what is kept, in the order in which it was made, and the names of the
    /// queries that rest.
    pub(super) async fn open(client: &Client) -> Result<(Store, Vec<Kept>, BTreeSet<String>), EngineError> {
        let topic = NewTopic::new(TOPIC, 1).with_config("cleanup.policy", "compact");
        match client.admin().create_topics(&[topic]).await {
            Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => return Err(error.into()),
            _ => {}
        }
        let partitions = topics::partitions(client, TOPIC).await?;
        let consumer = topics::reader(client).await?;
        let ends = topics::end_offsets(&consumer, &partitions).await?;
        consumer.close().await?;
        let mut newest: BTreeMap<Bytes, (i64, Option<Bytes>)> = BTreeMap::new();
        let begin = Offsets::new();
        let read = topics::read_range(client, TOPIC, &begin, &ends, |_, records| {
            for record in records {
                newest.insert(record.key.unwrap_or_default(), (record.offset, record.value));
            }
            ControlFlow::Continue(())
        });
        let _all_of_it = read.await?;
        let mut kept: Vec<(i64, Kept)> = Vec::new();
        let mut paused = BTreeSet::new();
        for (key, (offset, value)) in newest {
            let Some(value) = value else { continue };
            if let Some(name) = key.strip_prefix(PAUSED) {
                paused.insert(String::from_utf8_lossy(name).into_owned());
                continue;
            }
            let statement = serde_json::from_slice(&value)
                .map_err(|error| EngineError::Store { topic: TOPIC, reason: error.to_string() })?;
            kept.push((offset, statement));
        }
        kept.sort_by_key(|(offset, _)| *offset);
        let producer = client.producer(ProducerConfig::default()).await?;
        Ok((Store { producer }, kept.into_iter().map(|(_, kept)| kept).collect(), paused))
    }

    /// Keeps a statement; it is durable when this returns.
    pub(super) async fn keep(&self, kept: &Kept) -> Result<(), ClientError> {
        let mut value = serde_json::json!({ "name": kept.name, "sql": kept.sql });
        if let Some(module) = &kept.module {
            value["module"] = module.as_str().into();
        }
        self.write(kept.name.as_bytes(), Some(Bytes::from(value.to_string()))).await
    }

    /// Forgets the statement that made this.
    pub(super) async fn forget(&self, name: &str) -> Result<(), ClientError> {
        self.write(name.as_bytes(), None).await
    }

    /// Keeps whether a query rests.
    pub(super) async fn keep_paused(&self, name: &str, is_paused: bool) -> Result<(), ClientError> {
        let key = [PAUSED, name.as_bytes()].concat();
        self.write(&key, is_paused.then(|| Bytes::from_static(b"{\"paused\":true}"))).await
    }

    async fn write(&self, key: &[u8], value: Option<Bytes>) -> Result<(), ClientError> {
        let record = Record { key: Some(Bytes::copy_from_slice(key)), value, ..Record::default() };
        self.producer.send_batch(TOPIC, 0, vec![record]).await?.await.map(|_| ())
    }
}
