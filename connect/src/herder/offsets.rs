//! The offsets of connectors (KIP-875): those of sources by their partitions, and those of sinks that keep them in their
//! group by partitions of topics.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::definition::Definition;
use super::herder::{Herder, HerderError};
use super::records::TargetState;
use crate::connector::OffsetStore;
use crate::registry::ConnectorKind;

/// A partition of a connector and the offset that it shall have, as Kafka Connect's REST API writes them.
#[derive(Debug, Deserialize)]
pub(super) struct WantedOffset {
    pub partition: Map<String, Value>,
    #[serde(default)]
    pub offset: Option<Value>,
}

#[derive(Deserialize)]
struct KafkaPartition {
    kafka_topic: String,
    kafka_partition: i32,
}

#[derive(Deserialize)]
struct KafkaOffset {
    kafka_offset: i64,
}

impl Herder {
    /// The offsets of a source by its partitions, or those of a sink by its topics' partitions.
    ///
    /// # Errors
    /// [`HerderError::NotFound`]; [`HerderError::BadRequest`] of a sink whose offsets are in its target.
    pub async fn offsets(&self, name: &str) -> Result<Vec<(Value, Value)>, HerderError> {
        self.loaded().await?;
        let definition = self.with_offsets(name)?;
        match definition.class.kind() {
            ConnectorKind::Source => Ok(self.inner.store.source_offsets(name).await?),
            ConnectorKind::Sink => Ok(self.inner.store.sink_offsets(name, &definition).await?),
        }
    }

    /// Sets the offsets of partitions of a stopped connector; no offset stands for the beginning. Without any partition all
    /// of them go back to the beginning.
    ///
    /// # Errors
    /// [`HerderError::NotFound`]; [`HerderError::BadRequest`] of one that is not stopped, and of a sink whose offsets are in
    /// its target.
    pub(super) async fn set_offsets(
        &self,
        name: &str,
        wanted: Option<Vec<WantedOffset>>,
    ) -> Result<(), HerderError> {
        self.loaded().await?;
        let (definition, connector) = (self.with_offsets(name)?, self.existing(name)?);
        let kind = definition.class.kind();
        let (herder, name) = (self.clone(), name.to_owned());
        self.change(connector.clone(), async move {
            if connector.target() != TargetState::Stopped {
                let why = format!(
                    "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/{name}/stop' endpoint"
                );
                return Err(HerderError::BadRequest(why));
            }
            let store = &herder.inner.store;
            let wanted = match (wanted, kind) {
                (Some(wanted), _) => wanted,
                (None, ConnectorKind::Sink) => return Ok(store.reset_sink_offsets(&name).await?),
                (None, ConnectorKind::Source) => {
                    let known = store.source_offsets(&name).await?;
                    let partitions = known.into_iter().filter_map(|(partition, _)| match partition {
                        Value::Object(partition) => Some(WantedOffset { partition, offset: None }),
                        _ => None,
                    });
                    partitions.collect()
                }
            };
            let wrong = |error: serde_json::Error| HerderError::BadRequest(format!("the offsets: {error}"));
            match kind {
                ConnectorKind::Source => {
                    let read = |wanted: WantedOffset| {
                        let offset = wanted.offset.map(serde_json::from_value).transpose();
                        offset.map(|offset| (wanted.partition, offset))
                    };
                    let wanted = wanted.into_iter().map(read).collect::<Result<_, _>>().map_err(wrong)?;
                    Ok(store.set_source_offsets(&name, &definition, wanted).await?)
                }
                ConnectorKind::Sink => {
                    let read = |wanted: WantedOffset| -> Result<_, serde_json::Error> {
                        let place: KafkaPartition = serde_json::from_value(Value::Object(wanted.partition))?;
                        let offset = wanted.offset.map(serde_json::from_value::<KafkaOffset>).transpose()?;
                        Ok((place.kafka_topic, place.kafka_partition, offset.map(|offset| offset.kafka_offset)))
                    };
                    let wanted: Vec<(String, i32, Option<i64>)> =
                        wanted.into_iter().map(read).collect::<Result<_, _>>().map_err(wrong)?;
                    if let Some((other, ..)) = wanted.iter().find(|(topic, ..)| !definition.topics.contains(topic)) {
                        return Err(HerderError::BadRequest(format!("{name} does not read the topic {other}")));
                    }
                    Ok(store.set_sink_offsets(&name, wanted).await?)
                }
            }
        })
        .await
    }

    /// What a connector is whose offsets are in the cluster.
    fn with_offsets(&self, name: &str) -> Result<Arc<Definition>, HerderError> {
        let definition = self.existing(name)?.definition();
        let found = definition.filter(|definition| definition.offset_store != Some(OffsetStore::Target));
        found.ok_or_else(|| {
            HerderError::BadRequest(format!(
                "{name} has no offsets here: its properties are wrong, or it is a sink that keeps them in its target, together with the records"
            ))
        })
    }
}
