//! Reading and writing the topics that a herder keeps: `connect-configs`, and the offsets of sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_client::{ClientError, Record, partition_of_key};
use serde_json::{Map, Value, json};

use super::definition::{Definition, Properties};
use super::records::{ConfigRecord, TOPIC, TargetState};
use super::status;
use crate::connector::SourceOffset;
use crate::worker::cluster::{Cluster, Topic, read_spans};
use crate::worker::offsets::{self, SourceCommit, WrittenTopic};
use crate::worker::{OnError, group_of};

/// What the topic says of each connector.
pub(super) type Known = BTreeMap<String, (Option<Properties>, TargetState)>;

/// Partitions of a source, each with the offset that it shall have; none stands for the beginning.
pub(super) type WantedOffsets = Vec<(Map<String, Value>, Option<SourceOffset>)>;

/// The topics, on one cluster.
#[derive(Clone)]
pub(super) struct Store {
    cluster: Arc<dyn Cluster>,
}

impl Store {
    pub fn new(cluster: Arc<dyn Cluster>) -> Store {
        Store { cluster }
    }

    pub fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.cluster
    }

    /// Everything that was stored; nothing, and no topic made, where nothing was.
    pub async fn load(&self) -> Result<Known, ClientError> {
        let mut known = Known::new();
        for (key, value) in self.last_values(TOPIC).await? {
            match ConfigRecord::read(&key, value.as_deref()) {
                Ok(Some(ConfigRecord::Connector { name, properties })) => {
                    known.entry(name).or_default().0 = properties;
                }
                Ok(Some(ConfigRecord::TargetState { name, state })) => {
                    known.entry(name).or_default().1 = state.unwrap_or_default();
                }
                Ok(None) => {}
                Err(reason) => tracing::error!(topic = TOPIC, reason, "a record cannot be read"),
            }
        }
        Ok(known)
    }

    /// What `connect-status` holds.
    pub async fn load_status(&self) -> Result<status::Records, ClientError> {
        let last = self.last_values(status::TOPIC).await?;
        Ok(last.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    /// Writes changes to `connect-status`.
    pub async fn append_status(&self, changes: Vec<(Bytes, Option<Bytes>)>) -> Result<(), ClientError> {
        self.write(status::TOPIC, changes).await
    }

    /// Stores a change; when this returns it is safe.
    pub async fn append(&self, record: &ConfigRecord) -> Result<(), ClientError> {
        self.write(TOPIC, vec![(record.key(), record.value())]).await
    }

    /// The offsets of a source by its partitions, as Kafka Connect's REST API tells them.
    pub async fn source_offsets(&self, connector: &str) -> Result<Vec<(Value, Value)>, ClientError> {
        let mut found = Vec::new();
        for (key, value) in self.last_values(offsets::TOPIC).await? {
            let Some(partition) = offsets::partition_of(&key, connector) else { continue };
            let Some(commit) = value.and_then(|value| offsets::parse(&value).ok()) else { continue };
            let resume = commit.resume.and_then(|resume| serde_json::to_value(resume).ok());
            found.extend(resume.map(|resume| (partition, resume)));
        }
        Ok(found)
    }

    /// Sets the offsets of partitions of a source whose task does not run.
    pub async fn set_source_offsets(
        &self,
        connector: &str,
        definition: &Definition,
        wanted: WantedOffsets,
    ) -> Result<(), ClientError> {
        let mut topics = BTreeMap::new();
        let dead_letters = match &definition.on_error {
            OnError::DeadLetter { topic } => Some(topic),
            OnError::Stop => None,
        };
        for name in definition.topics.iter().chain(dead_letters) {
            let topic = self.cluster.topic(name, -1).await?;
            topics.insert(name.clone(), WrittenTopic { topic_id: topic.id });
        }
        let records = wanted.into_iter().map(|(partition, offset)| {
            let key = Bytes::from(json!([connector, partition]).to_string());
            let commit = offset.map(|resume| SourceCommit { resume: Some(resume), topics: topics.clone() });
            (key, commit.as_ref().map(offsets::value))
        });
        self.write(offsets::TOPIC, records.collect()).await
    }

    /// The offsets that a sink's group has committed, by partitions of its topics.
    pub async fn sink_offsets(
        &self,
        connector: &str,
        definition: &Definition,
    ) -> Result<Vec<(Value, Value)>, ClientError> {
        let mut found = Vec::new();
        for name in &definition.topics {
            let Some(topic) = self.existing(name).await? else { continue };
            for (partition, offset) in self.cluster.group_offsets(&group_of(connector), &topic).await? {
                let place = json!({ "kafka_topic": name, "kafka_partition": partition });
                found.push((place, json!({ "kafka_offset": offset })));
            }
        }
        Ok(found)
    }

    /// Sets offsets of a sink whose tasks do not run, by topic and partition; none stands for the beginning.
    pub async fn set_sink_offsets(
        &self,
        connector: &str,
        wanted: Vec<(String, i32, Option<i64>)>,
    ) -> Result<(), ClientError> {
        let mut by_topic: BTreeMap<String, BTreeMap<i32, Option<i64>>> = BTreeMap::new();
        for (topic, partition, offset) in wanted {
            by_topic.entry(topic).or_default().insert(partition, offset);
        }
        for (name, wanted) in by_topic {
            let topic = self.cluster.topic(&name, -1).await?;
            let bounds = self.cluster.bounds(&topic).await?;
            let offsets = wanted.into_iter().filter_map(|(partition, offset)| {
                let bounds = bounds.get(&partition)?;
                Some((partition, offset.unwrap_or(bounds.start)))
            });
            let offsets = offsets.collect();
            self.cluster.commit_group_offsets(&group_of(connector), &topic, &offsets).await?;
        }
        Ok(())
    }

    /// Lets a sink whose tasks do not run begin anew.
    pub async fn reset_sink_offsets(&self, connector: &str) -> Result<(), ClientError> {
        self.cluster.delete_group(&group_of(connector)).await
    }

    async fn write(&self, name: &str, records: Vec<(Bytes, Option<Bytes>)>) -> Result<(), ClientError> {
        let topic = self.cluster.topic(name, 1).await?;
        let writer = self.cluster.writer().await?;
        for (key, value) in records {
            let partition = partition_of_key(&key, topic.partitions);
            let record = Record { key: Some(key), value, headers: Vec::new(), timestamp_ms: None };
            writer.send(&topic.name, partition, vec![record]).await?.await?;
        }
        writer.close().await;
        Ok(())
    }

    /// The last value of every key, in the order of keys.
    async fn last_values(&self, name: &str) -> Result<BTreeMap<Bytes, Option<Bytes>>, ClientError> {
        let mut last = BTreeMap::new();
        let Some(topic) = self.existing(name).await? else { return Ok(last) };
        let spans = self.cluster.bounds(&topic).await?;
        read_spans(&*self.cluster, &topic, &spans, |_, record| {
            if let Some(key) = record.key {
                last.insert(key, record.value);
            }
        })
        .await?;
        Ok(last)
    }

    async fn existing(&self, name: &str) -> Result<Option<Topic>, ClientError> {
        match self.cluster.exists(name).await? {
            true => self.cluster.topic(name, 1).await.map(Some),
            false => Ok(None),
        }
    }
}
